"Damaged and hostile files: each is read rightly, or one error names it. The long form is benchmarks/chaos_files.py."
import importlib.util, json, os, pickle, struct, time, zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import official_files as files
from sslam_nb import SSLAM, load_checkpoint, load_official, override, preset
from sslam_nb.config import PretrainConfig, flatten
from sslam_nb.evaluation.metrics import Scored
from sslam_nb.evaluation.recipes import DownstreamConfig
from sslam_nb.evaluation.start import read_scores, write_scores
from sslam_nb.evidence.jobs import ReadConfig
from sslam_nb.evidence.polyphony import read_ontology
from sslam_nb.reports.results import RunRecord, read_records, write_record
from sslam_nb.training.classifier import Classifier
from sslam_nb.training.find import newest_checkpoint
from sslam_nb.training.official import export_official
from sslam_nb.training.unpickle import read_pickle
from sslam_nb.training.weights import save_checkpoint, save_classifier

ROOT = Path(__file__).resolve().parents[1]
CFG = override(preset('stage2', 'tiny'), width=64, depth=1, n_heads=1, decoder_width=16, local_top_k=1, max_time_patches=16)

def named(read, path, match=''):
    with pytest.raises((ValueError, TypeError, OSError), match=match) as error: read(path)
    assert Path(path).name in str(error.value), error.value

@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    return SSLAM(CFG).eval()

def test_sixty_mutants():
    spec = importlib.util.spec_from_file_location('chaos_files', ROOT/'benchmarks/chaos_files.py')
    chaos = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(chaos)
    found = chaos.run(60, seed=7)
    assert len(found) == 60 and {line[1] for line in found} == {*chaos.KINDS}
    assert not (bad := [line for line in found if line[0] not in ('right', 'named')]), bad
    assert sum(line[0] == 'named' for line in found) > 30          # the mutants are damaged indeed

# ---- configurations

@pytest.mark.parametrize('name, value', [
    ('width', 0), ('width', -64), ('width', 10**6), ('width', 66), ('depth', 10**4), ('sample_rate', 0), ('target_frames', 0), ('n_mels', 0),
    ('mlp_ratio', float('nan')), ('mlp_ratio', 0.0), ('betas', ('a', 'b')), ('betas', (.9,)), ('betas', (.9, 1.0)), ('betas', [[], []]),
    ('max_time_patches', 1), ('max_time_patches', 10**9), ('lr', float('inf')), ('lr', 10**400), ('mean', float('nan')), ('seed', 2**70), ('seed', -1),
    ('probe_clips', (1,)), ('probe_clips', (1.5, 2)), ('decoder_width', 0), ('decoder_kernel', 2), ('decoder_groups', 3), ('noise_std', float('inf')),
    ('drop_path', 1.0), ('batch_size', 10**12), ('epochs', True), ('clip_norm', float('nan')), ('std', float('nan'))])
def test_values_out_of_range(name, value):
    with pytest.raises(ValueError, match=rf'\b{name}\b'): override(CFG, **{name: value})

def test_values_of_every_record_are_in_range():
    records = read_records(ROOT/'papers_tables/records')               # by today's names
    for record in records:
        kind = PretrainConfig if 'stage' in record.config else ReadConfig if record.task == 'read' else DownstreamConfig
        override(kind(), **record.config)
    assert len(records) == len(list((ROOT/'papers_tables/records').glob('*.json'))) > 100

# ---- our checkpoints

def rewritten(path, weights=lambda w: w, signed=False, **texts):
    "The same file with other weights or texts, as somebody else's tool would write it."
    with safe_open(path, 'pt') as file: header = file.metadata()
    if not signed: header = {k: v for k, v in header.items() if not k.endswith('checksum')}
    save_file(weights(load_file(path)), path, header | texts)
    return path

KEY = 'student.blocks.0.mlp.0.weight'
first = lambda change: lambda w: w | {KEY: change(w[KEY])}
CONFIG = lambda **changes: {'config': json.dumps(flatten(CFG) | changes)}
HEADERS = {
    'wide': CONFIG(width=10**6), 'deep': CONFIG(depth=10**4), 'at its limit': CONFIG(depth=256, width=16_384, n_heads=256),
    'long': CONFIG(max_time_patches=10**9), 'negative': CONFIG(width=-32), 'NaN': CONFIG(lr=float('nan')), 'nested': {'config': '['*100_000},
    'list': {'config': '[1]'}, 'digits': {'config': '{"width": ' + '1'*5000 + '}'}, 'provenance cut': {'provenance': '{'}, 'provenance list': {'provenance': '[1]'}}
WEIGHTS = {'gone': lambda w: {k: v for k, v in w.items() if k != KEY}, 'shape': first(lambda v: v[:0]), 'transposed': first(lambda v: v.T.contiguous()),
           'float8': first(lambda v: v.to(torch.float8_e4m3fn)), 'whole': first(lambda v: v.to(torch.int64)), 'bool': first(lambda v: v > 0),
           'surplus': lambda w: w | {'x': torch.ones(1)}}

@pytest.mark.parametrize('change', HEADERS)
@pytest.mark.parametrize('signed', [True, False])
def test_headers_of_checkpoints(tmp_path, model, change, signed):
    path = save_checkpoint(model, tmp_path/'run'/'model.safetensors', step=1)
    start = time.time()
    named(load_checkpoint, rewritten(path, signed=signed, **HEADERS[change]))
    assert time.time() - start < 5
    assert newest_checkpoint(tmp_path) is None or not signed

@pytest.mark.parametrize('change', WEIGHTS)
def test_weights_of_checkpoints(tmp_path, model, change):
    named(load_checkpoint, rewritten(save_checkpoint(model, tmp_path/'m.safetensors'), WEIGHTS[change]))

def test_every_flipped_bit_of_a_weight_is_seen(tmp_path, model):
    path = save_checkpoint(model, tmp_path/'m.safetensors')
    whole, size = path.read_bytes(), struct.unpack('<Q', path.read_bytes()[:8])[0]
    for at in np.random.default_rng(0).integers(8 + size, len(whole), 20):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
        named(load_checkpoint, path, 'damaged')

def test_files_without_check_sums_are_read(tmp_path, model):
    path = rewritten(save_checkpoint(model, tmp_path/'m.safetensors', step=3))
    again = load_checkpoint(path)
    assert again.provenance == {'step': 3} and all(map(torch.equal, again.state_dict().values(), model.state_dict().values()))

@pytest.mark.parametrize('mask', [0o022, 0o077])
def test_the_mode_is_that_of_the_umask(tmp_path, model, mask):
    old = os.umask(mask)
    try: path = save_checkpoint(model, tmp_path/'m.safetensors')
    finally: os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask

@pytest.mark.parametrize('changes', [
    dict(classes=['a']), dict(classes=['a', 'a']), dict(classes=[['a'], 'b']), dict(classes=3), dict(n_classes=10**12), dict(n_classes=-1), dict(n_classes='2'),
    dict(reading='most'), dict(reading=[1]), dict(reading='rows'), dict(prototypes='x', reading='gated'), dict(encoder=[1]), dict(encoder=dict(depth=10**4)), dict(encoder=dict(n_heads=3)), dict(spectrogram={'n_mels': 130}),
    dict(spectrogram={'target_frames': 10**5}), dict(spectrogram=None)])
def test_headers_of_classifiers(tmp_path, model, changes):
    tuned = Classifier(model.student, 2, 'cls', ('dog', 'rain'), CFG.spectrogram)
    path = save_classifier(tuned, tmp_path/'c.safetensors')
    with safe_open(path, 'pt') as file: about = json.loads(file.metadata()['classifier'])
    named(load_checkpoint, rewritten(path, classifier=json.dumps({k: v | changes[k] if isinstance(v, dict) and isinstance(changes.get(k), dict)
                                                                  else changes.get(k, v) for k, v in about.items()})))

# ---- the authors' files

@pytest.mark.parametrize('settings', [
    [1], 'x', dict(config=[1]), dict(config='x'), dict(config=dict(depth=10**5)), dict(config=dict(depth=[[[]]])), dict(config=dict(width='64')), dict(config={'x': 1}),
    dict(config=dict(max_time_patches=99_999)), dict(classes=3), dict(classes=[1, 2]), dict(classes=[[], []]), dict(pool=7)], ids=repr)
def test_settings_of_official_files(tmp_path, model, settings):
    tuned = Classifier(model.student, 2, 'cls', ('dog', 'rain'), CFG.spectrogram)
    path = export_official(tuned, tmp_path/'a.pt')
    content = torch.load(path, weights_only=True)
    own = content['cfg']['sslam_nb']
    if isinstance(settings, dict):
        inner = settings.get('config')
        settings = own | settings | ({'config': own['config'] | inner} if isinstance(inner, dict) else {})
    torch.save(content | {'cfg': {'sslam_nb': settings}}, path)
    start = time.time()
    named(load_official, path)
    assert time.time() - start < 5

def test_a_flipped_bit_of_a_zip_is_seen(tmp_path, model):
    path = export_official(model, tmp_path/'a.pt')
    with zipfile.ZipFile(path) as archive: member = next(m for m in archive.infolist() if m.filename.endswith('data/3'))
    at, whole = member.header_offset + 200, path.read_bytes()
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
    named(load_official, path, 'check sum')

def test_few_numbers_seen_many_times(tmp_path):
    weights = files.pretrained(width=64, depth=1)
    wide = lambda weights: {k: wide(v) if k == '_ema' else torch.zeros(1).expand(v.shape) for k, v in weights.items()}
    torch.save({'model': wide(weights)}, tmp_path/'a.pt')
    torch.save({'model': weights | {'blocks.0.mlp.fc1.weight': torch.zeros(1).expand(10**5, 10**5)}}, tmp_path/'b.pt')
    for name in 'ab': named(load_official, tmp_path/f'{name}.pt')

N = b'X\x01\x00\x00\x00a'
tuple_bomb = b'\x80\x02})' + b''.join(bytes([113, i, 104, i, 134]) for i in range(60)) + b'K\x01s.'
HOSTILE = {
    'deep tuple as a key': b'\x80\x02})' + b'\x85'*500_000 + b'K\x01s.', 'wide tuple as a key': tuple_bomb,
    'in a set': b'\x80\x02cbuiltins\nset\n])' + b''.join(bytes([113, i, 104, i, 134]) for i in range(60)) + b'a\x85R.',
    'endless': b'\x80\x02' + b'N0'*2_000_000 + b'N.', 'huge text': b'\x80\x02X\xff\xff\xff\xff' + b'a', 'huge number': b'\x80\x02\x8b\xff\xff\xff\x7f1.',
    'cycle': b'\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s.', 'deep list': b'\x80\x02' + b']'*400_000 + b'a'*399_999 + b'.', 'underflow': b'\x80\x02a.',
    'prefixes': b'\x80\x02}X' + struct.pack('<I', 7*200_000 + 1) + b'module.'*200_000 + b'xK\x01s.'}

@pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'legacy'])
@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_pickles(tmp_path, name, zipped):
    start = time.time()
    named(load_checkpoint, files.container(HOSTILE[name], tmp_path/'evil.pt', zipped))
    assert time.time() - start < 8

def test_zips_that_lie(tmp_path):
    torch.save({'w': torch.ones(4)}, tmp_path/'a.pt')
    with zipfile.ZipFile(tmp_path/'a.pt') as archive: inside = [(n, archive.read(n)) for n in archive.namelist()]
    def written(members, packed=False):
        with zipfile.ZipFile(tmp_path/'a.pt', 'w', zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
            for name, data in members: archive.writestr(name, data)
        return tmp_path/'a.pt'
    assert read_pickle(written(inside, True))['w'].sum() == 4                       # packed is no lie
    named(read_pickle, written(inside + [('a/more.pkl', pickle.dumps({}, 2))]), 'holds 2 pickles')
    named(read_pickle, written([m for m in inside if not m[0].endswith('.pkl')]), 'holds 0 pickles')
    named(read_pickle, written(inside + [('a/zeros', bytes(10**8))], True), 'four times its size')
    named(read_pickle, written([(n, d[:4] if n.endswith('data/0') else d) for n, d in inside]))

# ---- records, ontology, scores

def test_one_bad_record_never_hides_the_others(tmp_path):
    good = [write_record(tmp_path/f'{name}.json', RunRecord(name, 'probe', dict(mAP=0.5), dict(lr=0.1))) for name in 'am']
    record, deep = RunRecord('b', 'probe', dict(mAP=0.25), {}), []
    for _ in range(300): deep = [deep]
    bad = [b'', b'{', b'\xff\xfe', b'['*100_000, b'{"a":'*100_000, b'{"schema": ' + b'1'*5000 + b'}', b'{"schema": [2]}', b'{"schema": 1e999}']
    for i, data in enumerate(bad): (tmp_path/f'x{i}.json').write_bytes(data)
    odd = [dict(metrics=[1]), dict(config=None), dict(config=[]), dict(name=3), dict(seed='1'), dict(seed=10**400), dict(metrics=dict(mAP=2**63)), dict(history={}),
           dict(metrics=dict(mAP=deep)), dict(wall_s='1'), dict(n_clips=1.5), dict(versions=[]), dict(created=None)]
    for i, changes in enumerate(odd):
        try: write_record(tmp_path/f'y{i}.json', replace(record, **changes))          # signed
        except (ValueError, RecursionError): (tmp_path/f'y{i}.json').write_text(json.dumps(vars(replace(record, **changes)), default=str))
    for name, changes in dict(n=dict(metrics=dict(mAP=float('nan'))), d=dict(digest=[])).items():
        (tmp_path/f'{name}.json').write_text(json.dumps(vars(replace(record, **changes))))
    (tmp_path/'z.json').mkdir()
    os.mkfifo(tmp_path/'w.json')
    (tmp_path/'gone.json').symlink_to(tmp_path/'nowhere')
    with open(tmp_path/'huge.json', 'wb') as file: file.truncate(10**12)
    left_out = []
    assert [r.name for r in read_records(tmp_path, left_out)] == ['a', 'm'], left_out
    others = {p.name for p in tmp_path.iterdir()} - {p.name for p in good}
    named_ones = {line.split(':')[0] for line in left_out}
    assert others == named_ones
    assert all(len(line) < 400 for line in left_out)

def test_records_of_the_repository_are_all_read():
    left_out = []
    assert len(read_records(ROOT/'papers_tables/records', left_out)) > 100 and not left_out

@pytest.mark.parametrize('text', [
    '', '[]', '{}', 'null', '[null]', '[[]]', '[{"id": 1, "name": "a", "child_ids": []}]', '[{"id": "a", "name": null, "child_ids": []}]',
    '[{"id": "a", "name": "a", "child_ids": "bc"}]', '[{"id": "a", "name": "a", "child_ids": [1]}]', '[{"id": "a", "name": "a", "child_ids": {"a": 1}}]',
    '[{"id": "a", "name": "a", "child_ids": ["a"]}]', '[{"id": "a", "name": "a", "child_ids": ["b"]}]', '[{"id": ["a"], "name": "a", "child_ids": []}]',
    '['*100_000, '[' + '1'*5000 + ']'])
def test_ontologies(tmp_path, text):
    (tmp_path/'ontology.json').write_text(text)
    named(read_ontology, tmp_path/'ontology.json')

def test_scores(tmp_path):
    scored = Scored(('dog', 'rain'))
    scored.add(np.random.default_rng(0).random((9, 2)), np.eye(2)[[0]*9], [f'{i}.wav' for i in range(9)])
    write_scores(tmp_path, scored)
    path, read = tmp_path/'scores.npz', lambda path: read_scores(tmp_path, ('dog', 'rain'))
    whole, arrays = path.read_bytes(), dict(np.load(path))
    assert (read(path).scores == scored.scores).all()
    for data in (b'', whole[:-1], whole[:len(whole)//2], b'{}' + whole[2:], pickle.dumps(3)):
        path.write_bytes(data)
        named(read, path)
    s, t, c = (arrays[name] for name in ('scores', 'targets', 'clip_id'))
    for changes in (dict(scores=s[:-1]), dict(scores=s.astype(object)), dict(scores=s*np.nan), dict(scores=s.astype(complex)), dict(targets=t[:, :1]),
                    dict(targets=t.astype(int)*7), dict(clip_id=c[:-1]), dict(clip_id=np.arange(9)), dict(clip_id=c[None]), dict(clip_id=c.astype('S9'))):
        np.savez_compressed(path, **arrays | changes)
        named(read, path)
    np.savez_compressed(path, scores=s, targets=t)
    named(read, path)
    path.unlink()
    named(read, path)
