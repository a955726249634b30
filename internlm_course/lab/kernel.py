"""What the kernel around a lab adds, where there is one: rich output, the beginning and end of each cell, and what
cells define."""
import html
import re
import sys
import time
from collections.abc import Callable
from itertools import groupby

BOUND = re.compile(r'^(?:(?:async )?def +(\w+)|(\w+) *=(?!=))', re.M)  # the names that a cell's text binds
CODE = re.compile(r'`(\w[^`\n]*)`')
INDENT = '    '  # of lines that are values, one under the other, and no text


def shell():
    """IPython's shell; None in a plain interpreter."""
    ipython = sys.modules.get('IPython')  # no kernel runs without it, and its import takes a while
    return ipython and ipython.get_ipython()


def rich(text: str, markup: str) -> None:
    """Shows HTML in a notebook; `text` stands for it where there is no notebook, and for programs that read one."""
    if shell() is None:
        print(text)
    else:
        from IPython.display import display
        display({'text/plain': text, 'text/html': markup}, raw=True)


def line(sign: str, text: str, colour: str) -> None:
    """Shows a sign and text, the first line in bold and in a colour; `code` in it as code, indented lines in
    monospace."""
    rich(plain(f'{sign} {text}'), markup(f'{sign} {text}', colour))


def plain(text: str) -> str:
    """The text without the backticks around its code."""
    return _code(text, r'\1')


def markup(text: str, colour: str = 'inherit') -> str:
    """The text as HTML."""
    first, *rest = _code(html.escape(text), r'<code>\1</code>').split('\n')
    parts = [f'<b style="color: {colour}">{first}</b>']
    for values, lines in groupby(rest, key=lambda each: each.startswith(INDENT)):
        opened, closed = (('<pre style="margin: 0.5em 0; white-space: pre; overflow-x: auto">', '</pre>') if values
                          else ('<div>', '</div>'))
        parts.append(opened + '<br>'.join(lines) + closed)
    return ''.join(parts)


def _code(text: str, form: str) -> str:
    """The text with its code in another form; values are left as they are."""
    return '\n'.join(each if each.startswith(INDENT) else CODE.sub(form, each) for each in text.split('\n'))


def after_cell(text: str) -> None:
    """Prints once the running cell has ended, so that no table is torn; in a plain interpreter at once."""
    text = plain(text)
    if shell() is None:
        print(text)
        return
    events = shell().events

    def say(_) -> None:
        events.unregister('post_run_cell', say)
        print(text)
    events.register('post_run_cell', say)


class Clock:
    """Seconds since it was made, in the cell that runs then; a plain interpreter is one long cell."""

    def __init__(self):
        self.began, self.resumed, self._ran = time.monotonic(), time.monotonic(), 0.0
        if shell() is not None:
            shell().events.register('pre_run_cell', self._resume)
            shell().events.register('post_run_cell', self._pause)

    def _resume(self, _) -> None:
        self.resumed = time.monotonic()

    def _pause(self, _) -> None:
        self._ran, self.resumed = self.running(), None

    def running(self) -> float:
        """Seconds in which cells ran."""
        return self._ran + (time.monotonic() - self.resumed if self.resumed is not None else 0)

    def passed(self) -> float:
        """Seconds of wall time: cells, reading and thinking."""
        return time.monotonic() - self.began


class Definitions:
    """Which functions of the notebook are older than their cells: a cell that stops early, or defines another name,
    leaves the function of before alive."""

    def __init__(self):
        self.before: dict[str, Callable] | None = None  # the notebook's functions when the running cell began
        self.home: dict[str, str] = {}  # the cell that defined a function, by its id, where the front end tells it
        self.old: set[str] = set()

    def watch(self) -> None:
        """Looks at each cell that runs from now on; a second call changes nothing."""
        if shell() is not None:
            shell().events.register('pre_run_cell', self._begin)
            shell().events.register('post_run_cell', self._end)

    def stale(self, function: Callable) -> bool:
        """Whether the function's cell ran since without defining it anew."""
        return shell() is not None and any(shell().user_ns.get(name) is function for name in self.old)

    def _begin(self, _) -> None:
        self.before = self._functions()

    def _end(self, result) -> None:
        before, self.before = self.before, None
        if before is None:  # the cell in which watching began, or an empty one
            return
        now, cell = self._functions(), getattr(result.info, 'cell_id', None)
        bound = {name for names in BOUND.findall(result.info.raw_cell) for name in names}
        made = {name for name in now if now[name] is not before.get(name) or result.success and name in bound}
        self.old = self.old - made | {name for name in before.keys() - made
                                      if name in bound or cell and self.home.get(name) == cell}
        self.home |= dict.fromkeys(made, cell)

    @staticmethod
    def _functions() -> dict[str, Callable]:
        return {name: value for name, value in shell().user_ns.items()
                if callable(value) and getattr(value, '__module__', None) == '__main__'}


definitions = Definitions()
