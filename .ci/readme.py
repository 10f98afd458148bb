"Write README.md, and the pictures it shows, from nbs/index.ipynb: python .ci/readme.py"
import base64, json, posixpath, re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IMAGES = Path('nbs/images')
NOTE = '<!-- Written by `make readme` from nbs/index.ipynb; edit that. -->\n'

def text(lines): return lines if isinstance(lines, str) else ''.join(lines)

def from_root(markdown):
    "Links are relative to nbs/ in the notebook and to the project in README.md."
    link = lambda m: f"]({posixpath.normpath(posixpath.join('nbs', m[1]))})"
    return re.sub(r'\]\((?!\w+:|#)([^)]+)\)', link, markdown)

def fence(body, language=''): return f"```{language}\n{body.rstrip()}\n```"

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

def render(notebook):
    "README text and {path: PNG bytes} of an index notebook."
    parts, pictures = [NOTE.strip()], {}
    for cell in notebook['cells']:
        is_code = cell['cell_type'] == 'code'
        parts += code_cell(cell, pictures) if is_code else [from_root(text(cell['source']).strip())]
    return '\n\n'.join(parts) + '\n', pictures

def main(root=ROOT):
    readme, pictures = render(json.loads((root/'nbs/index.ipynb').read_text(encoding='utf-8')))
    (root/'README.md').write_text(readme, encoding='utf-8')
    for old in (root/IMAGES).glob('index-*.png'):
        if old.relative_to(root) not in pictures: old.unlink()
    for path, png in pictures.items():
        (root/path).parent.mkdir(exist_ok=True)
        (root/path).write_bytes(png)

if __name__ == '__main__': main()
