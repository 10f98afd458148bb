"""SSLAM, self-supervised learning from audio mixtures: the names that a script wants, each loaded when first used."""
import os
import sys
from importlib import import_module
from types import ModuleType

__version__ = "0.1.0"

# Threads that wait for each other sleep instead of spinning: on 2 cores with other programs at work a step takes
# 0.2 s and not 3 s. It only counts if set before torch is loaded; your own setting is kept.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Name -> chapter. Loading on first use keeps `import sslam_nb` cheap and silent.
_EXPORTS = {
    'set_seed': 'core',
    'preset': 'config', 'override': 'config',
    'LogMel': 'spectrogram',
    'make_soundscape': 'soundscapes', 'SoundscapeDataset': 'soundscapes',
    'AudioFolder': 'datasets', 'stats': 'loading', 'pack_shards': 'shards',
    'open_data': 'access', 'open_dataset': 'access', 'obtain': 'access',
    'polyphony_rate': 'polyphony',
    'AudioViT': 'encoder',
    'SSLAM': 'sslam',
    'Classifier': 'classifier',
    'load_checkpoint': 'hub',
    'load_official': 'official', 'export_official': 'official',
    'pretrain': 'pretrain',
    'ProbeData': 'probe', 'linear_probe': 'probe',
    'recipe': 'downstream', 'start_from': 'backbone', 'load_classifier': 'backbone',
    'train_classifier': 'finetune',
    'embed': 'embed', 'predict': 'embed',
    'read_records': 'results',
}
__all__ = sorted(_EXPORTS)


def __getattr__(name):
    if name not in _EXPORTS: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f'.{_EXPORTS[name]}', __name__), name)
    return value


def __dir__(): return sorted([*globals(), *_EXPORTS])


class _Package(ModuleType):
    "Importing the chapter `pretrain` must not hide the function `pretrain`, whichever comes first."
    def __setattr__(self, name, value):
        if not (name in _EXPORTS and isinstance(value, ModuleType)): super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
