"""Run every notebook of nbs/paper without training, and write the index: python .ci/tables.py [WORKERS] [--check]

With --check, a table that changed, or a record that cannot be read or lacks its origin, is an error. Pictures are drawn, but
not compared: some show tensors of a short training, whose last digits depend on the processor."""
import os, subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from sslam_nb.evidence.paper_tables import save_index
from sslam_nb.reports.results import read_records

ROOT = Path(__file__).resolve().parents[1]
SHOWN = ('algorithm', 'parity', 'one_run', 'readings')  # these write no file; --check runs them too
NEEDED = ('config', 'commit', 'data_checksum', 'hardware', 'created')

def render(path):
    "Standard error of a notebook that failed, else nothing."
    out = ROOT/'runs'/'paper'/path.name
    command = [sys.executable, '-m', 'papermill', str(path), str(out), '--cwd', str(ROOT), '--no-progress-bar']
    run = subprocess.run(command, capture_output=True, text=True, env=os.environ | {'PYTHONWARNINGS': 'ignore'})
    return f'{path.name}:\n{run.stderr[-2000:]}' if run.returncode else ''

def render_all(notebooks, workers):
    "A line for each notebook as it is done; what those that failed said."
    begin, failed = time.perf_counter(), []
    def timed(path):
        start = time.perf_counter()
        return render(path), time.perf_counter() - start
    print(f'rendering {len(notebooks)} notebooks, {workers} at once; a few minutes', flush=True)
    with ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(timed, path): path for path in notebooks}
        for k, future in enumerate(as_completed(futures), 1):
            text, seconds = future.result()
            if text: failed.append(text)
            print(f'{k:2}/{len(notebooks)} {futures[future].stem:12} {seconds:4.0f} s{", failed" if text else ""}   '
                  f'({time.perf_counter() - begin:.0f} s in all)', flush=True)
    return failed

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
    (ROOT/'runs'/'paper').mkdir(parents=True, exist_ok=True)
    notebooks = sorted((ROOT/'nbs'/'paper').glob('*.ipynb'))
    if not check: notebooks = [p for p in notebooks if not p.stem.startswith(SHOWN)]
    failed = render_all(notebooks, int(workers))
    if failed: sys.exit('\n'.join(failed))
    save_index()
    after = contents()
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if check:
        for name in [name for name in changed if name.endswith('.png') and name in before]:
            (ROOT/name).write_bytes(before[name])
            changed.remove(name)
    faults = faulty_records()
    if check and (changed or faults):
        sys.exit('Not what the records say; look at `git diff papers_tables`:\n  ' + '\n  '.join(changed + faults))
    print(f'{len(notebooks)} notebooks rendered, {len(after)} files, {len(changed)} changed')

if __name__ == '__main__': main(*sys.argv[1:])
