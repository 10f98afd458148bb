"""Write README.md from nbs/index.ipynb, and a README.md for each part from the titles of its notebooks.

python .ci/readme.py; a line `<!-- chapters -->` in index.ipynb becomes the tables of all chapters."""
import base64, json, posixpath, re, textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
IMAGES = Path('nbs/images')
NOTE = '<!-- Written by `make readme` from nbs/index.ipynb; edit that. -->\n'
PART_NOTE = '<!-- Written by `make readme` from .ci/readme.py and the titles of the notebooks; edit those. -->\n'
CHAPTERS = '<!-- chapters -->'
RUNS = ('stage1', 'stage2', 'finetune', 'linear_eval')

# Folder in nbs/: its heading, what it is for, what it may use
PARTS = {
    'data': ('Data', '''From a disk to labelled clips: files, folders with a csv, official manifests, shards, the
sets of the paper by name, and soundscapes made of synthetic sounds. Whoever trains or evaluates asks a source for
clip *i* and gets its samples and its labels.''',
'Of the method it uses the spectrogram alone; it uses no other part.'),
    'training': ('Training', '''Weights in and out, and the loop that makes them: checkpoints of this code and of the
authors, the Hugging Face Hub, what an interrupted run needs to go on, and pre-training in both stages.''',
'It may use the method and `data`.'),
    'evaluation': ('Evaluation', '''What an encoder is worth on labels: metrics with intervals, the recipes of Tables 7
and 8, features of a frozen encoder, augmentations, one loop for fine-tuning and linear evaluation, and readings of
whole clips and of every 160 ms.''',
'It may use the method, `data` and `training`.'),
    'use': ('Use', '''A trained model on audio of your own: vectors with time stamps, or labels with scores. Nothing
here trains.''', 'It may use the method, `data`, `training` and `evaluation`.'),
    'reports': ('Reports', '''What the notebooks `stage1`, `stage2`, `finetune` and `linear_eval` share: from parameters
to a configuration, the pictures that a run shows, and the record that it leaves.''',
'It may use all parts above it: the method, `data`, `training`, `evaluation` and `use`.'),
    'evidence': ('Evidence', '''From runs to the tables in `papers_tables`: runs as values that are found by their hash,
plans, one of them fixed in advance, comparison with the paper, tables as files; and studies: parity with the official
code, the polyphony of AudioSet, what targets hold.''', 'It is the last part and may use all others.'),
    'paper': ('The paper', '''One notebook for each table, figure and algorithm of the paper, and studies beside
it. Tables and figures are made from committed records or drawn anew; `papers_tables` holds what came out. Where runs
are needed that have no record yet, `-p run True` trains them.''', 'These notebooks export nothing and may use every part.'),
    'tutorials': ('Tutorials', '''How-to stories, each from the question to a result, with names that `from sslam_nb
import ...` gives.''', 'These notebooks export nothing and may use every part.'),
}

def text(lines): return lines if isinstance(lines, str) else ''.join(lines)

def from_root(markdown):
    "Links are relative to nbs/ in the notebook and to the project in README.md."
    link = lambda m: f"]({posixpath.normpath(posixpath.join('nbs', m[1]))})"
    return re.sub(r'\]\((?!\w+:|#)([^)]+)\)', link, markdown)

def fence(body, language=''): return f"```{language}\n{body.rstrip()}\n```"

class Chapter(NamedTuple):
    "What a notebook says of itself."
    path:str     # Relative to nbs/
    name:str     # Module of a library chapter, else the file's name
    title:str    # Without the hash
    sentence:str # The blockquote under it
    paper:str    # Section, equation or table that the text after it begins with

_KIND = r'(?:Sections?|Eq\.|Equations?|Tables?|Figures?|Algorithms?|Appendix)'
_PLACE = rf'(?:{_KIND} )?(?:\d+(?:\.\d+)*|[A-E](?:\.\d+)*)\b'

def chapter(path, nbs):
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    prose = '\n\n'.join(text(c['source']).strip() for c in cells if c['cell_type'] == 'markdown')
    found = re.match(r'# ([^\n]+)\n\n> ([^\n]+)\n*(?:<!--\n- skip_exec: true\n-->\n*)?', prose)
    if not found: raise SystemExit(f'{path}: begins without a title and one sentence as a blockquote')
    place = re.match(rf'{_KIND} {_PLACE}(?:(?:, | and ){_PLACE})*', prose[found.end():].replace('\n', ' '))
    below, name = path.relative_to(nbs), re.sub(r'^\d\d_', '', path.stem)
    module = '.'.join([*below.parts[:-1], name]) if name != path.stem and below.parts[0] != 'tutorials' else name
    return Chapter(below.as_posix(), module, found[1], found[2], place[0] if place else '')

def chapters(root=ROOT):
    "Part -> its chapters in order; '' is the method with core and config, 'runs' the run notebooks."
    nbs = root/'nbs'
    read = lambda folder, pattern: [chapter(path, nbs) for path in sorted(folder.glob(pattern))]
    folders = {p.parent.name for p in nbs.glob('*/*.ipynb') if p.parent.name != '.ipynb_checkpoints'}
    if unknown := folders - PARTS.keys(): raise SystemExit(f'.ci/readme.py says nothing of nbs/{unknown.pop()}')
    runs = [chapter(nbs/f'{name}.ipynb', nbs) for name in RUNS]
    return {'': read(nbs, '[0-9][0-9]_*.ipynb'), 'runs': runs} | {
        part: read(nbs/part, '*.ipynb') for part in PARTS if part in folders}

def table(part, rows):
    "Chapters of a part; the last column where one of them begins with a place in the paper."
    stories, places = part in ('paper', 'tutorials'), any(row.paper for row in rows)
    named = [row.title if stories else f'`{row.name}`' for row in rows]
    lines = [[f'[{name}]({row.path})', row.sentence, row.paper] for name, row in zip(named, rows)]
    about = 'the claim, or what is shown' if part == 'paper' else 'what it is about'
    lines = [['notebook' if stories else 'chapter', about, 'paper'], ['---']*3, *lines]
    return '\n'.join(f"| {' | '.join(cells if places else cells[:2])} |" for cells in lines)

def all_tables(found):
    "What stands in README.md in place of the marker; links relative to nbs/."
    headings = {'': 'The method', 'runs': 'Run notebooks'} | {
        part: f'{heading}\n\n[{part}]({part}/README.md): {purpose}' for part, (heading, purpose, _) in PARTS.items()}
    return '\n\n'.join(f'### {headings[part]}\n\n{table(part, rows)}' for part, rows in found.items())

def part_page(part, rows):
    "README.md of a folder."
    heading, purpose, uses = PARTS[part]
    lines = []
    for row in rows:
        name, stop = posixpath.basename(row.path), '' if row.title.endswith('?') else '.'
        lines.append(f'- [{name}]({name}): **{row.title}{stop}** {row.sentence}')
    purpose = textwrap.fill(' '.join(f'{purpose} {uses}'.split()), 108)
    return '\n'.join([PART_NOTE, f'# {heading}', '', purpose, '', *lines, ''])

def part_pages(root=ROOT):
    "{path: text} of every part's README."
    return {Path('nbs')/part/'README.md': part_page(part, rows)
            for part, rows in chapters(root).items() if part in PARTS}

def code_cell(cell, pictures):
    "Source and outputs as markdown; `#| hide` drops both, `#| echo: false` drops the source."
    lines = text(cell['source']).splitlines()
    directives = {line[2:].strip() for line in lines if line.startswith('#|')}
    if 'hide' in directives: return []
    source = '\n'.join(line for line in lines if not line.startswith('#|')).strip()
    parts = [fence(source, 'python')] if source and 'echo: false' not in directives else []
    for output in cell['outputs']:
        data = output.get('data', {})
        if 'image/png' in data:
            path = IMAGES/f"index-{cell['id']}.png"
            pictures[path] = base64.b64decode(text(data['image/png']))
            alt = next((d.partition(':')[2].strip() for d in directives if d.startswith('fig-alt:')), 'figure')
            parts.append(f'![{alt}]({path.as_posix()})')
        elif 'text/markdown' in data: parts.append(from_root(text(data['text/markdown'])))
        else: parts.append(fence(text(output.get('text', data.get('text/plain', ''))), 'text'))
    return parts

def render(notebook, root=ROOT):
    "README text and {path: PNG bytes} of an index notebook."
    parts, pictures = [NOTE.strip()], {}
    for cell in notebook['cells']:
        if cell['cell_type'] == 'code': parts += code_cell(cell, pictures)
        else:
            source = text(cell['source']).strip()
            if CHAPTERS in source: source = source.replace(CHAPTERS, all_tables(chapters(root)))
            parts.append(from_root(source))
    return '\n\n'.join(parts) + '\n', pictures

def first_picture(path, root=ROOT):
    """{path: PNG bytes} of the picture that a story opens with: that of its cell with `#| fig-alt: words`, which its first cell
    shows by the line `![words](../images/NAME.png)`."""
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    place = IMAGES/f'{path.stem}.png'
    for cell in cells:
        if not (alt := re.search(r'^#\| fig-alt: (.+)$', text(cell['source']), re.M)): continue
        line = f'![{alt[1]}](../{place.relative_to("nbs").as_posix()})'
        if line not in text(cells[0]['source']): raise SystemExit(f'{path}: its first cell must show {line}')
        shown = next(output['data'] for output in cell['outputs'] if 'image/png' in output.get('data', {}))
        return {place: base64.b64decode(text(shown['image/png']))}
    raise SystemExit(f'{path}: no cell says `#| fig-alt: words`, so it opens without a picture')

def main(root=ROOT):
    readme, pictures = render(json.loads((root/'nbs/index.ipynb').read_text(encoding='utf-8')), root)
    (root/'README.md').write_text(readme, encoding='utf-8')
    for path in sorted((root/'nbs/tutorials').glob('*.ipynb')): pictures |= first_picture(path, root)
    for path, page in part_pages(root).items(): (root/path).write_text(page, encoding='utf-8')
    for old in (root/IMAGES).glob('index-*.png'):
        if old.relative_to(root) not in pictures: old.unlink()
    for path, png in pictures.items():
        (root/path).parent.mkdir(exist_ok=True)
        (root/path).write_bytes(png)

if __name__ == '__main__': main()
