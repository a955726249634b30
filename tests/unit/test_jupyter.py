"""`make lab` with a real JupyterLab: a second call shows the one that runs, and its tabs are those of the course alone."""
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from internlm_course import cli
from internlm_course.lab import jupyter
from internlm_course.process import free_port

HOME = Path(__file__).resolve().parents[2]


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """The labs, as they are cloned."""
    shutil.copytree(HOME / 'labs', tmp_path / 'labs')
    return tmp_path


@pytest.fixture
def open_lab(course, monkeypatch) -> Iterator[subprocess.Popen]:
    """`make lab` in the course, by a user who has tabs of another project open in a JupyterLab of hers; gives the process."""
    for name in [name for name in os.environ if name.startswith(('JUPYTER', 'XDG_'))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv('HOME', str(course / 'home'))
    tabs = course / 'home' / '.jupyter' / 'lab' / 'workspaces' / 'default-37a8.jupyterlab-workspace'
    tabs.parent.mkdir(parents=True)
    tabs.write_text(json.dumps(dict(data={'foreign': 1}, metadata=dict(id='default'))))
    line = [sys.executable, '-m', 'internlm_course.cli', 'lab', '--folder', str(course), '--no-browser', '--port', str(free_port())]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        yield server
        server.terminate()


def test_a_second_make_lab_shows_the_one_that_runs_with_the_tabs_of_the_course_alone(course, open_lab, monkeypatch, capsys):
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
        with urlopen(Request(f'{base}/lab/api/workspaces/default', headers=dict(Authorization=f'token {token}'), **change)) as answer:
            return json.loads(answer.read() or '{}')
    assert tabs()['data'] == {}
    tabs(method='PUT', data=b'{"data": {"mine": 1}, "metadata": {"id": "default"}}')
    assert tabs()['data'] == {'mine': 1} and len(list((course / 'work').glob('.tabs/*'))) == 1
    open_lab.terminate()
    open_lab.wait(60)
    assert jupyter.running(course) is None
