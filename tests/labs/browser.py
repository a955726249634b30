"""Headless Chromium over its DevTools protocol: pages that are looked at, clicked and typed into as by somebody who
sits before them."""
import base64
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import websocket

from internlm_course.process import HOST, die_with_parent

CHROMIUM = 'chromium'
CONTROL, SHIFT = 2, 8  # the protocol's bits
CODES = dict(Enter=13, Escape=27)


def wait(look: Callable[[], Any], seconds: float = 60) -> Any:
    """What `look` gives as soon as it is true.

    Raises:
        TimeoutError: it was not, with what it gave last.
    """
    end = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > end:
            raise TimeoutError(f'after {seconds} s still {seen!r}')
        time.sleep(0.1)
    return seen


@contextmanager
def running(line: list[str], **options: Any) -> Iterator[None]:
    """Runs a program, and ends it; it dies with the tests, too."""
    with subprocess.Popen(line, preexec_fn=die_with_parent, **options) as program:
        try:
            yield
        finally:
            program.terminate()
            with suppress(subprocess.TimeoutExpired):
                program.wait(20)
            program.kill()


class Page:
    """A tab."""

    def __init__(self, address: str):
        self.socket, self.calls = websocket.create_connection(address, suppress_origin=True, timeout=60), 0

    def call(self, method: str, **parameters: Any) -> dict:
        """The answer to a call of the protocol; events are passed over."""
        self.calls += 1
        self.socket.send(json.dumps(dict(id=self.calls, method=method, params=parameters)))
        while (answer := json.loads(self.socket.recv())).get('id') != self.calls:
            pass
        assert 'error' not in answer, (method, answer)
        return answer['result']

    def value(self, script: str) -> Any:
        """The JSON value of an expression of JavaScript; of a promise, what it comes to."""
        answer = self.call('Runtime.evaluate', expression=script, awaitPromise=True, returnByValue=True)
        assert 'exceptionDetails' not in answer, (script, answer)
        return answer['result'].get('value')

    def wait(self, script: str, seconds: float = 60) -> Any:
        """The value of an expression as soon as it is true."""
        try:
            return wait(lambda: self.value(script), seconds)
        except TimeoutError as error:
            raise TimeoutError(f'{script}: {error}') from None

    def click(self, element: str) -> None:
        """Clicks on an element, given in JavaScript, once it is there with nothing over it."""
        x, y = self.wait(f"""(element => {{
            element?.scrollIntoView({{block: 'nearest'}})
            const box = element?.getBoundingClientRect(), spot = box && [box.x + box.width / 2, box.y + box.height / 2]
            return spot && element.contains(document.elementFromPoint(...spot)) && spot
        }})({element})""")
        for kind in ('mouseMoved', 'mousePressed', 'mouseReleased'):
            self.call('Input.dispatchMouseEvent', type=kind, x=x, y=y, button='left', clickCount=1)

    def press(self, key: str, held: int = 0) -> None:
        """Presses a key while CONTROL or SHIFT are held."""
        code = CODES.get(key) or ord(key.upper())
        for kind in ('rawKeyDown', 'keyUp'):
            self.call('Input.dispatchKeyEvent', type=kind, key=key, windowsVirtualKeyCode=code, modifiers=held)

    def write(self, text: str) -> None:
        """Puts a text in where the cursor stands, as if it were pasted."""
        self.call('Input.insertText', text=text)

    def picture(self, path: Path) -> None:
        """Keeps what is seen, as PNG."""
        path.write_bytes(base64.b64decode(self.call('Page.captureScreenshot')['data']))


@contextmanager
def chromium(folder: Path) -> Iterator[Callable[[str], Page]]:
    """Starts Chromium with a profile in the folder; gives the function that opens an address in a new tab and closes
    the one before."""
    line = [CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
            '--disable-background-networking',
            '--remote-debugging-port=0', '--window-size=1280,900', f'--user-data-dir={folder}']
    port, tabs = folder / 'DevToolsActivePort', []

    def ask(path: str) -> bytes:
        with urlopen(Request(f'{host}/json/{path}', method='PUT')) as answer:
            return answer.read()

    def show(address: str) -> Page:
        tabs.append(json.loads(ask(f'new?{address}')))
        for tab in tabs[:-1]:
            ask(f'close/{tab["id"]}')
        del tabs[:-1]
        return Page(tabs[0]['webSocketDebuggerUrl'])
    with running(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        host = f'http://{HOST}:' + wait(lambda: port.exists() and port.read_text().split('\n')[0])
        yield show
