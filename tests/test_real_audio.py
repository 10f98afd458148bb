"The real clips of the project's ../shared/data, where present: what a run would train and probe on."
import pytest

from sslam_nb.config import override, preset
from sslam_nb.core import project_root
from sslam_nb.data.access import open_data

DATA = project_root().parent/'shared'/'data'
pytestmark = pytest.mark.skipif(not (DATA/'esc10').is_dir(), reason=f"no real audio in {DATA}")

def open_folder(folder, **changes):
    "The three sources at T = 1024, and the folder behind them."
    cfg = override(preset('stage2', 'tiny'), target_frames=1024, unmixed_frames=240)
    splits = open_data(override(cfg, data=str(DATA/folder), **changes))
    return splits, splits.pretrain.source

def test_esc10_is_tested_on_its_last_fold():
    splits, folder = open_folder('esc10')
    assert [len(part) for part in splits] == [238, 238, 80] and len(folder.classes) == 10
    assert {folder.files[folder.spans[i][0]][6] for i in splits.probe_test.indices} == {'4'}   # audio/4-...
    assert splits.pretrain[0].labels == ('dog_bark',)

def test_mixtures_take_the_csv_with_one_row_per_file():
    splits, folder = open_folder('esc10_mixtures')
    assert [len(part) for part in splits] == [40, 40, 20] and folder.labels_from.startswith("clips.csv, column 'labels'")
    assert splits.probe_train[0].labels == ('fire_crackling', 'person_sneeze')

@pytest.mark.parametrize('column, n_classes', [('digit', 10), ('speaker', 6)])
def test_spoken_digits_by_column(column, n_classes):
    splits, folder = open_folder('fsdd', labels=column)
    assert [len(part) for part in splits] == [300, 300, 120] and len(folder.classes) == n_classes
    assert splits.pretrain[0].sample_rate == 16_000                              # 8 kHz in the files

def test_all_of_it_nested():
    splits, folder = open_folder('')
    assert [len(part) for part in splits] == [238 + 40 + 300, 238 + 40, 80 + 20] and not folder.bad
    assert folder.labels_from == ("esc10/meta.csv, column 'category', one label a cell; esc10_mixtures/clips.csv, column 'labels', "
                                  "labels separated by a comma; sides from column 'split'")
