"The tutorials as readers run them: they print what they show, and take files of one's own."
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import notebooks
from sslam_nb.core import project_root
from test_run_notebooks import outputs, tones

ROOT = project_root()


def percents(path):
    "Rows of a table of mAP, its interval and chance, in percent, by their names."
    cells = json.loads(path.read_text())["cells"]
    texts = ["".join(o["data"].get("text/plain", "")) for c in cells for o in c.get("outputs", []) if "data" in o]
    rows = [row for text in texts if re.match(r" +mAP +low +high +chance\n", text) for row in text.splitlines()[1:]]
    return {name: [int(n) for n in numbers] for name, *numbers in (re.split(r"  +", row) for row in rows)}


NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?%?")


def lines_of(text):
    "Words and numbers of each line, in the order of the words: ranks close together may change places on another processor."
    lines = text.replace("not decided", "decided").splitlines()
    return sorted((NUMBER.sub("#", " ".join(line.split())), NUMBER.findall(line)) for line in lines)


def as_good(again, shown):
    "Whole numbers must be equal; shares and decimals may differ by three of their last digits."
    if not set(".%") & set(shown): return again == shown
    digits = len(shown.rstrip("%").partition(".")[2])
    return abs(float(again.rstrip("%")) - float(shown.rstrip("%"))) <= 3.01*10**-digits


def test_what_is_as_good():
    assert as_good("31%", "33%") and as_good("0.42", "0.45") and not as_good("29%", "33%") and not as_good("0.49", "0.45")
    assert as_good("17", "17") and not as_good("17", "18")
    assert lines_of("b  1.5 not decided\na 2") == [("a #", ["2"]), ("b # decided", ["1.5"])]


@pytest.mark.parametrize("path", sorted((ROOT/"nbs"/"tutorials").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_tutorial_is_true(path, tmp_path):
    "From the first cell to the last, and it still prints what it shows."
    done = notebooks.run(path, tmp_path/"out.ipynb")
    assert done.returncode == 0, done.stderr[-6000:]
    told, meant = lines_of(outputs(tmp_path/"out.ipynb")), lines_of(outputs(path))
    assert [words for words, _ in told] == [words for words, _ in meant]
    for (words, again), (_, shown) in zip(told, meant): assert all(map(as_good, again, shown)), (words, again, shown)
    again, shown = percents(tmp_path/"out.ipynb"), percents(path)
    assert again.keys() == shown.keys()
    for row, numbers in again.items():                             # trained on another processor
        assert numbers == pytest.approx(shown[row], abs=15), row
        assert numbers[1] <= numbers[0] <= numbers[2], row
    if "fine-tuned" in again: assert again["fine-tuned"][0] > again["fine-tuned"][3] + 20


@pytest.mark.parametrize("name, parameters", [
    ("00_hear_sslam", ("-p", "recording", "long.wav", "-p", "source_a", "tones/0.wav", "-p", "source_b", "tones/1.wav", "-p", "moment", 3)),
    ("03_which_encoder", ("-p", "data", "tones/clips.csv", "-p", "fold", 2, "-p", "metric", "accuracy", "-y", "encoders: [demo]")),
])
def test_a_tutorial_takes_files_of_ones_own(name, parameters, tmp_path):
    tones(tmp_path/"tones")
    soundfile.write(tmp_path/"long.wav", np.concatenate([soundfile.read(tmp_path/f"tones/{i}.wav")[0] for i in range(9)]), 16_000)
    command = [sys.executable, "-m", "papermill", str(ROOT/"nbs"/"tutorials"/f"{name}.ipynb"), "out.ipynb", "--no-progress-bar"]
    done = subprocess.run([*command, *map(str, parameters)], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert '"stderr"' not in (tmp_path/"out.ipynb").read_text(), "a kernel that imports everything itself has nothing to warn of"
    told = outputs(tmp_path/"out.ipynb")
    if name == "00_hear_sslam": assert "most like 2.9 s" in told and "belong to the 0, " in told
    else: assert "train: 12 clips" in told and "demo, concat: 100%" in told
