"The command `sslam` as people run it: from another folder, in a pipe, interrupted, on a full disk, with wrong words."
import csv
import io
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

import sslam_nb
from sslam_nb import SSLAM, AudioViT, Classifier, embed, override, preset
from sslam_nb.config import EncoderConfig, SpectrogramConfig
from sslam_nb.core import project_root
from sslam_nb.training.state import owning
from sslam_nb.training.weights import save_classifier
from sslam_nb.use import command_line
from sslam_nb.use.embed_folder import embed_folder

ROOT = project_root()
ENV = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
N = 12


def sslam(*words, cwd, before="", **options):
    "Run a command; `before` is code that goes first."
    code = f"import sys\n{before}\nfrom sslam_nb.use.command_line import main\nsys.exit(main(sys.argv[1:]))"
    return subprocess.run([sys.executable, "-c", code, *map(str, words)], cwd=cwd, env=ENV, capture_output=True, text=True, timeout=60, **options)


def inside(capfd, *words):
    "The same in this process: exit status, standard output and error."
    try: status = command_line.main(list(map(str, words)))
    except SystemExit as stop: status = stop.code
    return status, *capfd.readouterr()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "A folder with recordings and two checkpoints, far from the project."
    folder = tmp_path_factory.mktemp("far away")
    rng = np.random.default_rng(0)
    for i in range(N):
        path = folder/"clips"/f"day {i % 3}"/f"{i:02d}.{('wav', 'flac', 'ogg')[i % 3]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        rate = (16_000, 44_100, 8000)[i % 3]
        soundfile.write(path, 0.1*rng.standard_normal((rate*(1 + i % 4)//2, 1 + i % 2)), rate)
    torch.manual_seed(0)
    small = override(preset("stage2", "tiny"), width=32, depth=2, n_heads=2, decoder_width=16, decoder_depth=2, local_top_k=2,
                     global_top_k_unmixed=2, target_frames=128)
    SSLAM(small).save_pretrained(folder/"model")
    encoder = AudioViT(EncoderConfig(width=32, depth=2, n_heads=2, max_time_patches=8))
    classifier = Classifier(encoder, 2, classes=("rain", "wind, soft"), spectrogram=SpectrogramConfig(target_frames=128))
    save_classifier(classifier, folder/"heads"/"classifier.safetensors")
    return folder


def waves(folder):
    for path in sorted(folder.rglob("*.*")): yield path.relative_to(folder).as_posix(), *soundfile.read(path, dtype="float32")


def test_vectors_are_those_of_embed_from_another_folder(place, monkeypatch, capfd):
    "Relative paths, npy and csv; the second run refuses, and --overwrite does not."
    words = ["embed", "clips", "-m", "model", "-o", "out/v.npy", "--pool", "concat", "--device", "cpu"]
    done = sslam(*words, cwd=place)
    assert done.returncode == 0 and done.stdout == "", done.stderr
    assert f"{N} files found, {N} used, 0 left out" in done.stderr and " files/s; " in done.stderr
    model, found = SSLAM.from_pretrained(place/"model"), np.load(place/"out"/"v.npy")
    rows = list(csv.DictReader((place/"out"/"v.csv").open()))
    assert found.shape == (N, 64) and found.dtype == np.float32 and sorted(os.listdir(place/"out")) == ["v.csv", "v.npy"]
    for row, vector, (name, wave, rate) in zip(rows, found, waves(place/"clips"), strict=True):
        assert row["file"] == name and float(row["offset"]) == pytest.approx(len(wave)/rate, abs=6e-4)
        np.testing.assert_allclose(vector, embed(model, wave, rate, pool="concat").clip, rtol=0, atol=1e-5)
    monkeypatch.chdir(place)
    status, _, told = inside(capfd, *words)
    assert status == 2 and told.strip().endswith("overwrite=True (--overwrite) replaces it") and len(told.splitlines()) == 1
    words[5:6] = ["out/v.csv", "--overwrite"]
    assert inside(capfd, *words)[0] == 0
    table = np.loadtxt(place/"out"/"v.csv", delimiter=",", skiprows=1, usecols=range(3, 67), dtype=np.float32)
    np.testing.assert_allclose(table, found, rtol=0, atol=1e-6)


def test_frames_have_times(place, tmp_path):
    embed_folder(place/"model", place/"clips", tmp_path/"f.npy", frames=True, layer=0, quiet=True)
    rows, model = list(csv.DictReader((tmp_path/"f.csv").open())), SSLAM.from_pretrained(place/"model")
    frames = [embed(model, wave, rate, layer=0) for _, wave, rate in waves(place/"clips")]
    np.testing.assert_allclose(np.load(tmp_path/"f.npy"), torch.cat([f.frames for f in frames]), rtol=0, atol=1e-5)
    np.testing.assert_allclose([float(row["onset"]) for row in rows], torch.cat([f.times for f in frames]), rtol=0, atol=6e-4)


# The first call embeds a second of silence; one file a batch, so the signal comes in file 5
STOP = """
import os, signal
from sslam_nb.use import files
real, calls = files.embed, []
def embed(*given, **more):
    calls.append(1)
    if len(calls) == 6: os.kill(os.getpid(), signal.{})
    return real(*given, **more)
files.embed = embed
"""


@pytest.mark.parametrize("name, status", [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interrupted_run_goes_on_and_gives_the_same_file(place, tmp_path, monkeypatch, capfd, name, status):
    words = ["embed", "clips", "-m", "model", "--batch-size", "1", "--device", "cpu", "-o"]
    stopped = sslam(*words, tmp_path/"a.npy", cwd=place, before=STOP.format(name))
    assert stopped.returncode == status, stopped.stderr
    assert f"stopped by {name} after file 5 of {N}; all of it is saved: run the same again to go on" in stopped.stderr
    assert not (tmp_path/"a.npy").exists() and "Traceback" not in stopped.stderr
    if name == "SIGTERM": return
    monkeypatch.chdir(place)
    code, _, told = inside(capfd, *words, tmp_path/"a.npy", "--pool", "mean")
    assert code == 2 and "other settings: pool=mean (saved: cls)" in told and "--overwrite" in told
    done = sslam(*words, tmp_path/"a.npy", cwd=place)
    assert done.returncode == 0 and f"5 of {N} files were done; going on" in done.stderr, done.stderr
    assert sslam(*words, tmp_path/"b.npy", cwd=place).returncode == 0
    for end in ("npy", "csv"): assert (tmp_path/f"a.{end}").read_bytes() == (tmp_path/f"b.{end}").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.csv", "a.npy", "b.csv", "b.npy"]


def test_a_real_ctrl_c(place, tmp_path):
    "From outside, at whatever moment, in the middle of many files."
    many = tmp_path/"many"
    many.mkdir()
    for i in range(600): os.link(place/"clips"/"day 0"/"03.wav", many/f"{i}.wav")
    command = [sys.executable, "-m", "sslam_nb.use.command_line", "embed", "many", "-m", str(place/"model"), "-o", "v.npy", "--batch-size", "1"]
    with subprocess.Popen(command, cwd=tmp_path, env=ENV, stderr=subprocess.PIPE, text=True) as child:
        until = time.monotonic() + 60
        while not (tmp_path/"v.npy.parts"/"settings.json").exists() and time.monotonic() < until: time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        said = child.communicate(timeout=60)[1]
    assert child.returncode == 130 and " of 600; all of it is saved" in said, said


def test_a_full_disk_keeps_what_is_done(place, tmp_path):
    "A small disk of its own where that is allowed."
    script = f"""set -e; mount -t tmpfs -o size=24k tmpfs small
    {sys.executable} -m sslam_nb.use.command_line embed {place/'clips'} -m {place/'model'} -o small/v.csv --frames 2>first && exit 9
    mount -o remount,size=4m small
    {sys.executable} -m sslam_nb.use.command_line embed {place/'clips'} -m {place/'model'} -o small/v.csv --frames 2>second
    cp small/v.csv .; ls -A small >left""".replace(str(place), f"'{place}'")
    (tmp_path/"small").mkdir()
    done = subprocess.run(["unshare", "-rm", "bash", "-c", script], cwd=tmp_path, env=ENV, capture_output=True, text=True, timeout=60)
    if "first" not in os.listdir(tmp_path): pytest.skip(f"no disk of one's own here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    first, second = (tmp_path/"first").read_text(), (tmp_path/"second").read_text()
    assert f"(No space left on device); {N} of {N} files are done and kept: free some space" in first.splitlines()[-1]
    assert f"{N} of {N} files were done" in second and (tmp_path/"left").read_text() == "v.csv\n"
    embed_folder(place/"model", place/"clips", tmp_path/"w.csv", frames=True, quiet=True)
    assert (tmp_path/"v.csv").read_bytes() == (tmp_path/"w.csv").read_bytes()


def test_a_disk_that_fills_in_the_middle(place, tmp_path, monkeypatch):
    "Parts of one file each; the fourth cannot be written."
    clock, real = iter(range(0, 10**6, 60)), np.savez
    monkeypatch.setattr("sslam_nb.use.embed_folder.time", SimpleNamespace(monotonic=lambda: next(clock)))
    def savez(file, **arrays):
        if arrays["first"] == 3: raise OSError(28, "No space left on device")
        real(file, **arrays)
    monkeypatch.setattr(np, "savez", savez)
    how = dict(batch_size=1, quiet=True)
    with pytest.raises(OSError, match=rf"No space left on device\); 3 of {N} files are done and kept"):
        embed_folder(place/"model", place/"clips", tmp_path/"v.npy", **how)
    assert sorted(path.name for path in (tmp_path/"v.npy.parts").glob("*.npz")) == [f"{i:09d}.npz" for i in range(3)]
    monkeypatch.undo()
    embed_folder(place/"model", place/"clips", tmp_path/"v.npy", **how)
    embed_folder(place/"model", place/"clips", tmp_path/"w.npy", **how)
    assert (tmp_path/"v.npy").read_bytes() == (tmp_path/"w.npy").read_bytes()


def test_bad_files_are_left_out_and_named(place, tmp_path, monkeypatch, capfd):
    good = place/"clips"/"day 0"/"00.wav"
    (tmp_path/"x").mkdir()
    for name in ("a.wav", "z.wav"): (tmp_path/"x"/name).write_bytes(good.read_bytes())
    (tmp_path/"x"/"cut.wav").write_bytes(good.read_bytes()[:60])
    (tmp_path/"x"/"text.mp3").write_text("no audio")
    (tmp_path/"x"/"gone.wav").symlink_to("nowhere.wav")
    soundfile.write(tmp_path/"x"/"nan.wav", np.full(16_000, np.nan), 16_000, subtype="FLOAT")
    soundfile.write(tmp_path/"x"/"short.wav", np.zeros(100), 16_000)
    os.rename(tmp_path/"x"/"z.wav", os.path.join(os.fsencode(tmp_path), b"x", b"\xff.wav"))   # not UTF-8
    monkeypatch.chdir(tmp_path)
    status, _, told = inside(capfd, "embed", "x", "-m", place/"model", "-o", "v.csv")
    assert status == 0 and "7 files found, 2 used, 5 left out" in told, told
    for name in ("cut.wav: ", "text.mp3: ", "gone.wav: a link to nothing", "nan.wav: holds NaN", "short.wav: shorter than"): assert f"  {name}" in told
    assert [row["file"] for row in csv.DictReader((tmp_path/"v.csv").open())] == ["a.wav", "\\udcff.wav"]


def test_a_changed_folder_or_model_is_said_and_overwritten(place, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path/"x").mkdir()
    for i in range(3): soundfile.write(tmp_path/"x"/f"{i}.wav", 0.1*np.random.default_rng(i).standard_normal(8000), 16_000)
    words = ["embed", "x", "-o", "v.npy", "--batch-size", "1", "-m"]
    calls = iter([None, lambda: os.kill(os.getpid(), signal.SIGINT)])
    with monkeypatch.context() as patch:
        patch.setattr("sslam_nb.use.files.embed", lambda *given, **how: (next(calls) or int)() or embed(*given, **how))
        assert inside(capfd, *words, place/"model")[0] == 130
    (tmp_path/"x"/"2.wav").unlink()
    soundfile.write(tmp_path/"x"/"3.wav", np.zeros(8000), 16_000)
    soundfile.write(tmp_path/"x"/"0.wav", np.zeros(9000), 16_000)
    status, _, told = inside(capfd, *words, place/"heads")
    for said in ("1 files new (3.wav)", "1 files gone (2.wav)", "1 files of another size (0.wav)", "weights="): assert said in told
    assert status == 2
    status, _, told = inside(capfd, *words, place/"model", "--overwrite")
    assert status == 0 and "were done" not in told and len(np.load(tmp_path/"v.npy")) == 3


def test_two_runs_at_once(place, tmp_path, capfd):
    (tmp_path/"v.npy.parts").mkdir()
    with owning(tmp_path/"v.npy.parts"):
        status, _, told = inside(capfd, "embed", place/"clips", "-m", place/"model", "-o", tmp_path/"v.npy")
    assert status == 1 and f"is in use by process {os.getpid()}" in told


@pytest.mark.parametrize("words, said", [
    (["embed", "nowhere", "-m", "model", "-o", "x.npy"], "there is no folder"),
    (["embed", "model", "-m", "model", "-o", "x.npy"], "no audio in or below"),
    (["embed", "clips", "-m", "modell", "-o", "x.npy"], "near it: model"),
    (["embed", "clips", "-m", "model", "-o", "x.txt"], "must end in .npy, .csv, .parquet"),
    (["embed", "clips", "-m", "model", "-o", "x.npy", "--layer", "two"], "argument --layer: invalid int value: 'two'"),
    (["embed", "clips", "-m", "model", "-o", "x.npy", "--layer", "2"], "layer=2 must be"),
    (["embed", "clips", "-m", "model", "-o", "x.npy", "--pool", "max"], "pool='max' is not one of"),
    (["embed", "clips", "-m", "model", "-o", "x.npy", "--hop", "9"], "hop=9.0 s must be"),
    (["embed", "clips", "-m", "model", "-o", "x.npy", "--device", "tpu"], "device='tpu' cannot be used"),
    (["embed", "clips", "-m", "model", "-o", "x.npy", "--frames", "--pool", "mean"], "with frames=True leave it out"),
    (["predict", "clips", "-m", "model"], "holds no classifier but a pre-trained SSLAM"),
    (["predict", "clip.wav", "-m", "heads"], "there is no file or folder clip.wav"),
    (["predict", "model", "-m", "heads"], "no audio in or below model"),
    (["predict", "clips", "-m", "heads", "-o", "model"], "model exists"),
    (["describe", "nowhere"], "there is no folder"), (["embd"], "invalid choice: 'embd'")])
def test_wrong_words_are_one_line(place, monkeypatch, capfd, words, said):
    monkeypatch.chdir(place)
    status, out, told = inside(capfd, *words)
    told = [line for line in told.splitlines() if not line.startswith("model ")]
    assert status == 2 and out == "" and len(told) == 1 and said in told[0] and told[0].startswith("sslam"), told
    assert not (place/"x.npy").exists() and not (place/"x.npy.parts").exists()


def test_a_missing_extra_is_one_line(place, monkeypatch, capfd):
    for name in ("pyarrow", "pyarrow.parquet", "papermill"): monkeypatch.setitem(sys.modules, name, None)
    status, _, told = inside(capfd, "embed", place/"clips", "-m", place/"model", "-o", place/"x.parquet")
    assert status == 2 and len(told.splitlines()) == 1 and "pyarrow is needed" in told and "pip install 'sslam_nb[parquet]'" in told
    status, _, told = inside(capfd, "finetune")
    assert status == 2 and len(told.splitlines()) == 1 and "pip install 'sslam_nb[dev]'" in told


class Timeline:
    "What `predict(times=True)` gives, as far as the command needs it."
    def __init__(self, wave, rate): self.seconds = len(wave)/rate
    def events(self, threshold):
        found = [("rain", 0.0, self.seconds, 0.9), ("wind, soft", 0.16, 0.32, 0.4)]
        return [SimpleNamespace(label=a, onset=b, offset=c, score=d) for a, b, c, d in found if d >= threshold]


def fake_predict(classifier, wave, sample_rate, times, batch_size, **how):
    assert isinstance(classifier, Classifier) and times and wave.ndim == 1
    return Timeline(wave, sample_rate)


def test_predict_writes_rows_with_times(place, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(sslam_nb, "predict", fake_predict, raising=False)
    monkeypatch.chdir(place)
    (tmp_path/"text.wav").write_text("no audio")
    assert command_line.main(["predict", "clips/day 0", str(tmp_path/"text.wav"), "-m", "heads", "--threshold", "0.3", "--device", "cpu"]) == 0
    out, told = capfd.readouterr()
    rows = list(csv.DictReader(io.StringIO(out)))
    assert rows[0] == dict(file="clips/day 0/00.wav", onset="0.000", offset="0.500", label="rain", score="0.9000")
    assert rows[1]["label"] == "wind, soft" and len(rows) == 2*N//3
    assert f"{N//3 + 1} files found, {N//3} used, 1 left out" in told and "text.wav: " in told
    assert command_line.main(["predict", "clips", "-m", "heads", "-o", str(tmp_path/"o.csv"), "--device", "cpu"]) == 0
    assert len((tmp_path/"o.csv").read_text().splitlines()) == N + 1 and not (tmp_path/"o.csv.part").exists()
    assert command_line.main(["predict", "clips", "-m", "heads", "--threshold", "0.95", "--padding", "repeat", "--device", "cpu"]) == 0
    assert f"{N} of those used reach 0.95 with no label" in capfd.readouterr().err


def test_a_pipe_that_closes(place):
    "head takes one line; nothing is said of it."
    fake = "import sslam_nb, test_command_line as t; sslam_nb.predict = t.fake_predict"
    code = f"import sys; sys.path.append({str(ROOT/'tests')!r}); {fake}; from sslam_nb.use.command_line import main; sys.exit(main())"
    command = f"{sys.executable} -c \"$CODE\" predict clips clips clips -m heads | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=place, env=ENV | {"CODE": code}, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["file,onset,offset,label,score", "141"], done.stderr
    assert "Traceback" not in done.stderr and "Broken" not in done.stderr


def test_help_is_quick_and_loads_no_torch(place):
    code = "import sys, sslam_nb.use.command_line as c\ntry: c.main(['embed', '--help'])\nfinally: assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=place, env=ENV, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "sslam embed recordings -m demo" in done.stdout, done.stderr
    for command in ("predict", "pretrain", "finetune", "tables", "describe"):
        with pytest.raises(SystemExit) as stop: command_line.main([command, "--help"])
        assert stop.value.code == 0


def test_doors_run_the_notebooks_of_the_project(tmp_path, monkeypatch, capfd):
    "A project of three notebooks, one of which fails."
    import json
    cell = lambda text, **about: dict(cell_type="code", id=text[:3], metadata=about, source=text, outputs=[], execution_count=None)
    (tmp_path/"nbs").mkdir(); (tmp_path/"sub").mkdir(); (tmp_path/"settings.ini").touch()
    about = dict(kernelspec=dict(name="python3", display_name="python3", language="python"))
    for name, last in dict(stage1="raise ValueError('no such data')", stage2="from sslam_nb.core import tell; tell(f'{epochs} {data}')", finetune="1").items():
        cells = [cell("epochs = 1; data = None", tags=["parameters"]), cell(last)]
        (tmp_path/"nbs"/f"{name}.ipynb").write_text(json.dumps(dict(cells=cells, metadata=about, nbformat=4, nbformat_minor=5)))
    monkeypatch.chdir(tmp_path/"sub")
    assert command_line.main(["pretrain", "-p", "epochs", "5", "-p", "data", "."]) == 0
    told = capfd.readouterr()
    assert told.out == f"notebook   {tmp_path/'runs'/'stage2.ipynb'}\n" and f"5 {tmp_path/'sub'}\n" in told.err
    assert command_line.main(["pretrain", "--stage", "1"]) == 1
    assert "sslam pretrain: nbs/stage1.ipynb failed with exit status 1; see above" in capfd.readouterr().err


def test_doors_say_where_the_notebooks_come_from(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command_line, "files", lambda name: tmp_path/"sslam_nb")
    assert command_line.main(["tables"]) == 2
    assert "which are in the source repository of sslam_nb" in capfd.readouterr().err
