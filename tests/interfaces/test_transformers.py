"""A folder of export_transformers, opened by transformers where sslam_nb cannot be imported.

The Python that opens it is SSLAM_NB_BARE_PYTHON, which should have torch and transformers alone, or this one."""
import ast, json, os, py_compile, subprocess, sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sslam_nb import SSLAM, AudioViT, Classifier, embed, load_checkpoint, predict, preset
from sslam_nb.config import EncoderConfig, SpectrogramConfig
from sslam_nb.spectrogram import LogMel
from sslam_nb.use.embed import layer_tokens
from sslam_nb.use.patches import attention_map
from sslam_nb.use.transformers_export import export_transformers

BARE = os.environ.get('SSLAM_NB_BARE_PYTHON')
NAMES = ('cls', 'classifier', 'encoder', 'wide')
CLASSES = ('Säge', '<speech>', 'dog, "bark"')

def models():
    "Student of tiny; classifier that means over patches; bare encoder; two blocks of the paper's width."
    torch.manual_seed(0)
    tiny = preset('stage2', 'tiny')
    classifier = Classifier(AudioViT(tiny.encoder), 3, 'mean', CLASSES, SpectrogramConfig(target_frames=512, mean=-5.0), 'sigmoid')
    classifier.provenance = dict(identity=dict(loss='bce'), step=7, licence='CC-BY-NC-4.0')
    made = (SSLAM(tiny), classifier, AudioViT(EncoderConfig(width=64, depth=2, n_heads=4, max_time_patches=160)),
            AudioViT(EncoderConfig(depth=2, max_time_patches=128)))
    for model in made:
        for p in model.parameters(): p.data += 0.02*torch.randn_like(p)      # no norm is 1, no bias 0
    return {name: model.eval() for name, model in zip(NAMES, made)}

def spectrogram(model):
    "What each was made for."
    if isinstance(model, SSLAM): return model.cfg.spectrogram
    return getattr(model, 'spectrogram', None) or SpectrogramConfig()

def encoder_of(model): return getattr(model, 'student', None) or getattr(model, 'encoder', model)

def waves(frames):
    "Shorter than the window, faint with an offset, just as long, and longer."
    rng = np.random.default_rng(0)
    whole = 400 + 160*(frames - 1)
    sizes, levels = (4801, whole//2, whole, whole + 7777), (0.1, 0.01, 0.3, 0.05)
    made = [level*rng.standard_normal(n) for n, level in zip(sizes, levels)]
    made[1] += 0.02
    return [wave.astype(np.float32) for wave in made]

def run(python, work):
    "The script in that Python, with caches of its own and no network."
    env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH' and not k.startswith(('HF_', 'TRANSFORMERS_'))}
    env |= dict(HF_HOME=str(work/'cache'), HF_HUB_OFFLINE='1', TRANSFORMERS_VERBOSITY='error', PYTHONWARNINGS='ignore',
                OMP_NUM_THREADS='1')
    script = Path(__file__).with_name('bare_transformers.py')
    return subprocess.run([python, str(script), str(work)], env=env, cwd=work, capture_output=True, text=True)

@pytest.fixture(scope='module')
def opened(tmp_path_factory):
    "Models, their clips, and what transformers made of them."
    if not BARE: pytest.importorskip('transformers', reason="pip install 'sslam_nb[transformers]', or name a Python "
                                     'that has transformers in SSLAM_NB_BARE_PYTHON')
    work, made = tmp_path_factory.mktemp('folders'), models()
    for name, model in made.items():
        export_transformers(model, work/name)
        np.savez(work/f'{name}.npz', *waves(spectrogram(model).target_frames))
    done = run(BARE or sys.executable, work)
    assert done.returncode == 0, done.stderr[-3000:]
    found = {name: dict(np.load(work/f'{name}_found.npz')) for name in NAMES}
    return work, made, found, json.loads((work/'said.json').read_text())

def close(found, wanted, most=1e-5):
    wanted = np.asarray(wanted)
    assert found.shape == wanted.shape
    difference = np.abs(found - wanted).max()
    assert difference <= most, f'{difference:.1e}'
    return difference

@pytest.mark.parametrize('name', NAMES)
@torch.no_grad()
def test_outputs_are_those_of_sslam_nb(opened, name):
    _, made, found, _ = opened
    model, found = made[name], found[name]
    cfg, encoder = spectrogram(model), encoder_of(model)
    clips = waves(cfg.target_frames)
    log_mel = torch.stack([LogMel(cfg)(torch.from_numpy(clip)) for clip in clips])
    differences = [close(found['input_values'], log_mel), close(found['one_by_one'], log_mel)]
    depth = len(encoder.blocks)
    hidden = [layer_tokens(encoder, log_mel, i) for i in range(depth)]
    hidden.insert(0, encoder.encode(encoder.embed(log_mel), 0).tokens)
    vector = hidden[-1][:, 1:].mean(1) if getattr(model, 'reading', 'cls') == 'mean' else hidden[-1][:, 0]
    weights = torch.stack([attention_map(block.attn, x) for block, x in zip(encoder.blocks, hidden)])
    for prefix in ('', 'again_', 'eager_'):
        differences += [close(found[prefix + 'hidden'], torch.stack(hidden)), close(found[prefix + 'attentions'], weights)]
    for prefix in ('', 'eager_') if name == 'classifier' else ('', 'again_', 'eager_'):   # again: with its head
        differences += [close(found[prefix + 'last_hidden_state'], encoder(log_mel).tokens),
                        close(found[prefix + 'pooler_output'], vector)]
    close(found['tuple'], vector)
    for kind in ('float16', 'bfloat16'): close(found[f'{kind}_pooler_output'], vector, 0.1)
    twice = LogMel(SpectrogramConfig(target_frames=2*cfg.target_frames, mean=cfg.mean, std=cfg.std))(torch.from_numpy(clips[-1]))
    if 2*cfg.target_frames <= 16*encoder.cfg.max_time_patches:
        differences += [close(found['long'], twice[None]), close(found['long_tokens'], encoder(twice[None]).tokens)]
    print(f'{name}: largest difference {max(differences):.1e}')

@pytest.mark.parametrize('name', NAMES)
def test_clip_vectors_are_those_of_embed(opened, name):
    "Clips that fit one window; of the classifier, whose pooling takes the padding too, the clip that fills it."
    _, made, found, _ = opened
    model = made[name]
    fit = waves(spectrogram(model).target_frames)[:3]
    pool, rows = ('mean', slice(2, 3)) if name == 'classifier' else ('cls', slice(0, 3))
    close(found[name]['pooler_output'][rows], embed(model, fit[rows], 16_000, pool=pool).clip)
    cls = embed(model, fit, 16_000).clip
    close(found[name]['last_hidden_state'][:3, 0], cls)

@torch.no_grad()
def test_scores_and_loss_of_a_classifier(opened):
    _, made, found, said = opened
    model, clips, head = made['classifier'], waves(512), said['head']
    log_mel = torch.stack([LogMel(model.spectrogram)(torch.from_numpy(clip)) for clip in clips])
    logits = model(log_mel)
    close(found['classifier']['head_logits'], logits); close(found['classifier']['again_logits'], logits)
    assert head['labels'] == {str(i): name for i, name in enumerate(CLASSES)}
    assert head['problem'] == 'multi_label_classification'
    target = torch.zeros(len(clips), 3); target[:, 0] = 1
    assert head['loss'] == pytest.approx(torch.nn.functional.binary_cross_entropy_with_logits(logits, target).item(), abs=1e-5)
    assert head['scored'] == pytest.approx(predict(model, clips[0], 16_000), abs=1e-5)

def test_a_new_head_learns(opened):
    train = opened[3]['train']
    assert train['missing'] == ['final_norm.bias', 'final_norm.weight', 'head.bias', 'head.weight']
    assert train['unexpected'] == [] and train['bias'] == 0
    assert train['still'] == [], 'a gradient reaches every weight'
    assert train['losses'][-1] < 0.5*train['losses'][0], train['losses']

def test_what_a_file_lacks_begins_as_in_a_new_model(opened):
    new = opened[3]['new']
    assert new['positions'] == [0, 0] and new['torn_cls'] == pytest.approx(1, abs=0.3)
    torch.manual_seed(0)
    ours = AudioViT(encoder_of(opened[1]['encoder']).cfg).state_dict()
    for name, value in ours.items():
        assert new['std'][f'encoder.{name}'] == pytest.approx(value.std().item(), rel=0.3, abs=1e-6), name
    assert new['sizes'] == [64, 2, 4]

@pytest.mark.parametrize('case, words', dict(
    rate='ValueError: sampling_rate=44100: this model hears 16000 Hz', nan='clip 1 holds NaN or infinity in 1 of 16000',
    short='lasts less than one frame of 25 ms', empty='the batch is empty', text='is a name and no array', length='max_length=0 must be',
    integers='int16; scale them', raw='input_values (2, 16000) must be (clips, frames, mel bins)', mels='must be (clips, frames, 128)',
    patch='frames a multiple of 16', beyond='exceed the position table', pool="pool='max' is not one of cls, mean").items())
def test_bad_input(opened, case, words): assert words in (opened[3]['errors'][case] or 'nothing was said')

def test_a_clip_may_be_a_list_of_numbers(opened): assert opened[3]['errors']['list'] < 1e-5

def test_the_file_stands_alone(opened):
    work, _, _, said = opened
    assert said['modules'] == []
    path = work/'wide'/'modeling_sslam.py'
    py_compile.compile(str(path), cfile=str(work/'compiled'), doraise=True)
    assert path.read_bytes() == (work/'wide_again'/'modeling_sslam.py').read_bytes(), 'save_pretrained copies it'
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom): assert node.level == 0

def test_a_classifier_folder_is_a_checkpoint_too(opened):
    work, made, _, _ = opened
    back = load_checkpoint(work/'classifier')
    assert back.classes == CLASSES and back.provenance['step'] == 7
    assert all(torch.equal(a, b) for a, b in zip(back.state_dict().values(), made['classifier'].state_dict().values()))
    card = (work/'classifier'/'README.md').read_text()
    assert 'license: cc-by-nc-4.0' in card and 'pipeline_tag: audio-classification' in card
    assert 'license: unknown' in (work/'wide'/'README.md').read_text()

def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    import sslam_nb.use.transformers_export as chapter
    def full(*_, **__): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(chapter, 'write_weights', full)
    with pytest.raises(OSError, match='No space left'): export_transformers(models()['encoder'], tmp_path/'folder')
    assert list(tmp_path.iterdir()) == []
