"Bad input at the door of fine-tuning and linear evaluation is one clear error; a run loses nothing on its way."
import json

import numpy as np
import pytest
import soundfile

from sslam_nb.evaluation import finetune
from sslam_nb.evaluation.start import start_from
from sslam_nb.config import override, preset
from sslam_nb.evaluation.recipes import cacheable
from sslam_nb.training.weights import save_checkpoint
from sslam_nb.sslam import SSLAM
from sslam_nb.evaluation.tasks import measure, open_task
from sslam_nb.reports.judging import configure_task, record_task

PLAIN = [f"{label},{side}" for side in ("train", "train", "valid", "test", "test") for label in ("bell", "owl")]
FOLDS = [f"{label},{fold}" for fold in (1, 1, 2, 2) for label in ("bell", "owl")]
DIGITS = ["train,0", "train,1", "test,0", "test,1"]
ESC = [f"{i % 3 + 1},{'ab'[i//3 % 2]},s{i}" for i in range(12)]
LAYOUTS = dict(csv=("path,labels,", "clips.csv", ""), fsdd=("filename,", "meta.csv", "audio"), esc50=("filename,", "meta/esc50.csv", "audio"))
FSDD, SOUNDSCAPES = dict(dataset="fsdd"), dict(dataset="soundscapes", data=None, target_frames=None, n_clips=[12, 8])

@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch): monkeypatch.chdir(tmp_path)              # runs/ is made here, not in the project

def write(root, rows=PLAIN, columns="split", dataset="csv"):
    "A set of tones of 0.3 s, one for each row of its csv."
    header, table, audio = LAYOUTS.get(dataset, LAYOUTS["csv"])
    for folder in ((root/table).parent, root/audio): folder.mkdir(parents=True, exist_ok=True)
    for i in range(len(rows)):
        soundfile.write(root/audio/f"{i}.wav", 0.3*np.sin(2*np.pi*(300 + 200*i)*np.arange(4800)/16_000), 16_000)
    (root/table).write_text("\n".join([header + columns, *(f"{i}.wav,{row}" for i, row in enumerate(rows))]))
    return root

def configured(root, task="finetune", **changes):
    given = dict(run_name="x", no_pretrained=True, dataset="csv", data=str(root), target_frames=32, epochs=2, batch_size=4, evaluations=1)
    return configure_task(task, given | changes)[0]

def trained(cfg, folder="run", **options):
    return finetune.train_classifier(cfg, start_from(cfg).encoder, open_task(cfg), folder, "cpu", quiet=True, **options)

def stop_at(patch, update): # the first that is not made
    learn, steps = finetune.learn, iter(range(update))
    def stopped(*args):
        if next(steps, None) is None: raise InterruptedError("an update was begun")
        return learn(*args)
    patch.setattr(finetune, "learn", stopped)

@pytest.mark.parametrize("rows, columns, changes, said", [
    (["bell,train", "owl,train"], "split", {}, "no clips in the split test; its splits are train. Look at the csv"),
    (["bell,train", "bell,test"], "split", {}, "one class only, bell"),
    (["bell,1,tape7", "owl,1,", "owl,2,tape7"], "fold,group", dict(fold=2), "1 recordings are in both.*tape7; leave them out"),
    (PLAIN, "split", dict(steps=0), "steps=0 must lie between 1 and"),
    (PLAIN, "split", dict(data="no/such"), "there is no folder .*no/such"),
    (PLAIN, "split", dict(weighted_clips=60), "weighted_clips=60 of 4 labelled clips; draw fewer"),
    (DIGITS, "split,digit", FSDD | dict(fold=2), "fold=2: Free Spoken Digit Dataset has no folds"),
    (DIGITS[:3] + ["test,12"], "split,digit", FSDD, "meta.csv:5: unknown label '12'; did you mean '2'"),
    (ESC, "fold,category,src_file", dict(dataset="esc50", fold=0), "fold=0"),
    *((PLAIN, "split", more | dict(fold=2), "fold=2.*leave it out") for more in ({}, SOUNDSCAPES)),
    (PLAIN, "split", SOUNDSCAPES | dict(n_clips=[12]), "n_clips=.* must be two whole numbers"),
    (PLAIN, "split", SOUNDSCAPES | dict(weighted_clips=6), "weighted_clips=6: soundscapes has no table of labels; set 0"),
    (PLAIN, "split", dict(seed=-1), "seed=-1 must lie between 0 and"),
    *((PLAIN, "split", {switch: "perhaps"}, f"{switch}='perhaps' must be true or false") for switch in ("resume", "train", "augment")),
    (PLAIN[:6] + [",test"], "split", {}, "the split test .*has no labels; fill the column labels")])
def test_refused_before_the_first_update(rows, columns, changes, said, tmp_path, monkeypatch):
    stop_at(monkeypatch, 0)
    root = write(tmp_path/"set", rows, columns, changes.get("dataset", "csv"))
    with pytest.raises((ValueError, FileNotFoundError), match=said): trained(configured(root, **changes))

def test_folds_from_zero(tmp_path):
    rows = [row.replace("2", "0") for row in FOLDS]
    assert list(open_task(configured(write(tmp_path/"set", rows, "fold"), fold=0)).test.table.paths) == [f"{i}.wav" for i in range(4, 8)]

@pytest.mark.parametrize("given", [dict(mean=-5.0), dict(std=3.0)])
def test_one_of_mean_and_std(given, tmp_path):
    measured, cfg = (configured(write(tmp_path/"set"), **values).spectrogram for values in ({}, given))
    assert (cfg.mean, cfg.std) == (given.get("mean", measured.mean), given.get("std", measured.std))

def test_a_checkpoint_of_other_sizes(tmp_path):
    small = override(preset("stage2", "tiny"), width=32, n_heads=2, depth=2, decoder_width=16, local_top_k=2, patch_size=32, unmixed_frames=32)
    root, files = write(tmp_path/"set"), dict(odd={}, low=dict(n_mels=64))
    odd, low = (dict(no_pretrained=False, checkpoint=str(save_checkpoint(SSLAM(override(small, **sizes)), tmp_path/f"{name}.safetensors")))
                for name, sizes in files.items())
    for wrong, said in ((odd | dict(target_frames=48), "odd.safetensors has patch_size=32, and target_frames=48 is no multiple of it"),
                        (low, "low.safetensors has 64 mel bins and the recipe has n_mels=128")):
        with pytest.raises(ValueError, match=f"{said}; choose another checkpoint or change that value"): start_from(configured(root, **wrong))
    for name, cfg in (("a", configured(root, **odd)), ("b", configured(root, n_mels=64, **low))):
        model = trained(cfg, name).model                                        # what fits is used, and says its sizes
        assert (model.encoder.cfg.patch_size, model.spectrogram.n_mels) == (32, cfg.spectrogram.n_mels)

@pytest.mark.parametrize("task", [dict(task="finetune"), dict(task="linear", augment=False)])
def test_unreadable_files_are_skipped_and_named(task, tmp_path, capsys):
    root = write(tmp_path/"set")
    for i in (0, 6): (root/f"{i}.wav").write_text("not audio")                  # one to train, one to test on
    run = trained(cfg := configured(root, **task))
    assert run.bad == ["0.wav: Format not recognised", "6.wav: Format not recognised"] and "skipped 6.wav" in capsys.readouterr().out
    assert run.scored.clip_id == ["7.wav", "8.wav", "9.wav"]
    found = json.loads(record_task(cfg, run, open_task(cfg), "random weights").read_text())["metrics"]
    assert (found["clips"], found["skipped"]) == (3, run.bad)
    with pytest.raises(RuntimeError, match="2 unreadable clips, more than max_bad=1: 0.wav: .*; 6.wav: .*raise max_bad"):
        trained(override(cfg, max_bad=1), "other")

def test_a_class_that_the_test_split_lacks(tmp_path):
    run = trained(cfg := configured(write(tmp_path/"set", PLAIN + ["fox,train"]), single_label=False))
    found = measure(cfg, run.scored)
    assert 0 < found["mAP"] <= 1 and (found["classes"], found["skipped_classes"]) == (2, 1) and np.isnan(found["by_class"]["fox"])
    text = record_task(cfg, run, open_task(cfg), "random weights").read_text()
    assert "NaN" not in text and json.loads(text)["not_finite"] == ["metrics.by_class.fox"]

def test_a_class_that_only_the_test_fold_has(tmp_path, capsys, recwarn):
    cfg = configured(write(tmp_path/"set", FOLDS + ["owll,2"], "fold"), fold=2, single_label=False)
    assert 0 < measure(cfg, trained(cfg).scored)["mAP"] <= 1
    assert "owll" in capsys.readouterr().out + " ".join(str(w.message) for w in recwarn)

@pytest.mark.parametrize("task", [dict(task="finetune"), dict(task="linear"), dict(task="linear", augment=False)])
def test_resume_equals_one_go(task, tmp_path, monkeypatch):
    cfg = configured(write(tmp_path/"set"), **task, epochs=8, evaluations=4, save_every=3, report="valid", batch_size=2)
    whole = trained(cfg, "whole")
    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        stop_at(patch, 8)                                                       # after a state at 6 and an evaluation at 8
        trained(cfg, "parts")
    parts = trained(cfg, "parts", resume=True)
    assert parts.evaluations.equals(whole.evaluations) and list(parts.evaluations.step) == [4, 8, 12, 16]
    assert np.array_equal(parts.scored.scores, whole.scored.scores)

def test_resume_of_a_finished_run(tmp_path, monkeypatch):
    before = trained(cfg := configured(write(tmp_path/"set")))
    stop_at(monkeypatch, 0)
    assert np.array_equal(trained(cfg, resume=True).scored.scores, before.scored.scores)
    with pytest.raises(ValueError, match="lr=0.0001"): trained(override(cfg, lr=1e-4), resume=True)

@pytest.mark.parametrize("task", ["finetune", "linear"])
def test_a_seed_gives_the_same_digits(task, tmp_path):
    cfgs = [configured(write(tmp_path/"set"), task, seed=seed) for seed in (3, 3, 4)]
    one, two, other = (measure(cfg, run.scored) | dict(scores=run.scored.scores.tolist(), loss=run.history.loss.tolist())
                       for cfg, run in ((cfg, trained(cfg, f"run{i}")) for i, cfg in enumerate(cfgs)))
    assert one == two and one["scores"] != other["scores"]

def test_stored_features_change_nothing(tmp_path):
    stored, fresh = (configured(write(tmp_path/"set"), "linear", augment=False, epochs=20, **more) for more in ({}, dict(mixup=0.8, mixup_share=0.0)))
    assert cacheable(stored) and not cacheable(fresh)                           # mixup in no update changes nothing else
    a, b = (trained(cfg, name).scored.scores for name, cfg in (("stored", stored), ("fresh", fresh)))
    assert np.abs(a - b).max() < 1e-5 < a.std(0).min()
