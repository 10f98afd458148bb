"""SSLAM, self-supervised learning from audio mixtures: the names that a script wants, each loaded when first used."""
import os
from importlib import import_module

__version__ = "0.1.0"

# Threads that wait for each other sleep instead of spinning: on 2 cores with other programs at work a step takes
# 0.2 s and not 3 s. It only counts if set before torch is loaded; your own setting is kept.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Name -> chapter. Loading on first use keeps `import sslam_nb` cheap and silent.
_EXPORTS = {
    'set_seed': 'core',
    'preset': 'config', 'override': 'config',
    'LogMel': 'spectrogram',
    'make_soundscape': 'data.soundscapes', 'SoundscapeDataset': 'data.soundscapes',
    'AudioFolder': 'data.sources', 'stats': 'data.loading',
    'pack_shards': 'data.shards', 'check_shards': 'data.shards',
    'open_data': 'data.access', 'open_dataset': 'data.access', 'obtain': 'data.access', 'export_dataset': 'data.access',
    'describe': 'data.access', 'open_hub': 'data.hub_data', 'pack_stream': 'data.hub_data',
    'polyphony_rate': 'evidence.polyphony',
    'AudioViT': 'encoder',
    'SSLAM': 'training.hub',
    'Classifier': 'training.classifier',
    'load_checkpoint': 'training.checkpoints',
    'load_official': 'training.checkpoints', 'export_official': 'training.official',
    'pretrain': 'training.pretrain', 'log_figures': 'training.tracking',
    'ProbeData': 'evaluation.frozen', 'linear_probe': 'evaluation.frozen',
    'recipe': 'evaluation.recipes', 'start_from': 'evaluation.start', 'load_classifier': 'training.checkpoints',
    'train_classifier': 'evaluation.finetune',
    'embed': 'use.embed', 'predict': 'use.predict', 'patch_grid': 'use.patches', 'embed_folder': 'use.embed_folder',
    'SSLAMEmbedder': 'use.estimator', 'MaebModel': 'use.maeb', 'SSLAMEncoder': 'use.xares',
    'export_transformers': 'use.transformers_export', 'export_onnx': 'use.onnx_export', 'export_program': 'use.onnx_export',
    'read_records': 'reports.results',
}
__all__ = sorted(_EXPORTS)


def __getattr__(name):
    if name not in _EXPORTS: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f'.{_EXPORTS[name]}', __name__), name)
    return value


def __dir__(): return sorted([*globals(), *_EXPORTS])

