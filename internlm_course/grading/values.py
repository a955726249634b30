"""A pytest plugin for nbval, `-p internlm_course.grading.values`: kernels may be hostile, values leave as JSON.

nbval runs the cells as it always does. What is added: kernels speak through Unix sockets in the folder that their
kernelspec names (TCP does not leave a sandbox); all kernels start at once; a kernel that died is noticed at once, and
why; output has a limit; no comment in a cell has nbval skip it; and `--values FILE` gets what each cell put out.
Nothing is compared here.
"""

import json
import os
import subprocess
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any

import nbval.kernel
import nbval.plugin
import zmq
from jupyter_client.manager import KernelManager

from internlm_course.grading.sandbox import ENDED, FAILED

MOST_OUTPUT, MOST_MESSAGES = 4 << 20, 4000  # of one cell; beyond, it is a flood
_report: dict[str, dict[str, Any]] = {}  # by notebook
_started: dict[str, 'Manager'] = {}  # by the name of the kernel


class Ended(Exception):
    """The kernel is gone, or was given up; the message is the status."""


class Patience:
    """Seconds on the clock that a cell may wait; one counts for less while more programs want a core than there are,
    so that a crowded computer costs no student points."""

    def __init__(self, seconds: float):
        self.seconds, self.looked = seconds, time.monotonic()

    def left(self) -> float:
        """The seconds that are left; called often."""
        before, self.looked = self.looked, time.monotonic()
        self.seconds -= (self.looked - before) * min(1, (os.cpu_count() or 1) / max(self._running(), 1))
        return self.seconds

    @staticmethod
    def _running() -> int:
        """Programs that run now, or would if they had a core."""
        with suppress(OSError, ValueError, IndexError), open('/proc/loadavg') as stream:
            return int(stream.read().split()[3].partition('/')[0])
        return 1


class Manager(KernelManager):
    """A kernel whose sockets lie in the folder that its kernelspec names; it may be started before nbval asks."""

    def __init__(self, **options):
        super().__init__(**options)
        box = self.kernel_spec.metadata['box']
        self.transport, self.ip, self.connection_file = 'ipc', f'{box}/k', f'{box}/kernel.json'

    def start_kernel(self, **options):
        """Starts it, once."""
        if not self.has_kernel:
            super().start_kernel(**options)

    def client(self, **options):
        """A client that waits for the first reply alone; nbval itself sees to it that output arrives."""
        client = super().client(**options)
        client.wait_for_ready = lambda timeout: self._wait(client, timeout)
        return client

    def _wait(self, client, timeout: float) -> None:
        patience = Patience(timeout)
        client.kernel_info()
        while not client.shell_channel.socket.poll(100):
            if not self.is_alive() or patience.left() <= 0:
                raise RuntimeError('the kernel did not start')
        client.get_shell_msg(timeout=1)


def _manager(kernel_name: str, **options) -> Manager:
    """The manager of a kernel, which may be on its way already."""
    return _started.pop(kernel_name, None) or Manager(kernel_name=kernel_name, **options)


class Kernel(nbval.kernel.RunningKernel):
    """nbval's kernel, listening to output while it waits for the reply."""

    def __init__(self, *arguments, **options):
        self.waiting: deque = deque()
        self.ended, self.bytes, self.messages = '', 0, 0
        super().__init__(*arguments, **options)

    def execute_cell_input(self, *arguments, **options):
        self.bytes = self.messages = 0
        return super().execute_cell_input(*arguments, **options)

    def get_message(self, stream, timeout=None):
        """As nbval's, but raises `Ended` as soon as the kernel died or put out too much."""
        patience = Patience(3600 if timeout is None else timeout)
        sockets = dict(shell=self.kc.shell_channel.socket, iopub=self.kc.iopub_channel.socket)
        while True:
            self._listen(sockets['iopub'])
            if stream == 'iopub' and self.waiting:
                return self.waiting.popleft()
            if stream == 'shell' and sockets['shell'].poll(0):
                return self.kc.get_shell_msg(timeout=1)
            left = patience.left()
            if not self.is_alive():
                self._listen(sockets['iopub'])  # what it had put out may tell more
                self.end(self.why())
            if left <= 0:
                raise Empty
            poller = zmq.Poller()
            for socket in {sockets['iopub'], sockets[stream]}:
                poller.register(socket, zmq.POLLIN)
            poller.poll(1000 * min(left, 0.2))

    def _listen(self, socket) -> None:
        """Takes in what the kernel has put out."""
        while socket.poll(0):
            message = self.kc.get_iopub_msg(timeout=1)
            self.waiting.append(message)
            self.messages += 1
            self.bytes += len(repr(message['content']))
            if self.bytes > MOST_OUTPUT or self.messages > MOST_MESSAGES:
                self.end('flood')

    def why(self) -> str:
        """The status of an exercise whose kernel is gone."""
        process = self.km.provisioner.process if self.km.provisioner else None
        code = process.poll() if process else None
        if code == FAILED:
            return 'sandbox'
        return dict(memory='memory', timeout='timeout', disk='flood').get(ENDED.get(code, ''), 'killed')

    def end(self, status: str) -> None:
        """Gives the kernel up."""
        self.ended = self.ended or status
        self.waiting.clear()
        raise Ended(self.ended)

    def stop(self):
        """Kills the sandbox without asking it."""
        if hasattr(self, 'km'):
            self.kc.stop_channels()
            self.km.shutdown_kernel(now=True)
            del self.km


nbval.kernel.KernelManager, nbval.plugin.RunningKernel = _manager, Kernel


def pytest_addoption(parser):
    parser.getgroup('nbval').addoption('--values', default=None, help='JSON file for what the cells put out')


def pytest_collection_modifyitems(items):
    for item in items:
        if isinstance(item, nbval.plugin.IPyNbCell):  # what a student's comments say has no weight
            item.options.clear()
            item.options['check'] = False
    for name in dict.fromkeys(
        item.parent.nb.metadata.kernelspec.name for item in items if isinstance(item, nbval.plugin.IPyNbCell)
    ):
        _started[name] = Manager(kernel_name=name)
        _started[name].start_kernel(stderr=subprocess.DEVNULL)


def pytest_runtest_makereport(item, call):
    """Remembers what a cell put out, or why it did not end."""
    if call.when == 'call' and isinstance(item, nbval.plugin.IPyNbCell):
        said = _report.setdefault(item.parent.path.stem, dict(cells={}, ended=''))
        outputs = item.test_outputs or []
        kernel = item.parent.kernel
        if item.parent.timed_out or kernel and kernel.ended:  # nbval may have met another error on the way
            said['ended'] = said['ended'] or ('timeout' if item.parent.timed_out else kernel.ended)
        said['cells'][item.cell.id] = dict(
            shown=[text for output in outputs for text in _shown(output)],
            error=next(map(_failure, filter(_failure, outputs)), None),
        )
    elif call.when == 'setup' and call.excinfo:
        said = _report.setdefault(item.parent.path.stem, dict(cells={}, ended=''))
        said['ended'] = said['ended'] or 'sandbox'
        said['why'] = str(call.excinfo.value)[:300]


def _shown(output) -> list[str]:
    """The plain text that a cell displayed; the kernel may have sent anything."""
    data = output.get('data') if output.get('output_type') == 'display_data' else None
    text = data.get('text/plain') if isinstance(data, dict) else None
    return [text] if isinstance(text, str) else []


def _failure(output) -> list[str] | None:
    """Name and text of the error that ended a cell."""
    error = output.get('output_type') == 'error'
    return [str(output.get('ename', ''))[:100], str(output.get('evalue', ''))[:300]] if error else None


def pytest_sessionfinish(session):
    if session.config.option.values:
        Path(session.config.option.values).write_text(json.dumps(_report), 'utf-8')
