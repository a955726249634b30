"""Tools in processes of their own: XTuner, LMDeploy, OpenCompass import for 10 to 20 s and hold a gigabyte, so none
lives in the caller."""
import ctypes
import os
import re
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from internlm_course.errors import CourseError

HOST = '127.0.0.1'
PROXIES, NO_PROXY = ('http_proxy', 'https_proxy', 'all_proxy'), ('no_proxy', 'NO_PROXY')
TELLING = re.compile(r'error|exception|killed|no space|cannot|refused|not found|denied|out of memory', re.I)


def die_with_parent() -> None:
    """Asks the kernel to kill this process when its parent dies (Linux), so that `kill -9` of the course leaves no
    orphan."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def open_loopback() -> None:
    """Sees to it that programs of this computer reach each other on 127.0.0.1: past any proxy, and in a new network
    namespace (`unshare -n`), which has the interface but has not brought it up.

    Raises:
        CourseError: it is down, and this user may not bring it up.
    """
    bypass_proxies(os.environ)
    with socket.create_server((HOST, 0)) as server, socket.socket() as client:
        try:
            client.connect(server.getsockname())
            return
        except OSError:
            pass
        try:
            import fcntl
            # Linux/sockios.h SIOCSIFFLAGS, linux/if.h IFF_UP
            fcntl.ioctl(client, 0x8914, struct.pack('16sh14x', b'lo', 0x1))
        except (ImportError, OSError) as error:
            raise CourseError(f'The loopback interface, over which the tools talk on {HOST}, is down, and cannot be '
                              f'brought up here: {error}.',
                              'Bring it up as root: ip link set lo up') from error


def bypass_proxies(environment: MutableMapping[str, str]) -> None:
    """Has clients with this environment reach 127.0.0.1 directly, and everything else as before."""
    named = [name.strip() for variable in NO_PROXY for name in environment.get(variable, '').split(',') if name.strip()]
    names = ['*'] if '*' in named else list(dict.fromkeys([*named, HOST, 'localhost']))
    environment.update(dict.fromkeys(NO_PROXY, ','.join(names)))


def openai_client(url: str, **options: Any):
    """An OpenAI client for a served model, and on this computer one that looks at no proxy: httpx stops at a SOCKS
    address that it cannot use, even where no_proxy says that it need not.

    Args:
        url: the server's address, ending in /v1.
        options: of `openai.OpenAI`.
    """
    from openai import DefaultHttpxClient, OpenAI
    open_loopback()
    here = urlsplit(url).hostname in (HOST, 'localhost')
    return OpenAI(base_url=url, api_key='none', http_client=DefaultHttpxClient(trust_env=not here), **options)


def free_port(taken: Collection[int] = ()) -> int:
    """A port of 127.0.0.1 that nothing listens on at this moment, and none of those that will be `taken`."""
    while True:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            if (port := probe.getsockname()[1]) not in taken:
                return port


def port_fault(port: int) -> str:
    """Why a port of 127.0.0.1 cannot be used, because another program listens on it or it is none; '' if it can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT can be taken
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            return getattr(error, 'strerror', None) or str(error)
    return ''


def tool_environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a tool's process: offline, without proxies, quiet, in UTF-8, with its caches under `home`
    instead of the user's own folder."""
    env = {name: value for name, value in os.environ.items() if name.lower() not in PROXIES}
    bypass_proxies(env)
    env.update(HF_HOME=str(home), HF_HUB_OFFLINE='1', TRANSFORMERS_OFFLINE='1', HF_DATASETS_OFFLINE='1',
               TOKENIZERS_PARALLELISM='false', PYTHONUNBUFFERED='1', HF_HUB_DISABLE_TELEMETRY='1',
               PYTHONUTF8='1', PYTHONIOENCODING='utf-8:replace')
    # A folder holding a file such as `awq.py` on the path would shadow packages: tools see the installed course only.
    env['PYTHONPATH'] = str(Path(__file__).resolve().parent.parent)
    env.update(extra or {})
    return env


def telling_lines(log: Path, count: int = 3) -> str:
    """The last lines of a log that say what went wrong, for an error message."""
    lines = ([line.strip() for line in log.read_text('utf-8', 'replace').splitlines() if line.strip()] if log.exists()
             else [])
    telling = [line for line in lines if TELLING.search(line)] or lines
    return ' | '.join(line[:200] for line in telling[-count:])


def start_tool(module: str, arguments: Sequence[str], log: Path, home: Path,
               extra: Mapping[str, str] | None = None) -> subprocess.Popen:
    """Starts `python -m module arguments` with stdout and stderr in `log`, in its own session; the module calls
    `die_with_parent`."""
    open_loopback()
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, 'ab') as stream:
        return subprocess.Popen([sys.executable, '-m', module, *arguments], stdin=subprocess.DEVNULL, stdout=stream,
                                stderr=stream,
                                env=tool_environment(home, extra), cwd=log.parent, start_new_session=True)


def run_tool(module: str, arguments: Sequence[str], log: Path, home: Path,
             extra: Mapping[str, str] | None = None, watch: Callable[[], None] = lambda: None) -> None:
    """Runs a tool to its end, and calls `watch` twice a second meanwhile and once after it.

    Raises:
        CourseError: the tool left with another code than 0; the message shows the log's telling lines.
    """
    process = start_tool(module, arguments, log, home, extra)
    try:
        while process.poll() is None:
            watch()
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
        watch()
    except BaseException:
        stop_tool(process)
        raise
    if code := process.returncode:
        raise CourseError(f'{module} stopped with code {code}: {telling_lines(log)}', f'The whole log is in {log}.')


def stop_tool(process: subprocess.Popen, grace: float = 5.0) -> None:
    """Ends a tool and everything that it started: SIGTERM to its session, then SIGKILL."""
    for sign, wait in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(process.pid, sign)
            process.wait(wait)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
