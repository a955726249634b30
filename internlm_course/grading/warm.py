"""Sandboxes that start in a moment: a process that has imported what kernels need forks for each one.

It is started fresh, knows no submission, seed or expected value, runs no student's code itself, and each fork enters a
sandbox before it does. The file runs by itself and needs the standard library alone:
`warm.py serve SOCKET FOLDERS MODULES` waits for requests, `warm.py ask SOCKET PLAN PROGRAM` makes one and lives as long
as its sandbox does.
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
    """One request, in a process of its own: a plan and a program; the reply is the code with which the sandbox ended."""
    with connection.makefile('rb') as stream:
        plan, program = json.loads(stream.readline())
    plan, code = sandbox.Plan.read(plan), sandbox.FAILED
    with suppress(OSError):
        code = sandbox.enter(plan, lambda: exec(compile(program, 'kernel', 'exec'), {'__name__': '__main__'}), lifeline=connection.fileno())
    with suppress(OSError):
        connection.sendall(f'{code}\n'.encode())


def serve(address: str, folders: list[str], modules: list[str]) -> None:
    """Imports the modules, then forks for each connection, until its standard input is closed."""
    sandbox = _sandbox()
    sys.path[:0] = folders
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
        sys.stdin.buffer.read()
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


def ask(address: str, plan: str, program: str) -> int:
    """Has a program run in a sandbox, waits for its end, and returns its code."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        connection.sendall(json.dumps([Path(plan).read_text('utf-8'), Path(program).read_text('utf-8')]).encode() + b'\n')
        with connection.makefile('rb') as stream:
            return int(stream.readline() or b'1')


if __name__ == '__main__':
    if sys.argv[1] == 'serve':
        serve(sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4]))
    sys.exit(ask(*sys.argv[2:]))
