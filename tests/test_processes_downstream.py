"Labels are learnt on two processes as on one: the same updates, scores and files, and one goes on where the other was stopped."
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import labels_on_processes as runs
from sslam_nb.training.state import latest_state

TASKS, PLAIN = tuple(runs.KINDS), runs.PLAIN


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    "The same runs on one process, here, and on two, as torchrun starts them."
    one, two, before = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two"), Path.cwd()
    os.chdir(one)                                                               # stored features are kept there, and not shared
    try:
        alone = {name: runs.train(one/name, **how, **PLAIN) for name, how in runs.KINDS.items()}
        alone["stopped"] = runs.train(one/"stopped", "finetune", **PLAIN, happens=(signal.SIGTERM, 0, 2))
        alone["scored"] = runs.score(one/"scored", one/"finetune")
    finally: os.chdir(before)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", runs.__file__, str(one)]
    done = subprocess.run(command, cwd=two, capture_output=True, text=True, timeout=400, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-4000:]
    read = lambda path: [torch.load(f"{path}.{rank}.pt", weights_only=False) for rank in range(2)]
    shared = {name: read(two/name) for name in (*TASKS, "nan", "stopped", "scored")} | dict(resumed=read(one/"stopped"))
    return SimpleNamespace(one=one, two=two, alone=alone, shared=shared, said=done.stdout)


def differ(a, b): return max((a[name] - b[name]).abs().max().item() for name in a)


@pytest.mark.parametrize("kind", TASKS)
def test_the_same_updates(kind, launched):
    "Five clips an update, on two processes two and three; gradients, losses and weights are those of one."
    alone, (first, second) = launched.alone[kind], launched.shared[kind]
    assert [a + b for a, b in zip(first["clips"], second["clips"], strict=True)] == alone["clips"]
    assert {len(clips) for clips in first["clips"]} == {2} and {len(clips) for clips in second["clips"]} == {3}
    assert alone["gradient"].keys() == first["gradient"].keys()
    for share in (first, second): assert differ(share["gradient"], alone["gradient"]) < 1e-6 < max(g.abs().max() for g in alone["gradient"].values())
    assert differ(first["weights"], alone["weights"]) < 1e-6 < 1e-4 < differ(alone["weights"], alone["initial"])
    assert first["step"] == alone["step"] and np.allclose(first["loss"], alone["loss"], atol=1e-5)
    assert all(torch.equal(first["weights"][name], second["weights"][name]) for name in first["weights"])


@pytest.mark.parametrize("kind", TASKS)
def test_the_same_result(kind, launched):
    "Each clip once, in the order of the set; the metric of the whole on every process."
    alone = launched.alone[kind]
    for share in launched.shared[kind]:
        assert share["scored"]["clip_id"] == alone["scored"]["clip_id"] and len(set(share["scored"]["clip_id"])) == len(share["scores"]) == 68
        assert share["evaluations"] == alone["evaluations"] and share["bad"] == alone["bad"] == ["clip7.wav: cut short", "clip66.wav: cut short"]
    names = sorted(path.name for path in (launched.two/kind).iterdir())
    assert names == sorted(path.name for path in (launched.one/kind).iterdir()) and "classifier.safetensors" in names
    assert launched.said.count("skipped clip7.wav") == 4           # by four finished runs, each once


def test_the_same_scores_to_the_last_bit(launched):
    for share in launched.shared["scored"]:
        assert np.array_equal(share["scores"], launched.alone["scored"].scores) and share["clip_id"] == launched.alone["scored"].clip_id


def test_each_process_draws_for_itself(launched):
    first, second = (share["drawn"] for share in launched.shared["nan"])
    assert len({*first, *second}) == len(first) + len(second) == 12


def test_a_loss_that_is_no_number_ends_both(launched):
    "It was at step 4 of one process and is seen with the row of step 6."
    errors = {share["error"] for share in launched.shared["nan"]}
    clips = sum((share["clips"][4] for share in launched.shared["nan"]), [])
    assert errors == {f"the loss is nan at step 4 on the clips {', '.join(clips)} ...; try a lower lr or precision=no"}
    assert latest_state(launched.two/"nan") is None


def test_stopped_on_two_resumed_on_one(launched, capsys):
    "A signal to one process stops both after the same update."
    assert {share["error"] for share in launched.shared["stopped"]} == {"stopped by SIGUSR1 after step 3 of 8; all of it is saved: run again with resume=True"}
    assert latest_state(launched.two/"stopped").name == "step_00000003"
    again = runs.train(launched.two/"stopped", "finetune", **PLAIN, resume=True)
    assert "saved by 2 processes, going on with 1" in capsys.readouterr().out
    assert again["clips"] == launched.alone["finetune"]["clips"][3:] and differ(again["weights"], launched.alone["finetune"]["weights"]) < 1e-6


def test_stopped_on_one_resumed_on_two(launched):
    assert "after step 3 of 8" in launched.alone["stopped"]["error"] and "saved by 1 processes, going on with 2" in launched.said
    assert differ(launched.shared["resumed"][0]["weights"], launched.alone["finetune"]["weights"]) < 1e-6
