"""What a user of transformers does with folders of export_transformers, in a Python that cannot import sslam_nb.

python bare_transformers.py WORK: reads WORK/NAME (folders) and WORK/NAME.npz (waves), writes WORK/NAME_found.npz and
WORK/said.json. It compares nothing; test_transformers.py does."""
import importlib.util, json, sys
from pathlib import Path

for name in ('sslam_nb', 'torchaudio'): sys.modules[name] = None       # an import is an error, installed or not
assert importlib.util.find_spec('sslam_nb') is None

import numpy as np
import torch
import transformers
from transformers import (AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification, pipeline)

def load(kind, folder, **options): return kind.from_pretrained(folder, trust_remote_code=True, **options)

def outputs(model, batch, prefix=''):
    with torch.no_grad(): found = model(**batch, output_hidden_states=True, output_attentions=True)
    made = {name: found[name] for name in ('last_hidden_state', 'pooler_output', 'logits') if name in found}
    made |= dict(hidden=torch.stack(found.hidden_states), attentions=torch.stack(found.attentions))
    return {prefix + name: value.float().numpy() for name, value in made.items()}

def visit(folder, waves):
    "Everything that is expected of every folder."
    extractor, model = load(AutoFeatureExtractor, folder), load(AutoModel, folder)
    rate = extractor.sampling_rate
    batch = extractor(waves, sampling_rate=rate, return_tensors='pt')
    found = dict(batch) | outputs(model, batch)
    found['one_by_one'] = torch.cat([extractor(w, sampling_rate=rate, return_tensors='pt').input_values for w in waves])
    found['long'] = extractor(waves[-1], sampling_rate=rate, max_length=extractor.max_length*2, return_tensors='pt').input_values
    with torch.no_grad(): found['long_tokens'] = model(found['long']).last_hidden_state
    found['tuple'] = model(**batch, return_dict=False)[1].detach()
    for name in ('float16', 'bfloat16'):
        found |= outputs(load(AutoModel, folder, dtype=getattr(torch, name)), batch, f'{name}_')
    again = folder.parent/f'{folder.name}_again'                          # what the library writes itself
    kind = AutoModelForAudioClassification if 'Classification' in model.config.architectures[0] else AutoModel
    load(kind, folder).save_pretrained(again); extractor.save_pretrained(again)
    second = load(kind, again)
    found |= outputs(second, load(AutoFeatureExtractor, again)(waves, sampling_rate=rate, return_tensors='pt'), 'again_')
    found |= outputs(load(AutoModel, folder, output_attentions=True, attn_implementation='eager'), batch, 'eager_')
    return {name: np.asarray(value) for name, value in found.items()}

def head(folder, waves):
    "The scores of a classifier, and of the library's pipeline."
    extractor, model = load(AutoFeatureExtractor, folder), load(AutoModelForAudioClassification, folder)
    batch = extractor(waves, sampling_rate=extractor.sampling_rate, return_tensors='pt')
    target = torch.zeros(len(waves), model.config.num_labels); target[:, 0] = 1
    with torch.no_grad(): loss = model(**batch, labels=target).loss.item()
    pipe = pipeline('audio-classification', model=model, feature_extractor=extractor)
    scored = pipe({'raw': waves[0], 'sampling_rate': extractor.sampling_rate}, top_k=None)
    return outputs(model, batch, 'head_'), dict(loss=loss, scored={s['label']: s['score'] for s in scored},
                                                labels=model.config.id2label, problem=model.config.problem_type)

def train(folder, waves):
    "An encoder gets a new head for three classes and learns them; the loss before and after."
    torch.manual_seed(0)                                    # the rate is high, and some heads start badly
    extractor = load(AutoFeatureExtractor, folder)
    model, info = load(AutoModelForAudioClassification, folder, num_labels=3, output_loading_info=True)
    batch, labels = extractor(waves, sampling_rate=extractor.sampling_rate, return_tensors='pt'), torch.arange(len(waves)) % 3
    optimizer, losses = torch.optim.AdamW(model.train().parameters(), lr=3e-3), []
    for _ in range(30):
        loss = model(**batch, labels=labels).loss
        optimizer.zero_grad(); loss.backward(); optimizer.step()
        losses.append(loss.item())
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    return dict(losses=losses, still=still, missing=sorted(info['missing_keys']), unexpected=sorted(info['unexpected_keys']),
                bias=load(AutoModelForAudioClassification, folder, num_labels=3).head.bias.abs().max().item())

def from_nothing(folder):
    "A model of the same sizes with random weights, and one whose file lacks two of them."
    torch.manual_seed(0)
    config = load(AutoConfig, folder)
    new = AutoModel.from_config(config, trust_remote_code=True)
    state = {name: value for name, value in load(AutoModel, folder).state_dict().items() if not name.endswith(('pos_embed', 'cls_token'))}
    torn = type(new).from_pretrained(None, config=config, state_dict=state)
    return dict(std={name: value.std().item() for name, value in new.state_dict().items()},
                positions=[(m.encoder.pos_embed - load(AutoModel, folder).encoder.pos_embed).abs().max().item() for m in (new, torn)],
                torn_cls=torn.encoder.cls_token.std().item(), sizes=[config.hidden_size, config.num_hidden_layers, config.num_attention_heads])

def errors(folder):
    "What is said to bad input, by name of the case."
    extractor, model = load(AutoFeatureExtractor, folder), load(AutoModel, folder)
    wave, said = np.zeros(16_000, dtype=np.float32), {}
    holed = wave.copy(); holed[3] = np.nan
    cases = dict(rate=lambda: extractor(wave, sampling_rate=44_100), nan=lambda: extractor([wave, holed], sampling_rate=16_000),
                 short=lambda: extractor(wave[:300], sampling_rate=16_000), empty=lambda: extractor([], sampling_rate=16_000),
                 text=lambda: extractor('a.wav', sampling_rate=16_000), length=lambda: extractor(wave, max_length=0),
                 integers=lambda: extractor(wave.astype(np.int16), sampling_rate=16_000), raw=lambda: model(torch.zeros(2, 16_000)),
                 mels=lambda: model(torch.zeros(2, 64, 80)), patch=lambda: model(torch.zeros(2, 100, 128)),
                 beyond=lambda: model(torch.zeros(1, 16*5000, 128)), pool=lambda: load(AutoModel, folder, pool='max'))
    for name, case in cases.items():
        try: case(); said[name] = None
        except Exception as error: said[name] = f'{type(error).__name__}: {error}'
    said['list'] = float(np.abs(extractor(list(map(float, wave + 0.1)), sampling_rate=16_000)['input_values'][0]
                                - extractor(wave + np.float32(0.1), sampling_rate=16_000)['input_values'][0]).max())
    return said

def main(work):
    said = dict(transformers=transformers.__version__, torch=torch.__version__)
    for path in sorted(work.glob('*.npz')):
        name, file = path.stem, np.load(path)
        waves = [file[key] for key in sorted(file)]
        found = visit(work/name, waves)
        if name == 'classifier':
            more, said['head'] = head(work/name, waves)
            found |= more
        np.savez(work/f'{name}_found', **found)
    said |= dict(train=train(work/'encoder', waves), new=from_nothing(work/'encoder'), errors=errors(work/'encoder'))
    said['modules'] = sorted(name for name, module in sys.modules.items() if name.split('.')[0] in ('sslam_nb', 'torchaudio') and module)
    (work/'said.json').write_text(json.dumps(said))

if __name__ == '__main__': main(Path(sys.argv[1]))
