"The run notebooks as users run them: papermill, parameters, records."
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import notebooks
from sslam_nb.core import project_root
from sslam_nb.training.weights import read_header

ROOT = project_root()
TASK = dict(target_frames=128, n_clips=[24, 16], batch_size=8, epochs=2, evaluations=2, log_every=1)
SMALL = dict(width=32, depth=2, n_heads=2, decoder_width=16, decoder_depth=2, local_top_k=2, global_top_k_unmixed=2, target_frames=128,
             unmixed_frames=32, n_clips=16, batch_size=4, probe_clips=[48, 32], log_every=1)


def papermill(notebook, out, *parameters, values=SMALL, kernel=False):
    "Run a notebook, in a kernel or without; every one of the small values is written into its parameters cell first, for speed."
    small = json.loads((ROOT/"nbs"/f"{notebook}.ipynb").read_text())
    cell = next(c for c in small["cells"] if "parameters" in c["metadata"].get("tags", []))
    cell["source"] = "".join(cell["source"]) + "\n" + "\n".join(f"{k} = {v!r}" for k, v in values.items())
    source = out.parent/f"{notebook}-small.ipynb"
    source.write_text(json.dumps(small))
    words = [source, out, "--cwd", ROOT, *parameters]
    if not kernel: return notebooks.run(*words)
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    "Both stages, one after the other, as a newcomer would."
    folder, name = tmp_path_factory.mktemp("runs"), f"test-{tmp_path_factory.getbasetemp().name}"
    yield folder, name
    for path in (ROOT/"runs").glob(f"{name}*"): shutil.rmtree(path)


def outputs(path):
    cells = json.loads(path.read_text())["cells"]
    return "".join("".join(o.get("text", "")) for c in cells for o in c.get("outputs", []))


def html(path):
    cells = json.loads(path.read_text())["cells"]
    return "".join("".join(o.get("data", {}).get("text/html", "")) for c in cells for o in c.get("outputs", []))


def test_stage1_then_stage2(runs):
    folder, name = runs
    done = papermill("stage1", folder/"stage1.ipynb", "-p", "epochs", 2, "-p", "run_name", f"{name}-1", "-p", "device", "cpu", "-p", "probe",
                     "false", "-p", "resume", "no", "-p", "probe_clips", "[48,32]", kernel=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "probe" not in json.loads((ROOT/"runs"/f"{name}-1"/"record.json").read_text())["metrics"]
    checkpoint = ROOT/"runs"/f"{name}-1"/"model.safetensors"
    done = papermill("stage2", folder/"stage2.ipynb", "-p", "epochs", 5, "-p", "run_name", f"{name}-2", "-p", "device", "cpu",
                     "-p", "init", checkpoint, "-p", "clones", 3, kernel=True)
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((ROOT/"runs"/f"{name}-2"/"record.json").read_text())
    assert (record["config"]["epochs"], record["config"]["clones"], record["task"]) == (5, 3, "stage2")
    assert set(record["metrics"]["probe"]) == {"random weights", "stage 1", "stage 2"}
    assert len(record["history"]) == 20 and record["history"][-1]["step"] == 20
    assert f"as given: runs/{name}-1/model.safetensors" in record["notes"] and str(ROOT) not in json.dumps(record)
    assert record["data_checksum"] and record["hardware"]
    assert read_header(ROOT/"runs"/f"{name}-2"/"model.safetensors")[1]["step"] == 20
    text = outputs(folder/"stage2.ipynb")
    assert "as given: " in text and "starts from: student from" in text
    shown = next(c for c in json.loads((folder/"stage2.ipynb").read_text())["cells"] if c["cell_type"] == "code")["outputs"]
    assert "mAP of a linear probe" in "".join(shown[0]["data"]["text/markdown"])                   # the result, in the first cell
    assert "epochs                 5" in html(folder/"stage2.ipynb") and "<details>" in html(folder/"stage2.ipynb")
    for said in ("stage2: 100%", "loss ", f"{name}-2/model.safetensors", "record     "): assert said in done.stderr, done.stderr


@pytest.mark.parametrize("wrong, said", [
    (("-p", "epoch", 5), "did you mean 'epochs'"), (("-p", "variant", "SLAM"), "is not one of MB-UA"),
    (("-p", "data", "no/such/folder"), "no/such/folder"), (("-p", "init", "runs/none.safetensors"), "no checkpoint at"),
    (("-p", "mix_op", "min"), "mix_op"), (("-p", "device", "tpu"), "device='tpu'"), (("-p", "resume", "maybe"), "resume='maybe' must be")])
def test_wrong_parameters_stop_with_one_clear_error(runs, wrong, said):
    done = papermill("stage2", runs[0]/"wrong.ipynb", "-p", "run_name", f"{runs[1]}-wrong", *wrong, kernel=wrong[1] == "epoch")
    assert done.returncode != 0
    assert said in done.stderr.strip().splitlines()[-1], done.stderr[-1500:]


def test_a_folder_of_real_files(runs, tmp_path):
    "Nested, two labels, stereo at 44.1 kHz beside mono at 8 kHz, and a text file that calls itself a wav."
    folder, name = runs
    for i in range(24):
        label, rate, channels = ("low", 44_100, 2) if i % 2 else ("high", 8_000, 1)
        path = tmp_path/"clips"/label/f"{i}.{('wav', 'flac', 'ogg')[i % 3]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        t = np.arange(int(rate*1.5))/rate
        tone = 0.3*np.sin(2*np.pi*(300 if i % 2 else 1500)*(1 + i/50)*t)
        soundfile.write(path, np.stack([tone]*channels, axis=1), rate)
    (tmp_path/"clips"/"low"/"notes.wav").write_text("not audio")
    done = papermill("stage1", folder/"real.ipynb", "-p", "data", tmp_path/"clips", "-p", "run_name", f"{name}-real", "-p", "epochs", 2)
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((ROOT/"runs"/f"{name}-real"/"record.json").read_text())
    assert record["n_clips"] == 18 and record["data"] == "clips"        # a quarter is held out for the probe
    assert len(record["metrics"]["skipped"]) == 1 and "notes.wav" in record["metrics"]["skipped"][0]
    assert record["metrics"]["probe"]["stage 1"]["mAP"] > record["metrics"]["probe"]["stage 1"]["chance"]
    assert (record["config"]["mean"], record["config"]["std"]) == (-4.268, 4.569)


def tones(folder):
    "High and low tones as a csv set with two folds; two recordings are cut into two clips each."
    rows = ["path,labels,fold,group"]
    folder.mkdir()
    for i in range(24):
        label, fold = ("high", "low")[i % 2], 1 + i//12
        wave = 0.3*np.sin(2*np.pi*(2000 if label == "high" else 300)*(1 + i/100)*np.arange(16_000)/16_000)
        soundfile.write(folder/f"{i}.wav", wave, 16_000)
        rows.append(f"{i}.wav,{label},{fold},tape{i//2}")
    (folder/"clips.csv").write_text("\n".join(rows))
    return folder


@pytest.mark.parametrize("notebook, more", [("finetune", ()), ("linear_eval", ("-p", "augment", "False"))])
def test_from_stage2_to_labels(runs, tmp_path, notebook, more):
    "What a newcomer does after `make stage2`: the encoder that it left, on embedded clips and on a csv of one's own."
    folder, name = runs
    checkpoint = ROOT/"runs"/f"{name}-2"                                     # of the first test, where it ran here
    if not checkpoint.is_dir():
        done = papermill("stage2", folder/"stage2.ipynb", "-p", "epochs", 1, "-p", "run_name", f"{name}-2", "-p", "device", "cpu")
        assert done.returncode == 0, done.stderr[-3000:]
    data = tones(tmp_path/"tones")
    for kind, given in dict(a=(), b=("-p", "data", data, "-p", "dataset", "csv", "-p", "fold", 2)).items():
        run = f"{name}-{notebook}-{kind}"
        done = papermill(notebook, folder/f"{notebook}-{kind}.ipynb", "-p", "checkpoint", checkpoint, "-p", "run_name", run,
                         "-p", "device", "cpu", *given, *more, values=TASK, kernel=(notebook, kind) == ("finetune", "a"))
        assert done.returncode == 0, done.stderr[-3000:]
        record = json.loads((ROOT/"runs"/run/"record.json").read_text())
        metric = dict(a="mAP", b="accuracy")[kind]                           # each tone has one label
        assert record["metrics"]["metric"] == metric and 0 < record["metrics"]["low"] <= record["metrics"][metric] <= record["metrics"]["high"] <= 1
        assert "stage2 SSLAM" in record["notes"] and record["config"]["epochs"] == 2 and record["digest"]
        assert ("probe" in record["metrics"]) == (notebook == "linear_eval")
        cells = json.loads((folder/f"{notebook}-{kind}.ipynb").read_text())["cells"]
        kinds = [key for c in cells for out in c.get("outputs", []) for key in out.get("data", {})]
        assert kinds.count("image/png") == 4 and "<audio" in json.dumps(cells)
    scored = papermill(notebook, folder/"again.ipynb", "-p", "checkpoint", ROOT/"runs"/run, "-p", "run_name", f"{run}-again", "-p", "train",
                       "False", "-p", "device", "cpu", *given, *more, values=TASK)
    assert scored.returncode == 0, scored.stderr[-3000:]
    again = json.loads((ROOT/"runs"/f"{run}-again"/"record.json").read_text())["metrics"]
    assert again["accuracy"] == pytest.approx(record["metrics"]["accuracy"], abs=1e-6)


def test_wrong_parameters_of_an_evaluation(runs):
    for wrong, said in (("-p", "epoch", 5), "did you mean 'epochs'"), (("-p", "epochs", 0), "epochs=0 must lie between 1 and"):
        done = papermill("finetune", runs[0]/"wrong.ipynb", "-p", "run_name", f"{runs[1]}-wrong", "-p", "no_pretrained", "True", *wrong, values={})
        assert done.returncode != 0 and said in done.stderr.strip().splitlines()[-1], done.stderr[-1500:]
