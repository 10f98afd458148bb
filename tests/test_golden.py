"Numbers of the official implementation (tests/golden, or --golden DIR): every forward value, loss and gradient."
import json
import zlib

import numpy as np
import pytest
import torch

from sslam_nb.config import override, preset
from sslam_nb.masking import gather_visible, inverse_block_mask, visible_index
from sslam_nb.losses import srl_target
from sslam_nb.mixing import roll_and_mix
from sslam_nb.sslam import SSLAM, predict, teacher_targets
from sslam_nb.teacher import average_top_k, ema_momentum

SIZES = {"tiny": dict(width=48, depth=2, n_heads=4, decoder_width=32, local_top_k=2, max_time_patches=64), "base": dict(max_time_patches=64)}
BATCH = {("tiny", 1): (2, 2), ("tiny", 2): (2, 2), ("base", 1): (1, 2), ("base", 2): (2, 1)}   # clips, mask copies
OFFICIAL = [("patch_embed.proj", "modality_encoders.IMAGE.local_encoder.proj"), ("cls_token", "modality_encoders.IMAGE.extra_tokens"),
            ("pos_embed", "modality_encoders.IMAGE.fixed_positional_encoder.positions"), ("mlp.0", "mlp.fc1"), ("mlp.2", "mlp.fc2")]


def rng(seed, key):
    return np.random.default_rng([seed, zlib.crc32(key.encode())])


def official_name(name):
    "Our parameter's name in the official state dict (method.md 2.5)."
    part, name = name.split(".", 1)
    if part == "decoder":
        return "modality_encoders.IMAGE.decoder." + name.replace("layers.", "blocks.").replace(".conv.", ".0.")
    name = name.removeprefix("encoder.")
    if name.startswith("norm."): return "modality_encoders.IMAGE.context_encoder." + name
    for ours, theirs in OFFICIAL: name = name.replace(ours, theirs)
    return name


def load(seed, size, stage):
    "The official weights and inputs, made as the golden README says."
    n_clips, clones = BATCH[size, stage]
    changes = SIZES[size] | dict(clones=clones, batch_size=2, noise_std=0.0)
    if stage == 1 and size == "tiny": changes["global_top_k_unmixed"] = 2
    cfg = override(preset(f"stage{stage}"), **changes)
    model = SSLAM(cfg)
    with torch.no_grad():
        for name, p in model.named_parameters():
            key = official_name(name)
            values = rng(seed, ("ema:" if name.startswith("teacher") else "") + key).standard_normal(p.shape)*0.02
            p.copy_(torch.from_numpy((values + (key.endswith("weight") and "norm" in key)).astype(np.float32)))
    clips = torch.from_numpy((rng(seed, "input:spec").standard_normal((n_clips, 1, 1024, 128))*0.5).astype(np.float32))[:, 0]
    mask, g = torch.ones(n_clips*clones, 512, dtype=torch.bool), rng(seed, "input:mask")
    for row in mask: row[torch.from_numpy(g.permutation(512)[:102])] = False
    region = torch.ones(64, dtype=torch.bool)
    region[8:23] = region[32:47] = False
    return model, clips, mask.view(n_clips, clones, 512), region


class Golden:
    "One file of official numbers."
    def __init__(self, path):
        self.values = json.loads(path.read_text())
        seed, self.size = path.stem.split("_")
        self.seed = int(seed.removeprefix("seed"))

    def check(self, name, ours, tolerance):
        want, ours = self.values[name], ours.detach().double().numpy()
        assert list(ours.shape) == want["shape"], name
        at = np.linspace(0, ours.size - 1, min(32, ours.size)).astype(int)
        np.testing.assert_allclose(ours.flatten()[at], want["samples"], rtol=0, atol=tolerance, err_msg=name)
        np.testing.assert_allclose([ours.mean(), ours.std()], [want["mean"], want["std"]], rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("stage", [1, 2])
def test_forward_loss_and_gradient(golden_file, stage):
    golden = Golden(golden_file)
    size, tolerance = golden.size, 1e-5 if golden.size == "tiny" else 1e-4
    check = lambda name, ours: golden.check(f"{size}.stage{stage}.{name}", ours, tolerance)
    model, clips, mask, region = load(golden.seed, size, stage)
    student, B = model.student, len(clips)
    check("pos", student.pos_embed)
    x = student.norm(torch.cat([student.cls_token.expand(B, -1, -1), student.embed(clips)], 1))
    check("enc.in", x)
    for i, block in enumerate(student.blocks):
        x, h = block(x)
        check(f"enc.block{i}.out", x)
        check(f"enc.block{i}.ffn", h)
    check("masked.enc.out", student.encode(gather_visible(student.embed(clips), visible_index(mask))).tokens)
    check("masked.dec.out", predict(student, model.decoder, clips, mask)[1].flatten(0, 1))
    shown = model.clips(clips, region)
    ffn, depth = model.teacher(shown).ffn, len(student.blocks)
    check(f"targets.call0.top{depth}", average_top_k(ffn, depth))
    if stage == 2:
        check("mix", roll_and_mix(clips, region)[:, None])
        check("targets.call1.top1", average_top_k(ffn, 1))
        targets = teacher_targets(model.cfg, model.teacher, clips, shown, region)
        check(f"targets.call4.top{depth}", targets.patch[:B])
        check(f"targets.call5.top{depth}", average_top_k(model.teacher(clips, region).ffn, depth))
        check("srl_target", srl_target(targets.patch[:B], targets.guest, region.repeat_interleave(8)))
    check_losses(golden.values, f"{size}.stage{stage}.", model, clips, mask, region)
    model.teacher.update(model.student, ema_momentum(1))
    check("ema.after1.qkv0", model.teacher.encoder.blocks[0].attn.qkv.weight)


def check_losses(values, prefix, model, clips, mask, region):
    "Loss terms and the gradient norm of every parameter, relative 1e-4."
    total, terms = model(clips, mask, region)
    count = values[prefix + "sample_size"]
    close = lambda ours, official: np.testing.assert_allclose(float(ours.detach()), official/count, rtol=1e-4)
    if prefix.endswith("stage1."):
        close(terms["global_unmixed"], values[prefix + "loss.cls.sum"])
        close(terms["local_unmixed"], values[prefix + "loss.IMAGE_regression.sum"])
    else:
        close(terms["global_unmixed"] + terms["global_mixed"], values[prefix + "loss.eat_cls_loss.sum"])
        close((terms["local_unmixed"] + terms["local_mixed"])/2, values[prefix + "loss.eat_patch_loss.sum"])
        close(terms["retention"], values[prefix + "loss.mix_patch_loss.sum"])
    close(total, values[prefix + "loss.total"])
    total.backward()
    norms = {official_name(name): p.grad.norm().item() for name, p in model.named_parameters() if p.grad is not None}
    assert norms.keys() == values[prefix + "gradnorm"].keys()
    for name, norm in values[prefix + "gradnorm"].items(): np.testing.assert_allclose(norms[name], norm, rtol=1e-4, err_msg=name)


def test_ema_decay(golden_file):
    golden = Golden(golden_file)
    for step, decay in golden.values[f"{golden.size}.stage2.ema_decay"].items():
        assert abs(ema_momentum(int(step)) - decay) < 1e-12


def test_masks_by_distribution(golden_file):
    golden = Golden(golden_file).values
    if "mask.count" not in golden: pytest.skip("this file has no masking statistics")
    masks = inverse_block_mask(4000, generator=torch.Generator().manual_seed(123))
    assert masks.sum(1).unique().tolist() == [410]
    visible = ~masks.view(-1, 64, 8)
    padded = torch.nn.functional.pad(visible, (1, 1, 1, 1))
    edges = sum((visible & ~padded[:, 1 + a:65 + a, 1 + b:9 + b]).sum((1, 2)).double() for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0)))
    mean, error = golden["mask.visible_perimeter"]
    assert abs(edges.mean() - mean) < 4*(error**2 + edges.var()/4000)**0.5
    want = torch.tensor(golden["mask.cell_freq"]).double()
    spread = (want*(1 - want)*(1/2000 + 1/4000)).sqrt()
    z = (masks.view(-1, 64, 8).double().mean(0) - want)/spread
    assert z.abs().max() < 4.5     # of 512 cells; the largest of so many normal draws is near 3.2
