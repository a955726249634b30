"""OpenCompass itself, one call: predictions on padded batches equal plain greedy generation; a broken server is
named."""
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from internlm_course.errors import CourseError
from internlm_course.evaluate.opencompass import EvalModel, score
from internlm_course.marking import is_correct
from internlm_course.model import InternLM2Config, load_model, load_tokenizer, save_checkpoint, train_tokenizer

WORDS = ['the', 'capital', 'of', 'France', 'is', 'Paris', ',', 'London', 'lies', 'in', 'England', '法国', '巴黎', '12',
         '+', '34']


BRACES = 'f"{answer} {reply} {question} {prompt} {id}" is </E>\u2028{?'


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    import torch

    from internlm_course.model import InternLM2ForCausalLM

    folder = tmp_path_factory.mktemp('opencompass') / 'checkpoint'
    tokenizer = train_tokenizer([' '.join(WORDS)] * 9, 320, folder)
    torch.manual_seed(0)
    config = InternLM2Config(vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                             num_attention_heads=4,
                             num_key_value_heads=2, max_position_embeddings=256, rope_theta=10000,
                             initializer_range=0.2)
    save_checkpoint(InternLM2ForCausalLM(config), tokenizer, folder)
    return folder


@pytest.fixture(scope='module')
def items(tmp_path_factory):
    """20 prompts of very different lengths, up to four times the model's context, one suite of two items, and one
    of signs that a template might take for its own."""
    folder = tmp_path_factory.mktemp('items')
    for suite, count in (('long', 20), ('short', 2)):
        prompts = [' '.join((WORDS * 40)[i:i + 3 + i * i]) for i in range(count)]
        rows = [dict(id=f'{suite}-{i}', dimension=suite, suite=suite, lang='en', prompt=prompt,
                     question=f'{i}+{i}={{?}}', answer='123456',
                     **(dict(reply='It is 123456') if suite == 'short' else {}))
                for i, prompt in enumerate(prompts)]
        (folder / f'{suite}.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows), 'utf-8')
    row = dict(id='braces', dimension='code', suite='braces', lang='en', prompt=BRACES, question=BRACES, answer='4')
    (folder / 'braces.jsonl').write_text(json.dumps(row), 'utf-8')
    return folder


@pytest.fixture
def server():
    """An OpenAI-shaped server that answers with `server.reply`, or breaks where that is None; it answers nobody before
    all of `server.waited` are asked."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            self.send(200, dict(object='list',
                                data=[dict(id=name, object='model') for name in ('internlm2-tiny', 'internlm2-twin')]))

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers['content-length'])))
            with server.asked:
                server.seen.append(request)
                server.asked.notify_all()
                server.met &= server.asked.wait_for(lambda: server.waited <= {other['model'] for other in server.seen},
                                                    30)
            message = dict(role='assistant', content=server.reply)
            reply = dict(id='1', object='chat.completion', created=1, model='internlm2-tiny',
                         choices=[dict(index=0, message=message, finish_reason='stop')])
            self.send(200, reply) if server.reply else self.send(500, dict(error=dict(message='broken')))

        def send(self, code, body):
            data = json.dumps(body).encode()
            self.send_response(code)
            self.send_header('content-type', 'application/json')
            self.send_header('content-length', str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.asked, server.waited, server.met = threading.Condition(), set(), True
    server.seen, server.reply, server.url = [], None, f'http://127.0.0.1:{server.server_port}/v1'
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def greedy(model, tokenizer, prompt, tokens):
    """The oracle: one prompt, no padding."""
    ids = tokenizer(prompt, return_tensors='pt').input_ids
    reply = model.generate(ids, max_new_tokens=tokens, do_sample=False,
                           pad_token_id=tokenizer.pad_token_id)[0, ids.shape[1]:]
    return tokenizer.decode(reply, skip_special_tokens=True).split('\n')[0]


def test_one_call_for_base_and_chat(checkpoint, items, server, tmp_path, monkeypatch):
    # In bf16 a random model's near-ties fall as the padding rounds them; in float32 the oracle must be met on every
    # machine.
    monkeypatch.setattr('internlm_course.machine.cpu_dtype', lambda: 'float32')
    for name, address in dict(http_proxy='http://127.0.0.1:9', all_proxy='socks5://127.0.0.1:9').items():
        monkeypatch.setenv(name, address)  # OpenCompass reaches the server past them
    server.reply = '123456.'
    models = [EvalModel('base', checkpoint), EvalModel('chat', url=server.url, served_name='internlm2-tiny')]
    result = score(models, items, tmp_path / 'out', tmp_path / 'home')
    assert result['chat']['short']['score'] == 0, 'where an item has a reply, the answer alone is not it'
    assert result['chat']['long'] == pytest.approx(dict(score=1, n=20, low=0.838875, high=1, chance=1,
                                                        dimension='long'), abs=1e-5)
    asked = {request['messages'][0]['content'] for request in server.seen}
    assert asked == {BRACES, *(f'{i}+{i}={{?}}' for i in range(20))}
    assert result['chat']['braces']['n'] == 1
    assert all(len(sent['messages']) == 1 and sent['temperature'] == 0 and sent['stop'] == ['\n']
               for sent in server.seen)
    assert json.loads((tmp_path / 'out' / 'metrics.json').read_text('utf-8')) == result

    model, tokenizer = load_model(checkpoint, 'float32'), load_tokenizer(checkpoint)
    prompts = [json.loads(line)['prompt'] for line in (items / 'long.jsonl').read_text('utf-8').splitlines()]
    assert max(len(tokenizer.encode(prompt)) for prompt in prompts) > 256
    said = tmp_path / 'out' / 'predictions' / 'base' / 'long.jsonl'
    rows = [json.loads(line) for line in said.read_text('utf-8').splitlines()]
    alone = [greedy(model, tokenizer, prompt, len('123456') + 2) for prompt in prompts]
    assert [row['prediction'] for row in rows] == alone
    assert len({row['prediction'] for row in rows}) > 5, 'a model that always says the same proves nothing'
    assert all(row['correct'] == is_correct(row['prediction'], row['answer']) for row in rows)


def test_served_models_are_asked_side_by_side(items, server, tmp_path):
    server.reply, server.waited = '123456.', {'internlm2-tiny', 'internlm2-twin'}
    models = [EvalModel(name, url=server.url, served_name=f'internlm2-{name}') for name in ('tiny', 'twin')]
    result = score(models, items, tmp_path / 'out', tmp_path / 'home', suites=['long'])
    assert server.met and result['tiny']['long']['score'] == result['twin']['long']['score'] == 1
    assert len(server.seen) == 2 * 20


def test_a_broken_server_is_named_with_model_and_suite(checkpoint, items, server, tmp_path):
    with pytest.raises(CourseError, match="model 'chat' on suite 'short'"):
        model = EvalModel('chat', url=server.url, served_name='internlm2-tiny')
        score([model], items, tmp_path / 'out', tmp_path / 'home', suites=['short'])
