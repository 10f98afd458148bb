"Real clips through the door: ESC-10, FSDD and AudioSet's lists; and the entries of the registry against the paper."
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sslam_nb.data.access import obtain, open_data, open_dataset, open_tables
from sslam_nb.config import override, preset
from sslam_nb.data.download import RemoteFile
from sslam_nb.data.loading import stats
from sslam_nb.data.manifests import write_manifest
from sslam_nb.data.polyphonic_sets import check_audioset
from sslam_nb.data.registry import DATASETS, find_dataset
from sslam_nb.data.clip_table import ClipTable

SHARED = Path(__file__).resolve().parents[2]/"shared"/"data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")


@pytest.mark.parametrize("names, mean, std", [("as-2m as-20k audioset-eval", -4.268, 4.569), ("esc50", -6.627, 5.359), ("ks1 ks2", -6.846, 5.565),
                                              (" ".join(f"spass-{s}" for s in "square park waterfront street market".split()), -5.275, 3.268),
                                              ("idmt-desed-fl", -5.464, 3.380), ("urban-sed", -5.561, 2.699)])
def test_means_and_deviations_are_those_of_tables_7_and_8(names, mean, std):
    for name in names.split(): assert (DATASETS[name].mean, DATASETS[name].std) == (mean, std)


def test_the_seven_degrees_of_table_3():
    degrees = [name for name in DATASETS if name.startswith("degrees-")]
    assert degrees == [f"degrees-{pair}" for pair in "2-3 4-5 6-7 8-9 10-11 12-13 14-up".split()]
    assert {(find_dataset(d).mean, find_dataset(d).std) for d in degrees} == {(-5.216, 3.376), (-5.659, 2.620)}


@needs_data
def test_esc10_has_four_folds_that_share_no_recording():
    sizes = {}
    for fold in (1, 2, 3, 4):
        tables = open_tables("esc10", SHARED/"esc10", fold)
        assert not set(tables["train"].groups) & set(tables["test"].groups)
        sizes[fold] = len(tables["test"])
        assert all(path.startswith(f"audio/{fold}-") for path in tables["test"].paths)
    assert sum(sizes.values()) == 318
    item = open_dataset("esc10", SHARED/"esc10", "test", fold=4)[0]
    assert item["log_mel"].shape == (512, 128) and item["target"].sum() == 1 and len(item["target"]) == 10


@needs_data
def test_fsdd_and_its_mean():
    dataset = open_dataset("fsdd", SHARED/"fsdd", "test")
    assert len(dataset) == 120 and dataset[0]["log_mel"].shape == (128, 128)
    mean, std = stats(dataset.source, dataset.log_mel.cfg, max_clips=32)
    assert -16 < mean < 0 and 1 < std < 10


@needs_data
def test_audioset_is_counted_and_what_is_there_is_used(tmp_path, capsys):
    for name in ("class_labels_indices.csv", "balanced_train_segments.csv", "eval_segments.csv"): shutil.copy(SHARED/"audioset"/name, tmp_path)
    noise = 0.1*np.random.default_rng(0).standard_normal(32_000)
    for path in ("balanced_train_segments/Y--PJHxphWEs.wav", "balanced_train_segments/--ZhevVpy1s_50.000.flac", "eval_segments/--U7joUcTCo.wav"):
        (tmp_path/path).parent.mkdir(exist_ok=True); soundfile.write(tmp_path/path, noise, 32_000)
    counts = check_audioset(tmp_path)
    assert counts.loc["balanced_train"].to_dict() == dict(listed=22_160, present=2, missing=22_158, unlisted=0)
    tables = open_tables("as-20k", tmp_path)
    assert "train: 22158 of 22160 listed clips are not there" in capsys.readouterr().out
    assert len(tables["train"]) == 2 and tables["train"].labels_of(0) == ("/m/09x0r", "/t/dd00088") and len(tables["train"].classes) == 527
    assert list(open_tables("audioset-eval", tmp_path)) == ["test"]
    item = open_dataset("as-20k", tmp_path, "test")[0]
    assert item["log_mel"].shape == (1024, 128) and item["target"].sum() == 1
    splits = open_data(override(preset("stage1", "tiny"), data=str(tmp_path), dataset="as-20k"))
    assert [len(source) for source in splits] == [2, 2, 1]


def test_official_manifests_are_taken_for_any_set(tmp_path):
    (tmp_path/"audio").mkdir()
    for name in "abcd": soundfile.write(tmp_path/"audio"/f"{name}.wav", np.zeros(16_000), 16_000)
    for split, names in dict(train="ab", eval="cd").items():
        table = ClipTable(split, "/elsewhere", [f"audio/{n}.wav" for n in names], [("dog",), ("dog", "horn")], ("horn", "dog"), samples=[44_100]*2)
        write_manifest(table, tmp_path, split)
    tables = open_tables("spass-park", tmp_path)
    assert {s: t.labels_of(1) for s, t in tables.items()} == dict(train=("dog", "horn"), test=("dog", "horn"))
    (tmp_path/"audio"/"d.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 2 files of .* \(test\) are not in .*, the first is audio/d.wav"): open_tables("spass-park", tmp_path)


def test_a_set_is_fetched_unpacked_and_opened(tmp_path, monkeypatch):
    "ESC-50's archive as GitHub packs it: one folder inside."
    import http.server, threading, functools, zipfile
    web = tmp_path/"web"; web.mkdir()
    with zipfile.ZipFile(web/"ESC-50.zip", "w") as archive:
        archive.writestr("ESC-50-master/meta/esc50.csv", "filename,fold,target,category,esc10,src_file,take\n1-1-A-0.wav,1,0,dog,True,1,A\n2-2-A-0.wav,2,0,dog,True,2,A\n")
        for name in ("1-1-A-0", "2-2-A-0"):
            soundfile.write(tmp_path/"x.wav", np.zeros(44_100), 44_100)
            archive.write(tmp_path/"x.wav", f"ESC-50-master/audio/{name}.wav")
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words): pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(web)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try: folder = obtain("esc50", tmp_path/"data", files=[RemoteFile(f"http://127.0.0.1:{server.server_port}/ESC-50.zip", "ESC-50.zip")], quiet=True)
    finally: server.shutdown()
    assert folder.name == "ESC-50-master" and len(open_dataset("esc50", folder, "test", fold=2)) == 1
