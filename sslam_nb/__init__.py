"""SSLAM, self-supervised learning from audio mixtures: the names that a script wants, each loaded when first used."""
import ast, os
from importlib import import_module
from pkgutil import get_data

__version__ = "0.2.0"

# Threads that wait for each other sleep instead of spinning: on 2 cores with other programs at work a step takes
# 0.2 s and not 3 s. It only counts if set before torch is loaded; your own setting is kept.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Name -> chapter, read from __init__.pyi, where editors and type checkers find the same names with their types.
# Loading on first use keeps `import sslam_nb` cheap and silent.
_EXPORTS = {alias.name: line.module for line in ast.parse(get_data(__name__, "__init__.pyi") or b"").body
            if isinstance(line, ast.ImportFrom) for alias in line.names}
__all__ = list(_EXPORTS)


def __getattr__(name):
    if name not in _EXPORTS: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f'.{_EXPORTS[name]}', __name__), name)
    return value


def __dir__(): return sorted([*globals(), *_EXPORTS])
