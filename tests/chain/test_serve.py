"""LMDeploy's server over a tiny checkpoint: the OpenAI client works, errors are clear, and greedy tokens are
transformers' own."""
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import psutil
import pytest
import safetensors.torch
import torch

from internlm_course.deploy.quantize import quantize
from internlm_course.deploy.serve import serve, serve_all
from internlm_course.errors import CourseError
from internlm_course.memory import anonymous_bytes
from internlm_course.model import (
    InternLM2Config,
    InternLM2ForCausalLM,
    chat,
    load_tokenizer,
    save_checkpoint,
    train_tokenizer,
)
from internlm_course.process import tool_environment

WORDS = ('The capital of France is Paris. 12 + 35 = 47. def double(x): return 2 * x. 中国的首都是北京。 Ask the '
         'calculator. '
         'A secret number hides among the facts; long documents keep it far away.\n')
CALL = chat.render([{'role': 'user', 'content': 'Multiply.'},
                    {'role': 'assistant', 'content': chat.call('calculator', {'expression': '12*35'})}])
PROMPTS = [(WORDS * 3)[start:start + 4 + 11 * start % 170] for start in range(0, 150, 5)]
PARENT = """
import sys, time
from pathlib import Path
from internlm_course.deploy.serve import serve
with serve(Path(sys.argv[1]), model_name='int4', home=Path(sys.argv[2]), log=Path(sys.argv[2]) / 'int4.log') as server:
    print(server.port, server.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """A model that knows WORDS by heart: of a random one the best two tokens are often a bf16 rounding apart, so
    equality says nothing."""
    folder = tmp_path_factory.mktemp('served')
    tokenizer = train_tokenizer([WORDS] * 4, 512, folder / 'tokenizer')
    torch.set_num_threads(1)  # the server has a core of its own, and small products gain nothing from a second thread
    torch.manual_seed(1)
    config = InternLM2Config(vocab_size=512, hidden_size=128, intermediate_size=256, num_hidden_layers=2,
                             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=384)
    model = InternLM2ForCausalLM(config)
    for name, parameter in model.named_parameters():
        if 'norm' in name:
            parameter.data.uniform_(0.5, 1.5)  # a norm weight of 1 would hide how it is rounded
    stream = torch.tensor(tokenizer((WORDS + CALL) * 8, add_special_tokens=False).input_ids)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(200):
        start = torch.randint(len(stream) - 96, (8,))
        batch = torch.stack([torch.cat((torch.tensor([config.bos_token_id]), stream[first:first + 95]))
                             for first in start])
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    save_checkpoint(model, tokenizer, folder / 'bf16')
    return folder / 'bf16'


@pytest.fixture(scope='module')
def server(checkpoint, tmp_path_factory):
    home = tmp_path_factory.mktemp('home')
    with serve(checkpoint, model_name='internlm2-tiny', home=home, log=home / 'serve.log', timeout=600) as running:
        yield running
    with socket.socket() as probe:
        assert probe.connect_ex(('127.0.0.1', running.port)), 'the port is still served'
    assert not Path(f'/proc/{running.pid}').exists()


@pytest.fixture(scope='module')
def client(server):
    return openai.OpenAI(base_url=server.url, api_key='unused', max_retries=0, timeout=120)


def complete(client, prompt, max_tokens=12, **options):
    options.setdefault('extra_body', {'ignore_eos': True})
    return client.completions.create(model='internlm2-tiny', prompt=prompt, max_tokens=max_tokens, temperature=0,
                                     **options)


def test_the_server_lists_its_model_and_is_local(server, client):
    assert [model.id for model in client.models.list()] == ['internlm2-tiny']
    assert server.url.startswith('http://127.0.0.1:')


@pytest.mark.skipif(torch.cuda.is_available(), reason='the CPU device is in force where there is no GPU')
def test_a_bf16_checkpoint_is_computed_in_bf16(checkpoint):
    """LMDeploy takes a device that it does not know for one without bf16, and would serve fp16."""
    script = ('import sys; from internlm_course.deploy import cpu; cpu.install(8); from lmdeploy.pytorch.config import '
              'ModelConfig; '
              "print(ModelConfig.from_pretrained(sys.argv[1], trust_remote_code=True, device_type='cpu').dtype)")
    done = subprocess.run([sys.executable, '-c', script, str(checkpoint)], env=tool_environment(checkpoint.parent),
                          capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == 'torch.bfloat16'


def test_greedy_tokens_are_those_of_transformers(checkpoint, client):
    """bf16 weights on both sides; 30 prompts of 3 to 61 tokens. (`ignore_eos` would forbid the end tokens, so it is
    off.)

    Where transformers' two best tokens lie within a few roundings of each other, either is right, and the prompt is
    left out; 20 must be left. Without bf16 in hardware the server multiplies in fp32 and rounds once, and so falls on
    the other side of such a tie.
    """
    from transformers import AutoModelForCausalLM
    tokenizer = load_tokenizer(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, trust_remote_code=True, dtype=torch.bfloat16).eval()
    model.generation_config.eos_token_id = None
    ends, expected = tokenizer.convert_tokens_to_ids(['</s>', '<|im_end|>', '<|action_end|>']), {}
    for prompt in PROMPTS:
        tokens = tokenizer(prompt, return_tensors='pt').input_ids
        made = model.generate(tokens, max_new_tokens=12, do_sample=False, pad_token_id=2, output_logits=True,
                              return_dict_in_generate=True)
        output = made.sequences[0, tokens.shape[1]:].tolist()
        end = next((place for place, token in enumerate(output) if token in ends), None)
        best = torch.cat(made.logits[:None if end is None else end + 1]).float().topk(2).values
        if (best[:, 0] - best[:, 1] > 4 * torch.finfo(torch.bfloat16).eps * best[:, 0].abs()).all():
            expected[prompt] = tokenizer.decode(output[:end])
    assert len(expected) >= 20
    greedy = functools.partial(complete, client, extra_body={})
    alone = {prompt: greedy(prompt).choices[0].text for prompt in PROMPTS}
    assert {prompt: alone[prompt] for prompt in expected} == expected
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda prompt: greedy(prompt).choices[0].text, PROMPTS))
    assert together == list(alone.values())
    assert [choice.text for choice in greedy(PROMPTS[:4]).choices] == list(alone.values())[:4]


def test_chat_reaches_the_model_in_internlm2s_format(checkpoint, client):
    messages = [{'role': 'system', 'content': 'Be short.'},
                {'role': 'system', 'name': '<|plugin|>', 'content': '[{"name": "calculator"}]'},
                {'role': 'user', 'content': 'What is 12 + 35?'}, {'role': 'assistant', 'content': 'Ask'},
                {'role': 'environment', 'name': '<|plugin|>', 'content': '47'}]
    answer = client.chat.completions.create(model='internlm2-tiny', messages=messages, max_tokens=12, temperature=0,
                                            extra_body={'ignore_eos': True})
    prompt = chat.render(messages, add_generation_prompt=True)
    assert answer.choices[0].message.content == complete(client, prompt).choices[0].text
    assert answer.usage.prompt_tokens == len(load_tokenizer(checkpoint)(prompt).input_ids)
    as_tool = [*messages[:-1], {'role': 'tool', 'tool_call_id': '1', 'content': '47'}]
    again = client.chat.completions.create(model='internlm2-tiny', messages=as_tool, max_tokens=12, temperature=0,
                                           extra_body={'ignore_eos': True})
    assert again.choices[0].message.content == answer.choices[0].message.content


def test_streaming_gives_the_same_text(client):
    chunks = list(complete(client, PROMPTS[3], 30, stream=True))
    assert len(chunks) > 2
    assert ''.join(chunk.choices[0].text for chunk in chunks) == complete(client, PROMPTS[3], 30).choices[0].text
    messages = [{'role': 'user', 'content': 'Ask the calculator'}]
    options = dict(model='internlm2-tiny', messages=messages, max_tokens=20, temperature=0,
                   extra_body={'ignore_eos': True})
    whole = client.chat.completions.create(**options).choices[0].message.content
    parts = [chunk.choices[0].delta.content or '' for chunk in client.chat.completions.create(stream=True, **options)]
    assert ''.join(parts) == whole


@pytest.mark.parametrize('stream', [False, True])
def test_a_stop_string_of_any_length_ends_the_answer(client, stream):
    text = complete(client, PROMPTS[5], 30).choices[0].text
    stop = text[7:12]  # in the middle of tokens
    answer = complete(client, PROMPTS[5], 30, stop=['no such words', stop], stream=stream)
    choices = [chunk.choices[0] for chunk in answer] if stream else answer.choices
    assert ''.join(choice.text for choice in choices) == text[:text.index(stop)]
    assert choices[-1].finish_reason == 'stop'


def test_max_tokens_ends_with_length(client):
    answer = complete(client, PROMPTS[0], 5)
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ('length', 5)


@pytest.mark.parametrize(('options', 'status', 'message'), [
    ({'model': 'gpt-5'}, 404, "'gpt-5' does not exist"),
    ({'prompt': WORDS * 40}, 400, 'the context length of model .* is 448 tokens'),
    ({'prompt': ['short', WORDS * 40]}, 400, 'is 448 tokens'),
    ({'prompt': ''}, 400, 'prompt is empty'),
])
def test_a_wrong_completion_gets_a_clear_error(client, options, status, message):
    with pytest.raises(openai.APIStatusError, match=message) as caught:
        client.completions.create(**{'model': 'internlm2-tiny', 'prompt': 'The', 'max_tokens': 3} | options)
    assert caught.value.status_code == status


@pytest.mark.parametrize(('options', 'status', 'message'), [
    ({'model': 'gpt-5'}, 404, "'gpt-5' does not exist"),
    ({'messages': [{'role': 'user', 'content': WORDS * 40}]}, 400, 'is 448 tokens'),
    ({'messages': [{'role': 'wizard', 'content': 'x'}]}, 400, "the role 'wizard'"),
    ({'messages': []}, 400, 'prompt is empty'),
])
@pytest.mark.parametrize('stream', [False, True])
def test_a_wrong_chat_gets_a_clear_error(client, options, status, message, stream):
    request = {'model': 'internlm2-tiny', 'messages': [{'role': 'user', 'content': 'x'}], 'stream': stream} | options
    with pytest.raises(openai.APIStatusError, match=message) as caught:
        client.chat.completions.create(**request)
    assert caught.value.status_code == status


def test_a_prompt_of_the_longest_length_is_answered(checkpoint, client):
    tokens = load_tokenizer(checkpoint)(WORDS * 40).input_ids
    prompt = load_tokenizer(checkpoint).decode(tokens[1:447])
    answer = complete(client, prompt, 5)
    assert answer.usage.total_tokens <= 448 and answer.usage.completion_tokens >= 1


def test_a_tool_call_can_be_read_from_the_text(client):
    """The call's tokens are special, so LMDeploy would drop them from the text; the end token is not shown."""
    options = dict(model='internlm2-tiny', messages=[{'role': 'user', 'content': 'Multiply.'}], max_tokens=60,
                   temperature=0)
    choice = client.chat.completions.create(**options).choices[0]
    assert choice.message.content.startswith('<|action_start|><|plugin|>')
    assert chat.parse_call(choice.message.content) == ('calculator', {'expression': '12*35'})
    assert choice.finish_reason == 'stop' and '<|im_end|>' not in choice.message.content
    parts = [chunk.choices[0].delta.content or '' for chunk in client.chat.completions.create(stream=True, **options)]
    assert ''.join(parts) == choice.message.content


def test_int4_is_small_and_served_and_dies_with_its_parent(checkpoint, tmp_path):
    calibration = tmp_path / 'calibration.jsonl'
    calibration.write_text('{"text": "The capital of France is Paris. 12 + 35 = 47."}\n' * 20)
    out = tmp_path / 'int4'
    out.mkdir()
    metrics = quantize(checkpoint, out, calibration=calibration, home=tmp_path, samples=8, length=64)
    assert metrics['linear_bytes_ratio'] <= 0.30
    parent = subprocess.Popen([sys.executable, '-c', PARENT, str(out), str(tmp_path)], stdout=subprocess.PIPE,
                              text=True)
    try:
        port, pid = map(int, parent.stdout.readline().split())
        client = openai.OpenAI(base_url=f'http://127.0.0.1:{port}/v1', api_key='unused', max_retries=0)
        answer = client.completions.create(model='int4', prompt='The capital of France', max_tokens=12, temperature=0)
        assert answer.choices[0].text.startswith(' is Paris. 12')
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    assert gone(pid)


def gone(pid: int) -> bool:
    """Whether a process has ended, or will have in ten seconds; one that nobody reaps has, too."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            if 'Z' in Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]:
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.skipif(torch.cuda.is_available(), reason='they are forks where there is no GPU')
def test_several_servers_answer_each_as_itself_and_share_what_they_import(checkpoint, server, client, tmp_path):
    alone = anonymous_bytes(server.pid)
    shutil.copytree(checkpoint, other := tmp_path / 'other')
    weights = safetensors.torch.load_file(other / 'model.safetensors')
    output = next(name for name in weights if name.startswith('output'))
    weights[output] = weights[output].flip(0)  # a model that says something else
    safetensors.torch.save_file(weights, other / 'model.safetensors', metadata=dict(format='pt'))
    said = complete(client, 'The capital of').choices[0].text
    with serve_all(dict(same=checkpoint, other=other), model_name='internlm2-tiny', home=tmp_path,
                   log=tmp_path / 'servers.log', timeout=600) as servers:
        clients = {name: openai.OpenAI(base_url=each.url, api_key='unused', max_retries=0)
                   for name, each in servers.items()}
        texts = {name: complete(each, 'The capital of').choices[0].text for name, each in clients.items()}
        started = psutil.Process(servers['same'].pid)
        forks = [child.pid for child in started.children()]
        together = sum(map(anonymous_bytes, [started.pid, *forks]))
        os.kill(forks[1], signal.SIGKILL)  # one that ends so ends the other and tells its code
        assert psutil.Process(started.pid).wait(20) == 128 + 9
    assert texts['same'] == said != texts['other'] and len(forks) == 2
    assert together < 1.6 * alone
    assert all(map(gone, [started.pid, *forks]))


def test_of_several_servers_one_that_cannot_start_ends_all_and_is_named(checkpoint, tmp_path):
    shutil.copytree(checkpoint, broken := tmp_path / 'broken')
    (broken / 'model.safetensors').write_bytes(b'no weights')
    log = tmp_path / 'servers.log'
    servers = serve_all(dict(whole=checkpoint, broken=broken), model_name='internlm2-tiny', home=tmp_path, log=log,
                        timeout=600)
    with pytest.raises(CourseError, match=f'stopped with code 1 .*the server of {broken}') as caught, servers:
        pass
    assert str(log) in caught.value.remedy
