"Synthetic checkpoints in the official layouts, written from method.md 2.5 and 10 alone; nothing here imports sslam_nb."
import argparse, enum, pickle, sys, types, zipfile
from contextlib import contextmanager

import numpy as np
import torch
from safetensors.torch import save_file

IMAGE = 'modality_encoders.IMAGE.'
MARKER = []     # what a class of the "fairseq" below would append to, if any of its code ran


def tensors(*shapes, seed=0):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=g)*0.02 for shape in shapes]


def encoder_weights(width=128, depth=2, rows=6144, seed=0):
    "Method 2.5, one encoder: official key -> float32 tensor."
    shapes = {IMAGE + 'extra_tokens': (1, 1, width), IMAGE + 'local_encoder.proj.weight': (width, 1, 16, 16),
              IMAGE + 'local_encoder.proj.bias': (width,), IMAGE + 'context_encoder.norm.weight': (width,),
              IMAGE + 'context_encoder.norm.bias': (width,)}
    for i in range(depth):
        block = {'norm1': (width,), 'norm2': (width,), 'attn.qkv': (3*width, width), 'attn.proj': (width, width),
                 'mlp.fc1': (4*width, width), 'mlp.fc2': (width, 4*width)}
        for name, shape in block.items():
            shapes |= {f'blocks.{i}.{name}.weight': shape, f'blocks.{i}.{name}.bias': shape[:1]}
    weights = dict(zip(shapes, tensors(*shapes.values(), seed=seed)))
    return weights | {IMAGE + 'fixed_positional_encoder.positions': positions(width, rows)}


def positions(width, rows):
    "Method 2.3 in NumPy: first half mel, second half time."
    k = np.arange(width//4)
    w = 10000.0**(-k/(width/4))
    p = np.arange(rows)
    half = lambda n: np.concatenate([np.sin(n[:, None]*w), np.cos(n[:, None]*w)], 1)
    return torch.from_numpy(np.concatenate([half(p % 8), half(p//8)], 1)[None].astype(np.float32))


def decoder_weights(width=128, channels=64, depth=2, seed=2):
    widths = [width] + [channels]*depth
    shapes = {IMAGE + 'decoder.proj.weight': (width, channels), IMAGE + 'decoder.proj.bias': (width,)}
    for j in range(depth):
        shapes |= {f'{IMAGE}decoder.blocks.{j}.0.weight': (channels, widths[j]//16, 3, 3),
                   f'{IMAGE}decoder.blocks.{j}.0.bias': (channels,)}
    return dict(zip(shapes, tensors(*shapes.values(), seed=seed)))


def head_weights(width=128, classes=5):
    shapes = {'fc_norm.weight': (width,), 'fc_norm.bias': (width,), 'head.weight': (classes, width), 'head.bias': (classes,)}
    return dict(zip(shapes, tensors(*shapes.values(), seed=3)))


def hub(weights):
    "Hugging Face keys (method 10)."
    short = lambda key: key.replace(IMAGE, '').replace('context_encoder.norm', 'pre_norm')
    return {'model.' + short(key): value for key, value in weights.items()}


def pretrained(dtype=torch.float16, **sizes):
    model = {k: v.to(dtype) for k, v in (encoder_weights(**sizes) | decoder_weights(sizes.get('width', 128))).items()}
    return model | {'_ema': encoder_weights(**sizes | {'seed': 1})}


def finetuned(classes=5, **sizes):
    return {'model.' + k: v for k, v in encoder_weights(**sizes).items()} | head_weights(sizes.get('width', 128), classes)


@contextmanager
def fairseq():
    "Modules `fairseq` and `omegaconf` that exist while a file is written; their code leaves a trace if it runs."
    def run(self, *args): MARKER.append(type(self).__name__)
    names = {'fairseq': [], 'fairseq.dataclass': [], 'fairseq.dataclass.configs': ['FairseqConfig'],
             'omegaconf': [], 'omegaconf.dictconfig': ['DictConfig'], 'omegaconf.base': ['ContainerMetadata']}
    for module, classes in names.items():
        sys.modules[module] = types.ModuleType(module)
        for name in classes:
            setattr(sys.modules[module], name, type(name, (), {'__module__': module, '__setstate__': run, '__init__': run}))
    mode = enum.Enum('PredictionMode', 'MEAN CLS', module='fairseq.dataclass.configs')
    mode.__reduce_ex__ = lambda self, protocol: (type(self), (self.value,))       # as before Python 3.11
    sys.modules['fairseq.dataclass.configs'].PredictionMode = mode
    try: yield sys.modules
    finally:
        for module in names: del sys.modules[module]
        MARKER.clear()


def envelope(model, modules):
    "What fairseq saves around the weights (method 10), with every kind of foreign object that we could think of."
    def new(module, name, **state):
        made = object.__new__(getattr(modules[module], name))
        made.__dict__.update(state)
        return made
    meta = new('omegaconf.base', 'ContainerMetadata', key_type=str, object_type=dict, flags={'struct': True})
    cfg = {'model': {'_name': 'data2vec_multi', 'depth': 12, 'extra': argparse.Namespace(seed=1)},
           'task': new('omegaconf.dictconfig', 'DictConfig', _metadata=meta, _content={'data': '/data'}),
           'mode': modules['fairseq.dataclass.configs'].PredictionMode.CLS}
    return {'args': None, 'cfg': cfg, 'model': model, 'criterion': None, 'optimizer_history': [{'num_updates': 3}],
            'task_state': {'seen': {1, 2}}, 'extra_state': {'best': np.float64(0.5), 'curve': np.arange(3),
            'config': new('fairseq.dataclass.configs', 'FairseqConfig', lr=[0.1])}, 'last_optimizer_state': {0: torch.ones(2)}}


def write(model, path, zipped=True, bare=False):
    "A fairseq file (or only its `model`), in the zip or the legacy format."
    with fairseq() as modules:
        content = model if bare else envelope(model, modules)
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def write_hub(weights, path):
    save_file(weights, path) if path.suffix == '.safetensors' else torch.save(weights, path)
    return path


def container(payload, path, zipped=True):
    "A torch file whose object is the raw pickle `payload`."
    if zipped:
        with zipfile.ZipFile(path, 'w') as archive:
            for name, data in {'data.pkl': payload, 'version': b'3\n', 'byteorder': b'little'}.items():
                archive.writestr(f'archive/{name}', data)
    else:
        magic, system = 0x1950a86a20f9469cfc6c, dict(protocol_version=1001, little_endian=True, type_sizes={})
        parts = [*(pickle.dumps(x, 2) for x in (magic, 1001, system)), payload, pickle.dumps([], 2)]
        path.write_bytes(b''.join(parts))
    return path
