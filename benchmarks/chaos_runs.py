"""Kills, power cuts, signals and a soak of training runs: python benchmarks/chaos_runs.py [KILLS] [CUTS] [STEPS]

Each trial trains in a process of its own, is ended at a random moment, resumed, and must end at the weights of the run that
nobody disturbed, bit for bit. A power cut is simulated: what was not synced to the disk before the kill is cut or gone, and a
renaming that the folder was not synced after is undone, each with probability 1/2. Prints a table in markdown."""
import atexit, json, os, random, shutil, signal, subprocess, sys, tempfile, threading, time, warnings
from multiprocessing import get_context
from pathlib import Path

CFG = dict(n_clips=24, batch_size=4, epochs=9, max_steps=10, save_every=2, log_every=1, width=32, depth=1, n_heads=1, decoder_width=16,
           local_top_k=1, global_top_k=1, global_top_k_unmixed=1, max_time_patches=16, target_frames=128, unmixed_frames=32, seed=3)
FORKS = get_context('forkserver')           # a process that has imported torch, and is copied for every run
IMPORTED = ['sslam_nb.training.pretrain', 'sslam_nb.data.access']


def keep_journal(path):
    "Write down every fsync and every renaming, as they happen."
    log, fsync, replace = open(path, 'a', buffering=1), os.fsync, os.replace
    name = lambda handle: os.readlink(f'/proc/self/fd/{handle}')
    def synced(handle): fsync(handle); log.write(json.dumps(['sync', name(handle), os.fstat(handle).st_ino]) + '\n')
    def renamed(a, b, **options):
        replace(a, b, **options); log.write(json.dumps(['rename', str(Path(a).absolute()), str(Path(b).absolute())]) + '\n')
    os.fsync, os.replace = synced, renamed
    Path.replace = lambda self, target: renamed(self, target) or Path(target)


def cut_power(folder, journal, since, rng):
    "Leave on the disk what a power cut may leave: what was not synced since the machine was started is lost, some of it."
    events = [json.loads(line) for line in open(journal)] if os.path.exists(journal) else []
    synced = {event[2] for event in events if event[0] == 'sync'}                # a file keeps its number when it is renamed
    for path in [p for p in Path(folder).rglob('*') if p.is_file()]:
        if path.stat().st_mtime >= since and path.stat().st_ino not in synced and rng.random() < .5:
            os.truncate(path, rng.randrange(path.stat().st_size + 1)) if rng.random() < .5 else path.unlink()
    for i, event in reversed(list(enumerate(events))):
        if event[0] != 'rename': continue
        parent = str(Path(event[2]).parent)
        if any(later[0] == 'sync' and later[1] == parent for later in events[i + 1:]) or rng.random() < .5: continue
        if os.path.exists(event[2]) and not os.path.exists(event[1]): os.rename(event[2], event[1])


def train(out, folder, mode, pause, journal, changes):
    "What a child does; it ends as a program of its own would."
    import torch
    from sslam_nb import open_data, override, preset, pretrain
    from sslam_nb.training import pretrain as chapter
    for stream in (1, 2): os.dup2(out.fileno(), stream)
    out.close()
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    if journal: keep_journal(journal)
    update = chapter.update
    def slow(*args): time.sleep(pause); return update(*args)
    chapter.update = slow
    try:
        cfg = override(preset('stage2', 'tiny'), **changes)
        print('ready', flush=True)
        pretrain(cfg, open_data(cfg).pretrain, folder, device='cpu', quiet=True, resume=mode == 'resume')
    except KeyboardInterrupt:
        sys.stdout.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL); os.kill(os.getpid(), signal.SIGINT)
    finally: atexit._run_exitfuncs()


class Child:
    "A run in a process of its own; used like subprocess.Popen."
    def __init__(self, *given):
        FORKS.set_forkserver_preload(IMPORTED)
        here, out = FORKS.Pipe(duplex=False)
        self.process = FORKS.Process(target=train, args=(out, *given))
        self.process.start()
        out.close()
        self.stdout, self.pid = open(os.dup(here.fileno()), encoding='utf-8'), self.process.pid
        here.close()
    def send_signal(self, number):
        if self.process.is_alive(): os.kill(self.pid, number)
    def kill(self): self.send_signal(signal.SIGKILL)
    def wait(self, limit=None):
        self.process.join(limit)
        return self.process.exitcode


def start(folder, mode='new', pause=0.0, journal='', changes=CFG):
    return Child(str(folder), mode, pause, str(journal), changes)


def finish(child, limit=300):
    timer = threading.Timer(limit, child.kill)
    timer.start()
    with child.stdout as stdout: out = stdout.read()
    timer.cancel()
    return child.wait(), out


def weights(folder):
    from safetensors.torch import load_file
    return load_file(Path(folder)/'model.safetensors')


def same(a, b): return a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)


def undisturbed(folder):
    code, out = finish(start(folder))
    assert code == 0, out[-2000:]
    return weights(folder)


def trial(folder, right, rng, number=signal.SIGKILL, power=False):
    "One run, ended at a random moment and resumed until it is finished; '' or what went wrong."
    journal = f'{folder}.journal' if power else ''
    for attempt in range(6):
        since = time.time()
        child = start(folder, 'resume' if attempt else 'new', .05, journal)
        while child.stdout.readline().strip() not in ('ready', ''): pass
        if attempt < 2:
            time.sleep(rng.uniform(.1, 1.6)); child.send_signal(number)
        code, out = finish(child)
        outside = 'starts from' not in out or (Path(folder)/'model.safetensors').is_file()     # before the run, or after it
        if code == 0: return '' if same(weights(folder), right) else 'other weights'
        if code == -number and outside: continue
        if number != signal.SIGKILL and attempt < 2 and (code != 128 + number or 'resume=True' not in out and 'Traceback' in out):
            return f'exit status {code}: {out[-300:]}'
        if attempt >= 2: return f'does not go on: {out[-400:]}'
        if power: cut_power(folder, journal, since, rng); Path(journal).unlink(missing_ok=True)
    return 'never finished'


def many(count, right, seed=0, **how):
    "Trials that went wrong, of so many."
    wrong, rng = [], random.Random(seed)
    for k in range(count):
        folder = Path(tempfile.mkdtemp())/'run'
        try:
            if said := trial(folder, right, rng, **how): wrong.append(f'trial {k}: {said}')
        finally: shutil.rmtree(folder.parent, ignore_errors=True)
    return wrong


def soak(steps):
    "Memory after a tenth of the steps and at the end [MiB]."
    code = '''
import os, resource, sys, tempfile
from sslam_nb import open_data, override, preset, pretrain
from sslam_nb.training import pretrain as chapter
update, seen = chapter.update, []
def watched(*args):
    seen.append(int(open('/proc/self/statm').read().split()[1])*os.sysconf('SC_PAGE_SIZE')/2**20); return update(*args)
chapter.update = watched
steps = int(sys.argv[1])
cfg = override(preset('stage2', 'tiny'), **(__import__('json').loads(sys.argv[2]) | dict(max_steps=steps, epochs=steps, save_every=max(10, steps//20), log_every=10)))
pretrain(cfg, open_data(cfg).pretrain, tempfile.mkdtemp(), device='cpu', quiet=True)
print('memory', seen[len(seen)//4], seen[-1])
'''
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code, str(steps), json.dumps(CFG)], capture_output=True, text=True,
                          env=os.environ | dict(OMP_NUM_THREADS='1'))
    assert done.returncode == 0, done.stderr[-2000:]
    return tuple(map(float, done.stdout.split('memory')[1].split()))


def main(kills=20, cuts=20, steps=2000):
    home = Path(tempfile.mkdtemp())
    right = undisturbed(home/'whole')
    rows = [(f'{kills} SIGKILLs, resumed', many(int(kills), right)), (f'{cuts} power cuts (simulated), resumed', many(int(cuts), right, 1, power=True))]
    rows += [(f'5 x {number.name}: saved, exit status {128 + number}, resumed', many(5, right, 2, number=number))
             for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    before, after = soak(int(steps))
    shutil.rmtree(home)
    print('| trial | went wrong |\n|---|---|')
    for what, wrong in rows: print(f'| {what} | {len(wrong)}{": " + "; ".join(wrong)[:300] if wrong else ""} |')
    print(f'| soak of {steps} updates: memory from a quarter on | {after/before - 1:+.1%} ({before:.0f} to {after:.0f} MiB) |')


if __name__ == '__main__': main(*sys.argv[1:])
