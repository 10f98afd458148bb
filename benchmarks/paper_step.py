"""One Stage-2 update at the paper's size (ViT-B, 12 layers, 8 clones) on this machine: seconds, FLOPs, peak memory, parameters.

    python benchmarks/paper_step.py [batch_size]      # 2 clips unless told; writes papers_tables/benchmarks/
"""
import resource
import sys
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from sslam_nb.config import override, preset
from sslam_nb.core import project_path, set_seed, step_generator
from sslam_nb.training.pretrain import param_groups
from sslam_nb.reports.results import make_record, write_record
from sslam_nb.sslam import SSLAM, draw_step

cfg = override(preset("stage2", "paper"), batch_size=int((sys.argv[1:] or [2])[0]))
set_seed(cfg.seed)
model = SSLAM(cfg)
optimizer = torch.optim.AdamW(param_groups(model, cfg.optim.weight_decay), lr=cfg.optim.lr, betas=cfg.optim.betas, fused=True)
log_mel = torch.randn(cfg.batch_size, cfg.spectrogram.target_frames, cfg.spectrogram.n_mels)*0.5


def update(step):
    mask, region = draw_step(cfg, cfg.batch_size, step_generator(cfg.seed, step))
    loss, _ = model(log_mel, mask, region)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), cfg.optim.clip_norm)
    optimizer.step()
    model.teacher.update(model.student, cfg.optim.ema_start)


with FlopCounterMode(display=False) as flops: update(0)      # also the warm-up
started = time.perf_counter()
for step in (1, 2): update(step)
seconds = (time.perf_counter() - started)/2
count = lambda tensors: sum(t.numel() for t in tensors)
metrics = {
    "seconds_per_step": round(seconds, 2),
    "tflop_per_step": round(flops.get_total_flops()/1e12, 2),
    "gflop_per_s": round(flops.get_total_flops()/seconds/1e9),
    "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**20, 2),
    "encoder_trainable": count(model.student.parameters()),
    "decoder": count(model.decoder.parameters()),
    "position_table": model.student.pos_embed.numel(),
}
metrics["sum_of_pretraining"] = sum(metrics[k] for k in ("encoder_trainable", "decoder", "position_table"))
for name, value in metrics.items(): print(f"{name:20} {value:,}")
record = make_record("benchmark", "paper_step", cfg, metrics, notes=f"random clips; {torch.get_num_threads()} threads, float32")
print(write_record(project_path("papers_tables/benchmarks/paper_step.json"), record))
