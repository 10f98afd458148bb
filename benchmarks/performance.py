"""How fast, and with how much memory, on this machine: python benchmarks/performance.py, or `make bench` (20 minutes on two quiet cores).

    python benchmarks/performance.py [--quick] [--no-stage2] [--out FOLDER] [SECTION ...]

Contestants take turns, round after round, each round beginning with another one, so that a busy machine slows all alike. A
number is the median over the rounds with its 95 % interval by order statistics; under six rounds it is their range. Ratios
are taken within a round. Writes performance.md, .csv and .json into papers_tables; with --quick (smallest sizes, two rounds) or
some of the sections, into runs/benchmarks."""
import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

os.environ.setdefault('TORCHINDUCTOR_FORCE_DISABLE_CACHES', '1')      # the time to compile is that of the first time
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')                   # as for everybody who imports sslam_nb before torch

import numpy as np
import pandas as pd
import torch
from scipy.stats import quantile_test
from torch import nn

from sslam_nb.config import override, preset
from sslam_nb.core import atomic_path, git_commit, project_path, project_root, set_seed, step_generator
from sslam_nb.data.loading import to_device
from sslam_nb.evidence.paper_tables import markdown
from sslam_nb.evidence.plan import tflop
from sslam_nb.masking import multi_mask
from sslam_nb.mixing import as_columns
from sslam_nb.reports.results import hardware
from sslam_nb.spectrogram import LogMel
from sslam_nb.sslam import SSLAM, draw_noise, draw_step
from sslam_nb.training.update import compute_as, param_groups, why_slow
from sslam_nb.training.weights import save_checkpoint
from sslam_nb.use.embed import embed

import import_time
from baseline import BaselineStep, draw_batch, draw_masks

GPU = torch.cuda.is_available()
ROUNDS = dict(paper=4, stage1=3, small=6, tiny=15, parts=9, growth=4, imports=3)
NAMES = {'no': 'float32', 'bf16': 'bf16'}
ROWS = []


def fit_for(names, device='cpu'):
    "Of these precisions the ones that the device computes fast, and why another is left out; where none is left, float32."
    why = {p: why_slow(p, device) for p in names}
    return [p for p in names if not why[p]] or ['no'], ''.join(f'left out: {w}' for w in why.values() if w)


# Measuring

def clock(run, device='cpu'):
    "Seconds of one call."
    if device == 'cpu':
        begin = time.perf_counter()
        run()
        return time.perf_counter() - begin
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(); begin.record()
    run()
    end.record(); torch.cuda.synchronize()
    return begin.elapsed_time(end)/1000


def race(runs, rounds, device='cpu', warm_up=False):
    "Seconds by contestant (columns) and round; `warm_up` lets each run once before."
    names, laps = list(runs), []
    for run in runs.values() if warm_up else (): run()
    for i in range(rounds):
        first = i % len(names)
        laps.append({name: clock(runs[name], device) for name in names[first:] + names[:first]})
        print('.', end='', flush=True)
    return pd.DataFrame(laps, columns=names)


def middle(values):
    "Median, and the two ends of its 95 % interval."
    values = np.asarray(values, float)
    ends = quantile_test(values, q=np.median(values)).confidence_interval(0.95)
    low, high = ends if np.isfinite([*ends]).all() else (values.min(), values.max())
    return float(np.median(values)), float(low), float(high)


def row(section, what, values=None, unit='', ratio=None, of='', note=''):
    "One line of the result; None where nothing was measured."
    value, low, high = (None,)*3 if values is None else middle(values)
    times, times_low, times_high = (None,)*3 if ratio is None else middle(ratio)
    ROWS.append(dict(section=section, what=what, value=value, low=low, high=high, unit=unit, rounds=0 if values is None else np.size(values),
                     ratio=times, ratio_low=times_low, ratio_high=times_high, of=of, note=note))
    print(f'\n{section} | {what} | {said(value, low, high)} {unit} | {said(times, times_low, times_high)} {of} {note}', flush=True)


def said(value, low, high):
    "'1.25 [1.24, 1.27]', or '-'."
    if value is None or pd.isna(value): return '-'
    show = lambda x: f'{x:,.0f}' if abs(x) >= 1000 else f'{x:.3g}'
    return show(value) + (f' [{show(low)}, {show(high)}]' if low != high else '')


# Contestants

def clips_of(cfg, n_clips, device='cpu'):
    sound = cfg.spectrogram
    return torch.randn(n_clips, sound.target_frames, sound.n_mels, generator=step_generator(0)).to(device)*0.5


class OurStep:
    "Whole updates, as chapter `training.update` makes them between two lines of its log."
    def __init__(self, model, precision='no', device='cpu', compiled=False):
        self.model, self.precision, self.device, recipe = model.to(device).train(), precision, device, model.cfg.optim
        compute_as(self.model, replace(model.cfg.compute, compile=compiled), torch.device(device))
        self.generator = torch.Generator(device) if compiled else None         # a graph is given its noise, as in the loop
        self.optimizer = torch.optim.AdamW(param_groups(self.model, recipe.weight_decay, recipe.decay_norms), lr=recipe.lr,
                                           betas=recipe.betas, fused=True)

    def __call__(self, clips, masks, region):
        cfg, device = self.model.cfg, torch.device(self.device)
        noise, recipe = self.generator and draw_noise(cfg, len(clips), self.generator), cfg.optim
        with torch.autocast(self.device, torch.bfloat16, enabled=self.precision == 'bf16'):
            loss, _ = self.model(clips, to_device(masks, device), to_device(as_columns(region), device), noise=noise)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip_norm)
        self.optimizer.step()
        self.model.teacher.update(self.model.student, recipe.ema_start)


def contestant(who, cfg, device='cpu', compiled=False):
    "run(precision, drawn, n_clips): one update of 'ours' or the 'baseline', masks and all; `drawn` may have other copies."
    set_seed(cfg.seed)
    model = SSLAM(cfg)
    step = BaselineStep(model, device=device) if who == 'baseline' else OurStep(model, device=device, compiled=compiled)
    rng, count = np.random.default_rng(cfg.seed), itertools.count()
    def run(precision, drawn=cfg, n_clips=cfg.batch_size):
        step.precision = precision
        drawing = (draw_batch(drawn, n_clips, rng) if who == 'baseline' else
                   draw_step(drawn, n_clips, step_generator(cfg.seed, next(count))))
        step(clips_of(drawn, n_clips, device), *drawing)
    return run


def warm(run, cfg, precision='no'):
    "One update with a single copy of each clip: memory is fetched, Adam has its state."
    run(precision, override(cfg, clones=1))


def products(dtype, device='cpu', repeats=4):
    "The four matrix products of ViT-B's blocks on the visible tokens of 32 copies; their operations, and a call that makes them."
    shapes = [(768, 2304), (768, 768), (768, 3072), (3072, 768)]
    pairs = [(torch.randn(3296, a, dtype=dtype, device=device), torch.randn(a, b, dtype=dtype, device=device)) for a, b in shapes]
    def run():
        for _ in range(repeats):
            for x, w in pairs: torch.mm(x, w)
    run()
    return repeats*sum(2*3296*a*b for a, b in shapes), run


# Sections. Each says what its rows are in its docstring, and adds them

def steps(quick):
    """One update with all that belongs to it: masks, mixture, forward, backward, clipping, AdamW, teacher. `baseline` is
benchmarks/baseline.py, which computes the same losses in the official code's way."""
    sizes = [('tiny', 'stage2', 2)] if quick else [
        ('paper', 'stage2', ROUNDS['paper']), ('paper', 'stage1', ROUNDS['stage1']), ('tiny', 'stage2', ROUNDS['tiny']),
        ('tiny', 'stage1', ROUNDS['tiny'])]
    for size, stage, rounds in sizes: measure_steps('A step', size, stage, rounds, 2)


def measure_steps(section, size, stage, rounds, batch, device='cpu'):
    "Both contestants in both precisions, beside the rate of matrix products in the same rounds."
    cfg = override(preset(stage, size), batch_size=batch)
    runs = {who: contestant(who, cfg, device) for who in ('baseline', 'ours')}
    fit, why = fit_for(NAMES, device)
    rates = {p: products(torch.bfloat16 if p == 'bf16' else torch.float32, device) for p in fit}
    for run, p in itertools.product(runs.values(), fit): warm(run, cfg, p)
    calls = {(who, p): lambda who=who, p=p: runs[who](p) for p in fit for who in runs} | {
        ('mm', p): rates[p][1] for p in fit}
    laps, work = race(calls, rounds, device), batch*tflop(cfg)*1e12
    place = f'{stage}, {size}, batch {batch}' + (', GPU' if device == 'cuda' else '')
    for p in fit:
        name, slow, fast = NAMES[p], laps['baseline', p], laps['ours', p]
        row(section, f'{place}, {name}: baseline', slow, 's')
        row(section, f'{place}, {name}: ours', fast, 's', slow/fast, 'times as fast as the baseline')
        rate = rates[p][0]/laps['mm', p]
        row('Share of the machine', f'{place}, {name}: matrix products alone', rate/1e9, 'GFLOP/s')
        for who, seconds in (('baseline', slow), ('ours', fast)):
            row('Share of the machine', f'{place}, {name}: {who}', work/seconds/1e9, 'GFLOP/s', work/seconds/rate, 'of that rate',
                f'{work/1e12:.3g} TFLOP a step')
    if why: row(section, f'{place}, bf16: baseline and ours', note=why)


def share(quick):
    """Operations of a step, as chapter `evidence.plan` counts them (products, convolutions and attention; nothing that is computed
twice), by its seconds; and the rate of `torch.mm` on the shapes of ViT-B's blocks, measured in the same rounds."""


def compiled(quick, device='cpu'):
    """`torch.compile(model, fullgraph=True)` and the same model as it is. The first step is the one that compiles, with an empty
cache."""
    section, where = 'Compiled', ', GPU' if device == 'cuda' else ''
    for size, precisions in [] if quick else [('paper', NAMES)] if device == 'cuda' else [('small', ['bf16']), ('tiny', ['no'])]:
        cfg = override(preset('stage2', size), batch_size=12 if device == 'cuda' else 2)
        plain, graph = contestant('ours', cfg, device), contestant('ours', cfg, device, compiled=True)
        base = contestant('baseline', cfg, device)
        for p in fit_for(precisions, device)[0]:
            place = f'stage2, {size}, batch {cfg.batch_size}{where}, {NAMES[p]}'
            calls = {'plain': lambda: plain(p), 'baseline': lambda: base(p)}
            try: first, why = clock(lambda: graph(p), device), ''
            except Exception as error: first, why = None, f'{type(error).__name__}: {str(error).strip().splitlines()[0]:.90}'
            if first is not None: calls['graph'] = lambda: graph(p)
            for run in (plain, base): warm(run, cfg, p)
            laps = race(calls, ROUNDS[size], device)
            row(section, f'{place}: baseline', laps.baseline, 's')
            row(section, f'{place}: as it is', laps.plain, 's', laps.baseline/laps.plain, 'times as fast as the baseline')
            row(section, f'{place}: compiled', *(laps.graph, 's', laps.plain/laps.graph, 'times as fast as it is') if first else (), note=why)
            row(section, f'{place}: first step, compiled', first and [first], 's')
    if quick: row(section, 'stage2, small, batch 2, bf16: compiled', note='left out by --quick')


def memory(quick):
    """Most memory that a process of its own has while it makes an update: resident, with the libraries, whose share is the first row; on a
GPU what torch allocates there."""
    measure_memory('tiny' if quick else 'paper', 2, 'cpu', ['no'] if quick else NAMES)


def measure_memory(size, batch, device, precisions):
    "Both contestants, each in a process of its own, and ours with less memory for more time."
    section, where, first = 'Peak memory', ', GPU' if device == 'cuda' else '', device == 'cpu'
    fit, why = fit_for(precisions, device)
    for p in fit:
        most = {}
        for who, changes in {'baseline': {}, 'ours': {}, 'ours, checkpoint_activations': dict(checkpoint_activations=True)}.items():
            task = dict(who=who.split(',')[0], size=size, batch=batch, device=device, precision=p, changes=changes)
            done = subprocess.run([sys.executable, '-W', 'ignore', __file__, '--peak', json.dumps(task)], capture_output=True, text=True)
            if done.returncode: raise RuntimeError(done.stderr[-2000:])
            before, seconds, most[who] = map(float, done.stdout.split()[-3:])
            if first: row(section, 'the libraries alone', [before], 'GiB')
            first, ratio = False, [most[who]/most['baseline']] if who != 'baseline' else None
            row(section, f'stage2, {size}, batch {batch}{where}, {NAMES[p]}: {who}', [most[who]], 'GiB', ratio,
                'of the baseline' if ratio else '', f'{seconds:.3g} s a step, once')
    if why: row(section, f'stage2, {size}, batch {batch}{where}, bf16: baseline and ours', note=why)


def peak(task):
    "In a process of its own: memory before, seconds of an update, most memory [GiB]."
    task = json.loads(task)
    status = Path('/proc/self/status')                       # ru_maxrss would begin with that of the process that started us
    resident = lambda: int(status.read_text().split('VmHWM:')[1].split()[0])/2**20
    before, device = resident(), task['device']
    cfg = override(preset('stage2', task['size']), batch_size=task['batch'], **task['changes'])
    run = contestant(task['who'], cfg, device)
    warm(run, cfg, task['precision'])
    seconds = clock(lambda: run(task['precision']), device)
    print(before, seconds, torch.cuda.max_memory_allocated()/2**30 if device == 'cuda' else resident())


def parts(quick):
    """What stands around the step. Masks: 12 clips of 8 copies. Log-mels: 12 clips of 10 s. `embed` takes 10-s clips to vectors,
log-mels included; beside it `torch.nn.TransformerEncoder` of the same layers on random tokens."""
    rounds, section = 2 if quick else ROUNDS['parts'], 'Parts'
    cfg, rng = preset('stage2', 'tiny' if quick else 'paper'), np.random.default_rng(0)
    m = cfg.masking
    laps = race(dict(ours=lambda: multi_mask(12, 8, cfg.grid, ratio=m.mask_ratio, block=m.mask_block, adjust=m.mask_adjust),
                     numpy=lambda: [draw_masks(8, cfg.grid, m.mask_ratio, m.mask_block, m.mask_adjust, rng) for _ in range(12)]), rounds, warm_up=True)
    row(section, 'masks: NumPy, clip by clip', 96/laps.numpy, '/s')
    row(section, 'masks: ours, all at once', 96/laps.ours, '/s', laps.numpy/laps.ours, 'times as fast as NumPy')
    waves, log_mel = 0.1*torch.randn(2 if quick else 12, 160_000, generator=step_generator(0)), LogMel(preset('stage2').spectrogram)
    laps = race(dict(one=lambda: [log_mel(wave) for wave in waves], batch=lambda: log_mel(waves)), rounds, warm_up=True)
    row(section, 'log-mels: clip by clip (Kaldi)', len(waves)/laps.one, 'clips/s')
    row(section, 'log-mels: in batch', len(waves)/laps.batch, 'clips/s', laps.one/laps.batch, 'times as fast as clip by clip')
    embedding(cfg, waves[:2], rounds)
    for size in ['tiny'] if quick else ['paper', 'tiny']:
        model = SSLAM(preset('stage2', size))
        with tempfile.TemporaryDirectory() as folder: written = save_checkpoint(model, Path(folder)/'model.safetensors').stat().st_size
        row(section, f'checkpoint, {size}: student, decoder, teacher', [written/2**20], 'MiB')


def embedding(cfg, waves, rounds):
    "Clips to vectors, and a bare stack of the same layers."
    e, model = cfg.encoder, SSLAM(cfg).student.eval()
    tokens = 1 + 1024//e.patch_size*model.n_mel_patches
    layer = nn.TransformerEncoderLayer(e.width, e.n_heads, int(e.mlp_ratio*e.width), 0.0, 'gelu', batch_first=True)
    stack, x = nn.TransformerEncoder(layer, e.depth).eval(), torch.randn(len(waves), tokens, e.width)
    with torch.no_grad():
        laps = race(dict(ours=lambda: embed(model, waves, 16_000), bare=lambda: stack(x)), rounds, warm_up=True)
    row('Parts', f'embed, {cfg.size}: torch.nn.TransformerEncoder alone', len(waves)/laps.bare, 'clips/s')
    row('Parts', f'embed, {cfg.size}: ours, from waves', len(waves)/laps.ours, 'clips/s', laps.bare/laps.ours, 'times as fast as the bare stack')


def loader(quick):
    """Clips a second through the whole loop of pre-training with a step that costs nothing (benchmarks/feeding.py, which says more)."""
    try: from feeding import measure
    except ImportError: return row('Loader', 'folder, flac shards, log-mel shards')
    for r in measure(120, 3, workers=(0,) if quick else (1, 2), quick=quick):
        values = [r['clips_per_s']] if r['low'] is None else [r['low'], r['clips_per_s'], r['high']]
        filterbank = '' if r['filterbank'] == '-' else f", filterbank: {r['filterbank']}"
        row('Loader', f"{r['source']}{filterbank}, {r['workers']} loader processes", values, 'clips/s', note=f"{r['per_core']:.0f} a core")
        ROWS[-1]['rounds'] = r['repeats']


def start(quick):
    """Import: a process of its own, less an empty one. `make stage2`: from a cold process to the notebook with its probe, at `tiny`; it
trains a Stage 1 first where there is none in runs/."""
    if quick: return row('Start', 'imports', note='left out by --quick')
    laps = pd.DataFrame(import_time.rounds(ROUNDS['imports']))
    for case in laps:
        ours = 'sslam' in case
        row('Start', case, laps[case], 's', laps[case]/laps['import torch'] if ours else None, 'times import torch' if ours else '')


def stage2():
    "Wall seconds of `make stage2`."
    command, cold = ['make', '-s', 'stage2', 'ARGS=-p run_name bench-stage2 -p overwrite True'], dict(os.environ)
    cold.pop('MAKEFLAGS', None)                              # of the `make` that we run under
    row('Start', 'make stage2', [clock(lambda: subprocess.run(command, cwd=project_root(), env=cold, check=True, stdout=subprocess.DEVNULL))], 's')


def growth(quick):
    """Stage 2 at `small` (width 384) in bf16 where the processor has it, two clips of 1024 frames in 8 copies; then one of these is
changed. Seconds against those of the first row; beside them how the counted operations grow."""
    base = override(preset('stage2', 'tiny' if quick else 'small'), batch_size=2, clones=2 if quick else 8)
    cut = lambda frames: dict(target_frames=frames, unmixed_frames=frames*15//1024*16)
    changes = {'as it is': {}, 'copies 1': dict(clones=1)} if quick else {
        'batch 2, copies 8, frames 1024, width 384': {}, **{f'copies {m}': dict(clones=m) for m in (4, 16)},
        **{f'frames {n}': cut(n) for n in (256, 512, 768)}, 'width 768': dict(width=768, n_heads=12, decoder_width=768)}
    cfgs = {name: override(base, **change) for name, change in changes.items()}
    first, runs, precision = next(iter(cfgs)), {}, fit_for(['bf16'])[0][0]
    for name, change in changes.items():                     # copies need no model of their own
        runs[name] = runs[first] if change.keys() == {'clones'} else contestant('ours', cfgs[name])
        warm(runs[name], cfgs[name], precision)
    calls = {name: lambda name=name: runs[name](precision, cfgs[name]) for name in cfgs}
    calls |= {f'batch {n}': lambda n=n: runs[first](precision, cfgs[first], n) for n in ((1,) if quick else (1, 4))}
    laps = race(calls, 2 if quick else ROUNDS['growth'])
    for name in laps:
        work = tflop(cfgs[name])*2 if name in cfgs else tflop(base)*int(name.split()[1])
        if name == first: row('Growth', name, laps[name], 's', note=f'{work:.3g} TFLOP, {NAMES[precision]}')
        else: row('Growth', name, laps[name], 's', laps[name]/laps[first], 'times the first row', f'operations {work/(2*tflop(base)):.3g} times')


def gpu(quick):
    """On a GPU: 12 clips of Stage 2 at the paper's size. Its share of the machine, compiled steps and memory stand in the sections above."""
    size = 'tiny' if quick else 'paper'
    if GPU:
        measure_steps('GPU', size, 'stage2', 2 if quick else 15, 12, 'cuda')
        compiled(quick, 'cuda')
        measure_memory(size, 12, 'cuda', NAMES)
    else:
        for what in ('baseline and ours, float32 and bf16', 'share of the rate of matrix products', 'compiled', 'peak memory'):
            row('GPU', f'stage2, {size}, batch 12, GPU: {what}', note='no GPU in this machine')


SECTIONS = dict(steps=('A step', steps), share=('Share of the machine', share), compiled=('Compiled', compiled), memory=('Peak memory', memory),
                growth=('Growth', growth), parts=('Parts', parts), loader=('Loader', loader), start=('Start', start), gpu=('GPU', gpu))


# The result

def about():
    "The machine, the code and the day."
    gib = os.sysconf('SC_PAGE_SIZE')*os.sysconf('SC_PHYS_PAGES')/2**30
    gpus = torch.cuda.get_device_name() if GPU else 'no GPU'
    return dict(date=str(date.today()), commit=git_commit(), hardware=hardware(), memory_gib=round(gib, 1), gpu=gpus,
                threads=torch.get_num_threads(), python=platform.python_version(), torch=torch.__version__)


def page(head, command):
    "performance.md."
    lines = ['# Performance', '', f"`{command}` on {head['date']} at commit {head['commit']}; {head['hardware']}, {head['memory_gib']} GiB, "
             f"{head['gpu']}; {head['threads']} threads, Python {head['python']}, torch {head['torch']}.", '',
             'Contestants take turns, round after round. Median and its 95 % interval by order statistics; under six rounds the range of the '
             'rounds; a single number was measured once. Ratios are taken within a round. `-` was not measured.']
    table = pd.DataFrame(ROWS)
    for title, function in SECTIONS.values():
        found = table[table.section == title]
        if not len(found): continue
        ratio = [f'{said(*three)} {of}'.strip() if of else '' for *three, of in found[['ratio', 'ratio_low', 'ratio_high', 'of']].to_numpy().tolist()]
        value = [f'{said(*three)} {unit if said(*three) != "-" else ""}'.strip() for *three, unit in found[['value', 'low', 'high', 'unit']].to_numpy().tolist()]
        shown = pd.DataFrame({'measured': value, 'compared': ratio, 'rounds': found['rounds'].to_numpy(), 'note': found.note.to_numpy()},
                             pd.Index(found.what, name='what'))
        lines += ['', f'## {title}', '', ' '.join(function.__doc__.split()), '', markdown(shown)]
    return '\n'.join(lines) + '\n'


def main():
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reader.add_argument('sections', nargs='*', metavar='SECTION', help=f"of {', '.join(SECTIONS)}; all unless told")
    reader.add_argument('--quick', action='store_true', help='smallest sizes, two rounds: does it work?')
    reader.add_argument('--no-stage2', action='store_true', help='leave out `make stage2`')
    reader.add_argument('--out', help='folder for the result')
    reader.add_argument('--peak', help=argparse.SUPPRESS)
    options = reader.parse_args()
    if options.peak: return peak(options.peak)
    if unknown := set(options.sections) - SECTIONS.keys(): reader.error(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    chosen, head, begin = options.sections or list(SECTIONS), about(), time.perf_counter()
    for name in chosen: SECTIONS[name][1](options.quick)
    if 'start' in chosen:
        if options.quick or options.no_stage2: row('Start', 'make stage2', note='left out')
        else: stage2()
    out = project_path(options.out or ('runs/benchmarks' if options.quick or options.sections else 'papers_tables'))
    out.mkdir(parents=True, exist_ok=True)
    command = 'make bench' + ' QUICK=1'*options.quick if not options.sections else f"benchmarks/performance.py {' '.join(chosen)}"
    table = pd.DataFrame(ROWS)
    head['seconds'] = round(time.perf_counter() - begin)
    rows = table.astype(object).where(table.notna(), None).to_dict('records')
    for name, text in (('md', page(head, command)), ('csv', table.to_csv(index=False)),
                       ('json', json.dumps(dict(about=head, rows=rows), indent=1) + '\n')):
        with atomic_path(out/f'performance.{name}') as beside: beside.write_text(text, encoding='utf-8')
    print(f"\n{out/'performance.md'}, {head['seconds']} s")


if __name__ == '__main__': main()
