"""API pages from the docments: each public name of a module with its arguments, types, meaning and source.

Read from the source as text, so nothing of sslam_nb is imported."""
import ast, io, re, tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TUPLES = ('dataclass', 'NamedTuple')

class Module:
    "What an exported file says of its public names."
    def __init__(self, path, root=ROOT):
        self.name = '.'.join(path.relative_to(root).with_suffix('').parts)
        self.source = path.read_text(encoding='utf-8')
        tree = ast.parse(self.source)
        self.summary = ast.get_docstring(tree) or ''
        self.lines = self.source.splitlines()
        tokens = tokenize.generate_tokens(io.StringIO(self.source).readline)
        self.comments = {t.start[0]: t.string.lstrip('# ') for t in tokens if t.type == tokenize.COMMENT}
        self.defined = {name: node for node in tree.body for name in names_of(node)}
        exported = self.defined.get('__all__')
        self.public = [n for n in ast.literal_eval(exported.value) if n in self.defined] if exported else []

    def text(self, node):
        "Source of a definition, decorators included."
        first = min([node.lineno, *(d.lineno for d in getattr(node, 'decorator_list', []))])
        return '\n'.join(self.lines[first - 1:node.end_lineno])

def names_of(node):
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)): return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [t.id for target in targets for t in ast.walk(target) if isinstance(t, ast.Name)]

def escape(text):
    "Markdown's signs as they are, but for code between backticks."
    parts = re.split(r'(`[^`]+`)', text)
    return ''.join(part if i % 2 else re.sub(r'([*_<>\[\]$\\|{}])', r'\\\1', part) for i, part in enumerate(parts))

def is_tuple(node):
    "Is it a class whose fields are its arguments?"
    return any(kind in ast.unparse(n) for n in [*node.bases, *node.decorator_list] for kind in TUPLES)

def arguments(node):
    "(name, line) of every argument of a function, in order; not self."
    a = node.args
    every = [*a.posonlyargs, *a.args, *([a.vararg] if a.vararg else []), *a.kwonlyargs, *([a.kwarg] if a.kwarg else [])]
    stars = {id(a.vararg): '*', id(a.kwarg): '**'}
    return [(stars.get(id(arg), '') + arg.arg, arg.lineno) for arg in every if arg.arg not in ('self', 'cls')]

def signature(node):
    "Arguments and result as Python writes them."
    inside = re.sub(r'^(self|cls)(, |$)', '', ast.unparse(node.args))
    return f"({inside})" + (f' -> {ast.unparse(node.returns)}' if node.returns else '')

def fields_of(node):
    "Fields of a dataclass or NamedTuple, as (declaration, name, line)."
    found = [n for n in node.body if isinstance(n, ast.AnnAssign)]
    return [(re.sub(' = ', '=', ast.unparse(n), count=1), n.target.id, n.lineno) for n in found]

def field_list(module, named, result=None):
    "Meaning of arguments and result."
    lines = [f':param {escape(name)}: {escape(module.comments[line])}' for name, line in named if line in module.comments]
    if result in module.comments: lines.append(f':returns: {escape(module.comments[result])}')
    return lines

def folded(source):
    return ['', '<details><summary>Source</summary>', '', '```python', source, '```', '', '</details>', '']

def directive(kind, signature, module, body, ticks, options=()):
    fence = '`'*ticks
    return [f'{fence}{{py:{kind}}} {signature}', f':module: {module.name}', *options, '', *body, fence, '']

def function(module, node, owner='', ticks=5):
    "A function or a method, as lines of MyST."
    decorators = ' '.join(ast.unparse(d) for d in node.decorator_list)
    kind = 'property' if 'property' in decorators else 'method' if owner else 'function'
    options = [f':{name}:' for name in ('classmethod', 'staticmethod') if owner and name in decorators]
    shown = '' if kind == 'property' else signature(node)
    body = [escape(ast.get_docstring(node) or ''), '']
    body += field_list(module, arguments(node), node.returns.lineno if node.returns else None)
    body += [] if owner else folded(module.text(node))
    return directive(kind, (f'{owner}.' if owner else '') + node.name + shown, module, body, ticks, options)

def a_class(module, node):
    "A class: what it is made with, then its public methods."
    methods = {n.name: n for n in node.body if isinstance(n, ast.FunctionDef)}
    if is_tuple(node):
        found = fields_of(node)
        shown, named = '(' + ', '.join(declared for declared, *_ in found) + ')', [(name, line) for _, name, line in found]
    elif '__init__' in methods: shown, named = signature(methods['__init__']), arguments(methods['__init__'])
    else: shown, named = '', []
    body = [escape(ast.get_docstring(node) or ''), '']
    bases = [ast.unparse(base) for base in node.bases]
    if bases: body += [f"Derived from {', '.join(f'`{base}`' for base in bases)}.", '']
    body += [*field_list(module, named), '']
    for name, method in methods.items():
        if not name.startswith('_'): body += function(module, method, node.name)
    return directive('class', node.name + re.sub(r' -> None$', '', shown), module, body + folded(module.text(node)), 7)

def value(module, name, node):
    "A constant, cut where it is long."
    text = ast.unparse(node.value)
    text = (text if len(text) <= 100 else text[:97] + '...').replace("'", "''")
    return directive('data', name, module, [escape(module.comments.get(node.lineno, ''))], 5, [f":value: '{text}'"])

def page(module, chapter, top):
    "The page of a module, as MyST; `chapter` links to its notebook, `top` are the names that `sslam_nb` gives too."
    lines = [f'# {module.name}', '', f'> {module.summary}', '', f'Explained and tested in chapter {chapter}.', '']
    here = [name for name in module.public if top.get(name) == module.name]
    if here: lines += [f"Also from the package itself: `from sslam_nb import {', '.join(here)}`.", '']
    for name in module.public:
        node = module.defined[name]
        if isinstance(node, ast.ClassDef): lines += a_class(module, node)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)): lines += function(module, node)
        else: lines += value(module, name, node)
    return '\n'.join(lines)

def top_names(root=ROOT):
    "Name -> module, of the names that `from sslam_nb import ...` gives."
    tree = ast.parse((root/'sslam_nb/__init__.pyi').read_text(encoding='utf-8'))
    return {alias.name: f'sslam_nb.{line.module}' for line in tree.body if isinstance(line, ast.ImportFrom)
            for alias in line.names}

def summary(module, name):
    "First line of a docstring, or the comment of a constant."
    node = module.defined[name]
    if isinstance(node, (ast.Assign, ast.AnnAssign)): return module.comments.get(node.lineno, '')
    return (ast.get_docstring(node) or '').split('\n')[0]
