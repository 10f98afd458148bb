"Short forms of benchmarks/chaos_runs.py: runs that are killed, cut off, told to stop, or started twice."
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]/"benchmarks"))
import chaos_runs as chaos

from sslam_nb import open_data, override, preset, pretrain
from sslam_nb.training.state import saved_states

CFG = override(preset("stage2", "tiny"), **chaos.CFG)


@pytest.fixture(scope="module")
def right(tmp_path_factory): return chaos.undisturbed(tmp_path_factory.mktemp("whole")/"run")


@pytest.mark.parametrize("how", [{}, dict(power=True)], ids=["kill -9", "power cut"])
def test_three_ends_cost_nothing_that_was_saved(right, how): assert chaos.many(3, right, seed=7, **how) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_and_says_how_to_go_on(right, number): assert chaos.many(1, right, seed=int(number), number=number) == []


def test_two_runs_of_one_name(tmp_path):
    first = chaos.start(tmp_path/"run", pause=.5)
    while not (tmp_path/"run"/"state"/".lock").exists(): time.sleep(.05)
    time.sleep(.3)
    code, out = chaos.finish(chaos.start(tmp_path/"run", changes=chaos.CFG | dict(seed=4)))
    assert code and f"is in use by process {first.pid} on " in out
    first.kill(); first.wait()
    assert chaos.finish(chaos.start(tmp_path/"run", "resume"))[0] == 0             # the lock went with its process


def test_a_finished_run_is_kept(tmp_path):
    data = open_data(CFG).pretrain
    short = override(CFG, max_steps=2)
    run = pretrain(short, data, tmp_path/"run", device="cpu", quiet=True)
    with pytest.raises(FileExistsError, match=r"holds a finished run \(model.safetensors: .*seed=4 \(saved: 3\).*overwrite=True replaces it"):
        pretrain(override(short, seed=4), data, tmp_path/"run", device="cpu", quiet=True)
    again = pretrain(override(short, seed=4), data, tmp_path/"run", device="cpu", quiet=True, overwrite=True)
    assert again.history.loss.iloc[-1] != run.history.loss.iloc[-1]


def test_another_stage_1_is_another_run(tmp_path):
    data, stage1 = open_data(CFG).pretrain, override(CFG, stage="stage1", variant="MB-UA", max_steps=1)
    init = [pretrain(override(stage1, seed=seed), data, tmp_path/f"s{seed}", device="cpu", quiet=True).folder for seed in (1, 2)]
    child = chaos.start(tmp_path/"run", pause=.2)
    child.kill(); child.wait()
    def stop(*_): raise KeyboardInterrupt
    from sslam_nb.training import pretrain as chapter
    update, chapter.update = chapter.update, lambda *args: stop() if args[5] == 4 else update(*args)
    try: pretrain(CFG, data, tmp_path/"two", init=init[0], device="cpu", quiet=True)
    except KeyboardInterrupt: pass
    finally: chapter.update = update
    with pytest.raises(ValueError, match="initial_weights="): pretrain(CFG, data, tmp_path/"two", init=init[1], device="cpu", quiet=True, resume=True)
    assert pretrain(CFG, data, tmp_path/"two", init=init[0], device="cpu", quiet=True, resume=True).history.step.iloc[-1] == 10


def test_a_damaged_state_gives_way_to_the_one_before(tmp_path, capsys):
    data = open_data(CFG).pretrain
    from sslam_nb.training import pretrain as chapter
    update = chapter.update
    def failing(*args):
        if args[5] == 7: raise KeyboardInterrupt
        return update(*args)
    chapter.update = failing
    try: pretrain(CFG, data, tmp_path/"run", device="cpu", quiet=True)
    except KeyboardInterrupt: pass
    finally: chapter.update = update
    newest, older = saved_states(tmp_path/"run")
    (newest/"progress.json").write_text((newest/"progress.json").read_text()[:40])
    run = pretrain(CFG, data, tmp_path/"run", device="cpu", quiet=True, resume=True)
    said = capsys.readouterr().out
    assert f"{newest.name}/progress.json is damaged" in said and f"going on from {older.name}" in said and run.history.step.iloc[-1] == 10


def test_a_soak_does_not_grow():
    before, after = chaos.soak(200)
    assert after < 1.05*before, (before, after)


def test_states_are_on_the_disk_before_they_count(tmp_path, monkeypatch):
    "Every file of a state, its folder, and the folder above are synced before an older state goes."
    import os
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(os.readlink(f"/proc/self/fd/{handle}")), fsync(handle))[1])
    run = pretrain(override(CFG, max_steps=2), open_data(CFG).pretrain, tmp_path/"run", device="cpu", quiet=True)
    names = {Path(path).name for path in synced}
    assert {"model.safetensors", "optimizer.bin", "progress.json", ".incomplete", "state"} <= names and run.folder.name in names
