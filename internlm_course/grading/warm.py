"""Programs that start in a moment: a process that has imported what they need forks for each one.

Kernels are forked from one that knows no submission, seed or expected value and runs no student's code itself; each
fork enters a sandbox first. nbval is forked from another. The file runs by itself and needs the standard library
alone: `warm.py serve SOCKET` reads folders and modules from its input and waits for requests; `warm.py ask SOCKET
PLAN PROGRAM` makes one from two files and lives as long as its sandbox does.
"""

import gc
import importlib
import importlib.util
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path


def _sandbox():
    """The module beside this file, without the package around it, whose place the one without answers takes."""
    spec = importlib.util.spec_from_file_location('sandbox', Path(__file__).with_name('sandbox.py'))
    sys.modules['sandbox'] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _answer(connection: socket.socket, sandbox) -> None:
    """One request, in a process of its own: a plan, or '' for no sandbox, and a program; the reply is its exit code."""
    with connection.makefile('rb') as stream:
        plan, program = json.loads(stream.readline())
    code = sandbox.FAILED
    with suppress(OSError):
        code = (
            sandbox.enter(sandbox.Plan.read(plan), lambda: _run(program), lifeline=connection.fileno())
            if plan
            else sandbox.keep(lambda: _run(program), connection.fileno())
        )
    with suppress(OSError):
        connection.sendall(f'{code}\n'.encode())


def _run(program: str) -> None:
    exec(compile(program, 'program', 'exec'), {'__name__': '__main__'})


def serve(address: str, folders: list[str], modules: list[str]) -> None:
    """Imports the modules, then forks for each connection, until its standard input is closed."""
    sandbox = _sandbox()
    here = str(Path(__file__).resolve().parent)  # before Python 3.11 it is on the path of its own accord
    sys.path[:] = [*folders, *(path for path in sys.path if path != here)]
    for name in modules:
        with suppress(Exception):
            importlib.import_module(name)
    if len(os.listdir('/proc/self/task')) > 1:
        sys.exit('a module has started a thread, so this process must not fork')
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(128)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print('ready', flush=True)
    if os.fork():  # ends with whoever started it
        sys.stdin.read()
        os.killpg(0, signal.SIGKILL)
    while True:
        connection, _ = listener.accept()
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            listener.close()
            try:
                _answer(connection, sandbox)
            finally:
                os._exit(0)
        connection.close()


def ask(address: str, plan: str, program: str, timeout: float | None = None) -> int:
    """Has a program run, waits for its end, and returns its code; when it takes longer than `timeout` it is killed.

    Raises:
        TimeoutError: it took longer.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect(address)
        connection.sendall(json.dumps([plan, program]).encode() + b'\n')
        with connection.makefile('rb') as stream:
            return int(stream.readline() or b'1')


if __name__ == '__main__':
    if sys.argv[1] == 'serve':
        serve(sys.argv[2], *json.loads(sys.stdin.readline()))
    _sandbox().die_with_parent()
    sys.exit(ask(sys.argv[2], *(Path(path).read_text('utf-8') for path in sys.argv[3:])))
