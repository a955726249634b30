"""What the kernel around a lab adds, where there is one: rich output, and the beginning and end of each cell."""
import html
import sys
import time


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
    """Shows a sign and text, the first line in bold and in a colour."""
    first, *rest = html.escape(f'{sign} {text}').split('\n')
    rich(f'{sign} {text}', '<br>'.join([f'<b style="color: {colour}">{first}</b>', *rest]))


def after_cell(text: str) -> None:
    """Prints once the running cell has ended, so that no table is torn; in a plain interpreter at once."""
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
