"""Stage 1 and Stage 2 at `tiny` for three seeds, and the linear probe of each: what `make stage2` does, without papermill.

    python benchmarks/tiny_seeds.py [variant ...]     # SSLAM unless told; writes papers_tables/benchmarks/
"""
import sys
import time

import pandas as pd

from sslam_nb.config import override, preset
from sslam_nb.core import project_path
from sslam_nb.data.access import open_data
from sslam_nb.training.pretrain import pretrain
from sslam_nb.reports.results import make_record, write_record
from sslam_nb.reports.runs import probe_table

SEEDS = (0, 1, 2)
started, rows, variants = time.perf_counter(), [], sys.argv[1:] or ["SSLAM"]
for seed in SEEDS:
    cfg = override(preset("stage1", "tiny"), seed=seed)
    data, folder = open_data(cfg), f"runs/tiny-seeds/{seed}"
    first = pretrain(cfg, data.pretrain, f"{folder}-stage1", device="cpu")
    checkpoints, runs = {"stage 1": first.folder/"model.safetensors"}, {"stage 1": first}
    for variant in variants:
        cfg = override(preset("stage2", "tiny"), seed=seed, variant=variant)
        run = pretrain(cfg, data.pretrain, f"{folder}-{variant}", init=checkpoints["stage 1"], device="cpu")
        checkpoints[variant], runs[variant] = run.folder/"model.safetensors", run
    for name, row in probe_table(cfg, data, checkpoints).iterrows():
        run = runs.get(name)
        variance = run.history.target_var_over_clips if run else [float("nan")]
        rows.append(dict(seed=seed, encoder=name, mAP=row.mAP, chance=row.chance, seconds=run and run.seconds,
                         target_var_first=next(iter(variance)), target_var_last=list(variance)[-1]))
table = pd.DataFrame(rows)
print(table.round(4).to_string(index=False))
mean = table.groupby("encoder", sort=False).mAP.agg(["mean", "std", "min", "max"])
print(mean.round(4))
record = make_record("benchmark", "tiny_seeds", cfg, {"mAP": mean["mean"].to_dict(), "std": mean["std"].to_dict()}, data.pretrain, table,
                     time.perf_counter() - started, notes=f"seeds {SEEDS}; probe on {cfg.probe_clips} soundscapes; history: one row per encoder")
print(write_record(project_path("papers_tables/benchmarks/tiny_seeds.json"), record))
