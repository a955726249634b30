"""A sandbox for code that nobody has read: no network, nothing writable but its own folder, only what it needs
readable, no more rights than nobody, limits on memory, time, processes and files, and the whole tree killed at the end.

This is its inside, whoever builds it (see `modes`). The file also runs by itself, `python -I -S sandbox.py PLAN
COMMAND …`, and then needs the standard library alone; its exit code tells why it ended. It is one file, however long,
because it is laid into the sandbox as that. The first process inside (PID 1) watches: it cannot be traced, nor killed
from inside, and when it ends everything does.
"""

import ctypes
import json
import os
import resource
import select
import signal
import stat
import struct
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

NOBODY = 65534
ENDED = {91: 'memory', 92: 'timeout', 93: 'processes', 94: 'disk'}  # exit code of the watcher: why it put an end to it
CODE = {why: code for code, why in ENDED.items()}
FAILED = 90  # the sandbox could not be built
LOOK = 0.05  # seconds between two looks of the watcher

# linux/sched.h, linux/mount.h, linux/prctl.h
NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE, DETACH = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18, 2
SET_PDEATHSIG, SET_DUMPABLE, CAPBSET_DROP, SET_CHILD_SUBREAPER, SET_NO_NEW_PRIVS, CAP_AMBIENT = 1, 4, 24, 36, 38, 47
PIVOT_ROOT, MOUNT_SETATTR = {'x86_64': (155, 442), 'aarch64': (41, 442)}.get(os.uname().machine, (None, None))
CAPSET = {'x86_64': 126, 'aarch64': 91}.get(os.uname().machine)
ARCHITECTURE, SOCKET, SECCOMP = {'x86_64': (0xC000003E, 41, 317), 'aarch64': (0xC00000B7, 198, 277)}.get(
    os.uname().machine, (None, None, None)
)
IO_URING, X32, FAMILIES = 425, 0x40000000, (1, 2, 10, 16)  # Unix, IPv4, IPv6, netlink: what the namespaces hold back
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Limits:
    """What everything inside may take together: bytes of memory and disk, seconds on the clock and of CPU time,
    processes, files; `file` is the size of one."""

    memory: int = 2 << 30
    seconds: float = 300
    cpu: float = 120
    processes: int = 32
    file: int = 64 << 20
    disk: int = 64 << 20
    files: int = 4096


@dataclass(frozen=True)
class Plan:
    """One sandbox.

    Attributes:
        folder: the only one that can be written; it has the same path inside, and is HOME and TMPDIR.
        root: an empty folder to build on; needed by namespaces.
        mode: of `modes.MODES`, 'none', or 'watch' where the rest is built already.
        readable: {path inside: path outside}, read-only.
        hidden: paths that are empty inside, even beneath a readable one.
    """

    folder: str
    root: str
    mode: str
    readable: dict[str, str] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    limits: Limits = Limits()

    def text(self) -> str:
        """As JSON, for the command line."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> 'Plan':
        """The inverse of `text`."""
        said = json.loads(text)
        return cls(**{**said, 'hidden': tuple(said['hidden']), 'limits': Limits(**said['limits'])})

    def variables(self) -> dict[str, str]:
        """The environment inside: nothing of the caller's."""
        quiet = dict.fromkeys(('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'), '1')
        return dict(
            PATH='/usr/bin:/bin',
            HOME=self.folder,
            TMPDIR=self.folder,
            USER='nobody',
            LANG='C.UTF-8',
            IPYTHONDIR=f'{self.folder}/.ipython',
            MPLCONFIGDIR=f'{self.folder}/.matplotlib',
            PYTHONDONTWRITEBYTECODE='1',
            PYTHONHASHSEED='0',
            **quiet,
            **self.environment,
        )

    def mounts(self) -> list[tuple[str, str | None]]:
        """(path inside, path outside or None for an empty one), the outer before the inner."""
        wanted = {**dict.fromkeys(self.hidden), **self.readable}
        ordered = sorted(wanted.items(), key=lambda mount: len(Path(mount[0]).parts))
        return [
            (inside, outside)
            for inside, outside in ordered
            if outside is not None or any(Path(inside).is_relative_to(other) for other in self.readable)
        ]


def _call(name: str, *arguments) -> int:
    """A function of libc.

    Raises:
        OSError: it failed.
    """
    values = [value.encode() if isinstance(value, str) else value for value in arguments]
    result = getattr(_libc, name)(*values)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(
            code, f'{name}: {os.strerror(code)}', *[value for value in arguments if isinstance(value, str)][:1]
        )
    return result


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    _call('mount', source, target, kind, ctypes.c_ulong(flags), data)


def _bind(source: str, target: str, writable: bool = False) -> None:
    """Makes `source` appear at `target`, with what is mounted beneath, read-only unless `writable`."""
    _mount(source, target, None, BIND | REC)
    attributes = (ctypes.c_uint64 * 4)((0 if writable else RDONLY) | NOSUID | NODEV, 0, 0, 0)  # struct mount_attr
    try:
        _call('syscall', MOUNT_SETATTR, -100, ctypes.c_char_p(target.encode()), 0x8000, attributes, ctypes.c_size_t(32))
    except OSError:  # before Linux 5.12
        _mount(None, target, None, REMOUNT | BIND | NOSUID | NODEV | (0 if writable else RDONLY))


def _place(source: str | None, target: Path) -> None:
    """An empty file or folder to mount on; a folder where there is no source."""
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if source is None or os.path.isdir(source):
        target.mkdir(mode=0o755, exist_ok=True)
    elif not target.exists():
        target.touch()


def _build(plan: Plan) -> None:
    """Mounts the file system of the sandbox on `plan.root` and makes it the root; runs in new namespaces as PID 1."""
    root = Path(plan.root)
    _mount(None, '/', None, REC | PRIVATE)
    _mount('tmpfs', plan.root, 'tmpfs', NOSUID | NODEV, 'size=1m,mode=755')
    empty = []
    for inside, outside in plan.mounts():
        target = root / inside.lstrip('/')
        if outside is None:
            if target.is_file():
                _bind('/dev/null', str(target))
            elif target.is_dir():
                _mount('tmpfs', str(target), 'tmpfs', NOSUID | NODEV, 'size=1m,mode=755')
                empty.append(str(target))
        elif os.path.islink(outside) and inside == outside:  # /bin -> usr/bin
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(os.readlink(outside))
        else:
            _place(outside, target)
            _bind(outside, str(target))
    for device in ('null', 'zero', 'full', 'random', 'urandom'):
        _place(f'/dev/{device}', root / 'dev' / device)
        _mount(f'/dev/{device}', str(root / 'dev' / device), None, BIND)
    for name, where in dict(fd='', stdin='/0', stdout='/1', stderr='/2').items():
        (root / 'dev' / name).symlink_to(f'/proc/self/fd{where}')
    for name in ('proc', 'dev/shm'):
        (root / name).mkdir()
    _mount('tmpfs', str(root / 'dev/shm'), 'tmpfs', NOSUID | NODEV | NOEXEC, f'size={plan.limits.disk},mode=1777')
    _mount('proc', str(root / 'proc'), 'proc', NOSUID | NODEV | NOEXEC)
    _place(plan.folder, root / plan.folder.lstrip('/'))
    _bind(plan.folder, str(root / plan.folder.lstrip('/')), writable=True)
    if not (root / 'tmp').exists():
        (root / 'tmp').symlink_to(plan.folder)
    (root / 'etc').mkdir(exist_ok=True)
    (root / 'etc/passwd').write_text(f'nobody:x:{NOBODY}:{NOBODY}:nobody:{plan.folder}:/bin/false\n')
    for target in (*empty, plan.root):
        _mount(None, target, None, REMOUNT | BIND | RDONLY | NOSUID | NODEV)
    os.chdir(plan.root)
    _call('syscall', PIVOT_ROOT, ctypes.c_char_p(b'.'), ctypes.c_char_p(b'.'))
    _call('umount2', '.', DETACH)
    os.chdir(plan.folder)


def _write_maps(outside: int, group: int) -> None:
    """Maps one user and one group of outside to nobody."""
    for name, text in dict(setgroups='deny', uid_map=f'{NOBODY} {outside} 1', gid_map=f'{NOBODY} {group} 1').items():
        Path('/proc/self', name).write_text(text)


def _drop() -> None:
    """Gives up every right: root's identity, capabilities, new privileges; of a user namespace of its own, too,
    in which its processes are counted apart from those of other sandboxes."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        with suppress(OSError):  # where user namespaces are switched off, processes are counted with the others'
            _call('prctl', SET_DUMPABLE, 1, 0, 0, 0)
            _call('unshare', NEWUSER)
            _write_maps(NOBODY, NOBODY)
    with suppress(OSError):
        Path('/proc/sys/user/max_user_namespaces').write_text('0')
    give_up_capabilities()


def give_up_capabilities() -> None:
    """No capability now, nor by any program started later."""
    for capability in range(64):
        with suppress(OSError):
            _call('prctl', CAPBSET_DROP, capability, 0, 0, 0)
    with suppress(OSError):
        _call('prctl', CAP_AMBIENT, 4, 0, 0, 0)
    header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    _call('syscall', CAPSET, header, nothing)
    _call('prctl', SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _refuse_sockets() -> None:
    """No sockets but of those kinds that a network namespace holds back; a virtual machine's reach its host.

    Raises:
        OSError: the system does not allow it.
    """
    if ARCHITECTURE is None:
        return
    allow, refuse = (0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x50000 | 97)  # EAFNOSUPPORT
    families = [(0x15, len(FAMILIES) - i, 0, family) for i, family in enumerate(FAMILIES)]
    program = [
        (0x20, 0, 0, 4),  # load the architecture
        (0x15, 0, 5 + len(FAMILIES), ARCHITECTURE),  # another one's calls have other numbers: refuse
        (0x20, 0, 0, 0),  # load the number of the call
        (0x35, 3 + len(FAMILIES), 0, X32),
        (0x15, 2 + len(FAMILIES), 0, IO_URING),  # makes sockets, too
        (0x15, 0, 2 + len(FAMILIES), SOCKET),
        (0x20, 0, 0, 16),  # load the family
        *families,
        refuse,
        allow,
    ]
    code = b''.join(struct.pack('HBBI', *line) for line in program)  # struct sock_filter
    lines = ctypes.create_string_buffer(code, len(code))
    about = struct.pack('HP', len(program), ctypes.addressof(lines))  # struct sock_fprog
    _call('syscall', SECCOMP, 1, 4, ctypes.create_string_buffer(about, len(about)))  # without slower speculation


def _tree() -> dict[int, float]:
    """The processes that descend from this one, with the CPU seconds of each and of its children that ended."""
    children: dict[int, list[int]] = {}
    ticks = {}
    for entry in os.listdir('/proc'):
        if entry.isdigit():
            with suppress(OSError), open(f'/proc/{entry}/stat', 'rb') as stream:
                fields = stream.read().rpartition(b')')[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry))
                ticks[int(entry)] = sum(map(int, fields[11:15]))
    found, todo = {}, [os.getpid()]
    while todo:
        more = children.get(todo.pop(), [])
        found |= {pid: ticks[pid] / os.sysconf('SC_CLK_TCK') for pid in more}
        todo += more
    return found


def _memory(pid: int, exact: bool = False) -> int:
    """Anonymous and shared memory of a process in bytes; what several share counts in full, or `exact`ly in part."""
    if exact:
        with suppress(OSError), open(f'/proc/{pid}/smaps_rollup', 'rb') as stream:
            held = (b'Pss_Anon:', b'Pss_Shmem:', b'SwapPss:')
            return sum(int(line.split()[1]) << 10 for line in stream if line.startswith(held))
    with suppress(OSError), open(f'/proc/{pid}/status', 'rb') as stream:
        held = (b'RssAnon:', b'RssShmem:', b'VmSwap:')
        return sum(int(line.split()[1]) << 10 for line in stream if line.startswith(held))
    return 0


def _unlinked(pid: int, seen: dict[tuple, int]) -> None:
    """Adds the files that a process holds open though no folder has them: deleted ones, and those in memory."""
    with suppress(OSError):
        for number in os.listdir(f'/proc/{pid}/fd'):
            with suppress(OSError):
                about = os.stat(f'/proc/{pid}/fd/{number}')
                if stat.S_ISREG(about.st_mode) and not about.st_nlink:
                    seen[about.st_dev, about.st_ino] = about.st_blocks * 512


def _mapped(pid: int, folder: str) -> int:
    """Files of the folder that a process has in its memory though they were deleted."""
    with suppress(OSError), open(f'/proc/{pid}/maps', 'rb') as stream:
        return sum(b'(deleted)' in line and folder.encode() in line for line in stream)
    return 0


def _disk(folders: Sequence[str], most: int) -> tuple[int, int]:
    """Bytes and number of the files beneath the folders; counting ends at `most` files.

    A folder that cannot be looked into, because it is locked or lies too deep, counts as more than that.
    """
    size = count = 0
    todo = list(folders)
    while todo and count <= most:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    count += 1
                    with suppress(FileNotFoundError):
                        size += entry.stat(follow_symlinks=False).st_blocks * 512
                        if entry.is_dir(follow_symlinks=False):
                            todo.append(entry.path)
                    if count > most:
                        break
        except (FileNotFoundError, NotADirectoryError):  # gone meanwhile
            continue
        except OSError:
            return size, most + 1
    return size, count


def _room(plan: Plan) -> int:
    """Bytes that are free on the disk of the folder."""
    about = os.statvfs(plan.folder)
    return about.f_bfree * about.f_frsize


def _fault(plan: Plan, began: float, room: int) -> str | None:
    """Which limit the tree is over, if any; `room` was free on the disk when it began."""
    limits, tree = plan.limits, _tree()
    if len(tree) > limits.processes:
        return 'processes'
    unlinked: dict[tuple, int] = {}
    for pid in tree:
        _unlinked(pid, unlinked)
    held = sum(unlinked.values())
    if room - _room(plan) > limits.disk:  # each deleted file in memory may be as large as a file can be
        held += limits.file * sum(_mapped(pid, plan.folder) for pid in tree)
    if held + sum(map(_memory, tree)) > limits.memory < held + sum(_memory(pid, exact=True) for pid in tree):
        return 'memory'
    size, count = _disk([plan.folder] + ['/dev/shm'] * (plan.mode != 'none'), limits.files)
    if size > limits.disk or count > limits.files:
        return 'disk'
    late = time.monotonic() - began > limits.seconds or sum(tree.values()) > limits.cpu
    return 'timeout' if late else None


def _restrict(limits: Limits) -> None:
    """The limits that the kernel holds a process to."""
    for name, value in dict(
        CORE=0,
        CPU=int(2 * limits.cpu) + 1,
        FSIZE=limits.file,
        NOFILE=512,
        NPROC=8 * limits.processes,
        DATA=2 * limits.memory,
        MSGQUEUE=0,
        MEMLOCK=64 << 10,
    ).items():
        kind = getattr(resource, f'RLIMIT_{name}')
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _quiet() -> None:
    """Input, output and errors lead nowhere; every other open file is closed."""
    nothing = os.open('/dev/null', os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.closerange(3, 4096)


def watch(plan: Plan, payload: Callable[[], None], lifeline: int | None = None, loud: bool = False) -> int:
    """Runs `payload` in a child and kills the whole tree when it ends, goes over a limit, or the lifeline breaks.

    Args:
        lifeline: the end of a pipe to read from; the other end's closing ends everything.
        loud: the payload keeps its output.

    Returns:
        0 if the payload ended by itself, 1 if with an error or by a signal, or a code of `ENDED`.
    """
    began, room = time.monotonic(), _room(plan)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _call('prctl', SET_DUMPABLE, 0, 0, 0, 0)
    _call('prctl', SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = os.fork()
    if not child:
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            signal.signal(signal.SIGINT, signal.default_int_handler)
            _call('prctl', SET_DUMPABLE, 1, 0, 0, 0)
            os.setsid()
            if not loud:
                _quiet()
            _restrict(plan.limits)
            if plan.mode != 'none':
                _refuse_sockets()
            os.environ.clear()
            os.environ.update(plan.variables())
            payload()
            os._exit(0)
        except SystemExit as error:
            os._exit(1 if error.code else 0)
        except BaseException:
            os._exit(1)
    if lifeline is not None:
        os.set_blocking(lifeline, False)
    why, status = None, None
    while status is None and why is None:
        signal.sigtimedwait({signal.SIGCHLD}, LOOK)
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                status = ended[1] if ended[0] == child else status
        if status is None:
            why = _fault(plan, began, room)
        with suppress(BlockingIOError):
            if lifeline is not None and not os.read(lifeline, 1):
                break
    while os.getpid() != 1 and (tree := _tree()):  # with the first process of a sandbox all others end
        for pid in tree:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.002)
    return CODE[why] if why else 0 if status == 0 else 1


def enter(plan: Plan, payload: Callable[[], None], loud: bool = False, lifeline: int | None = None) -> int:
    """Runs `payload` in a sandbox of its own and waits for its end; a code as of `watch`.

    The caller has one thread. Mode `bwrap` is for commands alone: see `modes.command`.

    Args:
        lifeline: the end of a pipe to read from; the other end's closing ends everything.

    Raises:
        OSError: the system does not allow it.
    """
    if plan.mode == 'none':
        return watch(plan, payload, lifeline, loud)
    root = os.geteuid() == 0
    user, group = os.geteuid(), os.getegid()
    if root:
        for where, _, names in os.walk(plan.folder):
            for path in (where, *(os.path.join(where, name) for name in names)):
                os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    read, write = os.pipe()
    _call('unshare', NEWNS | NEWPID | NEWNET | NEWIPC | NEWUTS | (0 if root else NEWUSER))
    if not root:
        _write_maps(user, group)
    first = os.fork()
    if not first:
        code = FAILED
        try:
            os.close(write)
            _build(plan)
            _drop()
            code = watch(plan, payload, read, loud)
        except OSError as error:
            if loud:
                print(f'sandbox: {error}', file=sys.stderr)
        finally:
            os._exit(code)
    os.close(read)
    if lifeline is None:
        return os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])
    return _keep(first, lifeline)


def keep(payload: Callable[[], None], lifeline: int) -> int:
    """Runs `payload` in a child without a sandbox; kills its session when the lifeline breaks, and returns its code."""
    child = os.fork()
    if not child:
        code = 1
        try:
            os.setsid()
            payload()
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        finally:
            os._exit(code)
    code = _keep(child, lifeline)
    with suppress(OSError):
        os.killpg(child, signal.SIGKILL)
    return code


def _keep(child: int, lifeline: int) -> int:
    """Waits for a child; kills it when the lifeline breaks."""
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if select.select([lifeline], [], [], 0.02)[0] and not os.read(lifeline, 1):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return 1


def die_with_parent() -> None:
    """Has the kernel kill this process when its parent dies."""
    _call('prctl', SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def main(arguments: Sequence[str]) -> int:
    """`PLAN COMMAND …`: runs the command in a sandbox."""
    die_with_parent()
    plan, line = Plan.read(arguments[0]), arguments[1:]

    def payload() -> None:
        os.chdir(plan.folder)
        os.execve(line[0], line, plan.variables())

    if plan.mode == 'watch':  # bubblewrap has built the rest
        return watch(plan, payload, loud=True)
    try:
        return enter(plan, payload, loud=True)
    except OSError as error:
        print(f'sandbox: {error}', file=sys.stderr)
        return FAILED


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
