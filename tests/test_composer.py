"Soundscapes from real events, and by Scaper where it is installed."
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from sslam_nb.data.access import obtain, open_dataset, open_tables
from sslam_nb.data.annotations import read_jams
from sslam_nb.data.composer import compose, degrees_like, spass_like, split_events
from sslam_nb.data.composer import Recipe, SyntheticEvents, event_index
from sslam_nb.config import SpectrogramConfig
from sslam_nb.data.sources import AudioFolder

SHARED = Path(__file__).resolve().parents[2]/"shared"/"data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")


@needs_data
def test_real_events_of_train_and_test_are_of_other_recordings(tmp_path):
    bank = AudioFolder(SHARED/"esc10", clip_seconds=10)
    train, test = split_events(bank)
    files = lambda events: {bank.files[bank.spans[i][0]] for own in events.values() for i in own}
    assert {file[6] for file in files(test)} == {"4"} and not files(train) & files(test)       # audio/4-...
    folder = spass_like(bank, tmp_path/"scene", 8, engine="own")
    rows = pd.read_csv(folder/"clips.csv")
    assert rows.n_events.between(2, 10).all() and (rows.split == "train").sum() == 6
    dataset = open_dataset("csv", folder, "test", spectrogram=SpectrogramConfig())
    assert len(dataset) == 2 and dataset[0]["target"].sum() == rows.n_events[6] and dataset[0]["log_mel"].shape == (1024, 128)
    degrees = degrees_like(AudioFolder(SHARED/"fsdd", labels="digit"), tmp_path/"degrees", 4, engine="own")
    assert list(degrees) == ["2-3", "4-5", "6-7", "8-9"]                                        # ten digits are ten classes


def test_loader_processes_change_nothing_and_a_second_call_completes(tmp_path):
    bank, recipe = SyntheticEvents(4), Recipe(events=(2, 3), duration=2, longest=1)
    one, two = (compose(bank, tmp_path/str(n), recipe, 4, engine="own", workers=n) for n in (0, 2))
    for name in ("audio/000003.flac", "jams/000003.jams", "clips.csv", "events.tsv"): assert (one/name).read_bytes() == (two/name).read_bytes()
    (two/"audio"/"000001.flac").unlink()
    compose(bank, two, recipe, 4, engine="own")
    assert (one/"audio"/"000001.flac").read_bytes() == (two/"audio"/"000001.flac").read_bytes()


@pytest.mark.parametrize("name, clips", [("spass-like", dict(train=6, test=2)), ("degrees-like", dict(train=42, test=14))])
def test_stand_ins_are_composed_by_name_and_opened_like_any_set(name, clips, tmp_path):
    folder = obtain(name, tmp_path, n_clips=8)
    tables = open_tables(name, obtain(name, tmp_path, n_clips=8))                     # completes, and finds all there
    assert {split: len(table) for split, table in tables.items()} == clips
    counts = {len(table.labels_of(i)) for table in tables.values() for i in range(len(table))}
    assert min(counts) >= 2 and (max(counts) >= 14 or name == "spass-like")
    item = open_dataset(name, folder, "test")[0]
    assert item["log_mel"].shape == (1024, 128) and item["target"].sum() >= 2 and len(item["target"]) == len(tables["test"].classes) <= 24
    with pytest.raises(ValueError, match="composed by another recipe"): obtain(name, tmp_path, n_clips=12)


def test_a_background_of_recordings(tmp_path):
    (tmp_path/"street").mkdir()
    soundfile.write(tmp_path/"street"/"a.wav", 0.1*np.random.default_rng(0).standard_normal(8000), 8000)
    folder = compose(SyntheticEvents(1), tmp_path/"out", Recipe(duration=2, longest=1, background=str(tmp_path/"street")), 2, engine="own")
    assert len(pd.read_csv(folder/"clips.csv")) == 2


def test_faults(tmp_path):
    with pytest.raises(ValueError, match="has 0 labels, an event has one"): event_index(Unlabelled())
    (tmp_path/"a").mkdir(); (tmp_path/"b").mkdir()
    for name in "ab": soundfile.write(tmp_path/name/"x.wav", np.zeros(8000), 8000)
    with pytest.raises(ValueError, match="the event .*x.wav is silent"): compose(AudioFolder(tmp_path), tmp_path/"out", Recipe(events=(1, 1)), 1, engine="own")
    with pytest.raises(ValueError, match="events=\\(1, 30\\): the bank has 24 classes"): compose(SyntheticEvents(1), tmp_path/"o2", Recipe(events=(1, 30)), 1, engine="own")


class Unlabelled:
    name = "bare"
    def __len__(self): return 1
    def __getitem__(self, i): return type("Clip", (), dict(labels=()))()


def test_scaper_takes_the_same_recipe(tmp_path):
    pytest.importorskip("scaper", reason="scaper is not installed")
    recipe = Recipe(events=(2, 4), snr=(5, 15), duration=5, longest=2)
    folder = compose(SyntheticEvents(4), tmp_path/"scapes", recipe, 3, 1)
    assert '"engine": "scaper"' in (folder/"recipe.json").read_text()
    rows = pd.read_csv(folder/"clips.csv")
    assert rows.n_events.between(2, 4).all() and soundfile.info(folder/"audio"/"000000.flac").duration == 5
    assert all(5 <= event.snr <= 15 for event in read_jams(folder/"jams"/"000002.jams"))
