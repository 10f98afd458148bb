"""One trial of a small setting: Stage 1 and variants of Stage 2, read by logistic regression on validation clips.

    python benchmarks/setting.py SEED VARIANT,VARIANT width=128 n_clips=1024      # changes of the tables' setting, tiny-study

Validation clips have seeds 21 and 22, which no table uses. papers_tables/benchmarks/setting.md tells what was tried."""
import ast
import sys
import tempfile
from pathlib import Path

import numpy as np

from sslam_nb.core import project_path
from sslam_nb.evidence.jobs import stage1, stage2
from sslam_nb.training.checkpoints import load_checkpoint
from sslam_nb.evaluation.metrics import mean_average_precision
from sslam_nb.evaluation.frozen import ProbeData, probe_scores
from sslam_nb.evidence.runner import kept, run_job
from sslam_nb.data.soundscapes import SoundscapeDataset

seed, variants = int(sys.argv[1]), sys.argv[2].split(",")
changes = {name: ast.literal_eval(value) for name, value in (word.split("=") for word in sys.argv[3:])}
jobs = {"random": stage1("tiny", seed, **changes | dict(max_steps=1, lr=0.0)), "Stage 1": stage1("tiny", seed, **changes)}
first = jobs["Stage 1"]
for variant in variants:
    job = stage2("tiny", seed, variant, **changes)
    jobs[variant] = type(job)(job.cfg, first)
clips = project_path("runs/experiments/clips")
seconds = first.cfg.spectrogram.target_frames/100
train, test = (ProbeData(kept(SoundscapeDataset(n, seed=s, duration=seconds, events=(1, 9)), clips), first.cfg)
               for n, s in ((1000, 21), (1500, 22)))
many = test.target.sum(1).numpy() >= 4
with tempfile.TemporaryDirectory() as folder:
    for name, job in jobs.items():
        run_job(job, Path(folder), Path(folder)/"records", "cpu")
        student = load_checkpoint(Path(folder)/job.name/"model.safetensors").student
        features, width = [data.features(student) for data in (train, test)], job.cfg.encoder.width
        for reads, part in {"CLS": slice(0, width), "CLS + mean": slice(None)}.items():
            scores = probe_scores(features[0][:, part], train.target.numpy(), features[1][:, part])
            values = [100*mean_average_precision(scores[rows], test.target.numpy()[rows]) for rows in (np.ones_like(many), many, ~many)]
            print(f"{name:10} {reads:10} all {values[0]:.1f}  4 and more {values[1]:.1f}  1 to 3 {values[2]:.1f}", flush=True)
