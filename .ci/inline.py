"""Run nbdev_test, and make sure that it ran: outside a project it would say "Success." and test nothing.

python .ci/inline.py [WORKERS]"""
import os, re, subprocess, sys, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SKIPPED = ('.ipynb_checkpoints', 'paper', 'tutorials')      # these export nothing and have other tests

def main(workers='2'):
    chapters = [p.as_posix() for p in sorted((ROOT/'nbs').glob('**/[0-9][0-9]_*.ipynb')) if p.parent.name not in SKIPPED]
    command = ['nbdev_test', '--do_print', '--timing', '--n_workers', workers]
    with tempfile.TemporaryDirectory() as kept:                 # of rendered soundscapes, in place of the user's own
        run = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, env=os.environ | {'SSLAM_NB_CACHE': kept})
    sys.stderr.write(run.stderr)
    if run.returncode: sys.exit(run.returncode)
    missing = set(chapters) - set(re.findall(r'- Completed (\S+\.ipynb)', run.stdout))
    if missing: sys.exit(f"nbdev_test did not run {', '.join(sorted(missing))}")
    slowest = [line for line in run.stdout.splitlines() if line.endswith(' secs')][:3]
    print(f"{len(chapters)} library notebooks passed (slowest: {'; '.join(slowest)})")

if __name__ == '__main__': main(*sys.argv[1:])
