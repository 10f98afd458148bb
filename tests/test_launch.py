"A job of two tasks that Slurm, here three stand-ins of a few lines, stops and starts again: as if nothing had been."
import os, re, signal, subprocess, sys, time
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sslam_nb.training import launch
from sslam_nb.training.state import latest_state

pytest.importorskip('submitit', reason="pip install 'sslam_nb[slurm]'")

TRAIN = """
from sslam_nb import SoundscapeDataset, override, preset, pretrain

def train(folder):
    cfg = override(preset('stage2', 'tiny'), batch_size=4, width=32, depth=2, n_heads=2, decoder_width=16, local_top_k=2,
                   target_frames=128, unmixed_frames=32, epochs=10, save_every=4, log_with='none')
    pretrain(cfg, SoundscapeDataset(32, seed=1, duration=1.28), folder, device='cpu', resume=True, quiet=True)
"""
# sbatch notes the job; srun starts what follows its options as two tasks; a requeue is noted, and begins below
COMMANDS = dict(
    sbatch='cp "$1" queued.sh; echo "Submitted batch job 4711"',
    srun="""while [[ $1 == --* ]]; do case $1 in --output|--error) shift 2;; *) shift;; esac; done
for k in 0 1; do SLURM_PROCID=$k SLURM_LOCALID=$k "$@" >task$k.log 2>&1 & pids[$k]=$!; done
echo "${pids[@]}" >pids.new; mv pids.new pids
for pid in "${pids[@]}"; do wait "$pid"; echo $? >>ends; done""",
    scontrol='echo "$*" >>asked')
SLURM = dict(SLURM_JOB_ID='4711', SLURM_NTASKS='2', SLURM_JOB_NUM_NODES='1', SLURM_NODEID='0', SLURM_JOB_NODELIST='localhost')

@pytest.fixture
def place(tmp_path, monkeypatch):
    "A folder with train.py, and the commands of Slurm before all others."
    (tmp_path/'train.py').write_text(TRAIN)
    for name, text in COMMANDS.items():
        (tmp_path/name).write_text(f'#!/bin/bash\n{text}\n')
        (tmp_path/name).chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    monkeypatch.setattr(launch, '_OF_ONE_NODE', ())             # it is all one node here
    sys.modules.pop('train', None)
    yield tmp_path
    sys.modules.pop('train', None)

def scheduled():
    "The queued script, as Slurm would run it."
    for name in ('pids', 'ends'): Path(name).unlink(missing_ok=True)
    return subprocess.Popen(['bash', 'queued.sh'], env=os.environ | SLURM)

def logs(): return ''.join(Path(f'task{k}.log').read_text() for k in range(2))

def test_a_job_that_is_stopped_and_queued_again_ends_at_the_same_weights(place):
    from train import train
    whole = launch.submit(partial(train, 'whole'), 'jobs', gpus=2, cluster='local')
    job = launch.submit(partial(train, 'cut'), 'jobs', gpus=2, hours=2, partition='gpu', account='lab', cluster='slurm')
    script = Path('queued.sh').read_text()
    assert subprocess.run(['bash', '-n', 'queued.sh']).returncode == 0
    for flag in ('gpus-per-node=2', 'ntasks-per-node=2', 'nodes=1', 'time=120', 'signal=USR2@300', 'partition=gpu',
                 'account=lab', 'requeue', 'open-mode=append'):
        assert f'#SBATCH --{flag}\n' in script, script
    assert whole.results() == [None, None]

    slurm = scheduled()
    while not latest_state(place/'cut'): assert slurm.poll() is None, logs(); time.sleep(0.02)
    for pid in Path('pids').read_text().split(): os.kill(int(pid), signal.SIGUSR2)      # to every task, as Slurm does
    slurm.wait()
    assert Path('asked').read_text() == 'requeue 4711\n', logs()
    assert Path('ends').read_text().split() == ['255', '0'], logs()             # the first leaves by submitit's handler
    assert latest_state(place/'cut') and not list(Path('jobs').glob('4711_*_result.pkl')), 'it is not over'

    slurm = scheduled()
    slurm.wait()
    assert Path('ends').read_text().split() == ['0', '0'], logs()
    assert re.search(r'cut goes on from step [1-9]', logs()) and job.results() == [None, None]
    weights = [load_file(f'{run}/model.safetensors') for run in ('whole', 'cut')]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())

def test_before_training_there_is_nothing_to_save_and_the_signal_queues_at_once(place):
    (place/'waits.py').write_text('import os, signal, time\n'
                                  'def told(): os.kill(os.getpid(), signal.SIGUSR2); time.sleep(60)\n')
    (place/'srun').write_text((place/'srun').read_text().replace('in 0 1', 'in 0'))
    from waits import told
    launch.submit(told, 'jobs', gpus=1, cluster='slurm')
    scheduled().wait()
    assert Path('asked').read_text() == 'requeue 4711\n', Path('task0.log').read_text()

def test_a_wrong_name_for_slurm_is_said_with_the_right_ones(place):
    with pytest.raises(NameError, match=r"Unknown argument 'acount'.*account"):
        launch.submit(print, 'jobs', gpus=2, cluster='slurm', acount='lab')
