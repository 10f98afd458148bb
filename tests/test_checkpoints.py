"Every function that takes a checkpoint understands the same names and the same files."
import pytest
import torch

import official_files as files
from sslam_nb import (AudioViT, Classifier, SSLAM, embed, load_checkpoint, load_classifier, load_official,
                      override, preset, pretrain, recipe, start_from)
from sslam_nb.data.soundscapes import SoundscapeDataset
from sslam_nb.training.weights import save_checkpoint, save_classifier

CFG = override(preset('stage2', 'tiny'), width=128, depth=2, n_heads=2, decoder_width=64, local_top_k=2, target_frames=128,
               unmixed_frames=32, n_clips=4, batch_size=2, max_steps=2, log_every=1)


def files_of(kind, folder):
    "One checkpoint in a folder of its own; its path and the student's CLS token."
    folder.mkdir(parents=True)
    if kind.startswith('ours'):
        torch.manual_seed(0)
        model = SSLAM(CFG)
        tuned = Classifier(model.student, 5, classes=list('abcde'), spectrogram=CFG.spectrogram)
        if kind == 'ours, shared': model.save_pretrained(folder)
        elif kind == 'ours, fine-tuned': save_classifier(tuned, folder/'classifier.safetensors')
        else: save_checkpoint(model, folder/'model.safetensors', step=3)
        return next(folder.glob('*.safetensors')), model.student.cls_token.detach()
    encoder, head = files.encoder_weights(), files.head_weights()
    token = encoder[files.IMAGE + 'extra_tokens']
    if kind == 'fairseq': return files.write(files.pretrained(), folder/'checkpoint_last.pt'), token.half().float()
    if kind == 'fairseq, no EMA':
        weights = {key: value for key, value in files.pretrained().items() if key != '_ema'}
        return files.write(weights, folder/'checkpoint_last.pt'), token.half().float()
    if kind == 'fairseq, fine-tuned': return files.write(files.finetuned(), folder/'checkpoint_best.pt'), token
    weights = files.hub(encoder | head if kind == 'hub, fine-tuned' else encoder)
    return files.write_hub(weights, folder/'model.safetensors'), token


KINDS = ['ours', 'ours, shared', 'ours, fine-tuned', 'fairseq', 'fairseq, no EMA', 'fairseq, fine-tuned', 'hub', 'hub, fine-tuned']


@pytest.fixture
def hub(monkeypatch):
    "Repository name -> folder, in place of the Hugging Face Hub."
    repositories = {}
    def download(name, allow_patterns, **options): return str(repositories[name])
    monkeypatch.setattr('sslam_nb.training.find.snapshot_download', download)
    return repositories


def encoder_of(model): return getattr(model, 'student', getattr(model, 'encoder', model))


@pytest.mark.parametrize('kind', KINDS)
def test_all_understand_the_same_names(kind, tmp_path, hub):
    path, token = files_of(kind, tmp_path/'runs'/'one')
    hub['me/sslam-v0.1'] = path.parent
    wave = torch.randn(16_000)*0.1
    whole = SSLAM if kind in ('ours', 'ours, shared', 'fairseq', 'fairseq, no EMA') else AudioViT
    vectors = []
    for name in (path, str(path), path.parent, str(path.parent), 'me/sslam-v0.1'):
        model = load_checkpoint(name)
        assert type(model) is (Classifier if 'fine-tuned' in kind else whole) and not model.training
        assert torch.equal(encoder_of(model).cls_token, token)
        start = start_from(recipe('linear/soundscapes', 'tiny', checkpoint=str(name)))
        assert torch.equal(start.encoder.cls_token, token) and str(name) in start.origin
        assert (start.classifier is None) == ('fine-tuned' not in kind)
        vectors.append(embed(name, wave, 16_000, window=1.28).clip)
        if 'fine-tuned' in kind: assert torch.equal(load_classifier(name).head.weight, model.head.weight)
        else:
            with pytest.raises(ValueError, match='holds no classifier'): load_classifier(name)
        if kind.startswith('ours'):
            with pytest.raises(ValueError, match='no official file but one of sslam_nb'): load_official(name)
        elif 'no EMA' in kind:
            with pytest.raises(ValueError, match='missing .*_ema'): load_official(name)
        else: assert torch.equal(encoder_of(load_official(name)).cls_token, token)
    for other in vectors[1:]: assert torch.equal(vectors[0], other)


WORDS = {'ours': ("the file's decoder", "the file's EMA"), 'ours, shared': ("the file's decoder", "the file's EMA"),
         'ours, fine-tuned': ('a new decoder', 'a copy of the student'), 'fairseq': ("the file's decoder", "the file's EMA"),
         'fairseq, no EMA': ("the file's decoder", 'a copy of the student, as the file has no EMA'),
         'fairseq, fine-tuned': ('a new decoder', 'a copy of the student'),
         'hub': ('a new decoder', 'a copy of the student'), 'hub, fine-tuned': ('a new decoder', 'a copy of the student')}


@pytest.mark.parametrize('kind', KINDS)
def test_pretraining_goes_on(kind, tmp_path, hub, monkeypatch):
    "Two updates from every kind of file; what they start from is seen before the first, and said in words."
    path, token = files_of(kind, tmp_path/'one')
    hub['me/sslam-v0.1'] = path.parent
    seen = {}
    def first(accelerator, model, *rest, **more):
        if not seen: seen.update({name: value.clone() for name, value in model.state_dict().items()})
        return real(accelerator, model, *rest, **more)
    from sslam_nb.training import pretrain as chapter
    real = chapter.train_steps
    monkeypatch.setattr(chapter, 'train_steps', first)
    data = SoundscapeDataset(4, duration=1.28)
    run = pretrain(CFG, data, tmp_path/'run', init='me/sslam-v0.1', device='cpu', quiet=True)
    assert run.history.step.tolist() == [1, 2] and run.history.loss.notna().all()
    decoder, teacher = WORDS[kind]
    assert run.start.startswith('student from me/sslam-v0.1 (') and run.start.endswith(f', {decoder}, teacher: {teacher}')
    assert ('official' in run.start) == (not kind.startswith('ours'))
    assert load_checkpoint(tmp_path/'run').provenance['start'] == run.start

    found = load_checkpoint(path)
    teacher_of = found.teacher.encoder if isinstance(found, SSLAM) else encoder_of(found)
    assert torch.equal(seen['student.cls_token'], token)
    assert torch.equal(seen['teacher.encoder.cls_token'], teacher_of.cls_token)
    assert torch.equal(seen['teacher.encoder.cls_token'], token) == (kind not in ('fairseq',))
    if isinstance(found, SSLAM): assert torch.equal(seen['decoder.proj.weight'], found.decoder.proj.weight)
    assert not torch.equal(run.model.student.blocks[0].mlp[0].weight, seen['student.blocks.0.mlp.0.weight'])


def test_a_resumed_run_needs_its_start_no_more(tmp_path):
    path, _ = files_of('fairseq', tmp_path/'one')
    cfg, data = override(CFG, save_every=1), SoundscapeDataset(4, duration=1.28)
    class Cut(KeyboardInterrupt): pass
    def power_cut(module, inputs):
        calls.append(isinstance(module, SSLAM))
        if sum(calls) == 2: raise Cut
    calls, hook = [], torch.nn.modules.module.register_module_forward_pre_hook
    handle = hook(power_cut)
    try:
        with pytest.raises(Cut): pretrain(cfg, data, tmp_path/'run', init=path, device='cpu', quiet=True)
    finally: handle.remove()
    path.unlink()
    resumed = pretrain(cfg, data, tmp_path/'run', init=path, device='cpu', resume=True, quiet=True)
    assert resumed.start.startswith(f'student from {path}') and resumed.history.step.tolist() == [1, 2]


def test_what_a_run_cannot_start_from(tmp_path, hub):
    "Another size, two files, text, half a file, an unknown name: said before anything is trained."
    data = SoundscapeDataset(4, duration=1.28)
    def fails(match, init, error=ValueError):
        with pytest.raises(error, match=match): pretrain(CFG, data, tmp_path/'run', init=init, device='cpu', quiet=True)
        assert not (tmp_path/'run'/'model.safetensors').exists()
    large = files.write(files.pretrained(width=192, depth=3), tmp_path/'large.pt')
    fails(r'large.pt does not fit a run of size tiny: width 192 \(here 128\), depth 3 \(here 2\)', large)
    whole = files_of('hub', tmp_path/'hub')[0]
    (tmp_path/'hub'/'again.pt').write_bytes(whole.read_bytes())
    fails('hub holds 2 checkpoints: again.pt, model.safetensors; name one', tmp_path/'hub', FileNotFoundError)
    (tmp_path/'notes.txt').write_text('hello, world')
    fails(r"notes.txt is not a readable checkpoint: it begins with b'hello, wo'.*Looked for", tmp_path/'notes.txt')
    (tmp_path/'empty.pt').touch()
    fails('empty.pt is not a readable checkpoint: it is empty', tmp_path/'empty.pt')
    for name, source in {'half.safetensors': whole, 'half.pt': large}.items():
        (tmp_path/name).write_bytes(source.read_bytes()[:source.stat().st_size//2])
        fails(f'{name} is not a readable .*cut short', tmp_path/name)
    hub['me/both'] = tmp_path/'hub'
    fails('2 checkpoints', 'me/both', FileNotFoundError)


def test_an_unknown_name_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    for take in (load_checkpoint, load_official, load_classifier, lambda name: embed(name, torch.zeros(16_000), 16_000),
                 lambda name: start_from(recipe('linear/soundscapes', 'tiny', checkpoint=name)),
                 lambda name: pretrain(CFG, SoundscapeDataset(4, duration=1.28), tmp_path/'run', init=name, device='cpu')):
        with pytest.raises(FileNotFoundError, match="gave no repository 'nobody/of-this-name'.*copy it here"):
            take('nobody/of-this-name')
