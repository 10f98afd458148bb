"What a folder of audio does to a run when its files are broken, odd or missing."
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch

from sslam_nb.config import SpectrogramConfig, override, preset
from sslam_nb.core import project_root
from sslam_nb.data.access import open_data
from sslam_nb.data.sources import AudioFolder, LogMelDataset
from sslam_nb.data.clips import BadClip
from sslam_nb.data.loading import make_loader
from sslam_nb.spectrogram import LogMel

LOG_MEL = LogMel(SpectrogramConfig(target_frames=128))
TINY = preset('stage1', 'tiny')

def noise(seconds, rate=16_000, channels=1):
    "Soft noise (n, channels), always the same."
    return 0.1*np.random.default_rng(0).standard_normal((int(seconds*rate), channels)).astype(np.float32)

def save(path, seconds=1, rate=16_000, channels=1, **options):
    "Write soft noise and return the path."
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, noise(seconds, rate, channels), rate, **options)
    return path

def cut(path, share):
    "Keep the first share of a file's bytes."
    data = path.read_bytes()
    path.write_bytes(data[:int(share*len(data))])

def test_a_relative_folder_is_looked_for_in_the_project(tmp_path, monkeypatch):
    monkeypatch.chdir(project_root()/'nbs')
    with pytest.raises(FileNotFoundError, match=str(project_root()/'no_such_folder')):
        open_data(override(TINY, data='no_such_folder'))

@pytest.mark.parametrize('names', [[], ['notes.txt', 'talk.m4a', '.hidden.wav']])
def test_a_folder_without_audio_says_what_was_looked_for(tmp_path, names):
    for name in names: (tmp_path/name).write_text('x')
    with pytest.raises(ValueError, match=r'no audio in or below .*looked for \.wav \.flac'):
        open_data(override(TINY, data=str(tmp_path)))

def test_one_bad_file_among_many_is_skipped_and_named(tmp_path):
    for i in range(9): save(tmp_path/f'{i}.wav')
    (tmp_path/'text.wav').write_text('this is no audio')
    folder = AudioFolder(tmp_path)
    assert len(folder) == 9 and folder.skipped == ['text.wav: Format not recognised']

def test_max_bad_plus_one_is_an_error_with_the_remedy(tmp_path):
    save(tmp_path/'good.wav')
    for i in range(4): (tmp_path/f'{i}.flac').write_bytes(b'')
    assert len(AudioFolder(tmp_path, max_bad=4).skipped) == 4
    with pytest.raises(ValueError, match='4 files .* than max_bad=3: 0.flac: .*; and 1 more.*set max_bad=4'):
        open_data(override(TINY, data=str(tmp_path), max_bad=3))

def test_nothing_but_bad_files(tmp_path):
    (tmp_path/'a.mp3').write_text('x')
    with pytest.raises(ValueError, match='none of 1 files in .* can be used: a.mp3: '): AudioFolder(tmp_path)

@pytest.mark.parametrize('seconds', [0, 0.02])
def test_an_empty_clip_and_one_shorter_than_a_frame_are_skipped(tmp_path, seconds):
    save(tmp_path/'short.wav', seconds); save(tmp_path/'good.wav')
    assert AudioFolder(tmp_path).skipped == ['short.wav: shorter than one 25-ms frame']

def test_a_clip_of_a_tenth_of_a_second_is_padded(tmp_path):
    save(tmp_path/'short.wav', 0.1)
    item = LogMelDataset(AudioFolder(tmp_path), LOG_MEL)[0]
    assert item['bad'] == '' and item['log_mel'].shape == (128, 128)
    assert item['log_mel'][8:].unique().numel() == 1 and item['log_mel'][:8].unique().numel() > 1

def test_a_truncated_wav_gives_what_is_there(tmp_path):
    cut(save(tmp_path/'half.wav', 2), 0.5)
    clip = AudioFolder(tmp_path)[0]
    assert 0.9 < len(clip.wave)/16_000 < 1.1

def test_a_truncated_flac_is_found_when_it_is_read(tmp_path):
    cut(save(tmp_path/'a.flac', 2), 0.5); save(tmp_path/'b.flac')
    folder = AudioFolder(tmp_path)                    # its header is whole
    assert not folder.skipped
    item = LogMelDataset(folder, LOG_MEL)[0]
    assert item['clip_id'] == 'b.flac' and item['bad'].startswith('a.flac: ')

def test_samples_that_are_no_numbers(tmp_path):
    for i, value in enumerate([np.nan, np.inf]):
        wave = noise(1); wave[5000] = value
        soundfile.write(tmp_path/f'{i}.wav', wave, 16_000, subtype='FLOAT')
    save(tmp_path/'good.wav')
    batch = next(iter(make_loader(LogMelDataset(AudioFolder(tmp_path), LOG_MEL), 3, shuffle=False)))
    assert batch['log_mel'].shape == (3, 128, 128) and batch['log_mel'].isfinite().all()
    assert batch['clip_id'] == ['good.wav']*3
    assert [bad.partition(':')[0] for bad in batch['bad']] == ['0.wav', '1.wav', '']
    assert 'NaN or infinite' in batch['bad'][0]

def test_a_folder_of_nans_stops(tmp_path):
    for i in range(3): soundfile.write(tmp_path/f'{i}.wav', noise(1)*np.nan, 16_000, subtype='FLOAT')
    with pytest.raises(BadClip, match='3 clips in a row cannot be used, the first is 0.wav, .*NaN'):
        LogMelDataset(AudioFolder(tmp_path), LOG_MEL)[0]

def test_silence_is_valid(tmp_path):
    soundfile.write(tmp_path/'silence.flac', np.zeros(32_000), 16_000)
    item = LogMelDataset(AudioFolder(tmp_path), LOG_MEL)[0]
    assert item['bad'] == '' and item['log_mel'].isfinite().all() and item['log_mel'].unique().numel() == 1

def test_ten_minutes_are_read_window_by_window(tmp_path):
    save(tmp_path/'long.wav', 600, 8000)              # 19 MB as float32
    folder = AudioFolder(tmp_path)
    assert len(folder) == 59 and folder.spans[-1][2] == 600*8000 - 58*81_920
    tracemalloc.start()
    clip = folder[30]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert clip.clip_id == 'long.wav@307.2' and peak < 2e6
    whole = noise(600, 8000)[30*81_920:31*81_920, 0]
    np.testing.assert_allclose(clip.wave[::2][1000:-1000], whole[1000:-1000], atol=0.05)

def test_stereo_at_another_rate_becomes_mono_at_ours(tmp_path):
    t = np.arange(44_100)/44_100
    tone = 0.4*np.sin(2*np.pi*1000*t)
    soundfile.write(tmp_path/'a.wav', np.stack([tone, 0*tone], axis=1), 44_100)
    clip = AudioFolder(tmp_path)[0]
    expected = 0.2*np.sin(2*np.pi*1000*np.arange(16_000)/16_000)
    assert clip.wave.dtype == np.float32 and clip.sample_rate == 16_000
    np.testing.assert_allclose(clip.wave[200:-200], expected[200:-200], atol=1e-3)

def test_every_format_gives_the_same_log_mel_within_its_loss(tmp_path):
    for suffix in ('wav', 'flac', 'ogg', 'mp3', 'aiff'): save(tmp_path/suffix/f'x.{suffix}', 1.2)
    items = {item['clip_id']: item['log_mel'] for item in LogMelDataset(AudioFolder(tmp_path), LOG_MEL)}
    assert len(items) == 5
    for log_mel in items.values(): assert (log_mel - items['wav/x.wav'])[:100, 10:100].abs().mean() < 0.1

def test_the_same_name_twice(tmp_path):
    save(tmp_path/'one'/'x.wav'); save(tmp_path/'two'/'x.wav')
    assert [clip.clip_id for clip in AudioFolder(tmp_path)] == ['one/x.wav', 'two/x.wav']
    (tmp_path/'meta.csv').write_text('path,label\nx.wav,dog\n')
    with pytest.raises(ValueError, match="meta.csv: 'x.wav' may be one/x.wav or two/x.wav; write the path"):
        AudioFolder(tmp_path)

def test_two_workers_skip_what_one_process_skips(tmp_path):
    for i in range(6): save(tmp_path/f'{i}.flac')
    cut(tmp_path/'2.flac', 0.3)
    dataset = LogMelDataset(AudioFolder(tmp_path), LOG_MEL)
    one, two = ([b for _ in range(2) for b in make_loader(dataset, 4, workers=n, seed=1)] for n in (0, 2))
    for a, b in zip(one, two, strict=True):
        assert a['clip_id'] == b['clip_id'] and a['bad'] == b['bad']
        assert torch.equal(a['log_mel'], b['log_mel'])
    assert sum(bool(bad) for batch in one for bad in batch['bad']) == 2
