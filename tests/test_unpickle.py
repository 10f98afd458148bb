"Files that attack: each payload works under plain pickle, and under read_pickle nothing of it runs."
import functools, io, os, pickle, subprocess, tarfile, time, warnings, zipfile
from collections import OrderedDict

import pytest
import torch
from numpy.testing._private.utils import runstring

import official_files as files
from sslam_nb import load_official
from sslam_nb.training.unpickle import StandIn, read_pickle


class Call:
    "Pickles as the call f(*args); either may hold further calls."
    def __init__(self, f, *args): self.f, self.args = f, args
    def __reduce__(self): return self.f, self.args
    def __call__(self): pass


def torch_bytes(content, **options):
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def hook(touch):
    "A tensor whose backward hooks hold the call."
    storage = torch.zeros(1).untyped_storage()
    typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
    return Call(torch._utils._rebuild_tensor_v2, typed, 0, (1,), (1,), False, OrderedDict(hook=Call(os.system, touch)))


script = "open(r'{marker}', 'w').close()"
PAYLOADS = {     # name of the global -> payload
    'posix.system': lambda touch, code: Call(os.system, touch),
    'builtins.eval': lambda touch, code: Call(eval, code),
    'builtins.exec': lambda touch, code: Call(exec, code),
    'subprocess.Popen': lambda touch, code: Call(subprocess.Popen, touch.split()),
    'builtins.getattr': lambda touch, code: Call(Call(getattr, Call(__import__, 'os'), 'system'), touch),
    'functools.partial': lambda touch, code: Call(Call(functools.partial, os.system, touch)),
    'pickle.loads|_pickle.loads': lambda touch, code: Call(pickle.loads, pickle.dumps(Call(os.system, touch))),
    'torch.storage._load_from_bytes':
        lambda touch, code: Call(torch.storage._load_from_bytes, torch_bytes(Call(os.system, touch), _use_new_zipfile_serialization=False)),
    'torch._utils._set_obj_state': lambda touch, code: Call(torch._utils._set_obj_state, Call(os.system, touch), {}),
    'torch._tensor._rebuild_from_type_v2':
        lambda touch, code: Call(torch._tensor._rebuild_from_type_v2, os.system, torch.Tensor, (touch,), {}),
    'numpy.testing._private.utils.runstring': lambda touch, code: Call(runstring, code, {}),
    'posix.system (in a hook)': lambda touch, code: hook(touch),
}


def refused(path, marker, name=''):
    for read in (read_pickle, load_official):
        with pytest.raises(ValueError) as error: read(path)
        assert str(path) in str(error.value) and any(n in str(error.value) for n in name.split(' ')[0].split('|')), error.value
        assert not marker.exists(), 'the payload ran'


@pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'legacy'])
@pytest.mark.parametrize('name', PAYLOADS)
def test_payload(tmp_path, name, zipped):
    marker, path = tmp_path/'marker', tmp_path/'evil.pt'
    payload = PAYLOADS[name](f'touch {marker}', script.format(marker=marker))
    torch.save({'model': files.pretrained() | {'x': payload}, 'args': None}, path, _use_new_zipfile_serialization=zipped)
    refused(path, marker, name)
    try: torch.load(path, weights_only=False)           # the payload is a real one
    except Exception: pass                              # some fail after they have run
    for _ in range(100): marker.exists() or time.sleep(0.02)
    assert marker.exists()


@pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'legacy'])
@pytest.mark.parametrize('protocol', [0, 1, 4, 5])
def test_protocols(tmp_path, protocol, zipped):
    marker = tmp_path/'marker'
    raw = pickle.dumps({'model': Call(os.system, f'touch {marker}')}, protocol)
    refused(files.container(raw, tmp_path/'evil.pt', zipped), marker, 'posix.system')
    harmless = pickle.dumps({'model': {'w': 1}}, protocol)
    if protocol > 2: refused(files.container(harmless, tmp_path/'new.pt', zipped), marker, f'pickle protocol {protocol}')


FAIRSEQ = b'cfairseq.x\nConfig\n'
RAW = {      # instructions that no pickler writes
    'inst': b'(X\x04\x00\x00\x00trueios\nsystem\n.',
    'state for a class': b'\x80\x02' + FAIRSEQ + b'}X\x01\x00\x00\x00aK\x01sb.',
    'call of a stand-in': b'\x80\x02' + FAIRSEQ + b')\x81)R.',
    'call of a tensor builder': b'\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(cos\nsystem\nK\x00K\x01K\x01\x89NtR.',
    'items for a stand-in': b'\x80\x02' + FAIRSEQ + b')\x81X\x01\x00\x00\x00aK\x01s.',
    'module as persistent id': b'\x80\x02(X\x06\x00\x00\x00module' + FAIRSEQ + b'X\x01\x00\x00\x00fX\x01\x00\x00\x00stQ.',
    'string as persistent id': b'\x80\x02Pstorage\n.',
    'number as persistent id': b'\x80\x02K\x01Q.',
    'foreign storage type': b'\x80\x02((X\x07\x00\x00\x00storage' + FAIRSEQ + b'X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ.',
    'extension': b'\x80\x02\x82\x01.',
    'foreign function': b'\x80\x02cfairseq.utils\nimport_user_module\n)R.',
    'not a pickle': b'\xff'*50,
}


@pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'legacy'])
@pytest.mark.parametrize('name', RAW)
def test_instructions(tmp_path, name, zipped):
    refused(files.container(RAW[name], tmp_path/'evil.pt', zipped), tmp_path/'marker')


def test_other_containers(tmp_path):
    marker = tmp_path/'marker'
    evil = pickle.dumps(Call(os.system, f'touch {marker}'), 2)
    (tmp_path/'raw.pt').write_bytes(evil)
    refused(tmp_path/'raw.pt', marker, 'posix.system')
    with tarfile.open(tmp_path/'tar.pt', 'w') as archive:                       # the format before 0.1.10
        for name in ('storages', 'tensors', 'pickle'):
            info = tarfile.TarInfo(name)
            info.size = len(evil)
            archive.addfile(info, io.BytesIO(evil))
    refused(tmp_path/'tar.pt', marker)
    with warnings.catch_warnings(action='ignore'):
        torch.jit.save(torch.jit.trace(torch.nn.Linear(1, 1), torch.ones(1)), tmp_path/'script.pt')
        refused(tmp_path/'script.pt', marker)
        for first, second in ((evil, pickle.dumps({}, 2)), (pickle.dumps({}, 2), evil)):   # two readers, two files?
            files.container(first, tmp_path/'two.pt')
            with zipfile.ZipFile(tmp_path/'two.pt', 'a') as archive: archive.writestr('archive/data.pkl', second)
            refused(tmp_path/'two.pt', marker)


def test_a_state_cannot_arm_a_stand_in(tmp_path):
    raw = b'\x80\x02' + FAIRSEQ + b'K\x07\x85R}(X\x09\x00\x00\x00__class__cargparse\nNamespace\nX\x04\x00\x00\x00argsK\x01ub.'
    content = read_pickle(files.container(raw, tmp_path/'a.pt'))
    assert isinstance(content, StandIn) and content.args == (7,) and content.origin == 'fairseq.x.Config'
    assert 'fairseq' not in str(torch.serialization.get_safe_globals())             # allowed for this file only
