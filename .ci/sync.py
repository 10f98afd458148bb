"""Clean the notebooks, export sslam_nb/, write README.md and that of each part; an error if that changed a file.

Files are compared before and after, not with the last commit: work in progress passes when it is in sync."""
import json, subprocess, sys

import nbformat

import readme

ROOT = readme.ROOT

def watched():
    "Contents of every file that the tools below may write."
    patterns = ('README.md', 'nbs/*/README.md', 'nbs/**/*.ipynb', 'nbs/images/*.png', 'sslam_nb/**/*.py')
    paths = [p for pattern in patterns for p in ROOT.glob(pattern) if '.ipynb_checkpoints' not in p.parts]
    return {p.relative_to(ROOT).as_posix(): p.read_bytes() for p in paths}

def split_lines(path):
    "Store sources and outputs line by line, as JupyterLab does; a diff then shows lines, not cells."
    old = path.read_text(encoding='utf-8')
    notebook = nbformat.v4.rwbase.split_lines(nbformat.from_dict(json.loads(old)))
    new = json.dumps(notebook, sort_keys=True, indent=1, ensure_ascii=False) + '\n'
    if new != old: path.write_text(new, encoding='utf-8')

def main():
    before = watched()
    for tool in ('nbdev_clean', 'nbdev_export'): subprocess.run([tool], cwd=ROOT, check=True)
    for name in watched():
        if name.endswith('.ipynb'): split_lines(ROOT/name)
    readme.main()
    after = watched()
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if changed: sys.exit('Was out of sync, now up to date; look at `git diff`:\n  ' + '\n  '.join(changed))
    print(f'{len(after)} files in sync')

if __name__ == '__main__': main()
