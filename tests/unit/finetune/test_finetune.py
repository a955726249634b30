"""XTuner's tokens are the chat format's, its loss mask covers what the assistant says; what cannot work is refused
early."""
import ast
import json

import pytest

from internlm_course.errors import CourseError
from internlm_course.finetune.config import SFTSettings, config_text
from internlm_course.finetune.messages import count_tokens, to_conversation
from internlm_course.finetune.run import share_cores
from internlm_course.finetune.train import read_conversations, sft
from internlm_course.model import chat, train_tokenizer

PLUGIN = '<|plugin|>'
CONVERSATIONS = {
    'one turn': [dict(role='user', content='What is 1+1?'), dict(role='assistant', content='2')],
    'two turns': [dict(role='user', content='你好'), dict(role='assistant', content='你好。'),
                  dict(role='user', content='Bye'), dict(role='assistant', content='Bye.')],
    'system': [dict(role='system', content='Be brief.'), dict(role='user', content='a\nb'),
               dict(role='assistant', content='c\nd')],
    'tool': [dict(role='system', name=PLUGIN, content='[{"name": "calculator"}]'),
             dict(role='user', content='What is 12*34?'),
             dict(role='assistant', content=chat.call('calculator', dict(expression='12*34'))),
             dict(role='environment', name=PLUGIN, content='408'), dict(role='assistant', content='408')],
    'assistant first': [dict(role='assistant', content='Hello'), dict(role='user', content='Hi'),
                        dict(role='assistant', content='Well?')],
    'trailing user': [dict(role='user', content='a'), dict(role='assistant', content='b'),
                      dict(role='user', content='c')],
}


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory):
    texts = ['What is 12*34? Hello, be brief. 你好，再见。 calculator name expression'] * 9
    return train_tokenizer(texts, 330, tmp_path_factory.mktemp('tokenizer'))


def expected(messages, tokenizer):
    """Oracle from the chat format alone: ids of the whole text, and the ids inside `assistant\\n … <|im_end|>` as
    labels."""
    last = max(i for i, message in enumerate(messages) if message['role'] == 'assistant')
    ids = tokenizer.encode(chat.render(messages[:last + 1]))
    start, end = (tokenizer.convert_tokens_to_ids(token) for token in ('<|im_start|>', '<|im_end|>'))
    header = tokenizer.encode(chat.generation_prompt, add_special_tokens=False)
    labels, inside = [], False
    for index, token in enumerate(ids):
        inside = inside or ids[index - len(header):index] == header
        labels.append(token if inside else -100)
        inside = inside and token not in (start, end)
    return ids, labels


@pytest.mark.parametrize('name', CONVERSATIONS)
def test_tokens_and_loss_mask_through_xtuners_own_encoder(name, tokenizer):
    xtuner = pytest.importorskip('xtuner.dataset.utils')
    messages = CONVERSATIONS[name]
    encoded = xtuner.encode_fn(to_conversation(dict(messages=messages)), tokenizer, max_length=10_000)
    ids, labels = expected(messages, tokenizer)
    assert encoded['input_ids'] == ids
    assert encoded['labels'] == labels
    assert any(label >= 0 for label in labels) and labels[0] == -100


def test_names_that_arrow_fills_with_none_are_no_names():
    messages = CONVERSATIONS['one turn']
    assert (to_conversation(dict(messages=[dict(message, name=None) for message in messages]))
            == to_conversation(dict(messages=messages)))


def test_count_tokens_is_what_xtuner_packs(tokenizer):
    examples = [dict(messages=messages) for messages in CONVERSATIONS.values()]
    lengths = [len(expected(messages, tokenizer)[0]) for messages in CONVERSATIONS.values()]
    # The text after the last turn's end mark ends in a line break that `expected` counts too.
    assert count_tokens(examples, tokenizer, 10_000) == (sum(lengths), 0)
    assert count_tokens(examples, tokenizer, 16) == (sum(min(n, 16) for n in lengths), sum(n > 16 for n in lengths))


@pytest.mark.parametrize('settings', [
    SFTSettings(), SFTSettings(method='qlora'), SFTSettings(method='full'), SFTSettings(train_embeddings=True),
    SFTSettings(dtype='bfloat16', checkpointing=True)])
def test_config_holds_imports_and_assignments_only(settings, tmp_path):
    """mmengine does not execute a config with foreign imports; it reads imports and assignments."""
    tree = ast.parse(config_text(tmp_path, tmp_path / 'sft.jsonl', settings, 100))
    assert {type(node) for node in tree.body} == {ast.Import, ast.ImportFrom, ast.Assign}
    values = {node.targets[0].id: ast.unparse(node.value) for node in tree.body if isinstance(node, ast.Assign)}
    assert ('LoraConfig' in values['model']) is (settings.method != 'full')
    assert ('nf4' in values['model']) is (settings.method == 'qlora')
    assert ('tok_embeddings' in values['model']) is settings.train_embeddings


@pytest.mark.parametrize('dtype, gpu, wrapper', [('float32', False, 'OptimWrapper'), ('float32', True, 'OptimWrapper'),
                                                 ('bfloat16', True, 'AmpOptimWrapper'),
                                                 ('bfloat16', False, 'CPUAutocastOptimWrapper')])
def test_bf16_is_autocast_by_what_the_device_has(dtype, gpu, wrapper, tmp_path):
    text = config_text(tmp_path, tmp_path, SFTSettings(dtype=dtype), 100, gpu)
    [value] = [node.value for node in ast.parse(text).body
               if isinstance(node, ast.Assign) and node.targets[0].id == 'optim_wrapper']
    assert next(keyword.value.id for keyword in value.keywords if keyword.arg == 'type') == wrapper


def test_processes_divide_a_steps_sequences(tmp_path):
    """Two ranks see one sequence each where one sees two; mmengine's own wrapper would look for two GPUs."""
    def values(processes):
        tree = ast.parse(config_text(tmp_path, tmp_path, SFTSettings(batch_size=4), 100, processes=processes))
        return {node.targets[0].id: ast.unparse(node.value) for node in tree.body if isinstance(node, ast.Assign)}
    one, two = values(1), values(2)
    assert (one['accumulation'], one['iterations'], one['warmup']) == ('4', '100', '5')
    assert (two['accumulation'], two['iterations'], two['warmup']) == ('2', '50', '2')
    assert 'model_wrapper_cfg' not in one and 'MMDistributedDataParallel' in two['model_wrapper_cfg']


@pytest.mark.parametrize('cores, batch_size, processes, threads',
                         [(1, 2, 1, 1), (2, 2, 2, 1), (2, 3, 1, 2), (8, 2, 2, 4)])
def test_cores_are_shared_among_processes(cores, batch_size, processes, threads, monkeypatch):
    monkeypatch.setattr('os.sched_getaffinity', lambda process: set(range(cores)))
    assert share_cores(batch_size) == (processes, {'OMP_NUM_THREADS': str(threads)})


@pytest.mark.parametrize('rate', [1.0, 0.1])
def test_the_embedding_has_a_rate_of_its_own(rate, tmp_path):
    """mmengine finds by name what PEFT trains in full beside the adapters."""
    torch, optim = pytest.importorskip('torch'), pytest.importorskip('mmengine.optim')
    text = config_text(tmp_path, tmp_path, SFTSettings(train_embeddings=True, embedding_rate=rate), 100)
    [node] = [node for node in ast.parse(text).body
              if isinstance(node, ast.Assign) and node.targets[0].id == 'optim_wrapper']
    names = dict(OptimWrapper=optim.OptimWrapper, AdamW=torch.optim.AdamW, accumulation=1, lr=2.0)
    exec(ast.unparse(node), names)
    linear = torch.nn.Linear(2, 2, bias=False)
    model = torch.nn.ModuleDict(dict(wo=torch.nn.ModuleDict(dict(lora_A=linear)),
                                     output=torch.nn.ModuleDict(dict(modules_to_save=torch.nn.Linear(2, 3)))))
    groups = optim.build_optim_wrapper(model, names['optim_wrapper']).optimizer.param_groups
    rates = {parameter: group['lr'] for group in groups for parameter in group['params']}
    assert rates[linear.weight] == 2.0 and rates[model['output']['modules_to_save'].weight] == pytest.approx(2.0 * rate)


@pytest.mark.parametrize('warmup, iterations, start, peak_at', [
    (0.05, 100, 0.01, 4), (0.05, 10, 1.0, 0), (0.0, 2, 1.0, 0), (0.5, 10, 0.01, 4)])
def test_schedule_rises_to_the_peak_and_falls_to_a_tenth(warmup, iterations, start, peak_at, tmp_path):
    torch = pytest.importorskip('torch')
    optim = pytest.importorskip('mmengine.optim')
    text = config_text(tmp_path, tmp_path, SFTSettings(warmup=warmup), iterations)
    names = dict(LinearLR=optim.LinearLR, CosineAnnealingLR=optim.CosineAnnealingLR, iterations=iterations)
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and node.targets[0].id in ('warmup', 'param_scheduler'):
            exec(ast.unparse(node), names)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedulers = [entry.pop('type')(optimizer, **entry) for entry in names['param_scheduler']]
    rates = []
    for _ in range(iterations):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert rates[0] == pytest.approx(start)
    assert max(rates) == pytest.approx(1.0, abs=1e-6) and abs(rates.index(max(rates)) - peak_at) <= 1
    assert 0.099 <= rates[-1] <= 0.6 and rates[peak_at + 1:] == sorted(rates[peak_at + 1:], reverse=True)


@pytest.mark.parametrize('wrong, message', [
    (dict(method='dora'), "'dora'"), (dict(rank=0), 'rank 0'), (dict(learning_rate=-1), 'learning_rate -1'),
    (dict(max_iters=0), 'max_iters 0'),
    (dict(epochs=0), 'epochs 0'), (dict(warmup=1.0), 'warm-up'), (dict(max_length=4), '4 tokens'),
    (dict(dtype='int8'), "'int8'"),
    (dict(method='full', train_embeddings=True), 'train_embeddings'), (dict(batch_size=0), 'batch_size 0')])
def test_settings_that_cannot_work(wrong, message):
    with pytest.raises(CourseError, match=message):
        SFTSettings(**wrong).check()


def test_files_that_cannot_work(tmp_path):
    path = tmp_path / 'sft.jsonl'
    with pytest.raises(CourseError, match='cannot be read'):
        read_conversations(path)
    path.write_text('\n', 'utf-8')
    with pytest.raises(CourseError, match='no conversation'):
        read_conversations(path)
    good = json.dumps(dict(messages=CONVERSATIONS['tool']))
    for bad in ('{', '[]', '{"messages": []}', '{"messages": [{"role": "assistant"}]}',
                '{"messages": [{"role": "user", "content": "x"}]}',
                '{"messages": [{"role": "bot", "content": "x"}, {"role": "assistant", "content": "x"}]}'):
        path.write_text(f'{good}\n{bad}\n', 'utf-8')
        with pytest.raises(CourseError, match='Line 2 '):
            read_conversations(path)
    path.write_text(good, 'utf-8')
    with pytest.raises(CourseError, match='no checkpoint'):
        sft(tmp_path / 'nowhere', path, tmp_path / 'out', SFTSettings(), tmp_path / 'home')


def small_model(vocab: int):
    import torch

    from internlm_course.model import InternLM2Config, InternLM2ForCausalLM
    torch.manual_seed(0)
    return InternLM2ForCausalLM(InternLM2Config(vocab_size=vocab, hidden_size=32, num_hidden_layers=1,
                                                num_attention_heads=2, num_key_value_heads=1, intermediate_size=32))


def test_chat_tokens_that_no_text_held_get_a_start(tokenizer):
    """Of tokens pushed down like `<unk>` the opening ones become `<s>` and the closing ones `</s>`; a trained one, and
    every other row, stays."""
    from internlm_course.finetune.chat_tokens import CHAT, start_chat_tokens
    model = small_model(len(tokenizer))
    trained, untrained = '<|plugin|>', [name for name in CHAT if name != '<|plugin|>']
    ids = tokenizer.convert_tokens_to_ids(untrained)
    embedding, output = model.get_input_embeddings().weight.data, model.get_output_embeddings().weight.data
    output[ids] = 1.01 * output[tokenizer.unk_token_id]
    before, opening = (embedding.clone(), output.clone()), ('<|im_start|>', '<|action_start|>', '<|interpreter|>')
    assert start_chat_tokens(model, tokenizer) == untrained
    for matrix, was in zip((embedding, output), before):
        for name, token in zip(untrained, ids):
            assert matrix[token].equal(was[tokenizer.bos_token_id if name in opening else tokenizer.eos_token_id])
        others = [token for token in range(len(tokenizer)) if token not in ids]
        assert matrix[others].equal(was[others]) and tokenizer.convert_tokens_to_ids(trained) in others


def test_a_model_that_chats_already_keeps_its_chat_tokens(tokenizer):
    from internlm_course.finetune.chat_tokens import start_chat_tokens
    model = small_model(len(tokenizer))
    before = model.state_dict()['output.weight'].clone()
    assert start_chat_tokens(model, tokenizer) == [] and model.state_dict()['output.weight'].equal(before)
