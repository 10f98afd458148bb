"Shards: a killed packing goes on, a worker that dies is an error, bad clips are named, training reads them."
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch

from sslam_nb.data.access import open_data
from sslam_nb.config import SpectrogramConfig, override, preset
from sslam_nb.data.clips import BadClip
from sslam_nb.data.sources import LogMelDataset
from sslam_nb.data.loading import make_loader, naming_workers
from sslam_nb.training.pretrain import pretrain
from sslam_nb.data.shards import ShardSource, check_shards, pack_shards
from sslam_nb.data.soundscapes import SoundscapeDataset
from sslam_nb.spectrogram import LogMel

CFG = SpectrogramConfig(target_frames=128)


def test_packing_that_was_killed_goes_on_and_gives_the_same_bytes(tmp_path):
    script = textwrap.dedent(f"""
        import time
        from sslam_nb.config import SpectrogramConfig
        from sslam_nb.data.shards import pack_shards
        from sslam_nb.data.soundscapes import SoundscapeDataset
        class Slow(SoundscapeDataset):
            def __getitem__(self, i): time.sleep(0.05); return super().__getitem__(i)
        pack_shards(Slow(60, duration=1.3), {str(tmp_path/'cut')!r}, spectrogram=SpectrogramConfig(target_frames=128), shard_bytes=150_000, workers=2)
        """)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL, start_new_session=True)
    while len(list((tmp_path/"cut").glob("*.json"))) < 3: time.sleep(0.02); assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL); process.wait()
    assert not (tmp_path/"cut"/"index.json").exists()
    with pytest.raises(FileNotFoundError, match="has no index.json; call pack_shards again"): ShardSource(tmp_path/"cut")
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path/"cut").glob("shard-*.json")}
    source = SoundscapeDataset(60, duration=1.3)
    for folder in ("cut", "whole"): pack_shards(source, tmp_path/folder, spectrogram=CFG, shard_bytes=150_000, workers=0, quiet=True)
    assert kept and {n: (tmp_path/"cut"/n).stat().st_mtime_ns for n in kept} == kept
    tars = sorted(p.name for p in (tmp_path/"whole").glob("*.tar"))
    assert len(tars) > 4 and all((tmp_path/"cut"/n).read_bytes() == (tmp_path/"whole"/n).read_bytes() for n in tars)
    assert check_shards(tmp_path/"cut") == 60


class Broken(SoundscapeDataset):
    def __getitem__(self, i):
        if i in (2, 5): raise BadClip(f"clip{i}.wav", "cut short")
        return super().__getitem__(i)


def test_clips_that_cannot_be_read_are_named_in_the_index(tmp_path):
    with pytest.raises(ValueError, match="2 clips cannot be read, more than max_bad=1: clip2.wav: cut short"):
        pack_shards(Broken(9, duration=1), tmp_path/"few", spectrogram=CFG, max_bad=1, quiet=True)
    shards = ShardSource(pack_shards(Broken(9, duration=1), tmp_path/"all", spectrogram=CFG, workers=0, quiet=True))
    assert len(shards) == 7 and shards.skipped == ["clip2.wav: cut short", "clip5.wav: cut short"]


@pytest.mark.parametrize("kind", ["flac", "log_mel"])
def test_training_reads_shards_and_no_clip_comes_twice(kind, tmp_path):
    cfg = override(preset("stage2", "tiny"), width=32, depth=2, n_heads=2, decoder_width=16, local_top_k=2, global_top_k_unmixed=1, target_frames=128,
                   unmixed_frames=32, batch_size=4, epochs=1, workers=1, data=str(tmp_path))
    pack_shards(SoundscapeDataset(10, duration=1.3), tmp_path, kind, cfg.spectrogram, shard_bytes=100_000, workers=0, quiet=True)
    shards = open_data(cfg).pretrain
    assert pretrain(cfg, shards, tmp_path/"run", device="cpu", quiet=True).history.loss.notna().all()
    names = [[name for batch in make_loader(LogMelDataset(shards, LogMel(cfg.spectrogram)), 3, 2, process=p, processes=2) for name in batch["clip_id"]] for p in (0, 1)]
    assert sorted(sum(names, [])) == sorted(shards.ids) and not set(names[0]) & set(names[1])
    if kind == "log_mel":
        with pytest.raises(ValueError, match="keeps 128 frames, this run wants 256"): open_data(override(cfg, target_frames=256))
        with pytest.raises(ValueError, match="keeps log-mels and no waves"): next(iter(make_loader(LogMelDataset(shards, LogMel(cfg.spectrogram), ("wave",)), 3)))


class Deadly(torch.utils.data.Dataset):
    def __len__(self): return 8
    def __getitem__(self, i):
        if i == 5: os.kill(os.getpid(), signal.SIGKILL)
        return torch.zeros(1)


def test_a_loader_process_that_is_killed_is_an_error():
    with pytest.raises(RuntimeError, match="a loader process died.*take fewer than workers=2"), naming_workers(2):
        list(make_loader(Deadly(), 2, workers=2, shuffle=False))


def test_an_index_that_contradicts_itself(tmp_path):
    pack_shards(SoundscapeDataset(4, duration=1), tmp_path, spectrogram=CFG, workers=0, quiet=True)
    text = (tmp_path/"index.json").read_text()
    (tmp_path/"index.json").write_text(text.replace('"clips": 4\n', '"clips": 5\n'))
    with pytest.raises(ValueError, match="index.json is damaged"): ShardSource(tmp_path)
