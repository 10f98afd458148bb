"What `make` offers: every target is explained, and JupyterLab leaves a notebook as it was."
import json, os, re, subprocess, sys, time
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from sslam_nb.core import project_root

ROOT = project_root()
MAKEFILE = (ROOT/'Makefile').read_text()


def test_help_lists_every_target():
    told = subprocess.run(['make', '-s', 'help'], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = dict(re.findall(r'^make (\S+) +(\S.*)$', told, re.M))
    assert listed.keys() == set(re.search(r'^\.PHONY: (.+)$', MAKEFILE, re.M)[1].split())
    assert {'stage1', 'stage2', 'finetune', 'linear_eval', 'reproduce-tiny'} <= listed.keys()


def test_reproduce_tells_its_plan_and_starts_nothing_unasked():
    "Six seeds, since the committed records are of five."
    done = subprocess.run([sys.executable, '.ci/reproduce.py', 'tiny-study', '2', '', '', '6'], cwd=ROOT, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=300)
    assert done.returncode == 1 and 'Nothing was run' in done.stderr, done.stderr[-2000:]
    runs, total = map(int, re.search(r'(\d+) of (\d+) runs have no record', done.stdout).groups())
    alone = sum(map(int, re.findall(r'^  \w+ +(\d+) runs$', done.stdout, re.M)))
    assert 0 < runs <= total < alone and 'GB of disk' in done.stdout and 'YES=1' in done.stdout      # shared runs are counted once


@pytest.fixture
def lab(tmp_path):
    "A server with the configuration that `make lab` gives; the address of its files."
    command = re.search(r'jupyter lab (--config=\S+)', MAKEFILE)[1]
    (tmp_path/'nbs').mkdir()
    more = ['--no-browser', '--ServerApp.port=0', '--IdentityProvider.token=t', f'--ServerApp.root_dir={tmp_path}', '--allow-root']
    folders = {f'JUPYTER_{name}_DIR': str(tmp_path/name) for name in ('CONFIG', 'DATA', 'RUNTIME')}
    server = subprocess.Popen([sys.executable, '-m', 'jupyter_server', command, *more], cwd=ROOT, env=os.environ | folders,
                              stderr=subprocess.DEVNULL)
    try:
        for _ in range(1200):
            found = [text for p in (tmp_path/'RUNTIME').glob('jpserver-*.json') if (text := p.read_text())]
            if found: break
            time.sleep(0.1)
        yield json.loads(found[0])['url'] + 'api/contents/nbs/'
    finally:
        server.terminate()
        server.wait(10)


def ask(url, **sent):
    data = json.dumps(sent).encode() if sent else None
    headers = {'Authorization': 'token t', 'Content-Type': 'application/json'}
    for _ in range(50):
        try:
            with urlopen(Request(url, data, headers, method='PUT' if sent else 'GET')) as reply: return json.load(reply)
        except URLError as error:
            if hasattr(error, 'code'): raise
            time.sleep(0.1)


def test_saving_in_jupyterlab_changes_nothing(lab, tmp_path):
    "As the browser sends it: with its own kernel's name and version, and counts of executed cells."
    for name in ('04_masking', 'stage2', 'paper/table03'): save_one(lab, ROOT/'nbs'/f'{name}.ipynb', tmp_path/'nbs'/'a.ipynb')


def save_one(lab, original, path):
    before = original.read_bytes()
    path.write_bytes(before)
    notebook = ask(f'{lab}a.ipynb')['content']
    notebook['metadata'] = dict(language_info=dict(name='python', version='3.11.99'),
                                kernelspec=dict(display_name='Python 3 (ipykernel)', language='python', name='python3'))
    for cell in notebook['cells']:
        if cell['cell_type'] != 'code': continue
        cell['execution_count'] = 7
        cell['metadata']['trusted'] = True
        for output in cell['outputs']:
            if output['output_type'] == 'execute_result': output['execution_count'] = 7
    ask(f'{lab}a.ipynb', type='notebook', format='json', content=notebook)
    assert path.read_bytes() == before
