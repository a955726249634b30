"""`make lab` with a real JupyterLab: the course's settings, no buttons of nbgrader, one server, tabs of the course
alone."""
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

from internlm_course import cli
from internlm_course.lab import jupyter
from internlm_course.process import free_port

HOME = Path(__file__).resolve().parents[3]


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """The labs, as they are cloned."""
    shutil.copytree(HOME / 'labs', tmp_path / 'labs')
    return tmp_path


@pytest.fixture
def open_lab(course, monkeypatch) -> Iterator[subprocess.Popen]:
    """`make lab` in the course, by a user who has tabs of another project open in a JupyterLab of hers; gives the
    process."""
    for name in [name for name in os.environ if name.startswith(('JUPYTER', 'XDG_'))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv('HOME', str(course / 'home'))
    tabs = course / 'home' / '.jupyter' / 'lab' / 'workspaces' / 'default-37a8.jupyterlab-workspace'
    tabs.parent.mkdir(parents=True)
    tabs.write_text(json.dumps(dict(data={'foreign': 1}, metadata=dict(id='default'))))
    line = [sys.executable, '-m', 'internlm_course.cli', 'lab', '--folder', str(course), '--no-browser', '--port',
            str(free_port())]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        yield server
        server.terminate()


def test_a_second_make_lab_shows_the_one_that_runs_with_the_tabs_of_the_course_alone(
        course, open_lab, monkeypatch, capsys):
    for _ in range(900):  # three minutes, on a busy machine
        if address := jupyter.running(course):
            break
        assert open_lab.poll() is None
        time.sleep(0.2)
    opened = []
    monkeypatch.setattr(jupyter.webbrowser, 'open', opened.append)
    monkeypatch.setattr(jupyter.os, 'execve', lambda *_: pytest.fail('a second server'))
    for more in ([], ['--no-browser']):
        assert cli.main(['lab', '--folder', str(course), *more]) == 0
        assert capsys.readouterr().out == f'already open at · 已经打开：{address}\n' and opened == [address]
    assert jupyter.running(course / 'labs') is None and '/lab/tree/work/START' in address
    with urlopen(address) as answer:
        assert answer.status == 200

    def tabs(**change) -> dict:
        base, token = re.fullmatch(r'(.+?)/lab/.+token=(\w+)', address).groups()
        with urlopen(Request(f'{base}/lab/api/workspaces/default', headers=dict(Authorization=f'token {token}'),
                             **change)) as answer:
            return json.loads(answer.read() or '{}')
    assert tabs()['data'] == {}
    tabs(method='PUT', data=b'{"data": {"mine": 1}, "metadata": {"id": "default"}}')
    assert tabs()['data'] == {'mine': 1} and len(list((course / 'work').glob('.tabs/*'))) == 1
    open_lab.terminate()
    open_lab.wait(60)
    assert jupyter.running(course) is None


def test_jupyterlab_is_local_and_of_this_environment(tmp_path):
    line = jupyter.command(tmp_path, 8899, browser=False)
    assert line[:3] == [sys.executable, '-m', 'jupyterlab'] and '--ServerApp.ip=127.0.0.1' in line
    assert '--no-browser' in line
    assert '--LabApp.default_url=/lab' in line and '--ServerApp.port=8899' in line
    assert jupyter.environment()['JUPYTER_PREFER_ENV_PATH'] == '1'


def test_jupyterlab_takes_our_settings():
    """JupyterLab itself reads them: every plugin and key exists in its schemas."""
    script = ('import json; from jupyter_server.services.config.manager import ConfigManager; from jupyterlab.commands '
              'import get_app_dir\n'
              'from pathlib import Path\n'
              'found = ConfigManager(config_dir_name="labconfig").get("default_setting_overrides")\n'
              'for plugin, settings in found.items():\n'
              '    name, part = plugin.split(":")\n'
              '    schema = json.loads((Path(get_app_dir()) / "schemas" / name / f"{part}.json").read_text("utf-8"))\n'
              '    assert set(settings) <= set(schema["properties"]), plugin\n'
              'print(len(found))')
    done = subprocess.run([sys.executable, '-c', script], env=jupyter.environment(), capture_output=True, text=True)
    settings = json.loads((jupyter.SETTINGS / 'labconfig' / 'default_setting_overrides.json').read_text('utf-8'))
    assert done.stdout.strip() == str(len(settings)), done.stderr


def test_nbgraders_buttons_are_not_in_the_students_jupyterlab(tmp_path):
    """The server itself: the page leaves out the extension in the browser, and none of its addresses answers."""
    home, port = str(tmp_path), free_port()
    line = [*jupyter.command(tmp_path, port, browser=False), '--IdentityProvider.token=t', '--ServerApp.port_retries=0']
    server = subprocess.Popen(line,
                              env=dict(jupyter.environment(), HOME=home, JUPYTER_CONFIG_DIR=home,
                                       JUPYTER_DATA_DIR=home),
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def status_and_text(address: str) -> tuple[int, str]:
        try:
            with urlopen(f'http://127.0.0.1:{port}/{address}?token=t', timeout=60) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, ''
    try:
        for _ in range(300):  # a minute, on a busy machine
            try:
                status, text = status_and_text('lab')
                break
            except URLError:
                assert server.poll() is None
                time.sleep(0.2)
        page = json.loads(re.search('id="jupyter-config-data"[^>]*>(.*?)</script>', text, re.S)[1])
        assert status == 200 and '@jupyter/nbgrader' in page['disabledExtensions']
        assert ([status_and_text(address)[0] for address in ('api', 'formgrader', 'assignments', 'nbgrader_version')]
                == [200, 404, 404, 404])
    finally:
        server.terminate()
        server.wait(30)


def test_commands_refuse_what_is_not_there(capsys, tmp_path):
    assert cli.main(['lab', '--folder', str(tmp_path / 'none')]) == 2
    assert cli.main(['notebooks', '--folder', str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert 'There is no folder' in err and 'There are no labs' in err
