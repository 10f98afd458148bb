"""Damage files in every way that a seed draws, load each, and count: python benchmarks/chaos_files.py [MUTANTS] [SEED] [KIND ...]

One good file of each kind is written. Every mutant of it is loaded in a child process, with a limit on memory and on time,
and must end in one of two ways:

- *right*: what comes back is what the good file holds or, where the format has no check sum (the authors' files, a JSON
  that people edit), exactly what the mutant's bytes say when the format's own library reads them;
- *named*: a ValueError, TypeError or OSError whose text has the file's name.

Everything else is listed: an error of another library, a hang, a full memory, a crash, a silently different result. A chapter
adds its files by `@kind(...)` below. The exit status is the number of mutants that were neither right nor named, at most 99."""
import io, json, os, pickle, random, resource, signal, struct, subprocess, sys, tempfile, time, warnings, zipfile
from collections import Counter
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np

SECONDS, GIB = 10, 3        # a mutant may take; address space that a child may use beyond what its imports take
KINDS = {}

def kind(*ways, says=None):
    """Register `make(folder) -> (file to damage, load)`; `load()` gives plain values to compare.

    `ways` are further mutations than those of bytes; `says()` reads the mutant by the format's own library."""
    def register(make):
        KINDS[make.__name__] = SimpleNamespace(make=make, ways=tuple(ways), says=says)
        return make
    return register

# ---- mutations: (bytes, generator) -> bytes

def truncate(data, draw): return data[:draw.choice([0, draw.randrange(len(data)), len(data) - draw.randint(1, 9)])]

def flip(data, draw):
    "One to three bits, anywhere or in the first kilobyte, where headers are."
    data = bytearray(data)
    for _ in range(draw.randint(1, 3)):
        data[draw.randrange(draw.choice([len(data), min(len(data), 1024)]))] ^= 1 << draw.randrange(8)
    return bytes(data)

def insert(data, draw):
    at = draw.randrange(len(data) + 1)
    return data[:at] + draw.randbytes(draw.choice([1, 8, 4096])) + data[at:]

def zero(data, draw):
    at = draw.randrange(len(data))
    size = len(data[at:at + draw.choice([1, 16, 4096])])
    return data[:at] + bytes(size) + data[at + size:]

def swap(data, draw):
    at = draw.randrange(len(data))
    return data[at:] + data[:at]

ODD = [None, True, -1, 0, 3, 10**6, 10**30, 1e308, float('nan'), float('inf'), '', 'x'*1000, '\ud800', [], {}, [[]], {'a': 1}, 'a\0b', [1]*1000]

def odd_value(values, draw):
    "A JSON value with one place changed: another value or type, an entry gone, doubled or renamed."
    places = []
    def visit(value):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            places.append((value, key))
            if isinstance(value[key], (dict, list)): visit(value[key])
    visit(values)
    if not places: return draw.choice(ODD)
    holder, key = draw.choice(places)
    way = draw.choice(['odd', 'odd', 'odd', 'gone', 'number', 'key'])
    if way == 'gone': del holder[key]
    elif way == 'number': holder[key] = holder[key]*draw.choice([-1, 0.5, 1000]) if type(holder[key]) in (int, float) else 7
    elif way == 'key' and isinstance(holder, dict): holder[draw.choice(['', 'x', 'y'*99])] = holder.pop(key)
    else: holder[key] = draw.choice(ODD)
    return values

def json_value(data, draw):
    if draw.random() < 0.15: return draw.choice([b'['*100_000, b'{"a":'*100_000, b'[]', b'{}', b'3', b'null', b'\xff\xfe{}', b'{"schema": ' + b'1'*5000 + b'}'])
    return json.dumps(odd_value(json.loads(data), draw), indent=1).encode()

def header_value(data, draw):
    "Of a safetensors file: the texts of its header, and the entries of its tensors."
    size = struct.unpack('<Q', data[:8])[0]
    header = json.loads(data[8:8 + size])
    about, field = header.get('__metadata__', {}), draw.random()
    if about and field < 0.6:
        name = draw.choice(sorted(about))
        try: about[name] = json.dumps(odd_value(json.loads(about[name]), draw))
        except ValueError: about[name] = draw.choice(['', '[', '0'*16])
        if field < 0.1: about[name] = draw.choice(['['*100_000, '{', '', 'null', '[1]'])
        elif field < 0.3: about.pop('header_checksum', 0)     # as in a file that was written without it
    else: header = odd_value(header, draw)
    text = json.dumps(header).encode()
    return struct.pack('<Q', len(text) + draw.choice([0, 0, 0, 1, 10**12])) + text + data[8 + size:]

def repack(members, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with warnings.catch_warnings(action='ignore'), zipfile.ZipFile(buffer, 'w', compression) as archive:
        for name, data in members: archive.writestr(name, data)
    return buffer.getvalue()

def members(data, draw):
    "Of a zip archive: one member gone, doubled, renamed, emptied or changed, with check sums that are right."
    with zipfile.ZipFile(io.BytesIO(data)) as archive: inside = [(name, archive.read(name)) for name in archive.namelist()]
    at = draw.randrange(len(inside))
    name, content = inside[at]
    way = draw.choice(['gone', 'twice', 'renamed', 'empty', 'changed', 'changed', 'second pickle', 'packed'])
    if way == 'gone': del inside[at]
    elif way == 'twice': inside.append((name, draw.choice([content, b''])))
    elif way == 'renamed': inside[at] = draw.choice(['x', '../' + name, name + 'x', '/' + name]), content
    elif way == 'empty': inside[at] = name, b''
    elif way == 'changed' and content: inside[at] = name, draw.choice([truncate, flip, insert, zero])(content, draw)
    elif way == 'second pickle': inside.append((name.split('/')[0] + '/other/data.pkl', pickle.dumps({}, 2)))
    return repack(inside, zipfile.ZIP_DEFLATED if way == 'packed' else zipfile.ZIP_STORED)

def arrays(data, draw):
    "Of an npz file: one array of another type, shape or size, or a header that lies."
    with np.load(io.BytesIO(data)) as kept: inside = dict(kept)
    name = draw.choice(sorted(inside))
    value = inside[name]
    ways = [lambda v: v[:-1], lambda v: v[None], lambda v: v[..., :0], lambda v: v.ravel(), lambda v: v.astype(object), lambda v: v.astype('S9'),
            lambda v: v[::-1], lambda v: np.full(v.shape, np.nan), lambda v: np.zeros(v.shape, np.int64) - 1, lambda v: np.zeros(v.shape, complex),
            lambda v: np.zeros(()), lambda v: np.zeros(0), lambda v: np.full(v.shape, 1e308)]
    lying = draw.random() < 0.1
    if draw.random() < 0.1: del inside[name]
    else: inside[name] = draw.choice(ways)(value)
    buffer = io.BytesIO()
    np.savez(buffer, **inside)
    if not lying: return buffer.getvalue()
    with zipfile.ZipFile(buffer) as archive: parts = [(n, archive.read(n)) for n in archive.namelist()]
    wide = lambda text: text.replace(b"'shape': (", b"'shape': (%d, " % 10**draw.choice([9, 12, 20])).replace(b'  ', b'', 8)
    return repack([(n, wide(c)) if n.startswith(name) else (n, c) for n, c in parts])

BYTES = (truncate, flip, flip, insert, zero, swap)

# ---- kinds of this chapter's files

def small():
    from sslam_nb.config import override, preset
    from sslam_nb.sslam import SSLAM
    import torch
    torch.manual_seed(0)
    cfg = override(preset('stage2', 'tiny'), width=64, depth=1, n_heads=1, decoder_width=16, local_top_k=1, max_time_patches=16)
    return SSLAM(cfg).eval()

def tuned():
    from sslam_nb.training.classifier import Classifier
    model = small()
    return Classifier(model.student, 2, 'cls', ('dog', 'rain'), model.cfg.spectrogram).eval()

def numbers(weights): return {name: (str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes()) for name, value in weights.items()}

def inside(model):
    "All that a model is: configuration, classes, weights."
    from sslam_nb.config import flatten
    about = {name: getattr(model, name, None) for name in ('classes', 'pool', 'provenance')}
    for name in ('cfg', 'spectrogram'):
        if getattr(model, name, None) is not None: about[name] = flatten(getattr(model, name))
    if hasattr(model, 'encoder'): about['encoder'] = flatten(model.encoder.cfg)
    return about | {'weights': numbers(model.state_dict())}

def loads(path, name=None):
    from sslam_nb.training.checkpoints import load_checkpoint
    return lambda: inside(load_checkpoint(name or path))

def says_header(path, good):
    "Only for a header without its check sum, as older files have it: then it means what it says."
    from safetensors import safe_open
    from sslam_nb.config import EncoderConfig, PretrainConfig, SpectrogramConfig, flatten, override
    with safe_open(path, 'pt') as file: header = file.metadata()
    if 'header_checksum' in header: raise ValueError('it is signed')
    says = {name: json.loads(header[name]) for name in ('config', 'classifier', 'provenance') if name in header}
    found = good | {'provenance': says.get('provenance', {})}
    if not {'config', 'classifier'} & says.keys(): return found                   # of a folder, whose configuration is beside it
    if 'config' in says: return found | {'cfg': flatten(override(PretrainConfig(), **says['config']))}
    about = says['classifier']
    kinds = {'encoder': EncoderConfig, 'spectrogram': SpectrogramConfig}
    return found | {name: flatten(override(kind(), **about[name])) for name, kind in kinds.items()} | {
        'pool': about['pool'], 'classes': about['classes'] and tuple(about['classes'])}

@kind(header_value, says=says_header)
def checkpoint(folder):
    from sslam_nb.training.weights import save_checkpoint
    path = save_checkpoint(small(), folder/'model.safetensors', step=7, data='tones')
    return path, loads(path)

@kind(header_value, says=says_header)
def classifier(folder):
    from sslam_nb.training.weights import save_classifier
    path = save_classifier(tuned(), folder/'classifier.safetensors', step=7)
    return path, loads(path)

@kind(header_value, says=says_header)
def saved_folder(folder):
    from sslam_nb.training.hub import SSLAM
    SSLAM(small().cfg).save_pretrained(folder/'model')
    return folder/'model'/'model.safetensors', loads(None, folder/'model')

def says_config(path, good):
    from sslam_nb.config import PretrainConfig, flatten, override
    return good | {'cfg': flatten(override(PretrainConfig(), **json.loads(path.read_bytes())))}

@kind(json_value, says=says_config)
def saved_config(folder):
    saved_folder(folder)
    return folder/'model'/'config.json', loads(None, folder/'model')

def official_content(folder):
    "What fairseq would save, without settings of ours, in half precision."
    import torch
    from sslam_nb.training.official import export_official
    content = torch.load(export_official(small(), folder/'official.pt'), weights_only=True)
    half = lambda weights: {key: half(value) if key == '_ema' else value.half() for key, value in weights.items()}
    return content | {'cfg': {'model': {'depth': 1}}, 'model': half(content['model'])}

def official(path):
    "Weights under official names, and sizes."
    from sslam_nb.training.checkpoints import load_checkpoint
    from sslam_nb.training.official import official_name
    def load():
        model = load_checkpoint(path)
        layout = 'pretrained' if hasattr(model, 'student') else 'hub'
        return {'weights': numbers({official_name(name, layout): value for name, value in model.state_dict().items() if name[-9:] != 'pos_embed'}),
                'heads': model.cfg.encoder.n_heads if layout == 'pretrained' else model.cfg.n_heads}
    return load

def by_torch(path):
    "A pickle by PyTorch alone; by ours where a damaged name is none of PyTorch's, and then an inert stand-in."
    import torch
    from sslam_nb.training.unpickle import read_pickle
    try: return torch.load(path, weights_only=True, map_location='cpu')
    except pickle.UnpicklingError: return read_pickle(path)

def says_official(path, good):
    weights = by_torch(path)['model']
    weights = {key: value for key, value in weights.items() if key != '_ema'} | {f'_ema.{key}': value for key, value in weights.get('_ema', {}).items()}
    named = {key: value.float() for key, value in weights.items() if not key.endswith('positions')}
    if not any(key.startswith('_ema') for key in named):                 # load_checkpoint takes the student for it, and says so
        named |= {key: named[key.removeprefix('_ema.')] for key in good['weights'] if key.startswith('_ema.')}
    return good | {'weights': numbers(named)}

@kind(members, says=says_official)
def official_zip(folder):
    import torch
    torch.save(official_content(folder), folder/'zip.pt')
    return folder/'zip.pt', official(folder/'zip.pt')

@kind(says=says_official)
def official_legacy(folder):
    import torch
    torch.save(official_content(folder), folder/'legacy.pt', _use_new_zipfile_serialization=False)
    return folder/'legacy.pt', official(folder/'legacy.pt')

def says_hub(path, good):
    from safetensors.torch import load_file
    return good | {'weights': numbers({key: value.float() for key, value in load_file(path).items() if not key.endswith('positions')})}

@kind(header_value, says=says_hub)
def hub_file(folder):
    from safetensors.torch import save_file
    from sslam_nb.training.official import official_name
    path = folder/'hub.safetensors'
    save_file({official_name(name, 'hub'): value for name, value in small().student.state_dict().items()}, path)
    return path, official(path)

def says_index(path, good):
    names = json.loads(path.read_bytes())['weight_map']
    if not all((path.parent/file).is_file() for file in names.values()): raise ValueError('a file is missing')
    return good

@kind(json_value, says=says_index)
def hub_index(folder):
    "Weights in two files, and the index that names them."
    from safetensors.torch import save_file
    from sslam_nb.training.official import official_name
    weights = {official_name(name, 'hub'): value for name, value in small().student.state_dict().items()}
    names = {key: f'part-{i % 2}.safetensors' for i, key in enumerate(weights)}
    for file in set(names.values()): save_file({key: weights[key] for key in weights if names[key] == file}, folder/file)
    path = folder/'model.safetensors.index.json'
    path.write_text(json.dumps({'metadata': {'total_size': 1}, 'weight_map': names}, indent=1))
    return path, official(path)

def plain(value):
    "A pickle's content as text; tensors by their numbers."
    import torch
    if isinstance(value, torch.Tensor): return numbers({'': value})['']
    if isinstance(value, dict): return [(plain(key), plain(one)) for key, one in value.items()]
    return [plain(one) for one in value] if isinstance(value, (list, tuple)) else repr(value)[:200]

def says_pickle(path, good): return plain(by_torch(path))

@kind(members, says=says_pickle)
def pickled(folder):
    import torch
    from sslam_nb.training.unpickle import read_pickle
    torch.save({'w': torch.arange(64.), 'epoch': 3, 'lr': [0.1, 0.2], 'name': 'tones'}, folder/'pickled.pt')
    return folder/'pickled.pt', lambda: plain(read_pickle(folder/'pickled.pt'))

def says_scores(path, good):
    with np.load(path) as kept: return [kept['scores'].tolist(), kept['targets'].tolist(), kept['clip_id'].tolist()]

@kind(members, arrays, says=says_scores)
def scores(folder):
    from sslam_nb.evaluation.metrics import Scored
    from sslam_nb.evaluation.start import read_scores, write_scores
    scored, draw = Scored(('dog', 'rain', 'siren')), np.random.default_rng(0)
    scored.add(draw.random((40, 3), np.float32), draw.random((40, 3)) > 0.5, [f'clip{i}.wav' for i in range(40)])
    write_scores(folder, scored)
    def load():
        found = read_scores(folder, scored.classes)
        return [found.scores.tolist(), found.targets.tolist(), found.clip_id]
    return folder/'scores.npz', load

@kind(json_value)
def record(folder):
    "Beside another record, which must be read whatever becomes of the first."
    from dataclasses import asdict
    from sslam_nb.reports.results import RunRecord, read_records, write_record
    good = write_record(folder/'records'/'a.json', RunRecord('a', 'probe', dict(mAP=0.5), dict(lr=0.1)))
    path = write_record(folder/'records'/'b.json', RunRecord('b', 'probe', dict(mAP=0.25, probe=dict(chance=0.1)), dict(lr=0.2), seed=3,
                                                             history=[dict(step=1, loss=0.5), dict(step=2, loss=None)]))
    assert good.is_file()
    def load():
        left_out = []
        found = [asdict(one) for one in read_records(folder/'records', left_out)]
        if not found or found[0]['name'] != 'a': raise AssertionError('the other record is hidden')
        if left_out: raise ValueError(left_out[0])
        if len(found) == 1: raise ValueError('b.json is JSON, but no record')       # passed over as documented: it has no schema
        return found
    return path, load

def says_ontology(path, good):
    entries = json.loads(path.read_bytes().decode('utf-8'))
    return {entry['id']: (entry['name'], list(dict.fromkeys(entry['child_ids']))) for entry in entries}

@kind(json_value, says=says_ontology)
def ontology(folder):
    from sslam_nb.evidence.polyphony import read_ontology
    tree = {'/m/0': ['/m/1', '/m/2'], '/m/1': ['/m/3'], '/m/2': [], '/m/3': []}
    path = folder/'ontology.json'
    path.write_text(json.dumps([dict(id=k, name=f'sound {k}', child_ids=v, description='a sound') for k, v in tree.items()], indent=1))
    def load():
        found = read_ontology(path)
        return {key: (found.names[key], list(found.children[key])) for key in found.names}
    return path, load

# ---- one child process, many mutants

class TooLong(BaseException): "Not an Exception, so that no loader takes it for its own."

def verdict(good, load, says, path):
    "What one load of the damaged file came to, and in which words."
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try: found = load()
    except TooLong: return 'hang', f'more than {SECONDS} s'
    except (ValueError, TypeError, OSError) as error:
        return ('named' if path.name in str(error) else 'other'), f'{type(error).__name__}: {error}'
    except MemoryError: return 'memory', 'MemoryError'
    except BaseException as error: return 'other', f'{type(error).__name__}: {error}'
    finally: signal.setitimer(signal.ITIMER_REAL, 0)
    if found == good: return 'right', 'equal'
    if says:
        try: said = says(path, good)
        except Exception as error: return 'silent', f'loaded, though the plain reader says {type(error).__name__}: {error}'
        if found == said: return 'right', 'as the bytes say'
    return 'silent', f'another result: {str(found)[:150]}'

def mutant(data, ways, seed, name, number):
    "The bytes of one mutant, and how it was made."
    draw = random.Random(f'{seed} {name} {number}')
    way = draw.choice([*BYTES, *(way for way in ways for _ in range(max(2, 6//len(ways))))])
    return way(data, draw), way.__name__

def child(jobs, seed):
    "Load the mutants of `jobs`, [kind, number] each; a line of JSON for each."
    def ring(*_): raise TooLong
    signal.signal(signal.SIGALRM, ring)
    import torch
    for name in ('evaluation.start', 'evidence.polyphony', 'training.checkpoints'):                    # before memory is counted
        import_module(f'sslam_nb.{name}')
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    used = int(Path('/proc/self/statm').read_text().split()[0])*resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (GIB << 30), resource.RLIM_INFINITY))
    made = {}
    with tempfile.TemporaryDirectory() as home:
        for name, number in jobs:
            if name not in made:
                (folder := Path(home)/name).mkdir()
                path, load = KINDS[name].make(folder)
                made[name] = path, load, path.read_bytes(), load()
            path, load, data, good = made[name]
            damaged, way = mutant(data, KINDS[name].ways, seed, name, number)
            path.write_bytes(damaged)
            print(json.dumps(['begin', name, number, way]), flush=True)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            what, words = verdict(good, load, KINDS[name].says, path)
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)/1024
            if grown > 1024: what, words = 'memory', f'{grown:.0f} MiB for a file of {len(damaged)} bytes; {words}'
            print(json.dumps([what, name, number, way, words[:300]]), flush=True)
            path.write_bytes(data)

def run(mutants, seed=0, kinds=None):
    "Outcomes of so many mutants, spread evenly over the kinds: [what, kind, number, way, words] each."
    names = list(kinds or KINDS)
    jobs, found = [[names[i % len(names)], i//len(names)] for i in range(mutants)], []
    jobs.sort(key=lambda job: names.index(job[0]))
    while jobs:
        batch = jobs[:1000]
        process = subprocess.Popen([sys.executable, '-W', 'ignore', __file__, 'child', json.dumps(batch), str(seed)], stdout=subprocess.PIPE, text=True,
                                   stderr=subprocess.PIPE, env=os.environ | {'OMP_NUM_THREADS': '1'})
        try: out, err = process.communicate(timeout=60 + SECONDS*3 + len(batch)*2)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
        lines = [json.loads(line) for line in out.splitlines() if line.startswith('["')]
        begun, done = ([line for line in lines if (line[0] == 'begin') == first] for first in (True, False))
        if len(done) < len(begun): done.append(['crash', *begun[-1][1:], f'exit {process.returncode}: {err[-300:]}'])   # it died on this one
        elif len(done) < len(batch): raise RuntimeError(f'the child process ended between mutants: {err[-2000:]}')
        found, jobs = found + done, jobs[len(done):]
    return found

def main(mutants=600, seed=0, *kinds):
    start = time.time()
    found = run(int(mutants), int(seed), kinds)
    table = {name: Counter(line[0] for line in found if line[1] == name) for name in dict.fromkeys(line[1] for line in found)}
    columns = ['right', 'named', 'silent', 'other', 'hang', 'memory', 'crash']
    print(f"| {'file':16} | " + ' | '.join(columns) + ' |\n|' + '---|'*(len(columns) + 1))
    for name, counts in [*table.items(), ('all', Counter(line[0] for line in found))]:
        print(f'| {name:16} | ' + ' | '.join(f'{counts[c]:{len(c)}}' for c in columns) + ' |')
    bad = [line for line in found if line[0] not in ('right', 'named')]
    for line in bad: print('\n- ' + ' '.join(map(str, line)))
    print(f'\n{len(found)} mutants of seed {seed}, {time.time() - start:.0f} s: {len(bad)} neither right nor named')
    sys.exit(min(len(bad), 99))

if __name__ == '__main__':
    if sys.argv[1:2] == ['child']: child(json.loads(sys.argv[2]), int(sys.argv[3]))
    else: main(*sys.argv[1:])
