"""Run every experiment of the paper that has no record: python .ci/reproduce.py SIZE PROCESSES REAL [SEEDS]

First the plan of each table, from its notebook with dry_run; then the runs. What tables share is run once, and what was
interrupted goes on. REAL is the folder of the real clips; without one ('') their tables are left out."""
import json, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ORDER = 'polyphony table02 table03 downstream table04 table10 table11 appendix_c table05 table06 table09 table01'.split()

def papermill(name, *parameters):
    out = ROOT/'runs'/'paper'/f'{name}.ipynb'
    out.parent.mkdir(parents=True, exist_ok=True)
    words = [word for pair in parameters for word in ('-p', *map(str, pair))]
    command = ['papermill', '--log-output', '--no-progress-bar', str(ROOT/'nbs'/'paper'/f'{name}.ipynb'), str(out), *words]
    return subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True), out

def parameters(name):
    cells = json.loads((ROOT/'nbs'/'paper'/f'{name}.ipynb').read_text())['cells']
    return next(''.join(c['source']) for c in cells if 'parameters' in c['metadata'].get('tags', []))

def printed(path):
    "What the plan cell of an executed notebook shows."
    for cell in json.loads(path.read_text())['cells']:
        if 'carry_out(' in ''.join(cell['source']) and cell['cell_type'] == 'code':
            for output in cell.get('outputs', []):
                yield ''.join(output.get('text', output.get('data', {}).get('text/plain', '')))

def main(size, processes, real, seeds=''):
    if real and not (ROOT/real).is_dir(): sys.exit(f'REAL={real}: there is no such folder')
    names = [name for name in ORDER if real or 'real:' not in parameters(name)]
    if left_out := [name for name in ORDER if name not in names]:
        print(f'{", ".join(left_out)} need real clips and are left out; to include them, name the folder that holds esc10, fsdd and '
              'esc10_mixtures: make reproduce-tiny REAL=FOLDER')
    for given in ([('dry_run', True)], [('run', True)]):
        for name in names:
            own = [('real', real)] if 'real:' in parameters(name) else []
            own += [('seeds', seeds)] if seeds else []
            run, out = papermill(name, ('size', size), ('processes', processes), *own, *given)
            if run.returncode: sys.exit(f'{name}: {run.stderr[-2000:]}')
            print(f'--- {name}', *printed(out), sep='\n', flush=True)

if __name__ == '__main__': main(*sys.argv[1:])
