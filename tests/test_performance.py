"The plain baseline computes what the package computes; `make bench` gives every row. The long form is benchmarks/performance.py."
import json, os, re, subprocess, sys

import numpy as np
import pandas as pd
import pytest
import torch

from sslam_nb.config import override, preset
from sslam_nb.core import project_root, set_seed, step_generator
from sslam_nb.evidence.plan import count_flops, tflop
from sslam_nb.sslam import SSLAM, draw_step

ROOT = project_root()
sys.path.insert(0, str(ROOT/'benchmarks'))
try:
    from baseline import Baseline, BaselineStep, draw_batch
    from performance import OurStep, middle
finally: sys.path.pop(0)

CASES = [('stage1', None), ('stage2', 'MB-UA'), ('stage2', 'MB-PMA'), ('stage2', 'MB-UA-PMA'), ('stage2', 'SSLAM')]
three = pytest.mark.parametrize('stage, variant', CASES, ids=[variant or stage for stage, variant in CASES])

def setting(stage, variant, **changes):
    "A model whose teacher differs from its student, three clips, and what one step draws."
    cfg = override(preset(stage, 'tiny'), variant=variant, batch_size=3, **changes)
    set_seed(0)
    model = SSLAM(cfg)
    with torch.no_grad():
        for weight in model.teacher.encoder.parameters(): weight += 0.02*torch.randn_like(weight)
    clips = torch.randn(3, cfg.spectrogram.target_frames, cfg.spectrogram.n_mels)
    return cfg, model, clips, *draw_step(cfg, 3, step_generator(1))

def noise(cfg, model, clips):
    "As the decoder draws it from this seed."
    rows = 3*cfg.mask_copies*sum(cfg.halves)
    return model.decoder.noise((rows, cfg.grid[0]*cfg.grid[1], cfg.encoder.width), clips, step_generator(2))

def both(stage, variant, **changes):
    cfg, model, clips, masks, region = setting(stage, variant, **changes)
    plain = Baseline(model)
    ours, terms = model(clips, masks, region, generator=step_generator(2))
    theirs, parts = plain(clips, masks, region, noise(cfg, model, clips))
    return model, plain, ours, theirs, terms, parts

@three
@pytest.mark.parametrize('reduction', ['sum', 'mean'])
def test_the_same_loss(stage, variant, reduction):
    _, _, ours, theirs, terms, parts = both(stage, variant, global_reduction=reduction)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)
    local = [value for name, value in terms.items() if name.startswith('local')]
    torch.testing.assert_close(sum(local)/len(local), parts['local'], rtol=1e-5, atol=0, check_device=False)
    if 'retention' in parts: torch.testing.assert_close(terms['retention'], parts['retention'], rtol=1e-5, atol=0)

@three
def test_the_same_gradients(stage, variant):
    model, plain, ours, theirs, *_ = both(stage, variant)
    ours.backward(); theirs.backward()
    wanted = {name: weight.grad for name, weight in plain.named_parameters() if weight.grad is not None}
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    assert found.keys() == wanted.keys() and len(found) > 40
    for name, grad in found.items():
        assert (grad - wanted[name]).norm() <= 1e-4*wanted[name].norm() + 1e-6, name

def test_a_region_may_be_given_by_number():
    cfg, model, clips, masks, region = setting('stage2', 'SSLAM')
    mixed = torch.zeros(cfg.grid[0], dtype=torch.bool).index_fill(0, region, True) if region.dtype == torch.int64 else region
    plain, given = Baseline(model), noise(cfg, model, clips)
    assert plain(clips, masks, mixed, given)[0] == plain(clips, masks, mixed.nonzero().flatten(), given)[0]

def test_three_updates_move_weights_and_teacher_alike():
    "Without noise in hidden places, so that both see the same; AdamW divides by small numbers, hence the wider limits."
    _, model, clips, masks, region = setting('stage2', 'SSLAM', noise_std=0.0, lr=1e-3, ema_start=0.9)
    theirs, ours = BaselineStep(model), OurStep(model)
    for _ in range(3):
        theirs(clips, masks, region)
        ours(clips, masks, region)
    moved = dict(theirs.model.student.named_parameters())
    apart = [(weight - moved[name]).abs().max().item() for name, weight in model.student.named_parameters()]
    assert np.mean(apart) < 2e-4, apart
    teacher = theirs.model.teacher.state_dict()
    for name, weight in model.teacher.encoder.state_dict().items():
        torch.testing.assert_close(weight, teacher[name], rtol=0, atol=1e-4, msg=name)

@three
def test_the_same_operations(stage, variant):
    "Counted by torch on both; and by the formula."
    cfg, model, clips, masks, region = setting(stage, variant)
    plain = Baseline(model)
    ours, theirs = (count_flops(lambda: run(clips, masks, region)[0].backward()) for run in (model, plain))
    assert ours == theirs and abs(ours/(3*tflop(cfg)*1e12) - 1) < 1e-6

def test_masks_clip_by_clip_keep_the_count():
    masks, region = draw_batch(preset('stage2', 'paper'), 3, np.random.default_rng(0))
    assert masks.shape == (3, 8, 512) and set(masks.sum(-1).flatten().tolist()) == {410} and region.sum() == 34

def test_interval():
    assert middle([3.0]) == (3, 3, 3) and middle([2, 1, 9]) == (2, 1, 9)
    assert middle(range(9)) == (4, 1, 7), 'the second and the last but one, for nine'

def test_make_bench_in_short(tmp_path):
    done = subprocess.run([sys.executable, '-W', 'ignore', 'benchmarks/performance.py', '--quick', '--out', tmp_path], cwd=ROOT,
                          capture_output=True, text=True, timeout=600, env=os.environ | {'OMP_NUM_THREADS': '1'})
    assert done.returncode == 0, done.stderr[-3000:]
    page, about = (tmp_path/'performance.md').read_text(), json.loads((tmp_path/'performance.json').read_text())
    for title in ('A step', 'Share of the machine', 'Compiled', 'Peak memory', 'Growth', 'Parts', 'Loader', 'Start', 'GPU'):
        assert f'\n## {title}\n' in page
    table = pd.read_csv(tmp_path/'performance.csv')
    assert len(table) == len(about['rows']) and table.value.notna().sum() > 15
    assert all(word in page for word in (f"torch {torch.__version__}", 'GiB', about['about']['hardware'], str(about['about']['commit'])))
    used = table[table.section == 'Peak memory'].value
    assert 0.1 < used.iloc[0] < used.iloc[1:].min(), 'a process counts its own memory, and not that of the one that started it'
    measured = table[table.value.notna() & (table.rounds > 1)]
    assert (measured.low <= measured.value).all() and (measured.value <= measured.high).all()
    assert re.search(r'ours \| [\d.,]+ \[.*\] s \| [\d.]+ \[.*\] times as fast as the baseline', page)
