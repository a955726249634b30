"""The ways into a sandbox, of which the first that works on a computer is taken: bubblewrap, or Linux namespaces."""
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from internlm_course.grading import sandbox
from internlm_course.grading.sandbox import NOBODY, Limits, Plan

MODES = ('bwrap', 'namespaces')
SYSTEM = ('/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/etc/ld.so.cache', '/etc/alternatives', '/nix/store')
OUTSIDE, INSIDE = str(Path(sandbox.__file__).resolve()), '/sandbox.py'  # the watcher, and where bubblewrap lays it
TEST = """
import os, socket
assert os.getuid() == 65534 and os.getpid() <= 2, os.getuid()
assert not os.path.exists({secret!r})
assert socket.socket().connect_ex(("127.0.0.1", 9)) and open("here", "w").write("x")
assert not os.access("/", os.W_OK)
print("inside")
"""


def command(plan: Plan, line: Sequence[str]) -> list[str]:
    """The command line that runs `line` in the sandbox, for `subprocess`; the output goes where the caller's goes."""
    python = [os.path.realpath(sys.executable), '-I', '-S']
    if plan.mode != 'bwrap':
        return [*python, OUTSIDE, plan.text(), *line]
    inside = replace(plan, root='', mode='watch', readable={}, hidden=())  # what runs inside can read it
    return [*_bubblewrap(plan), *python, INSIDE, inside.text(), *line]


def _bubblewrap(plan: Plan) -> list[str]:
    """bubblewrap's command line for a plan; the watcher is the first process inside."""
    line = ['bwrap', '--unshare-all', '--die-with-parent', '--new-session', '--as-pid-1', '--clearenv', '--cap-drop',
            'ALL', '--uid', str(NOBODY), '--gid', str(NOBODY), '--hostname', 'sandbox']
    for inside, outside in plan.mounts():
        if outside is not None:
            link = os.path.islink(outside) and inside == outside  # /bin -> usr/bin
            line += ['--symlink', os.readlink(outside), inside] if link else ['--ro-bind', outside, inside]
        elif os.path.isfile(inside):
            line += ['--ro-bind', '/dev/null', inside]
        elif os.path.exists(inside):
            line += ['--tmpfs', inside, '--remount-ro', inside]
    line += [] if Path(plan.folder).is_relative_to('/tmp') else ['--symlink', plan.folder, '/tmp']
    return [*line, '--proc', '/proc', '--dev', '/dev', '--tmpfs', '/dev/shm', '--remount-ro', '/dev',
            '--ro-bind', OUTSIDE, INSIDE, '--bind', plan.folder, plan.folder, '--remount-ro', '/',
            '--chdir', plan.folder]


def readable_system() -> dict[str, str]:
    """What any Python program needs: the system's programs and libraries, this Python, and its packages."""
    paths = [path for path in SYSTEM if os.path.lexists(path)]
    paths += [os.path.realpath(sys.base_prefix)] if not sys.base_prefix.startswith('/usr') else []
    paths += package_folders()
    return {path: path for path in paths}


def package_folders() -> list[str]:
    """The folders of installed packages."""
    return [path for path in map(os.path.realpath, sys.path)
            if os.path.basename(path) in ('site-packages', 'dist-packages')]


def probe(mode: str) -> str:
    """Why a mode does not work here; '' if it does: a program runs in it, and cannot reach what it must not."""
    if mode == 'bwrap' and not shutil.which('bwrap'):
        return 'bubblewrap is not installed'
    if mode == 'namespaces' and sandbox.PIVOT_ROOT is None:
        return f'not known on {os.uname().machine}'
    with tempfile.TemporaryDirectory(prefix='sandbox-') as top:
        for name in ('folder', 'root', 'secret'):
            Path(top, name).mkdir()
        plan = Plan(f'{top}/folder', f'{top}/root', mode, readable_system(), limits=Limits(seconds=10))
        line = [os.path.realpath(sys.executable), '-I', '-S', '-c', TEST.format(secret=f'{top}/secret')]
        try:
            done = subprocess.run(command(plan, line), capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        if done.stdout == 'inside\n':
            return ''
        return (done.stderr.strip() or f'it ended with code {done.returncode}').splitlines()[-1]


def best() -> tuple[str, dict[str, str]]:
    """The first mode that works, or '', and why those before it do not.

    Root's namespaces come first: under bubblewrap a process of root's would still own what root owns.
    """
    faults = {}
    for mode in reversed(MODES) if os.geteuid() == 0 else MODES:
        if not (why := probe(mode)):
            return mode, faults
        faults[mode] = why
    return '', faults
