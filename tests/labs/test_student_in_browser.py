"""A student's first hour in real JupyterLab, played in Chromium: she answers wrongly, then rightly, restarts, leaves, comes back, updates; nothing is lost."""
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from browser import CHROMIUM, CONTROL, SHIFT, Page, chromium, wait

from internlm_course.classroom import build
from internlm_course.process import free_port

HOME = Path(__file__).resolve().parents[2]
CLONED = ('internlm_course', 'labs', 'lectures', 'tests', '.gitignore', 'Makefile', 'pyproject.toml')
LAB = '01_full_chain'
SHOWN = 'jupyterapp.shell.currentWidget'

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not shutil.which(CHROMIUM), reason='no Chromium here: the student in JupyterLab did not run')]


def call(*command: str | Path, folder: Path, environment: dict[str, str]) -> str:
    """What a command in her terminal prints; it must not fail."""
    done = subprocess.run(command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of a terminal of hers: a home of her own, in which JupyterLab lets scripts find their way, and the package of her clone."""
    settings = tmp_path / 'home' / '.jupyter' / 'jupyter_lab_config.py'
    settings.parent.mkdir(parents=True)
    settings.write_text('c.LabApp.expose_app_in_browser = True\n')
    kept = {name: value for name, value in os.environ.items() if not name.startswith(('JUPYTER', 'XDG_', 'LC_', 'GIT_', 'INTERNLM_', 'PYTEST_'))}
    git = {f'GIT_{who}_{what}': 'author@example.org' for who in ('AUTHOR', 'COMMITTER') for what in ('NAME', 'EMAIL')}
    return dict(kept, HOME=str(tmp_path / 'home'), LANG='C.UTF-8', PYTHONPATH=str(tmp_path / 'hers'), **git)


@pytest.fixture
def upstream(tmp_path: Path, environment) -> Path:
    """The course's repository, with the files as they are here; `hers` beside it is her clone."""
    folder = tmp_path / 'upstream'
    folder.mkdir()
    for name in CLONED:
        (shutil.copytree if (HOME / name).is_dir() else shutil.copyfile)(HOME / name, folder / name)
    for command in ('init -q', 'add .', 'commit -q -m course', f'clone -q . {tmp_path / "hers"}'):
        call('git', *command.split(), folder=folder, environment=environment)
    return folder


@contextmanager
def jupyterlab(hers: Path, environment: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Runs `internlm-course lab`: the address that it prints, and what it says before."""
    log = hers.parent / 'lab.log'
    line = [sys.executable, '-m', 'internlm_course.cli', 'lab', '--no-browser', '--port', str(free_port())]
    with log.open('w') as out, subprocess.Popen(line, cwd=hers, env=environment, stdout=out, stderr=out) as server:
        try:
            address = wait(lambda: re.search(r'http://127\S+token=\S+', log.read_text('utf-8')))
            yield address[0], log.read_text('utf-8')[:address.start()]
        finally:
            server.terminate()
            server.wait(30)


class Student:
    """Somebody before a notebook that is open in JupyterLab."""

    def __init__(self, page: Page, link: str):
        """Opens the notebook by its link on the page to land on."""
        self.page = page
        page.click(f'[...{SHOWN}.node.querySelectorAll("a")].find(link => link.textContent.startsWith("{link}"))')
        page.wait(f'{SHOWN}.sessionContext?.session?.kernel?.status == "idle"')

    def cell(self, name: str) -> str:
        """A cell, in JavaScript."""
        return f'{SHOWN}.content.widgets.find(cell => cell.model.id == "{name}")'

    def run(self, name: str, answer: str | None = None) -> None:
        """Goes to a cell, writes an answer into it if there is one, and presses Shift+Enter."""
        cell = self.cell(name)
        self.page.value(f'{SHOWN}.content.activeCellIndex = {SHOWN}.content.widgets.indexOf({cell})')
        self.page.value(f'{SHOWN}.content.scrollToCell({cell}, "center")')
        self.page.click(f'{cell}.node.querySelector(".cm-content")')
        if answer:
            self.page.press('a', CONTROL)
            self.page.write(answer)
            assert self.source(name) == answer
        self.page.value(f'{cell}.model.executionCount = null')
        self.page.press('Enter', SHIFT)
        self.page.wait(f'{cell}.model.executionCount')

    def source(self, name: str) -> str:
        return self.page.value(f'{self.cell(name)}.model.sharedModel.source')

    def sees(self, name: str, *texts: str) -> None:
        """Waits until a cell's output shows the texts."""
        for text in texts:
            self.page.wait(f'{self.cell(name)}.outputArea.node.textContent.includes({text!r})', 20)

    def choose(self, menu: str, item: str) -> None:
        for part, text in (('MenuBar', menu), ('Menu', item)):
            self.page.click(f'[...document.querySelectorAll(".lm-{part}-item")].find(item => item.textContent.startsWith({text!r}))')

    def save(self) -> None:
        self.page.press('s', CONTROL)
        self.page.wait(f'!{SHOWN}.context.model.dirty')


def test_nothing_of_hers_is_lost_and_nothing_fails(tmp_path, upstream, environment):
    hers, work = tmp_path / 'hers', tmp_path / 'hers' / 'work'
    own, source = work / f'{LAB}.ipynb', upstream / 'labs' / 'src' / f'{LAB}.py'
    right = {cell.id: cell.source for cell in build.reference(source).cells}
    wrong = right['template'].replace(r"assistant\n'", "assistant'")
    table = f'{SHOWN}?.context?.path == "work/START.md" && {SHOWN}.node.querySelector("table")?.textContent'
    with chromium(tmp_path / 'chromium') as show:
        with jupyterlab(hers, environment) as (address, _):
            page = show(address)
            assert 'not started yet' in page.wait(table)
            page.picture(tmp_path / 'landing.png')
            she = Student(page, 'Lab 1')
            she.run('setup')
            she.sees('setup', 'Budget')
            for answer, sign, points in ((wrong, '✗ chat_text', '0 of 2 points'), (right['template'], '✓ chat_text', '2 of 2 points')):
                she.run('template', answer)
                she.run('template-light')
                she.sees('template-light', sign, *(['mind each newline'] if answer == wrong else []))
                she.run('check-template')
                she.sees('check-template', points)
            she.run('parameters', right['parameters'])
            she.run('parameters-light')
            she.sees('parameters-light', '✓ parameters')
            she.run('check-parameters')
            she.sees('check-parameters', '2 of 2 points')
            page.picture(tmp_path / 'solved.png')
            she.save()

            she.choose('Kernel', 'Restart Kernel…')
            page.click('document.querySelector(".jp-Dialog .jp-mod-accept")')
            page.wait(f'!document.querySelector(".jp-Dialog") && {SHOWN}.sessionContext.session.kernel.status == "idle"')
            for name in ('setup', 'template', 'template-light', 'check-template'):
                she.run(name)
            assert page.value(f'{she.cell("setup")}.model.executionCount') == 1  # a new kernel
            she.sees('check-template', '2 of 2 points')
            page.picture(tmp_path / 'restarted.png')
            she.save()

            page = show(address)
            page.wait(table)
            she = Student(page, 'Lab 1')
            assert {name: she.source(name) for name in ('template', 'parameters')} == {name: right[name] for name in ('template', 'parameters')}
            she.sees('check-parameters', '2 of 2 points')
            before = {path: path.read_bytes() for path in work.rglob('*.ipynb')}
            assert 'make lab' in call('make', 'labs', folder=hers, environment=environment)
            source.write_text(source.read_text('utf-8').replace('the whole chain in five minutes', 'the whole chain, revised'), 'utf-8')
            nbformat.write(build.student(source), upstream / 'labs' / own.name)
            call('git', 'commit', '-q', '-a', '-m', 'revised', folder=upstream, environment=environment)
            call('git', 'pull', '-q', '--ff-only', folder=hers, environment=environment)
            call(sys.executable, '-m', 'pytest', '-q', 'tests/unit/test_workspace.py', folder=hers, environment=environment)
            assert {path: path.read_bytes() for path in before} == before
        with jupyterlab(hers, environment) as (address, said):
            assert f'{LAB}.ipynb has a newer release' in said and 'your answers to template, parameters' in said
            page = show(address)
            assert '2 of 6 exercises, 4 of 14 points' in page.wait(table)
            page.picture(tmp_path / 'update.png')
            she = Student(page, 'newer release')
            assert she.source('template') == right['template'] and 'revised' in she.source('title')
    assert own.read_bytes() == before[own] and not call('git', 'status', '--porcelain', folder=hers, environment=environment)
