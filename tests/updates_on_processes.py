"Pre-training runs of test_processes.py, for one process (imported) and for several (this file under torchrun)."
import os
import signal
import sys
from pathlib import Path

import torch

from sslam_nb.config import override, preset
from sslam_nb.data.clips import BadClip
from sslam_nb.data.soundscapes import SoundscapeDataset
from sslam_nb.training.pretrain import pretrain
from sslam_nb.training.state import Stopped

chapter = sys.modules["sslam_nb.training.pretrain"]
RANK = int(os.environ.get("RANK", 0))
# 22 clips: two micro-batches of 3 make 4 updates of 5 or 6 clips, four make 2 of 11; nothing divides evenly
CFG = override(preset("stage2", "tiny"), width=32, depth=2, n_heads=2, decoder_width=16, decoder_depth=2, local_top_k=2, global_top_k_unmixed=1,
               target_frames=64, unmixed_frames=16, batch_size=3, epochs=2, mix_share=0.5, clip_norm=1e6, lr=1e-3, log_every=1, save_every=100,
               log_with="none")


class Clips:
    "Soundscapes of which some may not be read."
    def __init__(self, bad=()):
        self.clips, self.unreadable = SoundscapeDataset(22, seed=5, duration=.64), bad
        self.name, self.checksum, self.classes = self.clips.name, self.clips.checksum, self.clips.classes
    def __len__(self): return len(self.clips)
    def __getitem__(self, i):
        if i in self.unreadable: raise BadClip(f"clip{i}.wav", "cut short")
        return self.clips[i]


def watched(update, seen, happens):
    "Updates that are written down; on process `rank`, at a step, something happens: a signal, or not a number."
    def update_and_note(accelerator, model, optimizer, batches, cfg, step, *more):
        what, rank, at = happens or (None, None, None)
        if (rank, at) == (RANK, step):
            if what == "nan": batches = [batches[0] | dict(log_mel=batches[0]["log_mel"]*torch.nan), *batches[1:]]
            else: os.kill(os.getpid(), what)
        row = update(accelerator, model, optimizer, batches, cfg, step, *more)
        if step == 0:
            named = accelerator.unwrap_model(model).named_parameters()
            seen["gradient"] = {name: p.grad.clone() for name, p in named if p.requires_grad and not cfg.compute.shard}
        seen["clips"] |= {step: [batch["clip_id"] for batch in batches]}
        return row
    return update_and_note


def train(folder, resume=False, happens=None, bad=(), **changes):
    "One run, and what this process saw of it."
    seen, update = dict(clips={}), chapter.update
    chapter.update = watched(update, seen, happens)
    try: seen["bad"] = pretrain(override(CFG, **changes), Clips(bad), folder, device="cpu", resume=resume, quiet=True).bad
    except Stopped as stop: seen["stopped"] = stop.code
    except (FloatingPointError, RuntimeError) as error: seen["error"] = f"{type(error).__name__}: {error}"
    finally: chapter.update = update
    return seen


def runs():
    "Everything that two processes do, one run after another."
    halves = dict(accumulate=2, log_every=2)
    yield "mean", dict()
    yield "sum", dict(global_reduction="sum")
    yield "four", halves
    yield "spread", halves | dict(shard=True)
    yield "bf16", halves | dict(precision="bf16", max_steps=2)
    yield "fp16", halves | dict(precision="fp16", max_steps=2)
    yield "cut mean", dict(happens=(signal.SIGUSR1, 1, 2))
    yield "cut sum", dict(global_reduction="sum", happens=(signal.SIGUSR1, 1, 2))
    yield "bad", dict(bad=(7,))
    yield "too bad", dict(bad=(7, 12), max_bad=1)
    yield "nan", dict(happens=("nan", 1, 4), log_every=5, save_every=2)
    yield "nan in fp16", dict(happens=("nan", 1, 2), precision="fp16", save_every=2)
    yield "nan of two", halves | dict(happens=("nan", 0, 2), log_every=100, save_every=1)


if __name__ == "__main__":
    torch.save({name: train(Path(name).absolute(), **how) for name, how in runs()}, f"seen.{RANK}.pt")
