"""Who may import whom: the house's table, held against the imports of every module, wherever in it they stand."""
import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from internlm_course.store import PACKAGE

FOUNDATION = ('errors', 'store', 'memory', 'machine', 'process', 'marking', 'jsonl', 'tokenfiles', 'mmconfig',
              'blocklist', 'scale', 'names', 'verify')
LINKS = ('model', 'world', 'data', 'pretrain', 'finetune', 'align', 'deploy', 'evaluate', 'agents')
# A part of the package -> what it imports of the others besides the foundation; a module named alone is that module
# alone. The world and the pipeline meet in files, as do the pipeline and pre-training.
MAY = dict(
    dict.fromkeys(FOUNDATION, ()),
    model=(),
    world=('model.chat',),
    data=('model',),
    pretrain=('model',),
    finetune=('model',),
    align=('model', 'finetune.launch', 'finetune.preference', 'pretrain.loop'),
    deploy=('model',),
    evaluate=('model',),
    agents=('model.chat', 'grading.sandbox'),
    grading=(),
    report=(),
    material=('world', 'data', 'model'),
    course=('material', *LINKS, 'report'),
    lab=('course', *LINKS, 'grading'),
    authoring=('lab', 'grading'),
    staff=('course', *LINKS, 'report'),
    doctor=(),
    cli=('course', 'lab', 'authoring', 'grading', 'report', 'staff', 'doctor'))
NEVER = dict(grading=('torch',))  # tools of others, not even within a function: a teacher's machine may lack them


def imported(file: Path, package: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of all that a module imports: each name of a `from` by itself, relative ones made
    absolute."""
    home = ('internlm_course', *file.relative_to(package).parts[:-1])
    for node in ast.walk(ast.parse(file.read_text('utf-8'))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = home[:len(home) + 1 - node.level] if node.level else ()
            module = '.'.join([*start, *([node.module] if node.module else [])])
            yield from ((node.lineno, f'{module}.{alias.name}') for alias in node.names)
        elif (isinstance(node, ast.Call) and ast.unparse(node.func) in ('import_module', 'importlib.import_module')
              and isinstance(node.args[0], ast.Constant)):
            yield node.lineno, node.args[0].value


def within(name: str, parts: tuple[str, ...]) -> bool:
    """Whether a dotted name is one of the parts, or lies in one."""
    return any(name == part or name.startswith(f'{part}.') for part in parts)


def breaches(package: Path) -> list[str]:
    """What the table forbids, one sentence each."""
    faults = []
    for file in sorted(package.rglob('*.py')):
        path = file.relative_to(package)
        part = path.parts[0].removesuffix('.py')
        if part != '__init__' and part not in MAY:
            faults.append(f'{path}: the table does not know {part}')
            continue
        for line, name in imported(file, package):
            own = name.removeprefix('internlm_course.')
            if own == name:
                allowed = name != 'internlm_course' and not within(name, NEVER.get(part, ()))
            else:
                allowed = within(own, (part, *FOUNDATION, *MAY.get(part, ())))
            if not allowed:
                faults.append(f'{path}:{line}: {part} imports {own}')
    return faults


def test_the_package_keeps_the_table():
    assert breaches(PACKAGE) == []


def test_the_table_names_nothing_that_is_gone():
    coming = {'align'}
    named = {*MAY, *(name for names in MAY.values() for name in names)} - coming
    there = {name for name in named for path in [PACKAGE.joinpath(*name.split('.'))]
             if path.is_dir() or path.with_suffix('.py').is_file()}
    assert named == there


@pytest.fixture
def house(tmp_path):
    """A small package that keeps the table."""
    sound = {'errors': '', 'store': 'from internlm_course.errors import CourseError', '__init__': '',
             'model/chat': 'from internlm_course import errors', 'model/checkpoint': 'import torch',
             'world/web': 'from internlm_course.model import chat\nfrom . import noise', 'world/noise': '',
             'data/tokens': 'import numpy\nfrom internlm_course.model.checkpoint import x',
             'deploy/serve': 'def f():\n    import lmdeploy', 'evaluate/suites': 'from internlm_course import store',
             'agents/tools': 'from internlm_course.grading.sandbox import run', 'grading/sandbox': 'import ast',
             'course': 'from internlm_course.data import tokens', 'report/card': 'from internlm_course import store',
             'lab/check': 'from internlm_course.course import Course', 'cli': 'from internlm_course.lab import check'}
    for name, text in sound.items():
        path = tmp_path / f'{name}.py'
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, 'utf-8')
    assert breaches(tmp_path) == []
    return tmp_path


@pytest.mark.parametrize(('module', 'line', 'fault'), [
    ('data/tokens', 'from internlm_course.world.web import Page', 'data imports world.web.Page'),
    ('data/tokens', 'from ..world import web', 'data imports world.web'),
    ('store', 'import internlm_course.model.chat', 'store imports model.chat'),
    ('evaluate/suites', 'def f():\n    from internlm_course.deploy import serve', 'evaluate imports deploy.serve'),
    ('world/web', 'from internlm_course.model import checkpoint', 'world imports model.checkpoint'),
    ('grading/sandbox', 'def f():\n    import torch.cuda', 'grading imports torch.cuda'),
    ('grading/sandbox', 'from internlm_course import course', 'grading imports course'),
    ('report/card', 'from internlm_course.course import Course', 'report imports course.Course'),
    ('agents/tools', 'from internlm_course.grading import compare', 'agents imports grading.compare'),
    ('model/chat', "from importlib import import_module\nimport_module('internlm_course.lab')", 'model imports lab'),
    ('cli', 'import internlm_course', 'cli imports internlm_course'),
    ('helpers/any', '', 'the table does not know helpers')])
def test_a_breach_is_named_with_its_file(house, module, line, fault):
    path = house / f'{module}.py'
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'{path.read_text("utf-8") if path.exists() else ""}\n{line}\n', 'utf-8')
    [found] = breaches(house)
    assert found.startswith(f'{module}.py:') and found.endswith(fault)
