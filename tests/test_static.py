"What mypy and ruff say of the source: .ci/mypy.ini and .ci/ruff.toml say what they are asked, and why."
import json, re, subprocess, sys
from pathlib import Path

import pytest

import sslam_nb

ROOT = Path(__file__).resolve().parents[1]

def run(tool, *words):
    pytest.importorskip(tool, reason="pip install 'sslam_nb[dev]'")
    return subprocess.run([sys.executable, '-m', tool, *words], cwd=ROOT, text=True, capture_output=True)

def test_types():
    done = run('mypy', '--config-file', '.ci/mypy.ini')
    assert done.returncode == 0, done.stdout + done.stderr

def test_faults():
    places = 'sslam_nb', 'nbs', 'tests', 'benchmarks', '.ci', 'setup.py'
    done = run('ruff', 'check', '--config', '.ci/ruff.toml', '--output-format', 'concise', *places)
    assert done.returncode == 0, done.stdout + done.stderr

def test_the_method_and_all_of_use_are_checked():
    said = (ROOT/'.ci/mypy.ini').read_text()
    for path in ROOT.glob('nbs/[0-9][0-9]_*.ipynb'): assert f'sslam_nb.{path.stem[3:]}' in said, path.stem
    assert re.search('^packages = .*sslam_nb.use', said, re.M)

def test_the_stub_names_what_the_package_gives():
    "And each name stands in its chapter; the stub is where the package reads them."
    for name, module in sslam_nb._EXPORTS.items():
        path = ROOT/'nbs'/f"{module.replace('.', '/')}.ipynb"
        chapter = next(path.parent.glob(f'[0-9][0-9]_{path.name}'))
        sources = [''.join(cell['source']) for cell in json.loads(chapter.read_text(encoding='utf-8'))['cells']]
        assert any(re.match(r'#\|\s*export', s) and re.search(rf'^(class|def) {name}\b', s, re.M) for s in sources), name
    assert sslam_nb.__all__ == list(sslam_nb._EXPORTS)

def test_citation_and_changes_are_of_this_version():
    assert (ROOT/'CHANGELOG.md').read_text().split('\n## ')[1].startswith(sslam_nb.__version__)
    citation = (ROOT/'CITATION.cff').read_text()
    for line in ('cff-version: 1.2.0', 'preferred-citation:', 'license: MIT'): assert f'\n{line}' in f'\n{citation}'
    assert 'odU59TxdiB' in citation and '\nversion:' not in citation, 'the version stands in settings.ini'
