"""XTuner on preference pairs, with a small random checkpoint: a reward model that tells them apart, DPO that moves
towards what was chosen, and runs that are killed and go on to the same bits."""
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from small_chat import digest, write_checkpoint, write_rows

from internlm_course.finetune.config import SFTSettings
from internlm_course.finetune.preference import DPOSettings, RewardSettings, dpo, reward
from internlm_course.finetune.train import sft
from internlm_course.model import chat, load_model, load_tokenizer
from internlm_course.model.tokenizer import REWARD

SMALL = dict(batch_size=2, max_length=64)
PACKED = dict(SMALL, packed_length=130)


def pair(a, b):
    """Politeness is chosen: one that a model can learn from the answer alone."""
    return dict(prompt=[dict(role='user', content=f'{a}+{b}=?')],
                chosen=[dict(role='assistant', content=f'please {a + b}')],
                rejected=[dict(role='assistant', content=f'no {a + b}')])


@pytest.fixture(scope='module')
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp('preference')
    pairs = [pair(a, b) for a in range(10) for b in range(12)]
    write_rows(folder / 'pairs.jsonl', pairs)
    write_rows(folder / 'sft.jsonl', [dict(messages=row['prompt'] + row['chosen']) for row in pairs])
    write_checkpoint(folder / 'checkpoint', ['1+2=? please no 1234567890'] * 9)
    return folder


def texts(rows):
    """The conversations with the chosen answer, then with the rejected."""
    return [chat.render(row['prompt'] + row[answer]) for answer in ('chosen', 'rejected') for row in rows]


def test_a_reward_model_prefers_what_was_chosen(start, tmp_path):
    import torch

    steps = []
    settings = RewardSettings(epochs=6, learning_rate=2e-3, compared='tokens', **PACKED)
    metrics = reward(start / 'checkpoint', start / 'pairs.jsonl', tmp_path / 'out', settings, tmp_path / 'home',
                     steps.append)
    assert metrics['accuracy'][-1][1] > 0.95 and metrics['loss'][-1][1] < metrics['loss'][0][1]
    assert (metrics['pairs'], metrics['cut_pairs'], metrics['steps']) == (120, 0, int(6 * metrics['packs'] / 2))
    assert steps[-1]['step'] == steps[-1]['steps'] == metrics['steps'] and steps[-1]['loss'] == metrics['loss'][-1][1]
    model, tokenizer = load_model(tmp_path / 'out', 'float32', reward=True), load_tokenizer(tmp_path / 'out')
    token = tokenizer.convert_tokens_to_ids(REWARD)
    assert model.config.reward_token_id == token and metrics['trainable_parameters'] == model.num_parameters()
    fresh = [pair(a, b) for a in (13, 47) for b in (25, 31)]
    with torch.no_grad():
        scores = [model(torch.tensor([[*tokenizer.encode(text), token]])).logits.item() for text in texts(fresh)]
    assert min(scores[:4]) > max(scores[4:]) and all(-5 < score < 5 for score in scores)


@pytest.mark.parametrize('method', ['full', 'lora'])
def test_dpo_moves_towards_what_was_chosen(start, tmp_path, method):
    import torch

    settings = DPOSettings(method=method, epochs=4, learning_rate=1e-3 if method == 'full' else 1e-2, **PACKED,
                           keep_adapter=method == 'lora')
    metrics = dpo(start / 'checkpoint', start / 'pairs.jsonl', tmp_path / 'out', settings, tmp_path / 'home')
    assert metrics['accuracy'][-1][1] > 0.95 and metrics['chosen'][-1][1] > metrics['rejected'][-1][1]

    def log_ratio(folder):
        """Mean log p(chosen) - log p(rejected) of pairs that no one trained on."""
        model, tokenizer = load_model(folder, 'float32'), load_tokenizer(folder)
        values = []
        for text in texts([pair(13, 25), pair(31, 47)]):
            ids = torch.tensor([tokenizer.encode(text)])
            with torch.no_grad():
                values.append(-model(ids, labels=ids).loss.item() * (ids.shape[1] - 1))
        return (values[0] + values[1] - values[2] - values[3]) / 2
    assert log_ratio(tmp_path / 'out') > log_ratio(start / 'checkpoint') + 1
    assert (tmp_path / 'out' / 'adapter' / 'adapter_config.json').exists() is (method == 'lora')


RUNS = dict(
    sft=(sft, SFTSettings(max_iters=60, method='lora', train_embeddings=True, average=0.5, **SMALL), 'sft.jsonl'),
    reward=(reward, RewardSettings(max_iters=60, **PACKED), 'pairs.jsonl'),
    dpo=(dpo, DPOSettings(max_iters=60, **PACKED), 'pairs.jsonl'))


def saved(last):
    """Iterations of the last whole checkpoint."""
    text = last.read_text('utf-8') if last.exists() else ''
    return int(text.rsplit('_', 1)[1].removesuffix('.pth')) if text else 0


@pytest.mark.parametrize('kind', RUNS)
def test_a_killed_run_goes_on_to_the_same_bits(kind, start, tmp_path):
    """Killed by SIGKILL after its sixth checkpoint, when the mean of the last weights has begun."""
    train, settings, data = RUNS[kind]
    undisturbed = train(start / 'checkpoint', start / data, tmp_path / 'whole', settings, tmp_path / 'home-whole')
    out, home = tmp_path / 'killed', tmp_path / 'home-killed'
    line = (f'from internlm_course.finetune.{"train" if kind == "sft" else "preference"} import *; '
            f'{kind}({str(start / "checkpoint")!r}, {str(start / data)!r}, {str(out)!r}, {settings!r}, {str(home)!r})')
    process = subprocess.Popen([sys.executable, '-c', line])
    last = out / 'logs' / 'xtuner' / 'last_checkpoint'
    while process.poll() is None and saved(last) < 36:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (out / 'metrics.json').exists()
    assert 36 <= saved(last) < 60
    metrics = train(start / 'checkpoint', start / data, out, settings, home)
    log = (out / 'logs' / 'xtuner.log').read_text('utf-8')
    assert f'Auto resumed from the latest checkpoint {last.parent}' in log
    assert digest(out) == digest(tmp_path / 'whole')
    assert metrics['loss'] == undisturbed['loss']
    assert json.loads((out / 'metrics.json').read_text('utf-8'))['steps'] == 60
