"""Run every notebook of nbs/paper without training, and write the index: python .ci/tables.py [WORKERS] [--check]

What a notebook shows of records is kept in it, so that it says the same as its page. With --check nothing is kept, and a table
that changed, or a record that cannot be read or lacks its origin, is an error. Pictures are drawn, but not compared: some show
tensors of a short training, whose last digits depend on the processor. That training is shorter then."""
import os, subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nbformat

import notebooks
from sync import split_lines
from sslam_nb.evidence.paper_tables import save_index
from sslam_nb.reports.results import read_records

ROOT = Path(__file__).resolve().parents[1]
SHOWN = ('algorithm', 'parity', 'one_run', 'readings')  # these write no file; --check runs them too
SLOW = ('readings', 'parity', 'figure1', 'figure2', 'figure4') # begin with these, so that all workers end together
SHORT = dict.fromkeys(('figure1', 'figure2', 'figure4'), ('-p', 'updates', 10))     # with --check
NEEDED = ('config', 'commit', 'data_checksum', 'hardware', 'created')

def render(path, parameters):
    "Standard error of a notebook that failed, else nothing."
    done = notebooks.run(path, ROOT/'runs'/'paper'/path.name, '--cwd', ROOT, *parameters)
    return f'{path.name}:\n{done.stderr[-2000:]}' if done.returncode else ''

def render_all(paths, workers, parameters):
    "A line for each notebook as it is done; what those that failed said."
    begin, failed = time.perf_counter(), []
    def timed(path):
        start = time.perf_counter()
        return render(path, parameters.get(path.stem, ())), time.perf_counter() - start
    print(f'rendering {len(paths)} notebooks, {workers} at once; a minute or two', flush=True)
    with ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(timed, path): path for path in paths}
        for k, future in enumerate(as_completed(futures), 1):
            text, seconds = future.result()
            if text: failed.append(text)
            print(f'{k:2}/{len(paths)} {futures[future].stem:12} {seconds:4.0f} s{", failed" if text else ""}   '
                  f'({time.perf_counter() - begin:.0f} s in all)', flush=True)
    return failed

def keep_outputs(paths):
    "What rendered notebooks have shown, in the notebooks themselves."
    for path in paths:
        own, ran = (nbformat.read(place, 4) for place in (path, ROOT/'runs'/'paper'/path.name))
        for cell, done in zip(own.cells, ran.cells, strict=True):
            if cell.cell_type == 'code': cell.outputs = done.outputs
        nbformat.write(own, path)
    subprocess.run(['nbdev_clean', '--fname', ROOT/'nbs'/'paper'], cwd=ROOT, check=True)
    for path in paths: split_lines(path)

def contents():
    "All rendered files."
    return {p.relative_to(ROOT).as_posix(): p.read_bytes() for p in (ROOT/'papers_tables').glob('*') if p.is_file()}

def faulty_records():
    "'file: reason' of records that no table may rest on."
    left_out = []
    records = [record for folder in ('records', 'one_run') for record in read_records(ROOT/'papers_tables'/folder, left_out)]
    left_out += [f'{r.name}: no {name}' for r in records for name in NEEDED if not getattr(r, name)]
    return left_out + [f'{r.name}: made with edited code' for r in records if (r.commit or '').endswith('+dirty')]

def main(workers='2', check=''):
    before = contents()
    os.environ['PYTHONWARNINGS'] = 'ignore'
    (ROOT/'runs'/'paper').mkdir(parents=True, exist_ok=True)
    paths = sorted((ROOT/'nbs'/'paper').glob('*.ipynb'), key=lambda p: (p.stem not in SLOW, p))
    if not check: paths = [p for p in paths if not p.stem.startswith(SHOWN)]
    failed = render_all(paths, int(workers), SHORT if check else {})
    if failed: sys.exit('\n'.join(failed))
    save_index()
    after = contents()
    if not check: keep_outputs([path for path in paths if not path.stem.startswith('figure')])  # those show a training
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if check:
        for name in [name for name in changed if name.endswith('.png') and name in before]:
            (ROOT/name).write_bytes(before[name])
            changed.remove(name)
    faults = faulty_records()
    if check and (changed or faults):
        sys.exit('Not what the records say; look at `git diff papers_tables`:\n  ' + '\n  '.join(changed + faults))
    print(f'{len(paths)} notebooks rendered, {len(after)} files, {len(changed)} changed')

if __name__ == '__main__': main(*sys.argv[1:])
