"What a user gets: a wheel that works without the development tools, and a README that is true."
import json, re, subprocess, sys, zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = 'setup.py settings.ini MANIFEST.in LICENSE README.md'
TOOLS = set('nbdev fastcore execnb ghapi matplotlib IPython ipykernel papermill nbformat pytest'.split())
settings = ConfigParser(delimiters=['=']); settings.read(ROOT/'settings.ini')
about = settings['DEFAULT']

def run(*command, cwd=None): return subprocess.run(command, cwd=cwd, text=True, capture_output=True)

@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    "Built from an sdist of a copy, so that nothing comes from the working tree; no network."
    folder = tmp_path_factory.mktemp('build')
    for path in [*(ROOT/name for name in SOURCES.split()), *ROOT.glob('sslam_nb/**/*.py')]:
        copy = folder/path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    built = run(sys.executable, 'setup.py', '-q', 'sdist', cwd=folder)
    assert built.returncode == 0, built.stderr
    sdist = next((folder/'dist').glob('*.tar.gz'))
    built = run(sys.executable, '-m', 'pip', 'wheel', '-q', '--no-index', '--no-deps', '--no-build-isolation',
                '--use-pep517', '-w', str(folder/'wheel'), str(sdist))
    assert built.returncode == 0, built.stderr
    return next((folder/'wheel').glob('*.whl'))

CLEAN = '''
import sys
class Absent:
    "Development tools look as if they were not installed."
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {tools}: raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
sys.path.insert(0, {wheel!r})
import sslam_nb, importlib, pkgutil
assert {wheel!r} in sslam_nb.__file__, sslam_nb.__file__
for module in pkgutil.walk_packages(sslam_nb.__path__, 'sslam_nb.'):
    if not module.name.endswith('figures'): importlib.import_module(module.name) # these draw
for name in sslam_nb.__all__: assert type(getattr(sslam_nb, name)) is not type(sys), name
assert set(sslam_nb.__all__) <= set(dir(sslam_nb)) and sslam_nb.__version__ == {version!r}
'''

def test_wheel_imports_without_development_tools_and_says_nothing(wheel, tmp_path):
    program = CLEAN.format(tools=TOOLS, wheel=str(wheel), version=about['version'])
    done = run(sys.executable, '-c', program, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')

def test_wheel_holds_the_package_and_its_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(n for n in names if n.endswith('METADATA'))).decode()
    modules = {p.relative_to(ROOT).as_posix() for p in ROOT.glob('sslam_nb/**/*.py')}
    assert {n for n in names if '.dist-info/' not in n} == modules
    assert any(name.endswith('LICENSE') for name in names) and 'MIT' in metadata
    needed = re.findall(r'^Requires-Dist: ([\w.-]+)(?!.*extra)', metadata, re.M)
    assert 'torch' in needed and not TOOLS & set(needed)

def test_every_requirement_has_a_tried_version_and_no_build():
    pins = dict(re.findall(r'^([\w.-]+)==(\S+)$', (ROOT/'constraints.txt').read_text(), re.M))
    required = [*about['requirements'].split(), *about['dev_requirements'].split()]
    named = {re.match(r'[\w.-]+', requirement)[0] for requirement in required}
    assert named <= pins.keys(), sorted(named - pins.keys())
    assert not any('+' in version for version in pins.values())

def test_readme_is_what_the_generator_makes():
    sys.path.insert(0, str(ROOT/'.ci'))
    try: import readme
    finally: sys.path.pop(0)
    text, pictures = readme.render(json.loads((ROOT/'nbs/index.ipynb').read_text(encoding='utf-8')))
    assert (ROOT/'README.md').read_text(encoding='utf-8') == text, 'make readme'
    for path, png in pictures.items(): assert (ROOT/path).read_bytes() == png, f'{path}: make readme'
    for link in re.findall(r'\]\((?!#)([^)]+)\)', text): assert (ROOT/link).exists(), link

def test_readme_script_runs(tmp_path):
    "The README's script, word for word but for its scale."
    script = re.search(r'```python\n(.*?)```', (ROOT/'README.md').read_text(encoding='utf-8'), re.S)[1]
    assert len(script.strip().splitlines()) <= 10 and 'epochs=5' in script
    small = 'seed=0, max_steps=2, n_clips=32, probe_clips=(24, 24), log_every=1'
    (tmp_path/'train.py').write_text(script.replace('seed=0', small))
    done = run(sys.executable, 'train.py', cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 'loss' in done.stdout and 'mAP' in done.stdout
    assert (tmp_path/'runs/script-stage2/model.safetensors').is_file()
