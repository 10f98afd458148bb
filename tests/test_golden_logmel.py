"The log-mel front end against the official call's numbers (tests/golden, or --golden DIR)."
import json, zlib

import numpy as np
import pytest

from sslam_nb.spectrogram import LogMel

def make_wave(seed):
    "The 10-s waveform that the golden README describes."
    t = np.arange(160_000)/16_000
    noise = np.random.default_rng([seed, zlib.crc32(b'input:wave')]).standard_normal(160_000)
    tones = sum(a*np.sin(2*np.pi*f*t) for a, f in [(.3, 220), (.2, 1000), (.1, 3500)])
    return (tones + .05*noise).astype(np.float32)

@pytest.mark.parametrize('name, samples', [('10s', 160_000), ('3s', 48_000)])
def test_equals_the_official_log_mel(golden_file, name, samples):
    numbers = json.loads(golden_file.read_text())
    if f'fbank.{name}' not in numbers: pytest.skip('this file has no log-mel')
    rows = np.load(golden_file.with_suffix('.npz'))[f'fbank.{name}[::32]']
    seed = int(golden_file.stem.split('_')[0].removeprefix('seed'))
    log_mel = LogMel()(make_wave(seed)[:samples]).numpy()
    expected, flat = numbers[f'fbank.{name}'], log_mel.ravel()
    places = np.linspace(0, flat.size - 1, 32).astype(int)
    close = dict(rtol=0, atol=2e-5)  # the last bit of the waveform's mean moves quiet bins by 1e-5, here or there
    assert list(log_mel.shape) == expected['shape']
    np.testing.assert_allclose(log_mel[::32], rows, **close)
    np.testing.assert_allclose(flat[places], expected['samples'], **close)
    np.testing.assert_allclose(np.linalg.norm(log_mel.astype(np.float64)), expected['l2'], rtol=1e-6)
    padding = -LogMel().cfg.mean/(2*LogMel().cfg.std)
    assert (np.abs(log_mel - padding).max(axis=1) > 1e-5).sum() == numbers[f'fbank.{name}.frames']
