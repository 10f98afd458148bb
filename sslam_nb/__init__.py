"""SSLAM, self-supervised learning from audio mixtures: the names that a script wants, each loaded when first used."""
from importlib import import_module

__version__ = "0.1.0"

# Name -> chapter. Loading on first use keeps `import sslam_nb` cheap and silent.
_EXPORTS = {
    'set_seed': 'core', 'pick_device': 'core',
    'preset': 'config', 'override': 'config', 'VARIANTS': 'config',
}
__all__ = sorted(_EXPORTS)


def __getattr__(name):
    if name not in _EXPORTS: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f'.{_EXPORTS[name]}', __name__), name)
    return value


def __dir__(): return sorted([*globals(), *_EXPORTS])
