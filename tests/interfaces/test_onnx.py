"An ONNX file run by onnxruntime, and a program of torch.export run without this package, give what `embed` gives."
import json, resource, subprocess, sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sslam_nb import SSLAM, AudioViT, Classifier, embed, preset
from sslam_nb.config import EncoderConfig, SpectrogramConfig
from sslam_nb.data.soundscapes import synthesize
from sslam_nb.spectrogram import LogMel
from sslam_nb.training.weights import weights_hash
from sslam_nb.use.onnx_export import export_onnx, export_program

for library in ('onnx', 'onnxscript', 'onnxruntime'):
    pytest.importorskip(library, reason=f"needs {library}: pip install 'sslam_nb[onnx]'")
import onnx
import onnxruntime

CLOSE = 1e-4

def large(model):
    "Weights of a new model are so small that its output hardly depends on the sound; these are larger."
    with torch.no_grad():
        for p in model.blocks.parameters(): p.mul_(3)
    return model

@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    model = SSLAM(preset('stage2', 'tiny')).eval()
    large(model.student)
    model.provenance = dict(step=7, data='synthetic')
    return model

def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4                      # errors are raised; they need not be printed as well
    return onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])

def run(path, **inputs):
    return [torch.from_numpy(out) for out in session(path).run(None, {k: v.numpy() for k, v in inputs.items()})]

def names_files(path):
    "Whether source files of this machine are named in it."
    return any(text in path.read_bytes() for text in (b'.py"', b'.py\\"', str(Path(__file__).parents[2]).encode()))

@pytest.fixture(scope='module')
def wave_file(model, tmp_path_factory): return export_onnx(model, tmp_path_factory.mktemp('onnx')/'wave.onnx')

@pytest.fixture(scope='module')
def encoder_file(model, tmp_path_factory):
    return export_onnx(model, tmp_path_factory.mktemp('onnx')/'encoder.onnx', 'encoder', pool='concat')

def sounds(batch, n):
    "Noise, a loud tone, a siren, silence and a recording with an offset, again and again (batch, n)."
    t, rng = np.arange(n)/16_000, np.random.default_rng(n)
    siren = np.resize(synthesize('siren', 0, 2.0), n)
    noise = rng.standard_normal(n)
    kinds = [0.1*noise, 0.9*np.sin(2*np.pi*440*t), 0.5*siren, np.zeros(n), 0.5 + 0.01*noise]
    return torch.from_numpy(np.stack([kinds[i % 5] for i in range(batch)])).float()

@pytest.mark.parametrize('n', [400, 559, 2960, 16_000, 30_001, 40_960, 41_200])
@pytest.mark.parametrize('batch', [1, 3, 16])
def test_wave_is_embed(model, wave_file, batch, n):
    wave = sounds(batch, n)
    clip, frames = run(wave_file, wave=wave)
    expected = embed(model, wave, 16_000)
    assert clip.shape == expected.clip.shape and (clip - expected.clip).abs().max() < CLOSE
    assert frames.shape == torch.stack(expected.frames).shape
    assert (frames - torch.stack(expected.frames)).abs().max() < CLOSE

@pytest.mark.parametrize('n_frames', [16, 32, 160, 256, 512])
@pytest.mark.parametrize('batch', [1, 3, 16])
def test_encoder_is_the_encoder(model, encoder_file, batch, n_frames):
    log_mel = torch.randn(batch, n_frames, 128, generator=torch.Generator().manual_seed(n_frames))
    clip, frames = run(encoder_file, log_mel=log_mel)
    with torch.no_grad(): expected = model.student(log_mel)
    columns = expected.patches.unflatten(1, (-1, 8)).mean(2)
    assert frames.shape == columns.shape and (frames - columns).abs().max() < CLOSE
    assert (clip - torch.cat([expected.cls, columns.mean(1)], 1)).abs().max() < CLOSE

@pytest.mark.parametrize('pool', ['mean', 'concat'])
@pytest.mark.parametrize('layer', [None, 0, 1])
def test_pools_and_layers(model, tmp_path, pool, layer):
    wave = sounds(3, 20_000)
    clip, frames = run(export_onnx(model, tmp_path/'a.onnx', pool=pool, layer=layer), wave=wave)
    expected = embed(model, wave, 16_000, pool=pool, layer=layer)
    assert (clip - expected.clip).abs().max() < CLOSE
    assert (frames - torch.stack(expected.frames)).abs().max() < CLOSE

@pytest.mark.parametrize('rate, n_mels', [(16_000, 128), (32_000, 64)])
def test_other_models(tmp_path, rate, n_mels):
    "A classifier of another rate and number of mel bins, in training mode with drop path; it stays in it."
    torch.manual_seed(0)
    cfg = EncoderConfig(width=64, depth=2, n_heads=2, max_time_patches=20, drop_path=0.5)
    encoder = large(AudioViT(cfg, n_mels))
    spectrogram = SpectrogramConfig(sample_rate=rate, n_mels=n_mels, target_frames=160)
    classifier = Classifier(encoder, 3, spectrogram=spectrogram).train()
    wave = sounds(2, rate)
    clip, _ = run(export_onnx(classifier, tmp_path/'a.onnx'), wave=wave)
    assert (clip - embed(classifier, wave, rate).clip).abs().max() < CLOSE
    assert classifier.training and all(p.requires_grad for p in classifier.parameters())

def test_limits_are_errors_of_the_runtime(wave_file, encoder_file):
    wave, encoder = session(wave_file), session(encoder_file)
    for n in (0, 1, 399, 41_201, 160_000):
        with pytest.raises(Exception, match='ONNXRuntimeError'): wave.run(None, {'wave': np.ones((2, n), np.float32)})
    for shape in ((1, 40, 128), (1, 8, 128), (1, 2064, 128), (1, 32, 64)):
        with pytest.raises(Exception, match='ONNXRuntimeError'):
            encoder.run(None, {'log_mel': np.ones(shape, np.float32)})
    bad = torch.full((2, 16_000), 0.1); bad[1, 7] = torch.nan
    clip, _ = run(wave_file, wave=bad)
    assert clip[0].isfinite().all() and clip[1].isnan().all()

def test_what_the_file_says(model, wave_file, encoder_file):
    for path, name, length in ((wave_file, 'wave', 'samples'), (encoder_file, 'log_mel', 'frames')):
        onnx.checker.check_model(str(path), full_check=True)
        found = session(path)
        assert [(i.name, i.shape[:2]) for i in found.get_inputs()] == [(name, ['batch', length])]
        clip, frames = found.get_outputs()
        assert (clip.name, clip.shape[0]) == ('clip', 'batch')
        assert (frames.name, frames.shape[:2]) == ('frames', ['batch', 'columns'])
        facts, cfg = found.get_modelmeta().custom_metadata_map, model.cfg.spectrogram
        assert (facts['input'], int(facts['sample_rate']), float(facts['mean'])) == (name, cfg.sample_rate, cfg.mean)
        assert facts['weights'] == weights_hash(model.student) and json.loads(facts['provenance']) == model.provenance
        assert not names_files(path)
    assert 'DFT' not in {node.op_type for node in onnx.load(wave_file).graph.node}

def test_the_facts_are_enough_to_feed_the_encoder(model, encoder_file):
    "Somebody with the file alone makes the log-mel from its metadata."
    facts = session(encoder_file).get_modelmeta().custom_metadata_map
    whole, real = [int(facts[k]) for k in ('sample_rate', 'n_mels')], [float(facts[k]) for k in ('mean', 'std')]
    cfg = SpectrogramConfig(*whole, 256, *real)
    wave = sounds(3, 40_960)
    clip, _ = run(encoder_file, log_mel=torch.stack([LogMel(cfg)(one) for one in wave]))
    width = model.student.cfg.width
    assert (clip[:, :width] - embed(model, wave, 16_000).clip).abs().max() < CLOSE

def test_a_checkpoint_by_name(model, tmp_path):
    model.save_pretrained(tmp_path/'checkpoint')
    path = export_onnx(tmp_path/'checkpoint', tmp_path/'deep'/'er'/'a.onnx')
    wave = sounds(1, 16_000)
    assert (run(path, wave=wave)[0] - embed(model, wave, 16_000).clip).abs().max() < CLOSE

def test_a_full_disk_leaves_what_was_there(model, tmp_path):
    path = tmp_path/'a.onnx'
    path.write_bytes(b'before')
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match='a.onnx'): export_onnx(model, path)
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b'before' and list(tmp_path.iterdir()) == [path]

def test_nothing_is_written_for_wrong_arguments(model, tmp_path):
    for wrong, error in ((dict(pool='max'), 'pool='), (dict(what='both'), 'what='), (dict(layer=9), 'layer=9')):
        with pytest.raises(ValueError, match=error): export_onnx(model, tmp_path/'a.onnx', **wrong)
    with pytest.raises(ValueError, match='no weights'): export_onnx(SSLAM(model.cfg).to('meta'), tmp_path/'a.onnx')
    with pytest.raises(IsADirectoryError, match='is a folder'): export_onnx(model, tmp_path)
    with pytest.raises(TypeError, match='has no encoder'): export_onnx(torch.nn.Linear(1, 1), tmp_path/'a.onnx')
    assert list(tmp_path.iterdir()) == []

def test_a_program_runs_without_this_package(model, tmp_path):
    torch.export.save(export_program(model), tmp_path/'model.pt2')
    assert not names_files(tmp_path/'model.pt2')
    wave = sounds(3, 16_000)
    torch.save(wave, tmp_path/'wave.pt')
    code = '''if True:
        import sys, torch
        sys.meta_path.insert(0, type('No', (), {'find_spec': staticmethod(
            lambda name, *_: exec('raise ImportError(name)') if name.startswith('sslam_nb') else None)}))
        clip, frames = torch.export.load('model.pt2').module()(torch.load('wave.pt'))
        torch.save(clip, 'clip.pt')
        assert 'sslam_nb' not in sys.modules'''
    subprocess.run([sys.executable, '-I', '-c', code], cwd=tmp_path, check=True)
    assert (torch.load(tmp_path/'clip.pt') - embed(model, wave, 16_000).clip).abs().max() < CLOSE
