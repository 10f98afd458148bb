"""How fast clips reach the training step: a folder of flac, flac shards, log-mel shards; on 1 and 2 loader processes.

    python benchmarks/loading.py [CLIPS]     # 2000 unless told; writes papers_tables/benchmarks/loading.md

10-s soundscapes at 32 kHz (so that resampling is paid, as for AudioSet), read once before measuring, so from the page
cache. The floor of a log-mel of 10 s is about 90 MFLOP (transform and mel matrix) and 0.6 MB read and written."""
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from sslam_nb.config import SpectrogramConfig
from sslam_nb.core import git_commit, progress, project_path
from sslam_nb.data.sources import AudioFolder, LogMelDataset
from sslam_nb.data.clips import read_window
from sslam_nb.data.loading import make_loader
from sslam_nb.data.shards import ShardSource, pack_shards
from sslam_nb.data.soundscapes import SoundscapeDataset
from sslam_nb.spectrogram import LogMel, batch_log_mel, kaldi_log_mel, resample


def make_folder(root, clips):
    "Rendered once; 100 different soundscapes, each stored again with another level."
    if len(list(root.glob("*.flac"))) == clips: return
    root.mkdir(parents=True, exist_ok=True)
    source = SoundscapeDataset(100)
    waves = [resample(torch.from_numpy(source[i].wave), 16_000, 32_000).numpy() for i in range(100)]
    with progress(clips, description="render") as bar:
        for i in range(clips): soundfile.write(root/f"{i:05d}.flac", waves[i % 100]*(0.5 + 0.4*i/clips), 32_000); bar.update()


def per_second(dataset, workers, clips):
    "Clips per second over one epoch, without the start of the processes."
    loader, begin = make_loader(dataset, 12, workers, seed=1), None
    for i, _ in enumerate(loader):
        if i == 4: begin, first = time.perf_counter(), i
        if i*12 > clips: break
    return (i - first)*12/(time.perf_counter() - begin)


def share(function, *args, repeat=40):
    "Milliseconds of one call, the median of many."
    times = []
    for _ in range(repeat):
        begin = time.perf_counter(); function(*args); times.append(1e3*(time.perf_counter() - begin))
    return float(np.median(times))


def main(clips=2000):
    torch.set_num_threads(1)
    base, cfg = project_path("runs/benchmarks/loading"), SpectrogramConfig()
    make_folder(base/"folder", clips)
    folder = AudioFolder(base/"folder")
    for kind in ("flac", "log_mel"): pack_shards(folder, base/kind, kind, cfg, shard_bytes=2**27, workers=2)
    sources = {"folder, flac at 32 kHz": folder, "shards, flac at 16 kHz": ShardSource(base/"flac"), "shards, log-mel": ShardSource(base/"log_mel")}
    lines = [f"# Loading, {clips} clips of 10 s", "", f"Commit {git_commit()}; {os.cpu_count()} cores ({platform.processor() or platform.machine()}), Python {platform.python_version()}, "
             f"torch {torch.__version__}; batches of 12 x 1024 x 128, page cache warm.", "", "| source | bytes a clip | 1 worker, clips/s | 2 workers, clips/s |", "|---|---:|---:|---:|"]
    for name, source in sources.items():
        size = sum(p.stat().st_size for p in Path(source.root).rglob("*") if p.suffix in (".flac", ".tar"))/clips
        rates = [per_second(LogMelDataset(source, LogMel(cfg)), workers, min(clips, 1200)) for workers in (1, 2)]
        lines.append(f"| {name} | {size:,.0f} | {rates[0]:.0f} | {rates[1]:.0f} |"); print(lines[-1])
    file = folder.files[0]
    wave, rate = read_window(folder.root, file); wave = torch.from_numpy(wave); at16 = resample(wave, rate, 16_000)
    batch, lengths = at16.repeat(12, 1), torch.full((12,), len(at16))
    parts = {"read and decode flac, 32 kHz": share(read_window, folder.root, file), "resample to 16 kHz": share(resample, wave, rate, 16_000),
             "filterbank, one clip (Kaldi)": share(kaldi_log_mel, at16, cfg), "filterbank, a batch of 12 (per clip)": share(batch_log_mel, batch, lengths, cfg, repeat=8)/12,
             "decode flac, 16 kHz, from a shard": share(sources["shards, flac at 16 kHz"].__getitem__, 0), "read a log-mel from a shard": share(sources["shards, log-mel"].__getitem__, 0)}
    lines += ["", "Where the time of one clip goes, on one thread:", "", "| step | ms |", "|---|---:|"] + [f"| {name} | {ms:.2f} |" for name, ms in parts.items()]
    out = project_path("papers_tables/benchmarks/loading.md"); out.parent.mkdir(exist_ok=True)
    out.write_text("\n".join(lines) + "\n"); print("\n".join(lines[-8:])); print(out)


if __name__ == "__main__": main(*map(int, sys.argv[1:]))
