"""Build the site in _docs/html: every notebook as it is committed, the tables, and an API page for each chapter.

python .ci/docs.py [FOLDER [WORKERS]]; FOLDER is _docs unless given. Pages are written to FOLDER/source for Sphinx, which
makes FOLDER/html of them; then every link is checked, and those to elsewhere are listed in FOLDER/external_links.txt."""
import json, posixpath, re, shutil, subprocess, sys, time
from pathlib import Path

import docs_api, docs_links, readme

ROOT = readme.ROOT
RESULTS, LOGS = 'papers_tables', {'CONTRIBUTING.md': 'contributing', 'CHANGELOG.md': 'changelog'}
# Sidebar: heading, then what stands under it; a part stands for its page, which lists its chapters
SIDEBAR = {'Learn': ('tutorials', 'method', 'runs'),
           'Chapters': ('data', 'training', 'evaluation', 'use', 'reports', 'evidence'),
           'Evidence': ('paper', RESULTS), 'Reference': ('api', *LOGS.values())}
METHOD = ('The method', 'From a waveform to the losses, after two chapters of settings.')
RUNS = ('Run notebooks', '''What `make stage1`, `make stage2`, `make finetune` and `make linear_eval` execute. They are
shown without outputs, since each run makes its own.''')

def short(title): return title.partition(':')[0].replace('`', '')

def toctree(entries, caption=''):
    "Entries are (title, page); hidden, since the pages say it in their own way."
    lines = ['```{toctree}', ':hidden:', *([f':caption: {caption}'] if caption else []), '']
    return '\n'.join([*lines, *(f'{title} </{page}>' for title, page in entries), '```'])

class Site:
    "Files of the project -> pages, and the text of each page."
    def __init__(self, source, root=ROOT):
        self.root, self.source, self.errors, self.written = root, Path(source), [], set()
        self.chapters = readme.chapters(root)
        self.place = {'README.md': 'index', 'nbs/index.ipynb': 'index', f'{RESULTS}/README.md': f'{RESULTS}/index', **LOGS}
        for part, rows in self.chapters.items():
            if part in readme.PARTS: self.place |= {f'nbs/{part}/README.md': f'{part}/index', f'nbs/{part}': f'{part}/index'}
            for row in rows: self.place[f'nbs/{row.path}'] = re.sub(r'(^|/)\d\d_', r'\1', row.path.removesuffix('.ipynb'))
        for path in self.tables(): self.place[path] = path.removesuffix('.md')
        files = sorted((root/'sslam_nb').rglob('*.py'))
        self.modules = {m.name: m for m in (docs_api.Module(p, root) for p in files if not p.name.startswith('_'))}
        self.top = docs_api.top_names(root)
        self.owners = {}
        for module in self.modules.values():
            for name in module.public: self.owners.setdefault(name, []).append(module.name)

    def tables(self):
        "Pages of results; about.md is the beginning of README.md."
        found = [p.relative_to(self.root).as_posix() for p in sorted((self.root/RESULTS).rglob('*.md'))]
        found.sort(key=lambda path: path.count('/'))
        return [path for path in found if Path(path).name not in ('README.md', 'about.md')]

    # Links and names in prose

    def file(self, path, page):
        "A link from a page to a file of the project that is no page: it is copied and downloaded."
        copy = self.source/'files'/path
        copy.parent.mkdir(parents=True, exist_ok=True)
        self.written.add(copy)
        if not copy.exists() or copy.read_bytes() != (self.root/path).read_bytes(): shutil.copyfile(self.root/path, copy)
        return 'path:' + posixpath.relpath(f'files/{path}', posixpath.dirname(page) or '.')

    def folder(self, path):
        "A page that lists the files of a folder."
        page = f'{path}/index' if f'{path}/index' not in self.place.values() else f'{path}/files'
        if path not in self.place:
            self.place[path] = page
            names = sorted(p.name for p in (self.root/path).iterdir() if p.is_file())
            links = '\n'.join(f'- [{name}]({name})' for name in names)
            self.write(page, f'---\norphan: true\n---\n\n# {path}\n\n{self.prose(links, path, page)}\n')
        return page

    def target(self, link, base, page):
        "Where a link of a file in folder `base` leads on the site."
        path, mark, anchor = link.partition('#')
        if not path or re.match(r'\w+:', path): return link
        path = posixpath.normpath(posixpath.join(base, path))
        if path not in self.place and (self.root/path).is_dir(): self.folder(path)
        if path in self.place:
            place = self.place[path]
            suffix = '.ipynb' if path.endswith('.ipynb') or place == 'index' else '.md'
            return posixpath.relpath(place + suffix, posixpath.dirname(page) or '.') + mark + anchor
        if (self.root/path).is_file(): return self.file(path, page)
        self.errors.append(f'{base or "."}: link to {link}, which is not there')
        return link

    def code(self, text, before, own):
        "A name between backticks, as a link to its API page where it is sure which is meant; else as it is."
        if f'sslam_nb.{text}' in self.modules and ('.' in text or re.search(r'\bchapters?\s*$', before)):
            path = next(row.path for rows in self.chapters.values() for row in rows if row.name == text)
            return f"{{any}}`{text} <{'/' + self.place['nbs/' + path]}>`"
        name, owners = text.removesuffix('()'), self.owners.get(text.removesuffix('()'), [])
        module = own if own in owners else self.top.get(name) or (owners[0] if len(owners) == 1 else None)
        told = own in owners or name in self.top or re.search(r'[a-z0-9]_[a-z]|[a-z][A-Z]', name)
        return f'{{py:obj}}`{text} <{module}.{name}>`' if told and module in self.modules else f'`{text}`'

    def prose(self, markdown, base, page, own=''):
        "Links lead to pages of the site, and names to their API; fenced code stays."
        blocks = re.split(r'(^```.*?^```[^\n]*$)', markdown, flags=re.M | re.S)
        pattern = re.compile(r'(!?\[(?:[^\[\]]|\[[^\]]*\])*\])\(([^()\s]+)\)|(`+)([^`]+)\3')
        def replace(m):
            if m[1]:
                target = self.target(m[2], base, page)
                return f"{m[1]}({target.removeprefix('path:') if m[1].startswith('!') else target})"
            if len(m[3]) > 1 or m.string[m.string.rfind('\n', 0, m.start()) + 1:m.start()].startswith('#'): return m[0]
            return self.code(m[4], m.string[:m.start()], own)
        return ''.join(b if i % 2 else pattern.sub(replace, b) for i, b in enumerate(blocks))

    # Pages

    def write(self, page, text, suffix='.md'):
        "Only if it changed, so that Sphinx reads again only what it must."
        path = self.source/(page + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.written.add(path)
        if not path.exists() or path.read_text(encoding='utf-8') != text: path.write_text(text, encoding='utf-8')

    def notebook(self, path, page, module=''):
        "A notebook without what is for tools alone: directives, hidden cells, `skip_exec`."
        notebook = json.loads((self.root/path).read_text(encoding='utf-8'))
        base, cells, heading = posixpath.dirname(path), [], ''
        for cell in notebook['cells']:
            source = readme.text(cell['source'])
            if cell['cell_type'] == 'markdown':
                heading = ([heading] + re.findall(r'^#+ (.+)', source, re.M))[-1]
                source = re.sub(r'\n+- skip_exec: true[ \t]*(?=\n|$)', '', source)
                source = source.replace(readme.CHAPTERS, readme.all_tables(self.chapters))
                cells.append(cell | dict(source=self.prose(source, base, page, module)))
            elif shown := self.code_cell(cell, source, base, page, heading): cells.append(shown)
        if page != 'index':
            links = [f'[Notebook]({self.file(path, page)})']
            if module in self.modules: links.insert(0, f'{{any}}`API </{self.api(module)}>`')
            first = next(i for i, cell in enumerate(cells) if cell['cell_type'] == 'markdown')
            cells[first]['source'] += f"\n\n```{{rst-class}} chapter-links\n```\n\n{' · '.join(links)}"
        return notebook | dict(cells=cells)

    def code_cell(self, cell, source, base, page, heading):
        "A cell of code as readers see it, or None."
        lines = source.splitlines()
        directives = [line[2:].strip() for line in lines if line.startswith('#|')]
        if any(re.match(r'hide$|default_exp\b', d) for d in directives): return None
        tags = list(cell['metadata'].get('tags', []))
        if any(re.match(r'exports?\b', d) for d in directives): tags.append('export')
        if 'echo: false' in directives: tags.append('remove-input')
        alt = next((d.partition(':')[2].strip() for d in directives if d.startswith('fig-alt:')), f'Figure: {heading}')
        if base == 'nbs/paper': base = RESULTS     # what such a notebook shows is a file of that folder
        outputs = [dict(o, data=o['data'] | {'text/markdown': self.prose(readme.text(o['data']['text/markdown']), base, page)})
                   if 'text/markdown' in o.get('data', {}) else o for o in cell['outputs']]
        source = '\n'.join(line for line in lines if not line.startswith('#|')).strip('\n')
        return cell | dict(source=source, outputs=outputs, metadata=dict(tags=tags, mystnb=dict(image=dict(alt=alt))))

    def api(self, module): return 'api/' + module.removeprefix('sslam_nb.').replace('.', '/')

    def part(self, part, heading, purpose, rows):
        "Page of a part: what it is for, its chapters, and its place in the sidebar."
        page = part if part in ('method', 'runs') else f'{part}/index'
        table = readme.table('' if part == 'method' else part, rows)
        entries = [(short(row.title) if part in ('paper', 'tutorials', 'runs') else row.name.rpartition('.')[2],
                    self.place[f'nbs/{row.path}']) for row in rows]
        self.write(page, self.prose(f'# {heading}\n\n{purpose}\n\n{table}\n', 'nbs', page) + '\n' + toctree(entries) + '\n')

    def parts(self):
        for part, rows in self.chapters.items():
            heading, purpose = {'': METHOD, 'runs': RUNS}.get(part) or (readme.PARTS[part][0], ' '.join(readme.PARTS[part][1:]))
            self.part(part or 'method', heading, purpose, rows)

    def index(self):
        "The first page is nbs/index.ipynb; the sidebar hangs on it."
        notebook = self.notebook('nbs/index.ipynb', 'index')
        titles = {'method': METHOD[0], 'runs': RUNS[0], RESULTS: 'Tables', 'api': 'API', 'contributing': 'Contributing',
                  'changelog': 'Changes'} | {part: about[0] for part, about in readme.PARTS.items()}
        pages = {name: name if name in ('method', 'runs', *LOGS.values()) else f'{name}/index' for name in titles}
        trees = [toctree([(titles[name], pages[name]) for name in names if name not in readme.PARTS or name in self.chapters],
                         caption) for caption, names in SIDEBAR.items()]
        cell = dict(cell_type='markdown', id='sidebar', metadata={}, source='\n\n'.join(trees))
        self.save_notebook('index', notebook | dict(cells=[*notebook['cells'], cell]))

    def save_notebook(self, page, notebook): self.write(page, json.dumps(notebook, ensure_ascii=False), '.ipynb')

    def api_pages(self):
        rows = [row for part, rows in self.chapters.items() if part not in ('runs', 'paper', 'tutorials') for row in rows]
        lines = ['# API', '', 'Names that `from sslam_nb import ...` gives; every other name is imported from its module.',
                 '', '| name | what |', '|---|---|']
        for name, module in sorted(self.top.items(), key=lambda pair: pair[0].lower()):
            source = self.modules[module]
            lines.append(f'| {{py:obj}}`{name} <{module}.{name}>` | {docs_api.escape(docs_api.summary(source, name))} |')
        lines += ['', '## Modules', '', '| module | what | names |', '|---|---|---|']
        for row in rows:
            module, page = self.modules[f'sslam_nb.{row.name}'], self.api(f'sslam_nb.{row.name}')
            chapter = f"{{any}}`{row.title} </{self.place['nbs/' + row.path]}>`"
            self.write(page, docs_api.page(module, chapter, self.top))
            lines.append(f'| {{any}}`{row.name} </{page}>` | {docs_api.escape(row.sentence)} | {len(module.public)} |')
        entries = [(row.name, self.api(row.name)) for row in rows]
        self.write('api/index', '\n'.join(lines) + '\n\n' + toctree(entries) + '\n')

    def results(self):
        "papers_tables as it is committed, and pages that a table has in the sidebar."
        entries = []
        for path in [*self.tables(), f'{RESULTS}/README.md', *LOGS]:
            text, page = (self.root/path).read_text(encoding='utf-8'), self.place[path]
            text = self.prose(re.sub(r'^<!--.*?-->\s*', '', text, flags=re.S), posixpath.dirname(path), page)
            if path in self.tables(): entries.append((short(re.search(r'^# (.+)', text, re.M)[1]), page))
            if path == f'{RESULTS}/README.md': text += '\n\n' + toctree(entries) + '\n'
            self.write(page, text)

    def assemble(self):
        "Write every page; what an earlier build left and this one did not write goes."
        self.index()
        for rows in self.chapters.values():
            for row in rows:
                page = self.place[f'nbs/{row.path}']
                self.save_notebook(page, self.notebook(f'nbs/{row.path}', page, f'sslam_nb.{row.name}'))
        for step in (self.parts, self.api_pages, self.results): step()
        for path in self.source.rglob('*'):
            if path.is_file() and path not in self.written: path.unlink()
        if self.errors: sys.exit('\n'.join(self.errors))

def main(folder=ROOT/'_docs', workers='2'):
    began, folder = time.monotonic(), Path(folder).resolve()
    site, html = Site(folder/'source'), folder/'html'
    site.assemble()
    shutil.rmtree(html, ignore_errors=True)
    options = ['-q', '-W', '--keep-going', '-j', workers, '-c', str(ROOT/'.ci/site'), '-d', str(folder/'cache')]
    run = subprocess.run([sys.executable, '-m', 'sphinx', '-b', 'html', *options, str(site.source), str(html)])
    if run.returncode: sys.exit(run.returncode)
    errors, external = docs_links.check(html)
    (folder/'external_links.txt').write_text(''.join(f'{link}\t{" ".join(sorted(pages))}\n'
                                                     for link, pages in sorted(external.items())), encoding='utf-8')
    if errors: sys.exit('\n'.join(errors))
    pages = len(list(html.rglob('*.html')))
    print(f'{pages} pages in {time.monotonic() - began:.0f} s; links to elsewhere: {len(external)}, not fetched, listed in '
          f'{folder/"external_links.txt"}\nopen {html/"index.html"}')

if __name__ == '__main__': main(*sys.argv[1:])
