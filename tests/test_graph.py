"The whole step is one graph, whatever is switched on; and nothing waits for the device between two rows of the metrics."
import os
import shutil
import sys
import traceback

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from sslam_nb.config import override, preset
from sslam_nb.core import set_seed, step_generator
from sslam_nb.data.access import open_data
from sslam_nb.mixing import as_columns
from sslam_nb.sslam import SSLAM, draw_noise, draw_step
from sslam_nb.training.pretrain import pretrain
from sslam_nb.training.update import compute_as, make_accelerator, param_groups, update

SMALL = dict(width=32, depth=2, n_heads=2, decoder_width=16, decoder_depth=2, local_top_k=2, global_top_k_unmixed=1, target_frames=128,
             unmixed_frames=32, n_clips=12, batch_size=2, log_with="none", probe_clips=(32, 16))
CASES = {"stage 1": dict(stage="stage1"), "MB-UA": dict(variant="MB-UA"), "MB-PMA": dict(variant="MB-PMA"), "MB-UA-PMA": dict(variant="MB-UA-PMA"),
         "SSLAM": {}, "full": dict(mix_mode="full"), "none": dict(mix_mode="none"), "unmixed step": dict(mix_share=0.0),
         "mean": dict(mix_op="mean", global_mixed=False), "waveform": dict(mix_op="waveform", filterbank="device"),
         "max": dict(retention_op="max", global_retention=True, global_reduction="sum"),
         "own loss": dict(extra_loss="test_graph:quiet_clips", term_weights="paper"), "MixIT": dict(mixit_sources=3),
         "choices": dict(mcl_choices=3),
         "again": dict(checkpoint_activations=True, mixit_sources=2)}
TWICE = "SSLAM", "MB-PMA", "MixIT"      # given with booleans, too


def small(stage="stage2", **changes): return override(preset(stage, "tiny"), **SMALL | changes)


def quiet_clips(step):
    "A loss of one's own: what the student tells of loudness, in the mixed columns."
    loudness = step.log_mel.mean((1, 2)) + step.region.float().mean()
    return {"quiet": (step.cls.mean((1, 2))[:len(loudness)] - loudness).square().mean()}


def setting(stage="stage2", clips=2, **changes):
    "A model whose teacher differs from its student, and what a step is given."
    cfg = small(stage, **changes)
    set_seed(0)
    model = SSLAM(cfg)
    with torch.no_grad():
        for weight in model.teacher.encoder.parameters(): weight += 0.02*torch.randn_like(weight)
    wave = torch.randn(clips, 160*128 + 240) if cfg.mixing.mix_op == "waveform" else None
    return cfg, model, (torch.randn(clips, 128, 128), *draw_step(cfg, clips, step_generator(0)), wave), draw_noise(cfg, clips, step_generator(1))


def outcome(forward, model, given, noise):
    "Loss, terms, and gradients by name."
    model.zero_grad(set_to_none=True)
    loss, terms = forward(*given, noise=noise)
    loss.backward()
    return loss.detach(), terms, {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def assert_same(one, other):
    (loss, terms, gradient), (theirs, their_terms, their_gradient) = one, other
    torch.testing.assert_close(loss, theirs, rtol=1e-6, atol=1e-6)
    assert terms.keys() == their_terms.keys() and gradient.keys() == their_gradient.keys()
    for name, value in terms.items(): torch.testing.assert_close(value, their_terms[name], rtol=1e-5, atol=1e-6, msg=name)
    for name, value in gradient.items(): torch.testing.assert_close(value, their_gradient[name], rtol=1e-5, atol=1e-6, msg=name)


def traced(monkeypatch, model, **compute):
    "As `compute_as` compiles it, but traced only: g++ would take a minute."
    torch._dynamo.reset()
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **how: compiler(function, backend="eager", **how))
    return compute_as(model, override(model.cfg, compile=True, **compute).compute, torch.device("cpu"))


@pytest.fixture
def with_compiler(monkeypatch): monkeypatch.setenv("CXX", os.environ.get("CXX", "g++"))   # nothing is compiled where it is only traced


@pytest.mark.parametrize("case", CASES)
def test_one_graph_gives_the_same(case, monkeypatch, with_compiler):
    "Loss, terms and gradients; with the region as an index, as the loop gives it, and as booleans."
    cfg, model, given, noise = setting(**CASES[case])
    wanted = outcome(model, model, given, noise)
    assert torch.isfinite(wanted[0]) and len(wanted[2]) > 20 and ("quiet" in wanted[1]) == bool(cfg.loss.extra_loss)
    log_mel, mask, region, wave = given
    index = log_mel, mask, as_columns(region), wave
    if cfg.compute.checkpoint_activations:
        compute_as(model, cfg.compute, torch.device("cpu"))
        assert_same(wanted, outcome(model, model, index, noise))
    compiled = traced(monkeypatch, model, checkpoint_activations=cfg.compute.checkpoint_activations)
    assert_same(wanted, outcome(compiled, model, index, noise))
    if case in TWICE: assert_same(wanted, outcome(compiled, model, given, noise))


def test_a_region_of_another_size_is_not_a_number(monkeypatch, with_compiler):
    "A graph cannot stop with an error: the run stops where the loss is read."
    _, model, (log_mel, mask, region, wave), noise = setting()
    compiled = traced(monkeypatch, model)
    odd = region.clone()
    odd[int(as_columns(region)[0])] = False
    assert torch.isfinite(compiled(log_mel, mask, region, wave, noise=noise)[0])
    assert compiled(log_mel, mask, odd, wave, noise=noise)[0].isnan()


def plain_and_compiled(tmp_path, **changes):
    "Two runs of three updates: metrics, weights and names agree, and the model that comes back is an ordinary one."
    runs = {}
    for name, on in dict(plain=False, compiled=True).items():
        cfg = small(**dict(max_steps=3, epochs=2, log_every=1, compile=on) | changes)
        runs[name] = pretrain(cfg, open_data(cfg).pretrain, tmp_path/name, device="cpu", quiet=True)
    ours, theirs = (run.history.drop(columns="clips_per_s") for run in runs.values())
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-5, atol=1e-5)
    plain, compiled = (load_file(run.folder/"model.safetensors") for run in runs.values())
    assert plain.keys() == compiled.keys()
    for name, value in plain.items(): torch.testing.assert_close(compiled[name], value, rtol=1e-5, atol=1e-5, msg=name)
    assert "forward" not in vars(runs["compiled"].model)


@pytest.mark.skipif(not shutil.which("g++"), reason="torch compiles for a CPU with g++, which is not here")
def test_a_compiled_run_is_the_run(tmp_path):
    "The one test that generates code, of the variant that has the least of it."
    torch._dynamo.reset()
    plain_and_compiled(tmp_path, variant="MB-UA", depth=1, local_top_k=1, decoder_depth=1, rows_per_clip=2)


def test_a_traced_run_is_the_run(tmp_path, monkeypatch, with_compiler):
    "Without code: bf16, and two micro-batches an update, of two sizes."
    traced(monkeypatch, SSLAM(small()))
    plain_and_compiled(tmp_path, precision="bf16", accumulate=2, n_clips=13, max_steps=4)


class Waits(TorchDispatchMode):
    "Operations for which a GPU would have to finish its queue, by the innermost of the functions that may wait."
    NAMES = {"_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "equal", "unique", "_unique2", "unique_consecutive", "item"}

    def __init__(self, may:set[str]):
        super().__init__()
        self.may, self.found = may, []

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        name = op.overloadpacket.__name__
        masks = name in ("index", "index_put", "index_put_") and any(i is not None and i.dtype == torch.bool for i in args[1])
        if name in self.NAMES or masks:
            stack = [frame.name for frame in traceback.extract_stack()]
            self.found.append((next((frame for frame in reversed(stack) if frame in self.may), None), name, stack[-6:]))
        return op(*args, **(kwargs or {}))


# what is drawn lies on the CPU; clips are read there; a state is saved, and values are read for a row of the metrics
MAY = {"draw_step", "step_generator", "as_columns", "__getitem__", "__iter__", "save_state", "check_finite", "read_values", "_finish"}


def test_a_second_size_in_one_process():
    "By then torch leaves sizes open, in the noise too, which the graph draws itself here."
    for frames in (128, 64):
        _, model, (_, mask, region, _), _ = setting(target_frames=frames)
        model = torch.compile(model, fullgraph=True, backend="aot_eager")
        loss, _ = model(torch.randn(2, frames, 128), mask, as_columns(region))
        assert loss.isfinite()


@pytest.mark.parametrize("changes", [{}, dict(accumulate=2, mix_share=0.5), dict(mixit_sources=2, checkpoint_activations=True),
                                     dict(mix_op="waveform", filterbank="device", clones=1)], ids=lambda changes: "-".join(changes) or "plain")
def test_nothing_is_read_between_two_rows(changes, tmp_path, monkeypatch):
    "Of the whole loop, whatever is drawn, loaded and saved apart."
    module = sys.modules["sslam_nb.training.pretrain"]
    read, reads = module.read_values, []
    monkeypatch.setattr(module, "read_values", lambda window: reads.append(len(window)) or read(window))
    cfg = small(max_steps=6, epochs=4, log_every=3, save_every=3, **changes)
    source = open_data(cfg).pretrain
    with Waits(MAY) as waits: run = pretrain(cfg, source, tmp_path/"run", device="cpu", quiet=True)
    assert [found for found in waits.found if found[0] is None] == []
    assert "check_finite" in {where for where, *_ in waits.found}, "what it would find"
    assert reads == [3, 3] and len(run.history) == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that could be waited for")
@pytest.mark.parametrize("changes", [{}, dict(accumulate=2, mix_op="waveform", filterbank="device"), dict(checkpoint_activations=True, precision="bf16")])
def test_an_update_does_not_wait_for_a_gpu(changes):
    "CUDA itself says where it would be waited for."
    cfg = small(**changes)
    accelerator = make_accelerator(cfg, "cuda")
    model = compute_as(SSLAM(cfg), cfg.compute, accelerator.device)
    optimizer = torch.optim.AdamW(param_groups(model, cfg.optim.weight_decay), fused=True)
    model, optimizer = accelerator.prepare(model.train(), optimizer)
    batch = dict(clip_id=["a.wav", "b.wav"])
    if cfg.filterbank == "loader": batch |= dict(log_mel=torch.randn(2, 128, 128))
    else: batch |= dict(wave=torch.randn(2, 160*128 + 240), length=torch.full((2,), 160*128 + 240))
    for step in range(3):
        torch.cuda.set_sync_debug_mode("error" if step else "default")          # the first makes what stays
        try: logged = update(accelerator, model, optimizer, [batch]*cfg.compute.accumulate, cfg, step, 100)
        finally: torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(logged["loss"])
