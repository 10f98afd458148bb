"A csv of one's own: which column means what, who is tested on, and what one label a clip changes."
import json, os, subprocess, sys

import numpy as np
import pytest
import soundfile

import sslam_nb
from sslam_nb.config import EncoderConfig, SpectrogramConfig
from sslam_nb.core import project_root
from sslam_nb.data.access import open_tables
from sslam_nb.data.sources import AudioFolder
from sslam_nb.encoder import AudioViT
from sslam_nb.evaluation.finetune import train_classifier
from sslam_nb.evaluation.recipes import DownstreamConfig, recipe
from sslam_nb.evaluation.start import start_from
from sslam_nb.evaluation.tasks import open_task
from sslam_nb.evidence.jobs import Job
from sslam_nb.reports.judging import beside_earlier, configure_task, record_task
from sslam_nb.reports.results import read_records, records_table
from sslam_nb.training.classifier import Classifier
from sslam_nb.training.weights import save_classifier

BIRDS, ROOT = ("owl", "fox"), project_root()

def folder(root, header, row, n=16, name="list.csv"):
    "Tones and a csv with a line for each: `row(i)` follows the name."
    root.mkdir(exist_ok=True)
    for i in range(n): soundfile.write(root/f"{i}.wav", 0.3*np.sin(2*np.pi*(300 + 1200*(i % 2) + 9*i)*np.arange(4800)/16_000), 16_000)
    (root/name).write_text("\n".join([header, *(f"{i}.wav,{row(i)}" for i in range(n))]))
    return root

def plain(i): return BIRDS[i % 2]
def given(root, **more): return dict(run_name="x", no_pretrained=True, dataset="csv", data=str(root), target_frames=32, epochs=2, batch_size=4,
                                     evaluations=1) | more

@pytest.mark.parametrize("header", ["file,species", "Filename,label", "recording,class", "Aufnahme,Art", "path,primary_label"])
def test_names_of_columns(header, tmp_path):
    root = folder(tmp_path/"set", header, plain)
    for data in (root, root/"list.csv"):                                       # the folder, or the csv itself
        tables = open_tables("csv", data)
        assert tables["train"].classes == ("fox", "owl") and sum(map(len, tables.values())) == 16
    assert AudioFolder(root).classes == ("fox", "owl")                         # pre-training and `describe` read the same

def test_two_columns_that_may_be_labels_are_asked_for(tmp_path):
    root = folder(tmp_path/"set", "aufnahme,art,ort", lambda i: f"{plain(i)},{'wood city'.split()[i//2 % 2]}")
    for data, said in ((root, r"aufnahme, art, ort.*labels=NAME takes one"), (root/"list.csv", "among aufnahme, art, ort; name it labels, or say labels=NAME")):
        with pytest.raises(ValueError, match=said): open_tables("csv", data)
        assert open_tables("csv", data, labels="Ort")["train"].classes == ("city", "wood")

def test_folders_come_before_a_column_without_a_known_name(tmp_path):
    for i in range(4):
        (tmp_path/plain(i)).mkdir(exist_ok=True); soundfile.write(tmp_path/plain(i)/f"{i}.wav", np.full(4800, 0.1 + i/10), 16_000)
    (tmp_path/"who.csv").write_text("file,recordist\n0.wav,ann\n1.wav,bob\n2.wav,ann\n3.wav,bob\n")
    assert AudioFolder(tmp_path).classes == ("fox", "owl")

@pytest.mark.parametrize("share, seed", [(None, None), (0.5, None), (0.5, 7)])
def test_a_draw_by_recording(share, seed, tmp_path):
    root = folder(tmp_path/"set", "file,species,session", lambda i: f"{'owl fox'.split()[i//4 % 2]},{i//2}", n=32)
    one, two = (open_tables("csv", root, test_share=share, split_seed=seed) for _ in range(2))
    assert not {*one["train"].groups} & {*one["test"].groups} and one["test"].checksum == two["test"].checksum
    assert len(one["test"]) == 32*(share or 0.25) and [one["test"].labels_of(i)[0] for i in range(len(one["test"]))].count("owl") == len(one["test"])/2
    assert f"{int(16*(share or 0.25))} of 16 recordings (as a table names them)" in one["test"].split_from and f"seed {seed or 0}" in one["test"].split_from

def test_both_trainings_hold_out_the_same(tmp_path):
    "A file that cannot be read shifts neither draw; its recording's other clips stay where they are. No label in the first clips."
    root = folder(tmp_path/"set", "file,species,session", lambda i: f"{'' if i % 4 == 0 else plain(i//4)},{i//4}", n=64)
    (root/"9.wav").write_bytes(b"RIFF"); (root/"40.wav").write_bytes(b"RIFF")
    test = open_tables("csv", root)["test"]
    assert len({*test.groups}) == 4
    assert {*test.paths} - {"9.wav", "40.wav"} == {file for file, side in AudioFolder(root).sides.items() if side == "test"}

def test_seeds_draw_differently(tmp_path):
    root = folder(tmp_path/"set", "file,species", plain, n=24)
    assert len({open_tables("csv", root, split_seed=seed)["test"].checksum for seed in (None, 0, 1, 2)}) == 3     # None is 0

def test_a_split_that_is_there_is_not_drawn(tmp_path):
    root = folder(tmp_path/"set", "file,species,split", lambda i: f"{plain(i)},{'train test'.split()[i//2 % 2]}")
    with pytest.raises(ValueError, match="test_share=0.5: .* has a split; leave it out"): open_tables("csv", root, test_share=0.5)
    with pytest.raises(ValueError, match="test_share=0.5: soundscapes are made"): open_task(recipe("finetune/soundscapes", "tiny", test_share=0.5))

def test_one_label_a_clip(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    root = folder(tmp_path/"set", "file,species", plain)
    cfg, _ = configure_task("finetune", given(root))
    assert (cfg.metric, cfg.loss, cfg.single_label) == ("accuracy", "ce", True) and "every clip has one label" in capsys.readouterr().out
    asked = [configure_task("finetune", given(root, **more))[0] for more in (dict(single_label=False), dict(loss="bce"), dict(loss="ce"))]
    assert [(one.metric, one.loss) for one in asked] == [("mAP", "bce"), ("accuracy", "bce"), ("accuracy", "ce")]
    several, _ = configure_task("finetune", given(folder(tmp_path/"many", "file,species", lambda i: '"owl,fox"' if i == 3 else plain(i))))
    assert (several.metric, several.loss, several.single_label) == ("mAP", "bce", None)
    with pytest.raises(ValueError, match="loss=ce needs one label per clip"): configure_task("finetune", given(tmp_path/"many", loss="ce"))

    trained = train_classifier(cfg, start_from(cfg).encoder, open_task(cfg), tmp_path/"runs"/"x", "cpu", quiet=True)
    record = record_task(cfg, trained, open_task(cfg), "random weights")
    metrics = json.loads(record.read_text())["metrics"]
    assert metrics["low"] <= metrics["accuracy"] <= metrics["high"] and "by_polyphony" not in metrics
    assert "4 of 16 recordings" in metrics["account"]["test"]["split_from"]
    wave = np.sin(np.arange(16_000)/9)
    assert sum(sslam_nb.predict("runs/x", wave, 16_000).values()) == pytest.approx(1, abs=1e-5)
    assert sslam_nb.predict("runs/x", wave, 16_000, times=True).scores.sum(1).numpy() == pytest.approx(1, abs=1e-5)
    assert sum(sslam_nb.predict("runs/x", wave, 16_000, activation="sigmoid").values()) != pytest.approx(1, abs=1e-5)
    made = sslam_nb.export_transformers("runs/x", tmp_path/"hf")
    assert json.loads((made/"config.json").read_text())["problem_type"] == "single_label_classification"
    again, _ = configure_task("finetune", given(root, no_pretrained=False, checkpoint="runs/x", train=False))
    assert (again.metric, again.loss) == ("accuracy", "ce")
    assert list(beside_earlier(record, tmp_path/"runs").accuracy) == [round(metrics["accuracy"], 4)]
    assert len(records_table(read_records(tmp_path/"runs")).columns) < 20
    with pytest.raises(ValueError, match="read_records found none"): records_table(read_records("runs", task="finetune/esc50")).accuracy.mean()

@pytest.mark.parametrize("changes, said", [
    (dict(lr=-1.0), "lr=-1.0 must lie between 0.0 and"), (dict(batch_size=2.5), "batch_size=2.5 must lie .* whole number"),
    (dict(layer_decay=1.5), "layer_decay=1.5 must lie between 0.0 and 1.0"), (dict(epochs="five"), "epochs='five' must lie"),
    (dict(lr=float("nan")), "lr=nan must lie"), (dict(test_share=1.0), "test_share=1.0 must lie between 0.01 and 0.9"), (dict(betas=(0.9, 1.0)), "betas=")])
def test_ranges_of_a_recipe(changes, said):
    with pytest.raises(ValueError, match=said): DownstreamConfig(**changes)

def test_new_fields_leave_the_names_of_jobs():
    "Records are found by these names; a field that is not set must not be part of them."
    assert Job(recipe("finetune/csv", "tiny", data="x")).key == "e7b7c8fc22"          # as before there were such fields

def test_a_run_is_found_from_elsewhere(tmp_path):
    "By a script in another folder, by the name that a parameter of a notebook takes."
    model = Classifier(AudioViT(EncoderConfig(width=64, depth=1, n_heads=1, max_time_patches=8)), 2, classes=BIRDS, spectrogram=SpectrogramConfig(target_frames=128))
    name = f"runs/.test-{os.getpid()}"
    save_classifier(model, ROOT/name/"classifier.safetensors")
    try:
        code = f"import sslam_nb; print(sslam_nb.load_checkpoint({name!r}).classes, sslam_nb.SSLAMEmbedder({name!r})._n_features_out)"
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120,
                              env=os.environ | dict(PYTHONPATH=str(ROOT)))
        assert done.stdout.split("\n")[0] == "('owl', 'fox') 64", done.stderr[-500:]
    finally:
        for path in (ROOT/name).iterdir(): path.unlink()
        (ROOT/name).rmdir()
