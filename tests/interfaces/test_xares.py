"X-ARES: its own checker takes our encoder, and its frames are those of `embed`. Runs in an environment of X-ARES."
from math import ceil

import pytest
import torch

from sslam_nb import embed
from sslam_nb.use.xares import SSLAMEncoder

checker = pytest.importorskip('xares.audio_encoder_checker', reason='pip install xares, in an environment of its own')

FILE = '''
from sslam_nb.use import xares

class Stage2Encoder(xares.SSLAMEncoder):
    def __init__(self): super().__init__({!r})
'''

def parity(model, wave):
    "Largest difference between what X-ARES gets and `embed`: every fourth frame."
    ours = SSLAMEncoder(model)
    expected = embed(model, wave, ours.sampling_rate).frames
    return (ours(torch.as_tensor(wave, dtype=torch.float32)[None])[0, ::ours.passes] - expected).abs().max().item()

@pytest.mark.parametrize('passes', [1, 4])
def test_the_checker(folder, passes):
    encoder = SSLAMEncoder(folder, passes)
    audio = torch.randn(2, 50_000)                                         # what it passes; here an error would show
    frames = encoder(audio)
    assert frames.shape[1] == ceil((1 + (50_000 - 400)//160)*10/encoder.hop_size_in_ms)
    assert checker.check_audio_encoder(encoder)

def test_the_checker_would_see_a_fault(folder):
    encoder = SSLAMEncoder(folder)
    encoder.output_dim += 1
    assert not checker.check_audio_encoder(encoder)

@pytest.mark.parametrize('seconds', [0.1, 3, 21.7])
def test_parity(folder, seconds):
    difference = parity(SSLAMEncoder(folder).model, 0.1*torch.randn(round(16_000*seconds)))
    print(f'X-ARES: largest difference from embed {difference:.1e}')
    assert difference < 1e-5

def test_x_ares_finds_the_class_in_a_file(folder, tmp_path, monkeypatch):
    "As `python -m xares.run stage2_encoder.py` does: one name that ends in Encoder, called without arguments."
    utils = pytest.importorskip('xares.utils')
    (tmp_path/'stage2_encoder.py').write_text(FILE.format(str(folder)))
    monkeypatch.syspath_prepend(tmp_path)
    encoder = utils.attr_from_py_path('stage2_encoder.py', endswith='Encoder')()
    assert type(encoder).__name__ == 'Stage2Encoder' and checker.check_audio_encoder(encoder)
    assert utils.attr_from_py_path('sslam_nb/use/xares.py', endswith='Encoder') is SSLAMEncoder

def test_under_inference_mode_and_for_ten_minutes(folder):
    "X-ARES encodes in inference mode, and asks for clips of up to ten minutes."
    encoder = SSLAMEncoder(folder, passes=1)
    with torch.inference_mode(): frames = encoder(0.1*torch.randn(1, 16_000*600)).cpu().detach()
    assert frames.shape == (1, 3750, 128) and frames.isfinite().all()
    assert encoder(torch.zeros(1, 16_000)).isfinite().all()                 # silence, as in a padded batch
