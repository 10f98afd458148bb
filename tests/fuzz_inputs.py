"""Random calls of `embed`, `predict` and `LogMel`, and what comes of them; the same for the same seed.

`try_call(seed)` makes one call. Each of its arguments is ordinary or, more rarely, odd. Right is a finite result
of consistent shapes, or a ValueError or TypeError whose text names one of the odd arguments (for the name of a
checkpoint also a FileNotFoundError with that name). Anything else is a fault, and so is an error without an odd
argument. tests/test_embed_fuzz.py makes a hundred calls, benchmarks/chaos_embed.py a thousand."""
import array, copy, datetime, decimal, fractions, random, re
from collections import namedtuple
from functools import cache

import numpy as np
import pandas as pd
import torch
from numpy.lib.stride_tricks import as_strided
from torch import nn

from sslam_nb import SSLAM, AudioViT, Classifier, LogMel, embed, override, predict, preset
from sslam_nb.config import EncoderConfig, SpectrogramConfig

SMALL = EncoderConfig(width=32, depth=2, n_heads=2, max_time_patches=8)
SHORT = SpectrogramConfig(target_frames=64)
Found = namedtuple('Found', 'kind function odd text')   # kind: finite, named or fault

@cache
def models():
    "One of each kind, some of them spoilt."
    torch.manual_seed(0)
    vit = AudioViT(SMALL)
    classifier = Classifier(AudioViT(override(SMALL, drop_path=0.5)), 3, classes=('bell', 'rain', 'siren'))
    sslam = SSLAM(override(preset('stage2', 'tiny'), width=32, depth=1, n_heads=1, decoder_width=16, local_top_k=1,
                           global_top_k=1, global_top_k_unmixed=1, max_time_patches=8, target_frames=64))
    spoilt = copy.deepcopy(vit)
    with torch.no_grad(): spoilt.cls_token[0, 0, 0] = torch.nan
    return dict(vit=vit, classifier=classifier, sslam=sslam, spoilt=spoilt,
                half=copy.deepcopy(vit).bfloat16(), meta=copy.deepcopy(vit).to('meta'))

class Hostile:
    "An object whose own code fails whatever is asked of it."
    def __array__(self, *args, **kwargs): raise RuntimeError('no')
    def __repr__(self): raise RuntimeError('no')

def sound(r, rate=16_000, most=0.5):
    "A wave that every function takes: noise of any level, an offset, silence, subnormal numbers, one frame."
    n = r.choice([-(-rate//40), -(-rate//40) + 1, rate//10, r.randint(-(-rate//40), int(most*rate))])
    wave = np.random.default_rng(r.randrange(2**32)).standard_normal(n)*10**r.uniform(-6, 0.5)
    kind = r.choice(['noise', 'noise', 'noise', 'offset', 'zero', 'minus zero', 'subnormal', 'tiny', 'click', 'loud'])
    if kind == 'offset': wave += r.choice([-1, 0.2, 10])
    if kind == 'zero': wave *= 0
    if kind == 'minus zero': wave = -0.0*np.abs(wave)
    if kind == 'subnormal': wave = np.full(n, 1e-40)
    if kind == 'tiny': wave *= 1e-30
    if kind == 'click': wave *= 0; wave[r.randrange(n)] = 1.0
    if kind == 'loud': wave = 60*np.sign(wave)
    return wave.astype(r.choice([np.float32, np.float32, np.float64]))

def ordinary_wave(r, function, rate):
    "In a layout and a type that the function takes."
    wave = sound(r, rate)
    options = [wave, torch.from_numpy(wave), torch.from_numpy(wave.astype(np.float64)).requires_grad_(),
               wave.astype('>f8'), np.repeat(wave, 2)[::2], wave[::-1], np.ma.array(wave), pd.Series(wave, dtype='float64'),
               memoryview(np.ascontiguousarray(wave)), torch.from_numpy(wave).bfloat16(), wave.astype(np.float16),
               nn.Parameter(torch.from_numpy(wave).float()), array.array('d', wave.tolist()),
               np.stack([wave, 0.5*wave, wave[::-1]]), torch.from_numpy(np.stack([wave, wave], 1)).float().T]
    if function is not LogMel:
        options += [np.stack([wave, wave[::-1]], 1), [wave, sound(r, rate)], (torch.from_numpy(wave), sound(r, rate), wave),
                    [np.stack([wave]*r.randint(1, 8))], np.stack([[wave, wave]]*2)]
    return r.choice(options)

def odd_wave(r):
    "What somebody may hand over by mistake; some of it can be used after all."
    wave = sound(r); n = len(wave)
    spoilt = wave.copy(); spoilt[r.randrange(n)] = r.choice([np.nan, np.inf, -np.inf])
    one = np.zeros(1, np.float32)
    with torch.no_grad(): quantised = torch.quantize_per_tensor(torch.from_numpy(wave).float(), 0.1, 0, torch.qint8)
    kinds = dict(
        nan=lambda: spoilt, nan_in_batch=lambda: np.stack([wave, spoilt]), nan_in_list=lambda: [wave, spoilt],
        stereo_nan=lambda: np.stack([wave, spoilt], 1), loud=lambda: wave + 10**r.uniform(2, 38),
        very_loud=lambda: np.full(n, 10.0**r.uniform(38, 307)), int16=lambda: (100*wave).astype(np.int16),
        as_int16=lambda: np.float32([20_000, -20_000]*n), short=lambda: np.zeros(r.randint(1, 9)),
        empty=lambda: np.zeros(r.choice([(0,), (0, 0), (0, n), (n, 0), (2, 0), (0, 2), (1, 0, n), (0, 2, n), ()])),
        shape=lambda: np.zeros(r.choice([(n, 9), (160_000, 9), (160_000, 40), (9, n, 1), (1, 9, n), (2, n, 9), (1, 1, 1, n),
                                         (1,)*20, (2, 3, 4, 5), (n, 1), (1, n), (12, 11)])),
        channels=lambda: [np.zeros((r.randint(9, 400), n))], transposed=lambda: torch.zeros(n, 2, 2),
        complex=lambda: wave.astype(complex), complex_tensor=lambda: torch.from_numpy(wave).to(torch.complex64),
        bool=lambda: wave > 0, object=lambda: wave.astype(object), ragged=lambda: np.array([wave, wave[:9]], dtype=object),
        datetime=lambda: np.arange(n).astype('datetime64[s]'), timedelta=lambda: np.arange(n).astype('timedelta64[s]'),
        strings=lambda: np.array(['a']*n), bytes=lambda: wave.tobytes(), bytearray=lambda: bytearray(wave.tobytes()),
        void=lambda: np.zeros(n, 'V4'), fields=lambda: np.zeros(n, [('left', 'f4'), ('right', 'f4')]),
        records=lambda: np.rec.array(np.zeros(n, [('left', 'f4')])), longdouble=lambda: wave.astype(np.longdouble),
        unsigned=lambda: np.zeros(n, np.uint64), masked=lambda: np.ma.array(wave, mask=np.arange(n) % 7 == 0),
        sparse=lambda: torch.from_numpy(wave).to_sparse(), csr=lambda: torch.eye(500).to_sparse_csr(),
        quantised=lambda: quantised, meta=lambda: torch.empty(n, device='meta'), half=lambda: torch.from_numpy(wave).half(),
        float8=lambda: torch.from_numpy(wave).float().to(torch.float8_e4m3fn), nested=lambda: torch.nested.nested_tensor(
            [torch.zeros(n), torch.zeros(9)]), conj=lambda: torch.zeros(n, dtype=torch.complex64).conj().imag,
        stretched=lambda: np.broadcast_to(one, r.choice([(10**12,), (2, 10**12), (10**12, 2), (1, 2, 10**12), (10**15, 9)])),
        strided=lambda: as_strided(one, (10**9, 10**9), (0, 0)),
        expanded=lambda: torch.zeros(1).expand(r.choice([(2**40,), (3, 2**40), (2**40, 3), (1, 2, 2**40)])),
        stretched_list=lambda: [wave, np.broadcast_to(one, 10**13)], none=lambda: None, dict=lambda: dict(wave=wave),
        generator=lambda: (x for x in wave), iterator=lambda: iter(wave.tolist()), set=lambda: {1.0, 2.0}, text=lambda: 'a.wav',
        number=lambda: r.choice([3, 0.5, np.float32(1), True, 10**400, 3j]), hostile=Hostile, type=lambda: np.ndarray,
        lists=lambda: [[0.1, 0.2], [0.3]], list=lambda: wave.tolist(), list_of_nothing=lambda: [None, wave],
        list_of_all=lambda: [wave, 'x', {}], no_list=list, no_tuple=lambda: (), deep=lambda: [[[[[wave]]]]],
        pair=lambda: (wave, 16_000), pair_numpy=lambda: (wave, np.int64(10)), rate_first=lambda: (16_000, wave),
        frame=lambda: pd.DataFrame(dict(left=wave, right=wave)), series=lambda: pd.Series(wave).astype(object),
        nullable=lambda: pd.Series([0.1, None]*n, dtype='Float64'), category=lambda: pd.Series(['a', 'b']).astype('category'),
        memory=lambda: memoryview(b'abcd'*n), index=lambda: pd.date_range('2024', periods=9), matrix=lambda: np.asmatrix(wave))
    kind = r.choice(sorted(kinds))
    return kind, kinds[kind]()

NUMBERS = [0, -1, -0.0, 0.5, 1.5, 3, 7, 10**5000, -10**30, 1e300, -1e300, 5e-324, np.nan, np.inf, -np.inf, True, False, '1',
           '', 'inf', b'1', 1j, [], [1], (1,), {}, {1: 2}, np.float32(1.5), np.int8(-3), np.uint64(2**63), np.bool_(True),
           np.array(1), np.array([1, 2]), np.float64(np.nan), np.float16(np.inf), torch.tensor(1), torch.ones(3),
           torch.tensor(np.nan), decimal.Decimal(1), decimal.Decimal('NaN'), fractions.Fraction(3, 2),
           fractions.Fraction(10**400), datetime.timedelta(seconds=1), pd.NA, pd.Timedelta('1s'), object(), int, len,
           range(3), Ellipsis, Hostile(), lambda: 1]
RATES = [0, -16_000, 999, 1000, 1001, 44_105, 44_103, 11_127, 383_995, 1_000_000, 1_000_001, 10**30, 16_000.0, 16_000.5,
         '16000', '44.1 kHz', np.int16(16_000), np.float32(16_000), np.uint32(44_100), [16_000], (16_000,), 16j]
TEXTS = ['', 'CLS', 'max', 'cls ', b'cls', 0, 1, True, None, np.nan, ['cls'], ('cls', 'mean'), {'cls'}, {}, np.array(['cls', 'x']),
         np.str_('max'), torch.ones(2), str, Hostile(), 'x'*10**6, '\0', '\ud800']
FIELDS = dict(sample_rate=RATES, n_mels=[*NUMBERS, 64, 127, 10**9], target_frames=[*NUMBERS, 10**12], mean=[*NUMBERS, None, 1e38],
              std=[*NUMBERS, None, 1e-38])

def odd_spectrogram(r):
    "No configuration, or one with an impossible value."
    if r.random() < 0.3: return r.choice([3, 'audioset', {}, SpectrogramConfig, EncoderConfig(), [], True, Hostile()])
    field = r.choice(sorted(FIELDS))
    return SpectrogramConfig(**(dict(target_frames=64) | {field: r.choice(FIELDS[field])}))

def odd_model(r):
    "No model of ours, or one that cannot be used."
    own = [lambda: models()[r.choice(['spoilt', 'meta', 'half'])]]*2
    return r.choice(own + [lambda: r.choice([None, AudioViT, Classifier, SSLAM, nn.Linear(2, 2), nn.Identity(), 3, {}, [], Hostile(),
        models()['vit'].state_dict(), SMALL, lambda x: x, np.zeros(3), models()['vit'].forward]),
        lambda: r.choice(['nowhere.safetensors', 'runs/nothing', '', 'a\0b', 'x'*5000, 'no such model', '\ud800.pt'])])()

def random_call(r):
    "A function, its arguments by name, and the names of the odd ones (with what is odd about a wave)."
    function = r.choice([embed, embed, predict, LogMel])
    model = 'classifier' if function is predict else 'model'
    names = {embed: ['wave', 'sample_rate', 'model', 'window', 'hop', 'spectrogram', 'batch_size', 'pool', 'layer', 'padding'],
             predict: ['wave', 'sample_rate', 'classifier', 'window', 'hop', 'spectrogram', 'batch_size', 'top', 'activation',
                       'padding', 'pool', 'by'],
             LogMel: ['wave', 'wave', 'sample_rate', 'lengths', 'cfg']}[function]
    odd = dict.fromkeys(r.sample(names, r.choice([0, 1, 1, 1, 1, 1, 2])))
    rate = r.choice([16_000]*4 + [8000, 22_050, 44_100, 48_000, 1000, 11_127, 44_105, 96_000, 500_009])
    args = dict(wave=ordinary_wave(r, function, rate), sample_rate=r.choice([rate, np.int64(rate), float(rate)]))
    if function is LogMel: args['cfg'] = SHORT
    else:
        args |= {model: models()['classifier' if function is predict else r.choice(['vit', 'classifier', 'sslam'])],
                 'spectrogram': SHORT, 'batch_size': r.choice([1, 2, 8, np.int32(3)])}
        if r.random() < 0.3: args |= dict(window=r.choice([0.64, np.float32(0.32), 1]), hop=r.choice([None, 0.16]))
        if function is embed: args |= dict(pool=r.choice(['cls', 'mean', 'concat']), layer=r.choice([None, 0, [0], (0, 0), 'all']))
        else: args |= dict(top=r.choice([None, 1, 2, 10**6]), activation=r.choice(['sigmoid', 'softmax']), pool=r.choice(['mean', 'max']))
        args |= dict(padding=r.choice(['zeros', 'zeros', 'repeat', 'none']))
        if function is predict and r.random() < 0.3: args |= dict(times=True, top=None, by=r.choice(['windows', 'columns']))
    make = dict(sample_rate=lambda: r.choice(RATES + NUMBERS), spectrogram=lambda: odd_spectrogram(r), cfg=lambda: odd_spectrogram(r),
                pool=lambda: r.choice(TEXTS), activation=lambda: r.choice(TEXTS), padding=lambda: r.choice(TEXTS), by=lambda: r.choice(TEXTS), model=lambda: odd_model(r),
                classifier=lambda: odd_model(r), lengths=lambda: r.choice([*NUMBERS, [400], [400]*3, torch.full((3,), 10**9), [0.5]*3,
                                                                            np.array([-1, 400, 400]), ['a']*3]))
    for name in odd:
        if name == 'wave': odd[name], args[name] = odd_wave(r)
        else: args[name] = make.get(name, lambda: r.choice(NUMBERS))()
    return function, args, odd

def check(function, args, result):
    "What is wrong with a result, or None."
    if function is LogMel:
        if result.dtype != torch.float32 or result.ndim not in (2, 3) or result.shape[-2:] != (
                args['cfg'].target_frames, args['cfg'].n_mels): return f'LogMel gave {result.dtype} {tuple(result.shape)}'
        if not result.isfinite().all(): return 'not finite'
        if result.ndim == 2 or args.get('lengths') is not None: return None
        rows = args['wave'] if isinstance(args['wave'], torch.Tensor) else np.asarray(args['wave'])
        alone = torch.stack([LogMel(args['cfg'])(row, args['sample_rate']) for row in rows[:3]])
        apart = (alone - result[:3]).abs().max()*args['cfg'].std/SHORT.std
        return None if apart < 2e-5 else f'row differs from alone by {apart}'
    if function is predict and args.get('times'):
        for line in result if isinstance(result, list) else [result]:
            if line.scores.shape != (len(line.times), len(line.classes)) or not (0 <= line.scores.min() <= line.scores.max() <= 1):
                return f'timeline {line}'
            for event in line.events(): assert 0 <= event.onset < event.offset <= line.seconds + 0.01 and event.score >= 0.5
        return None
    if function is predict:
        for scores in result if isinstance(result, list) else [result]:
            if not scores or not all(type(v) is float and 0 <= v <= 1 for v in scores.values()): return f'scores {scores}'
            if list(scores.values()) != sorted(scores.values(), reverse=True): return f'not in order: {scores}'
        return None
    batch = isinstance(result.frames, list)
    clips = list(zip(*result)) if batch else [result]
    for clip, frames, times in clips:
        if any(x.dtype != torch.float32 or not x.isfinite().all() or x.requires_grad for x in (clip, frames, times)): return 'not finite'
        several = isinstance(args['layer'], (list, tuple, str))
        if frames.ndim != 2 + several or len(frames) != len(times) or clip.shape[-1] % frames.shape[-1] or \
                clip.ndim != 1 + several: return 'shapes'
    if not batch or not isinstance(args['wave'], (list, tuple)) or len(clips) > 4: return None
    for wave, (clip, frames, _) in zip(args['wave'], clips):            # alone it is the same
        alone = embed(**args | dict(wave=[wave]))
        if (alone.clip[0] - clip).abs().max() > 1e-5 or (alone.frames[0] - frames).abs().max() > 1e-5: return 'differs from alone'

def try_call(seed):
    "Make one call and judge what comes of it."
    r = random.Random(seed)
    function, args, odd = random_call(r)
    about = {name: kind or type(args[name]).__name__ for name, kind in odd.items()}
    label = 'LogMel' if function is LogMel else function.__name__
    try:
        if function is LogMel: result = LogMel(args['cfg'])(*(args.get(name) for name in ('wave', 'sample_rate', 'lengths')))
        else: result = function(**args)
    except Exception as error:
        text = f'{type(error).__name__}: {error}'
        named = isinstance(error, (ValueError, TypeError)) and any(re.search(rf'\b{name}\b', str(error)) for name in odd)
        name = next((args[name] for name in ('model', 'classifier') if name in odd), None)
        file = isinstance(name, str) and isinstance(error, OSError) and name[:200] in str(error).replace("\\x00", "\0")
        return Found('named' if named or file else 'fault', label, about, text)
    wrong = check(function, args, result)
    return Found('fault' if wrong else 'finite', label, about, wrong or '')
