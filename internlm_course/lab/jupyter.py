"""JupyterLab as the course wants it: this environment's kernel, 127.0.0.1 only, the work folder's page to land on, tabs
of the course alone, fonts with Chinese, no news from the net, and none of nbgrader's buttons: its Validate would call a
notebook good that is not."""
import os
import sys
import webbrowser
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from internlm_course.errors import CourseError
from internlm_course.lab import workspace
from internlm_course.process import HOST, open_loopback

SETTINGS = Path(__file__).parent / 'settings'
JUPYTERLAB = [sys.executable, '-m', 'jupyterlab']


def landing(folder: Path) -> str:
    """The page that JupyterLab opens: that of the work folder, in the language of the user."""
    page = Path(workspace.FOLDER, workspace.PAGES[workspace.language()])
    return f'/lab/tree/{page.as_posix()}' if (folder / page).is_file() else '/lab'


def command(folder: Path, port: int | None = None, browser: bool = True) -> list[str]:
    """JupyterLab's command line.

    Raises:
        CourseError: there is no such folder.
    """
    if not folder.is_dir():
        raise CourseError(f'There is no folder {folder}.', 'Give the folder of the course with --folder.')
    line = [*JUPYTERLAB, f'--ServerApp.ip={HOST}', f'--ServerApp.root_dir={folder.resolve()}',
            f'--LabApp.default_url={landing(folder)}',
            # Else tabs of other projects open, too
            f'--LabApp.workspaces_dir={folder.resolve() / workspace.FOLDER / ".tabs"}']
    # In containers there is often no other user, and Jupyter would refuse
    root = hasattr(os, 'geteuid') and os.geteuid() == 0
    return (line + ([f'--ServerApp.port={port}'] if port else []) + ([] if browser else ['--no-browser'])
            + (['--allow-root'] if root else []))


def environment() -> dict[str, str]:
    """The environment of JupyterLab: our settings beside the user's own (which win), and the kernel of this Python
    before any other."""
    here = os.pathsep.join(filter(None, (str(SETTINGS), os.environ.get('JUPYTER_CONFIG_PATH'))))
    return dict(os.environ, JUPYTER_CONFIG_PATH=here, JUPYTER_PREFER_ENV_PATH='1')


def running(folder: Path) -> str | None:
    """The address of the JupyterLab of this environment that serves the folder already and answers; None if there is
    none."""
    import psutil
    from jupyter_server.serverapp import list_running_servers
    for server in list_running_servers():
        with suppress(psutil.Error, OSError, HTTPException):  # it ended, its number is another program's, or it hangs
            if (psutil.Process(server['pid']).cmdline()[:3] == JUPYTERLAB
                and Path(server['root_dir']) == folder.resolve()):
                urlopen(f'{server["url"]}api', timeout=5).close()
                return f'{server["url"].rstrip("/")}{landing(folder)}?token={server["token"]}'
    return None


def main(folder: Path, port: int | None = None, browser: bool = True) -> None:
    """Prepares the work folder and becomes JupyterLab, so that whatever ends this process ends it too; returns only
    where one runs there already.

    Raises:
        CourseError: there is no such folder, or work/ cannot be written.
    """
    for news in workspace.prepare(folder):
        print(f'{news["en"]} · {news["zh"]}', flush=True)
    line = command(folder, port, browser)
    open_loopback()
    if address := running(folder):
        print(f'already open at · 已经打开：{address}', flush=True)
        if browser:
            webbrowser.open(address)
        return
    os.execve(line[0], line, environment())


def enter(folder: Path, server: list[str]) -> None:
    """Prepares the work folder and becomes somebody else's server, such as Binder's, with the course's page and
    settings; any other program it becomes as it is."""
    try:
        workspace.prepare(folder)
    except CourseError as error:  # a server without the copies is better than none
        print(error, file=sys.stderr, flush=True)
    page = [f'--{app}.default_url={landing(folder)}' for app in ('ServerApp', 'LabApp', 'JupyterNotebookApp')]
    os.execvpe(server[0], [*server, *(page if 'jupyter' in server[0] else [])], environment())


if __name__ == '__main__':
    enter(Path(), sys.argv[1:])
