"""What clients send to one served model: every body is honoured or refused with status 400 and a sentence, and none
harms the next client.

The kinds come from public reports: before they were checked, each of KILLERS ended LMDeploy's engine for everybody.
"""
import http.client
import json
import random
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from internlm_course.course import Course
from internlm_course.deploy.serve import serve
from internlm_course.process import tool_environment

CHAT, COMPLETIONS, GENERATE = '/v1/chat/completions', '/v1/completions', '/generate'
HELLO = [{'role': 'user', 'content': 'Hello!'}]
BASE = {CHAT: {'messages': HELLO, 'max_tokens': 4}, COMPLETIONS: {'prompt': 'The capital', 'max_tokens': 4},
        GENERATE: {'prompt': 'The capital', 'max_tokens': 4}, '/v1/encode': {'input': 'The capital'},
        '/v1/messages': {'messages': HELLO, 'max_tokens': 4},
        '/v1/responses': {'input': 'Hello!', 'max_output_tokens': 4}}
TOOLS = [{'type': 'function', 'function': {'name': 'calculator', 'parameters': {'type': 'object', 'properties': {}}}}]
ERRORS_AS_TEXT = ('The request cannot be read', 'internal error happened', 'in prompt processing error',
                  '"finish_reason": "error"', '"finish_reason":"error"')


def schema(value, **options) -> dict:
    return {'response_format': {'type': 'json_schema', 'json_schema': {'name': 'x', 'schema': value}}} | options


def regex(value) -> dict:
    return {'response_format': {'type': 'regex_schema', 'regex_schema': value}}


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    return Course.open('tiny', tmp_path_factory.mktemp('course')).sft().path


@pytest.fixture(scope='module')
def server(checkpoint, tmp_path_factory):
    home = tmp_path_factory.mktemp('home')
    with serve(checkpoint, model_name='internlm2-tiny', home=home, log=home / 'serve.log', timeout=600) as running:
        yield running


@pytest.fixture(scope='module')
def post(server):
    """post(path, body) -> (status, the answer's text); a body of bytes is sent as it is, a dict with the model's
    name."""
    def send(path, body, timeout=120):
        if isinstance(body, dict):
            body = json.dumps({'model': 'internlm2-tiny'} | body).encode()
        connection = http.client.HTTPConnection('127.0.0.1', server.port, timeout=timeout)
        try:
            connection.request('POST', path, body,
                               {'Content-Type': 'application/json', 'anthropic-version': '2023-06-01'})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()
    return send


@pytest.fixture(scope='module')
def chat(post):
    def ask(**options) -> str:
        status, text = post(CHAT, BASE[CHAT] | options)
        assert status == 200, text
        return json.loads(text)['choices'][0]['message']['content']
    return ask


@pytest.fixture(scope='module')
def complete(post):
    def ask(**options) -> list[str]:
        status, text = post(COMPLETIONS, BASE[COMPLETIONS] | options)
        assert status == 200, text
        return [choice['text'] for choice in json.loads(text)['choices']]
    return ask


KILLERS = [
    (CHAT, {'response_format': {'type': 'json_schema'}}, 'must be a JSON schema'),
    (CHAT, schema(None), 'must be a JSON schema'),
    (CHAT, schema({'type': 'nonsense'}), 'Unsupported type "nonsense"'),
    (CHAT, schema({'enum': []}), 'enum array must not be empty'),
    (CHAT, schema({'$ref': '#/nowhere'}), 'Cannot find field nowhere'),
    (CHAT, schema({'$ref': '#'}), 'no text follows it'),
    (CHAT, schema({'type': 'string', 'pattern': '('}), 'parenthesis is not closed'),
    (CHAT, schema({'type': 'string', 'pattern': 'a?' * 900}), 'more than 500 characters'),
    (CHAT, schema({'type': 'object'}, ignore_eos=True), 'contradict'),
    (CHAT, regex('('), 'parenthesis is not closed'),
    (CHAT, regex('(?=a)b'), 'Lookahead is not supported'),
    (CHAT, regex(r'[^\s\S]'), 'no text follows it'),
    (CHAT, regex(5), 'must be a regular expression'),
    (CHAT, {'response_format': {'type': 'yaml'}}, 'must be text, json_object'),
    (CHAT, {'response_format': 'json_object'}, 'must be text, json_object'),
    ('/v1/responses', {'text': {'format': {'type': 'json_schema', 'name': 'x', 'schema': {'type': 'nonsense'}}}},
     'Unsupported type'),
    (GENERATE, {'prompt': None, 'input_ids': [1, 99999999]}, 'token id 99999999 is outside the vocabulary of'),
    (GENERATE, {'prompt': None, 'input_ids': [1, -5]}, 'token id -5 is outside'),
    (CHAT, {'messages': [], 'input_ids': [1, 2000000]}, 'token id 2000000 is outside'),
    (COMPLETIONS, {'prompt': [1, 99999999]}, 'token id 99999999 is outside'),
    ('/get_ppl', {'input': [1, 99999999]}, 'token id 99999999 is outside'),
]


@pytest.mark.parametrize(('path', 'body', 'message'), KILLERS)
def test_what_ended_the_engine_is_refused_and_the_next_request_is_answered(post, path, body, message):
    for stream in [{}] if path == '/get_ppl' else [{}, {'stream': True}]:
        status, text = post(path, BASE.get(path, {}) | body | stream)
        assert status == 400 and message in json.loads(text)['message'], text
    assert post(COMPLETIONS, BASE[COMPLETIONS])[0] == 200


@pytest.mark.parametrize('path', BASE)
def test_every_endpoint_answers_a_good_request(post, path):
    status, text = post(path, BASE[path])
    assert status == 200, text
    if path != '/v1/encode':
        status, text = post(path, BASE[path] | {'stream': True})
        assert status == 200 and 'data: ' in text and 'error' not in text, text


@pytest.mark.parametrize('temperature', [5e-324, 1e-45, 1e-40, 1e-5, 0])
def test_a_temperature_near_zero_is_greedy(chat, temperature):
    assert chat(temperature=temperature, top_k=0, max_tokens=12) == chat(temperature=1, top_k=1, max_tokens=12)


@pytest.mark.parametrize(('path', 'body', 'message'), [
    (CHAT, {'n': 2}, 'n cannot be honoured'),
    (COMPLETIONS, {'n': 3}, 'n cannot be honoured'),
    (COMPLETIONS, {'best_of': 2}, 'best_of cannot be honoured'),
    (COMPLETIONS, {'presence_penalty': 2}, 'repetition_penalty'),
    (CHAT, {'frequency_penalty': -0.5}, 'repetition_penalty'),
    (COMPLETIONS, {'echo': True}, 'echo cannot be honoured'),
    (COMPLETIONS, {'suffix': 'end'}, 'suffix cannot be honoured'),
    (COMPLETIONS, {'logprobs': 0}, 'logprobs cannot be honoured'),
    (CHAT, {'logprobs': True}, 'not enabled'),
    (CHAT, {'tools': TOOLS, 'tool_choice': 'required'}, 'tool_choice cannot be honoured'),
    (CHAT, {'tools': TOOLS, 'tool_choice': {'type': 'function', 'function': {'name': 'calculator'}}},
     'tool_choice cannot be honoured'),
    (CHAT, {'guided_regex': 'a+'}, "knows no field 'guided_regex'"),
    (CHAT, {'preserve_cache': True}, "knows no field 'preserve_cache'"),
    (COMPLETIONS, {'logit_bias': {'5': 1}}, "knows no field 'logit_bias'"),
    (GENERATE, {'seed': 5}, "knows no field 'seed'"),
    (GENERATE, {'image_data': 'x'}, 'reads text only'),
    (CHAT, {'messages': [{'role': 'user', 'content': [{'type': 'image_url', 'image_url': {'url': 'x'}}]}]},
     'reads nothing else'),
    ('/v1/responses', {'logit_bias': {'5': 1}}, "knows no field 'logit_bias'"),
    ('/v1/messages', {'tools': [{'name': 'x', 'input_schema': {}}], 'tool_choice': {'type': 'any'}},
     'tool_choice cannot be honoured'),
])
def test_what_cannot_be_honoured_is_refused(post, path, body, message):
    status, text = post(path, BASE[path] | body)
    assert status == 400 and message in json.loads(text)['message'], text


@pytest.mark.parametrize(('path', 'body', 'message'), [
    (CHAT, b'{"model": ', 'not JSON'),
    (CHAT, b'[1]', 'must be a JSON object'),
    (CHAT, b'\xff\xfe\xfa', 'not JSON'),
    (CHAT, b'{"temperature": NaN}', 'NaN is no number'),
    (CHAT, b'{"temperature": 1e999}', 'too large'),
    (CHAT, b'{"seed": 1' + b'0' * 5000 + b'}', 'too large'),
    (CHAT, b'{"messages": "\\ud83d"}', 'surrogate'),
    (CHAT, b'{"a":' * 200 + b'1' + b'}' * 200, 'nested deeper'),
    (CHAT, b'[' * 100_000, 'not JSON'),
    (CHAT, {'temperature': 'warm'}, 'temperature is "warm", and must be a number from 0 to 2'),
    (CHAT, {'temperature': -0.1}, 'temperature is -0.1'),
    (COMPLETIONS, {'top_p': 1.01}, 'top_p is 1.01'),
    (COMPLETIONS, {'min_p': -1}, 'min_p is -1'),
    (CHAT, {'repetition_penalty': 0}, 'repetition_penalty is 0'),
    (CHAT, {'repetition_penalty': 1e-300}, 'repetition_penalty is 1e-300'),
    (CHAT, {'max_tokens': 0}, 'max_tokens is 0'),
    (COMPLETIONS, {'max_tokens': -3}, 'max_tokens is -3'),
    (COMPLETIONS, {'max_tokens': True}, 'max_tokens is true'),
    (CHAT, {'top_k': 1.5}, 'top_k: Input should be a valid integer'),
    (CHAT, {'logit_bias': {'99999999': 1}}, 'out-of-vocab'),
    (CHAT, {'logit_bias': {'x': 1}}, 'not an integer'),
    (CHAT, {'stop': [5]}, 'stop'),
    (CHAT, {'messages': [{'role': 'user', 'content': 5}]}, 'content of a message must be a text'),
    (CHAT, {'messages': [None]}, 'messages'),
    (CHAT, {'messages': None}, 'messages'),
    (COMPLETIONS, {'prompt': [['a']]}, 'list of token ids'),
    (COMPLETIONS, {'prompt': [None]}, 'list of token ids'),
    (COMPLETIONS, {'prompt': [[]]}, 'prompt is empty'),
    (COMPLETIONS, {'prompt': [1] * 5000}, 'context length of model'),
    (GENERATE, {'prompt': None, 'input_ids': [1] * 5000}, 'context length of model'),
    (CHAT, {'chat_template_kwargs': {'tools': 5}}, 'could not answer'),
    ('/pooling', {'input': 'x'}, 'not in reward model list'),
    ('/sleep', {}, 'is not served here'),
    ('/update_weights', {'serialized_named_tensors': 'x'}, 'is not served here'),
])
def test_what_is_no_request_gets_one_sentence(post, path, body, message):
    status, text = post(path, BASE.get(path, {}) | body if isinstance(body, dict) else body)
    assert status == 400 and message in json.loads(text)['message'], text
    assert '\n' not in json.loads(text)['message']


def test_the_same_seed_gives_the_same_text_whatever_the_neighbours(chat):
    options = dict(temperature=1.5, top_k=0, max_tokens=12, ignore_eos=True)
    alone = {seed: chat(seed=seed, **options) for seed in range(6)}
    assert len(set(alone.values())) == 6, 'different seeds differ'
    assert alone == {seed: chat(seed=seed, **options) for seed in alone}
    with ThreadPoolExecutor(8) as pool:
        unseeded = [pool.submit(chat, **options) for _ in range(4)]
        together = list(pool.map(lambda seed: chat(seed=seed, **options), alone))
    # A larger batch may round a logit otherwise, which now and then moves a token; without seeds none would agree.
    assert sum(text == alone[seed] for seed, text in zip(alone, together)) >= 3
    assert len({other.result() for other in unseeded}) == 4


def test_seeded_sampling_follows_the_probabilities():
    """20,000 positions of one seed and 20,000 seeds at one position: each token as often as its probability, within
    five standard errors."""
    import torch

    from internlm_course.deploy.cpu.sampling import CpuMultinomialSampling
    probabilities, tokens = torch.tensor([0.6, 0.3, 0.1, 0.0]), torch.tensor([90_000, 3, 7, 0])
    count, several, one = 20_000, torch.arange(20_000), torch.full((20_000,), 5)
    for seeds, positions in [(one, several), (several, one)]:
        drawn = CpuMultinomialSampling().forward(probabilities.expand(count, 4), seeds, positions,
                                                 tokens.expand(count, 4))
        for token, probability in zip(tokens, probabilities):
            deviation = (probability * (1 - probability) / count) ** 0.5
            assert abs((drawn == token).float().mean() - probability) <= 5 * deviation
        backwards = CpuMultinomialSampling().forward(probabilities.flip(0).expand(count, 4), seeds, positions,
                                                     tokens.flip(0).expand(count, 4))
        assert backwards.equal(drawn), 'the order of the candidates is no matter'
    broken = CpuMultinomialSampling().forward(torch.full((1, 4), torch.nan), one[:1], one[:1], tokens[None])
    assert broken in tokens


def test_prompts_of_token_ids_are_continued(post, complete):
    options = dict(max_tokens=8, temperature=0)
    texts = ['The capital', 'Hello! 12 + 35']
    ids = json.loads(post('/v1/encode', {'input': texts})[1])['input_ids']
    expected = complete(prompt=texts, **options)
    assert complete(prompt=ids, **options) == expected
    assert complete(prompt=ids[0], **options) == expected[:1]
    assert complete(prompt=[ids[0], texts[1]], **options) == expected
    assert json.loads(post(GENERATE, {'prompt': None, 'input_ids': ids[0]} | options)[1])['text'] == expected[0]


@pytest.mark.parametrize('field', ['n', 'tools', 'tool_choice', 'stop', 'temperature', 'top_p', 'top_k', 'stream',
                                   'stream_options', 'user',
                                   'logit_bias', 'response_format', 'presence_penalty', 'repetition_ngram_size',
                                   'session_id', 'unheard_of'])
def test_null_means_absent(chat, field):
    greedy = {} if field == 'top_k' else {'top_k': 1}
    assert chat(**greedy, **{field: None}, seed=3) == chat(**greedy, seed=3)


def test_null_inside_a_schema_is_a_value(chat):
    assert chat(**schema({'enum': [None]}), max_tokens=8).strip() == 'null'


def test_a_format_is_followed(chat):
    with ThreadPoolExecutor(3) as pool:
        made = pool.submit(chat, **schema({'type': 'integer', 'minimum': 10, 'maximum': 99}), max_tokens=20,
                           temperature=0)
        matched = pool.submit(chat, **regex('[ab]{3}'), max_tokens=20)
        free = pool.submit(chat, max_tokens=20, temperature=0)
    assert re.fullmatch('[ab]{3}', matched.result())
    assert 10 <= int(made.result()) <= 99
    assert free.result() == chat(max_tokens=20, temperature=0)


def test_one_stop_string_is_a_string(chat):
    text = chat(max_tokens=24, temperature=0)
    stop = text[3:6]
    assert chat(max_tokens=24, temperature=0, stop=stop) == text[:text.index(stop)]


def test_lagents_repetition_penalty_is_read_as_one(chat):
    """Its GPTAPI sends frequency_penalty 1.0 with every request, and means no penalty."""
    lagent = dict(n=1, top_k=1, top_p=0.8, temperature=0.8, stop=None, max_tokens=24)
    assert chat(frequency_penalty=1.0, **lagent) == chat(**lagent)
    assert chat(frequency_penalty=50, **lagent) == chat(repetition_penalty=50, **lagent) != chat(**lagent)


VALUES = [None, True, False, 0, 1, -1, 2, 0.5, -0.5, 1e-45, 5e-324, 1e300, 2 ** 31, 2 ** 63, -2 ** 63, '', 'x', '0.5',
          'nan', '书生', '\ud83d', '\x00', 'auto',
          [], [0], [1, 2], [-1], [10 ** 8], [[1, 40]], ['a', ''], [None], [[]], {}, {'type': 'json_object'},
          {'type': 'x'}, {'5': 100}, {'5': -100, '-1': 0},
          {'include_usage': True}, {'type': 'regex_schema', 'regex_schema': '(a|'},
          {'type': 'regex_schema', 'regex_schema': '[a-c]{1,4}'},
          schema({'type': ['object', 'x']})['response_format'],
          schema({'type': 'integer', 'minimum': 9, 'maximum': 3})['response_format'],
          schema({'anyOf': [{'type': 'string', 'maxLength': 3}, {}]})['response_format'], HELLO, HELLO * 2,
          [{'role': 'x'}], [{}], TOOLS, [{'type': 'x'}]]
PLAUSIBLE = {
    'temperature': [0, 0.7, 1.5, 1e-45], 'top_p': [0.3, 1], 'top_k': [0, 1, 40, 10 ** 9], 'min_p': [0, 0.1],
    'repetition_penalty': [0.5, 1.2],
    'max_tokens': [1, 8], 'stop': ['a', ['e', 'the'], []], 'stream': [True, False], 'ignore_eos': [True],
    'session_id': [-1, 7],
    'skip_special_tokens': [True], 'repetition_ngram_size': [2], 'repetition_ngram_threshold': [2], 'user': ['someone']}
OF_CHAT = {'seed': [0, 5, 2 ** 40], 'stream_options': [{'include_usage': True}], 'n': [1], 'presence_penalty': [0],
           'frequency_penalty': [0]}
PER_PATH = {
    CHAT: OF_CHAT | {'messages': [HELLO * 2, 'Hello!'], 'response_format': [{'type': 'json_object'}, *VALUES[-9:-5]],
                     'logit_bias': [{'5': 100}, {}],
                     'tools': [TOOLS], 'tool_choice': ['auto', 'none'], 'min_new_tokens': [2], 'do_preprocess': [False],
                     'return_token_ids': [True],
                     'chat_template_kwargs': [{'x': 1}], 'include_stop_str_in_output': [True],
                     'max_completion_tokens': [3]},
    COMPLETIONS: OF_CHAT | {'prompt': [['a', 'b'], [1, 40], [[1, 40], 'b']], 'echo': [False], 'suffix': [''],
                            'best_of': [1]},
    GENERATE: {'prompt': ['书生', '\x00'], 'input_ids': [[1, 40]], 'stop_token_ids': [[5], []],
               'return_logprob': [False]},
    '/v1/messages': {'messages': [HELLO * 2], 'system': ['Be short.'], 'stop_sequences': [['a']]},
    '/v1/responses': {'input': [HELLO], 'text': [{'format': {'type': 'text'}}], 'max_output_tokens': [5]},
    '/v1/encode': {'input': [['a', 'b'], '']}}


def mutated(count: int) -> list[tuple[str, bytes]]:
    """Bodies that were good requests before one or two fields were set to something, or, for every eighth, a byte was
    changed or the end cut off."""
    rng, made = random.Random(0), []
    for number in range(count):
        path = rng.choice([CHAT, CHAT, COMPLETIONS, *BASE])
        body, fields = ({'model': 'internlm2-tiny'} | BASE[path], PER_PATH[path]
                        | ({} if path == '/v1/encode' else PLAUSIBLE))
        for _ in range(rng.randint(1, 2)):
            field = rng.choice(list(fields))
            body[field] = rng.choice(fields[field] if rng.random() < 0.4 else VALUES)
        raw = bytearray(json.dumps(body).encode())
        if number % 8 == 0:
            place = rng.randrange(len(raw))
            raw = raw[:place] if number % 16 else raw[:place] + bytes([rng.randrange(256)]) + raw[place + 1:]
        made.append((path, bytes(raw)))
    return made


def test_300_mutated_bodies_harm_nobody(post, chat):
    """Eight clients side by side; every tenth sends a good request, whose greedy answer must be what it is without the
    others."""
    good = dict(temperature=0, max_tokens=8)
    expected, bodies = chat(**good), mutated(300)

    def send(numbered):
        number, (path, raw) = numbered
        neighbour = chat(**good) if number % 10 == 0 else expected
        return *post(path, raw), neighbour

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, enumerate(bodies)))
    for (path, raw), (status, text, neighbour) in zip(bodies, answers):
        assert status in (200, 400, 404), (path, raw, status, text)
        assert not any(sign in text for sign in ERRORS_AS_TEXT), (path, raw, text)
        assert status == 200 or json.loads(text), (path, raw, text)
        assert neighbour == expected
    statuses = [status for status, *_ in answers]
    assert 60 <= statuses.count(200) <= 240, 'a fuzz test that is always refused, or never, tries nothing'
    assert chat(**good) == expected


BENEATH = """
import asyncio, json, os, sys
os.environ['TORCH_COMPILE_DISABLE'] = '1'
from internlm_course.deploy import cpu, isolate
cpu.install(200)
isolate.install()
from lmdeploy.messages import GenerationConfig, PytorchEngineConfig
from lmdeploy.serve.core.async_engine import AsyncEngine
engine = AsyncEngine(sys.argv[1], backend='pytorch', trust_remote_code=True,
                     backend_config=PytorchEngineConfig(session_len=512, max_batch_size=8))
good = dict(input_ids=[1, 40, 41, 42],
            gen_config=GenerationConfig(max_new_tokens=40, ignore_eos=True, do_sample=True, random_seed=7))
def explode(ids, logits):
    raise RuntimeError('a bias of no known token')
bad = [dict(input_ids=ids, gen_config=GenerationConfig(max_new_tokens=8, do_sample=True, **options))
       for ids, options in [
    ([1, 99999999], {}), ([1, 40], dict(response_format=dict(type='regex_schema', regex_schema='('))),
    ([1, 40], dict(response_format=dict(type='json_schema', json_schema=dict(name='x', schema=None)))),
    ([1, 40], dict(temperature=1e-45, top_k=0)), ([1, 40], dict(logits_processors=[explode])),
    ([1, 40], dict(top_k=10 ** 6)),
    ([1, 40], dict(response_format=dict(type='regex_schema', regex_schema='a[^\\\\s\\\\S]')))]]
async def ask(session, request):
    made, reason = [], None
    async for output in engine.generate(None, session, do_preprocess=False, **request):
        made, reason = made + output.token_ids, output.finish_reason
    return made, reason
async def main():
    engine.start_loop(asyncio.get_running_loop(), use_async_api=True)
    alone = await ask(1, good)
    together = await asyncio.gather(*[ask(100 + number, request) for number, request in enumerate([good, *bad])])
    print('RESULT', json.dumps([alone, *together, await ask(2, good)]))
    os._exit(0)
asyncio.run(main())
"""


def test_beneath_the_checks_a_request_that_raises_in_the_engine_fails_alone(checkpoint, tmp_path):
    """The engine without the server: seven requests that raise in it, beside a good one in the same batch."""
    done = subprocess.run([sys.executable, '-c', BENEATH, str(checkpoint)],
                          env=tool_environment(tmp_path) | {'OMP_NUM_THREADS': '1'},
                          capture_output=True, text=True, timeout=300)
    assert 'RESULT' in done.stdout, done.stderr[-3000:]
    alone, beside, *bad, afterwards = json.loads(done.stdout.split('RESULT')[1])
    assert len(alone[0]) == 40 and alone[1] == 'length'
    assert beside == alone == afterwards
    assert [reason for _, reason in bad] == ['error'] * 7
