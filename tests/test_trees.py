"""Folders and tables with known truth, made at random: what is understood is the truth, or there is an error.

500 of them in CI; `EXAMPLES=5000 pytest tests/test_trees.py` makes more."""
import io, os, shutil, tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from sslam_nb import AudioFolder
from sslam_nb.data.access import open_tables
from sslam_nb.data.sources import hold_out

EXAMPLES = int(os.environ.get('EXAMPLES', '500'))
PLAIN = ['dog', 'car horn', 'rain', 'pêche', 'train', '机']
COMMAS = ['Male speech, man speaking', 'Bus', 'Rain']
DIALECTS = {',': '.csv', ';': '.csv', '\t': '.tsv', '|': '.csv'}
FILE, LABEL = ['path', 'file', 'Filename', 'file_name', 'audio_file', 'fname'], ['label', 'labels', 'Category', 'class', 'tags']
WORDS = dict(train=['train', 'training', 'TR'], test=['test', 'eval', 'Evaluation', 'te'])


MADE = {}

def sound(number, kind='WAV'):
    "A clip of 50 ms that no other number has."
    if (number, kind) not in MADE:
        out, t = io.BytesIO(), np.arange(800)/16_000
        soundfile.write(out, 0.2*np.sin(2*np.pi*(200 + 7*number)*t), 16_000, format=kind, subtype='PCM_16')
        MADE[number, kind] = out.getvalue()
    return MADE[number, kind]


@dataclass
class Tree:
    "What is in a folder, and what is true of it."
    files:dict = field(default_factory=dict)     # path -> bytes
    labels:dict = field(default_factory=dict)    # path -> labels
    sides:dict = field(default_factory=dict)     # path -> train or test; {} where nobody says
    links:dict = field(default_factory=dict)     # path -> target
    unread:set = field(default_factory=set)      # paths that cannot be used
    missing:set = field(default_factory=set)     # names in a table whose file is not there
    kind:str = ''


def cell(word, delimiter): return f'"{word}"' if delimiter in word or '\n' in word or '"' in word else word


@st.composite
def recordings(draw, names):
    "Paths with labels and, perhaps, a side."
    n = draw(st.integers(4, 10))
    several = draw(st.booleans())
    labels = [tuple(dict.fromkeys(draw(st.lists(st.sampled_from(names), min_size=1, max_size=3 if several else 1)))) for _ in range(n)]
    labels[0], labels[1] = (names[0],), (names[1],)
    return labels


@st.composite
def tables(draw):
    "A table beside or above its audio, in some dialect."
    tree, commas = Tree(kind='table'), draw(st.booleans())
    labels = draw(recordings(COMMAS if commas else PLAIN))
    delimiter = draw(st.sampled_from(list(DIALECTS)))
    separator = draw(st.sampled_from([mark for mark in (';', '|', '\n') if mark != delimiter] + ([] if commas else [','])))
    folder, base = draw(st.sampled_from(['', 'audio/', 'clips/wav/'])), draw(st.sampled_from(['', 'meta/']))
    form = draw(st.sampled_from(['path', 'name', 'stem', 'backslash', 'absolute', 'far']))
    split = draw(st.sampled_from(['', 'split', 'subset', 'is_test', 'name']))
    rows, header = {'train': [], 'test': []}, [draw(st.sampled_from(FILE)), draw(st.sampled_from(LABEL))]
    if split not in ('', 'name'): header.append(split)
    for i, own in enumerate(labels):
        path = f'{folder}{i}.wav'
        tree.files[path], tree.labels[path] = sound(i), own
        side = 'test' if i % 3 == 1 else 'train'
        if split: tree.sides[path] = side
        named = {'path': path, 'name': f'{i}.wav', 'stem': f'{i}', 'backslash': path.replace('/', '\\'),
                 'absolute': f'/old/disk/{path}', 'far': f'C:\\data\\{path}'.replace('/', '\\')}[form]
        joined = separator.join(own) if len(own) > 1 or draw(st.booleans()) else own[0]
        word = {'is_test': str(int(side == 'test')), '': '', 'name': ''}.get(split, WORDS[side][i % len(WORDS[side])])
        rows[side].append(delimiter.join(cell(w, delimiter) for w in ([named, joined] + ([word] if len(header) > 2 else []))))
    if commas and not any(len(own) > 1 for own in labels): tree.kind += ' one name with a comma'
    if draw(st.booleans()):
        tree.missing.add('gone/99.wav')
        extra = [WORDS['train'][0] if split != 'is_test' else '0'] if len(header) > 2 else []
        rows['train'].append(delimiter.join(['gone/99.wav', cell(labels[0][0], delimiter), *extra]))
    top = draw(st.sampled_from(['', '# made by hand\n', 'sep=' + delimiter + '\n' if delimiter != '\t' else '']))
    end, encoding = draw(st.sampled_from(['\n', '\r\n'])), draw(st.sampled_from(['utf-8', 'utf-8-sig', 'utf-16']))
    if encoding == 'utf-8-sig' and top.startswith('sep'): top = ''
    for name, lines in ({'labels': rows['train'] + rows['test']} if split != 'name' else rows).items():
        text = top + '\n'.join([delimiter.join(header), *lines]) + '\n'
        tree.files[f'{base}{name}{DIALECTS[delimiter]}'] = text.replace('\n', end).encode(encoding)
    return tree


@st.composite
def folders(draw):
    "Classes as folders, inside folders for the sides or not."
    tree, classes = Tree(kind='folders'), draw(st.lists(st.sampled_from(PLAIN), min_size=2, max_size=4, unique=True))
    split = draw(st.sampled_from([None, ('train', 'test'), ('Training', 'eval'), ('development', 'evaluation')]))
    if split is None and 'train' in classes: classes = [c for c in classes if c != 'train'] + ['wind']
    for i, label in enumerate(c for c in classes for _ in range(draw(st.integers(4, 6)))):
        side = 'test' if split and i % 3 == 1 else 'train'
        path = '/'.join(filter(None, [split and split[side == 'test'], label, f'{i}.wav']))
        tree.files[path], tree.labels[path] = sound(i), (label,)
        if split: tree.sides[path] = side
    return tree


@st.composite
def trees(draw):
    "With oddities."
    tree = draw(st.one_of(tables(), folders()))
    audio = [path for path in tree.files if path.endswith('.wav')]
    if draw(st.booleans()): tree.files['people.csv'] = b'speaker,age\nanna,30\n'
    if draw(st.booleans()): tree.files[audio[0].rpartition('/')[0] + '/._0.wav' if '/' in audio[0] else '._0.wav'] = b'mac'
    if draw(st.booleans()):
        tree.files[audio[-1]] = b'not audio'; tree.unread.add(audio[-1])
    if draw(st.booleans()):
        tree.files[f'{audio[0][:-4]}.m4a'] = b'\0\0\0\x20ftypM4A ' + b'\0'*100; tree.unread.add(f'{audio[0][:-4]}.m4a')
    if tree.kind == 'folders' and draw(st.booleans()):
        for path in audio[:3]:
            copy = f'{path[:-4]}.flac'
            tree.files[copy], tree.labels[copy] = sound(audio.index(path), 'FLAC'), tree.labels[path]
            if tree.sides: tree.sides[copy] = tree.sides[path]
    if draw(st.booleans()): tree.links['again.wav' if '/' not in audio[1] else f"{audio[1].rpartition('/')[0]}/again.wav"] = audio[1]
    return tree


def build(tree, root):
    for path, content in tree.files.items():
        (root/path).parent.mkdir(parents=True, exist_ok=True); (root/path).write_bytes(content)
    for path, target in tree.links.items(): (root/path).symlink_to(root/target)


def check(tree, root):
    try: folder = AudioFolder(root)
    except (ValueError, FileNotFoundError) as error:
        event(f'error: {type(error).__name__}')
        raise AssertionError(f'nothing here is ambiguous, but: {error}') from error
    account, good = folder.account.check(), {path for path in tree.labels if path not in tree.unread}
    assert set(folder.files) == good
    for path in good: assert sorted(folder.labels.get(path, ())) == sorted(tree.labels[path]), path
    said = ' '.join(account.lines(1000) + list(account.tables))
    for name in (*tree.unread, *tree.missing, *tree.links): assert name in said, name
    if 'people.csv' in tree.files: assert 'people.csv' in said
    train, test = ({folder.files[folder.spans[i][0]] for i in side} for side in hold_out(folder))
    assert not train & test and train | test == good
    if tree.sides and 'test' in {tree.sides[path] for path in good}: assert test == {path for path in good if tree.sides[path] == 'test'}
    elif not tree.sides: assert not {path[:-5] for path in test if path.endswith('.flac')} & {path[:-4] for path in train}
    return folder


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=EXAMPLES == 500)
@given(trees())
def test_the_truth_is_found(tree):
    root = Path(tempfile.mkdtemp())
    event(tree.kind)
    try:
        build(tree, root)
        if 'one name with a comma' in tree.kind:      # two readings: the documented one, and it is pointed out
            with pytest.warns(UserWarning, match='comma'): AudioFolder(root)
            return
        folder = check(tree, root)
        if tree.missing or not folder.labels: return  # an evaluation wants every file
        tables = open_tables('csv', root)             # the same folder means the same to finetune and linear_eval
        for side, table in tables.items():
            for i, path in enumerate(table.paths):
                if path in tree.unread: continue
                assert sorted(table.labels_of(i)) == sorted(tree.labels[path])
                assert folder.sides.get(path, 'train') == side or tree.unread, path
    finally: shutil.rmtree(root)


AMBIGUOUS = {
    'one name, two files': ({'a/1.wav': 1, 'b/1.wav': 2}, 'file,label\n1.wav,dog\n', 'may be a/1.wav or b/1.wav'),
    'folders that contradict': ({'a/1.wav': 1, 'b/2.wav': 2}, 'file,label\nb/1.wav,dog\na/1.wav,cat\n', None),
    'another encoding': ({'1.wav': 1, '2.wav': 2}, 'file,label\n1.wav,pêche\n'.encode('cp1252'), 'not UTF-8'),
    'a word that is no split': ({'1.wav': 1, '2.wav': 2}, 'file,label,split\n1.wav,a,train\n2.wav,b,trian\n', 'trian'),
    'two separators': ({'1.wav': 1, '2.wav': 2}, 'file,label\n1.wav,a;b\n2.wav,a|b\n', 'separator='),
    'a row with more cells': ({'1.wav': 1, '2.wav': 2}, 'file,label\n1.wav,a,b\n2.wav,b\n', 'put several labels into quotes'),
    'an open quote': ({'1.wav': 1, '2.wav': 2}, 'file,label\n1.wav,"a\n2.wav,b\n', 'never closed'),
}


@pytest.mark.parametrize('name', AMBIGUOUS)
def test_what_has_two_readings_stops(name, tmp_path):
    files, table, said = AMBIGUOUS[name]
    for path, number in files.items():
        (tmp_path/path).parent.mkdir(exist_ok=True); (tmp_path/path).write_bytes(sound(number))
    (tmp_path/'m.csv').write_bytes(table if isinstance(table, bytes) else table.encode())
    if said is None:                                                # not ambiguous: the row is missing, and nobody else's
        folder = AudioFolder(tmp_path)
        assert folder.labels == {'a/1.wav': ('cat',)} and folder.bad == ['b/1.wav: named in m.csv, but not there, but a/1.wav is']
        return
    with pytest.raises(ValueError, match=said): AudioFolder(tmp_path)


def test_one_separator_holds_for_all_tables_of_a_folder(tmp_path):
    "A name with a comma in one table, several labels with semicolons in the other; found by the trees above."
    for number in range(3): (tmp_path/f'{number}.wav').write_bytes(sound(number))
    (tmp_path/'train.csv').write_text('path,class\n0.wav,"Male speech, man speaking"\n1.wav,Rain\n')
    (tmp_path/'test.csv').write_text('path,class\n2.wav,Bus;Rain\n')
    assert AudioFolder(tmp_path).labels == {
        '0.wav': ('Male speech, man speaking',), '1.wav': ('Rain',), '2.wav': ('Bus', 'Rain')}


def test_tables_in_utf_16_are_no_manifests(tmp_path):
    "The csv reader takes them, for training and for evaluation."
    for number in range(2): (tmp_path/f'{number}.wav').write_bytes(sound(number))
    (tmp_path/'train.tsv').write_bytes('path\tlabel\n0.wav\tdog\n'.encode('utf-16'))
    (tmp_path/'test.tsv').write_bytes('path\tlabel\n1.wav\tcat\n'.encode('utf-16'))
    tables = open_tables('csv', tmp_path)
    assert {side: table.labels_of(0) for side, table in tables.items()} == {'train': ('dog',), 'test': ('cat',)}


def test_a_table_that_begins_with_a_comment_is_no_manifest(tmp_path):
    for number in range(2): (tmp_path/f'{number}.wav').write_bytes(sound(number))
    (tmp_path/'train.tsv').write_text('# made by hand\npath\tlabel\n0.wav\tdog\n')
    (tmp_path/'test.tsv').write_text('# made by hand\npath\tlabel\n1.wav\tcat\n')
    assert {side: table.labels_of(0) for side, table in open_tables('csv', tmp_path).items()} == {'train': ('dog',), 'test': ('cat',)}
