"""Speed of fine-tuning, of linear evaluation on stored features, and of the metrics, on this machine.

    python benchmarks/downstream.py       # about three minutes on two idle cores; writes papers_tables/benchmarks/downstream.md
"""
import os
import platform
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from sklearn.metrics import average_precision_score

from sslam_nb.evaluation.augment import augment
from sslam_nb.config import override, preset
from sslam_nb.core import git_commit, project_path, set_seed
from sslam_nb.data.sources import LogMelDataset
from sslam_nb.evaluation.recipes import recipe, run_length
from sslam_nb.encoder import AudioViT
from sslam_nb.evaluation.frozen import cached_features
from sslam_nb.data.loading import make_loader
from sslam_nb.evaluation.metrics import Scored, confidence_interval, mean_average_precision
from sslam_nb.evaluation.update import layer_groups, learn
from sslam_nb.training.classifier import Classifier
from sslam_nb.training.update import make_accelerator
from sslam_nb.reports.results import hardware
from sslam_nb.data.soundscapes import SoundscapeDataset
from sslam_nb.spectrogram import LogMel


def seconds(function, times):
    "Median seconds of a call, after one that is not counted."
    function()
    spent = []
    for _ in range(times):
        begin = time.perf_counter()
        function()
        spent.append(time.perf_counter() - begin)
    return median(spent)


def finetuning_step():
    "A whole update of the ESC-50 recipe on ViT-B, and forward and backward of its encoder alone."
    cfg = recipe("finetune/esc50", "paper", precision="no")
    model = Classifier(AudioViT(override(preset("stage2", "paper").encoder, drop_path=cfg.drop_path)), 50)
    optimizer = torch.optim.AdamW(layer_groups(model, cfg), lr=cfg.lr, betas=cfg.betas, fused=True)
    accelerator = make_accelerator(cfg, "cpu")
    wave, target = 0.1*torch.randn(4, 511*160 + 400), torch.eye(50)[:4]
    batch = dict(wave=wave, length=torch.full((4,), wave.shape[1]), target=target, clip_id=list("abcd"))
    log_mel, _ = augment(batch, cfg.augment, cfg.spectrogram, np.random.default_rng(0))

    def plain():
        model.encoder(log_mel).cls.sum().backward()
        model.zero_grad(set_to_none=True)
    floor = seconds(plain, 5)
    return floor, seconds(lambda: learn(accelerator, model, optimizer, batch, cfg, 10, (8000, 800)), 5)


def linear_epoch(folder, n_clips=256):
    "An epoch of linear evaluation without and with stored features, and what storing them costs once."
    cfg = recipe("linear/soundscapes", "tiny", augment=False)
    source = SoundscapeDataset(n_clips, seed=3, duration=cfg.spectrogram.target_frames/100)
    encoder = AudioViT(preset("stage2", "tiny").encoder)
    model = Classifier(encoder, len(source.classes), cfg.reading, source.classes, cfg.spectrogram)
    encoder.requires_grad_(False)
    optimizer = torch.optim.AdamW(layer_groups(model, cfg), lr=cfg.lr, betas=cfg.betas, fused=True)
    accelerator, length = make_accelerator(cfg, "cpu"), run_length(cfg, n_clips)
    log_mels = LogMelDataset(source, LogMel(cfg.spectrogram), cache=True)      # rendering and filterbank are not counted
    fresh = make_loader(log_mels, cfg.batch_size)
    for _ in fresh: pass
    begin = time.perf_counter()
    features = cached_features(encoder, source, cfg.spectrogram, folder)
    storing, stored = time.perf_counter() - begin, make_loader(features, cfg.batch_size)

    usual = recipe("linear/soundscapes", "tiny")                # with the paper's augmentations, which forbid storing
    waves = make_loader(LogMelDataset(source, LogMel(cfg.spectrogram), ("wave",), cache=True), cfg.batch_size)
    for _ in waves: pass

    def epoch(loader, cfg=cfg):
        for batch in loader: learn(accelerator, model, optimizer, batch, cfg, 0, length)
    return seconds(lambda: epoch(waves, usual), 3), seconds(lambda: epoch(fresh), 3), seconds(lambda: epoch(stored), 3), storing


def metrics(n_clips=20_000, n_classes=527):
    "mAP of AudioSet's size from a stream of batches, its interval, and the difference to scikit-learn."
    rng = np.random.default_rng(0)
    targets = rng.random((n_clips, n_classes)) < 0.005
    scores = (targets + rng.normal(0, 1, targets.shape)).astype(np.float32)
    begin = time.perf_counter()
    scored = Scored([str(c) for c in range(n_classes)])
    for i in range(0, n_clips, 64): scored.add(scores[i:i + 64], targets[i:i + 64], [str(k) for k in range(i, min(i + 64, n_clips))])
    value = mean_average_precision(scored.scores, scored.targets)
    streamed, begin = time.perf_counter() - begin, time.perf_counter()
    confidence_interval(scores, targets)
    interval = time.perf_counter() - begin
    return streamed, interval, abs(value - average_precision_score(targets, scores, average="macro"))


set_seed(0)
floor, step = finetuning_step()
with tempfile.TemporaryDirectory() as folder: augmented, fresh, stored, storing = linear_epoch(Path(folder))
streamed, interval, gap = metrics()
rows = [
    ("ViT-B, 512 frames, 4 clips: forward and backward of the encoder", f"{floor:.2f} s"),
    ("the same, a whole fine-tuning update with augmentation and AdamW", f"{step:.2f} s"),
    ("ratio (asked for: at most 1.3)", f"{step/floor:.2f}"),
    ("`tiny`, 256 clips: an epoch of linear evaluation, with the paper's augmentations", f"{1000*augmented:.0f} ms"),
    ("the same without augmentations, log-mels in memory, features not stored", f"{1000*fresh:.0f} ms"),
    ("the same on stored features", f"{1000*stored:.0f} ms"),
    ("ratios to stored features (asked for: at least 20)", f"{augmented/stored:.0f} and {fresh/stored:.0f}"),
    ("storing the features once, rendering and filterbank included", f"{storing:.1f} s"),
    ("mAP of 527 classes and 20 000 clips, streamed in batches of 64 (asked for: below 5 s)", f"{streamed:.1f} s"),
    ("its 95 % interval", f"{interval:.1f} s"),
    ("difference to scikit-learn's macro average", f"{gap:.0e}"),
]
text = "\n".join([
    "# Fine-tuning, linear evaluation, metrics", "",
    f"Commit {git_commit()}; {hardware()}, {torch.get_num_threads()} threads, {os.cpu_count()} cores; Python {platform.python_version()}, "
    f"torch {torch.__version__}; float32, medians.", "",
    "| what | |", "|---|---:|", *(f"| {name} | {value} |" for name, value in rows), ""])
project_path("papers_tables/benchmarks/downstream.md").write_text(text)
print(text)
