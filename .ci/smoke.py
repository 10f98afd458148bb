"""Does an installed sslam_nb do what it says, without the repository? PYTHON smoke.py, with the Python it is installed for.

Works in an empty temporary folder. Needs no extra, no network and no GPU; it takes about half a minute."""
import importlib, json, os, pkgutil, subprocess, sys, tempfile
from importlib.metadata import metadata, version
from pathlib import Path

import numpy as np

RATE = 16_000

def import_everything():
    "Every module but the figures, which need matplotlib; the same names in `__all__` as in the chapters."
    import sslam_nb
    home = Path(sslam_nb.__file__).parent
    assert not (home.parent/'settings.ini').exists(), f'{home} is a checkout, not an installed package'
    assert sslam_nb.__version__ == version('sslam_nb'), (sslam_nb.__version__, version('sslam_nb'))
    assert (home/'py.typed').is_file() and metadata('sslam_nb')['License-Expression'] == 'MIT'
    names = [m.name for m in pkgutil.walk_packages(sslam_nb.__path__, 'sslam_nb.') if not m.name.endswith('figures')]
    for name in names: importlib.import_module(name)
    for name in sslam_nb.__all__: getattr(sslam_nb, name)
    return f'{len(names)} modules and {len(sslam_nb.__all__)} names of sslam_nb {sslam_nb.__version__}'

def command(*words):
    "What `sslam` prints, where pip has put it."
    done = subprocess.run([Path(sys.executable).with_name('sslam'), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout

def embed_and_predict():
    "The same vector by Python and by command; labels of a file."
    import soundfile, torch
    from sslam_nb import embed, load_checkpoint, predict
    wave = 0.3*np.sin(np.arange(3*RATE)*2*np.pi*440/RATE)
    model = load_checkpoint('demo')
    clip, frames, times = embed(model, wave, RATE)
    assert clip.isfinite().all() and len(frames) == len(times) == 19, (clip.shape, frames.shape)
    scores = predict(model, wave, RATE, top=3)
    os.mkdir('sounds'); soundfile.write('sounds/tone.wav', wave, RATE, subtype='FLOAT')
    command('embed', 'sounds', '-m', 'demo', '-o', 'vectors.npy')
    assert torch.allclose(torch.from_numpy(np.load('vectors.npy')[0]), clip, atol=1e-4)
    assert 'tone.wav' in command('predict', 'sounds', '-m', 'demo', '--threshold', '0')
    return f'{len(clip)} numbers a clip; {", ".join(scores)}'

def train():
    "A few steps of each stage; the checkpoint comes back as it was."
    from sslam_nb import SSLAM, load_checkpoint, open_data, override, preset, pretrain
    small = dict(max_steps=2, n_clips=32, probe_clips=(8, 8), log_every=1)
    cfg = override(preset('stage1', 'tiny'), **small)
    first = pretrain(cfg, open_data(cfg).pretrain, 'runs/stage1', device='cpu', quiet=True)
    cfg = override(preset('stage2', 'tiny'), **small)
    run = pretrain(cfg, open_data(cfg).pretrain, 'runs/stage2', init=first.folder/'model.safetensors', device='cpu',
                   quiet=True)
    assert np.isfinite(run.history.loss).all()
    run.model.save_pretrained('shared')
    for found in (load_checkpoint(run.folder/'model.safetensors'), SSLAM.from_pretrained('shared')):
        ours, theirs = run.model.state_dict(), found.state_dict()
        assert ours.keys() == theirs.keys() and all(theirs[name].equal(value) for name, value in ours.items())
    return f'loss {run.history.loss.iloc[-1]:.3g} after {len(run.history)} steps; the checkpoint is read as it was written'

def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        assert f"sslam_nb {version('sslam_nb')}" == command('--version').strip()
        for step in (import_everything, embed_and_predict, train): print(f'{step.__name__}: {step()}', flush=True)
        os.chdir('/')
    print('smoke test passed, Python', json.dumps(sys.version.split()[0]))

if __name__ == '__main__': main()
