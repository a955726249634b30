"""Talking to a served model: the window in a real kernel, with messages as a browser sends them, and the terminal; the
server is a small HTTP server."""
import html
import io
import json
import sys
import threading
import time
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from jupyter_client.manager import start_new_kernel

from internlm_course import cli
from internlm_course.errors import CourseError
from internlm_course.lab.chat import IN_NOTEBOOK, IN_TERMINAL, LEAVING, REOPENED, answer, examples, typed

VIEW = 'application/vnd.jupyter.widget-view+json'


class Handler(BaseHTTPRequestHandler):
    """Answers in capitals, letter by letter; `long` is too long, `odd` is refused, and the connection ends within the
    answer to `cut`."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send(200, json.dumps(dict(object='list', data=[dict(id=self.server.model, object='model')])))

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers['content-length'])))
        question = request['messages'][0]['content']
        self.server.asked.append(question)
        if request['model'] != self.server.model:
            self.send(404, json.dumps(dict(message='The model does not exist.')))
        elif question in ('long', 'odd'):
            self.send(400,
                      json.dumps(dict(message='the context length is 448 tokens' if question == 'long'
                                      else 'unknown role')))
        else:
            pieces = [json.dumps(dict(choices=[dict(index=0, delta=dict(content=letter))]))
                      for letter in question.upper()]
            self.send(200,
                      ''.join(f'data: {piece}\n\n'
                              for piece in [*pieces, '[DONE]'][:-1 if question == 'cut' else None]),
                      missing=question == 'cut')

    def send(self, status, content, missing=0):
        self.send_response(status)
        self.send_header('content-type', 'text/event-stream' if content.startswith('data') else 'application/json')
        self.send_header('content-length', str(len(content.encode()) + missing))
        self.end_headers()
        self.wfile.write(content.encode())


@contextmanager
def served(model='internlm2-tiny'):
    """A server: its `url`, its `model`, and the questions that it was `asked`."""
    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        server.model, server.asked, server.url = model, [], f'http://127.0.0.1:{server.server_port}/v1'
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


# --- the window -------------------------------------------------------------------------------------------------------
class Page:
    """What a browser does for a notebook: runs cells, keeps outputs and widgets, and tells the kernel what is typed and
    clicked."""

    def __init__(self, client):
        self.client, self.widgets, self.outputs, self.idle = client, {}, [], set()

    def until(self, done, seconds=60):
        end = time.monotonic() + seconds
        while not done():
            message = self.client.get_iopub_msg(timeout=end - time.monotonic())
            kind, content = message['msg_type'], message['content']
            if kind == 'comm_open':
                self.widgets[content['comm_id']] = content['data']['state']
            elif kind == 'comm_msg' and content['data']['method'] == 'update':
                self.widgets[content['comm_id']].update(content['data']['state'])
            elif kind in ('display_data', 'execute_result', 'error'):
                self.outputs.append(content)
            elif kind == 'status' and content['execution_state'] == 'idle':
                self.idle.add(message['parent_header'].get('msg_id'))

    def run(self, code):
        self.outputs.clear()
        asked = self.client.execute(code)
        self.until(lambda: asked in self.idle)
        return self.outputs

    def send(self, widget, **data):
        self.client.shell_channel.send(self.client.session.msg('comm_msg', dict(comm_id=widget, data=data)))

    def widget(self, model, text=''):
        """The newest widget of a model whose state holds the text."""
        return [name for name, state in self.widgets.items()
                if state['_model_name'] == model and text in str(state)][-1]

    def leave(self, text):
        """The field is left with this text in it."""
        self.widgets[self.widget('TextModel')]['value'] = text
        self.send(self.widget('TextModel'), method='update', state=dict(value=text), buffer_paths=[])

    def enter(self, text=None):
        """Enter is pressed: the browser tells of the key, and then, if it was changed, of the text."""
        self.send(self.widget('TextModel'), method='custom', content=dict(event='submit'))
        if text is not None:
            self.leave(text)

    @property
    def log(self):
        first, *_ = self.widgets[self.widget('VBoxModel')]['children']
        return self.widgets[first.removeprefix('IPY_MODEL_')]['value']

    def shows(self, *texts):
        """Waits until the log shows the texts, and returns what is then left in the field."""
        self.until(lambda: all(html.escape(text) in self.log for text in texts))
        return self.widgets[self.widget('TextModel')]['value']


@pytest.fixture(scope='module')
def kernel():
    manager, client = start_new_kernel(startup_timeout=120)
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.fixture
def page(kernel):
    page = Page(kernel)
    with served() as page.server:
        page.run(f'from internlm_course.lab.chat import Chat\naddress = {page.server.url!r}\nwindow = Chat(lambda: '
                 'address)')
        yield page


def test_enter_sends_and_leaving_the_field_does_not(page):
    page.enter(r' 1 < 2\nno ')
    assert page.shows('1 < 2\nno', '1 < 2\nNO') == ''
    page.leave('half')
    page.run('1')
    time.sleep(0.5)
    page.run('1')
    assert page.server.asked == ['1 < 2\nno']
    page.enter('half more')  # what was left there before is no question of its own
    assert page.shows('HALF MORE') == ''
    page.leave('whole')
    page.enter()
    assert page.shows('WHOLE') == '' and page.server.asked[1:] == ['half more', 'whole']


def test_buttons_send_what_is_typed_and_ask_what_the_model_was_taught(page):
    page.leave('typed')
    page.send(page.widget('ButtonModel', 'Send'), method='custom', content=dict(event='click'))
    assert page.shows('TYPED') == ''
    for kind, name in (('addition', '两位数加法'), ('code', '代码结果')):
        page.send(page.widget('ButtonModel', name), method='custom', content=dict(event='click'))
        page.shows(*(typed(question).upper() for question in examples()[kind]))
    assert page.server.asked[1:] == [typed(question) for kind in ('addition', 'code') for question in examples()[kind]]


def test_a_stopped_server_is_one_sentence_and_another_is_found(page):
    page.server.shutdown()
    page.server.server_close()
    page.enter('lost')
    assert page.shows('lost', IN_NOTEBOOK) == 'lost'  # to be sent again
    [error] = page.run('window.ask("x")')
    assert error['traceback'] == [f'CourseError: The server does not answer. {IN_NOTEBOOK}']
    with served('internlm2-other') as server:
        page.run(f'address = {server.url!r}')
        page.enter()
        assert page.shows('LOST') == '' and server.asked == ['lost']


def test_a_question_that_is_refused_stays_to_be_changed(page):
    page.enter('long')
    assert page.shows('Ask a shorter one.', '请缩短后再问') == 'long'


def test_what_was_said_stays_when_the_kernel_is_gone(page):
    page.run('window.ask("<b>early</b>")')
    said, shown = page.run('window')
    assert VIEW not in said['data'] and '&lt;B&gt;EARLY' in said['data']['text/html']
    assert html.escape(REOPENED) in said['data']['text/html']
    assert said['data']['text/plain'] == '> <b>early</b>\n<B>EARLY</B>' and VIEW in shown['data']
    assert shown['data']['text/plain'] == ''
    assert 'EARLY' not in page.log  # once on the page
    page.enter('late')
    page.shows('LATE')


def test_a_notebook_without_widgets_shows_the_talk(page):
    [said] = page.run("import sys; sys.modules['ipywidgets'] = None; plain = Chat(address); plain.ask('yes'); del "
                      "sys.modules['ipywidgets']; plain")
    assert said['data']['text/plain'] == '> yes\nYES' and REOPENED not in html.unescape(said['data']['text/html'])


# --- the answer, and the terminal -------------------------------------------------------------------------------------
@pytest.mark.parametrize('question, sentence', [('long', 'longer than the model can read. Ask a shorter one.'),
                                                ('odd', 'refused the question: .*unknown role'),
                                                ('cut', 'does not answer. Try once more.')])
def test_an_answer_that_fails_is_one_sentence(question, sentence):
    with served() as server, pytest.raises(CourseError, match=sentence):
        list(answer(server.url, question, 'Try once more.'))


@pytest.fixture
def terminal(monkeypatch, tmp_path):
    """`internlm-course chat` with this input, and a server that is there already; returns the exit code."""
    with served() as server:
        course = SimpleNamespace(sft=lambda mine: None, serve=lambda *_: nullcontext(server))
        monkeypatch.setattr('internlm_course.course.Course.open', lambda *_, **__: course)

        def call(content: bytes) -> int:
            monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(content), encoding='utf-8'))
            return cli.main(['chat', '--root', str(tmp_path)])
        call.server = server
        yield call


@pytest.mark.parametrize('content, told', [
    (b'', []), (b'hello', ['HELLO']), (b'hello\n\nmore\n', ['HELLO', 'MORE']),
    (b'long\nhello\n', ['Ask a shorter one.', 'HELLO']),
    (b'caf\xe9\n', ['CAF\ufffd']), (b'a\\nb', ['A\nB'])])
def test_the_end_of_the_input_ends_a_chat(terminal, capsys, content, told):
    assert terminal(content) == 0
    out, err = capsys.readouterr()
    assert all(text in out for text in told) and out.count(LEAVING) == 1 and err == ''
    assert all(question in out for kind in examples().values() for question in kind)


def test_help_in_a_chat(terminal, capsys):
    assert terminal(b'/help\n') == 0 and capsys.readouterr().out.count(LEAVING) == 2 and terminal.server.asked == []


def test_ctrl_c_leaves_a_chat_quietly(terminal, capsys, monkeypatch):
    def pressed(_):
        raise KeyboardInterrupt
    monkeypatch.setattr('builtins.input', pressed)
    assert terminal(b'') == 0 and capsys.readouterr().err == ''


def test_a_chat_whose_server_stopped(terminal, capsys):
    terminal.server.shutdown()
    terminal.server.server_close()
    assert terminal(b'hello\n') == 0 and IN_TERMINAL in capsys.readouterr().out
