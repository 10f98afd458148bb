"""How fast clips reach a training step that costs nothing, and how many cores a GPU needs.

    python benchmarks/feeding.py [CLIPS] [REPEATS]   # 240 and 5 unless told; writes papers_tables/benchmarks/loading.md

10-s clips go the way that they go in pre-training: `open_clips` reads, decodes, resamples and, where it is told to, computes
the log-mels; `make_loader` collects batches of 12 in 0, 1 or 2 loader processes, ahead of their use; `on_device` moves them,
from pinned memory to a GPU, and computes the log-mels there otherwise. The step takes a mean and nothing else. All files
were written just before, so they are read from the page cache. Cases are interleaved: each repeat measures all of them.

Clips per second are wall time between the arrival of the first batch and of a later one, whole rounds of the loader processes
apart. Milliseconds of a clip are CPU time, which a busy machine spoils less; cores are derived from them."""
import os
import platform
import sys
import time
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
import soundfile
import torch

from sslam_nb.config import override, preset
from sslam_nb.core import atomic_path, git_commit, pick_device, project_path
from sslam_nb.data.clips import read_window
from sslam_nb.data.loading import make_loader, on_device, open_clips
from sslam_nb.data.shards import ShardSource, pack_shards
from sslam_nb.data.soundscapes import SoundscapeDataset
from sslam_nb.data.sources import AudioFolder
from sslam_nb.spectrogram import batch_log_mel, kaldi_log_mel, resample

PAPER = preset("stage1", "paper")
BATCH = PAPER.batch_size                       # on each of 4 GPUs
PACE = PAPER.n_clips/7/3600                    # AS-2M in 7 hours on 4 GPUs
PACES = {"one GPU at the paper's pace": PACE/4, "four at the paper's pace": PACE, "an H200, if it takes 400/s": 400}
DIFFERENT = 24                                 # soundscapes that are rendered; more clips are these at another level


def make_sources(folder, clips):
    "The same clips in four forms: name -> source."
    scapes = SoundscapeDataset(min(clips, DIFFERENT), duration=10.0)
    waves = [torch.from_numpy(clip.wave) for clip in scapes]
    for kind, rate, ending in (("wav", 16_000, "wav"), ("flac", 44_100, "flac")):
        (folder/kind).mkdir()
        there = [resample(wave, 16_000, rate).numpy() for wave in waves]
        for i in range(clips):
            level = 0.5 + 0.4*i/clips
            soundfile.write(folder/kind/f"{i:05d}.{ending}", level*there[i % len(there)], rate)
    wav = AudioFolder(folder/"wav")
    for kind in ("flac", "log_mel"):
        pack_shards(wav, folder/f"shards-{kind}", kind, PAPER.spectrogram, workers=0, quiet=True)
    return {"shards, flac at 16 kHz": ShardSource(folder/"shards-flac"), "shards, log-mel": ShardSource(folder/"shards-log_mel"),
            "folder, wav at 16 kHz": wav, "folder, flac at 44.1 kHz": AudioFolder(folder/"flac")}


def cpu_seconds(processes):
    "CPU time that processes have taken so far."
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in processes)


def one_epoch(source, cfg, device, seed):
    "Clips per second, and CPU milliseconds of a clip in the loader's processes and in this one."
    dataset, own, clips = open_clips(cfg, source), [os.getpid()], 0
    before, total = cpu_seconds(own), torch.zeros((), device=device)
    loader = make_loader(dataset, cfg.batch_size, cfg.workers, seed)
    last = (len(loader) - 1)//max(1, cfg.workers)*max(1, cfg.workers)          # batches come in rounds
    for step, batch in enumerate(loader):
        log_mel, _ = on_device(batch, cfg.spectrogram, device)
        total += log_mel.mean()
        clips += len(batch["clip_id"])*(step <= last)
        if step == 0: total.item(); begin, first = time.perf_counter(), clips
        if step == last: total.item(); seconds = time.perf_counter() - begin   # waits for the device
    main = cpu_seconds(own) - before
    workers = cpu_seconds(w.pid for w in loader._iterator._workers) if cfg.workers else 0.0
    return (clips - first)/seconds, 1000*workers/len(source), 1000*main/len(source)


def alone(source, cfg):
    "CPU milliseconds of a clip without loader, batches and device."
    dataset, begin = open_clips(override(cfg, workers=1), source), time.process_time()     # 1: it keeps no clips
    for i in range(len(dataset)): dataset[i]
    return 1000*(time.process_time() - begin)/len(dataset)


def interval(values, draws=2000):
    "Median, and the 2.5 and 97.5 % quantiles of the medians of bootstrap samples; None of a single value."
    values = np.asarray(values)
    if len(values) < 2: return float(np.median(values)), None, None
    drawn = np.random.default_rng(0).choice(values, (draws, len(values)))
    return float(np.median(values)), *np.quantile(np.median(drawn, axis=1), (0.025, 0.975)).tolist()


def row(name, cfg, device, found, by_itself):
    "What was found of one case in all repeats."
    rates, loader, main = zip(*found)
    (rate, low, high), loader, main, by_itself = interval(rates), *map(np.median, (loader, main, by_itself))
    given = loader if cfg.workers else main                        # what feeding takes, by whoever feeds
    there = cfg.filterbank == "device"                             # its CPU time cannot be told apart from the loop's
    return dict(source=name, filterbank="-" if "log-mel" in name else cfg.filterbank, workers=cfg.workers,
                device=device.type, repeats=len(found), clips_per_s=rate, low=low, high=high,
                loader_ms=float(loader), main_ms=float(main), alone_ms=float(by_itself), per_core=float(1000/given),
                loop_ms=None if there else float(loader + main - by_itself))


def measure(
    clips=240,          # In each form
    repeats=5,          # Passes over all clips
    workers=(0, 1, 2),  # Loader processes
    device=None,        # cpu, cuda ...; None: the fastest present
    quick=False,        # One repeat of a few clips, for tests
    say=lambda line: None, # Called with each row's text as it is there
):
    """A row for each source, place of the filterbank and number of loader processes (list of dictionaries).

    clips_per_s, low and high: median of the repeats and its 95 % interval. CPU milliseconds of a clip: loader_ms in loader
    processes, main_ms in this one, alone_ms for the data set without a loop, loop_ms what loader, batches and moving add (None
    where the device computes the log-mels).
    per_core: clips per second of one core that feeds (a loader process's; this process's where there is none)."""
    recipe = override(PAPER, batch_size=4) if quick else PAPER
    if quick: clips, repeats = 24, 1
    if clips < 2*max(workers, default=0)*recipe.batch_size + recipe.batch_size:
        raise ValueError(f"clips={clips} are too few for workers={workers}; take more")
    device, threads = pick_device(device), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with TemporaryDirectory() as folder:
            sources = make_sources(Path(folder), clips)
            cases = [(name, override(recipe, workers=n, filterbank=place)) for name, place, n in
                     product(sources, ("loader", "device"), workers) if (place, name) != ("device", "shards, log-mel")]
            found, by_itself = [[] for _ in cases], {(name, cfg.filterbank): [] for name, cfg in cases}
            for repeat in range(repeats):
                for (name, cfg), there in zip(cases, found):
                    there.append(one_epoch(sources[name], cfg, device, repeat))
                    own = by_itself[name, cfg.filterbank]
                    if len(own) == repeat: own.append(alone(sources[name], cfg))
        rows = [row(name, cfg, device, there, by_itself[name, cfg.filterbank]) for (name, cfg), there in zip(cases, found)]
    finally: torch.set_num_threads(threads)
    for r in rows: say(f"{r['source']:26} {r['filterbank']:7} {r['workers']} workers  {r['clips_per_s']:7.1f} clips/s")
    return rows


def cores(
    rows,  # From `measure`
):
    "Loader cores that each pace takes, by source and place of the filterbank, beside the core of the training process."
    with_workers = [r for r in rows if r["workers"] == max(r["workers"] for r in rows) > 0]
    return [dict(source=r["source"], filterbank=r["filterbank"], per_core=r["per_core"],
                 **{name: pace/r["per_core"] for name, pace in PACES.items()}) for r in with_workers]


def parts(clips=24, repeats=40):
    "Where the time of one clip goes, on one thread: name -> median milliseconds (wall)."
    def ms(function, *args, n=repeats):
        times = []
        for _ in range(n):
            begin = time.perf_counter(); function(*args); times.append(1e3*(time.perf_counter() - begin))
        return float(np.median(times))
    torch.set_num_threads(1)
    cfg = PAPER.spectrogram
    with TemporaryDirectory() as folder:
        sources = make_sources(Path(folder), clips)
        flac = sources["folder, flac at 44.1 kHz"]
        wave = torch.from_numpy(read_window(flac.root, flac.files[0])[0])
        at16 = resample(wave, 44_100, 16_000)
        batch, lengths = at16.repeat(BATCH, 1), torch.full((BATCH,), len(at16))
        return {"read and decode flac, 44.1 kHz": ms(read_window, flac.root, flac.files[0]),
                "resample to 16 kHz": ms(resample, wave, 44_100, 16_000),
                "filterbank, one clip (Kaldi)": ms(kaldi_log_mel, at16, cfg),
                f"filterbank, a batch of {BATCH} (per clip)": ms(batch_log_mel, batch, lengths, cfg, n=max(2, repeats//5))/BATCH,
                "decode flac, 16 kHz, from a shard": ms(sources["shards, flac at 16 kHz"].__getitem__, 0),
                "read a log-mel from a shard": ms(sources["shards, log-mel"].__getitem__, 0)}


def table(rows, head):
    "Lines of a table in Markdown."
    return ["| " + " | ".join(head) + " |", "|---|" + "---:|"*(len(head) - 1)] + ["| " + " | ".join(r) + " |" for r in rows]


def text(rows, clips, ms):
    "The page that is written."
    numbers = sorted({r["workers"] for r in rows}, key=lambda n: n or 99)              # 0 last
    cell = lambda r: f"{r['clips_per_s']:.0f}" + (f" ({r['low']:.0f} to {r['high']:.0f})" if r["low"] is not None else "")
    lines = [f"# Loading, {clips} clips of 10 s", "",
             f"Commit {git_commit()}; {os.cpu_count()} cores ({platform.processor() or platform.machine()}), "
             f"device {rows[0]['device']}, Python {platform.python_version()}, torch {torch.__version__}; batches of "
             f"{BATCH} x 1024 x 128, page cache warm, {rows[0]['repeats']} interleaved repeats.", "",
             "Clips per second through the whole pre-training loop with a step that costs nothing: median and 95 % interval."]
    for place, title in (("loader", "Filterbank in the loader:"), ("device", "Filterbank on the device:")):
        names = list(dict.fromkeys(r["source"] for r in rows if r["filterbank"] in (place, "-" if place == "loader" else place)))
        by = {(r["source"], r["workers"]): r for r in rows if r["filterbank"] in (place, "-")}
        loop = lambda name: "-" if by[name, numbers[0]]["loop_ms"] is None else f"{by[name, numbers[0]]['loop_ms']:.1f}"
        spent = lambda name: f"{by[name, numbers[0]]['alone_ms']:.1f} + {loop(name)}"
        head = ["source", "CPU ms a clip: data set + loop", *(f"{n} worker{'s'*(n != 1)}, clips/s" for n in numbers)]
        lines += ["", title, "", *table([[name, spent(name), *(cell(by[name, n]) for n in numbers)] for name in names], head)]
    lines += ["", "Cores for loader processes, beside the one of the training process:", ""]
    lines += table([[f"{r['source']}, filterbank: {r['filterbank']}", f"{r['per_core']:.0f}", *(f"{r[p]:.1f}" for p in PACES)]
                    for r in cores(rows)], ["source", "clips/s a core", *(f"{p} ({pace:.0f}/s)" for p, pace in PACES.items())])
    return lines + ["", "Where the time of one clip goes, on one thread:", "",
                    *table([[name, f"{value:.2f}"] for name, value in ms.items()], ["step", "ms"])]


def main(clips=240, repeats=5):
    lines = text(measure(clips, repeats, say=print), clips, parts())
    with atomic_path(project_path("papers_tables/benchmarks/loading.md")) as beside: beside.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__": main(*map(int, sys.argv[1:]))
