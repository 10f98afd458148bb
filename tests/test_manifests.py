"Manifests and tables that are wrong: each fault is named by file and line, and nothing is dropped in silence."
import gzip
from pathlib import Path

import numpy as np
import pytest

from sslam_nb.data.annotations import iter_segments
from sslam_nb.data.manifests import read_csv, read_descriptors, read_manifest
from sslam_nb.data.clip_table import ClipTable, check_leak, missing, split_by

AUDIOSET = Path(__file__).resolve().parents[2]/"shared"/"data"/"audioset"
GOOD = {"train.tsv": "{root}\na/1.wav\t32000\na/2.wav\t32000\n", "train.lbl": "1\tdog\n2\tdog,rain\n",
        "label_descriptors.csv": '0,dog,Dog\n1,rain,"Rain, hail"\n'}


def write(tmp_path, **changes):
    for name, text in (GOOD | {name.replace("_tsv", ".tsv").replace("_lbl", ".lbl").replace("_csv", ".csv"): text for name, text in changes.items()}).items():
        content = text if isinstance(text, bytes) else text.replace("{root}", str(tmp_path)).encode()
        (tmp_path/name).write_bytes(content)
    return tmp_path


def test_the_good_one_also_with_windows_line_ends(tmp_path):
    table = read_manifest(write(tmp_path))
    crlf = read_manifest(write(tmp_path, train_lbl="1\tdog\r\n2\tdog,rain\r\n"))
    assert table.checksum == crlf.checksum and table.labels_of(1) == ("dog", "rain") and table.titles[1] == "Rain, hail"


@pytest.mark.parametrize("change, said", [
    (dict(train_lbl="1\tdog\n"), "train.lbl has 1 lines for 2 clips"),
    (dict(train_lbl="1\tdog\n2\tdog\n3\tdog\n"), r"train.lbl:3: the tsv has only 2 clips"),
    (dict(train_lbl="2\tdog\n1\tdog\n"), r"train.lbl:1: '2' is not the clip of the tsv's line 2"),
    (dict(train_lbl="1\tdgo\n2\tdog\n"), r"train.lbl:1: unknown label 'dgo'; did you mean 'dog'"),
    (dict(train_lbl="1 dog\n2\tdog\n"), r"train.lbl:1: no tab"),
    (dict(train_lbl="1\tdog\n2\tdog,dog\n"), r"train.tsv:3.*'dog' twice"),
    (dict(train_lbl=b"1\tdog\n2\td\xf6g\n"), r"train.lbl:2: not UTF-8"),
    (dict(train_lbl="1\tdog\n\n2\tdog\n"), r"train.lbl:2: a blank line"),
    (dict(train_tsv="{root}\npath\tframes\na/1.wav\t32000\n"), r"train.tsv:2: 'frames' is no number.*header, remove it"),
    (dict(train_tsv="a/1.wav\t32000\na/2.wav\t32000\n"), r"train.tsv:1: the first line must be the root folder"),
    (dict(train_tsv="{root}\na/1.wav\t32000\na/1.wav\t32000\n", train_lbl="1\tdog\n1\tdog\n"), r"train.tsv:3: 'a/1.wav' stands already at .*train.tsv:2"),
    (dict(train_tsv="{root}\na/1.wav\t32000\n../2.wav\t32000\n"), r"train.tsv:3: the path '../2.wav' leaves the root"),
    (dict(train_tsv="{root}\na/1.wav\t32000\n/etc/2.wav\t32000\n"), r"train.tsv:3: .*leaves the root"),
    (dict(train_tsv="/no/such/folder\na/1.wav\t32000\na/2.wav\t32000\n"), r"train.tsv:1: there is no folder /no/such/folder; pass root="),
    (dict(label_descriptors_csv="index,label,name\n0,dog,Dog\n"), r"label_descriptors.csv:1: .*header, remove it"),
    (dict(label_descriptors_csv="0,dog,Dog\n2,rain,Rain\n"), r"label_descriptors.csv:2: the index is 2 and not 1"),
    (dict(label_descriptors_csv="0,dog,Dog\n1,dog,Rain\n"), r"label_descriptors.csv:2: the label 'dog' comes twice"),
])
def test_faults(change, said, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=said): read_manifest(write(tmp_path, **change))


def test_missing_files_are_found_by_listing(tmp_path):
    table = read_manifest(write(tmp_path))
    (tmp_path/"a").mkdir(); (tmp_path/"a"/"2.wav").touch()
    assert missing(table) == ["a/1.wav"]


def test_folds_that_share_a_recording_are_a_leak(tmp_path):
    (tmp_path/"clips.csv").write_text("path,labels,fold,group\na.wav,dog,1,x\nb.wav,dog,1,y\nc.wav,dog,2,x\n")
    listed = read_csv(tmp_path/"clips.csv")
    with pytest.raises(ValueError, match="1 recordings are in both .*-1 and .*-2: x"): split_by(listed.table, listed.fold)
    (tmp_path/"clips.csv").write_text("path,labels,fold\na.wav,dog,1\nb.wav,dog,1\na.wav,dog,2\n")
    with pytest.raises(ValueError, match="clips.csv:4: 'a.wav' stands already at .*clips.csv:2"): read_csv(tmp_path/"clips.csv")
    one = ClipTable("one", tmp_path, ["a.wav"], [()], ()); two = ClipTable("two", tmp_path.parent, [f"{tmp_path.name}/a.wav"], [()], ())
    with pytest.raises(ValueError, match="1 clips are in both one and two"): check_leak(one, two)


def test_a_table_of_two_million_clips_is_small():
    "Arrays alone: 2M paths of 37 characters and 4.8M labels."
    n = 2_000_000
    starts = np.minimum(np.arange(n + 1)*12//5, 4_800_000)
    table = ClipTable("big", "/data", (f"unbalanced_train_segments/Y{i:07d}.wav" for i in range(n)),
                      (starts, np.arange(starts[-1], dtype=np.int32) % 527), [f"/m/{k}" for k in range(527)])
    arrays = table.paths.nbytes + 40*n + table.label_starts.nbytes + table.label_ids.nbytes   # long strings lie apart: 40 bytes each
    assert arrays < 200e6 and table.labels_of(n - 1)[0].startswith("/m/") and len(table.select([5])) == 1


@pytest.mark.skipif(not AUDIOSET.is_dir(), reason="../shared/data/audioset is not here")
@pytest.mark.parametrize("name, rows, labels", [("balanced_train_segments.csv", 22_160, 52_882), ("eval_segments.csv", 20_371, None),
                                                ("unbalanced_train_segments_first65k.csv.gz", 65_497, None)])
def test_audiosets_own_files(name, rows, labels):
    classes = set(read_descriptors(AUDIOSET/"class_labels_indices.csv")[0])
    segments = list(iter_segments(AUDIOSET/name))
    assert len(segments) == rows and len(classes) == 527
    assert all(label in classes for segment in segments for label in segment.labels)
    assert labels in (None, sum(len(segment.labels) for segment in segments))


def test_a_cut_gz_is_named(tmp_path):
    (tmp_path/"x.csv.gz").write_bytes(gzip.compress(b"a,0,10,/m/1\n"*9000)[:-20])
    with pytest.raises(ValueError, match=r"x.csv.gz:\d+: "): list(iter_segments(tmp_path/"x.csv.gz"))
