"Trackers: TensorBoard's event files read back, Weights & Biases offline, and trackers that fail."
import importlib.util
import json
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

pytest.importorskip("tensorboard", reason="pip install 'sslam_nb[tensorboard]'")
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sslam_nb.config import override, preset
from sslam_nb.data.access import open_data
from sslam_nb.encoder import AudioViT
from sslam_nb.evaluation.finetune import Task, train_classifier
from sslam_nb.evaluation.recipes import recipe
from sslam_nb.reports.figures import show_history
from sslam_nb.reports.judging import configure_task
from sslam_nb.reports.runs import configure
from sslam_nb.sslam import SSLAM
from sslam_nb.training.pretrain import pretrain
from sslam_nb.training.tracking import log_figures, tracker_names

SMALL = dict(width=32, depth=2, n_heads=2, decoder_width=16, decoder_depth=2, local_top_k=2, global_top_k_unmixed=1, target_frames=128,
             unmixed_frames=32, n_clips=16, batch_size=4, probe_clips=(32, 16), seed=0, epochs=2, log_every=1, save_every=3)


def small(**changes): return override(preset("stage2", "tiny"), **SMALL | changes)


def events(folder):
    "What TensorBoard would show of a run."
    found = EventAccumulator(str(folder/"logs"), size_guidance=dict(scalars=0, images=0))
    found.Reload()
    return found


def series(found, tag): return {event.step: event.value for event in found.Scalars(tag)}


def assert_as_in_csv(folder):
    "Every column of metrics.csv, at every step that has a number, once."
    found, metrics = events(folder), pd.read_csv(folder/"metrics.csv").set_index("step")
    for name, column in metrics.items():
        wanted = column.dropna()
        assert [event.step for event in found.Scalars(name)] == wanted.index.tolist(), name
        np.testing.assert_allclose([event.value for event in found.Scalars(name)], wanted, rtol=1e-6, err_msg=name)
    return found, metrics


def test_events_are_the_metrics(tmp_path, capsys):
    cfg = small()
    run = pretrain(cfg, open_data(cfg).pretrain, tmp_path/"run", device="cpu")
    assert "run is watched by tensorboard (tensorboard --logdir" in capsys.readouterr().out
    found, metrics = assert_as_in_csv(run.folder)
    assert len(metrics) == 8 and {"loss", "target_var_over_clips", "lr", "ema", "grad_norm", "clips_per_s"} <= {*metrics}
    assert len(series(found, "memory_gb")) == 8 and all(0.1 < value < 500 for value in series(found, "memory_gb").values())
    if torch.cuda.is_available(): assert len(series(found, "gpu_memory_gb")) == 8
    hyper = [path.read_text() for path in (run.folder/"logs").glob("*/hparams.yml")]
    assert len(hyper) == 1 and "batch_size: 4" in hyper[0] and "mask_ratio" in hyper[0]
    figure = show_history(run.history)
    __import__("matplotlib.pyplot").pyplot.close(figure)                       # as a notebook does after its cell
    log_figures(dict(history=figure), run.folder, cfg.log_with, 8)
    found, _ = assert_as_in_csv(run.folder)
    image, = found.Images("history")
    assert image.step == 8 and image.width > 300 and image.encoded_image_string[1:4] == b"PNG"


def test_a_resumed_run_has_each_step_once(tmp_path):
    cfg, folder, calls = small(), tmp_path/"run", []
    def power_cut(module, inputs):
        if isinstance(module, SSLAM): calls.append(1)
        if len(calls) > 5: raise KeyboardInterrupt("power cut")
    hook = nn.modules.module.register_module_forward_pre_hook(power_cut)
    try:
        with pytest.raises(KeyboardInterrupt): pretrain(cfg, open_data(cfg).pretrain, folder, device="cpu")
    finally: hook.remove()
    before = series(events(folder), "loss")
    assert list(before) == [1, 2, 3, 4, 5]                                     # and the state is of step 3
    pretrain(cfg, open_data(cfg).pretrain, folder, device="cpu", resume=True)
    found, metrics = assert_as_in_csv(folder)
    assert len(list((folder/"logs").glob("events*"))) == 2 and len(metrics) == 8
    assert series(found, "loss")[3] == before[3] and len(list((folder/"logs").glob("*/hparams.yml"))) == 1


def test_another_tracker_or_none_goes_on_with_the_run(tmp_path, capsys):
    cfg = small(max_steps=6)
    data = open_data(cfg).pretrain
    straight = pretrain(override(cfg, log_with="none"), data, tmp_path/"straight", device="cpu")
    assert not (straight.folder/"logs").exists() and "watch" not in capsys.readouterr().out
    folder = tmp_path/"run"
    def stop(module, inputs):
        if isinstance(module, SSLAM): os.kill(os.getpid(), signal.SIGINT); hook.remove()
    hook = nn.modules.module.register_module_forward_pre_hook(stop)
    with pytest.raises(SystemExit): pretrain(cfg, data, folder, device="cpu")
    again = pretrain(override(cfg, log_with="none"), data, folder, device="cpu", resume=True)
    for name, value in straight.model.state_dict().items(): assert torch.equal(value, again.model.state_dict()[name]), name
    assert pretrain(cfg, data, folder, device="cpu", resume=True).seconds == 0              # finished: the same run
    pretrain(cfg, data, folder, device="cpu", overwrite=True)                                 # and anew, with new logs
    assert_as_in_csv(folder)


def test_labels_are_tracked_too(tmp_path):
    cfg = recipe("finetune/soundscapes", "tiny", target_frames=128, epochs=2, batch_size=8, evaluations=2, log_every=1, n_clips=(24, 16))
    data = open_data(small(n_clips=24)).pretrain
    torch.manual_seed(0)
    trained = train_classifier(cfg, AudioViT(preset("stage2", "tiny").encoder), Task(data, data), tmp_path/"run", "cpu", quiet=True)
    found, metrics = assert_as_in_csv(trained.folder)
    assert series(found, "test_mAP") == pytest.approx(trained.evaluations.set_index("step").test.to_dict())
    assert len(series(found, "clips_per_s")) == len(metrics) == 6


def test_names_are_checked_before_anything_is_done(tmp_path):
    assert tracker_names("auto") == ["tensorboard"] and tracker_names("TensorBoard, tensorboard") == ["tensorboard"]
    data, missing = open_data(small()).pretrain, next(n for n in ("aim", "clearml", "dvclive") if not importlib.util.find_spec(n))
    for word, kind, said in (("tensorbord", ValueError, "'tensorbord' is none of auto, none, .*did you mean 'tensorboard'"),
                             (missing, ImportError, f"{missing} is not installed; pip install {missing}$")):
        with pytest.raises(kind, match=said): pretrain(small(log_with=word), data, tmp_path/"run", device="cpu")
        for asked in (lambda: configure("stage1", dict(log_with=word)), lambda: configure_task("finetune", dict(log_with=word))):
            with pytest.raises(kind, match=said): asked()
    assert not (tmp_path/"run").exists()


class Failing(GeneralTracker):
    "A tracker whose network goes away."
    name, requires_logging_directory, when = "failing", False, "log"
    tracker = None
    def __init__(self, project): super().__init__()
    def _fail(self, now):
        if now == self.when: raise ConnectionError(f"no route to host at {now}\nand more")
    def start(self): self._fail("start")
    def store_init_configuration(self, values): self._fail("store")
    def log(self, values, step=None): self._fail("log")
    def finish(self): self._fail("finish")


@pytest.mark.parametrize("when", ["start", "store", "log", "finish"])
def test_a_tracker_that_fails_is_told_once(when, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "failing", Failing)
    monkeypatch.setattr(Failing, "when", when)
    cfg = small(log_with="failing,tensorboard", max_steps=4)
    run = pretrain(cfg, open_data(cfg).pretrain, tmp_path/"run", device="cpu")
    out = capsys.readouterr().out
    assert out.count("failing has failed (ConnectionError: no route to host at") == 1 and "and more" not in out
    assert len(run.history) == 4 and assert_as_in_csv(run.folder)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_full_disk_ends_the_tracker_and_not_the_run(tmp_path, capsys):
    "The kernel refuses files beyond a limit; the events reach it in the middle, metrics.csv never does."
    cfg = small(epochs=30, save_every=10_000, max_steps=60)
    data, limit = open_data(cfg).pretrain, resource.getrlimit(resource.RLIMIT_FSIZE)
    def fill(module, inputs):
        if isinstance(module, SSLAM): resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, limit[1])); hook.remove()
    def empty(row):
        if len(row) == 59: resource.setrlimit(resource.RLIMIT_FSIZE, limit)       # somebody cleans up before the end
    class History(list):
        def append(self, row): super().append(row); empty(self)
    chapter = sys.modules["sslam_nb.training.pretrain"]
    real, before = chapter.load_state, signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    hook = nn.modules.module.register_module_forward_pre_hook(fill)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chapter, "load_state", lambda *args: real(*args) | dict(history=History()))
        try: run = pretrain(cfg, data, tmp_path/"run", device="cpu", quiet=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            signal.signal(signal.SIGXFSZ, before)
    assert capsys.readouterr().out.count("tensorboard has failed (OSError: [Errno 27] File too large") == 1
    assert len(run.history) == 60 and 0 < len(series(events(run.folder), "loss")) < 60


def test_only_one_process_logs(tmp_path):
    (tmp_path/"train.py").write_text("\n".join((
        "import json, sys", "from sslam_nb import open_data, override, preset, pretrain",
        "cfg = override(preset('stage2', 'tiny'), **json.loads(sys.argv[1]))",
        "pretrain(cfg, open_data(cfg).pretrain, sys.argv[2], device='cpu', quiet=True)")))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "train.py",
               json.dumps(SMALL | dict(batch_size=2, max_steps=3)), str(tmp_path/"run")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(list((tmp_path/"run"/"logs").glob("events*"))) == 1 and len(assert_as_in_csv(tmp_path/"run")[1]) == 3


def test_weights_and_biases_offline(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="pip install wandb")
    for name, value in dict(WANDB_MODE="offline", WANDB_SILENT="true").items(): monkeypatch.setenv(name, value)
    sent, real = [], wandb.sdk.wandb_run.Run.log
    monkeypatch.setattr(wandb.sdk.wandb_run.Run, "log", lambda run, data, *args, **more: sent.append((run.id, more.get("step"), data)) or real(run, data, *args, **more))
    cfg = small(log_with="wandb,tensorboard", max_steps=3)
    run = pretrain(cfg, open_data(cfg).pretrain, tmp_path/"run", device="cpu", quiet=True)
    assert [step for _, step, _ in sent] == [1, 2, 3] and sent[2][2]["loss"] == run.history.loss.iloc[-1]
    assert len(list((run.folder/"logs"/"wandb").glob("offline-run-*"))) == 1
    log_figures(dict(history=show_history(run.history)), run.folder, cfg.log_with, 3)
    assert [*sent[3][2]] == ["history"] and {one for one, _, _ in sent} == {(run.folder/"logs"/"id").read_text()}
    assert len(events(run.folder).Images("history")) == 1 and assert_as_in_csv(run.folder)
