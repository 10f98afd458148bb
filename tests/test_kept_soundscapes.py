"Rendered sets on disk: several processes at once, a full disk, loader processes, and nothing else changes."
import hashlib, os, subprocess, sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sslam_nb.config import override, preset
from sslam_nb.data.access import open_data
from sslam_nb.data.loading import make_loader, open_clips
from sslam_nb.data.kept_soundscapes import KeptSoundscapes
from sslam_nb.data.soundscapes import SoundscapeDataset
from sslam_nb.training.state import run_identity

ROOT = Path(__file__).resolve().parents[1]

@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv('SSLAM_NB_CACHE', str(tmp_path/'kept'))
    return tmp_path/'kept'/'soundscapes'

def digest_of(n, before=''):
    "A program that prints what it says, and a checksum of all samples of a set of short clips."
    return f'''
import hashlib, resource, signal
from sslam_nb.data.kept_soundscapes import KeptSoundscapes
{before}
clips = KeptSoundscapes({n}, duration=0.5)
print(hashlib.sha256(b''.join(clip.wave.tobytes() for clip in clips)).hexdigest())
'''

def start(program):
    return subprocess.Popen([sys.executable, '-c', program], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env=os.environ | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'))

def finish(process):
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    return out.splitlines()

def wanted(n):
    return hashlib.sha256(b''.join(clip.wave.tobytes() for clip in SoundscapeDataset(n, duration=0.5))).hexdigest()

def test_two_runs_that_start_at_once_leave_one_whole_file(folder):
    "130 clips are enough for two processes each, so four render."
    both = [start(digest_of(130)) for _ in range(2)]
    assert [finish(process) for process in both] == [[wanted(130)]]*2
    assert [path.suffix for path in folder.iterdir()] == ['.npy']
    again = KeptSoundscapes(130, duration=0.5)
    assert again[129].wave.tobytes() == SoundscapeDataset(130, duration=0.5)[129].wave.tobytes()

def test_a_full_disk_stops_no_run(folder):
    "A file may grow to 100 kB here, which the system refuses as it refuses more than a disk holds."
    limit = 'signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, 10**5))'
    said, digest = finish(start(digest_of(70, limit)))
    assert digest == wanted(70) and list(folder.iterdir()) == []
    assert said.endswith('cannot be used (File too large): soundscapes are rendered when they are needed, and not kept')

def test_loader_processes_read_the_file_and_damage_is_repaired_there(folder):
    cfg = override(preset('stage1', 'tiny'), n_clips=12, probe_clips=(4, 4), target_frames=64, unmixed_frames=16)
    clips = open_data(cfg).pretrain
    clips.ready()
    raw = bytearray(clips.path.read_bytes()); raw[-3] ^= 1; clips.path.write_bytes(raw)
    read = lambda source, workers: torch.cat([batch['log_mel'] for batch in make_loader(
        open_clips(override(cfg, workers=workers), source), 4, workers, shuffle=False)])
    assert torch.equal(read(clips, 1), read(SoundscapeDataset(12, duration=0.64), 0))
    raw[-3] ^= 1
    assert clips.path.read_bytes() == raw

def test_a_run_is_the_same_with_and_without_a_file():
    "Its identity, and every random number that it draws."
    cfg = override(preset('stage1', 'tiny'), n_clips=130, target_frames=64, unmixed_frames=16)
    torch.manual_seed(1); np.random.seed(1)
    kept = KeptSoundscapes(130, duration=0.64)
    kept.ready()
    drawn = (torch.rand(3).tolist(), np.random.rand(3).tolist())
    torch.manual_seed(1); np.random.seed(1)
    assert drawn == (torch.rand(3).tolist(), np.random.rand(3).tolist())
    assert run_identity(cfg, kept, 1) == run_identity(cfg, SoundscapeDataset(130, duration=0.64), 1)
