"""Run every experiment of the paper that has no record: python .ci/reproduce.py SIZE PROCESSES REAL YES [SEEDS]

First one plan of all tables, in which a run that several of them share is counted once; then a question, and the runs, with
a line for each; then the tables. What was interrupted goes on. REAL is the folder of the real clips; without one ('') their
runs are left out. YES ('1') answers the question beforehand; without it and without a terminal nothing is run."""
import json, shutil, sys
from pathlib import Path

import tables
from sslam_nb.core import project_path
from sslam_nb.evidence.jobs import lineage
from sslam_nb.evidence.paper_tables import lacking, run_planned
from sslam_nb.evidence.plan import plan

ROOT = Path(__file__).resolve().parents[1]
ORDER = 'polyphony table02 table03 downstream table04 table10 table11 appendix_c table05 table06 table09 table01'.split()

def code_cells(name):
    "Sources of a notebook's code cells, as far as the one that carries the plan out; the first sets the parameters."
    cells = json.loads((ROOT/'nbs'/'paper'/f'{name}.ipynb').read_text(encoding='utf-8'))['cells']
    sources = [''.join(cell['source']) for cell in cells if cell['cell_type'] == 'code']
    return sources[:next(i for i, source in enumerate(sources) if 'carry_out(' in source) + 1]

def jobs_of(name, **given):
    "Every run of a table, as its notebook says it."
    first, *middle, last = code_cells(name)
    space, found = {}, []
    exec(first, space)
    space.update((key, value) for key, value in given.items() if key in space)
    for source in middle: exec(source, space)
    def take(cells, options): found.extend(job for cell in cells(options.size, options.chosen) for job in cell.jobs)
    exec(last, space | dict(carry_out=take))
    return found

def tell_plan(jobs, processes):
    "The plan of all tables together; how many runs are missing."
    every = [job for some in jobs.values() for job in some]
    table = plan(every, processes=processes)
    for name, some in jobs.items(): print(f'  {name:12} {len(lineage(some)):4} runs')
    total, alone = table.loc['all'], sum(len(lineage(some)) for some in jobs.values())
    free = shutil.disk_usage(ROOT).free/1e9
    print(f'\nAll together, each run once ({alone} would be run if every table ran its own):\n\n{table}\n')
    print(f'{total.to_run:.0f} of {total.runs:.0f} runs have no record or no model to start from: about {total.hours:.1f} hours with '
          f'{processes} processes, and {total.GB:.1f} GB of disk in runs/experiments ({free:.0f} GB are free)', flush=True)
    return int(total.to_run)

def agreed(yes):
    "Whether to start; a terminal is asked."
    if yes == '1': return True
    if sys.stdin.isatty(): return input('Start? [y/N] ').strip().lower() in ('y', 'yes')
    print('No terminal to ask, so nothing is started; make reproduce-tiny YES=1 starts')
    return False

def main(size, processes, real='', yes='', seeds=''):
    if real and not project_path(real).is_dir(): sys.exit(f'REAL={real}: there is no such folder')
    given = dict(size=size, processes=int(processes), real=real or None) | (dict(seeds=int(seeds)) if seeds else {})
    jobs = {name: jobs_of(name, **given) for name in ORDER}
    on_real = lambda job: bool(getattr(job.cfg, 'data', None))
    if not real and (left_out := [name for name in ORDER if any(map(on_real, jobs[name]))]):
        print(f'runs on real clips are left out ({", ".join(left_out)}); to include them, name the folder that holds esc10, fsdd and '
              'esc10-scenes: make reproduce-tiny REAL=FOLDER\n')
        jobs = {name: [job for job in some if not on_real(job)] for name, some in jobs.items()}
    every = [job for some in jobs.values() for job in some]
    if lack := lacking(every): sys.exit(lack)
    if tell_plan(jobs, int(processes)):
        if not agreed(yes): sys.exit('Nothing was run')
        failed = run_planned(every, int(processes))
        if failed: print(f'{len(failed)} runs failed, named above; the same command tries them again')
    tables.main(processes)

if __name__ == '__main__': main(*sys.argv[1:])
