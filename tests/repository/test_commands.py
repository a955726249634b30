"""The commands that the README shows work as written, from a fresh clone in a plain shell; bare `make` is harmless and
says what there is."""
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from internlm_course import cli

HOME = Path(__file__).resolve().parents[2]
MAKEFILE = (HOME / 'Makefile').read_text('utf-8').replace('$(DOCTOR)', '$(COURSE) doctor')  # once .venv is there
SYSTEM = {'git', 'cd', 'cp', 'conda', 'sudo', 'python3'}  # what the README tells one to have, or to install


def commands(text: str) -> list[str]:
    """The lines of shell blocks, and what stands in backticks and begins with a path of ours, `make`, or the name of an
    installed program."""
    blocks = re.findall(r'```(?:bash|sh|shell|console)\n(.*?)```', text, re.S)
    found = [line.split('#')[0].strip().removeprefix('$ ') for block in blocks for line in block.splitlines()]
    spans = [' '.join(span.split()) for span in re.findall(r'`([^`]+)`', re.sub(r'```.*?```', '', text, flags=re.S))]
    installed = {path.name for path in Path(sys.executable).parent.iterdir()}
    return [line for line in found if line] + [span for span in spans if span.startswith(('./', '.venv/'))
                                               or span in ('make', 'internlm-course')
                                               or ' ' in span and span.split()[0] in installed | SYSTEM | {'make'}]


def fault(command: str) -> str | None:
    """Why a command does not work as written; None if it does."""
    program, *rest = shlex.split(command)
    if program == 'make':
        return make_fault(rest)
    if program == '.venv/bin/internlm-course' and rest:
        return tool_fault(rest)
    if program == 'cp' and not (HOME / rest[0]).exists():
        return f'{rest[0]} is not there'
    if program.startswith('.venv/bin/'):
        return None if (Path(sys.executable).parent / Path(program).name).exists() else f'{program} is not installed'
    if '/' in program:
        return (None if (HOME / program).is_file() and (HOME / program).stat().st_mode & 0o111
                else f'{program} is no program')
    return None if program in SYSTEM else f'{program} is not found without .venv/bin/'


def tool_fault(words: list[str]) -> str | None:
    """The same for the words behind `internlm-course`."""
    if words[1:] or words[0].startswith('-'):  # a command's bare name is how a text speaks of it
        try:
            cli.parser().parse_args(words)
        except SystemExit:
            return f'internlm-course does not take {shlex.join(words)}'
    return None


def make_fault(words: list[str]) -> str | None:
    """The same for the words behind `make`: targets and variables exist, and the command line tool takes what ARGS
    hands it."""
    settings = dict(word.split('=', 1) for word in words if '=' in word)
    targets = [word for word in words if '=' not in word]
    for target in targets:
        if not re.search(rf'(?m)^{re.escape(target)}:.* ## ', MAKEFILE):
            return f'make has no target {target}'
    for name in settings:
        if not re.search(rf'(?m)^{name} \?=', MAKEFILE):
            return f'make knows no {name}'
    recipe = re.search(rf'(?m)^{targets[-1] if targets else "help"}:.*\n\t.*\$\(COURSE\) (.+)', MAKEFILE)
    if recipe and settings.get('ARGS'):
        defaults = dict(re.findall(r'(?m)^([A-Z]+) \?= ?(.*)$', MAKEFILE))
        line = re.sub(r'\$\(([A-Z]+)\)', lambda name: {**defaults, **settings}[name[1]], recipe[1])
        return tool_fault(shlex.split(line))
    return None


@pytest.mark.parametrize('name, many', [
    ('README.md', 10), ('README.zh.md', 10), ('guides/en/instructor.md', 15), ('guides/zh/instructor.md', 15),
    ('guides/en/student.md', 4), ('guides/zh/student.md', 4)])
def test_commands_work_as_written(name, many):
    found = commands((HOME / name).read_text('utf-8'))
    assert len(found) >= many and 'make lab' in found
    assert [(command, fault(command)) for command in found if fault(command)] == []


@pytest.mark.parametrize('text, why', [
    ('```bash\nmake nothing  # a comment\n```', 'no target nothing'), ('`make labs`', 'no target labs'),
    ('`internlm-course serve`', 'not found without'),
    ('`internlm-course`', 'not found without'), ("`make serve ARGS='--prot 1'`", 'does not take'),
    ('`make run SCALES=7b`', 'knows no SCALES'),
    ('`make grade OUT=x ARGS=--rooster`', 'does not take'), ('`.venv/bin/internlm-course grade in`', 'does not take'),
    ('`cp guides/nothing.py x`', 'is not there'), ('`./nothing`', 'no program'),
    ('`.venv/bin/nothing x`', 'not installed'),
    ('`torchrun -m\nx`', 'not found without')])
def test_a_command_that_does_not_work_is_caught(text, why):
    command, = commands(text)
    assert why in fault(command)


def test_what_is_no_command_is_left_alone():
    assert (commands('`base`, `awq.py`, `7b`, `ray`, `What is 7+8?`, `TORCH=cpu`, `[tool.uv]`, `runs/tiny/report.html`')
            == [])
    assert [fault(command)
            for command in commands("`make run ARGS='--seed 1'` `./postBuild` `.venv/bin/torchrun -m x` ")] == [
                None] * 3


@pytest.mark.parametrize('words', [[], ['help']])
def test_bare_make_only_says_what_there_is(tmp_path, words):
    """In a folder with nothing else: whatever it would start, it could not."""
    shutil.copy(HOME / 'Makefile', tmp_path)
    done = subprocess.run(['make', *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ''
    told = dict(re.findall(r'(?m)^  make ([a-z]+) +(.+)$', done.stdout))
    targets = set(re.findall(r'(?m)^([a-z]+):.* ## ', MAKEFILE))
    assert set(told) == targets >= {'help', 'lab', 'run', 'test', 'notebooks'}
    assert all(' · ' in line for line in told.values()) and [path.name for path in tmp_path.iterdir()] == ['Makefile']


def test_make_labs_one_letter_away_builds_nothing(tmp_path):
    shutil.copy(HOME / 'Makefile', tmp_path)
    done = subprocess.run(['make', 'labs'], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and 'make lab' in done.stdout and 'make notebooks' in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ['Makefile']
