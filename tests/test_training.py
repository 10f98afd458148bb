"Contracts across chapters: learning, faults while saving, several processes."
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap

import pytest
import torch

from sslam_nb.config import override, preset
from sslam_nb.data.access import open_data
from sslam_nb.data.clips import BadClip
from sslam_nb.data.loading import BatchOrder
from sslam_nb.training.pretrain import latest_state, pretrain

SMALL = dict(width=32, depth=2, n_heads=2, decoder_width=16, decoder_depth=2, local_top_k=2, target_frames=128, unmixed_frames=32,
             n_clips=16, batch_size=4, epochs=1, probe_clips=(32, 16), seed=0)


def small(stage="stage2", **changes):
    return override(preset(stage, "tiny"), **SMALL | dict(global_top_k_unmixed=1) | changes)


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_overfits_eight_clips(stage, tmp_path):
    "On eight clips, with a teacher that hardly moves, the student's local error must fall far."
    cfg = small(stage, n_clips=8, batch_size=8, epochs=200, lr=4e-3, ema_start=0.9999, ema_end=0.9999, width=64)
    history = pretrain(cfg, open_data(cfg).pretrain, tmp_path, device="cpu").history
    first, last = history.local_unmixed.iloc[0], history.local_unmixed.iloc[-1]
    assert last < 0.5*first, (first, last)
    if stage == "stage2": assert history.retention.iloc[-1] < 0.65*history.retention.iloc[0]


def test_waveform_mixing_and_mixit_train(tmp_path):
    for changes in (dict(mix_op="waveform"), dict(mixit_sources=3), dict(mix_share=0.5, mix_mode="full")):
        cfg = small(max_steps=2, log_every=1, **changes)
        history = pretrain(cfg, open_data(cfg).pretrain, tmp_path/"".join(changes), device="cpu").history
        assert history.loss.notna().all() and ("mixit" in history) == ("mixit_sources" in changes)


def test_choices_train_and_their_temperature_falls(tmp_path):
    cfg = small(max_steps=4, log_every=1, mcl_choices=3, mcl_share=0.5)
    run = pretrain(cfg, open_data(cfg).pretrain, tmp_path, device="cpu")
    assert run.history.loss.notna().all() and len(run.history) == 4
    assert run.model.choices.temperature.item() == pytest.approx(cfg.loss.mcl_temperature[1])


def test_a_disk_that_fills_up_keeps_the_last_good_state(tmp_path):
    "The kernel refuses files beyond a limit, as it refuses a full disk, while step 4 is being saved."
    cfg = small(epochs=2, save_every=2)
    data, limit = open_data(cfg).pretrain, resource.getrlimit(resource.RLIMIT_FSIZE)
    calls = []

    class Source:
        name, checksum, classes = data.name, data.checksum, data.classes
        def __len__(self): return len(data)
        def __getitem__(self, i):
            calls.append(i)
            if len(calls) == 14: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
            return data[i]

    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(OSError, match="free some space.*resume=True to go on from step_00000002"):
            pretrain(cfg, Source(), tmp_path, device="cpu")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert latest_state(tmp_path).name == "step_00000002"
    assert [p.name for p in (tmp_path/"state").iterdir() if p.name[0] != "."] == ["step_00000002"]
    assert pretrain(cfg, data, tmp_path, device="cpu", resume=True).history.step.iloc[-1] == 8


def test_bad_clips_are_skipped_counted_and_named(tmp_path, capsys):
    data = open_data(small()).pretrain

    class Source:
        name, checksum, classes = data.name, data.checksum, data.classes
        def __len__(self): return len(data)
        def __getitem__(self, i):
            if i in (3, 7): raise BadClip(f"clip{i}.wav", "cut short")
            return data[i]

    run = pretrain(small(epochs=2), Source(), tmp_path, device="cpu")
    assert sorted(run.bad) == ["clip3.wav: cut short", "clip7.wav: cut short"] and "skipped" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="more than max_bad=1.*raise max_bad"):
        pretrain(small(max_bad=1), Source(), tmp_path/"again", device="cpu")


SCRIPT = """
import json, sys
from sslam_nb import open_data, override, preset, pretrain
settings, folder = json.loads(sys.argv[1]), sys.argv[2]
cfg = override(preset('stage2', 'tiny'), **settings)
data = open_data(cfg).pretrain

class Logged:
    name, checksum, classes = data.name, data.checksum, data.classes
    def __len__(self): return len(data)
    def __getitem__(self, i):
        with open(folder + '.clips', 'a') as file: file.write(f'{i}\\n')
        return data[i]

chapter = sys.modules['sslam_nb.training.pretrain']
update, done = chapter.update, []
def update_or_stop(*args):
    if len(done) == 2: sys.exit(9)
    done.append(1)
    return update(*args)
chapter.update = update_or_stop
pretrain(cfg, Logged(), folder, device='cpu')
"""


def on_two_processes(tmp_path, *arguments):
    "Run the script as torchrun and accelerate launch do; both processes end before the third step."
    (tmp_path/"train.py").write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "train.py", *arguments]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_two_processes_share_the_clips_and_one_goes_on(tmp_path):
    "Two processes see half an epoch, are killed, and one process with twice the batch sees the other half."
    settings = SMALL | dict(global_top_k_unmixed=1, n_clips=18, save_every=1)
    two, one = (override(preset("stage2", "tiny"), **settings | dict(batch_size=n)) for n in (3, 6))       # 18 clips in 3 steps of 6
    seen, data = tmp_path/"run.clips", open_data(one).pretrain
    stopped = on_two_processes(tmp_path, json.dumps(settings | dict(batch_size=3)), str(tmp_path/"run"))
    assert stopped.returncode != 0 and latest_state(tmp_path/"run").name == "step_00000002", stopped.stderr[-3000:]
    steps, before = list(BatchOrder(18, 6)), {int(line) for line in seen.read_text().split()}
    assert before >= {*steps[0], *steps[1]}
    with pytest.raises(ValueError, match=r"clips_per_step=3 \(saved: 6\)"): pretrain(two, data, tmp_path/"run", device="cpu", resume=True)
    read = []

    class Source:
        name, checksum, classes = data.name, data.checksum, data.classes
        def __len__(self): return len(data)
        def __getitem__(self, i): read.append(i); return data[i]

    pretrain(one, Source(), tmp_path/"run", device="cpu", resume=True)
    assert sorted(read) == sorted(steps[2])
    history = (tmp_path/"run"/"metrics.csv").read_text().splitlines()
    assert history[-1].startswith("3,0,"), history
    assert torch.isfinite(torch.tensor([float(v) for v in history[-1].split(",") if v])).all()
    assert not (tmp_path/"run"/"state").exists()
