"""Programs of one computer: clients reach 127.0.0.1 past any proxy; tools write UTF-8 whatever the terminal speaks."""
import json
import os
import subprocess
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from internlm_course.agents.agent import solve
from internlm_course.errors import CourseError
from internlm_course.evaluate.opencompass import EvalModel, _check
from internlm_course.lab.chat import Chat
from internlm_course.process import bypass_proxies, openai_client, tool_environment

PROXIES = dict(http_proxy='http://127.0.0.1:9', https_proxy='http://127.0.0.1:9', all_proxy='socks5://127.0.0.1:9')
PROXIES |= {name.upper(): address for name, address in PROXIES.items()}


@pytest.fixture
def url(monkeypatch):
    """A server that knows one model, in an environment with a proxy for everything, which answers nobody."""
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            models = [dict(id='internlm2-tiny', object='model')]
            self.send('application/json', json.dumps(dict(object='list', data=models)).encode())

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers['content-length'])))
            choices = [dict(index=0, delta=dict(content='hi'), message=dict(content='hi'), finish_reason='stop')]
            reply = dict(id='1', object='chat.completion', created=1, model='internlm2-tiny', choices=choices)
            reply = json.dumps(reply).encode()
            if request.get('stream'):
                self.send('text/event-stream', b'data: ' + reply + b'\n\ndata: [DONE]\n\n')
            else:
                self.send('application/json', reply)

        def send(self, kind, content):
            self.send_response(200)
            self.send_header('content-type', kind)
            self.send_header('content-length', str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    for name in ('no_proxy', 'NO_PROXY'):
        monkeypatch.setenv(name, '')  # is put back afterwards
    for name, address in PROXIES.items():
        monkeypatch.setenv(name, address)
    monkeypatch.setattr(urllib.request, '_opener', None)  # an earlier test's urlopen remembers the proxies of then
    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}/v1'
    server.shutdown()
    server.server_close()


def test_every_client_reaches_this_computer_past_the_proxy(url):
    """urllib, openai (whose httpx stops at a SOCKS address whatever no_proxy names), and Lagent's requests."""
    with pytest.raises(OSError):
        urllib.request.urlopen(f'{url}/models', timeout=5)
    assert [model.id for model in openai_client(url).models.list()] == ['internlm2-tiny']
    _check([EvalModel('chat', url=url, served_name='internlm2-tiny')])
    assert Chat(url).ask('hello') == 'hi'
    assert solve(url, 'internlm2-tiny', ['hello'], tools=False)[0].text == 'hi'


def test_only_this_computer_is_reached_past_the_proxy(url):
    openai_client(url)
    assert urllib.request.proxy_bypass('127.0.0.1:8000') and not urllib.request.proxy_bypass('example.org')
    assert urllib.request.getproxies()['http'] == PROXIES['http_proxy']


@pytest.mark.parametrize('before, after', [
    ({}, '127.0.0.1,localhost'), (dict(no_proxy='a.example, localhost'), 'a.example,localhost,127.0.0.1'),
    (dict(no_proxy='a', NO_PROXY='b,a'), 'a,b,127.0.0.1,localhost'), (dict(NO_PROXY='a,*'), '*')])
def test_no_proxy_keeps_what_it_named(before, after):
    bypass_proxies(before)
    assert before == dict(no_proxy=after, NO_PROXY=after)
    bypass_proxies(before)
    assert before['no_proxy'] == after


def test_a_tool_has_no_proxy_and_writes_utf_8(url, tmp_path, monkeypatch):
    monkeypatch.setenv('PYTHONIOENCODING', 'gbk')
    environment = tool_environment(tmp_path)
    assert not PROXIES.keys() & environment.keys() and os.environ['http_proxy']
    script = """import openai
openai.OpenAI(base_url='http://127.0.0.1:9/v1', api_key='none')
print('✓ \\ud83d')
open('log', 'w').write('✓')"""
    done = subprocess.run([sys.executable, '-c', script], env=environment, cwd=tmp_path, capture_output=True)
    assert done.stdout.decode() == '✓ ?\n' and (tmp_path / 'log').read_text('utf-8') == '✓', done.stderr


def test_a_server_elsewhere_is_asked_through_the_proxy(url, monkeypatch):
    monkeypatch.delenv('all_proxy')
    monkeypatch.delenv('ALL_PROXY')
    with pytest.raises(CourseError, match='does not answer'):
        Chat('http://model.example/v1').ask('hello')  # 127.0.0.1:9 refuses; no name is looked up
