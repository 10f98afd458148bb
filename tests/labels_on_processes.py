"Runs on labels of test_processes_downstream.py, for one process (imported) and for several (this file under torchrun)."
import os
import signal
import sys
from pathlib import Path

import torch

from sslam_nb.config import preset
from sslam_nb.data.clips import BadClip
from sslam_nb.data.soundscapes import SoundscapeDataset
from sslam_nb.encoder import AudioViT
from sslam_nb.evaluation import finetune
from sslam_nb.evaluation.recipes import recipe
from sslam_nb.evaluation.start import start_from
from sslam_nb.evaluation.tasks import run_task
from sslam_nb.training.state import Stopped

RANK = int(os.environ.get("RANK", 0))
SMALL = dict(target_frames=64, epochs=2, batch_size=5, evaluations=2, log_every=3, save_every=100, log_with="none")   # 4 updates an epoch
PLAIN = dict(drop_path=0.0, lr=1e-4)                      # AdamW divides by the gradient: at a high rate rounding of small ones shows
KINDS = dict(finetune=dict(kind="finetune"), linear=dict(kind="linear"), attentive=dict(kind="linear", reading="attentive"))   # a reading that learns


class Clips:
    "Soundscapes of which two cannot be read."
    def __init__(self, n, seed):
        self.clips = SoundscapeDataset(n, seed=seed, duration=.64, events=(1, 2), classes=("bark", "rain", "siren"))
        self.name, self.checksum, self.classes = self.clips.name, self.clips.checksum, self.clips.classes
    def __len__(self): return len(self.clips)
    def __getitem__(self, i):
        if i in (7, 66): raise BadClip(f"clip{i}.wav", "cut short")
        return self.clips[i]


def task(): return finetune.Task(Clips(20, 5), Clips(70, 6))                  # the test split is two batches: one for each of two processes


def watched(learn, seen, happens):
    "Updates that are written down; on process `rank`, at a step, something happens."
    def learn_and_note(accelerator, model, optimizer, batch, cfg, step, length):
        what, rank, at = happens or (None, None, None)
        if (rank, at) == (RANK, step):
            if what == "nan": batch = batch | dict(target=batch["target"]*torch.nan)
            else: os.kill(os.getpid(), what)
        if step == 0: seen["initial"] = {name: value.clone() for name, value in accelerator.unwrap_model(model).state_dict().items()}
        row = learn(accelerator, model, optimizer, batch, cfg, step, length)
        named = list(accelerator.unwrap_model(model).named_parameters())
        if step == 0: seen["gradient"] = {name: p.grad.clone() for name, p in named if p.requires_grad}
        seen.setdefault("clips", []).append(batch["clip_id"])
        seen.setdefault("drawn", []).append(torch.initial_seed())
        return row
    return learn_and_note


def train(folder, kind, augment=False, resume=False, happens=None, **more):
    "One run, and what this process saw of it: left in FOLDER.RANK.pt."
    cfg = recipe(f"{kind}/soundscapes", "tiny", augment=augment, **SMALL | more)
    torch.manual_seed(0)
    encoder, seen, learn = AudioViT(preset("stage2", "tiny").encoder), {}, finetune.learn
    finetune.learn = watched(learn, seen, happens)
    try: run = finetune.train_classifier(cfg, encoder, task(), folder, "cpu", resume=resume, quiet=True)
    except (Stopped, FloatingPointError) as error: seen["error"] = str(error)
    else: seen |= dict(scored=vars(run.scored), scores=run.scored.scores, bad=run.bad, weights=run.model.state_dict(),
                       evaluations=run.evaluations.to_dict("list"), loss=run.history.loss.tolist(), step=run.history.step.tolist())
    finally: finetune.learn = learn
    torch.save(seen, f"{folder}.{RANK}.pt")
    return seen


def score(folder, checkpoint):
    "Score the test clips with a classifier as it is."
    cfg = recipe("finetune/soundscapes", "tiny", checkpoint=str(checkpoint), **SMALL | dict(batch_size=20))
    scored = run_task(cfg, start_from(cfg), task(), folder, "cpu", train=False).scored
    torch.save(dict(scores=scored.scores, clip_id=scored.clip_id), f"{folder}.{RANK}.pt")
    return scored


if __name__ == "__main__":
    two, one = Path.cwd(), Path(sys.argv[1])
    for name, how in KINDS.items(): train(two/name, **how, **PLAIN)
    train(two/"nan", "finetune", augment=True, happens=("nan", 1, 4))
    train(two/"stopped", "finetune", **PLAIN, happens=(signal.SIGUSR1, 1, 2))
    train(one/"stopped", "finetune", **PLAIN, resume=True)
    score(two/"scored", one/"finetune")
