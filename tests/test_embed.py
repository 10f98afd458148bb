"Whatever a user may have goes into `embed` and `predict`, and none of it is lost or mixed up."
import re, subprocess, sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sslam_nb import AudioViT, Classifier, embed, load_official, override, predict
from sslam_nb.config import EncoderConfig, SpectrogramConfig
from sslam_nb.training.official import export_official
from sslam_nb.data.soundscapes import synthesize

ROOT = Path(__file__).resolve().parents[1]
torch.manual_seed(0)
SMALL = EncoderConfig(width=64, depth=2, n_heads=1, max_time_patches=64)
ENCODER = AudioViT(SMALL)
CLASSIFIER = Classifier(AudioViT(override(SMALL, drop_path=0.5)), 3, classes=('bell', 'rain', 'siren'))
SHORT = SpectrogramConfig(target_frames=256)

def noise(seconds, rate=16_000, *channels):
    "Soft noise (channels, n), always the same."
    return 0.1*np.random.default_rng(0).standard_normal((*channels, round(seconds*rate)), dtype=np.float32)

@pytest.mark.parametrize('rate', [4000, 8000, 11_127, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize('seconds', [0.1, 1, 11.3])
def test_any_rate_and_length(rate, seconds):
    clip, frames, times = embed(ENCODER, noise(seconds, rate), rate)
    assert clip.shape == (64,) and len(frames) == len(times) and clip.isfinite().all()
    assert times[0] == 0 and abs(times[-1] + 0.16 - seconds) < 0.17 and times[-1] < seconds

def test_the_same_sound_at_two_rates_is_the_same():
    tone = lambda rate: 0.3*np.sin(2*np.pi*440*np.arange(3*rate)/rate)
    clip = lambda wave, rate: embed(ENCODER, wave, rate, pool='mean', spectrogram=SHORT).clip
    low, high, other = clip(tone(16_000), 16_000), clip(tone(48_000), 48_000), clip(noise(3), 16_000)
    assert (low - high).norm() < 0.1*(low - other).norm()

def test_ten_minutes_of_stereo():
    wave = noise(600, 16_000, 2).T
    _, frames, times = embed(ENCODER, wave, 16_000)
    assert frames.shape == (3750, 64) and times[-1] == pytest.approx(599.84)
    assert predict(CLASSIFIER, wave, 16_000).keys() == {'bell', 'rain', 'siren'}

def test_a_clip_in_a_batch_gets_what_it_gets_alone_at_the_papers_size():
    model = AudioViT(EncoderConfig(max_time_patches=16))
    clips = [noise(s) for s in (0.1, 2.6, 1)] + [0.3*synthesize('siren', 0, 2.0)]
    batch = embed(model, clips, 16_000, pool='concat')
    for i, clip in enumerate(clips):
        alone = embed(model, clip, 16_000, pool='concat', batch_size=1)
        assert (alone.clip - batch.clip[i]).abs().max() < 1e-5
        assert (alone.frames - batch.frames[i]).abs().max() < 1e-5

def test_a_clip_among_others_has_its_own_scores():
    clips = [noise(s) for s in (3, 0.1, 7)]
    for clip, among in zip(clips, predict(CLASSIFIER, clips, 16_000, spectrogram=SHORT)):
        alone = predict(CLASSIFIER, clip, 16_000, spectrogram=SHORT)
        assert list(alone) == list(among) and alone == pytest.approx(among, abs=1e-5)

@pytest.mark.parametrize('convert', [
    torch.from_numpy, lambda w: torch.from_numpy(w).double().requires_grad_(), lambda w: w.astype('>f8'),
    lambda w: w[::-1].copy()[::-1], lambda w: np.stack([w, w], 1), lambda w: np.repeat(w, 2)[::2]])
def test_numpy_or_torch_of_any_layout(convert):
    wave = noise(1)
    expected = embed(ENCODER, wave, 16_000, spectrogram=SHORT).clip
    found = embed(ENCODER, convert(wave), 16_000, spectrogram=SHORT).clip
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)

@pytest.mark.parametrize('window, hop', [(None, None), (1.0, None), (2.56, 0.32), (0.16, 0.16), (1.0, 0.5)])
def test_windows_cover_a_clip_without_gaps_or_repeats(window, hop):
    _, frames, times = embed(ENCODER, noise(5.3), 16_000, window=window, hop=hop)
    assert len(frames) == 33 and times[0] == 0 and frames.isfinite().all()
    torch.testing.assert_close(times.diff(), torch.full((32,), 0.16))

def test_padding_does_not_count():
    "A second of sound in 10.24 s: the mean is over its 7 columns, and the weights are those of sound."
    mean, frames, _ = embed(ENCODER, noise(1), 16_000, pool='mean')
    torch.testing.assert_close(mean, frames.mean(0))
    assert len(frames) == 7
    long = noise(12.8)
    parts = embed(ENCODER, [long[:163_840], long[163_840:]], 16_000)      # two frames fewer at the cut
    whole = embed(ENCODER, long, 16_000).clip
    torch.testing.assert_close(whole, 0.8*parts.clip[0] + 0.2*parts.clip[1], rtol=0, atol=0.02)

@pytest.mark.parametrize('train', [True, False])
def test_always_in_evaluation_mode_and_gives_the_mode_back(train):
    CLASSIFIER.train(train); CLASSIFIER.head.train(not train)
    first, second = (predict(CLASSIFIER, noise(1), 16_000, spectrogram=SHORT) for _ in range(2))
    assert first == second and torch.is_grad_enabled()
    with pytest.raises(ValueError, match='layer=7'): embed(CLASSIFIER, noise(1), 16_000, layer=7)
    assert (CLASSIFIER.encoder.training, CLASSIFIER.head.training) == (train, not train)

BAD = [(np.full(16_000, np.nan), 16_000, 'NaN or infinity in 16000 of 16000'), (np.zeros(0), 16_000, 'empty'),
       ([], 16_000, 'batch is empty'), ([np.zeros((2, 0))], 16_000, 'clip 0 is empty'),
       (np.zeros((2, 3, 4, 5)), 16_000, r'shape \(2, 3, 4, 5\)'),
       ([noise(4).reshape(16, -1)], 16_000, r'\(16, 4000\)'), (noise(1), 0, 'sample_rate=0 is not'),
       (np.zeros(9000, dtype=np.int16), 16_000, 'int16; scale'), (noise(0.02), 16_000, 'less than one'),
       (noise(1), 44.1, 'sample_rate=44.1'), ('a.wav', 16_000, 'is a name and no array'),
       ([0.1, 0.2], 16_000, r'clip 0 has shape \(\)'), ([None], 16_000, 'no array of samples')]

@pytest.mark.parametrize('wave, rate, message', BAD)
def test_bad_input_is_one_clear_error(wave, rate, message):
    for use in (embed, predict):
        with pytest.raises(ValueError, match=message): use(CLASSIFIER, wave, rate)

def test_bad_parameters():
    for options, message in [(dict(pool='max'), "pool='max'"), (dict(layer=-1), 'layer=-1'),
                             (dict(window=0.01), 'window of 0.01 s'), (dict(hop=60), 'hop=60'),
                             (dict(spectrogram=SpectrogramConfig(n_mels=64)), '64 mel bins')]:
        with pytest.raises(ValueError, match=message): embed(ENCODER, noise(1), 16_000, **options)
    for options, message in [(dict(top=0), 'top=0'), (dict(activation='none'), "activation='none'")]:
        with pytest.raises(ValueError, match=message): predict(CLASSIFIER, noise(1), 16_000, **options)

def test_an_official_classifier_predicts_what_ours_does(tmp_path):
    path = export_official(CLASSIFIER.eval(), tmp_path/'finetuned.pt')
    assert predict(load_official(path), noise(1), 16_000) == predict(CLASSIFIER, noise(1), 16_000)

def test_readme_example_runs_as_a_new_user_would_try_it(tmp_path):
    section = (ROOT/'README.md').read_text(encoding='utf-8').split('## Use a trained model')[1]
    script = re.search(r'```python\n(.*?)```', section, re.S)[1]
    assert len([line for line in script.splitlines() if line.strip()]) <= 5
    soundfile.write(tmp_path/'recording.wav', noise(7, 44_100, 2).T, 44_100)
    check = '\nassert (clip.shape, frames.shape, len(times)) == ((128,), (44, 128), 44)'
    (tmp_path/'use.py').write_text(script + check)
    done = subprocess.run([sys.executable, 'use.py'], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr.startswith('demo is a toy') and len(done.stderr.splitlines()) == 1
