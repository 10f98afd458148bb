"Real clips through the door: ESC-10, FSDD and AudioSet's lists; and the entries of the registry against the paper."
import functools
import http.server
import io
import shutil
import tarfile
import threading
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sslam_nb import export_dataset
from sslam_nb.data.access import obtain, open_data, open_dataset, open_tables
from sslam_nb.config import override, preset
from sslam_nb.data.download import RemoteFile
from sslam_nb.data.loading import stats
from sslam_nb.data.manifests import write_manifest
from sslam_nb.data.polyphonic_sets import check_audioset
from sslam_nb.data.registry import DATASETS, find_dataset
from sslam_nb.data.clip_table import ClipTable
from sslam_nb.data.clips import BadClip

SHARED = Path(__file__).resolve().parents[2]/"shared"/"data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")


@pytest.mark.parametrize("names, mean, std", [("as-2m as-20k audioset-eval", -4.268, 4.569), ("esc50", -6.627, 5.359), ("ks1 ks2", -6.846, 5.565),
                                              (" ".join(f"spass-{s}" for s in "square park waterfront street market".split()), -5.275, 3.268),
                                              ("idmt-desed-fl", -5.464, 3.380), ("urban-sed", -5.561, 2.699)])
def test_means_and_deviations_are_those_of_tables_7_and_8(names, mean, std):
    for name in names.split(): assert (DATASETS[name].mean, DATASETS[name].std) == (mean, std)


def test_the_seven_degrees_of_table_3():
    degrees = [name for name in DATASETS if name.startswith("degrees-") and name != "degrees-like"]
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


@contextmanager
def served(folder):
    "A server of the files in `folder`; gives the beginning of their addresses."
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words): pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try: yield f"http://127.0.0.1:{server.server_port}"
    finally: server.shutdown()


def test_a_set_is_fetched_unpacked_and_opened(tmp_path):
    "ESC-50's archive as GitHub packs it: one folder inside."
    web = tmp_path/"web"; web.mkdir()
    with zipfile.ZipFile(web/"ESC-50.zip", "w") as archive:
        archive.writestr("ESC-50-master/meta/esc50.csv", "filename,fold,target,category,esc10,src_file,take\n1-1-A-0.wav,1,0,dog,True,1,A\n2-2-A-0.wav,2,0,dog,True,2,A\n")
        for name in ("1-1-A-0", "2-2-A-0"):
            soundfile.write(tmp_path/"x.wav", np.zeros(44_100), 44_100)
            archive.write(tmp_path/"x.wav", f"ESC-50-master/audio/{name}.wav")
    with served(web) as base: folder = obtain("esc50", tmp_path/"data", files=[RemoteFile(f"{base}/ESC-50.zip", "ESC-50.zip")], quiet=True)
    assert folder.name == "ESC-50-master" and len(open_dataset("esc50", folder, "test", fold=2)) == 1


def test_ks1_is_fetched_with_its_test_set_and_silence_is_cut(tmp_path):
    "Two archives without a folder inside, as their publisher packs them; a second call fetches and cuts nothing."
    def wav(seconds):
        out = io.BytesIO(); soundfile.write(out, np.zeros(round(16_000*seconds), "int16"), 16_000, format="WAV"); return out.getvalue()
    def pack(name, files):
        with tarfile.open(tmp_path/name, "w:gz") as archive:
            for path, data in files.items():
                member = tarfile.TarInfo(f"./{path}"); member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        return name
    names = [pack("speech_commands_v0.01.tar.gz", {
                 "yes/a1_nohash_0.wav": wav(1), "yes/b2_nohash_0.wav": wav(1), "bed/c3_nohash_0.wav": wav(1), "_background_noise_/tap.wav": wav(2.5),
                 "validation_list.txt": b"yes/b2_nohash_0.wav\n", "testing_list.txt": b"bed/c3_nohash_0.wav\n"}),
             pack("speech_commands_test_set_v0.01.tar.gz", {"_silence_/0.wav": wav(1), "_unknown_/d4_nohash_0.wav": wav(1), "yes/e5_nohash_0.wav": wav(1)})]
    with served(tmp_path) as base:
        files = [RemoteFile(f"{base}/{name}", name) for name in names]
        folder = obtain("ks1", tmp_path/"data", files=files, quiet=True)
        silence = sorted(path.name for path in (folder/"speech_commands_v0.01"/"_silence_").iterdir())
        assert obtain("ks1", tmp_path/"data", files=files, quiet=True) == folder
    tables = open_tables("ks1", folder)
    assert silence == ["tap-000.wav", "tap-001.wav"] and {split: len(table) for split, table in tables.items()} == dict(train=3, valid=1, test=3)
    assert sorted(own for i in range(3) for own in tables["train"].labels_of(i)) == ["_silence_", "_silence_", "yes"]


def wavs(folder, **seconds):
    for name, length in seconds.items(): soundfile.write(folder/f"{name}.wav", np.zeros(round(16_000*length)), 16_000)


@pytest.mark.parametrize("kind", ["manifest", "audioset"])
def test_a_set_of_ones_own_is_written_for_other_code(kind, tmp_path, capsys):
    "Blanks and commas in labels, a clip without labels, lengths from the headers."
    home = tmp_path/"mine"; home.mkdir()
    wavs(home, a=1, b=2.5, c=1, d=1)
    (home/"clips.csv").write_text('path;labels;split\na.wav;car horn|Male speech, man;train\nb.wav;dog;train\nc.wav;;train\nd.wav;car horn;test\n')
    folder = export_dataset("csv", home, tmp_path/"out", kind)
    assert "1 of 3 clips have no labels and are left out" in capsys.readouterr().out
    if kind == "manifest":
        assert (folder/"train.tsv").read_text() == f"{home}\na.wav\t16000\nb.wav\t40000\n"
        assert (folder/"train.lbl").read_text() == "a\tcar_horn,Male_speech_man\nb\tdog\n"
        tables = open_tables("csv", folder)
        assert tables["train"].titles == ("Male speech, man", "car horn", "dog")
    else:
        assert (folder/"eval_segments.csv").read_text().splitlines()[1:] == ['d, 0.000, 1.000, "car_horn"']
        assert "b, 0.000, 2.500" in (folder/"balanced_train_segments.csv").read_text()
        for split, names in dict(balanced_train="ab", eval="d").items():
            (folder/f"{split}_segments").mkdir()
            for name in names: shutil.copy(home/f"{name}.wav", folder/f"{split}_segments")
        tables = open_tables("as-20k", folder)
    assert [tables["train"].labels_of(i) for i in (0, 1)] == [("car_horn", "Male_speech_man"), ("dog",)] and tables["test"].labels_of(0) == ("car_horn",)


def test_what_cannot_be_written_for_other_code_is_named(tmp_path):
    home = tmp_path/"mine"; (home/"x").mkdir(parents=True); (home/"y").mkdir()
    wavs(home/"x", a=1); wavs(home/"y", a=1); wavs(home, d=1)
    (home/"clips.csv").write_text("path,labels,split\nx/a.wav,dog,train\ny/a.wav,dog,train\nd.wav,dog,test\n")
    with pytest.raises(ValueError, match="'a' cannot be the id of one clip; rename its files"): export_dataset("csv", home, tmp_path/"out", "audioset")
    (home/"clips.csv").write_text("path,labels,split\nx/a.wav,car horn,train\ny/a.wav,car_horn,train\nd.wav,dog,test\n")
    with pytest.raises(ValueError, match="two labels would both be written 'car_horn'; rename one"): export_dataset("csv", home, tmp_path/"out")
    (home/"clips.csv").write_text("path,labels,split\nx/a.wav,dog,train\ny/a.wav,dog,train\nd.wav,dog,test\n"); (home/"d.wav").write_text("no audio")
    with pytest.raises(BadClip, match="d.wav: Format not recognised"): export_dataset("csv", home, tmp_path/"out")
    with pytest.raises(ValueError, match="kind='jams' is not one of manifest, audioset"): export_dataset("csv", home, tmp_path/"out", "jams")
