"HEAR: the benchmark's own validator runs on `sslam_nb.use.hear`, and its vectors are those of `embed`."
import sys, types

import pytest
import torch

from sslam_nb import embed
from sslam_nb.use import hear

@pytest.fixture(scope='module')
def validate():
    "hearvalidator, whose tensorflow is only asked whether a model is a tf.Module; a stub says no, while it loads."
    with pytest.MonkeyPatch.context() as patch:
        tensorflow = types.ModuleType('tensorflow')
        tensorflow.Module = type('Module', (), {})
        patch.setitem(sys.modules, 'tensorflow', tensorflow)
        return pytest.importorskip('hearvalidator.validate',
                                   reason='pip install --no-deps hearvalidator (it asks for tensorflow, not needed here)')

def parity(model, wave):
    "Largest difference between what HEAR gets and `embed`: scenes, and every fourth frame."
    ours, audio = hear.HearModel(model), torch.as_tensor(wave, dtype=torch.float32)[None]
    expected = embed(model, wave, ours.sample_rate)
    frames = hear.get_timestamp_embeddings(audio, ours)[0][0, ::ours.passes]
    scene = hear.get_scene_embeddings(audio, ours)[0]
    return max((frames - expected.frames).abs().max().item(), (scene - expected.clip).abs().max().item())

@pytest.mark.filterwarnings('error:We suggest a interval')                # the validator's word on gaps over 50 ms
def test_the_validator(validate, folder, capsys):
    validate.ValidateModel('sslam_nb.use.hear', str(folder), device='cpu')()
    assert 'Interval between timestamps is 40.0ms' in capsys.readouterr().out

def test_the_validator_would_see_a_fault(validate, folder, monkeypatch):
    frames = hear.get_timestamp_embeddings
    monkeypatch.setattr(hear, 'get_timestamp_embeddings', lambda audio, model: (frames(audio, model)[0][:, 1:],
                                                                              frames(audio, model)[1]))
    with pytest.raises(validate.ModelError, match='shape of the timestamps'):
        validate.ValidateModel('sslam_nb.use.hear', str(folder), device='cpu')()

@pytest.mark.parametrize('seconds', [0.1, 2, 7.3])
def test_parity(folder, seconds):
    model = hear.load_model(str(folder)).model
    difference = parity(model, 0.1*torch.randn(round(16_000*seconds)))
    print(f'HEAR: largest difference from embed {difference:.1e}')
    assert difference < 1e-5

def test_four_passes_are_four_shifts_of_a_long_clip(folder):
    "A minute is many windows; every frame is where its time stamp says."
    model, audio = hear.load_model(folder), 0.1*torch.randn(1, 16_000*60)
    frames, times = hear.get_timestamp_embeddings(audio, model)
    assert frames.shape[:2] == times.shape == (1, 1500) and (times.diff() == 40).all()
    for k in range(4):
        shifted = embed(model.model, audio[0, 640*k:], 16_000).frames
        assert (frames[0, k::4] - shifted).abs().max() < 1e-5

def test_company_does_not_matter(folder):
    model, audio = hear.load_model(folder, pool='concat', passes=2), 0.1*torch.randn(3, 20_000)
    both = hear.get_timestamp_embeddings(audio, model)[0], hear.get_scene_embeddings(audio, model)
    alone = hear.get_timestamp_embeddings(audio[1:2], model)[0], hear.get_scene_embeddings(audio[1:2], model)
    for one, three in zip(alone, both): torch.testing.assert_close(one[0], three[1], rtol=0, atol=1e-5)

@pytest.mark.parametrize('audio, message', [
    (torch.zeros(0, 16_000), 'the batch is empty'), (torch.zeros(16_000), r'one clip is audio\[None\]'),
    (torch.zeros(2, 2, 16_000), 'average the channels'), ([torch.zeros(800), torch.zeros(900)], 'unequal lengths'),
    (torch.zeros(2, 100), 'less than one frame'), (torch.full((2, 8000), torch.nan), 'clip 0 holds NaN'),
    (torch.full((2, 8000), 9000.), 'like 16-bit integers'), (torch.zeros(2, 8000, dtype=torch.int16), 'torch.int16')])
def test_wrong_audio(folder, audio, message):
    model = hear.load_model(folder)
    for function in (hear.get_scene_embeddings, hear.get_timestamp_embeddings):
        with pytest.raises(ValueError, match=message): function(audio, model)
