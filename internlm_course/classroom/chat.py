"""Talking to a served model in a notebook: a small window of ipywidgets; where no widget can show (GitHub, a terminal), the talk as text."""
import html

from internlm_course.errors import CourseError
from internlm_course.process import openai_client


class Chat:
    """A talk with a served model; show it as a cell's last line, or call `ask`.

    Each question stands alone: the tiny model has only seen dialogues of one turn.

    Args:
        url: the server's address, ending in /v1. model: the name it answers to.
    """

    def __init__(self, url: str, model: str, max_tokens: int = 64):
        self.client, self.model, self.max_tokens = openai_client(url, max_retries=0), model, max_tokens
        self.said: list[tuple[str, str]] = []
        self.box = self._window()

    def ask(self, question: str) -> str:
        """Asks greedily, and shows the answer as it comes.

        Raises:
            CourseError: the server does not answer.
        """
        from openai import OpenAIError
        self.said.append((question, ''))
        try:
            stream = self.client.chat.completions.create(model=self.model, messages=[dict(role='user', content=question)], temperature=0,
                                                         max_tokens=self.max_tokens, stream=True)
            for piece in stream:
                self.said[-1] = question, self.said[-1][1] + (piece.choices[0].delta.content or '')
                self._refresh()
        except OpenAIError as error:
            self.said.pop()
            raise CourseError(f'The served model did not answer: {error}.', 'Start it again, and read its log.') from error
        return self.said[-1][1]

    def _window(self):
        try:
            import ipywidgets
        except ImportError:
            return None
        self.log = ipywidgets.HTML()
        self.entry = ipywidgets.Text(placeholder='Ask in English or Chinese · 中英文皆可', continuous_update=False, layout=dict(width='70%'))
        self.button = ipywidgets.Button(description='Send · 发送')
        self.button.on_click(lambda _: self._send())
        return ipywidgets.VBox([self.log, ipywidgets.HBox([self.entry, self.button])])

    def _send(self) -> None:
        question, self.entry.value = self.entry.value.strip(), ''
        if question:
            try:
                self.ask(question)
            except CourseError as error:  # shown in the window: a callback's traceback goes nowhere
                self.said.append((question, f'⚠ {error}'))
        self._refresh()

    def _refresh(self) -> None:
        if self.box is not None:
            self.log.value = self._html()

    def _html(self) -> str:
        return ''.join(f'<p><b>🧑 {html.escape(q)}</b><br>🤖 {html.escape(a)}</p>' for q, a in self.said)

    def __repr__(self) -> str:
        return '\n'.join(f'> {question}\n{answer}' for question, answer in self.said)

    def _repr_mimebundle_(self, **_) -> dict:
        shown = {'text/plain': repr(self), 'text/html': self._html()}
        if self.box is not None:
            self._refresh()
            shown |= {kind: data for kind, data in self.box._repr_mimebundle_().items() if 'widget' in kind}
        return shown
