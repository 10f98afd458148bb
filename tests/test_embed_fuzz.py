"A hundred random calls, each a finite result or an error that names the argument; sample rates in bounded memory."
import random, subprocess, sys
from collections import Counter
from math import ceil

import numpy as np
import pytest
import torch

from fuzz_inputs import models, random_call, try_call
from sslam_nb import embed
from sslam_nb.core import import_torchaudio
from sslam_nb.spectrogram import resample

@pytest.mark.parametrize('start', range(0, 100, 10))
def test_random_calls(start):
    found = {seed: try_call(seed) for seed in range(start, start + 10)}
    assert not {seed: f for seed, f in found.items() if f.kind == 'fault'}

def test_the_calls_are_random_and_the_same_every_time():
    "Every function, odd arguments of many kinds, and results as well as errors."
    found = [try_call(seed) for seed in range(30)]
    assert [f[:3] for f in found] == [try_call(seed)[:3] for seed in range(30)]
    assert {f.function for f in found} == {'embed', 'predict', 'LogMel'} and {f.kind for f in found} == {'finite', 'named'}
    odd = Counter(name for seed in range(500) for name in random_call(random.Random(seed))[2])
    assert odd.keys() >= {'wave', 'sample_rate', 'model', 'window', 'hop', 'spectrogram', 'batch_size', 'pool', 'layer', 'top',
                          'activation', 'classifier', 'lengths', 'cfg'}

CHILD = '''
import resource, sys, time, torch
from sslam_nb.spectrogram import resample
rate = int(sys.argv[1]); wave = torch.rand(rate)
resample(torch.rand(44100), 44100, 16000)
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
n = len(resample(wave, rate, 16000))
print(n, time.process_time() - start, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)/1024)'''

@pytest.mark.parametrize('rate', [44_105, 999_983])
def test_a_second_at_any_rate_takes_little_memory_and_time(rate):
    "torchaudio's matrix alone would have 28 and 16 012 million numbers."
    run = subprocess.run([sys.executable, '-c', CHILD, str(rate)], capture_output=True, text=True, check=True)
    n, seconds, mib = map(float, run.stdout.split())
    assert n == 16_000 and mib < 100 and seconds < 10    # minutes, were the matrix made

@pytest.mark.parametrize('rate', [8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 37_800, 44_100, 48_000, 64_000, 88_200,
                                  96_000, 176_400, 192_000, 250_000, 352_800, 384_000, 705_600, 768_000])
def test_usual_rates_are_torchaudios_to_the_bit(rate):
    wave = torch.from_numpy(np.random.default_rng(rate).standard_normal((2, rate//8), dtype=np.float32))
    official = import_torchaudio().functional.resample
    for target in (16_000, 32_000): assert torch.equal(resample(wave, rate, target), official(wave, rate, target))

def test_length_and_pitch_are_exact_at_random_rates():
    rng = np.random.default_rng(0)
    for rate in [1000, 1_000_000, *rng.integers(1000, 1_000_000, 12).tolist(), *rng.integers(4000, 50_000, 12).tolist()]:
        n = int(rng.integers(rate//4, rate//2))
        wave = torch.sin(2*torch.pi*100*torch.arange(n, dtype=torch.float64)/rate)
        found = resample(wave.float(), rate, 16_000)
        assert len(found) == ceil(n*16_000/rate)
        ideal = torch.sin(2*torch.pi*100*torch.arange(len(found), dtype=torch.float64)/16_000)
        assert (found - ideal)[200:-200].abs().max() < 2e-3, rate

def test_a_long_recording_keeps_its_length():
    "torchaudio counts the samples in float32, which skips numbers above 2^24."
    n = 2**24 + 4321
    wave = torch.zeros(3*n - 2); wave[-1] = 1
    found = resample(wave, 48_000, 16_000)
    assert len(found) == n and found[-1].abs() > 0.1

def test_gradients_flow_at_every_rate():
    "Also after the matrix was made without them."
    for rate in (47_999, 12_001, 22_000):
        with torch.inference_mode(): resample(torch.rand(500), rate, 16_000)
        wave = torch.rand(500, requires_grad=True)
        resample(wave, rate, 16_000).sum().backward()
        assert wave.grad.isfinite().all() and wave.grad.any()

def test_nine_channels_are_refused_at_once(monkeypatch):
    "Before anything is resampled or encoded."
    def never(*args, **kwargs): raise AssertionError('work was begun')
    for name in ('resample', 'kaldi_log_mel'): monkeypatch.setattr(f'sslam_nb.use.windows.{name}', never)
    for wave in (np.zeros((480_000, 9), np.float32), np.zeros((480_000, 40), np.float32), np.zeros((1, 9, 480_000), np.float32)):
        with pytest.raises(ValueError, match='wave: clip 0'): embed(models()['vit'], wave, 48_000)
