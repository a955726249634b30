"""What clients send to one served model: every body is honoured or refused with status 400 and a sentence, and none
harms the next client; what is sent stands in bodies.py.
"""
import http.client
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from bodies import (
    BASE,
    CHAT,
    COMPLETIONS,
    GENERATE,
    KILLERS,
    NO_REQUESTS,
    NOT_HONOURED,
    mutated,
    regex,
    schema,
)

from internlm_course.course import Course
from internlm_course.deploy.serve import serve
from internlm_course.process import tool_environment

ERRORS_AS_TEXT = ('The request cannot be read', 'internal error happened', 'in prompt processing error',
                  '"finish_reason": "error"', '"finish_reason":"error"')


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


@pytest.mark.parametrize(('path', 'body', 'message'), NOT_HONOURED)
def test_what_cannot_be_honoured_is_refused(post, path, body, message):
    status, text = post(path, BASE[path] | body)
    assert status == 400 and message in json.loads(text)['message'], text


@pytest.mark.parametrize(('path', 'body', 'message'), NO_REQUESTS)
def test_what_is_no_request_gets_one_sentence(post, path, body, message):
    status, text = post(path, BASE.get(path, {}) | body if isinstance(body, dict) else body)
    assert status == 400 and message in json.loads(text)['message'], text
    assert '\n' not in json.loads(text)['message']


def test_the_same_seed_gives_the_same_text_whatever_the_neighbours(chat):
    options = dict(temperature=1.5, top_k=0, max_tokens=12, ignore_eos=True)
    alone = {seed: chat(seed=seed, **options) for seed in range(6)}
    assert len(set(alone.values())) > 1, 'different seeds differ'  # each may begin as likely as another
    assert alone == {seed: chat(seed=seed, **options) for seed in alone}
    with ThreadPoolExecutor(8) as pool:
        unseeded = [pool.submit(chat, **options) for _ in range(8)]
        together = list(pool.map(lambda seed: chat(seed=seed, **options), alone))
    # A larger batch may round a logit otherwise, which now and then moves a token; without seeds none would agree.
    assert sum(text == alone[seed] for seed, text in zip(alone, together)) >= 3
    # With a seed in common they would be one text; as it is, two may well greet alike.
    assert len({other.result() for other in unseeded}) > 1


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
