"Inputs from public bug reports, one small test each; the source stands in the comment above."
import collections, datetime, io, os, shutil, signal, types

import numpy as np
import pytest
import soundfile
import torch

from sslam_nb import AudioFolder, Classifier, ProbeData, embed, load_official, open_data, override, pack_shards, preset
from sslam_nb.config import EncoderConfig
from sslam_nb.data.access import describe, open_tables
from sslam_nb.data.annotations import read_events
from sslam_nb.data.manifests import read_csv
from sslam_nb.data.shards import ShardSource
from sslam_nb.data.sources import hold_out
from sslam_nb.encoder import AudioViT
from sslam_nb.training.official import official_name
from sslam_nb.training.pretrain import note_bad

TASK = dict(run_name='x', no_pretrained=True, dataset='csv', target_frames=32)


def tone(seconds=0.3, rate=16_000, pitch=440.): return 0.3*np.sin(2*np.pi*pitch*np.arange(int(seconds*rate))/rate)


def wavs(root, *names, seconds=0.3):
    "Files that differ from each other."
    for i, name in enumerate(names):
        (root/name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root/name, tone(seconds, pitch=300 + 13*i), 16_000)
    return root


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def held_out(folder): return {folder.files[folder.spans[i][0]] for i in hold_out(folder)[1]}
def said(folder): return ' '.join([*folder.skipped, *folder.account.tables.values(), *folder.account.tables])
def tiny_encoder(): return AudioViT(EncoderConfig(width=64, depth=1, n_heads=1, max_time_patches=64))


# lucascesarfd/underwater_snd#3: the table names a file that is absent, another folder has one of that name
def test_a_missing_row_labels_nobody_else(tmp_path):
    wavs(tmp_path, 'background/167.wav', 'vessel/1.wav')
    put(tmp_path/'metadata.csv', 'path,label\nbackground/167.wav,Background\nvessel/1.wav,Cargo\nvessel/167.wav,Cargo\n')
    folder = AudioFolder(tmp_path)
    assert folder.labels == {'background/167.wav': ('Background',), 'vessel/1.wav': ('Cargo',)}
    assert folder.bad == ['vessel/167.wav: named in metadata.csv, but not there, but background/167.wav is']


# DESED, URBAN-SED, DCASE task 4: clips are numbered anew in each split
def test_strong_labels_take_the_file_of_their_side(tmp_path):
    wavs(tmp_path, 'audio/train/0.wav', 'audio/eval/0.wav', 'audio/eval/9.wav')
    head = 'filename\tonset\toffset\tevent_label\n'
    put(tmp_path/'train.tsv', head + '0.wav\t0\t1\tdog\n'); put(tmp_path/'eval.tsv', head + '0.wav\t\t\t\n9.wav\t0\t1\tcat\n')
    tables = open_tables('idmt-desed-fl', tmp_path)
    assert tables['train'].paths.tolist() == ['audio/train/0.wav'] and tables['test'].paths.tolist() == ['audio/eval/9.wav']


# pandas-dev/pandas#10813, #58906: a column of lists comes back as text
def test_lists_are_lists(tmp_path):
    wavs(tmp_path, '0.wav', '1.wav', '2.wav')
    put(tmp_path/'m.csv', "path,labels,split\n0.wav,\"['dog', 'rain']\",train\n1.wav,['dog'],train\n2.wav,\"['rain', 'dog']\",test\n")
    assert AudioFolder(tmp_path).classes == read_csv(tmp_path/'m.csv').table.classes == ('dog', 'rain')


# AudioSet's display names; hearbenchmark/hear-eval-kit#110
def test_a_comma_inside_a_name(tmp_path):
    wavs(tmp_path, '0.wav', '1.wav')
    put(tmp_path/'m.csv', 'path;labels;split\n0.wav;Male speech, man speaking;train\n1.wav;Bus;test\n')
    with pytest.warns(UserWarning, match="'Male speech' and 'man speaking' always come together"): read_csv(tmp_path/'m.csv')
    assert read_csv(tmp_path/'m.csv', separator='').table.classes == ('Bus', 'Male speech, man speaking')
    put(tmp_path/'m.csv', 'path,labels,split\n0.wav,"Male speech, man speaking;Bus",train\n1.wav,Bus,test\n')
    assert read_csv(tmp_path/'m.csv').table.classes == AudioFolder(tmp_path).classes == ('Bus', 'Male speech, man speaking')


# fatchord/WaveRNN#168, speechbrain#1614: a csv in Windows-1252
def test_windows_1252_is_asked_for(tmp_path):
    wavs(tmp_path, '0.wav', '1.wav')
    put(tmp_path/'m.csv', 'path,label\n0.wav,pêche\n1.wav,pèche\n'.encode('cp1252'))
    with pytest.raises(ValueError, match=r"m.csv:2: not UTF-8 .* encoding='cp1252'"): AudioFolder(tmp_path)
    assert AudioFolder(tmp_path, encoding='cp1252').classes == ('pèche', 'pêche')


# two labels on two lines of one cell of Excel
def test_a_line_end_in_a_cell_separates(tmp_path):
    wavs(tmp_path, '0.wav'); put(tmp_path/'m.csv', 'path,labels,split\n0.wav,"dog\nrain",train\n')
    assert read_csv(tmp_path/'m.csv').table.classes == ('dog', 'rain')


# EscVM/OIDv4_ToolKit#57: names of several words in files separated by blanks
def test_an_event_may_have_a_name_of_two_words(tmp_path):
    put(tmp_path/'x.txt', '0.5 1.2 car horn\n')
    assert read_events(tmp_path/'x.txt')['x'][0].label == 'car horn'


# huggingface/datasets#7880; ESC-50 has a class train
def test_a_class_called_train_inside_train_and_test(tmp_path):
    wavs(tmp_path, *(f'{s}/{c}/{s}{i}.wav' for s in ('train', 'test') for c in ('train', 'bus') for i in (1, 2)))
    folder = AudioFolder(tmp_path)
    assert folder.classes == ('bus', 'train') and held_out(folder) == {f for f in folder.files if f.startswith('test/')}


# huggingface/datasets#7880; DCASE has development and evaluation
@pytest.mark.parametrize('one, other', [('dev', 'eval'), ('development', 'evaluation'), ('train', 'dev')])
def test_folders_of_a_split_are_no_classes(tmp_path, one, other):
    folder = AudioFolder(wavs(tmp_path, f'{one}/1.wav', f'{one}/2.wav', f'{other}/3.wav', f'{other}/4.wav'))
    assert folder.classes == () and held_out(folder) == {f'{other}/3.wav', f'{other}/4.wav'}


# yeyupiaoling/AudioClassification-PaddlePaddle#6, steinbock#28: folds as classes; a csv that a German Excel has saved
def test_folds_are_no_classes_and_semicolons_are_read(tmp_path):
    rows = ['slice_file_name;fsID;start;end;salience;fold;classID;class']
    for k in range(6):
        name = f'{100 + k}-{k % 2}-0-0.wav'
        put(tmp_path/f'audio/fold{k % 3 + 1}/{name}', b''); soundfile.write(tmp_path/f'audio/fold{k % 3 + 1}/{name}', tone(pitch=300 + k), 16_000)
        rows.append(f'{name};{k};0;1;1;{k % 3 + 1};{k % 2};' + ('dog_bark', 'siren')[k % 2])
    put(tmp_path/'metadata/UrbanSound8K.csv', '\n'.join(rows))
    folder = AudioFolder(tmp_path)
    assert folder.classes == ('dog_bark', 'siren') and all('fold3' in file for file in held_out(folder))
    (tmp_path/'metadata/UrbanSound8K.csv').unlink()
    assert AudioFolder(tmp_path).classes == ()


# dialects of csv: semicolon, tab, no header, commented header, sep=, UTF-16, another name of the column
@pytest.mark.parametrize('text, read', [
    ('filename;label\n0.wav;a\n1.wav;b\n', True), ('filename\tlabel\n0.wav\ta\n1.wav\tb\n', True), ('0.wav,a\n1.wav,b\n', False),
    ('# filename,label\n0.wav,a\n1.wav,b\n', True), ('sep=;\nfilename;label\n0.wav;a\n1.wav;b\n', True),
    ('audio_file,label\n0.wav,a\n1.wav,b\n', True), ('filename,label\n0.wav,a\n1.wav,b\n'.encode('utf-16'), True)])
def test_every_dialect_is_read_or_named(tmp_path, text, read):
    wavs(tmp_path, '0.wav', '1.wav'); put(tmp_path/'m.csv', text)
    folder = AudioFolder(tmp_path)
    assert folder.classes == (('a', 'b') if read else ()) and (read or 'm.csv: not used: it has no header' in said(folder))


# OpenML's subset, SpeechFormer#2's dev, te and tr, is_test
@pytest.mark.parametrize('column, test, train', [('subset', 'test', 'train'), ('split', 'dev', 'train'), ('split', 'te', 'tr'),
                                                 ('is_test', '1', '0'), ('Usage', 'Eval', 'Training')])
def test_a_split_under_another_name(tmp_path, column, test, train):
    wavs(tmp_path, *(f'{i}.wav' for i in range(8)))
    put(tmp_path/'m.csv', f'path,label,{column}\n' + ''.join(f'{i}.wav,{"ab"[i % 2]},{test if i < 2 else train}\n' for i in range(8)))
    assert held_out(AudioFolder(tmp_path)) == {'0.wav', '1.wav'}
    assert open_tables('csv', tmp_path)['test'].paths.tolist() == ['0.wav', '1.wav']


# karpathy's and everybody's train.csv and test.csv
def test_a_test_table_is_never_trained_on(tmp_path):
    wavs(tmp_path, *(f'{i}.wav' for i in range(8)))
    for name, rows in dict(train=range(6), test=range(6, 8)).items():
        put(tmp_path/f'{name}.csv', 'path,label\n' + ''.join(f'{i}.wav,{"ab"[i % 2]}\n' for i in rows))
    assert held_out(AudioFolder(tmp_path)) == {'6.wav', '7.wav'}


# karolpiczak/ESC-50 PR 9: one source on both sides, as a wav and as its mp3
def test_a_recording_in_two_formats_is_on_one_side(tmp_path):
    wavs(tmp_path, *(f'{label}/{i}.wav' for label in 'ab' for i in range(8)), seconds=1)
    for i, path in enumerate(sorted(tmp_path.rglob('*.wav'))): soundfile.write(path.with_suffix('.mp3'), tone(1, pitch=300 + 13*i), 16_000)
    folder = AudioFolder(tmp_path)
    test = held_out(folder)
    assert test and all({f'{f[:-3]}wav', f'{f[:-3]}mp3'} <= test for f in test)


# a copy under another name; and where the user's own split has it on both sides, it is said
def test_copies_are_one_recording(tmp_path):
    wavs(tmp_path, *(f'{label}/{i}.wav' for label in 'ab' for i in range(8)))
    for label in 'ab':
        for i in range(8): shutil.copy(tmp_path/label/f'{i}.wav', tmp_path/label/f'copy of {i}.wav')
    test = held_out(folder := AudioFolder(tmp_path))
    assert len(test) >= 4 and not folder.account.both_sides
    for side in ('train', 'test'): shutil.copytree(tmp_path/'a', tmp_path/'split'/side/'a')
    assert len(AudioFolder(tmp_path/'split').account.both_sides) == 8


# fastai PR 2270: a linked folder beside the real one
def test_a_linked_folder_is_no_second_copy(tmp_path):
    wavs(tmp_path, *(f'{label}/{i}.wav' for label in ('dog', 'cat') for i in range(4))); (tmp_path/'hund').symlink_to('dog')
    assert len(folder := AudioFolder(tmp_path)) == 8 and folder.classes == ('cat', 'dog') and 'hund' not in folder.labels


# bastibe/python-soundfile#431, birdnet-team/BirdNET-Analyzer#667: m4a is not read, opus is
def test_audio_that_is_left_out_is_counted(tmp_path):
    wavs(tmp_path, '0.wav', '1.wav', '2.wav')
    for i in range(20): put(tmp_path/f'{i}.m4a', b'\0\0\0\x20ftypM4A ' + b'\0'*100)
    soundfile.write(tmp_path/'x.opus', tone(), 16_000, format='OGG', subtype='OPUS')
    folder = AudioFolder(tmp_path, max_bad=100)
    assert 'x.opus' in folder.files and (folder.account.found, folder.account.used) == (24, 4)
    assert sum(len(names) for reason, names in folder.account.left_out.items()) == 20


# libsndfile#1001, #1086, sdrtrunk#1377: an mp3 of variable bit rate without its index
def test_an_mp3_of_doubtful_length_is_named(tmp_path):
    noise = 0.1*np.random.default_rng(0).standard_normal(441_000)
    out = io.BytesIO()
    soundfile.write(out, np.concatenate([tone(10, 44_100), noise]), 44_100, format='MP3', bitrate_mode='VARIABLE', compression_level=0.3)
    whole = out.getvalue()
    put(tmp_path/'a.mp3', whole[whole.find(b'\xff\xfb', whole.find(b'Xing') + 4):])
    assert 'a.mp3 is an mp3 of variable bit rate without an index' in said(AudioFolder(tmp_path))


# facebookresearch/fairseq#3962, min_sample_size: short clips of an official manifest
def test_a_clip_that_is_too_short_for_a_manifest_is_reported(tmp_path):
    from sslam_nb.evaluation.tasks import open_task
    from sslam_nb.reports.judging import configure_task
    wavs(tmp_path, *(f'{i}.wav' for i in range(6)), seconds=0.8)
    put(tmp_path/'train.tsv', '/gone\n' + ''.join(f'{i}.wav\t12800\n' for i in (0, 1, 4, 5)))
    put(tmp_path/'eval.tsv', '/gone\n2.wav\t12800\n3.wav\t8000\n')
    put(tmp_path/'train.lbl', '0\tdog\n1\tcat\n4\tdog\n5\tcat\n'); put(tmp_path/'eval.lbl', '2\tdog\n3\tcat\n')
    put(tmp_path/'label_descriptors.csv', '0,dog,Dog\n1,cat,Cat\n')
    task = open_task(configure_task('finetune', TASK | dict(data=str(tmp_path)))[0])
    assert task.test.skipped == ['3.wav: fewer than min_samples=10000 samples'] and task.test.account.found == 2


# birdnet-team/BirdNET-Analyzer#387: a corrupt file is not skipped in silence, and no other is counted twice for it
def test_an_unreadable_held_out_clip_is_named(tmp_path):
    for k in range(16):
        (label := tmp_path/('dog', 'cat')[k % 2]).mkdir(exist_ok=True)
        soundfile.write(label/f'{k}.flac', tone(1, pitch=300 + 50*k), 16_000)
    cfg = override(preset('stage2', 'tiny', str(tmp_path)), probe_clips=[20, 20])
    held = open_data(cfg).probe_test
    data = (tmp_path/held[0].clip_id).read_bytes(); (tmp_path/held[0].clip_id).write_bytes(data[:len(data)//3])
    probe = ProbeData(open_data(cfg).probe_test, cfg)
    assert len(probe.target) == len(held) - 1 and len(probe.bad) == 1 and held.source.files[held.source.spans[held.indices[0]][0]] in probe.bad[0]


# names with ': '
def test_unreadable_files_are_counted_one_by_one():
    note_bad(bad := [], [f'Live: {c}.mp3: Format not recognised' for c in 'abc'], 10)
    assert len(bad) == 3


# labels corrected, packed again into the same folder
def test_shards_know_the_labels(tmp_path):
    wavs(tmp_path/'in', '0.wav', '1.wav')
    put(tmp_path/'in/m.csv', 'path,label\n0.wav,a\n1.wav,b\n'); pack_shards(AudioFolder(tmp_path/'in'), tmp_path/'out', workers=0, quiet=True)
    put(tmp_path/'in/m.csv', 'path,label\n0.wav,b\n1.wav,a\n')
    with pytest.raises(ValueError, match='remove it if labels or recordings were corrected'):
        pack_shards(AudioFolder(tmp_path/'in'), tmp_path/'out', workers=0, quiet=True)
    put(tmp_path/'in/m.csv', 'path,label\n0.wav,a\n1.wav,b\n'); soundfile.write(tmp_path/'in/1.wav', -tone(), 16_000)
    with pytest.raises(ValueError, match='checksum'): pack_shards(AudioFolder(tmp_path/'in'), tmp_path/'out', workers=0, quiet=True)
    assert [ShardSource(tmp_path/'out')[i].labels for i in range(2)] == [('a',), ('b',)]


# voxceleb_trainer#107, Dual-Path-RNN#16, openWakeWord#295: 16-bit integers turned into floats
def test_samples_in_16_bit_range_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r'like 16-bit integers; divide them by 32768.*\[-1, 1\]'):
        embed(tiny_encoder(), (tone(1)*32767).astype('float32'), 16_000)
    soundfile.write(tmp_path/'a.wav', (tone(1)*32767).astype('float32'), 16_000, subtype='FLOAT'); wavs(tmp_path, 'b.wav')
    folder = AudioFolder(tmp_path)
    assert folder.files == ['b.wav'] and 'a.wav: samples reach' in folder.bad[0]


# python-soundfile#309: names that are not UTF-8
def test_a_name_that_is_not_utf8(tmp_path, capsys):
    wavs(tmp_path, 'ok.wav'); soundfile.write(tmp_path/'x.wav', tone(pitch=700), 16_000)
    os.rename(tmp_path/'x.wav', os.fsencode(str(tmp_path)) + b'/caf\xe9.wav')
    folder = describe(tmp_path) and AudioFolder(tmp_path)
    assert len(folder) == 2 and [clip.clip_id for clip in folder] == ['caf\\udce9.wav', 'ok.wav']


# a cell of 240 000 characters in a csv about something else
def test_a_long_cell(tmp_path):
    wavs(tmp_path, 'a.wav'); put(tmp_path/'features.csv', 'file,embedding\na.wav,"' + '0.1,'*60_000 + '"\n')
    assert 'features.csv: not used: no column of labels or splits' in said(AudioFolder(tmp_path))


# a pipe called x.wav
def test_a_pipe_is_not_waited_for(tmp_path):
    wavs(tmp_path, 'a.wav'); os.mkfifo(tmp_path/'x.wav')
    def stop(*_): raise AssertionError('still waiting')
    signal.signal(signal.SIGALRM, stop); signal.alarm(5)
    try: assert 'x.wav: no regular file' in said(AudioFolder(tmp_path))
    finally: signal.alarm(0)


def official(prefix='', wrap='model', extra=None):
    model = Classifier(AudioViT(EncoderConfig(width=64, depth=1, n_heads=1)), 3)
    state = {prefix + official_name(name, 'finetuned'): value.clone() for name, value in model.state_dict().items()}
    return {wrap: state} | ({} if extra is None else {'extra_state': extra})


# timm PR 2003, karpathy/nanoGPT#325, fairseq#5096, audiossl#14: what DataParallel, torch.compile and trainers put around weights
@pytest.mark.parametrize('content', [dict(prefix='module.'), dict(prefix='_orig_mod.'), dict(prefix='module._orig_mod.'),
                                     dict(wrap='state_dict'), dict(wrap='model_state_dict')], ids=str)
def test_wrapped_weights(tmp_path, content):
    torch.save(official(**content), tmp_path/'a.pt')
    assert load_official(tmp_path/'a.pt').head.out_features == 3


# Megatron-LM#1884, speechbrain#2856: harmless objects beside the weights
@pytest.mark.parametrize('beside', [collections.defaultdict(list, a=[1]), collections.Counter('ab'), torch.__version__, datetime.datetime(2024, 1, 1),
                                    datetime.timedelta(1), types.SimpleNamespace(lr=1)], ids=lambda x: type(x).__name__)
def test_harmless_objects_do_not_bar_the_weights(tmp_path, beside):
    torch.save(official(extra=beside), tmp_path/'a.pt')
    assert load_official(tmp_path/'a.pt').head.out_features == 3


# two classes of one name
def test_two_classes_of_one_name_are_refused():
    with pytest.raises(ValueError, match="the class 'a' is named twice"): Classifier(tiny_encoder(), 3, classes=('a', 'a', 'b'))


# folds as words, and as floats where pandas met an empty cell
@pytest.mark.parametrize('form, choices', [('fold{}', ('fold1', 1)), ('{}.0', (1.0, 1)), ('0{}', ('01', 1))])
def test_folds_can_be_chosen_as_they_stand(tmp_path, form, choices):
    from sslam_nb.evaluation.tasks import open_task
    from sslam_nb.reports.judging import configure_task
    wavs(tmp_path, *(f'{i}.wav' for i in range(8)))
    put(tmp_path/'clips.csv', 'path,labels,fold\n' + ''.join(f'{i}.wav,{"ab"[i % 2]},{form.format(i//4 + 1)}\n' for i in range(8)))
    for fold in choices:
        task = open_task(configure_task('finetune', TASK | dict(data=str(tmp_path), fold=fold))[0])
        assert len(task.test) == 4 and task.test[0].clip_id == '0.wav'


# agfline/wavfix#12 (data size 0), a 404 page called mp3, an m4a in a csv, (wave, rate) of librosa.load (unilm#991)
def test_reasons_fit_the_fault(tmp_path):
    out = io.BytesIO(); soundfile.write(out, tone(3), 16_000, format='WAV', subtype='PCM_16')
    data = bytearray(out.getvalue()); at = data.find(b'data'); data[at + 4:at + 8] = b'\0'*4
    wavs(tmp_path, '0.wav'); put(tmp_path/'size0.wav', bytes(data)); put(tmp_path/'page.mp3', b'<html>' + b'x'*3000); put(tmp_path/'1.m4a', b'x')
    put(tmp_path/'m.csv', 'file,label\n0.wav,a\n1.m4a,b\n')
    told = said(AudioFolder(tmp_path))
    assert 'size0.wav: its header tells of 0 samples, but it has 96' in told and 'page.mp3: is no audio that can be read' in told
    assert '1.m4a: named in m.csv, but' in told and 'not there' not in told
    with pytest.raises(ValueError, match='pair of a wave and 16000'): embed(tiny_encoder(), (tone(1).astype('float32'), 16_000), 16_000)
