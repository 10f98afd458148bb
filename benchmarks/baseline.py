"""A plain baseline of the pre-training step: what `sslam_nb` computes, computed in the official code's way.

Written from the facts of the method, to be measured against (benchmarks/performance.py) and to be checked
(tests/test_performance.py: the same losses, gradients and teacher). What is done in the official way:

- masks by NumPy, clip after clip in the loader, one mask after the other where patches are missing or too many;
- every clone's patches are a copy of their own, sorted by `argsort` and picked by `torch.gather` with expanded numbers;
- attention is written out: softmax(q k') v in float32, with dropouts of rate 0;
- hidden places are filled by appending noise and sorting back; losses select by masks of booleans, targets copied for every clone;
- the teacher moves tensor by tensor in a Python loop over the state dict; AdamW goes from parameter to parameter;
- every number of the log is fetched by itself in every step.

Names of weights are those of `sslam_nb`, so that its state dict loads."""
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from sslam_nb.training.update import param_groups


def draw_masks(copies, grid, ratio, block, adjust, rng):
    "Masks of one clip (M, N), True = hidden: square blocks stay visible, the count is then corrected mask by mask."
    rows, columns = grid
    total, keep = rows*columns, int(rows*columns*(1 - ratio))
    visible = np.zeros((copies, rows, columns), bool)
    for one, centres in zip(visible, rng.integers(0, total, (copies, max(1, int(total*(1 - ratio + adjust)/block**2))))):
        for t, f in zip(*np.unravel_index(centres, grid)):
            t, f = t - block//2, f - block//2
            one[max(0, t):t + block, max(0, f):f + block] = True
        flat = one.reshape(-1)
        seen, unseen = flat.nonzero()[0], (~flat).nonzero()[0]
        if len(seen) > keep: flat[rng.choice(seen, len(seen) - keep, replace=False)] = False
        if len(seen) < keep: flat[rng.choice(unseen, keep - len(seen), replace=False)] = True
    return ~visible.reshape(copies, total)


def draw_batch(cfg, n_clips, rng):
    "Masks of a batch (B, M, N), clip by clip as loader processes draw them, and two unmixed stretches for all clips."
    m, columns = cfg.masking, cfg.grid[0]
    masks = np.stack([draw_masks(cfg.mask_copies, cfg.grid, m.mask_ratio, m.mask_block, m.mask_adjust, rng) for _ in range(n_clips)])
    wide, region = cfg.mixing.unmixed_frames//cfg.encoder.patch_size, np.ones(columns, bool)
    first = rng.choice(np.arange(0, columns//2))
    second = rng.choice(np.arange(first + wide, columns*3//4 + 1))
    for start in (first, second): region[start:start + wide] = False
    return torch.from_numpy(masks), torch.from_numpy(region)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.scale = heads, (width//heads)**-0.5
        self.qkv, self.proj = nn.Linear(width, 3*width), nn.Linear(width, width)
        self.attn_drop, self.proj_drop = nn.Dropout(0.0), nn.Dropout(0.0)

    def forward(self, x):
        B, S, D = x.shape
        q, k, v = self.qkv(x).reshape(B, S, 3, self.heads, D//self.heads).permute(2, 0, 3, 1, 4)
        attention = (q*self.scale) @ k.transpose(-2, -1)
        attention = self.attn_drop(attention.softmax(-1, dtype=torch.float32).to(v.dtype))
        return self.proj_drop(self.proj((attention @ v).transpose(1, 2).reshape(B, S, D)))


class Block(nn.Module):
    def __init__(self, width, heads, ratio):
        super().__init__()
        self.attn, self.norm1, self.norm2 = Attention(width, heads), nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, int(width*ratio)), nn.GELU(), nn.Linear(int(width*ratio), width))
        self.drop = nn.Dropout(0.0)

    def forward(self, x):
        r = self.norm1(x + self.drop(self.attn(x)))
        t = self.mlp(r)
        return self.norm2(r + self.drop(t)), t


class Encoder(nn.Module):
    def __init__(self, cfg, n_mels):
        super().__init__()
        self.n_mel, width = n_mels//cfg.patch_size, cfg.width
        self.patch_embed = nn.ModuleDict(dict(proj=nn.Conv2d(1, width, cfg.patch_size, cfg.patch_size)))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer('pos_embed', torch.zeros(1, cfg.max_time_patches*self.n_mel, width))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.blocks = nn.ModuleList(Block(width, cfg.n_heads, cfg.mlp_ratio) for _ in range(cfg.depth))

    def embed(self, clips):
        x = self.patch_embed['proj'](clips[:, None]).flatten(2).transpose(1, 2)
        return x + self.pos_embed[:, :x.shape[1]]

    def run(self, x):
        "Tokens after the last block, and every block's feed-forward output."
        x, outputs = self.norm(torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)), []
        for block in self.blocks:
            x, t = block(x)
            outputs.append(t)
        return x, outputs


class Layer(nn.Module):
    def __init__(self, inside, width, kernel, groups):
        super().__init__()
        self.conv = nn.Conv2d(inside, width, kernel, padding=kernel//2, groups=groups)

    def forward(self, x):
        y = self.conv(x).transpose(1, -1)
        y = F.gelu(F.layer_norm(y, y.shape[-1:]).transpose(1, -1))
        return x + y if x.shape == y.shape else y


class Decoder(nn.Module):
    def __init__(self, width, cfg, n_mel):
        super().__init__()
        self.n_mel, inside = n_mel, [width] + [cfg.decoder_width]*cfg.decoder_depth
        self.layers = nn.Sequential(*(Layer(a, b, cfg.decoder_kernel, cfg.decoder_groups) for a, b in zip(inside, inside[1:])))
        self.proj = nn.Linear(cfg.decoder_width, width)

    def forward(self, x):
        x = x.transpose(1, 2).reshape(len(x), x.shape[2], -1, self.n_mel)
        return self.proj(self.layers(x).flatten(2).transpose(1, 2))


def make_targets(outputs, k):
    "The average of the last k layers, one after the other."
    y = 0
    for output in outputs[-k:]:
        y = y + F.instance_norm(output[:, 1:].float().transpose(1, 2)).transpose(1, 2)
    return F.layer_norm(y/k, y.shape[-1:])


class Baseline(nn.Module):
    "Student, decoder, teacher and losses; weights are those of a model of `sslam_nb` (its official recipe, no switches)."
    def __init__(self, model):
        super().__init__()
        self.cfg = cfg = model.cfg
        self.student, self.teacher = (Encoder(cfg.encoder, cfg.spectrogram.n_mels) for _ in range(2))
        self.decoder = Decoder(cfg.encoder.width, cfg.decoder, self.student.n_mel)
        self.student.load_state_dict(model.student.state_dict())
        self.decoder.load_state_dict(model.decoder.state_dict())
        self.teacher.load_state_dict(model.teacher.encoder.state_dict())
        self.teacher.requires_grad_(False)

    def mix(self, clips, mixed):
        "Each clip and its predecessor, the louder in every bin; minus infinity keeps the clean frames."
        foreign = torch.roll(clips, 1, 0)
        foreign[:, ~mixed.repeat_interleave(self.cfg.encoder.patch_size)] = -torch.inf
        return torch.max(clips, foreign)

    def predict(self, clips, masks, noise=None):
        "CLS outputs (R*M, D) and decoder outputs (R*M, N, D)."
        (R, M, N), flat = masks.shape, masks.flatten(0, 1)
        x = self.student.embed(clips).repeat_interleave(M, 0)                      # a copy for every clone
        order = flat.byte().argsort(dim=1, stable=True)                            # visible ones first
        back, keep = order.argsort(dim=1), int((~flat[0]).sum())
        seen = order[:, :keep, None].expand(-1, -1, x.shape[-1])
        x, _ = self.student.run(torch.gather(x, 1, seen))
        if noise is None: fill = x.new_empty(R*M, N - keep, x.shape[-1]).normal_(0, self.cfg.decoder.noise_std)
        else: fill = noise[flat].view(R*M, N - keep, -1)
        full = torch.cat([x[:, 1:], fill.to(x.dtype)], 1)
        return x[:, 0], self.decoder(torch.gather(full, 1, back[..., None].expand(-1, -1, full.shape[-1])))

    @torch.no_grad()
    def targets(self, clips, shown, mixed):
        "Local targets (R, N, D), global targets (R, D), targets of the guests (B, N_mixed, D) or None."
        cfg, B = self.cfg.loss, len(clips)
        _, outputs = self.teacher.run(self.teacher.embed(shown))
        top_k = [k for k, present in zip((cfg.global_top_k_unmixed, cfg.global_top_k), self.cfg.halves) if present]
        pooled = [make_targets([o[i*B:(i + 1)*B] for o in outputs], k).mean(1) for i, k in enumerate(top_k)]
        local = make_targets(outputs, cfg.local_top_k)
        if self.cfg.variant != 'SSLAM': return local, torch.cat(pooled), None
        cut = self.teacher.embed(clips)[:, mixed.repeat_interleave(self.teacher.n_mel)]
        _, outputs = self.teacher.run(cut)
        return local, torch.cat(pooled), torch.roll(make_targets(outputs, cfg.local_top_k), 1, 0)

    def forward(self, clips, masks, region, noise=None):
        "The loss and its parts; `region` is True for mixed patch columns, or holds their numbers."
        cfg, B, M = self.cfg, len(clips), masks.shape[1]
        mixed = region if region.dtype == torch.bool else torch.zeros(cfg.grid[0], dtype=torch.bool, device=region.device).index_fill(0, region, True)
        halves = [half for half, present in zip((clips, self.mix(clips, mixed)), cfg.halves) if present]
        shown, masks = torch.cat(halves), masks.repeat(len(halves), 1, 1)
        cls, pred = self.predict(shown, masks, noise)
        local, pooled, guest = self.targets(clips, shown, mixed)
        error = lambda x, y: (x.float() - y.float()).pow(2).sum(-1)/x.shape[-1]**0.5
        hidden = masks.flatten(0, 1)
        every = local.repeat_interleave(M, 0)                                       # a copy for every clone
        parts = {'local': error(pred[hidden], every[hidden]).mean()}
        rows = error(cls, pooled.repeat_interleave(M, 0))
        parts['global'] = rows.sum() if cfg.loss.global_reduction == 'sum' else rows.mean()
        if guest is not None:
            own, full = local[:B], local[:B].clone()
            full[:, mixed.repeat_interleave(self.teacher.n_mel)] = guest
            both, at = ((own + full)/2).repeat_interleave(M, 0), hidden[B*M:]
            parts['retention'] = error(pred[B*M:][at], both[at]).mean()
        with torch.no_grad():
            for name, values in (('pred_std', pred[hidden]), ('target_std', every[hidden])):
                parts[name] = (values.float().var(0) + 1e-6).sqrt().mean()
        return sum(parts[name] for name in ('local', 'global', 'retention') if name in parts), parts


class BaselineStep:
    "Whole updates of the baseline."
    def __init__(self, model, precision='no', device='cpu'):
        self.model, self.device, self.precision = Baseline(model).to(device).train(), device, precision
        recipe = model.cfg.optim
        self.optimizer = torch.optim.AdamW(param_groups(self.model, recipe.weight_decay, recipe.decay_norms), lr=recipe.lr,
                                           betas=recipe.betas, foreach=False, fused=False)

    def move_teacher(self, decay):
        "Averages of what is trained, copies of the rest, tensor by tensor."
        trained, teacher = dict(self.model.student.named_parameters()), self.model.teacher.state_dict()
        for name, value in self.model.student.state_dict().items():
            if name in trained: teacher[name].mul_(decay).add_(value.float(), alpha=1 - decay)
            else: teacher[name].copy_(value)

    def __call__(self, clips, masks, region, noise=None):
        "One update; the numbers of the log."
        recipe, parameters = self.model.cfg.optim, [p for p in self.model.parameters() if p.requires_grad]
        with torch.autocast(self.device, torch.bfloat16, enabled=self.precision == 'bf16'):
            loss, parts = self.model(clips, masks.to(self.device), region.to(self.device), noise)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, recipe.clip_norm, foreach=False)
        self.optimizer.step()
        self.move_teacher(recipe.ema_start)
        return {name: value.item() for name, value in dict(loss=loss, norm=norm, **parts).items()}
