"""XTuner itself on a small random checkpoint: every method trains, merges and loads; the same seed gives the same
bits."""
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil
import pytest
from small_chat import digest, write_checkpoint, write_rows

from internlm_course.errors import CourseError
from internlm_course.finetune import run
from internlm_course.finetune.config import SFTSettings
from internlm_course.finetune.messages import to_conversation
from internlm_course.finetune.train import sft
from internlm_course.model import chat, load_model, load_tokenizer

PLUGIN = '<|plugin|>'
SMALL = dict(rank=8, alpha=16, max_iters=30, batch_size=4, max_length=256)


def conversation(a, b):
    if (a + b) % 2:
        return [dict(role='user', content=f'{a}+{b}=?'), dict(role='assistant', content=str(a + b))]
    return [dict(role='system', name=PLUGIN, content='[]'), dict(role='user', content=f'{a}+{b}=?'),
            dict(role='assistant', content=chat.call('add', dict(x=f'{a}+{b}'))),
            dict(role='environment', name=PLUGIN, content=str(a + b)), dict(role='assistant', content=str(a + b))]


@pytest.fixture(scope='module')
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp('xtuner')
    rows = [dict(messages=conversation(a, b)) for a in range(6) for b in range(10)]
    write_rows(folder / 'sft.jsonl', rows)
    write_checkpoint(folder / 'checkpoint', [row['messages'][-2]['content'] for row in rows] * 9)
    return folder


def chat_loss(checkpoint, rows):
    """Mean loss of what the assistant says, which is what training lowers."""
    import torch

    model, tokenizer = load_model(checkpoint, 'float32'), load_tokenizer(checkpoint)

    def encode(text):
        return tokenizer.encode(text, add_special_tokens=False)

    losses = []
    for row in rows:
        ids, labels = [tokenizer.bos_token_id], [-100]
        for turn in to_conversation(row)['conversation']:
            asked, said, end = encode(turn['input']), encode(turn['output']), encode(turn['sep'])
            ids += asked + said + end
            labels += [-100] * len(asked) + said + [-100] * len(end)
        with torch.no_grad():
            losses.append(model(torch.tensor([ids]), labels=torch.tensor([labels])).loss.item())
    return sum(losses) / len(losses)


@pytest.mark.parametrize('method, embeddings', [('lora', True), ('qlora', False)])  # 'full' runs in test_agent
def test_adapters_train_merge_and_load(start, tmp_path, method, embeddings):
    out, rate = tmp_path / 'out', 2e-3 if method == 'full' else 2e-2
    settings = SFTSettings(method=method, train_embeddings=embeddings, learning_rate=rate, **SMALL)
    metrics = sft(start / 'checkpoint', start / 'sft.jsonl', out, settings, tmp_path / 'home')
    losses = [loss for _, loss in metrics['loss']]
    # Adapters over random frozen embeddings learn little; the merged weights must show the same gain as the training
    # loss.
    gain = losses[0] - losses[-1]
    assert gain > (0.3 if 'lora' in method and not embeddings else 2) and metrics['steps'] == 30
    assert metrics['cut_conversations'] == 0
    rows = [json.loads(line) for line in (start / 'sft.jsonl').read_text('utf-8').splitlines()][:10]
    assert chat_loss(out, rows) < chat_loss(start / 'checkpoint', rows) - gain / 2
    assert (out / 'modeling_internlm2.py').is_file() and (out / 'logs' / 'config.py').is_file()
    before, after = load_model(start / 'checkpoint'), load_model(out)
    changed = {name for name, tensor in after.state_dict().items() if not tensor.equal(before.state_dict()[name])}
    trained = {name.split('.')[-2] for name in changed}
    linear = {'wqkv', 'wo', 'w1', 'w2', 'w3'}
    assert linear <= trained and ('tok_embeddings' in trained) is (embeddings or method == 'full')
    assert 0 < metrics['trainable_parameters'] <= after.num_parameters()


def test_same_seed_same_bits(start, tmp_path):
    seeds = {}
    for name, seed in (('a', 0), ('b', 0), ('c', 1)):
        settings = SFTSettings(seed=seed, **SMALL | dict(max_iters=6))
        sft(start / 'checkpoint', start / 'sft.jsonl', tmp_path / name, settings, tmp_path / f'home-{name}')
        seeds[name] = digest(tmp_path / name)
    assert seeds['a'] == seeds['b'] != seeds['c']


@pytest.mark.parametrize('method, embeddings', [('lora', True), ('qlora', False)])
def test_the_adapter_alone_is_the_merged_model(start, tmp_path, method, embeddings):
    """In PEFT's form, over the checkpoint that it was trained on; and answers while it trains change no bit of it, but
    for QLoRA's."""
    import torch
    from peft import PeftModel

    settings = dict(method=method, train_embeddings=embeddings, learning_rate=1e-2, **SMALL | dict(max_iters=20))
    for name, more in (('out', dict(keep_adapter=True, sample_questions=['1+2=?', '2+2=?'])), ('plain', {})):
        metrics = sft(start / 'checkpoint', start / 'sft.jsonl', tmp_path / name, SFTSettings(**settings, **more),
                      tmp_path / 'home')
        assert (tmp_path / name / 'adapter').exists() is ('keep_adapter' in more)
        assert [sample['step'] for sample in metrics['samples']] == ([*range(2, 21, 2)] if more else [])
        assert all(len(sample['answers']) == 2 and '<|im' not in ''.join(sample['answers'])
                   for sample in metrics['samples'])
    # Asked outside training, bitsandbytes lays 4-bit weights out anew on a CPU, and sums differ from then on
    assert method == 'qlora' or digest(tmp_path / 'out') == digest(tmp_path / 'plain')
    base, merged = (load_model(folder, 'float32') for folder in (start / 'checkpoint', tmp_path / 'out'))
    alone = PeftModel.from_pretrained(base, tmp_path / 'out' / 'adapter')
    ids = torch.arange(3, 43)[None]
    with torch.no_grad():
        gap = (alone(ids).logits - merged(ids).logits).abs().max()
        changed = (alone(ids).logits - load_model(start / 'checkpoint', 'float32')(ids).logits).abs().max()
    assert gap < changed / 10  # the merged weights are bf16
    state = alone.merge_and_unload(safe_merge=True).state_dict()
    assert all(state[name].bfloat16().equal(weight.bfloat16()) for name, weight in merged.state_dict().items())


def test_two_processes_train_what_one_does(start, tmp_path, monkeypatch):
    """The same sequences make each step; the order of adding differs, and a schedule of few iterations by the length of
    one. Another seed goes elsewhere."""
    import torch

    weights = {}
    for name, processes, seed in (('one', 1, 0), ('two', 2, 0), ('other', 2, 1)):
        monkeypatch.setattr(run, 'share_cores', lambda batch_size, count=processes: (count, {'OMP_NUM_THREADS': '1'}))
        # Less than an epoch: the next one would be shuffled for each rank
        settings = SFTSettings(seed=seed, **SMALL | dict(max_iters=6, max_length=64))
        metrics = sft(start / 'checkpoint', start / 'sft.jsonl', tmp_path / name, settings, tmp_path / 'home')
        assert metrics['steps'] == 6 and metrics['loss'][-1][0] == 6 * SMALL['batch_size']
        weights[name] = torch.cat([weight.flatten()
                                   for weight in load_model(tmp_path / name, 'float32').state_dict().values()])
    moved = [(weights['one'] - weights[name]).abs().mean().item() for name in ('two', 'other')]
    assert 0 < moved[0] < moved[1] / 5


def test_a_killed_second_process_ends_the_first(start, tmp_path, monkeypatch):
    """Killed before it joined, when the first would wait for it, half an hour."""
    monkeypatch.setattr(run, 'share_cores', lambda batch_size: (2, {'OMP_NUM_THREADS': '1'}))
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(sft, start / 'checkpoint', start / 'sft.jsonl', tmp_path / 'out', SFTSettings(**SMALL),
                          tmp_path / 'home')
        second = None
        while second is None and not training.done():
            time.sleep(0.05)
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):  # one that has just ended
                    if str(tmp_path / 'out') in process.cmdline() == process.parent().cmdline():  # it is a fork
                        second = process
        second.kill()
        with pytest.raises(CourseError, match='rank 1 of XTuner stopped with code -9'):
            training.result(timeout=60)


def test_xtuners_failure_shows_its_telling_lines(start, tmp_path):
    broken = tmp_path / 'checkpoint'
    broken.mkdir()
    for path in (start / 'checkpoint').iterdir():
        (broken / path.name).write_bytes(path.read_bytes() if path.suffix != '.safetensors' else b'no weights')
    with pytest.raises(CourseError, match='(?i)safetensor|header'):
        sft(broken, start / 'sft.jsonl', tmp_path / 'out', SFTSettings(**SMALL), tmp_path / 'home')
