"Micro-batches are the same wherever they are computed: on two processes, one after another on one, or first this way and then that."
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import updates_on_processes as own
from sslam_nb.config import override
from sslam_nb.core import set_seed
from sslam_nb.data.loading import make_loader, open_clips
from sslam_nb.sslam import SSLAM
from sslam_nb.training.state import saved_states
from sslam_nb.training.update import micro_loss

ONE = {"mean": dict(accumulate=2), "sum": dict(accumulate=2, global_reduction="sum"), "four": dict(accumulate=4, log_every=2),
       "bf16": dict(accumulate=4, log_every=2, precision="bf16", max_steps=2)}


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    "The same runs on two processes, as torchrun starts them, and here."
    two, one = tmp_path_factory.mktemp("two"), tmp_path_factory.mktemp("one")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", own.__file__]
    done = subprocess.run(command, cwd=two, capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-4000:]
    shared = [torch.load(two/f"seen.{rank}.pt", weights_only=False) for rank in range(2)]
    return SimpleNamespace(one=one, two=two, alone={name: own.train(one/name, **how) for name, how in ONE.items()}, said=done.stdout,
                           shared={name: [seen[name] for seen in shared] for name in shared[0]})


def assert_same(a, b, rtol=1e-5, atol=1e-5):
    "Every metric of every row, and the weights."
    ours, theirs = (pd.read_csv(folder/"metrics.csv").drop(columns="clips_per_s") for folder in (a, b))
    assert len(ours) and ours.notna().any().all()
    pd.testing.assert_frame_equal(ours, theirs, rtol=rtol, atol=atol)
    ours, theirs = (load_file(folder/"model.safetensors") for folder in (a, b))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items(): torch.testing.assert_close(value, theirs[name], rtol=rtol, atol=atol, msg=name)


@pytest.mark.parametrize("name", ["mean", "sum", "four"])
def test_processes_are_micro_batches(launched, name):
    "Two processes and one, with twice as many micro-batches an update: the same clips in each, curves and weights."
    assert_same(launched.one/name, launched.two/name)
    alone, (first, second) = launched.alone[name], launched.shared[name]
    assert {step: first["clips"][step] + second["clips"][step] for step in first["clips"]} == alone["clips"]
    for grad, theirs in zip(alone["gradient"].values(), first["gradient"].values(), strict=True):
        torch.testing.assert_close(grad, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["mean", "four", "spread"])
def test_each_clip_once_an_epoch(launched, name):
    clips = [seen["clips"] for seen in launched.shared[name]]
    steps = len(clips[0])//2
    for epoch in range(2):
        seen = [clip for mine in clips for step in range(epoch*steps, (epoch + 1)*steps) for batch in mine[step] for clip in batch]
        assert len(seen) == len(set(seen)) == 22
    sizes = {len(batch) for mine in clips for batches in mine.values() for batch in batches}
    assert sizes == {2, 3}, "they are uneven"


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_gradient_of_uneven_shares(launched, reduction):
    "A mean counts every clip alike: micro-batches of 2 and 3 clips weigh 2/5 and 3/5. A sum is averaged over micro-batches as it is."
    cfg = override(own.CFG, global_reduction=reduction)
    set_seed(cfg.seed)
    model = SSLAM(cfg).train()
    batches = [batch for _, batch in zip(range(2), make_loader(open_clips(cfg, own.Clips()), 3, seed=cfg.seed, accumulate=2))]
    sizes = [len(batch["clip_id"]) for batch in batches]
    assert sizes == [2, 3] and [batch["clip_id"] for batch in batches] == [seen["clips"][0][0] for seen in launched.shared[reduction]]
    losses = [micro_loss(model, batch, cfg, 0, rank, torch.device("cpu"))[0] for rank, batch in enumerate(batches)]
    weights = [n/5 for n in sizes] if reduction == "mean" else [1/2, 1/2]
    sum(weight*loss for weight, loss in zip(weights, losses)).backward()
    wanted = {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}
    for seen in launched.shared[reduction]:
        for name, grad in wanted.items(): torch.testing.assert_close(seen["gradient"][name], grad, rtol=1e-4, atol=1e-6, msg=name)


def test_spread_over_two_processes_with_two_micro_batches_each(launched): assert_same(launched.two/"four", launched.two/"spread")


def test_half_precision_on_processes(launched):
    "bf16 rounds at other places, and no further than that."
    assert_same(launched.one/"bf16", launched.two/"bf16", rtol=0.02, atol=0.01)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_stopped_on_two_processes_and_continued_on_one(launched, reduction, capsys):
    "One of them was told; both saved the same step, and one process with two micro-batches ends where two would have ended."
    assert [seen["stopped"] for seen in launched.shared[f"cut {reduction}"]] == [138, 138]
    cut = launched.two/f"cut {reduction}"
    assert [state.name for state in saved_states(cut)] == ["step_00000003"]
    other = shutil.copytree(cut, launched.one/f"other {reduction}")
    rest = own.train(cut, resume=True, accumulate=2, global_reduction=reduction)
    assert list(rest["clips"]) == [3, 4, 5, 6, 7] and "micro-batches an update" not in capsys.readouterr().out
    assert_same(launched.two/reduction, cut)
    rest = own.train(other, resume=True, batch_size=6, global_reduction=reduction)
    said = capsys.readouterr().out
    assert "saved with 2 micro-batches an update, going on with 1" in said and "processes times accumulate = 2" in said
    assert ("weigh 2 times as much" in said) == (reduction == "sum")
    assert {step: sorted(batches[0]) for step, batches in rest["clips"].items()} == {
        step: sorted(sum(batches, [])) for step, batches in launched.alone[reduction]["clips"].items() if step > 2}


def test_an_unreadable_file_counts_once(launched):
    "One process meets it, in each epoch; all know."
    assert [seen["bad"] for seen in launched.shared["bad"]] == [["clip7.wav: cut short"]]*2
    assert launched.said.count("skipped clip7.wav: cut short") == 1
    errors = [seen["error"] for seen in launched.shared["too bad"]]
    assert len(set(errors)) == 1 and "2 unreadable clips, more than max_bad=1: clip" in errors[0]


@pytest.mark.parametrize("name, rank, step, saved", [("nan", 1, 4, ["step_00000004", "step_00000002"]), ("nan of two", 0, 2, ["step_00000002", "step_00000001"])])
def test_not_a_number_on_one_process_ends_all(launched, name, rank, step, saved):
    "With one error, that names step and clips; what was saved before stays, and nothing is saved after."
    errors, clips = [seen["error"] for seen in launched.shared[name]], launched.shared[name][rank]["clips"][step]
    for error in errors: assert f"the loss is nan at step {step} on the clips {', '.join(sum(clips, []))}" in error, errors
    assert [state.name for state in saved_states(launched.two/name)] == saved
    assert not (launched.two/name/"model.safetensors").exists()
