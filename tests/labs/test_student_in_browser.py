"""A student's first hour in real JupyterLab, played in Chromium: she answers wrongly, then rightly, restarts, leaves,
comes back, updates; nothing is lost."""
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
from browser import CHROMIUM, CONTROL, SHIFT, Page, chromium, running, wait

from internlm_course.authoring import build
from internlm_course.process import free_port

HOME = Path(__file__).resolve().parents[2]
CLONED = ('internlm_course', 'labs', 'lectures', 'tests', '.gitignore', 'Makefile', 'pyproject.toml')
LAB = '01_full_chain'
SHOWN = 'jupyterapp.shell.currentWidget'
TABLE = (f'window.jupyterapp && {SHOWN}?.context?.path == "work/START.md" && '
         f'{SHOWN}.node.querySelector("table")?.textContent')

pytestmark = [pytest.mark.slow,
              pytest.mark.skipif(not shutil.which(CHROMIUM),
                                 reason='no Chromium here: the student in JupyterLab did not run')]


def call(*command: str | Path, folder: Path, environment: dict[str, str]) -> str:
    """What a command in her terminal prints; it must not fail."""
    done = subprocess.run(command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of a terminal of hers: a home of her own, in which JupyterLab lets scripts find their way, and the package of her
    clone."""
    settings = tmp_path / 'home' / '.jupyter' / 'jupyter_lab_config.py'
    settings.parent.mkdir(parents=True)
    settings.write_text('c.LabApp.expose_app_in_browser = True\n')
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(('JUPYTER', 'XDG_', 'LC_', 'GIT_', 'INTERNLM_', 'PYTEST_'))}
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
def jupyterlab(hers: Path, environment: dict[str, str], log: Path) -> Iterator[tuple[str, str]]:
    """Runs `internlm-course lab`: the address that it prints, and what it says before."""
    line, begin = (['-m', 'internlm_course.cli', 'lab', '--no-browser', '--port', str(free_port())], log.stat().st_size
                   if log.exists() else 0)
    with log.open('a') as out, running([sys.executable, *line], cwd=hers, env=environment, stdout=out, stderr=out):
        address = wait(lambda: re.search(r'http://127\S+token=\S+(?=\n)', log.read_text('utf-8')[begin:]))
        yield address[0], address.string[:address.start()]


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

    def goes_to(self, name: str) -> None:
        """Makes a cell the active one and scrolls to it: JupyterLab draws what is near the screen, and no more."""
        cell = self.cell(name)
        self.page.value(f'{SHOWN}.content.activeCellIndex = {SHOWN}.content.widgets.indexOf({cell})')
        self.page.value(f'{SHOWN}.content.scrollToCell({cell}, "center")')

    def run(self, name: str, answer: str | None = None) -> None:
        """Goes to a cell, writes an answer into it if there is one, and presses Shift+Enter."""
        cell = self.cell(name)
        self.goes_to(name)
        if answer:
            self.page.click(f'{cell}.node.querySelector(".cm-content")')
            self.page.press('a', CONTROL)
            self.page.write(answer)
            assert self.source(name) == answer
        else:
            self.page.value(f'{SHOWN}.content.mode = "command", {SHOWN}.content.node.focus()')
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
            self.page.click(f'[...document.querySelectorAll(".lm-{part}-item")].find(item => '
                            f'item.textContent.startsWith({text!r}))')

    def save(self) -> None:
        self.page.press('s', CONTROL)
        self.page.wait(f'!{SHOWN}.context.model.dirty')


def solve(she: Student, right: dict[str, str]) -> None:
    """Two exercises, the first wrongly and under another name before rightly; the light and the check say so."""
    wrong, misspelt = right['template'].replace(r"assistant\n'",
                                                "assistant'"), right['template'].replace('chat_text', 'chat_txt')
    she.run('setup')
    she.sees('setup', 'Budget')
    for exercise, answer, said, points in (('template', wrong, ('✗ chat_text', 'expected', 'mind each newline'), 0),
                                           ('template', misspelt,
                                            ('✗ chat_text', 'an older version is still in memory'), 0),
                                           ('template', right['template'], ('✓ chat_text',), 2),
                                           ('parameters', right['parameters'], ('✓ parameters',), 2)):
        she.run(exercise, answer)
        she.run(f'{exercise}-light')
        she.sees(f'{exercise}-light', *said)
        she.run(f'check-{exercise}')
        she.sees(f'check-{exercise}', f'{points} of 2 points')


def restart(she: Student) -> None:
    """A new kernel, in which her answer is as good as before."""
    she.choose('Kernel', 'Restart Kernel…')
    she.page.click('document.querySelector(".jp-Dialog .jp-mod-accept")')
    she.page.wait(f'!document.querySelector(".jp-Dialog") && {SHOWN}.sessionContext.session.kernel.status == "idle"')
    for name in ('setup', 'template', 'template-light', 'check-template'):
        she.run(name)
    assert she.page.value(f'{she.cell("setup")}.model.executionCount') == 1
    she.sees('check-template', '2 of 2 points')


def update(upstream: Path, hers: Path, environment: dict[str, str]) -> None:
    """The slip of one letter, a pull of a lab that was revised, and the tests that look at notebooks."""
    assert 'make lab' in call('make', 'labs', folder=hers, environment=environment)
    source = upstream / 'labs' / 'src' / f'{LAB}.py'
    source.write_text(source.read_text('utf-8').replace('the whole chain in five minutes', 'the whole chain, revised'),
                      'utf-8')
    nbformat.write(build.student(source), upstream / 'labs' / f'{LAB}.ipynb')
    call('git', 'commit', '-q', '-a', '-m', 'revised', folder=upstream, environment=environment)
    call('git', 'pull', '-q', folder=hers, environment=environment)
    call(sys.executable, '-m', 'pytest', '-q', 'tests/unit/lab/test_workspace.py', folder=hers, environment=environment)
    assert call('git', 'status', '--porcelain', folder=hers, environment=environment) == ''


def test_nothing_of_hers_is_lost_and_nothing_fails(tmp_path, upstream, environment):
    hers, log = tmp_path / 'hers', tmp_path / 'lab.log'
    right = {cell.id: cell.source for cell in build.reference(HOME / 'labs' / 'src' / f'{LAB}.py').cells}
    with chromium(tmp_path / 'chromium') as show:
        with jupyterlab(hers, environment, log) as (address, _):
            page = show(address)
            assert 'not started yet' in page.wait(TABLE)
            page.picture(tmp_path / 'landing.png')
            she = Student(page, 'Lab 1')
            # It goes into the notebook's metadata
            page.value(f'{SHOWN}.sessionContext.session.kernel.info.then(info => info.status)')
            assert not page.value(f'{SHOWN}.context.model.dirty'), 'unsaved as soon as it is open'
            solve(she, right)
            page.picture(tmp_path / 'solved.png')
            she.save()
            restart(she)
            page.picture(tmp_path / 'restarted.png')
            she.save()
            page = show(address)
            page.wait(TABLE)
            she = Student(page, 'Lab 1')
            assert all(she.source(name) == right[name] for name in ('template', 'parameters'))
            she.sees('check-parameters', '2 of 2 points')
            she.goes_to('check-parameters')
            page.wait(f'{she.cell("check-parameters")}.node.querySelector(".jp-InputPrompt")?.offsetHeight')
            before = {path: path.read_bytes() for path in hers.glob('work/**/*.ipynb')}
            update(upstream, hers, environment)
        with jupyterlab(hers, environment, log) as (address, said):
            assert f'{LAB}.ipynb has a newer release' in said and 'your answers to template, parameters' in said
            page = show(address)
            assert '2 of 6 exercises, 4 of 14 points' in page.wait(TABLE)
            page.picture(tmp_path / 'update.png')
            she = Student(page, 'newer release')
            assert all(she.source(name) == right[name] for name in ('template', 'parameters'))
            assert 'revised' in she.source('title')
    assert len(before) >= 6 and {path: path.read_bytes() for path in before} == before
    assert 'Traceback' not in log.read_text('utf-8')
