"""What becomes of a short clip in a model for longer ones, by how the rest of the window is filled.

    python benchmarks/padding.py [checkpoint] [seeds]    # demo and 3; writes papers_tables/benchmarks/padding.md

Single synthetic sounds of 24 classes, as long as a share of the model's window. A logistic regression on frozen vectors
names them: fitted on clips of that length ("short"), or on clips that fill the window ("full"), which is what a head has
seen that was trained on full windows.
"""
import sys

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sslam_nb import embed, load_checkpoint
from sslam_nb.core import git_commit, project_path
from sslam_nb.data.soundscapes import CLASSES, synthesize
from sslam_nb.reports.results import hardware
from sslam_nb.use.windows import PADDINGS, input_of

SHARES, POOLS, TRAIN, TEST = (1/8, 1/4, 1/2), ("cls", "mean"), 40, 25


def sounds(seconds, per_class, seed):
    "Sounds with a little noise, and their classes."
    rng = np.random.default_rng([seed, 1])
    waves = [synthesize(label, [seed, i, c], seconds) for c, label in enumerate(CLASSES) for i in range(per_class)]
    return [0.5*w + 0.005*rng.standard_normal(len(w)) for w in waves], np.repeat(np.arange(len(CLASSES)), per_class)


def vectors(model, waves, padding):
    "CLS and mean of the columns with sound, from one pass."
    both = embed(model, waves, 16_000, pool="concat", padding=padding, batch_size=32).clip.numpy()
    return dict(zip(POOLS, np.split(both, 2, axis=1)))


def accuracy(fit, score, labels):
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500)).fit(fit, labels[0])
    return 100*probe.score(score, labels[1])


def measure(model, window, seed):
    "Accuracy (%) by (share, padding, pool, fitted on)."
    found = {}
    full, labels = sounds(window, TRAIN, 2*seed)
    full = vectors(model, full, "zeros")
    for share in SHARES:
        (train, _), (test, truth) = sounds(share*window, TRAIN, 2*seed), sounds(share*window, TEST, 2*seed + 1)
        for padding in PADDINGS:
            short, scored = (vectors(model, waves, padding) for waves in (train, test))
            for pool in POOLS:
                for fitted, fit in (("short", short), ("full", full)):
                    found[share, padding, pool, fitted] = accuracy(fit[pool], scored[pool], (labels, truth))
    return found


def main(checkpoint="demo", seeds="3"):
    model = load_checkpoint(checkpoint)
    window = input_of(model)[2]/100
    runs = [measure(model, window, seed) for seed in range(int(seeds))]
    lines = ["# Short clips in long windows", "", f"Made by `benchmarks/padding.py {checkpoint} {seeds}` on {hardware()}, commit "
             f"{git_commit()}. Accuracy in % of a logistic regression on frozen vectors, mean and standard deviation over "
             f"{seeds} draws of sounds: {len(CLASSES)} classes, {TRAIN} clips of each to fit and {TEST} to test, the encoder's "
             f"window {window} s. *Fitted on short*: on clips of the same length, padded in the same way. *On full*: on "
             "clips that fill the window, which need no padding.", "",
             "| sound [s] | reading | fitted on | " + " | ".join(f"`{p}`" for p in PADDINGS) + " |",
             "|---|---|---|" + "---:|"*len(PADDINGS)]
    for share in SHARES:
        for pool in POOLS:
            for fitted in ("short", "full"):
                values = [[run[share, padding, pool, fitted] for run in runs] for padding in PADDINGS]
                cells = " | ".join(f"{np.mean(v):.1f} ± {np.std(v, ddof=1):.1f}" for v in values)
                lines.append(f"| {share*window:.2f} | {pool} | {fitted} | {cells} |")
    path = project_path("papers_tables/benchmarks/padding.md")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__": main(*sys.argv[1:])
