"""The order of a repository's files: imports first, and documentation before the code of its folder."""
import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from internlm_course.data import code


def reachable(graph: dict, node) -> set:
    """Oracle: all that `node` needs, at any remove."""
    seen, open_nodes = set(), list(graph[node])
    while open_nodes:
        other = open_nodes.pop()
        if other not in seen:
            seen.add(other)
            open_nodes += graph[other]
    return seen


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 12).flatmap(lambda n: st.tuples(
    st.just(n), st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=30))))
def test_an_order_is_topological_and_circles_are_alphabetical(drawn):
    n, edges = drawn
    graph = {node: {b for a, b in edges if a == node} for node in range(n)}
    placed = code.topological(graph)
    assert sorted(placed) == list(range(n))
    at, needs = {node: i for i, node in enumerate(placed)}, {node: reachable(graph, node) for node in graph}
    for a, b in edges:
        if a not in needs[b]:  # b does not need a: no circle
            assert at[b] < at[a] or a == b
    for node in graph:
        circle = sorted({other for other in needs[node] if node in needs[other]} | {node})
        first = at[circle[0]]
        assert placed[first:first + len(circle)] == circle  # together, in alphabetical order


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1 << 30))
def test_files_of_a_random_project_follow_their_imports(tmp_path_factory, seed):
    """A package whose modules import earlier ones of a hidden order, in every form of import: each comes after what it
    imports."""
    rng, folder = random.Random(seed), tmp_path_factory.mktemp('project') / 'pack'
    names = [f'{place}{name}' for place in ('', 'sub/', 'sub/deep/') for name in 'abc']
    rng.shuffle(names)
    for place in ('', 'sub', 'sub/deep'):
        (folder / place).mkdir(exist_ok=True, parents=True)
        (folder / place / '__init__.py').touch()
    truth = {}
    for i, name in enumerate(names):
        chosen = rng.sample(names[:i], min(i, 2))
        truth[name] = chosen
        up = '.' * (name.count('/') + 1)
        forms = [lambda d: f'import pack.{d}', lambda d: f'import os, pack.{d} as other  # comment',
                 lambda d: f'from pack.{d} import thing',
                 lambda d, up=up: f'from {up}{d} import (one,\n    two,  # comment\n)',
                 lambda d: f'def f():\n    from pack.{d} import x as y, z',
                 lambda d: 'from {} import {}'.format(*f'pack.{d}'.rsplit('.', 1)),
                 lambda d, up=up: f'try:\n  from {up}{d} import x\nexcept ImportError: pass']
        lines = ['import json', *(rng.choice(forms)(d.replace('/', '.')) for d in chosen)]
        (folder / f'{name}.py').write_text('\n'.join(lines) + '\n', 'utf-8')
    needs = {path.as_posix()[:-3]: {other.as_posix()[:-3] for other in others}
             for path, others in code.dependencies(folder).items() if path.stem != '__init__'}
    assert needs == {name: set(chosen) for name, chosen in truth.items()}
    at = {path.as_posix()[:-3]: i for i, path in enumerate(code.order(folder))}
    assert all(at[other] < at[name] for name, chosen in truth.items() for other in chosen)


def test_imports_are_read_in_every_form():
    text = """import os, a.b as c; x = 1
from .near import (one,  # import nothing
    two as three,)
    from .. import up, \\
        over
from d import *
importing = 'import e'
x = 'from f import g'
"""
    assert code.imports(text) == ['os', 'a.b', '.near.one', '.near.two', '..up', '..over', 'd.*']


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, 'utf-8')
    return folder


def test_documentation_stands_before_the_first_code_of_its_folder(tmp_path):
    folder = write(tmp_path / 'tool', {
        'README.md': 'Root.', 'main.py': 'from tool.core import engine\nimport helper', 'helper.py': '',
        'core/README.rst': 'Core.', 'core/notes.md': 'Notes.', 'core/__init__.py': '',
        'core/engine.py': 'from . import parts', 'core/parts.py': '', 'docs/guide.md': 'Guide.', 'build/old.py': '',
        '.hidden/x.py': '', 'site-packages/other.py': '', '__init__.py': ''})
    names = [path.as_posix() for path in code.order(folder)]
    assert sorted(names) == ['README.md', '__init__.py', 'core/README.rst', 'core/__init__.py', 'core/engine.py',
                             'core/notes.md', 'core/parts.py', 'docs/guide.md', 'helper.py', 'main.py']
    first = min(names.index(name) for name in names if name.startswith('core/') and name.endswith('.py'))
    assert names[first - 2:first] == ['core/README.rst', 'core/notes.md']
    assert names[0] == 'README.md' and names[1] == 'docs/guide.md'
    assert names.index('core/parts.py') < names.index('core/engine.py') < names.index('main.py')
    assert names.index('helper.py') < names.index('main.py')


def test_a_repository_is_one_markdown_document(tmp_path):
    body = 'TEXT = """\n```python\nx\n```\n"""\n'
    folder = write(tmp_path / 'tool', {'README.md': '# Tool\n', 'a.py': 'import b\n', 'b.py': body})
    text = code.assemble(folder)
    assert [line for line in text.splitlines() if line.startswith('## ')] == ['## README.md', '## b.py', '## a.py']
    assert text.startswith('# tool\n') and f'````python\n{body}````' in text and '```python\nimport b\n```' in text
    assert text == code.assemble(folder)


def test_a_file_in_another_encoding_is_read_as_it_declares(tmp_path):
    (tmp_path / 'a.py').write_bytes('# -*- coding: gbk -*-\nx = "中文"\r\n'.encode('gbk'))
    (tmp_path / 'b.py').write_bytes(b'x = "\xd6\xd0"\n')
    assert code.read(tmp_path / 'a.py') == '# -*- coding: gbk -*-\nx = "中文"\n'
    assert code.read(tmp_path / 'b.py') is None
