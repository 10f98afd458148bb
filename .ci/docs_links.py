"""Check a built site: every link inside it leads somewhere, and nothing that a page needs lies elsewhere.

python .ci/docs_links.py FOLDER"""
import posixpath, re, sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Attributes whose target a browser fetches by itself, and those that a reader follows
FETCHED = {('script', 'src'), ('img', 'src'), ('img', 'srcset'), ('source', 'src'), ('source', 'srcset'), ('audio', 'src'),
           ('video', 'src'), ('video', 'poster'), ('iframe', 'src'), ('embed', 'src'), ('object', 'data'), ('input', 'src'),
           ('link', 'href'), ('use', 'href'), ('image', 'href')}
FOLLOWED = {('a', 'href'), ('area', 'href'), ('form', 'action')}
ELSEWHERE = re.compile(r'^\s*(?:\w+:)?//', re.I)
NO_FETCH = {'canonical', 'next', 'prev', 'author', 'license', 'index', 'search'} # kinds of <link> that load nothing

class Page(HTMLParser):
    "Anchors, links and resources of one page."
    def __init__(self, text):
        super().__init__()
        self.anchors, self.followed, self.fetched, self.styles, self.in_style = set(), [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.anchors |= {found[key] for key in ('id', 'name') if found.get(key)}
        self.in_style = tag == 'style'
        if found.get('style'): self.styles.append(found['style'])
        for key, target in attrs:
            if not target: continue
            kind = (tag, key.removeprefix('xlink:'))
            if kind == ('link', 'href') and set((found.get('rel') or '').split()) & NO_FETCH: continue
            if kind in FETCHED: self.fetched.append(target)
            elif kind in FOLLOWED: self.followed.append(target)

    def handle_data(self, data):
        if self.in_style: self.styles.append(data)

def css_targets(text):
    "What a style sheet loads."
    return [a or b for a, b in re.findall(r'''url\(\s*['"]?([^'")]+)|@import\s+['"]([^'"]+)''', text)]

def check(site):
    "(Errors, external links as {address: pages}) of a folder of HTML."
    site, errors, external = Path(site), [], {}
    found = [p for p in sorted(site.rglob('*.html')) if p.relative_to(site).parts[0] != '_static']  # templates of the theme
    pages = {p.relative_to(site).as_posix(): Page(p.read_text(encoding='utf-8')) for p in found}
    files = {p.relative_to(site).as_posix() for p in site.rglob('*') if p.is_file()}
    def resolve(page, target):
        where = urlsplit(target)
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(where.path))) if where.path else page
        return path, unquote(where.fragment)
    for name, page in pages.items():
        for target in [*page.fetched, *(t for style in page.styles for t in css_targets(style))]:
            if target.startswith(('data:', '#')): continue
            if ELSEWHERE.match(target): errors.append(f'{name}: loads {target}')
            elif resolve(name, target)[0] not in files: errors.append(f'{name}: {target} is not there')
        for target in page.followed:
            if ELSEWHERE.match(target) or target.startswith('mailto:'):
                external.setdefault(target, set()).add(name)
                continue
            if re.match(r'\w+:', target):
                errors.append(f'{name}: what is {target[:80]}?')
                continue
            path, anchor = resolve(name, target)
            if path not in files: errors.append(f'{name}: link to {target}, which is not there')
            elif anchor and path in pages and anchor not in pages[path].anchors: errors.append(f'{name}: no place {target}')
    for path in sorted(f for f in files if f.endswith('.css')):
        found = css_targets((site/path).read_text(encoding='utf-8'))
        errors += [f'{path}: loads {target}' for target in found if ELSEWHERE.match(target)]
    return errors, external

def main(site):
    errors, external = check(site)
    print('\n'.join(errors))
    print(f'{len(errors)} errors; {len(external)} links to elsewhere, not fetched')
    return len(errors)

if __name__ == '__main__': sys.exit(bool(main(*sys.argv[1:])))
