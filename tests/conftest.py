"`pytest tests/test_golden.py --golden DIR` checks another folder of official numbers."
import os, shutil, sys, tempfile
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]/".ci"))          # notebooks.py

# Files that take longest, so that they are begun first and all workers end together (`make test` gives a worker whole files)
LONG = """tutorials run_notebooks metrics graph command_line site packaging launch performance training reliability processes
    processes_downstream static house transformers onnx""".split()


def pytest_configure(config):
    "Rendered soundscapes are kept in a folder of these tests, which their workers share; nobody's own is touched."
    if "PYTEST_XDIST_WORKER" in os.environ: return
    config.kept = os.environ["SSLAM_NB_CACHE"] = tempfile.mkdtemp(prefix="sslam_nb-cache-")


def pytest_unconfigure(config):
    if kept := getattr(config, "kept", None): shutil.rmtree(kept, ignore_errors=True)


def pytest_collection_modifyitems(items):
    place = {f"test_{name}": k for k, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


def pytest_addoption(parser):
    parser.addoption("--golden", type=Path, default=Path(__file__).with_name("golden"), help="folder with seedN_tiny.json and seedN_base.json")


def pytest_generate_tests(metafunc):
    "One case for each file of the folder: its seed and size are in its name."
    if "golden_file" not in metafunc.fixturenames: return
    folder = metafunc.config.getoption("--golden")
    files = sorted(folder.glob("seed*_*.json"))
    if not files: raise pytest.UsageError(f"--golden {folder}: no file seedN_tiny.json or seedN_base.json there")
    metafunc.parametrize("golden_file", files, ids=[path.stem for path in files])
