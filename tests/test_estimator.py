"What no single cell can say of the estimator: scikit-learn's own checks, several processes, damaged files."
import warnings

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from sslam_nb import SSLAM, embed, preset
from sslam_nb.data.soundscapes import synthesize
from sslam_nb.use.estimator import SSLAMEmbedder

LABELS = ['bell', 'siren']*4

@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "A checkpoint and eight recordings, at two rates."
    folder = tmp_path_factory.mktemp('estimator')
    torch.manual_seed(0)
    SSLAM(preset('stage2', 'tiny')).save_pretrained(folder/'model')
    for i, label in enumerate(LABELS):
        rate = (16_000, 32_000)[i//4]
        soundfile.write(folder/f'{i}.flac', synthesize(label, i, duration=1 + i/8, sample_rate=rate), rate)
    return folder

def paths_in(folder): return [str(folder/f'{i}.flac') for i in range(len(LABELS))]

# Of scikit-learn's checks those that need no matrix of features; check_estimator skips the others by our tags
@pytest.mark.parametrize('name', ['check_estimator_cloneable', 'check_estimator_tags_renamed', 'check_valid_tag_types',
    'check_estimator_repr', 'check_no_attributes_set_in_init', 'check_do_not_raise_errors_in_init_or_set_params',
    'check_mixin_order', 'check_get_params_invariance', 'check_set_params', 'check_parameters_default_constructible'])
def test_scikit_learns_checks(name):
    getattr(estimator_checks, name)('SSLAMEmbedder', SSLAMEmbedder())

def test_check_estimator_takes_it():
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        done = estimator_checks.check_estimator(SSLAMEmbedder())
    assert done and all(check['status'] == 'passed' for check in done)

def test_a_search_in_two_processes(folder):
    pipe = make_pipeline(SSLAMEmbedder(folder/'model'), LogisticRegression())
    grid = dict(sslamembedder__pool=['cls', 'concat'], sslamembedder__layer=[0, 2])
    searches = [GridSearchCV(pipe, grid, cv=2, n_jobs=jobs, error_score='raise').fit(paths_in(folder), LABELS)
                for jobs in (1, 2)]
    scores = [search.cv_results_['mean_test_score'] for search in searches]
    assert scores[0].tolist() == scores[1].tolist() and len(scores[0]) == 4
    assert list(searches[1].predict(paths_in(folder))) == list(searches[0].predict(paths_in(folder)))

def test_files_of_several_rates_as_embed_has_them(folder):
    found = SSLAMEmbedder(folder/'model', pool='concat', batch_size=3).fit_transform(paths_in(folder))
    for path, vector in zip(paths_in(folder), found):
        expected = embed(folder/'model', *soundfile.read(path), pool='concat').clip
        np.testing.assert_allclose(vector, expected.numpy(), atol=1e-5)

def test_a_column_of_a_table(folder):
    table = pd.DataFrame(dict(path=paths_in(folder), gain=np.arange(8.)))
    columns = ColumnTransformer([('wave', SSLAMEmbedder(folder/'model'), ['path'])], remainder='passthrough')
    found = columns.set_output(transform='pandas').fit_transform(table)
    assert found.shape == (8, 129) and found['remainder__gain'].tolist() == table['gain'].tolist()
    assert list(found)[0] == 'wave__sslamembedder0'

def test_the_order_of_recordings_and_their_company_do_not_matter(folder):
    embedder, paths = SSLAMEmbedder(folder/'model'), paths_in(folder)
    there, back = embedder.transform(paths), embedder.transform(paths[::-1])
    np.testing.assert_allclose(there, back[::-1], atol=1e-5)
    np.testing.assert_allclose(there[5:6], embedder.transform(paths[5:6]), atol=1e-5)

def test_damage_that_only_reading_shows(folder, tmp_path):
    whole = (folder/'0.flac').read_bytes()
    (tmp_path/'cut.flac').write_bytes(whole[:len(whole)//2])
    (tmp_path/'text.wav').write_text('no audio')
    paths = [folder/'0.flac', tmp_path/'cut.flac', folder/'1.flac', tmp_path/'text.wav']
    embedder = SSLAMEmbedder(folder/'model')
    with pytest.raises(ValueError, match=r'2 of 4 recordings cannot be used; .*cut\.flac.*text\.wav'):
        embedder.transform(paths)
    with pytest.warns(UserWarning, match='their rows are NaN'):
        found = clone(embedder).set_params(bad='nan').transform(paths)
    assert np.isnan(found).any(1).tolist() == [False, True, False, True]
    with pytest.raises(ValueError, match='12 of 12 .*and 2 more'), warnings.catch_warnings():
        clone(embedder).set_params(bad='nan').transform([tmp_path/'none.wav']*12)

def test_a_file_that_may_be_heard_in_part_is_named(folder, tmp_path):
    parts = []
    for i in range(2):
        soundfile.write(tmp_path/'part.ogg', synthesize('bell', i, duration=1), 16_000)
        parts.append((tmp_path/'part.ogg').read_bytes())
    (tmp_path/'two.ogg').write_bytes(b''.join(parts))
    with pytest.warns(UserWarning, match='two.ogg: several Ogg streams'):
        SSLAMEmbedder(folder/'model').transform([tmp_path/'two.ogg'])
