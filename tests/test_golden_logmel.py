"The log-mel front end against the official call's numbers (project's ../shared/golden, where present)."
import json, zlib

import numpy as np
import pytest

from sslam_nb.core import project_root
from sslam_nb.spectrogram import LogMel

GOLDEN = project_root().parent/'shared'/'golden'
pytestmark = pytest.mark.skipif(not (GOLDEN/'seed0_tiny.json').is_file(), reason=f"no numbers in {GOLDEN}")

@pytest.fixture(scope='module')
def wave():
    "The 10-s waveform that the golden README describes."
    t = np.arange(160_000)/16_000
    noise = np.random.default_rng([0, zlib.crc32(b'input:wave')]).standard_normal(160_000)
    tones = sum(a*np.sin(2*np.pi*f*t) for a, f in [(.3, 220), (.2, 1000), (.1, 3500)])
    return (tones + .05*noise).astype(np.float32)

@pytest.mark.parametrize('name, samples', [('10s', 160_000), ('3s', 48_000)])
def test_equals_the_official_log_mel(wave, name, samples):
    numbers = json.loads((GOLDEN/'seed0_tiny.json').read_text())
    rows = np.load(GOLDEN/'seed0_tiny.npz')[f'fbank.{name}[::32]']
    log_mel = LogMel()(wave[:samples]).numpy()
    expected, flat = numbers[f'fbank.{name}'], log_mel.ravel()
    places = np.linspace(0, flat.size - 1, 32).astype(int)
    close = dict(rtol=0, atol=2e-5)  # far below the tones, rounding of the mean alone moves a bin by 1e-5
    assert list(log_mel.shape) == expected['shape']
    np.testing.assert_allclose(log_mel[::32], rows, **close)
    np.testing.assert_allclose(flat[places], expected['samples'], **close)
    np.testing.assert_allclose(np.linalg.norm(log_mel.astype(np.float64)), expected['l2'], rtol=1e-6)
    padding = -LogMel().cfg.mean/(2*LogMel().cfg.std)
    assert (np.abs(log_mel - padding).max(axis=1) > 1e-5).sum() == numbers[f'fbank.{name}.frames']
