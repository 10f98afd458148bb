"""Memory and time of two million clips: the official manifest, an epoch's order, the index of shards.

    python benchmarks/index_memory.py [CLIPS]      # writes papers_tables/benchmarks/index_memory.md"""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

STEPS = {
    "read the manifest (tsv, lbl, descriptors)": "from sslam_nb.data.manifests import read_manifest; t = read_manifest(folder, root=folder)",
    "the same, and the batches of an epoch": "from sslam_nb.data.manifests import read_manifest; from sslam_nb.data.loading import BatchOrder\n"
        "t = read_manifest(folder, root=folder); seen = sum(len(b) for b in BatchOrder(len(t), 48)); assert seen == len(t)",
    "open the index of shards": "from sslam_nb.data.shards import ShardSource; t = ShardSource(folder); t.ids[5]",
}


def write(folder, n):
    "Manifest and shard index of `n` clips named and labelled like AudioSet's; the shards themselves are sparse files."
    rng, names = np.random.default_rng(0), [f"{i:011d}" for i in range(n)]
    counts = rng.integers(1, 5, n); starts = np.concatenate([[0], np.cumsum(counts)])
    first = rng.integers(0, 527, n)
    ids = np.concatenate([(f + np.arange(c)*7) % 527 for f, c in zip(first, counts)]).astype(np.int32)
    (folder/"label_descriptors.csv").write_text("".join(f'{i},/m/{i:05d},"class {i}"\n' for i in range(527)))
    (folder/"train.tsv").write_text("/data\n" + "".join(f"unbalanced_train_segments_part{i % 41:02d}/Y{name}.wav\t32000\n" for i, name in enumerate(names)))
    (folder/"train.lbl").write_text("".join(f"Y{name}\t{','.join(f'/m/{k:05d}' for k in ids[a:b])}\n" for name, a, b in zip(names, starts, starts[1:])))
    per = 5500; shards = -(-n//per)
    about = [dict(shard=f"shard-{k:05d}.tar", bytes=2**30, sha256="0"*64, bad=[], clips=min(per, n - k*per)) for k in range(shards)]
    for shard in about:
        with open(folder/shard["shard"], "wb") as out: out.truncate(2**30)
    (folder/"index.json").write_text(json.dumps(dict(kind="flac", source="synthetic", classes=[f"/m/{i:05d}" for i in range(527)], sample_rate=16_000, n_mels=128, target_frames=1024, shards=about)))
    place = np.stack([np.arange(n) % per*180_000, np.full(n, 180_000)], 1)
    np.savez(folder/"index.npz", shard=(np.arange(n)//per).astype(np.int32), place=place, label_starts=starts, label_ids=ids,
             gain=np.ones(n, np.float32), ids=np.frombuffer("\0".join(names).encode(), np.uint8))


CODE = """
import sys, time, pathlib
import numpy, torch, sslam_nb.data.loading, sslam_nb.data.shards
def peak(): return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))/1024
folder = pathlib.Path(sys.argv[1]); before, begin = peak(), time.perf_counter()
{step}
print(len(t), before, peak(), time.perf_counter() - begin)
"""


def measure(folder):
    "Rows (step, clips, MiB before, MiB at the peak, seconds), each in a process of its own."
    for name, step in STEPS.items():
        done = subprocess.run([sys.executable, "-c", CODE.format(step=step), str(folder)], capture_output=True, text=True)
        if done.returncode: raise RuntimeError(done.stderr)
        clips, *numbers = map(float, done.stdout.split())
        yield name, int(clips), *numbers


def main(n=2_000_000):
    from sslam_nb.core import git_commit, project_path
    with tempfile.TemporaryDirectory() as home:
        write(Path(home), n)
        lines = [f"# {n:,} clips in the main process", "", f"Commit {git_commit()}, {os.cpu_count()} cores. Peak resident memory of a process of its own; torch and the package alone are the first number.", "",
                 "| step | clips | MiB before | MiB at the peak | seconds |", "|---|---:|---:|---:|---:|"]
        for name, clips, before, peak, seconds in measure(Path(home)): lines.append(f"| {name} | {clips:,} | {before:.0f} | {peak:.0f} | {seconds:.1f} |")
    out = project_path("papers_tables/benchmarks/index_memory.md"); out.parent.mkdir(exist_ok=True)
    out.write_text("\n".join(lines) + "\n"); print(out.read_text())


if __name__ == "__main__": main(*map(int, sys.argv[1:]))
