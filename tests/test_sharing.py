"Folders, files and repositories of the Hugging Face Hub: what comes back, and what is refused."
import json, os, subprocess, sys

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import safe_open

from sslam_nb import SSLAM, load_checkpoint, override, preset
from sslam_nb.config import flatten
from sslam_nb.training.weights import save_checkpoint

CFG = override(preset('stage2', 'tiny'), width=32, depth=1, n_heads=2, decoder_width=16, local_top_k=1,
               max_time_patches=16, data='my sounds')
FACTS = dict(step=7, data='my sounds, 12 clips', commit='0123abcd')

@pytest.fixture
def folder(tmp_path):
    "What `save_pretrained` makes of a checkpoint."
    model = load_checkpoint(save_checkpoint(SSLAM(CFG), tmp_path/'one.safetensors', **FACTS))
    model.save_pretrained(tmp_path/'model')
    return tmp_path/'model'

def same(a, b):
    return a.cfg == b.cfg and all(map(torch.equal, a.state_dict().values(), b.state_dict().values()))

def test_file_folder_and_both_as_text(folder):
    model = load_checkpoint(folder.parent/'one.safetensors')
    for name in (folder, str(folder), folder/'model.safetensors', folder.parent/'one.safetensors'):
        again = SSLAM.from_pretrained(name)
        assert same(model, again) and not again.training and again.provenance == FACTS

def test_a_relative_path_means_the_same_for_saving_and_loading(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    SSLAM(CFG).save_pretrained('deep/er')
    assert SSLAM.from_pretrained('deep/er').provenance == {}
    assert (folder.parent/'deep/er/config.json').is_file()

def test_the_configuration_is_in_one_place(folder):
    with safe_open(folder/'model.safetensors', 'pt') as file: header = file.metadata()
    assert header.keys() == {'format', 'provenance', 'weights_checksum', 'header_checksum'}
    values = json.loads((folder/'config.json').read_text())
    assert override(CFG, **values) == CFG and values == json.loads(json.dumps(flatten(CFG)))

def test_the_card_says_data_commit_scale_and_licence(folder):
    card = (folder/'README.md').read_text()
    for text in ('license: mit', '| data | my sounds, 12 clips |', '| commit | 0123abcd |', '| step | 7 |',
                 '| scale | tiny (', '| licence | mit |', 'do not compare with', 'SSLAM.from_pretrained'):
        assert text in card
    SSLAM(CFG).save_pretrained(folder, model_card_kwargs={'licence': 'CC-BY-4.0', 'contact': 'me'})
    card = (folder/'README.md').read_text()            # the old card spoke of other weights
    for text in ('license: cc-by-4.0', '| contact | me |', '| commit | not recorded |'): assert text in card

def test_push_uploads_the_three_files(folder, monkeypatch):
    sent = {}
    class Api:
        def __init__(self, token=None): pass
        def create_repo(self, repo_id, **options): return type('Repository', (), {'repo_id': repo_id})
        def upload_folder(self, repo_id, folder_path, **options):
            sent[repo_id] = sorted(p.name for p in folder_path.iterdir())
    monkeypatch.setattr('huggingface_hub.hub_mixin.HfApi', Api)
    SSLAM.from_pretrained(folder).push_to_hub('someone/sslam')
    assert sent == {'someone/sslam': ['README.md', 'config.json', 'model.safetensors']}

def test_of_a_repository_configuration_and_weights_are_fetched(folder, monkeypatch):
    asked = []
    def download(name, allow_patterns, revision=None, **options):
        asked.append((name, allow_patterns, revision))
        return str(folder)
    monkeypatch.setattr('sslam_nb.training.find.snapshot_download', download)
    assert same(SSLAM.from_pretrained('someone/sslam', revision='v1'), SSLAM.from_pretrained(folder))
    assert asked == [('someone/sslam', ['config.json', '*.safetensors*'], 'v1')]

def test_offline_by_choice(tmp_path):
    "In a process of its own, as the library reads HF_HUB_OFFLINE when it is imported."
    program = "from sslam_nb import SSLAM\ntry: SSLAM.from_pretrained('someone/sslam')\n" \
              "except FileNotFoundError as error: print(error)"
    environment = os.environ | {'HF_HUB_OFFLINE': '1', 'HF_HOME': str(tmp_path)}
    done = subprocess.run([sys.executable, '-c', program], cwd=tmp_path, env=environment, text=True,
                          capture_output=True)
    assert "no repository 'someone/sslam'" in done.stdout and 'copy it here' in done.stdout, done.stderr

def test_no_network(tmp_path, monkeypatch):
    def download(*names, **options): raise LocalEntryNotFoundError('Name or service not known')
    monkeypatch.setattr('sslam_nb.training.find.snapshot_download', download)
    with pytest.raises(FileNotFoundError, match="'someone/sslam' .*service not known.*copy it here"):
        SSLAM.from_pretrained('someone/sslam')

def test_what_is_no_model(folder):
    for name in ('one/two/three', '/nowhere/at/all', 'sslam', folder/'none.safetensors'):
        with pytest.raises(FileNotFoundError, match='no checkpoint at'): SSLAM.from_pretrained(name)
    (folder.parent/'one.safetensors').rename(folder.parent/'one.txt')
    with pytest.raises(FileNotFoundError, match='it holds one.txt; give one of its folders: model'):
        SSLAM.from_pretrained(folder.parent)
    with pytest.raises(ValueError, match='not a readable'): SSLAM.from_pretrained(folder/'README.md')

@pytest.mark.parametrize('text, message', [
    ('{"width": 96, "depth": 1, "local_top_k": 1}', 'does not fit its'),
    ('{"hidden_size": 32}', 'unknown parameter'), ('{"width"', 'config.json holds no'), ('[1]', 'holds no')])
def test_another_config(folder, text, message):
    (folder/'config.json').write_text(text)
    with pytest.raises(ValueError, match=message): SSLAM.from_pretrained(folder)

def test_spoilt_weights(folder):
    whole = (folder/'model.safetensors').read_bytes()
    (folder/'model.safetensors').write_bytes(whole[:len(whole)//2])
    with pytest.raises(ValueError, match='cut short'): SSLAM.from_pretrained(folder)
    model = SSLAM(CFG)
    with torch.no_grad(): model.decoder.proj.bias[0] = torch.inf
    model.save_pretrained(folder)
    with pytest.raises(ValueError, match='weights in decoder.proj.bias'): SSLAM.from_pretrained(folder)
