"""The calculator is safe and exact; Lagent sends the very tokens that fine-tuning data hold; a broken server or model
ends clearly."""
import json
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from internlm_course.agents import multiply, solve
from internlm_course.agents.calculator import Calculator, calculate
from internlm_course.errors import CourseError
from internlm_course.model import chat
from internlm_course.model.chat import TOOL_PROMPT, agent_messages


def test_calculator_agrees_with_python_on_random_expressions():
    rng = random.Random(0)
    for _ in range(100):
        numbers = [str(rng.randint(0, 999)) for _ in range(rng.randint(1, 6))]
        expression = numbers[0] + ''.join(rng.choice('+-*') + ('-' if rng.random() < 0.2 else '') + f'({n})'
                                          for n in numbers[1:])
        assert calculate(expression) == str(eval(expression))  # oracle; the calculator itself never calls eval


@pytest.mark.parametrize('expression, value',
                         [('7/2', '3.5'), ('6/3', '2'), ('1/3', '0.333333'), (' (1+2)*3 ', '9'), ('-4--4', '0')])
def test_calculator_values(expression, value):
    assert calculate(expression) == value


@pytest.mark.parametrize('expression', [
    '2**99', '__import__("os")', 'a', '1.5', 'True', '1/0', '(((', '', '9' * 101, '1;2', '[1]', '1//2', '1<2'])
def test_calculator_refuses_with_one_sentence(expression):
    with pytest.raises(ValueError, match=r'^Error: .*\.$'):
        calculate(expression)


def test_tool_prompt_describes_the_tool():
    [described] = json.loads(TOOL_PROMPT)
    real = Calculator().description
    assert described['name'] == real['name'] and described['description'] == real['description']
    one, other = ([(p['name'], p['type']) for p in each['parameters']] for each in (described, real))
    assert one == other


def call_text(expression):
    return chat.call('calculator', dict(expression=expression))


def problems_of(count):
    return [dict(question=f'What is {a}*{2 * a + 1}?', answer=str(a * (2 * a + 1))) for a in range(100, 100 + count)]


@pytest.fixture
def fake():
    """An OpenAI-shaped server: `fake.reply` maps a request to the assistant's text, `fake.seen` keeps the requests."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers['content-length'])))
            server.seen.append(request)
            text = server.reply(request['messages'])
            body = json.dumps(text if isinstance(text, dict)
                              else dict(choices=[dict(message=dict(content=text))])).encode()
            self.send_response(200)
            self.send_header('content-length', str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.seen, server.url = [], f'http://127.0.0.1:{server.server_port}/v1'
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def expression(messages):
    return next(m['content'] for m in messages
                if m['role'] == 'user').replace('What is ', '').rstrip('?').replace('等于多少？', '')


def perfect(messages):
    """A model that uses the tool as taught."""
    last = messages[-1]
    return (last['content'] if last['role'] == 'environment' else call_text(expression(messages)) if len(messages) > 1
            else '0')


def test_requests_are_the_fine_tuning_tokens(fake):
    fake.reply = perfect
    [answer] = solve(fake.url, 'internlm2-tiny', ['What is 123*456?'])
    assert (answer.text, answer.calls) == ('56088', ('123*456',))
    whole = agent_messages('What is 123*456?', '123*456', '56088', '56088')
    rendered = [chat.render(request['messages']) for request in fake.seen]
    assert rendered == [chat.render(whole[:2]), chat.render(whole[:4])]
    assert all(request['skip_special_tokens'] is False and request['temperature'] == 0 for request in fake.seen)


def test_multiply_with_and_without_the_tool(fake):
    fake.reply = perfect
    problems = problems_of(20)
    result = multiply(fake.url, 'internlm2-tiny', problems)
    assert result == pytest.approx(dict(score=1, n=20, low=0.838875, high=1, calls=1), abs=1e-5)
    fake.seen.clear()
    assert multiply(fake.url, 'internlm2-tiny', problems, tools=False)['score'] == 0
    assert all(len(request['messages']) == 1 for request in fake.seen)


@pytest.mark.parametrize('text', [
    '', '<|action_start|><|plugin|>', '<|plugin|><|plugin|>', call_text('1')[:-20],
    '<|action_start|><|plugin|>\n[]<|action_end|>',
    '<|action_start|><|plugin|>\n{"name": 3}<|action_end|>',
    '<|action_start|><|plugin|>\n{"name": "x", "parameters": 5}<|action_end|>',
    '<|action_start|><|interpreter|>\nx<|action_end|>'])
def test_a_model_that_writes_nonsense_is_wrong_not_broken(fake, text):
    fake.reply = lambda messages: text
    [answer] = solve(fake.url, 'internlm2-tiny', ['What is 1*1?'])
    assert answer.text == '' and answer.said == text


def test_what_a_model_without_a_tool_writes_is_kept(fake):
    """It calls a tool that nobody gave it: no answer, no call that ran, but its words are there."""
    fake.reply = lambda messages: call_text('12*34')
    [answer] = solve(fake.url, 'internlm2-tiny', ['What is 12*34?'], tools=False)
    assert (answer.text, answer.calls, answer.said) == ('', (), call_text('12*34'))


def test_an_error_of_the_tool_goes_back_to_the_model(fake):
    fake.reply = lambda messages: messages[-1]['content'] if messages[-1]['role'] == 'environment' else call_text('1/0')
    assert solve(fake.url, 'internlm2-tiny', ['What is 1/0?'])[0].text == 'Error: division by zero.'


@pytest.mark.parametrize('error', [
    dict(error=dict(message='no such model', code='model_not_found')), dict(error=dict(message='x')),
    dict(object='error')])
def test_a_servers_error_is_named(fake, error):
    fake.reply = lambda messages: error
    with pytest.raises(CourseError, match='did not answer'):
        solve(fake.url, 'internlm2-tiny', ['What is 1*1?'])


def test_no_server_ends_instead_of_trying_for_ever(fake):
    with pytest.raises(CourseError, match='No model answers'):
        solve('http://127.0.0.1:9/v1', 'internlm2-tiny', ['a', 'b'])


def test_a_name_that_lagent_cannot_call():
    with pytest.raises(CourseError, match="'llama'"):
        solve('http://127.0.0.1:9/v1', 'llama', ['a'])
