"Downloads from a server with bad habits: what comes through is right, and nothing else does."
import hashlib
import shutil
from collections import namedtuple

import pytest
from bad_server import DATA, bad_server

from sslam_nb.data.download import RemoteFile, check_space, download, zenodo_files

SHA = "sha256:" + hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server():
    with bad_server() as pair: yield pair


def fetch(server, habit, folder, size=len(DATA), checksum=SHA, **options):
    file = RemoteFile(f"{server[0]}/{habit}", "set.bin", size, checksum)
    return download(file, folder, **dict(pause=0.01, timeout=0.5, quiet=True) | options)


def test_dropped_connections_are_resumed_and_nothing_comes_twice(server, tmp_path):
    assert fetch(server, "drops", tmp_path).read_bytes() == DATA
    assert [a[2] for a in server[1]] == [200, 206, 206, 206] and sum(a[3] for a in server[1]) == len(DATA)


def test_what_an_interrupted_call_has_left_is_used_by_the_next(server, tmp_path):
    with pytest.raises(OSError, match="gave up after 1 tries.*set.bin.part: call again"): fetch(server, "drops", tmp_path, attempts=1)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["set.bin.part", "set.bin.part.version"]
    first = len(server[1])
    assert fetch(server, "drops", tmp_path).read_bytes() == DATA
    assert server[1][first][1] == f"bytes={len(DATA)//5}-"
    assert [p.name for p in tmp_path.iterdir()] == ["set.bin"]


@pytest.mark.parametrize("habit", ["no_ranges", "busy", "stalls", "no_length"])
def test_bad_habits_that_still_give_the_file(habit, server, tmp_path):
    assert fetch(server, habit, tmp_path).read_bytes() == DATA


def test_a_file_that_changed_in_between_is_not_glued_together(server, tmp_path):
    reverse = "sha256:" + hashlib.sha256(DATA[::-1]).hexdigest()
    assert fetch(server, "changed", tmp_path, checksum=reverse).read_bytes() == DATA[::-1]


@pytest.mark.parametrize("habit, said", [("html", "has 26 bytes and not 512000"), ("wrong_bytes", "has the sha256"),
                                         ("missing", "answers 404"), ("wrong_range", "sent another range")])
def test_bad_habits_that_give_an_error_and_no_file(habit, said, server, tmp_path):
    with pytest.raises((ValueError, OSError), match=said): fetch(server, habit, tmp_path, attempts=2)
    assert not (tmp_path/"set.bin").exists()
    assert (tmp_path/"set.bin.bad").exists() == (habit in ("html", "wrong_bytes"))


def test_a_complete_file_is_checked_and_not_fetched_again(server, tmp_path):
    (tmp_path/"set.bin").write_bytes(DATA)
    fetch(server, "drops", tmp_path)
    (tmp_path/"set.bin").write_bytes(DATA[1:])
    with pytest.raises(ValueError, match="set.bin has 511999 bytes"): fetch(server, "drops", tmp_path)
    assert not server[1]


def test_the_size_is_told_and_must_fit(server, tmp_path, capsys, monkeypatch):
    files = [RemoteFile(f"{server[0]}/no_ranges", "a", 2*10**9), RemoteFile(f"{server[0]}/no_length", "b")]
    check_space(files, tmp_path)
    assert "2 files, 2.00 GB and what b take; 4.40 GB with their contents" in capsys.readouterr().out
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("usage", "free")(3*10**9))
    with pytest.raises(OSError, match="3.00 GB free, 4.40 GB are needed"): check_space(files, tmp_path)


def test_a_zenodo_answer_without_files(server):
    with pytest.raises(ValueError, match="lists no files; look at .*/records/1"): zenodo_files(1, server[0] + "/zenodo")
