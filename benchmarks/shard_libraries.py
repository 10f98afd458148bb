"""Which library for shards? WebDataset, its wids reader, LitData and MosaicML Streaming on the four needs of chapter 04b.

    python benchmarks/shard_libraries.py [LIBRARY ...]   # all four unless told; one that is not installed is skipped, and said so

803 small flac clips are packed by two processes, one of which is killed and started again; read by two training processes with
two loader workers each, batches of 8; stopped after 20 of the 51 steps and resumed on two, one and four processes (8 clips each).
The libraries want versions of NumPy, torchvision and WebDataset that exclude each other, so give each an environment of its own
(pip install --target, PYTHONPATH). Nothing here is about speed."""
import importlib.metadata, io, json, os, signal, sys, tempfile, time, warnings
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.utils.data import DataLoader

CLIPS, BATCH, STEPS_BEFORE, SHARD_BYTES = 803, 8, 20, 120_000

def clip(i):
    "0.1 s of noise as flac, about 3 kB."
    wave, file = np.random.default_rng(i).standard_normal(1600)*0.1, io.BytesIO()
    soundfile.write(file, wave, 16_000, format='FLAC', subtype='PCM_16')
    return dict(id=int(i), flac=file.getvalue())

# Each library: pack(folder, part, parts) in one process, finish(folder), and loader(folder, epoch, state), an iterable of
# batches of clip numbers for this process with a `state_dict` (None where there is no such thing)

class WebDataset:
    "Tar shards, read in their order through a shuffle buffer."
    package = 'webdataset'
    def pack(folder, part, parts):
        import webdataset
        with webdataset.ShardWriter(f'{folder}/{part}-%03d.tar', maxsize=SHARD_BYTES, verbose=0) as writer:
            for i in range(part, CLIPS, parts): writer.write(dict(__key__=f'{i:06}', flac=clip(i)['flac']))
    def finish(folder): pass
    def loader(folder, epoch, state):
        import webdataset
        data = webdataset.WebDataset(sorted(map(str, Path(folder).glob('*.tar'))), shardshuffle=100, seed=epoch,
                                     nodesplitter=webdataset.split_by_node)
        return DataLoader(data.shuffle(200, seed=epoch).map(number), BATCH, num_workers=2)
    def read(folder, i): return None

class Wids:
    "The same tar shards, read by index."
    package = 'wids'
    pack = WebDataset.pack
    def finish(folder):
        shards = [dict(url=str(file), nsamples=len(tar_names(file))) for file in sorted(Path(folder).glob('*.tar'))]
        Path(folder, 'index.json').write_text(json.dumps(dict(__kind__='wids-shard-index-v1', wids_version=1, shardlist=shards)))
    def loader(folder, epoch, state):
        import wids
        data = wids.ShardListDataset(f'{folder}/index.json', keep=True, transformations=[number], cache_dir=f'{folder}/cache')
        sampler = wids.DistributedChunkedSampler(data, shuffle=True, shufflefirst=True)
        sampler.set_epoch(epoch)
        return DataLoader(data, BATCH, sampler=sampler, num_workers=2)

class LitData:
    "Chunks with an index of offsets."
    package = 'litdata'
    def pack(folder, part, parts):
        import litdata
        if part == 0: litdata.optimize(clip, list(range(CLIPS)), str(folder), chunk_bytes=SHARD_BYTES, num_workers=parts,
                                       use_checkpoint=True, verbose=False, keep_data_ordered=True)
    def finish(folder): pass
    def loader(folder, epoch, state):
        import litdata
        data = litdata.StreamingDataset(str(folder), shuffle=True, drop_last=False)
        loader = litdata.StreamingDataLoader(data, batch_size=BATCH, num_workers=2, collate_fn=numbers)
        if state: loader.load_state_dict(state)
        return loader

class Streaming:
    "MDS shards with hashes, read in an order that knows how many samples were seen."
    package = 'mosaicml-streaming'
    def pack(folder, part, parts):
        from streaming import MDSWriter
        with MDSWriter(out=f'{folder}/{part}', columns=dict(id='int', flac='bytes'), hashes=['sha1'], size_limit=SHARD_BYTES) as writer:
            for i in range(part, CLIPS, parts): writer.write(clip(i))
    def finish(folder):
        from streaming.base.util import merge_index
        merge_index(str(folder), keep_local=True)
    def loader(folder, epoch, state):
        from streaming import StreamingDataLoader, StreamingDataset
        data = StreamingDataset(local=str(folder), shuffle=True, batch_size=BATCH)
        loader = StreamingDataLoader(data, batch_size=BATCH, num_workers=2, collate_fn=numbers)
        if state: loader.load_state_dict(state)
        return loader

LIBRARIES = dict(webdataset=WebDataset, wids=Wids, litdata=LitData, streaming=Streaming)

def number(sample): return int(sample['__key__'])
def numbers(samples): return torch.tensor([int(sample['id']) for sample in samples])

def tar_names(file):
    import tarfile
    with tarfile.open(file) as tar: return tar.getnames()

def train(rank, world, library, folder, epoch, state, steps, out):
    "One training process: the clips that it saw, and the state where it stopped."
    os.environ |= dict(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(world), MASTER_ADDR='localhost',
                       MASTER_PORT='29511')
    warnings.simplefilter('ignore')
    dist.init_process_group('gloo', init_method=f'file://{out}/meet{world}', rank=rank, world_size=world)
    try:
        loader = LIBRARIES[library].loader(folder, epoch, state)
        seen, batches = [], iter(loader)
        for step, batch in enumerate(batches):
            seen.append(torch.as_tensor(batch).tolist())
            if step + 1 == steps: break
        saved = loader.state_dict() if hasattr(loader, 'state_dict') else None
        torch.save((seen, saved), f'{out}/{rank}.pt')
    except Exception as error: torch.save((f'{type(error).__name__}: {str(error).strip().splitlines()[-1][:140]}', None), f'{out}/{rank}.pt')
    dist.barrier(); os._exit(0)                  # what a library leaves behind shall not hold us up

def run(library, folder, world, epoch=0, state=None, steps=None):
    "What `world` processes saw: a list of batches for each; and the state of the first."
    with tempfile.TemporaryDirectory() as out:
        context = mp.spawn(train, (world, library, folder, epoch, state, steps, out), world, join=False)
        for process in context.processes: process.join(120)
        alive = [process for process in context.processes if process.is_alive()]
        for process in alive: process.kill()
        if alive: return 'hung', None
        found = [torch.load(f'{out}/{rank}.pt', weights_only=False) for rank in range(world)]
    errors = [seen for seen, _ in found if isinstance(seen, str)]
    return errors[0] if errors else [seen for seen, _ in found], found[0][1]

def told(seen):
    "'803 of 803 clips, 0 twice; steps 51, 51'."
    if isinstance(seen, str): return seen
    times = Counter(i for process in seen for batch in process for i in batch)
    return f"{len(times)} of {CLIPS}, {sum(times.values()) - len(times)} again; steps {', '.join(str(len(p)) for p in seen)}"

def spread(seen):
    "Mean distance of neighbours in the order they were seen, over that of a random order."
    if isinstance(seen, str): return '-'
    order = np.array([i for step in zip(*seen) for batch in step for i in batch])
    return f"{np.abs(np.diff(order)).mean()/(CLIPS/3):.2f}"

def packed(library, folder, parts=2):
    "Two processes pack; the last is killed half-way, and what it leaves is looked at; it is started again."
    def start(part):
        process = mp.get_context('fork').Process(target=LIBRARIES[library].pack, args=(folder, part, parts)); process.start()
        return process
    victim = 0 if library == 'litdata' else parts - 1
    processes, began = [start(part) for part in range(parts)], time.time()
    while time.time() < began + 20 and len(files(folder)) < 12: time.sleep(0.002)
    os.kill(processes[victim].pid, signal.SIGKILL)
    for process in processes: process.join()
    before = files(folder)
    again = start(victim); again.join()
    after = files(folder)
    kept = sum(after.get(name) == stamp for name, stamp in before.items())
    said = f'{len(before)} files after the kill, {kept} of them kept by the second start'
    if again.exitcode:
        for path in Path(folder, str(victim)).rglob('*'): path.unlink()
        again = start(victim); again.join(); said += ' which failed; begun anew'
    LIBRARIES[library].finish(folder)
    return f'{said}; {len(files(folder))} in the end'

def files(folder):
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in Path(folder).rglob('*') if p.suffix in ('.tar', '.mds', '.bin')}

def trial(library):
    try: version = importlib.metadata.version(LIBRARIES[library].package)
    except importlib.metadata.PackageNotFoundError:
        if library != 'wids': return print(f'{library}: not installed, skipped')
        try: importlib.import_module('wids'); version = 'of webdataset ' + importlib.metadata.version('webdataset')
        except ImportError: return print(f'{library}: not installed, skipped')
    with tempfile.TemporaryDirectory() as folder:
        print(f'== {library} {version}')
        print('pack:              ', packed(library, folder))
        whole, _ = run(library, folder, 2)
        print('epoch, 2 processes:', told(whole), ' shuffled', spread(whole))
        part, state = run(library, folder, 2, steps=STEPS_BEFORE)
        print('part:              ', told(part), ' state', str(state)[:150])
        if state is not None and not isinstance(part, str):
            for world in (2, 1, 4):
                rest, _ = run(library, folder, world, state=state)
                print(f'resumed on {world}:      ', told(rest if isinstance(rest, str) else part + rest))
        cut = max(files(folder), key=lambda name: files(folder)[name][1])
        os.truncate(cut, os.path.getsize(cut)//2)
        print('a shard cut:       ', told(run(library, folder, 2)[0]))

if __name__ == '__main__':
    for library in sys.argv[1:] or LIBRARIES: trial(library)
