"""The sandbox: what a program inside can read, write and reach, and what becomes of it at each limit."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from internlm_course.grading import modes, sandbox

WORKING = [mode for mode in modes.MODES if not modes.probe(mode)]
pytestmark = pytest.mark.skipif(not WORKING, reason='no sandbox can be built here')


@pytest.fixture(params=WORKING)
def run(request, tmp_path):
    """Runs Python code in a sandbox: (code of the watcher, what was printed)."""

    def call(code: str, hidden: tuple[str, ...] = (), **limits):
        for name in ('folder', 'root'):
            (tmp_path / name).mkdir(exist_ok=True)
        plan = sandbox.Plan(
            str(tmp_path / 'folder'),
            str(tmp_path / 'root'),
            request.param,
            modes.readable_system(),
            hidden,
            dict(GREETING='hello'),
            sandbox.Limits(**dict(dict(seconds=20, cpu=10), **limits)),
        )
        line = modes.command(plan, [os.path.realpath(sys.executable), '-I', '-S', '-c', code])
        done = subprocess.run(line, capture_output=True, text=True, env=dict(os.environ, SECRET='x'))
        return done.returncode, done.stdout

    return call


def test_it_is_nobody_with_no_capability_and_an_empty_environment(run):
    code, text = run(
        "import os; print(os.getuid(), os.environ.get('SECRET'), os.environ['GREETING'])\n"
        "print(open('/proc/self/status').read())"
    )
    assert code == 0 and text.startswith('65534 None hello')
    assert 'CapEff:\t0000000000000000' in text and 'CapBnd:\t0000000000000000' in text and 'NoNewPrivs:\t1' in text


def test_its_own_folder_alone_can_be_written(run, tmp_path):
    code, text = run("""
import os
open('mine', 'w').write('x')
for place in ('/', '/usr', '/etc', '/dev', '/proc', os.path.dirname(os.__file__), '/sys'):
    try: open(place + '/intruder', 'w')
    except OSError: continue
    print(place)
""")
    assert (code, text) == (0, '') and (tmp_path / 'folder' / 'mine').read_text() == 'x'


def test_what_is_not_listed_is_not_there(run, tmp_path):
    (tmp_path / 'other').write_text('secret')
    code, text = run(f"""
import os
paths = ('{tmp_path}/other', '/home', '/root/.ssh', '/var', '{Path(__file__)}')
print([path for path in paths if os.path.exists(path)])
print(sorted(name for name in os.listdir('/proc') if name.isdigit()) < ['4'])
""")
    assert (code, text) == (0, '[]\nTrue\n')


def test_a_hidden_folder_is_empty_beneath_a_readable_one(run):
    import json

    folder = str(Path(json.__file__).parent)
    assert run(f'import os; print(os.listdir({folder!r}))', hidden=(folder,)) == (0, '[]\n')


def test_there_is_no_network(run):
    assert run("""
import socket
for address in (('127.0.0.1', 22), ('8.8.8.8', 53)):
    print(socket.socket().connect_ex(address) != 0)
print([name for _, name in socket.if_nameindex()])
""")[1].startswith("True\nTrue\n['lo'")


def test_no_socket_leads_round_the_namespaces(run):
    """A virtual machine's sockets (family 40) reach its host from any namespace, and io_uring makes sockets, too."""
    code, text = run("""
import ctypes, socket
for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, 31, 38, 40, 44):
    try: socket.socket(family, socket.SOCK_STREAM); print('made', int(family))
    except OSError as error: print(error.errno, family)
print(socket.socketpair() and ctypes.CDLL(None).syscall(425, 1, None))
""")
    assert (code, text) == (0, 'made 1\nmade 2\nmade 10\n97 31\n97 38\n97 40\n97 44\n-1\n')


@pytest.mark.parametrize(
    'why, code, limits',
    [
        (
            'memory',
            "x = [bytearray(b'x' * (1 << 22)) for _ in range(99)]; import time; time.sleep(9)",
            dict(memory=1 << 28),
        ),
        ('timeout', 'while True: pass', dict(cpu=0.5)),
        ('timeout', 'import time; time.sleep(99)', dict(seconds=0.5)),
        (
            'processes',
            'import os, time\nfor _ in range(9): os.fork() or time.sleep(9)\ntime.sleep(9)',
            dict(processes=4),
        ),
        (
            'disk',
            "import time\nfor i in range(9): open(str(i), 'wb').write(b'x' * (1 << 20))\ntime.sleep(9)",
            dict(disk=1 << 22),
        ),
        ('disk', "import time\nfor i in range(99): open(str(i), 'w')\ntime.sleep(9)", dict(files=50)),
        ('disk', "import os, time\nos.mkdir('d', 0o300); time.sleep(9)", {}),
        (
            'disk',
            "import os, time\nfor _ in range(30): os.mkdir('d' * 200); os.chdir('d' * 200)\ntime.sleep(9)",
            {},
        ),
        (
            'memory',
            'import mmap, os, time\nkept = []\nfor _ in range(4):\n    with open("f", "w+b") as f:\n'
            '        os.posix_fallocate(f.fileno(), 0, 1 << 24); kept.append(mmap.mmap(f.fileno(), 4096))\n'
            '    os.remove("f")\ntime.sleep(9)',
            dict(memory=3 << 24, file=1 << 24, disk=1 << 24),
        ),
        (
            'memory',
            "import os, time\nf = os.memfd_create('x')\nfor _ in 'ab': os.write(f, b'x' * (1 << 26))\ntime.sleep(9)",
            dict(memory=1 << 26, file=1 << 28),
        ),
    ],
)
def test_each_limit_ends_it_and_says_which(run, why, code, limits):
    assert sandbox.ENDED.get(run(code, **limits)[0]) == why


def test_a_code_cannot_be_forged_from_inside(run):
    assert run(f'import os; os._exit({sandbox.CODE["memory"]})')[0] == 1
    assert run('import os; os._exit(0)')[0] == 0
    assert run('import os, signal; os.kill(os.getpid(), signal.SIGKILL)')[0] == 1


def test_the_watcher_cannot_be_killed_stopped_or_read(run):
    code, text = run(
        """
import os, signal, time
for sign in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGINT):
    try: os.kill(1, sign)
    except PermissionError: pass
for name in ('environ', 'mem'):
    try: print(open('/proc/1/' + name).read(), flush=True)
    except PermissionError: print('no', flush=True)
time.sleep(99)
""",
        seconds=1,
    )
    assert (sandbox.ENDED.get(code), text) == ('timeout', 'no\nno\n')


def test_nothing_outlives_it(run, tmp_path):
    began = time.monotonic()
    run("""
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            open('alive', 'w').write(str(time.time())); time.sleep(0.02)
time.sleep(0.5)
""")
    said = (tmp_path / 'folder' / 'alive').read_text()
    time.sleep(0.3)
    assert said == (tmp_path / 'folder' / 'alive').read_text() and time.monotonic() - began < 15


def test_no_namespace_can_be_made_inside(run):
    assert (
        run("""
import ctypes
print(ctypes.CDLL(None).unshare(0x10000000), ctypes.CDLL(None).unshare(0x20000))
""")[1]
        == '-1 -1\n'
    )
