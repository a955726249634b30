"""The code track: layout changes nothing and code does, grades on files made good and bad."""
import json
import random
import re
import textwrap
import tokenize
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_code_order import write

from internlm_course.data import code, code_filters
from internlm_course.data.pipeline import documents
from internlm_course.errors import CourseError

LIBRARY = code.stdlib()


@pytest.fixture(scope='module')
def library() -> dict[Path, str]:
    """Every third file of the standard library's root, and of json and email: some 100 files, no two of them copies."""
    paths = [path for path in code.code_files(LIBRARY) if path.parts[0] in ('json', 'email') or len(path.parts) == 1]
    texts = {path: code.read(LIBRARY / path) for path in paths[::2] if (LIBRARY / path).stat().st_size < 60_000}
    return {path: text for path, text in texts.items() if text.strip()}


# --- duplicates -------------------------------------------------------------------------------------------------------
def relaid(rng: random.Random, text: str) -> str:
    """The same code as another editor leaves it: other indentation, quotes, comments, blank lines, blanks around signs,
    breaks in brackets."""
    lines, depth, line = [], 0, ''
    tokens = list(tokenize.generate_tokens(StringIO(text).readline))
    for before, token in zip([None, *tokens], tokens):
        if token.type in (tokenize.INDENT, tokenize.DEDENT):
            depth += 1 if token.type == tokenize.INDENT else -1
        elif token.type in (tokenize.NEWLINE, tokenize.ENDMARKER):
            lines.append('   ' * depth + line + ' ' * rng.randrange(3))
            lines += ['', '# a comment'][:rng.randrange(3)]
            line = ''
        elif token.type not in (tokenize.NL, tokenize.COMMENT):
            string = token.string
            if token.type == tokenize.STRING and re.fullmatch(r"'[^'\"\\]*'", string):
                string = f'"{string[1:-1]}"'
            words = before is not None and re.match('[\\w\'"]', before.string[-1:]) and re.match('[\\w\'"]', string)
            parted = words or before is not None and before.end != token.start
            space = ' ' if parted else ' ' * rng.randrange(2) if line else ''
            if before is not None and before.string in ('(', '[', '{') and rng.random() < 0.3:
                space = '\n' + ' ' * rng.randrange(20)
            line += space * bool(line) + string
    return '\n'.join(lines) + '\n'


def test_injected_copies_are_found_and_nothing_else(library):
    """Forty copies in another layout and ten with small edits among the originals: recall and precision against the
    truth."""
    rng = random.Random(1)
    originals = [path for path in library if len(code_filters.code_tokens(library[path])) > 200]
    chosen = rng.sample(originals, 40)
    copies, near = {Path('copies') / path: relaid(rng, library[path]) for path in chosen}, {}
    for path in rng.sample([path for path in originals if len(code_filters.code_tokens(library[path])) > 1000], 10):
        text = re.sub(r'\b1\b', '2', library[path], count=2)
        near[Path('near') / path] = '# Copyright 2031\n' + text + '\ndef added(a, b):\n    return a - b\n'
    assert all(library[Path(*path.parts[1:])] != text for path, text in copies.items())
    dropped = code_filters.duplicates(library | copies | near)
    kinds = dict.fromkeys(copies, 'exact') | dict.fromkeys(near, 'near')
    truth = {path: (Path(*path.parts[1:]), kind) for path, kind in kinds.items()}
    assert dropped == truth  # precision 1 and recall 1


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1 << 30),
       st.sampled_from(['textwrap', 'heapq', 'bisect', 'shlex', 'colorsys', 'fnmatch', 'string', 'sched']))
def test_layout_does_not_change_tokens(seed, name):
    text = code.read(LIBRARY / f'{name}.py')
    assert code_filters.code_tokens(relaid(random.Random(seed), text)) == code_filters.code_tokens(text)


@pytest.mark.parametrize('a, b', [
    ('x = 1\n', 'x = 2\n'), ("x = 'a b'\n", "x = 'a  b'\n"), ('if a:\n    b\n    c\n', 'if a:\n    b\nc\n'),
    ("x = b'a'\n", "x = 'a'\n"), ('a\nb\n', 'a(b)\n'), ("x = 'a'\n", 'x = a\n'), ("x = f'{a}'\n", "x = '{a}'\n"),
    ('x = (1,)\n', 'x = (1)\n'), ("x = r'\\n'\n", "x = '\\n'\n")])
def test_what_python_sees_differs_stays_different(a, b):
    assert code_filters.code_tokens(a) != code_filters.code_tokens(b)
    assert code_filters.duplicates({'a': a, 'b': b}, threshold=1.0) == {}


def test_equal_strings_in_other_quotes_are_equal():
    forms = ['x = "it"\n', "x = 'it'\n", "x = '''it'''\n", "x = ('it')\n"]
    assert len({tuple(code_filters.code_tokens(form)) for form in forms[:3]}) == 1
    assert code_filters.code_tokens('x = f"{a}"\n') == code_filters.code_tokens("x = f'{a}'\n")


def test_signatures_estimate_the_similarity():
    """The share of equal hashes is the Jaccard similarity, within three standard errors of 128 draws."""
    rng = np.random.default_rng(3)
    for share in (0.2, 0.5, 0.8, 0.95):
        pool = np.unique(rng.integers(0, 1 << 63, 4000, np.uint64))
        common = int(len(pool) * share)
        rest = (len(pool) - common) // 2
        a, b = (np.sort(np.r_[pool[:common], pool[common + i * rest:common + (i + 1) * rest]]) for i in range(2))
        exact = code_filters.jaccard(a, b)
        assert exact == pytest.approx(share, abs=0.001)
        equal, error = code_filters.signature(a) == code_filters.signature(b), (exact * (1 - exact) / 128) ** 0.5
        assert np.mean(equal) == pytest.approx(exact, abs=3 * error)


# --- quality ----------------------------------------------------------------------------------------------------------
GOOD = textwrap.dedent('''
    """Areas of plane figures."""
    import math


    def circle(radius):
        """The area of a circle."""
        if radius < 0:
            raise ValueError('a radius is not negative')
        return math.pi * radius ** 2


    def rectangle(width, height):
        """The area of a rectangle."""
        return width * height
''')


@pytest.mark.parametrize('text, grade, reason', [
    (GOOD, 'high', 'explained'),
    (re.sub(r'    """.*"""\n', '', GOOD), 'moderate', 'sound'),
    ('# Generated by the protocol compiler. DO NOT EDIT!\n' + GOOD, 'low', 'generated'),
    (GOOD.replace('plane figures."""', 'plane figures.\n\nThis file was automatically generated from areas.txt.\n"""'),
     'low', 'generated'),
    (GOOD.replace("'a radius is not negative'", "'generated by hand, do not edit'"), 'high', 'explained'),
    ('table = [\n' + ''.join(f'    {n}, {n * n}, {n + 7},\n' for n in range(200)) + ']\n', 'low', 'data table'),
    ('names = {\n' + ''.join(f"    'key{n}': 'value{n}',\n" for n in range(200)) + '}\n', 'low', 'data table'),
    (';'.join(f'def f{n}(a,b):return a+b*{n}' for n in range(1)) + '\n'
     + ';'.join(f'x{n}=f0({n},x0)' for n in range(200)) + '\n', 'low', 'long lines'),
    ('\n'.join(f'def {c}(a, b):\n  c = a + b\n  d = c * a\n  return c, d' for c in 'ghijklm') + '\n', 'low',
     'short names'),
    ('def broken(:\n', 'low', 'does not parse'), ('print "old"\n', 'low', 'does not parse'), ('', 'low', 'stub'),
    ('from .core import *\n', 'low', 'stub'),
    ('x = ' + '(' * 300 + ')' * 300, 'low', 'does not parse')])
def test_grades(text, grade, reason):
    judged, features = code_filters.quality(text)
    assert judged == grade and features['reason'].startswith(reason)


def test_grades_on_the_standard_library():
    """Files whose kind is known: what tools wrote, tables, and modules that are read as examples of Python."""
    known = dict(low=['encodings/cp1250.py', 'encodings/cp437.py', 'pydoc_data/topics.py', 'token.py', 'keyword.py',
                      'encodings/aliases.py', 'html/entities.py'],
                 high=['textwrap.py', 'heapq.py', 'statistics.py', 'dataclasses.py', 'json/decoder.py', 'argparse.py',
                       'functools.py', 'colorsys.py'])
    assert {name: code_filters.quality(code.read(LIBRARY / name))[0] for names in known.values() for name in names} == {
        name: grade for grade, names in known.items() for name in names}


# --- corpus -----------------------------------------------------------------------------------------------------------
def changed(**names: str) -> str:
    """The good file with other names."""
    text = GOOD
    for old, new in names.items():
        text = text.replace(old, new)
    return text


def test_the_corpus_of_a_folder_of_projects(tmp_path):
    folder = write(tmp_path / 'in', {
        'one/a.py': GOOD,
        'one/b.py': 'import a\n' + changed(circle='sphere', radius='edge', rectangle='cuboid', width='breadth'),
        'two/copy.py': '# another licence\n' + GOOD.replace("'", '"'), 'two/table.py': f'x = {list(range(500))}\n',
        'two/tests/test_a.py': GOOD + '\nx = 1\n',
        'loose.py': changed(circle='disc', rectangle='triangle', width='side', height='altitude')})
    (folder / 'two' / 'bad.py').write_bytes(b'x = "\xff"\n')
    metrics = code.code_corpus(folder, tmp_path / 'out')
    funnel = {row['step']: row['files'] for row in metrics['funnel']}
    assert funnel == dict(found=6, readable=5, exact=4, near=4, quality=3)
    assert metrics['grades']['high']['files'] == 3 and metrics['grades']['low']['files'] == 1
    kept = list(documents(tmp_path / 'out' / 'clean'))
    assert [row['id'] for row in kept] == ['code/loose.py', 'code/one']
    assert [(row['metadata']['files'], row['metadata']['high']) for row in kept] == [(1, 1.0), (2, 1.0)]
    dropped = [json.loads(line) for line in (tmp_path / 'out' / 'dropped.jsonl').read_text('utf-8').splitlines()]
    assert {row['path']: row['reason'] for row in dropped} == {
        'two/bad.py': 'undecodable', 'two/copy.py': 'exact copy of one/a.py', 'two/table.py': 'long lines'}
    with pytest.raises(CourseError, match='no Python file'):
        code.code_corpus(tmp_path / 'none', tmp_path / 'out')


@pytest.mark.slow
def test_the_standard_library_is_a_corpus(tmp_path):
    """The same bytes twice, in every document each module after what it imports, and the report's shape: little is
    low."""
    first, second = (code.code_corpus(LIBRARY, tmp_path / name) for name in 'ab')
    packed = [(tmp_path / name / 'clean' / 'code.jsonl.gz').read_bytes() for name in 'ab']
    assert packed[0] == packed[1]
    assert first | dict(seconds=0) == second | dict(seconds=0)
    sizes = [row['files'] for row in first['funnel']]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 500
    total = sum(grade['bytes'] for grade in first['grades'].values())
    assert first['grades']['low']['bytes'] < 0.25 * total
    texts = {row['id']: row['text'] for row in documents(tmp_path / 'a' / 'clean')}
    names = re.findall(r'^## (\S+)$', texts['code/json'], re.M)
    assert names.index('scanner.py') < names.index('decoder.py') < names.index('__init__.py')
