"""JupyterLab as the course wants it: this environment's kernel, 127.0.0.1 only, the work folder's page to land on, fonts with Chinese, no news
from the net, and none of nbgrader's buttons: its Validate would call a notebook good that is not."""
import os
import sys
from pathlib import Path

from internlm_course.classroom import workspace
from internlm_course.errors import CourseError
from internlm_course.process import HOST, open_loopback

SETTINGS = Path(__file__).parent / 'settings'


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
    line = [sys.executable, '-m', 'jupyterlab', f'--ServerApp.ip={HOST}', f'--ServerApp.root_dir={folder.resolve()}',
            f'--LabApp.default_url={landing(folder)}']
    root = hasattr(os, 'geteuid') and os.geteuid() == 0  # in containers there is often no other user, and Jupyter would refuse
    return line + ([f'--ServerApp.port={port}'] if port else []) + ([] if browser else ['--no-browser']) + (['--allow-root'] if root else [])


def environment() -> dict[str, str]:
    """The environment of JupyterLab: our settings beside the user's own (which win), and the kernel of this Python before any other."""
    here = os.pathsep.join(filter(None, (str(SETTINGS), os.environ.get('JUPYTER_CONFIG_PATH'))))
    return dict(os.environ, JUPYTER_CONFIG_PATH=here, JUPYTER_PREFER_ENV_PATH='1')


def main(folder: Path, port: int | None = None, browser: bool = True) -> None:
    """Prepares the work folder and becomes JupyterLab, so that whatever ends this process ends it too; does not return.

    Raises:
        CourseError: there is no such folder, or work/ cannot be written.
    """
    for news in workspace.prepare(folder):
        print(f'{news["en"]} · {news["zh"]}', flush=True)
    line = command(folder, port, browser)
    open_loopback()
    os.execve(line[0], line, environment())
