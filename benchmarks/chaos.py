"""The long forms of the reliability tests: python benchmarks/chaos.py, or `make chaos` (a quarter of an hour on two cores).

Runs the three scripts below beside this one and writes what they printed into papers_tables/reliability.md, with commit and
hardware. Do not edit the code meanwhile: the trials import it. The exit status is 1 if anything went wrong."""
import subprocess, sys
from datetime import date
from pathlib import Path

from sslam_nb.core import atomic_path, git_commit
from sslam_nb.reports.results import hardware, versions

HERE = Path(__file__).resolve().parent
PARTS = [
    ('Runs that are killed, cut and stopped', 'chaos_runs.py', (20, 20, 2000),
     "A run is ended at a random moment, up to twice, and resumed; the weights must be those of a run that nobody disturbed, bit "
     "for bit. A power cut is simulated: what was not synced to the disk before a SIGKILL is cut or gone, and a renaming is "
     "undone whose folder was not synced, each with probability 1/2."),
    ('Damaged files', 'chaos_files.py', (6000,),
     "One good file of each kind, changed in as many ways as a seed draws: bits, bytes, pieces moved, texts and numbers "
     "exchanged. *right*: loads as what it says; *named*: an error with the file's name. Everything else is a fault."),
    ('Random calls', 'chaos_embed.py', (1000,),
     "Signals, rates and arguments that a seed draws. A call must return finite numbers, or name the argument that is wrong."),
]

def main():
    parts, failed = [], []
    for title, script, values, about in PARTS:
        command = [script, *map(str, values)]
        print('running', *command, flush=True)
        done = subprocess.run([sys.executable, '-W', 'ignore', HERE/command[0], *command[1:]], capture_output=True, text=True)
        print(done.stdout + done.stderr[-2000:], flush=True)
        if done.returncode: failed.append(script)
        printed = done.stdout.rstrip()
        shown = printed if printed.startswith('|') else f'```\n{printed}\n```'
        parts.append(f"## {title}\n\n{about}\n`python benchmarks/{' '.join(command)}`:\n\n{shown}\n")
    found = versions()
    machine = f"{hardware()}; Python {found['python']}, torch {found['torch']}"
    head = (f"# Reliability\n\nWhat `make chaos` found, on {date.today()} at commit {git_commit()}; {machine}. "
            "Short forms of the same trials run in CI: `tests/test_reliability.py`, `tests/test_damaged_files.py`, "
            "`tests/test_embed_fuzz.py`.\n\n")
    with atomic_path(HERE.parent/'papers_tables'/'reliability.md') as file:
        file.write_text(head + '\n'.join(parts), 'utf-8')
    sys.exit(bool(failed))

if __name__ == '__main__': main()
