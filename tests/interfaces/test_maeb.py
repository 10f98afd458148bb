"MAEB: `mteb` runs all its made-up audio tasks on our model, and the vectors are those of `embed`."
from importlib import import_module

import numpy as np
import pytest
import torch

from sslam_nb import SSLAM, embed, preset
from sslam_nb.core import import_torchaudio
from sslam_nb.use.maeb import MaebModel

import_torchaudio()               # transformers, which mteb loads, imports it even where its extension cannot load
mteb = pytest.importorskip('mteb', reason="pip install 'sslam_nb[maeb]'")
datasets = pytest.importorskip('datasets', reason="pip install 'sslam_nb[maeb]'")

def torchcodec_loads():
    try: import_module('torchcodec.decoders')
    except (ImportError, OSError, RuntimeError): return False
    return True

@pytest.fixture(params=['plain', 'torchcodec'])
def audio_columns(request, monkeypatch):
    "The made-up recordings as they are made, dictionaries of array and sampling_rate; or through torchcodec."
    if request.param == 'torchcodec':
        if not torchcodec_loads(): pytest.skip('torchcodec cannot be loaded here (it needs FFmpeg and its torch)')
        return
    for kind in (datasets.Dataset, datasets.DatasetDict):
        cast = kind.cast_column
        def without_audio(self, column, feature, cast=cast):
            return self if isinstance(feature, datasets.Audio) else cast(self, column, feature)
        monkeypatch.setattr(kind, 'cast_column', without_audio)

@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    return SSLAM(preset('stage2', 'tiny'))

def encode(maeb, *items, **about):
    return maeb.encode([dict(audio=[item]) for item in items], show_progress_bar=False, **about)

def parity(model, wave):
    "Largest difference between what MAEB gets and `embed`."
    expected = embed(model, wave, 16_000).clip
    found = encode(MaebModel(model), dict(array=np.asarray(wave), sampling_rate=16_000))[0]
    return (found - expected).abs().max().item()

def test_mock_run(model, audio_columns):
    "Every audio-only task of its grid is run, and none fails."
    from mteb.mocks import MOCK_MAEB_TASK_GRID
    found = mteb.mock_run(MaebModel(model))
    wanted = {task.metadata.name for task in MOCK_MAEB_TASK_GRID if task.metadata.modalities == ['audio']}
    ran = {name for name, status in found.items() if status is not None}
    print(f'mteb {mteb.__version__}: {", ".join(sorted(ran))}')
    assert ran == wanted and len(ran) >= 6
    for name in ran: assert type(found[name]).__name__ == 'TaskResult', found[name].exception

def test_mock_run_would_see_a_fault(model, audio_columns):
    class Short(MaebModel):
        def encode(self, inputs, **about): return super().encode(inputs, **about)[1:]
    assert not mteb.mock_run(Short(model)).all_passed

def test_the_protocol_and_the_metadata(model):
    from mteb.models.models_protocols import EncoderProtocol
    ours = MaebModel(model, pool='concat', layer=1, training_datasets={'AudioSet'})
    assert isinstance(ours, EncoderProtocol)
    meta = ours.mteb_model_meta
    assert meta.embed_dim == 256 == encode(ours, dict(array=np.ones(8000)/9, sampling_rate=16_000)).shape[1]
    assert (meta.name, meta.modalities, meta.training_datasets) == ('sslam_nb/SSLAM', ['audio'], {'AudioSet'})
    assert meta.experiment_kwargs == dict(pool='concat', layer=1)

def test_two_checkpoints_do_not_share_results(model):
    "mteb finds stored results by name, revision and options."
    other = SSLAM(preset('stage2', 'tiny'))
    revisions = {MaebModel(m, 'me/mine').mteb_model_meta.revision for m in (model, other)}
    assert len(revisions) == 2 and MaebModel(model).mteb_model_meta.revision in revisions
    names = {MaebModel(model, layer=layer).mteb_model_meta.experiment_name for layer in (0, 1, None)}
    assert len(names) == 3

@pytest.mark.parametrize('seconds', [0.1, 2, 30])
def test_parity(model, seconds):
    difference = parity(model, 0.1*torch.randn(round(16_000*seconds)).numpy())
    print(f'MAEB: largest difference from embed {difference:.1e}')
    assert difference < 1e-5

def test_rates_channels_and_lengths_of_a_real_column(model):
    "A data set of its own rates, with and without decoding by datasets; similarity is the cosine."
    rng = np.random.default_rng(0)
    rows = [dict(array=0.1*rng.standard_normal(shape), sampling_rate=rate)
            for shape, rate in ((4000, 8000), ((2, 44_100), 44_100), (100, 16_000), (48_000, 48_000))]
    ours = MaebModel(model)
    vectors = encode(ours, *rows)
    for i in (0, 1, 3):
        expected = embed(model, [rows[i]['array']], rows[i]['sampling_rate']).clip[0]
        torch.testing.assert_close(vectors[i], expected, rtol=0, atol=1e-5)
    cosine = torch.nn.functional.cosine_similarity(vectors[0], vectors[1], dim=0)
    torch.testing.assert_close(ours.similarity(vectors, vectors)[0, 1], cosine)
    torch.testing.assert_close(ours.similarity_pairwise(vectors[:1], vectors[1:2])[0], cosine)

def test_a_column_that_is_not_decoded(model, tmp_path):
    "Audio(decode=False) gives bytes or a path; no torchcodec is needed."
    import soundfile
    from io import BytesIO
    waves = [0.1*torch.randn(8000*(i + 1)).numpy() for i in range(2)]
    file = BytesIO()
    soundfile.write(file, waves[0], 16_000, format='FLAC', subtype='PCM_24')
    soundfile.write(tmp_path/'second.wav', waves[1], 16_000, subtype='FLOAT')
    rows = [dict(bytes=file.getvalue(), path=None), dict(bytes=None, path=str(tmp_path/'second.wav'))]
    column = datasets.Dataset.from_dict({'audio': rows}).cast_column('audio', datasets.Audio(decode=False))
    found = encode(MaebModel(model), *column['audio'])
    torch.testing.assert_close(found, embed(model, waves, 16_000).clip, rtol=0, atol=1e-4)
