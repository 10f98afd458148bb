"load_official on files of every layout, and on files that do not fit or are broken (test_unpickle.py: that attack)."
import pytest
import torch

import official_files as files
from sslam_nb import AudioViT, Classifier, SSLAM, export_official, load_official
from sslam_nb.training.official import official_name
from sslam_nb.training.unpickle import StandIn, read_pickle

IMAGE = files.IMAGE
EMBED = IMAGE + 'local_encoder.proj.weight'


def same(module, weights, layout, prefix=''):
    "Every tensor of the module is the file's, in float32."
    for name, value in module.state_dict().items():
        key = official_name(prefix + name, layout)
        if not key.endswith('positions'): assert torch.equal(value, weights[key].float()), key


@pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'legacy'])
@pytest.mark.parametrize('rows', [512, 6144], ids=['EAT', 'SSLAM'])     # an old file and a new one
def test_pretrained(tmp_path, rows, zipped):
    weights = files.pretrained(rows=rows)
    path = files.write(weights, tmp_path/'checkpoint_last.pt', zipped)
    model = load_official(path)
    assert type(model) is SSLAM and not model.training and model.cfg.spectrogram.mean == -4.268
    assert (model.cfg.encoder.n_heads, model.cfg.encoder.depth, model.cfg.decoder.decoder_groups) == (2, 2, 16)
    ema = {f'_ema.{k}': v for k, v in weights.pop('_ema').items()}
    same(model, weights | ema, 'pretrained')
    for encoder in (model.student, model.teacher.encoder):
        torch.testing.assert_close(encoder.pos_embed, files.positions(128, 6144), rtol=0, atol=1e-3)
    teacher = load_official(path, which='teacher')
    assert type(teacher) is AudioViT
    same(teacher, ema, 'pretrained', 'teacher.encoder.')
    again = read_pickle(export_official(model, tmp_path/'back.pt'))['model']
    back = again | {f'_ema.{k}': v for k, v in again.pop('_ema').items()}
    assert back.keys() == (weights | ema).keys()
    for key, value in (weights | ema).items():
        if rows == 6144 or not key.endswith('positions'): assert torch.equal(back[key], value.float()), key
    with torch.no_grad(): model.student.blocks[0].norm1.weight.zero_()              # no storage is shared
    same(model.teacher.encoder, ema, 'pretrained', 'teacher.encoder.')


@pytest.mark.parametrize('kind', ['zip', 'legacy', 'safetensors', 'bin'])
def test_finetuned(tmp_path, kind):
    weights, layout = files.finetuned(classes=5), 'finetuned'
    if kind in ('zip', 'legacy'): path = files.write(weights, tmp_path/'checkpoint_best.pt', kind == 'zip')
    else:
        weights, layout = files.hub(files.encoder_weights() | files.head_weights()), 'hub'
        path = files.write_hub(weights, tmp_path/f'model.{kind}')
    names = ['a', 'b', 'c', 'd', 'e']
    model = load_official(tmp_path, n_classes=5, classes=names)                     # the folder holds one file
    assert type(model) is Classifier and model.classes == tuple(names)
    same(model, weights, layout)
    clip = torch.randn(2, 64, 128)
    assert torch.equal(load_official(export_official(model, tmp_path/'back.pt'))(clip), model(clip))
    with pytest.raises(ValueError, match=f'{path.name} has a head of 5 classes, but 50 classes are expected'):
        load_official(path, n_classes=50)
    with pytest.raises(ValueError, match='has no teacher'): load_official(path, which='teacher')


def test_hub_encoder(tmp_path):
    path = files.write_hub(files.hub(files.encoder_weights()), tmp_path/'model.safetensors')
    assert type(load_official(path)) is AudioViT
    with pytest.raises(FileNotFoundError, match="gave no repository 'nobody/nothing-of-this-name'"):
        load_official('nobody/nothing-of-this-name')


@pytest.mark.parametrize('layout', ['pretrained', 'finetuned', 'hub'])
def test_strict(tmp_path, layout):
    make = {'pretrained': files.pretrained, 'finetuned': files.finetuned,
            'hub': lambda: files.hub(files.encoder_weights() | files.head_weights())}[layout]
    norm, embed = (official_name(name, layout) for name in ('encoder.blocks.1.norm1.bias', 'encoder.patch_embed.proj.weight'))
    def fails(match, **changes):
        weights = {k: v for k, v in (make() | changes).items() if v is not None}
        with pytest.raises(ValueError, match=match) as error: load_official(files.write(weights, tmp_path/'spoilt.pt'))
        assert 'spoilt.pt' in str(error.value)
    fails(rf'1 missing \({norm}\)', **{norm: None})
    fails(r'1 surplus \(blocks.0.attn.alibi\)', **{'blocks.0.attn.alibi': torch.ones(1)})
    fails(rf'wrong shape \({embed} \(128, 3, 16, 16\)', **{embed: torch.zeros(128, 3, 16, 16)})
    fails(rf'1 with NaN or infinity \({norm}\)', **{norm: torch.full((128,), float('nan'))})
    fails(rf'1 not of real numbers \({norm}\)', **{norm: [0.0]*128})
    if layout == 'pretrained':
        fails('2 missing .*_ema.blocks.0', _ema={k: v for k, v in make()['_ema'].items() if 'blocks.0.mlp.fc1' not in k})
        fails('30 missing', _ema=None)
        fails('1 with NaN', _ema=make()['_ema'] | {EMBED: torch.full((128, 1, 16, 16), float('inf'))})


def test_wrong_files(tmp_path):
    def fails(match, path, error=ValueError, **given):
        with pytest.raises(error, match=match): load_official(path, **given)
    whole = files.write(files.pretrained(), tmp_path/'whole.pt')
    for name, source in {'zip.pt': whole, 'legacy.pt': files.write(files.pretrained(), tmp_path/'old.pt', False),
                         'half.safetensors': files.write_hub(files.hub(files.encoder_weights()), tmp_path/'w.safetensors')}.items():
        for share in (0.001, 0.5, 0.99):
            data = source.read_bytes()
            (tmp_path/name).write_bytes(data[:int(len(data)*share)])
            fails(f'{name} is not a readable', tmp_path/name)
    (tmp_path/'text.pt').write_text('hello\n'*100)
    fails('text.pt is not a readable', tmp_path/'text.pt')
    fails('another architecture', files.write({'conv1.weight': torch.ones(1)}, tmp_path/'resnet.pt'))
    fails('width 96 is not a multiple', files.write(files.pretrained(width=96), tmp_path/'narrow.pt'))
    fails('no checkpoint at', tmp_path/'none.pt', FileNotFoundError)
    fails('holds [0-9]+ checkpoints: .*name one', tmp_path, FileNotFoundError)
    (tmp_path/'empty').mkdir()
    fails('has no checkpoint .*it holds no file', tmp_path/'empty', FileNotFoundError)
    fails('neither student nor teacher', whole, which='ema')


def test_foreign_objects_are_inert(tmp_path):
    path = files.write(files.pretrained(), tmp_path/'a.pt')
    for installed in (False, True):                                                # and if fairseq were installed
        if installed:
            with files.fairseq(): content = read_pickle(path); assert files.MARKER == []
        else: content = read_pickle(path)
        task, config = content['cfg']['task'], content['extra_state']['config']
        assert isinstance(task, StandIn) and task.state['_content'] == {'data': '/data'}
        assert config.origin == 'fairseq.dataclass.configs.FairseqConfig' and config.state == {'lr': [0.1]}
        assert content['cfg']['mode'].args == (2,) and content['cfg']['model']['extra'].state == {'seed': 1}
        assert content['task_state'] == {'seen': {1, 2}}
