"The site: a page for every notebook, nothing from elsewhere, no broken link, nothing in it that is for tools alone."
import json, os, re, sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ('sphinx', 'myst_nb', 'sphinx_book_theme', 'sphinx-mathjax-offline')
missing = [name for name in NEEDED if not find_spec(name)]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"no {', '.join(missing)}; `make docs` installs what the site needs")

NOTEBOOKS = sorted(p for p in ROOT.glob('nbs/**/*.ipynb') if '.ipynb_checkpoints' not in p.parts)

@pytest.fixture(scope='module')
def tools():
    "The builder and the checker of links."
    sys.path.insert(0, str(ROOT/'.ci'))
    try: import docs, docs_api, docs_links
    finally: sys.path.pop(0)
    return docs, docs_api, docs_links

@pytest.fixture(scope='module')
def site(tools, tmp_path_factory):
    "The site, built once for all workers; the builder itself stops at a warning or a broken link."
    root = tmp_path_factory.getbasetemp()
    folder = (root.parent if 'PYTEST_XDIST_WORKER' in os.environ else root)/'site'
    with FileLock(f'{folder}.lock'):
        if not (folder/'external_links.txt').exists(): tools[0].main(folder)
    return folder/'html'

@pytest.fixture(scope='module')
def texts(site): return {p.relative_to(site).as_posix(): visible(p.read_text(encoding='utf-8')) for p in site.rglob('*.html')}

class Visible(HTMLParser):
    "The text that a reader sees."
    def __init__(self):
        super().__init__()
        self.parts, self.unseen = [], 0
    def handle_starttag(self, tag, attrs): self.unseen += tag in ('script', 'style')
    def handle_endtag(self, tag): self.unseen -= tag in ('script', 'style')
    def handle_data(self, data):
        if not self.unseen: self.parts.append(data)

def visible(html):
    parser = Visible()
    parser.feed(html)
    return ''.join(parser.parts)

def test_every_notebook_has_its_page(site, tools, texts):
    place = tools[0].Site(site).place
    for path in NOTEBOOKS:
        page = place[path.relative_to(ROOT).as_posix()] + '.html'
        cells = json.loads(path.read_text(encoding='utf-8'))['cells']
        title = next(''.join(cell['source']) for cell in cells if cell['cell_type'] == 'markdown').splitlines()[0]
        assert title.lstrip('# ').replace('`', '') in texts[page].replace('’', "'"), page

def test_tables_have_pages_and_pictures(texts):
    names = {p.stem for p in (ROOT/'papers_tables').glob('*.md')} - {'README', 'about'}
    assert names and all(f'papers_tables/{name}.html' in texts for name in names)
    assert all(f'papers_tables/benchmarks/{p.stem}.html' in texts for p in (ROOT/'papers_tables/benchmarks').glob('*.md'))

def test_all_outputs_that_are_seen_or_heard_are_there(site):
    "Pictures and players of the committed notebooks."
    built = ''.join(p.read_text(encoding='utf-8') for p in site.rglob('*.html'))
    players = sum(''.join(out.get('data', {}).get('text/html', '')).count('<audio') for path in NOTEBOOKS
                  for cell in json.loads(path.read_text(encoding='utf-8'))['cells'] for out in cell.get('outputs', []))
    assert players and built.count('<audio') == players
    assert built.count('alt="Figure: ') > 20

def test_nothing_from_elsewhere_and_no_link_to_nowhere(site, tools):
    errors, external = tools[2].check(site)
    assert not errors, errors
    assert any('arxiv.org' in link for link in external)

@pytest.mark.parametrize('page, error', [
    ('<script src="https://cdn.test/a.js"></script>', 'loads https://cdn.test/a.js'),
    ('<link rel="stylesheet" href="//fonts.test/a.css">', 'loads //fonts.test/a.css'),
    ('<p style="background: url(http://x.test/a.png)">', 'loads http://x.test/a.png'),
    ('<style>@font-face { src: url("https://x.test/a.woff2") }</style>', 'loads https://x.test/a.woff2'),
    ('<img src="lost.png">', 'lost.png is not there'), ('<a href="lost.html">', 'link to lost.html'),
    ('<a href="#lost">', 'no place #lost'), ('<a href="a.css">', ''), ('<a href="https://x.test">', ''),
    ('<h1 id="here">', ''), ('<img src="data:image/png;base64,AA==">', '')])
def test_the_checker_sees(tools, tmp_path, page, error):
    (tmp_path/'index.html').write_text(page)
    (tmp_path/'a.css').write_text('p { color: red }')
    errors, _ = tools[2].check(tmp_path)
    assert [error in e for e in errors] == ([True] if error else [])

def test_a_style_sheet_that_loads_from_elsewhere_is_seen(tools, tmp_path):
    (tmp_path/'a.css').write_text('@import "https://x.test/b.css";')
    assert tools[2].check(tmp_path)[0] == ['a.css: loads https://x.test/b.css']

def test_nothing_that_is_for_tools_alone(texts):
    "Directives, hidden cells and markers; the page for contributors explains them, and code of API pages is as it is."
    for page, text in texts.items():
        if page.startswith(('api/', 'contributing', 'changelog')): continue
        found = re.search(r'^#\|.*|^.*skip_exec.*$|^.*nbdev_export\(\).*$|^.*<!-- chapters.*$', text, re.M)
        assert not found, f'{page}: {found[0]}'

def test_search_finds_words_and_names(site):
    index = (site/'searchindex.js').read_text(encoding='utf-8')
    for word in ('spectrogram', 'polyphon', 'mix_max', 'embed', 'teacher'): assert word in index, word

def test_api_pages_say_what_the_source_says(texts, tools):
    "Every public name, every argument's meaning and every docstring's first line."
    said = lambda text: re.sub(r'\W', '', text.replace('’', "'"))
    for path in sorted((ROOT/'sslam_nb').rglob('*.py')):
        if path.name.startswith('_'): continue
        module = tools[1].Module(path)
        page = said(texts['api/' + module.name.removeprefix('sslam_nb.').replace('.', '/') + '.html'])
        for name in module.public:
            assert said(name) in page and said(tools[1].summary(module, name)) in page, f'{module.name}.{name}'
            node = module.defined[name]
            for argument, line in tools[1].arguments(node) if hasattr(node, 'args') else []:
                assert said(module.comments[line]) in page, f'{module.name}.{name}: {argument}'

def test_a_broken_link_stops_the_build(tools, tmp_path):
    site = tools[0].Site(tmp_path)
    site.prose('[a](nowhere.md) and `code` and [b](https://x.test)', 'nbs', 'index')
    assert site.errors == ['nbs: link to nowhere.md, which is not there']
