"Sets of Hugging Face's library: parquet made here, read, described, trained on, streamed."
import io
import pickle

import numpy as np
import pytest
import soundfile
import torch

datasets = pytest.importorskip("datasets", reason="pip install 'sslam_nb[datasets]'")
import pyarrow as pa
import pyarrow.parquet as pq

from sslam_nb.config import override, preset
from sslam_nb.data.access import describe, open_data, open_sources
from sslam_nb.data.hub_data import open_hub, pack_stream
from sslam_nb.data.hub_rows import load_sets
from sslam_nb.data.loading import make_loader
from sslam_nb.data.shards import ShardSource, check_shards
from sslam_nb.data.sources import AudioFolder, LogMelDataset
from sslam_nb.data.account import plain_account
from sslam_nb.evaluation.frozen import clips_hash
from sslam_nb.evaluation.recipes import recipe
from sslam_nb.evaluation.start import start_from
from sslam_nb.evaluation.tasks import open_task, run_task
from sslam_nb.reports.runs import configure, make_example
from sslam_nb.spectrogram import LogMel
from sslam_nb.training.pretrain import pretrain

CLASSES = ["dog", "rain", "wind"]
KINDS = ("flac", "wav", "mp3", "ogg")
SMALL = dict(width=32, depth=2, n_heads=2, decoder_width=16, decoder_depth=2, local_top_k=2, target_frames=128, unmixed_frames=32,
             batch_size=4, epochs=1, probe_clips=(8, 8), seed=0, global_top_k_unmixed=1)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    "The library's copies and all runs go to a folder of the test, and the Hub is not asked."
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path/"cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    monkeypatch.chdir(tmp_path)


def sound(seed, kind="flac", rate=16_000, seconds=1.0):
    "The bytes of a file, and its wave."
    rng = np.random.default_rng(seed)
    wave = 0.3*np.sin(2*np.pi*rng.uniform(200, 800)*np.arange(int(seconds*rate))/rate) + 0.01*rng.standard_normal(int(seconds*rate))
    out = io.BytesIO()
    soundfile.write(out, wave, rate, format=kind.upper())
    return out.getvalue()


RATES = {"flac": (16_000, 44_100), "wav": (8000, 48_000), "mp3": (16_000, 44_100), "ogg": (16_000, 32_000)}


def rows(n, first=0):
    "Recordings in four formats, each at two rates."
    kinds = [KINDS[i % 4] for i in range(n)]
    return [dict(bytes=sound(first + i, kind, RATES[kind][i//4 % 2]), path=f"sound {first + i}.{kind}") for i, kind in enumerate(kinds)]


def table(path, audio, typed=True, **columns):
    "A parquet file: as the library writes it (typed), or with plain columns as pandas or Spark do."
    path.parent.mkdir(parents=True, exist_ok=True)
    features = dict(audio=datasets.Audio(decode=False))
    for name, cells in list(columns.items()):
        if isinstance(cells, tuple): columns[name], features[name] = cells
    known = datasets.Features(dict(datasets.Dataset.from_dict(columns).features if columns else {}) | features)
    schema = datasets.Features({name: known[name] for name in ["audio", *columns]}).arrow_schema
    pq.write_table(pa.table(dict(audio=audio) | columns, schema=schema if typed else schema.remove_metadata()), path)


def classes(cells, many=False):
    feature = datasets.ClassLabel(names=CLASSES)
    return cells, (datasets.List(feature) if many else feature)


@pytest.fixture
def folder(tmp_path):
    "Sixteen rows to train on, of which two are damaged, in two files, and six to test on."
    first, second = rows(8), rows(8, 8)
    first[3]["bytes"], second[2]["bytes"] = first[3]["bytes"][:40], None
    table(tmp_path/"set"/"train-00000-of-00002.parquet", first, label=classes([i % 3 for i in range(8)]))
    table(tmp_path/"set"/"train-00001-of-00002.parquet", second, label=classes([i % 3 for i in range(8, 16)]))
    table(tmp_path/"set"/"test-00000-of-00001.parquet", rows(6, 16), label=classes([i % 3 for i in range(16, 22)]))
    return tmp_path/"set"


def test_a_folder_of_parquet_is_a_source(folder, capsys):
    account = describe(folder)
    assert (account.found, account.used, account.unit) == (22, 20, "rows")
    left = {name: reason for reason, names in account.left_out.items() for name in names}
    assert set(left) == {"train/0000003-sound 3.ogg", "train/0000010-sound 10.mp3"}
    assert "neither bytes nor a file" in left["train/0000010-sound 10.mp3"]
    assert "3 named classes" in account.labels_from and "train (16 rows), test (6 rows)" in account.split_from
    assert account.sides == {"train": 14, "test": 6} and "22 found, 20 used, 2 left out" in capsys.readouterr().out


def test_bytes_give_what_files_give(folder, tmp_path):
    "Every row, written to a file of its own, is read to the same samples."
    clips = open_hub(folder)
    for i, row in enumerate([*rows(16), *rows(6, 16)]): (tmp_path/"files").mkdir(exist_ok=True); (tmp_path/"files"/f"{i:02d}-{row['path']}").write_bytes(row["bytes"])
    plain = {clip.clip_id.partition("-")[2]: clip for clip in AudioFolder(tmp_path/"files")}
    assert len(clips) == 20
    for clip in clips:
        twin = plain[clip.clip_id.partition("-")[2]]
        np.testing.assert_array_equal(clip.wave, twin.wave)
        assert clip.labels == (CLASSES[int(clip.clip_id.partition("sound ")[2].partition(".")[0]) % 3],)


def test_a_checksum_sees_other_sounds_and_labels(folder, tmp_path):
    before = open_hub(folder).checksum
    assert open_hub(folder).checksum == before
    table(folder/"test-00000-of-00001.parquet", rows(6, 16), label=classes([0]*6))
    relabelled = open_hub(folder).checksum
    table(folder/"test-00000-of-00001.parquet", rows(6, 17), label=classes([0]*6))
    assert len({before, relabelled, open_hub(folder).checksum}) == 3


@pytest.mark.parametrize("typed", [True, False])
@pytest.mark.parametrize("cells, wanted", [
    (["dog", "rain", "wind", "dog"], [("dog",), ("rain",), ("wind",), ("dog",)]),
    (["dog;rain", "", None, "wind"], [("dog", "rain"), (), (), ("wind",)]),
    ([["dog", "rain"], [], None, ["wind"]], [("dog", "rain"), (), (), ("wind",)]),
    ([10, 9, 10, 2], [("10",), ("9",), ("10",), ("2",)]),
    ([[10, 2], [9], [], [2]], [("10", "2"), ("9",), (), ("2",)])])
def test_labels_of_every_kind(tmp_path, typed, cells, wanted):
    table(tmp_path/"set.parquet", rows(4), typed, labels=cells, note=["a", "b", "c", "d"])
    clips = open_hub(tmp_path/"set.parquet")
    assert [clip.labels for clip in clips] == wanted
    assert clips.classes == (("2", "9", "10") if "10" in str(wanted) else tuple(CLASSES))
    assert any("not used: note" in note for note in clips.account.notes)


def test_lists_of_named_classes_keep_the_order_of_the_set(tmp_path):
    table(tmp_path/"set.parquet", rows(4), tags=classes([[2, 0], [], [2], [0]], many=True))
    clips = open_hub(tmp_path/"set.parquet")
    assert clips.classes == tuple(CLASSES) and [clip.labels for clip in clips] == [("wind", "dog"), (), ("wind",), ("dog",)]


def test_questions_are_asked(tmp_path):
    table(tmp_path/"two.parquet", rows(2), label=classes([0, 1]), category=["a", "b"])
    with pytest.raises(ValueError, match="label and category; say which: labels='label'"): open_hub(tmp_path/"two.parquet")
    assert open_hub(tmp_path/"two.parquet", labels="category").classes == ("a", "b")
    with pytest.raises(ValueError, match="labels='genre' is no column .*; these are label, category"): open_hub(tmp_path/"two.parquet", labels="genre")
    table(tmp_path/"hot.parquet", rows(2), labels=[[0, 1, 0], [1, 0, 0]])
    with pytest.raises(ValueError, match="row 0: labels holds .* a vector of zeros and ones"): open_hub(tmp_path/"hot.parquet")


def test_audio_that_is_missing_or_twice(tmp_path):
    pq.write_table(pa.table(dict(label=["a"], text=["b"])), tmp_path/"none.parquet")
    with pytest.raises(ValueError, match="no column of audio .*; its columns are label .text., text"): describe(tmp_path/"none.parquet")
    table(tmp_path/"twice.parquet", rows(2), speech=(rows(2, 2), datasets.Audio(decode=False)))
    with pytest.raises(ValueError, match="several columns of audio, audio and speech; keep one"): describe(tmp_path/"twice.parquet")


def test_damaged_and_unequal_files(folder):
    path = folder/"train-00001-of-00002.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(ValueError, match="train-00001-of-00002.parquet is damaged or no parquet .*download it again"): describe(folder)
    path.write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ValueError, match="no parquet .*git lfs pull"): describe(folder)
    cut = bytearray(whole); cut[4:64] = bytes(60)                               # the header of the first page
    path.write_bytes(cut)
    with pytest.raises(ValueError, match="train-00001-of-00002.parquet .*download that file again"): describe(folder)
    table(path, rows(2), label=["dog", "rain"])
    with pytest.raises(ValueError, match="the column 'label' is in .* ClassLabel.*; files of one set"): describe(folder)


def test_what_is_not_there(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="the set nobody/nothing cannot be opened .*huggingface.co/datasets/nobody/nothing"):
        open_data(override(preset("stage1", "tiny"), data="hf:nobody/nothing"))
    with pytest.raises(FileNotFoundError, match="there is no folder .*nobody/nothing, and the set nobody/nothing cannot"): describe("nobody/nothing")
    with pytest.raises(ValueError, match="write hf:owner/name"): describe("hf:a/b/c")
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(ImportError, match=r"^hf:a/b: datasets is needed for this.*pip install 'sslam_nb\[datasets\]'$"): describe("hf:a/b")


def test_a_name_of_the_hub(folder, monkeypatch):
    "The Hub is out of reach here: what it would give is given in its place."
    asked = []
    real = datasets.load_dataset
    def given(name, part=None, **options):
        if name == "parquet": return real(name, part, **options)
        asked.append((name, part))
        return real("parquet", data_files={"bal_train": str(folder/"train*.parquet"), "eval": str(folder/"test*.parquet")},
                    streaming=options["streaming"])
    monkeypatch.setattr(datasets, "load_dataset", given)
    splits = open_data(override(preset("stage1", "tiny"), data="me/sounds:small", probe_clips=(5, 3)))
    assert asked == [("me/sounds", "small")] and [len(source) for source in splits] == [14, 5, 3]
    assert splits.pretrain.name == "me/sounds:small" and "eval (6 rows, test)" in splits.account.split_from
    assert open_hub("hf:me/sounds", labels="label").account.used == 20


def test_what_the_library_has_saved(folder, tmp_path):
    table(folder/"train-00001-of-00002.parquet", rows(8, 8), label=classes([i % 3 for i in range(8, 16)]))
    datasets.DatasetDict(load_sets(folder)[0]).save_to_disk(tmp_path/"saved")
    saved, clips = open_hub(tmp_path/"saved"), open_hub(folder)
    assert saved.checksum == clips.checksum and saved.account.sides == clips.account.sides


def test_folds_and_columns_of_splits(tmp_path):
    table(tmp_path/"folds.parquet", rows(6), category=["a", "b"]*3, fold=[1, 1, 2, 2, 3, 3])
    for fold, held in ((None, [4, 5]), (2, [2, 3]), ("fold1", [0, 1])):
        clips = open_hub(tmp_path/"folds.parquet", fold=fold)
        assert [int(file[6:12]) for file in clips.files if clips.sides[file] == "test"] == held
    with pytest.raises(ValueError, match="fold=4: .* has the folds 1, 2, 3"): open_hub(tmp_path/"folds.parquet", fold=4)
    table(tmp_path/"column.parquet", rows(4), category=["a", "b"]*2, split=["train", "train", "eval", "eval"])
    clips = open_hub(tmp_path/"column.parquet")
    assert clips.account.sides == {"train": 2, "test": 2} and clips.account.split_from == "column 'split'"


def test_pretraining_resumes_and_reads_with_workers(folder, tmp_path):
    cfg = override(preset("stage2", "tiny"), **SMALL, data=str(folder), save_every=1, log_every=1, max_steps=2)
    splits = open_data(cfg)
    assert [len(source) for source in splits] == [14, 8, 6] and splits.account.sides["probe, to test"] == 6
    run = pretrain(cfg, splits.pretrain, tmp_path/"run", device="cpu", quiet=True)
    assert run.history.loss.notna().all() and len(run.history) == 2
    assert [line.partition(":")[0] for line in run.bad] == ["train/0000003-sound 3.ogg", "train/0000010-sound 10.mp3"]
    workers = list(make_loader(LogMelDataset(splits.pretrain, LogMel(cfg.spectrogram)), 4, workers=2, seed=3))
    alone = list(make_loader(LogMelDataset(splits.pretrain, LogMel(cfg.spectrogram)), 4, seed=3))
    assert all(a["clip_id"] == b["clip_id"] and torch.equal(a["log_mel"], b["log_mel"]) for a, b in zip(workers, alone, strict=True))


def test_a_task_from_parquet(folder):
    task = open_task(recipe("finetune/hub", "tiny", data=str(folder), target_frames=128))
    assert (len(task.train), len(task.test), task.valid, task.train.classes) == (14, 6, None, tuple(CLASSES))
    assert task.train.account.found == 22 and task.train.account.unnamed == {"not in train": 6}
    sources = open_sources("esc50", folder, preset("stage1", "tiny").spectrogram)
    assert "3 classes, where ESC-50 has 50" in sources["test"].account.notes


def test_long_rows_are_windows_or_beginnings(tmp_path):
    table(tmp_path/"set.parquet", [dict(bytes=sound(i, seconds=25), path=None) for i in range(4)], category=list("aabb"))
    clips = open_hub(tmp_path/"set.parquet")
    assert len(clips) == 12 and [clip.clip_id for clip in clips][:2] == ["rows/0000000@0", "rows/0000000@10.24"]
    assert "4 of 4 recordings are longer" in clips.account.long
    one = open_sources("csv", tmp_path/"set.parquet", preset("stage1", "paper").spectrogram)
    assert sum(map(len, one.values())) == 4 and "4 recordings are longer than a clip" in one["train"].account.long


def test_a_stream_becomes_shards(folder, tmp_path, capsys):
    out = pack_stream(folder, tmp_path/"shards", shard_bytes=2**17, quiet=True)
    train, test = ShardSource(out/"train"), ShardSource(out/"test")
    assert (len(train), len(test), train.classes) == (14, 6, tuple(CLASSES)) and check_shards(out/"train") == 14
    assert [line.partition(":")[0] for line in train.bad] == ["train/0000003-sound 3.ogg", "train/0000010-sound 10.mp3"]
    clips = open_hub(folder)
    for clip, packed in zip(clips, [*train, *test], strict=True):
        assert packed.labels == clip.labels and packed.clip_id == clip.clip_id
        assert abs(len(packed.wave) - len(clip.wave)) <= 1 and np.abs(packed.wave[:9000] - clip.wave[:9000]).max() < 1e-4
    assert [len(source) for source in open_data(override(preset("stage1", "tiny"), **SMALL, data=str(out)))] == [14, 8, 6]
    pack_stream(folder, tmp_path/"shards", shard_bytes=2**17, quiet=True)             # nothing is left to do, or to contradict


def test_odd_folders_and_processes(folder, tmp_path):
    "A folder whose name looks like a pattern; a source that goes to a process that was started anew; a recording beside parquet."
    clips = open_hub(folder.rename(tmp_path/"my [se*t] of 2026"))
    again = pickle.loads(pickle.dumps(clips))
    np.testing.assert_array_equal(again[3].wave, clips[3].wave)
    assert clips.name == "my [se*t] of 2026" and [file.name for file in (tmp_path/clips.name).iterdir()]
    (tmp_path/clips.name/"beside.wav").write_bytes(sound(1, "wav"))
    account = describe(tmp_path/clips.name)
    assert (account.found, account.used) == (4, 1) and "parquet beside audio" in next(iter(account.left_out))


def test_what_the_run_notebooks_do(folder, tmp_path):
    "From parameters to a figure, a training on labels, features that are kept, and the account in a record."
    cfg, _ = configure("stage2", dict(data=str(folder), size="tiny", run_name="x", target_frames=128, unmixed_frames=32))
    example = make_example(cfg, open_data(cfg).pretrain)
    assert "train/0000000" in example.names[0] + example.names[1] and len(example.waves) == 3
    cfg = override(recipe("linear/hub", "tiny", augment=False, data=str(folder), target_frames=128, steps=2, epochs=None), evaluations=1)
    task = open_task(cfg)
    trained = run_task(cfg, start_from(cfg), task, tmp_path/"linear", "cpu", quiet=True)
    assert len(trained.scored.clip_id) == 6 and all(name.startswith("test/") for name in trained.scored.clip_id)
    assert plain_account(task.test.account)["left_out"] and clips_hash(task.test) != clips_hash(task.train)
