"Runs whose model is spread over two processes: the same numbers, the same files, stopped and continued either way."
import json
import os
import subprocess
import sys
import textwrap

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from sslam_nb.config import override, preset
from sslam_nb.data.access import open_data
from sslam_nb.training.pretrain import pretrain

SETTINGS = dict(width=32, depth=2, n_heads=2, decoder_width=16, decoder_depth=2, local_top_k=2, target_frames=128,
                unmixed_frames=32, n_clips=16, batch_size=4, epochs=3, probe_clips=(32, 16), log_every=1, log_with="none",
                mix_share=0.5, global_top_k_unmixed=1, save_every=100)

SCRIPT = """
import json, os, shutil, signal, sys
import torch
from accelerate import Accelerator
from torch import nn
from sslam_nb import open_data, override, preset, pretrain
from sslam_nb.core import step_generator
from sslam_nb.sslam import SSLAM, draw_step
from sslam_nb.training.sharding import prepare, shard, state_bytes
from sslam_nb.training.state import Stopped, check_finite

settings, rank = json.loads(sys.argv[1]), int(os.environ['RANK'])
def run(folder, spread, resume=False):
    cfg = override(preset('stage2', 'tiny'), **settings, shard=spread)
    return pretrain(cfg, open_data(cfg).pretrain, os.path.abspath(folder), device='cpu', resume=resume, quiet=True)

def run_and_stop(folder, spread):
    "The second process alone is told to stop, in its third step."
    calls = []
    def tell(module, inputs):
        if isinstance(module, SSLAM): calls.append(1)
        if isinstance(module, SSLAM) and len(calls) == 3 and rank == 1: os.kill(os.getpid(), signal.SIGUSR1)
    hook = nn.modules.module.register_module_forward_pre_hook(tell)
    try: run(folder, spread)
    except Stopped as stop: assert stop.code == 128 + signal.SIGUSR1
    else: raise AssertionError('it did not stop')
    finally: hook.remove()

run('plain', False)
model = run('spread', True).model
assert not any(hasattr(p, 'full_tensor') for p in model.parameters())
run_and_stop('plain_cut', False)
run_and_stop('spread_cut', True)
accelerator = Accelerator(cpu=True)
if rank == 0:
    for name in ('plain', 'spread'): shutil.copytree(f'{name}_cut', f'{name}_one')
accelerator.wait_for_everyone()
run('plain_cut', True, resume=True)
run('spread_cut', False, resume=True)

cfg = override(preset('stage2', 'tiny'), **settings)
model = shard(SSLAM(cfg), accelerator)
check_finite(model, 1)
with torch.no_grad(): model.student.blocks[0].mlp[0].weight.to_local()[-1] += float('nan') if rank else 0
try: check_finite(model, 1)
except FloatingPointError as error: assert 'student.blocks.0.mlp.0.weight' in str(error)
else: raise AssertionError('what is not finite on the other process was not seen')

cfg = override(preset('stage2', 'large'), depth=2, local_top_k=2, batch_size=2, rows_per_clip=2, target_frames=512, unmixed_frames=112)
model = shard(SSLAM(cfg), accelerator)
too_early = torch.optim.AdamW(SSLAM(override(preset('stage2', 'tiny'), **settings)).parameters())
try: prepare(accelerator, model, too_early)
except ValueError as error: assert 'make it after `shard`' in str(error)
else: raise AssertionError('an optimiser of other weights was taken')
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
model, optimizer = prepare(accelerator, model, optimizer)
draw = step_generator(1, 0, rank, 0)
clips = torch.randn(2, 512, 128, generator=draw)
losses = []
for step in range(2):
    loss, logged = model(clips, *draw_step(cfg, 2, step_generator(1, 0, rank, 0)), None, step_generator(1, 0, rank, 1))
    accelerator.backward(loss)
    optimizer.step()
    optimizer.zero_grad()
    model.teacher.update(model.student, 0.999)
    losses.append(logged['loss'].item())
optimizer.load_state_dict(optimizer.state_dict())              # what was loaded takes no more room than its share
averages = [value.to_local() for values in optimizer.optimizer.state.values() for value in values.values() if value.ndim]
held = sum(p.to_local().nbytes for p in model.parameters()), sum(value.untyped_storage().nbytes() for value in averages)
counted = state_bytes(cfg, 2, True)
assert held[0] <= counted['weights'] + counted['teacher'] and held[1] <= counted['adamw'], (held, counted)
assert losses[1] < losses[0], losses
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    "Whole runs and interrupted ones, spread and not, all in one launch of two processes."
    folder = tmp_path_factory.mktemp("shard")
    (folder/"train.py").write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "train.py", json.dumps(SETTINGS)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def assert_same(a, b):
    "The same losses, gradients and weights but for rounding."
    columns = ["step", "loss", "retention", "grad_norm", "target_std"]
    ours, theirs = (pd.read_csv(folder/"metrics.csv")[columns] for folder in (a, b))
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-5, atol=1e-6)
    ours, theirs = (load_file(folder/"model.safetensors") for folder in (a, b))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items(): torch.testing.assert_close(value, theirs[name], rtol=1e-5, atol=1e-5, msg=name)


def test_a_spread_run_is_the_run(runs): assert_same(runs/"plain", runs/"spread")


@pytest.mark.parametrize("name", ["plain_cut", "spread_cut"])
def test_stopped_one_way_and_continued_the_other(runs, name): assert_same(runs/"plain", runs/name)


def test_one_process_goes_on_from_a_spread_run(runs, capsys):
    "As from one that was not spread: the same files. Masks are drawn for each process, so neither is the run of two."
    states = [runs/name/"state"/"step_00000003" for name in ("plain_one", "spread_one")]
    assert len({tuple(sorted(path.name for path in state.iterdir())) for state in states}) == 1
    settings = SETTINGS | dict(batch_size=2*SETTINGS["batch_size"])
    for name in ("plain_one", "spread_one"):
        cfg = override(preset("stage2", "tiny"), **settings, shard=name == "spread_one")
        pretrain(cfg, open_data(cfg).pretrain, runs/name, device="cpu", resume=True, quiet=True)
    assert "one process holds everything" in capsys.readouterr().out
    assert_same(runs/"plain_one", runs/"spread_one")
