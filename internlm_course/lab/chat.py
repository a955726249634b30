"""Talking to a served model: `Chat`, a window in a notebook, and `talk`, in a terminal; the same questions to try, and
the same errors, in both."""
import asyncio
import html
import random
from collections.abc import Callable, Iterator
from contextlib import suppress

from internlm_course.errors import CourseError
from internlm_course.names import SUITES
from internlm_course.process import openai_client
from internlm_course.world import world

# Suites that the tiny model is good at
KINDS = ('knowledge', 'addition', 'translation', 'word_problem', 'code', 'tools')
TAUGHT = ('The tiny model was taught questions of these kinds, in these words, and little else: it adds two-digit '
          'numbers, and 7+8 goes wrong. '
          r'Write \n for a new line. · 小模型只学过这几类、这样问的问题：只会两位数加两位数，7+8 会答错。换行写作 \n。')
LEAVING = '/help shows this again; Ctrl-D or Ctrl-C leaves. · /help 再显示一次；Ctrl-D 或 Ctrl-C 退出。'
IN_NOTEBOOK = ('Run the cell above that starts the server again, then ask once more. '
               '· 服务没有应答：请重新运行上面启动服务的单元格，再提问。')
IN_TERMINAL = 'Leave with Ctrl-D, and start the chat again. · 服务没有应答：请按 Ctrl-D 退出，再启动一次。'
REOPENED = ('After a restart of the kernel, or where it says “model not found” below: run the cells above again, then '
            'this one. '
            '· 内核重启后，或下面显示 “model not found” 时：请先重新运行上面的单元格，再运行本单元格。')


def examples() -> dict[str, dict[str, str]]:
    """Of each kind a question in English and one in Chinese, as one types it, with its right answer: the world's own,
    so that they are as taught."""
    asked = {kind: [world.ask(world.SUITES[kind][0], random.Random(2), lang) for lang in ('en', 'zh')]
             for kind in KINDS}
    return {kind: {question.question.replace('\n', r'\n'): question.reply.strip() for question in questions}
            for kind, questions in asked.items()}


def typed(text: str) -> str:
    r"""The question in a line that was typed, where \n stands for a new line."""
    return text.strip().replace(r'\n', '\n')


def answer(url: str, question: str, restart: str, max_tokens: int = 100) -> Iterator[str]:
    """The greedy answer of the model that a server has at this moment, piece by piece as it comes.

    Each question stands alone: the tiny model has only seen dialogues of one turn.

    Args:
        url: the server's address, ending in /v1.
        restart: what to do where no server answers.

    Raises:
        CourseError: no server answers, or it refuses the question.
    """
    from httpx import HTTPError
    from openai import APIConnectionError, OpenAIError
    try:
        with openai_client(url, max_retries=0, timeout=60) as client:
            model = client.models.list().data[0].id
            stream = client.chat.completions.create(model=model, messages=[dict(role='user', content=question)],
                                                    temperature=0, max_tokens=max_tokens, stream=True)
            for piece in stream:
                yield piece.choices[0].delta.content or ''
    except (APIConnectionError, HTTPError) as error:  # the second where a server ends within an answer
        raise CourseError('The server does not answer.', restart) from error
    except OpenAIError as error:
        if 'context length' in str(error):
            raise CourseError('The question is longer than the model can read.',
                              'Ask a shorter one. · 问题超出模型能读的长度，请缩短后再问。') from error
        raise CourseError(f'The server refused the question: {error}.',
                          'Ask another one. · 服务拒绝了这个问题，请换一个问法。') from error


def talk(url: str) -> None:
    """Asks in the terminal until the input ends."""
    with suppress(ImportError):
        import readline  # noqa: F401  arrow keys, and backspace over a whole Chinese character
    kinds = (f'  {SUITES[kind]}: {"  ".join(questions)}' for kind, questions in examples().items())
    guide = '\n'.join((TAUGHT, *kinds, LEAVING))
    print(guide)
    while True:
        try:
            question = typed(input('> '))
        except EOFError:
            print()
            return
        if question == '/help':
            print(guide)
        elif question:
            _tell(url, question)


def _tell(url: str, question: str) -> None:
    """Prints the answer as it comes, or why there is none."""
    try:
        for piece in answer(url, question, IN_TERMINAL):
            print(piece, end='', flush=True)
        print()
    except CourseError as error:
        print(f'⚠ {error}')


class Chat:
    """A talk with a served model; show it as a cell's last line, or call `ask`.

    Args:
        url: the server's address, ending in /v1; or a function that gives it, asked at every question: a server started
            again has another port.
    """

    def __init__(self, url: str | Callable[[], str]):
        self.url = url
        self.said: list[tuple[str, str]] = []
        self.shown = 0  # so many stand above the window, in an output that stays when the kernel is gone
        self.box = self._window()

    def ask(self, question: str) -> str:
        """Asks, and shows the answer as it comes.

        Raises:
            CourseError: no server answers, or it refuses the question.
        """
        self.said.append((question, ''))
        try:
            for piece in answer(self.url() if callable(self.url) else self.url, question, IN_NOTEBOOK):
                self.said[-1] = question, self.said[-1][1] + piece
                self._refresh()
        except CourseError:
            self.said.pop()
            raise
        return self.said[-1][1]

    def _window(self):
        try:
            import ipywidgets as widgets
        except ImportError:
            return None
        self.log = widgets.HTML()
        self.entry = widgets.Text(placeholder='Ask in English or Chinese · 中英文皆可', continuous_update=False,
                                  layout=dict(flex='1 1 0%', min_width='0'))
        self.entry.on_msg(self._key)
        button = widgets.Button(description='Send · 发送', layout=dict(width='auto', flex='none'))
        button.on_click(lambda _: self._send())
        kinds = [self._example(str(SUITES[kind]), *questions) for kind, questions in examples().items()]
        return widgets.VBox([self.log, widgets.HBox([self.entry, button]), widgets.HTML(_small(TAUGHT)),
                             widgets.Box(kinds, layout=dict(flex_flow='row wrap'))])

    def _example(self, name: str, *questions: str):
        """A button that asks."""
        import ipywidgets
        button = ipywidgets.Button(description=name, tooltip='\n'.join(questions), layout=dict(width='auto'))
        button.on_click(lambda _: self._put(*questions))
        return button

    def _key(self, _, content: dict, __) -> None:
        """Enter: the browser tells of the key first, and sends what was typed after it; leaving the field sends that
        too, and is no question."""
        if content.get('event') == 'submit':
            asyncio.get_running_loop().call_later(0.2, self._send)

    def _send(self) -> None:
        text, self.entry.value = self.entry.value, ''
        if text.strip():
            self._put(text)

    def _put(self, *texts: str) -> None:
        for text in texts:
            try:
                self.ask(typed(text))
            except CourseError as error:  # shown in the window: a callback's traceback goes nowhere
                self.said.append((typed(text), f'⚠ {error}'))
                self.entry.value = text  # to be sent again, or shortened
                break
        self._refresh()

    def _refresh(self) -> None:
        if self.box is not None:
            self.log.value = _page(self.said[self.shown:])

    def __repr__(self) -> str:
        return '\n'.join(f'> {question}\n{reply}' for question, reply in self.said)

    def _ipython_display_(self) -> None:
        from IPython.display import display
        note = _small(REOPENED) if self.box is not None else ''
        display({'text/plain': repr(self), 'text/html': _page(self.said) + note}, raw=True)
        if self.box is not None:
            self.shown = len(self.said)
            self._refresh()
            view = dict(version_major=2, version_minor=0, model_id=self.box.model_id)  # of ipywidgets 7, too
            display({'application/vnd.jupyter.widget-view+json': view, 'text/plain': ''}, raw=True)


def _page(said: list[tuple[str, str]]) -> str:
    return ''.join('<p style="white-space: pre-wrap; line-height: '
                   f'1.5"><b>{html.escape(question)}</b>\n{html.escape(reply.strip() or "…")}</p>'
                   for question, reply in said)


def _small(text: str) -> str:
    return f'<p style="line-height: 1.5"><small>{html.escape(text)}</small></p>'
