"What a user gets: a wheel that works without the development tools, and a README that is true."
import json, os, re, subprocess, sys, venv, zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = 'setup.py settings.ini MANIFEST.in LICENSE README.md'
TOOLS = set('nbdev fastcore execnb ghapi matplotlib IPython ipykernel papermill nbformat pytest'.split())
settings = ConfigParser(delimiters=['=']); settings.read(ROOT/'settings.ini')
about = settings['DEFAULT']

def run(*command, cwd=None):
    "Nothing of the repository is on the path."
    env = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    return subprocess.run(command, cwd=cwd, env=env, text=True, capture_output=True)

def packaged():
    "What belongs into the wheel, but for metadata."
    kinds = '**/*.py', '*.pyi', 'py.typed', 'demo/*'
    return [path for kind in kinds for path in ROOT.glob(f'sslam_nb/{kind}') if path.is_file()]

@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    "Built from an sdist of a copy, so that nothing comes from the working tree; no network."
    folder = tmp_path_factory.mktemp('build')
    for path in [*(ROOT/name for name in SOURCES.split()), *packaged()]:
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
    assert {n for n in names if '.dist-info/' not in n} == {p.relative_to(ROOT).as_posix() for p in packaged()}
    assert any(name.endswith('LICENSE') for name in names) and 'License-Expression: MIT' in metadata
    assert f"Version: {about['version']}\n" in metadata
    extras = {name.removesuffix('_requirements') for name in about if name.endswith('_requirements')}
    assert set(re.findall(r'^Provides-Extra: (\S+)', metadata, re.M)) == extras
    assert not re.search(r'\]\((?!https?://|#|mailto:)', metadata), 'a link that leads nowhere outside the repository'
    needed = re.findall(r'^Requires-Dist: ([\w.-]+)(?!.*extra)', metadata, re.M)
    assert 'torch' in needed and not TOOLS & set(needed)

@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    "Python of a fresh environment with the wheel, put there by pip; libraries are borrowed from this one."
    home = tmp_path_factory.mktemp('user')
    venv.create(home)
    python = home/'bin'/'python'
    done = run(sys.executable, '-m', 'pip', '--python', str(python), 'install', '-q', '--no-index', '--no-deps', str(wheel))
    assert done.returncode == 0, done.stderr
    site = next((home/'lib').glob('python*/site-packages'))
    libraries = [path for path in sys.path if Path(path).name == 'site-packages']
    (site/'libraries.pth').write_text('\n'.join(libraries) + '\n')
    return python

def test_an_installed_wheel_does_what_it_says(installed, tmp_path):
    "Imports, vectors by Python and by command, labels, two stages of training, checkpoints."
    done = run(str(installed), str(ROOT/'.ci/smoke.py'), cwd=tmp_path)
    assert done.returncode == 0 and 'smoke test passed' in done.stdout, done.stdout + done.stderr[-2000:]
    assert not list(tmp_path.iterdir())

SCRIPT = """
import numpy as np
from sslam_nb import SSLAM, AudioFolder, embed, load_checkpoint, override, predict, preset
from sslam_nb import embedding                               # wrong: no such name

model, wave = load_checkpoint('demo'), np.zeros(16_000)
clip, frames, times = embed(model, wave, 16_000, layer='all')
clip.shape[0] + len(frames)
embed(model, wave, '16 kHz')                                 # wrong: a rate is a number
embed(model, wave, 16_000, layers='all')                     # wrong: it is called layer
embed(3, wave, 16_000)                                       # wrong: 3 is no model
predict('demo', wave, 16_000, top=None, window=None)
predict('demo', wave, 16_000, top='3')                       # wrong: a number or None
cfg = override(preset('stage2', 'tiny'), epochs=1)
cfg.epochs + 1
cfg.epochs.lower()                                           # wrong: override gives back the same kind of configuration
preset(2)                                                    # wrong: a stage is a word
SSLAM(cfg).student.embed('a.wav')                            # wrong: a log-mel is a tensor
AudioFolder('clips').classes[0].upper()
AudioFolder('clips').classes.upper()                         # wrong: several
"""

def test_mypy_finds_what_is_wrong_in_a_users_script(installed, tmp_path):
    pytest.importorskip('mypy', reason="pip install 'sslam_nb[dev]'")
    (tmp_path/'script.py').write_text(SCRIPT)
    done = run(sys.executable, '-m', 'mypy', '--python-executable', str(installed), '--config-file=', 'script.py', cwd=tmp_path)
    wrong = {number for number, line in enumerate(SCRIPT.splitlines(), 1) if '# wrong' in line}
    assert {int(n) for n in re.findall(r'^script\.py:(\d+): error', done.stdout, re.M)} == wrong, done.stdout + done.stderr

def test_every_requirement_has_a_tried_version_and_no_build():
    pins = dict(re.findall(r'^([\w.-]+)==(\S+)$', (ROOT/'constraints.txt').read_text(), re.M))
    required = [*about['requirements'].split(), *about['dev_requirements'].split()]
    named = {re.match(r'[\w.-]+', requirement)[0] for requirement in required}
    assert named <= pins.keys(), sorted(named - pins.keys())
    assert not any('+' in version for version in pins.values())

@pytest.fixture(scope='module')
def readme():
    "The generator."
    sys.path.insert(0, str(ROOT/'.ci'))
    try: import readme
    finally: sys.path.pop(0)
    return readme

def test_readme_is_what_the_generator_makes(readme):
    text, pictures = readme.render(json.loads((ROOT/'nbs/index.ipynb').read_text(encoding='utf-8')))
    pages = {Path('README.md'): text, **readme.part_pages()}
    assert {path.parent.name for path in pages} == {'', *readme.PARTS}
    for path, page in pages.items():
        assert (ROOT/path).read_text(encoding='utf-8') == page, f'{path}: make readme'
        for link in re.findall(r'\]\((?!#|\w+:)([^)]+)\)', page): assert (ROOT/path.parent/link).exists(), link
    for path, png in pictures.items(): assert (ROOT/path).read_bytes() == png, f'{path}: make readme'
    headings = {re.sub(r'[^\w -]', '', h.lower()).replace(' ', '-') for h in re.findall(r'^#+ (.+)$', text, re.M)}
    assert set(re.findall(r'\]\(#([^)]+)\)', text)) <= headings

def test_every_notebook_is_in_a_table(readme):
    text = (ROOT/'README.md').read_text(encoding='utf-8')
    for path in ROOT.glob('nbs/**/*.ipynb'):
        name = path.relative_to(ROOT).as_posix()
        if '.ipynb_checkpoints' not in path.parts: assert f']({name})' in text, name

def test_a_part_without_a_word_is_an_error(readme, tmp_path):
    (tmp_path/'nbs/stories').mkdir(parents=True)
    (tmp_path/'nbs/stories/00_a.ipynb').write_text('{"cells": []}')
    with pytest.raises(SystemExit, match='says nothing of nbs/stories'): readme.chapters(tmp_path)

def test_readme_commands_name_what_exists():
    "Notebooks, parameters, make targets and imported names, in README and tutorials."
    import sslam_nb
    text = readme_text = (ROOT/'README.md').read_text(encoding='utf-8')
    for path in ROOT.glob('nbs/tutorials/*.ipynb'):
        cells = json.loads(path.read_text(encoding='utf-8'))['cells']
        text += '\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == 'markdown')
    commands = re.findall(r'papermill (?:--\S+ )?nbs/([\w/]+)\.ipynb([^`#\n]*)', text.replace('\\\n', ' '))
    assert len(commands) > 10
    for name, rest in commands:
        cells = json.loads((ROOT/f'nbs/{name}.ipynb').read_text(encoding='utf-8'))['cells']
        tagged = next(''.join(c['source']) for c in cells if 'parameters' in c['metadata'].get('tags', []))
        assert set(re.findall(r'-p (\w+) ', rest)) <= set(re.findall(r'^(\w+):', tagged, re.M)), (name, rest)
    targets = set(re.findall(r'^([a-z0-9_ -]+):.*##', (ROOT/'Makefile').read_text(), re.M))
    targets = {word for line in targets for word in line.split()}
    made = set(re.findall(r'(?:^|`)make ([\w-]+)', readme_text, re.M))
    assert made and made <= targets, made - targets
    for names in re.findall(r'^from sslam_nb import (.+)$', readme_text, re.M):
        assert set(names.split(', ')) <= set(sslam_nb.__all__), names

def test_readme_script_runs(tmp_path):
    "The README's script, word for word but for its scale."
    scripts = re.findall(r'```python\n(.*?)```', (ROOT/'README.md').read_text(encoding='utf-8'), re.S)
    script = next(script for script in scripts if 'epochs=5' in script)
    assert len(script.strip().splitlines()) <= 13
    small = 'seed=0, max_steps=2, n_clips=32, probe_clips=(24, 24), log_every=1'
    (tmp_path/'train.py').write_text(script.replace('seed=0', small))
    done = run(sys.executable, 'train.py', cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 'loss' in done.stdout and 'mAP' in done.stdout
    assert (tmp_path/'runs/script-stage2/model.safetensors').is_file()
