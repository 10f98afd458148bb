"Onsets and offsets by `sed_scores_eval`: what a few clips counted by hand give, and what an encoder gives."
from importlib.util import find_spec

import numpy as np
import pytest
import torch

if not find_spec('sed_scores_eval'): pytest.skip("needs sed_scores_eval: pip install 'sslam_nb[sed]'", allow_module_level=True)

from sslam_nb import AudioViT
from sslam_nb.config import EncoderConfig, SpectrogramConfig
from sslam_nb.data.clips import Clip, SoundEvent
from sslam_nb.data.soundscapes import SoundscapeDataset
from sslam_nb.evaluation.column_reading import ColumnData, event_scores, read_columns
from sslam_nb.evaluation.columns import Columns

CFG = SpectrogramConfig(target_frames=128, n_mels=32)

class Made:
    "Eight clips of 1.28 s: a bell from column 2 to 5, rain from column 4 to the end."
    name, classes, checksum = 'made', ('bell', 'rain'), ''
    def __len__(self): return 8
    def __getitem__(self, i):
        events = SoundEvent('bell', 0.32, 0.48, 0.0), SoundEvent('rain', 0.64, 9.0, 0.0)
        noise = np.random.default_rng(i).normal(size=20_480).astype(np.float32)/10
        return Clip(noise, 16_000, ('bell', 'rain'), f'{i}.wav', events)

@pytest.fixture(scope='module')
def data(): return ColumnData(Made(), CFG)

def columns(data, change=lambda truth: truth): return Columns(change(data.truth.astype(float)), data.truth, data.known)

def test_perfect_columns_find_every_event(data):
    found = event_scores(columns(data), columns(data), data, data)
    assert found.pop('classes') == 2 and (found > 0.999).all()

def late(truth):
    "Every bell begins two columns (320 ms) late, and in the first clip it is not heard at all."
    truth[:, 2:4, 0], truth[0, :, 0] = 0, 0
    return truth

def test_counted_by_hand(data):
    found = event_scores(columns(data), columns(data, late), data, data)
    bell_offset = 2*7/(7 + 8)                                               # 7 of 8 are found, none is wrong
    np.testing.assert_allclose(found['offset F1 macro'], (bell_offset + 1)/2, atol=1e-6)
    np.testing.assert_allclose(found['event F1 macro'], (0 + 1)/2, atol=1e-6)
    np.testing.assert_allclose(found['onset F1 micro'], 2*8/(15 + 16), atol=1e-6)   # of 15 detections 8 are right
    np.testing.assert_allclose(event_scores(columns(data), columns(data, late), data, data, collar=0.33)['event F1 macro'],
                               (bell_offset + 1)/2, atol=1e-6)
    assert found['PSDS1'] < 1 == found['PSDS2']                              # a tenth also overlaps where all of a clip is marked

def test_a_class_that_could_not_be_fitted_is_never_said_to_sound():
    class Often(Made):
        "The bell fills every second clip, so to say yes everywhere would pay."
        def __getitem__(self, i):
            clip = super().__getitem__(i)
            return clip._replace(events=clip.events[1:] + (SoundEvent('bell', 0.0, 1.28, 0.0),)*(i % 2))
    def flat(truth): truth[..., 0] = -5; return truth                        # as of a bell that no fit has seen
    data = ColumnData(Often(), CFG)
    found = event_scores(columns(data, flat), columns(data, flat), data, data)
    np.testing.assert_allclose(found['event F1 micro'], 2*8/(8 + 12), atol=1e-6)    # all rain, no bell, nothing wrong

def test_of_an_encoder():
    torch.manual_seed(0)
    encoder = AudioViT(EncoderConfig(width=32, depth=1, n_heads=2, max_time_patches=8), n_mels=32)
    train, test = (SoundscapeDataset(n, seed=n, duration=1.28, events=(1, 2), classes=('bell', 'rain', 'tone'), snr=(20, 20))
                   for n in (60, 40))
    found = read_columns(encoder, train, test, CFG, events=True).events
    assert found['classes'] == 3 and found.between(0, 3).all() and found['onset F1 micro'] >= found['event F1 micro'] > 0.05
    nothing = event_scores(*(Columns(np.random.default_rng(0).random(x.truth.shape), x.truth) for x in two(train, test)), *two(train, test))
    assert nothing['event F1 micro'] < found['event F1 micro']

def two(*sources): return [ColumnData(source, CFG) for source in sources]
