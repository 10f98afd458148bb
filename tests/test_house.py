"The house rules: grammar and budgets of every notebook, import order, presets."
import ast, json, re
from configparser import ConfigParser
from functools import cache
from pathlib import Path

import pytest
from nbdev.frontmatter import FrontmatterProc
from nbdev.process import NBProcessor

from sslam_nb.config import SIZES, flatten, preset
from sslam_nb.data.soundscapes import PLAYERS

ROOT = Path(__file__).resolve().parents[1]
NBS = sorted(p for p in ROOT.glob('nbs/**/*.ipynb') if '.ipynb_checkpoints' not in p.parts)
PRIVATE = re.compile(r'/(work|root|home|tmp|Users)/|Warning|\b(it|step|clips)/s|/(it|loop|step)\b|Wall time')
text = ''.join # sources and outputs are stored as lists of lines
# Every part stands on those before it; '' is the method, with core and config
PARTS = ('', 'data', 'training', 'evaluation', 'use', 'reports', 'evidence')

def part(path): return '' if path.parent.name == 'nbs' else path.parent.name

LIBRARY = [p for p in NBS if re.match(r'\d\d_', p.name) and part(p) in PARTS]
RUNS = [p for p in NBS if part(p) == '' and p not in LIBRARY and p.name != 'index.ipynb']
TUTORIALS = [p for p in NBS if part(p) == 'tutorials']

def module(path):
    "nbs/data/10_shards.ipynb -> data.shards"
    return '.'.join(filter(None, [part(path), path.stem[3:]]))

PLACE = {module(p): (PARTS.index(part(p)), p.stem) for p in LIBRARY}

@cache
def notebook_of(path): return json.loads(path.read_text())

@cache
def cells(path, kind='code'):
    "Sources of the cells of one kind."
    return [text(c['source']) for c in notebook_of(path)['cells'] if c['cell_type'] == kind]

def exported(path): return [s for s in cells(path) if re.match(r'#\|\s*exports?\b', s)]

def each(paths): return pytest.mark.parametrize('path', paths, ids=lambda p: p.stem)

def outputs(path):
    "(type, content) of everything that the notebook shows."
    for cell in notebook_of(path)['cells']:
        for out in cell.get('outputs', []):
            yield from out.get('data', {}).items()
            if 'text' in out: yield out.get('name', 'text'), out['text']
            if out['output_type'] == 'error': yield 'error', out['ename']

@each(LIBRARY)
def test_grammar(path):
    code, prose = cells(path), cells(path, 'markdown')
    assert code[0].strip() == f'#| default_exp {module(path)}'
    assert re.match(r'# [^\n]+\n\n> [^\n]+$', prose[0].strip()), 'a title, then one sentence as a blockquote'
    assert code[-1].strip() == '#| hide\nimport nbdev; nbdev.nbdev_export()'
    assert 8 <= len(code) <= 40, f'{len(code)} code cells'
    for source in exported(path):
        assert len(source.splitlines()) <= 46, f'longer than 45 lines: {source[:60]}'
    tools = 'IPython|nbdev|fastcore' + ('' if path.stem.endswith('figures') else '|matplotlib')
    imported = re.findall(rf'^(?:from|import) (?:{tools})', '\n'.join(exported(path)), re.M)
    assert not imported, f'{imported} in an exported cell'

@each(LIBRARY)
def test_shown_soon(path):
    "At most two exported cells before something is shown or tested."
    waiting = []
    for source in cells(path)[1:]:
        if source.startswith('#| hide\nimport nbdev'): break
        only_imports = all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.parse(source).body)
        if only_imports: continue
        waiting = [*waiting, source] if re.match(r'#\|\s*exports?\b', source) else []
        names = [re.search(r'^(?:def|class) (\w+)|^(\w+) =', cell, re.M) for cell in waiting]
        assert len(waiting) <= 2, f"nothing is shown of {', '.join(n[1] or n[2] for n in names if n)}"

@each(NBS)
def test_text(path):
    for source in cells(path) + cells(path, 'markdown'):
        assert not re.search(r'\bTODO\b|\bFIXME\b|import \*|[\U0001F300-\U0001FAFF]', source), source[:80]
        long = [line for line in source.splitlines() if len(line) > 120 and not line.startswith('| ')]
        assert not long, long
    assert path.stat().st_size <= 150*1024

def test_all_notebooks_together_are_small(): assert sum(p.stat().st_size for p in NBS) < 6 * 2**20

@each(NBS)
def test_outputs(path):
    pictures = [content for kind, content in outputs(path) if kind == 'image/png']
    assert len(pictures) <= 3 and all(len(text(p))*3/4 <= 60*1024 for p in pictures)
    for kind, content in outputs(path):
        assert kind not in ('stderr', 'error') and 'widget' not in kind, f'{kind}: {text(content)[:200]}'
        if not kind.startswith(('text', 'stdout')) or '<audio' in text(content): continue
        found = PRIVATE.search(text(content))
        assert not found, f'{found[0]!r} in an output'
    if path in RUNS: assert not any(outputs(path)), 'run notebooks are committed without outputs'
    else: assert any(outputs(path)), 'run it: its outputs are part of the chapter'

def paragraphs(source):
    "Of prose, without code."
    prose = re.sub(r'```.*?```|`[^`]*`', 'code', source, flags=re.S)
    return [part.strip('\n') for part in re.split(r'\n\s*\n', prose)]

PROSE = [*NBS, *ROOT.glob('*.md'), *ROOT.glob('nbs/*/README.md'), *ROOT.glob('papers_tables/*.md')]

@pytest.mark.parametrize('path', PROSE, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_formulas_read_well_on_a_code_host(path):
    "A displayed formula is a paragraph of its own, an inline one stands in one line, and neither needs an escape."
    sources = [path.read_text()] if path.suffix == '.md' else cells(path, 'markdown')
    for part in (part for source in sources for part in paragraphs(source) if '$' in part):
        assert not re.search(r'\\operatorname', part), f'code hosts refuse this macro: {part[:80]}'
        if '$$' in part:
            assert re.fullmatch(r'\$\$[^$]+\$\$', part), f'blank lines around: {part[:80]}'
            assert not re.search(r'^\s*[-+=*#>]', part, re.M), f'markdown would take this line for its own: {part[:80]}'
            assert not re.search(r'\\[{}|]', part), f'lbrace, rbrace, lVert: {part[:80]}'
        for line in part.splitlines() if '$$' not in part else []:
            assert line.count('$') % 2 == 0, f'a formula goes on in the next line: {line}'
            for before, formula, after in re.findall(r'(.?)\$([^$]+)\$(?=(.?))', line):
                touched = re.match(r'\w', before) or re.match(r'\w', after)
                assert not touched and not re.search(r'^\s|\s$|\\[{}|]', formula), f'${formula}$ in {line}'

def test_every_committed_picture_is_drawn_and_linked():
    "By the notebook of its name, from the list of results; the others by README or a notebook."
    listed = (ROOT/'papers_tables'/'README.md').read_text()
    for picture in ROOT.glob('papers_tables/**/*.png'):
        assert f']({picture.name})' in listed, f'nothing links {picture.name}'
        notebook = ROOT/'nbs'/'paper'/f'{picture.stem}.ipynb'
        assert notebook.exists() and picture.name in '\n'.join(cells(notebook)), f'nothing draws {picture.name}'
    prose = (ROOT/'README.md').read_text() + '\n'.join('\n'.join(cells(path, 'markdown')) for path in NBS)
    for picture in ROOT.glob('nbs/images/*'): assert picture.name in prose

@each(NBS)
def test_writing_in_pictures_is_readable(path):
    "Eight points and more as seen: 80 pixels an inch, letters of ten points, nine in legends and on ticks."
    drawing = [source for source in cells(path) if 'plt.' in source or 'fontsize' in source]
    for source in drawing:
        small = [x for x in re.findall(r'(?:fontsize|labelsize)=([\d.]+)', source) if float(x) < 9]
        few = [x for x in re.findall(r'figsize=.*\bdpi=(\d+)', source) if int(x) < 80]
        assert not small and not few, f'{small} points, {few} pixels an inch: {source[:80]}'

@each(NBS)
def test_what_a_code_host_strips_leaves_words(path):
    "Beside players stands where they work: `players` and `clip_players` say it."
    for kind, content in outputs(path):
        assert kind != 'text/html' or '<audio' not in text(content) or PLAYERS in text(content)

@each(LIBRARY)
def test_docments(path):
    for source in exported(path):
        for function in ast.parse(source).body:
            if not isinstance(function, ast.FunctionDef) or function.name.startswith('_'): continue
            doc = ast.get_docstring(function)
            assert doc and '\n' not in doc, f'{function.name} needs a docstring of one line'
            args = function.args
            every = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
            every = [arg for arg in every if arg]
            for arg in every:
                line = source.splitlines()[arg.lineno - 1]
                assert re.search(r'#\s*\S', line), f'{function.name}: what is {arg.arg}?'
            assert len({arg.lineno for arg in every}) == len(every), f'{function.name}: one argument a line'

@pytest.mark.parametrize('name', PARTS)
def test_numbers_are_contiguous(name):
    numbers = [int(p.name[:2]) for p in LIBRARY if part(p) == name]
    assert numbers == list(range(len(numbers)))

def imported(name):
    "Chapters that an exported module imports, wherever in its code."
    for node in ast.walk(ast.parse((ROOT/'sslam_nb'/(name.replace('.', '/') + '.py')).read_text())):
        if isinstance(node, ast.ImportFrom):
            above = ('sslam_nb.' + name).split('.')[:-node.level] if node.level else []
            full = '.'.join([*above, node.module or ''])
            if full.rstrip('.').startswith('sslam_nb.'): yield full.removeprefix('sslam_nb.')
            if full.rstrip('.') == 'sslam_nb': yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name.removeprefix('sslam_nb.') for alias in node.names if alias.name.startswith('sslam_nb.'))

@each(LIBRARY)
def test_parts_only_look_down(path):
    "Also in cells that are not exported."
    shown = re.findall(r'(?:from|import) sslam_nb\.([\w.]+)', '\n'.join(cells(path)))
    for name in {*imported(module(path)), *shown}:
        assert name in PLACE, f'{path.name} imports {name}, which is no chapter'
        assert PLACE[name] < PLACE[module(path)], f'{module(path)} imports {name}'

def test_method_and_data_know_little():
    "The method needs neither data nor training nor the Hub; of the method, data need the spectrogram alone."
    for name in PLACE:
        text = (ROOT/'sslam_nb'/(name.replace('.', '/') + '.py')).read_text()
        if '.' not in name: assert not re.search(r'^(from|import) (huggingface_hub|safetensors|accelerate)', text, re.M)
        if name.startswith('data.'):
            method = {other for other in imported(name) if '.' not in other}
            assert method <= {'core', 'config', 'spectrogram'}, f'{name} imports {method}'

@each(LIBRARY)
def test_module_size(path):
    lines = len((ROOT/'sslam_nb'/(module(path).replace('.', '/') + '.py')).read_text().splitlines())
    assert 40 <= lines <= 325, f'{lines} lines'

def test_chapters_are_named_as_they_are_called():
    "Prose names a chapter by its module, since numbers move."
    for path in [*NBS, *ROOT.glob('*.md'), *ROOT.glob('nbs/*/README.md'), *ROOT.glob('papers_tables/*.md')]:
        sources = [path.read_text()] if path.suffix == '.md' else cells(path) + cells(path, 'markdown')
        for source in sources:
            assert not re.search(r'[Cc]hapters? \d', source), source[:200]
            for name in re.findall(r'[Cc]hapter `([\w.]+)`', source): assert name in PLACE, f'{path.name}: {name}'

@each(RUNS)
def test_run_notebook(path):
    notebook = json.loads(path.read_text())
    code = [c for c in notebook['cells'] if c['cell_type'] == 'code']
    tagged = [c for c in code if 'parameters' in c['metadata'].get('tags', [])]
    assert len(code) <= 12 and len(tagged) == 1, 'papermill needs one cell tagged `parameters`'
    for line in ast.parse(text(tagged[0]['source'])).body:
        assert isinstance(line, ast.AnnAssign), 'typed literals only'
        ast.literal_eval(line.value)
    assert all('#' in line for line in text(tagged[0]['source']).splitlines() if line), 'each with a comment'

@each(TUTORIALS)
def test_tutorial(path):
    code = cells(path)
    assert len(code) <= 12 and not any(re.match(r'#\|\s*(default_exp|exports?)\b', source) for source in code)

@each([p for p in NBS if p not in LIBRARY and p.name != 'index.ipynb'])
def test_not_run_by_nbdev(path):
    "A title, one sentence, and skip_exec in a comment, which nbdev reads and nobody sees."
    first = cells(path, 'markdown')[0] + '\n'
    assert re.match(r'# [^\n]+\n\n> [^\n]+\n\n<!--\n- skip_exec: true\n-->\n', first)
    assert str(NBProcessor(path, procs=FrontmatterProc, process=True).nb.frontmatter_['skip_exec']) == 'True'

PAGES = ROOT/'papers_tables'

@each([p for p in NBS if part(p) == 'paper' and (PAGES/f'{p.stem}.md').is_file()])
def test_shows_its_page(path):
    "A notebook and its page say the same: `make tables` writes both."
    page = (PAGES/f'{path.stem}.md').read_text(encoding='utf-8').strip()
    assert page in [text(shown).strip() for kind, shown in outputs(path) if kind == 'text/markdown']

def test_nbdev_keeps_the_parameters_tag():
    config = ConfigParser(delimiters=['=']); config.read(ROOT/'settings.ini')
    assert 'tags' in config['DEFAULT']['allowed_cell_metadata_keys'].split()

# What a size may change; chapter 1 gives the reason for each
SCALE = set('''size width depth n_heads decoder_width decoder_depth max_time_patches target_frames
    unmixed_frames n_clips batch_size rows_per_clip lr epochs max_steps warmup_share ema_start
    ema_end ema_share precision workers probe_clips log_every save_every local_top_k
    global_top_k_unmixed global_reduction'''.split())
LARGE = set('mask_ratio mask_adjust decoder_kernel'.split())   # of EAT's large recipe, which the paper does not run

@pytest.mark.parametrize('stage', ['stage1', 'stage2'])
def test_a_size_changes_scale_and_not_the_method(stage):
    paper = flatten(preset(stage, 'paper'))
    for size in SIZES:
        changed = {name for name, value in flatten(preset(stage, size)).items() if value != paper[name]}
        allowed = SCALE | LARGE if size == 'large' else SCALE
        assert changed <= allowed, f'{size} also changes {sorted(changed - allowed)}'
