"""Make the model that the package ships, `sslam_nb/demo`, from a finished Stage 2 at `tiny`.

python .ci/demo.py [checkpoint]      # runs/stage2, as `make demo` leaves it

The encoder is the student, as it was trained. The head is a logistic regression on the mean of its patches, fitted here
on soundscapes that it has not seen, and folded into the LayerNorm and the linear map of a `Classifier`. Weights are
stored in 16 bits."""
import sys

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import layer_norm

from sslam_nb import Classifier, SoundscapeDataset, load_checkpoint
from sslam_nb.core import atomic_path, project_root, set_seed
from sslam_nb.evaluation.frozen import ProbeData
from sslam_nb.evaluation.metrics import Scored, summary
from sslam_nb.reports.results import hardware, make_record, write_record
from sslam_nb.training.weights import save_classifier

EVENTS, FIT, TEST = (1, 3), (6000, 11), (1000, 12)       # sounds in a clip; clips and seed

CARD = '''---
license: mit
library_name: sslam_nb
tags: [audio, self-supervised-learning, toy]
---

# demo, a toy

The student of a Stage 2 of SSLAM at the size `tiny`, and a linear head for 24 synthetic sounds. It comes with `sslam_nb` so
that everything can be tried with nothing downloaded. It has heard synthetic soundscapes alone: use it to see how
things work, not to judge the method or real recordings.

| | |
|---|---|
{rows}

```python
from sslam_nb import embed, predict
clip, frames, times = embed('demo', wave, sample_rate)
print(predict('demo', wave, sample_rate, top=3))
```

`record.json` beside this file is the signed record of the head's test; `make demo` trains all of it anew.
'''


def fit_head(model, data):
    "Weights of a logistic regression on the normalised mean of patches."
    width = model.encoder.cfg.width
    features = layer_norm(torch.from_numpy(data.features(model.encoder)[:, width:]), (width,), eps=1e-6).numpy()
    scale = StandardScaler().fit(features)
    fit = OneVsRestClassifier(LogisticRegression(C=0.02, max_iter=500)).fit(scale.transform(features), data.target.numpy())
    weight = torch.tensor([one.coef_[0] for one in fit.estimators_]) / torch.from_numpy(scale.scale_)
    bias = torch.tensor([one.intercept_[0] for one in fit.estimators_]) - weight @ torch.from_numpy(scale.mean_)
    with torch.no_grad(): model.head.weight.copy_(weight); model.head.bias.copy_(bias)


def main(checkpoint="runs/stage2"):
    set_seed(0)
    sslam = load_checkpoint(checkpoint)
    cfg, step = sslam.cfg, sslam.provenance["step"]
    spectrogram, seconds = cfg.spectrogram, cfg.spectrogram.target_frames/100
    fitted, held_out = (SoundscapeDataset(n, seed=seed, duration=seconds, events=EVENTS) for n, seed in (FIT, TEST))
    model = Classifier(sslam.student, len(fitted.classes), "mean", fitted.classes, spectrogram).eval()
    fit_head(model, ProbeData(fitted, cfg))
    test = ProbeData(held_out, cfg)
    model = model.half().float()                           # what is stored is what is tested
    with torch.no_grad(): scores = torch.cat([model(part) for part in test.log_mel.split(64)])
    scored = Scored(model.classes)
    scored.add(scores, test.target, [str(i) for i in range(len(scores))])
    found = summary(scored)
    folder = project_root()/"sslam_nb/demo"
    folder.mkdir(exist_ok=True)
    trained = sslam.provenance.get("commit")
    origin = dict(data=cfg.data, n_clips=cfg.n_clips, stage=cfg.stage, variant=cfg.variant, step=step, seed=cfg.seed,
                  commit=trained, head=f"logistic regression, {FIT[0]} soundscapes of {EVENTS[0]} to {EVENTS[1]} sounds")
    path = save_classifier(model.half(), folder/"model.safetensors", **origin)
    rows = origin | {"test": f"mAP {100*found['mAP']:.1f} % ({100*found['low']:.1f} to {100*found['high']:.1f}), chance "
                     f"{100*found['chance']:.1f} %, on {TEST[0]} other soundscapes", "hardware": hardware(),
                     "size": f"width {cfg.encoder.width}, {cfg.encoder.depth} blocks, windows of {seconds} s at "
                     f"{spectrogram.sample_rate} Hz, {path.stat().st_size/1e6:.1f} MB"}
    with atomic_path(folder/"README.md") as beside:
        beside.write_text(CARD.format(rows="\n".join(f"| {k} | {v} |" for k, v in rows.items())), encoding="utf-8")
    write_record(folder/"record.json", make_record("demo", "demo head", cfg, found, fitted,
                 notes=f"encoder from a {cfg.stage} of {step} updates at commit {trained}; head: {origin['head']}"))
    print((folder/"README.md").read_text(encoding="utf-8"))


if __name__ == "__main__": main(*sys.argv[1:])
