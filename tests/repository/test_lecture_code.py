"""What stands beneath a lecture's Python is what it prints, the glossary has every term that a lecture teaches; and
each of these checks can fail."""
import re
from functools import cache
from pathlib import Path

import glossary
import lecture_code
import pytest
import twins

ROOT = Path(__file__).resolve().parents[2]
LEAST_BLOCKS = 6
MOST_LINES = 15  # what a reader still takes in at once
COLUMNS = 88  # what JupyterLab shows of a line, and GitHub on a laptop
SECONDS = 60  # of a processor without bf16, with other work beside
PREDICT = ('**Predict.**', '**先预测。**')
each_language = pytest.mark.parametrize('language', ['zh', 'en'])
each_lecture = pytest.mark.parametrize('name', lecture_code.LECTURES)


def text(language: str, name: str) -> str:
    return (ROOT / 'lectures' / language / name).read_text('utf-8')


@cache
def ran(name: str) -> lecture_code.Run:
    """A lecture's blocks, run once for both languages, whose code is the same."""
    return lecture_code.run(text('zh', name))


# --- the lectures -----------------------------------------------------------------------------------------------------
@each_language
@each_lecture
def test_blocks_print_what_stands_beneath_them(name: str, language: str):
    assert lecture_code.differences(text(language, name), ran(name).outputs) == []


@each_lecture
def test_a_lecture_runs_within_its_time(name: str):
    assert ran(name).seconds < SECONDS


@each_language
@each_lecture
def test_blocks_are_short_and_ask_for_a_prediction(name: str, language: str):
    found = lecture_code.blocks(text(language, name))
    assert len(found) >= LEAST_BLOCKS
    for block in found:
        lines = block.source.splitlines()
        assert sum(map(bool, lines)) <= MOST_LINES and max(map(len, lines)) <= COLUMNS, block.source
        assert not block.printed or any(mark in block.before for mark in PREDICT), block.source


@each_language
def test_the_glossary_is_complete(language: str):
    assert glossary.problems(*glossary.read(ROOT, language)) == []


def test_glossaries_are_twins():
    zh, en = (text(language, 'glossary.md') for language in ('zh', 'en'))
    # The headings that they link differ by language; `problems` holds them.
    plain = [re.sub(r'#[^)\s]+(?=\))', '', page) for page in (zh, en)]
    assert glossary.unlike(zh, en) == [] and twins.compare(*plain) == []


# --- tests of the tests -----------------------------------------------------------------------------------------------
LECTURE = """# A lecture

**Predict.** What is it?

```python
x = 6
print(x * 7)
```

```text
42
```

```python
y = x + 1
```

```text
the block above prints nothing
```

**Predict.** And now?

```python
print(y)
```

```text
7
```
"""


@pytest.fixture(scope='module')
def outputs() -> list[str]:
    return lecture_code.run(LECTURE).outputs


def test_blocks_share_one_namespace(outputs: list[str]):
    assert outputs == ['42\n', '', '7\n']


@pytest.mark.parametrize('old, new', [('42', '43'), ('```text\n7\n', '```text\n7 \n'), ('```text\n42\n```\n', ''),
                                      ('y = x + 1\n```\n', 'y = x + 1\n```\n\n```text\n7\n```\n')])
def test_a_changed_output_is_caught(outputs: list[str], old: str, new: str):
    right = lecture_code.rewritten(LECTURE, outputs)
    assert lecture_code.differences(right, outputs) == [] and old in right
    assert len(lecture_code.differences(right.replace(old, new), outputs)) == 1


def test_changed_code_is_caught():
    right = lecture_code.rewritten(LECTURE, lecture_code.run(LECTURE).outputs)
    changed = right.replace('x = 6', 'x = 5')
    assert len(lecture_code.differences(changed, lecture_code.run(changed).outputs)) == 2


@pytest.mark.parametrize('code, said', [
    ('print(1 / 0)', 'ZeroDivisionError'), ('raise SystemExit', 'block 1 fails'), ('import os; os._exit(3)', 'with 3'),
    ('import urllib.request as u; u.urlopen("http://127.0.0.1:9")', 'a lecture runs offline')])
def test_a_block_that_fails_or_reaches_out_is_told(code: str, said: str):
    with pytest.raises(RuntimeError, match=said):
        lecture_code.run(f'```python\n{code}\n```\n')


def test_the_refresher_finds_nothing_to_do_twice(outputs: list[str]):
    once = lecture_code.rewritten(LECTURE, outputs)
    assert once != LECTURE and lecture_code.rewritten(once, outputs) == once
    assert [block.source for block in lecture_code.blocks(once)] == [b.source for b in lecture_code.blocks(LECTURE)]


TEACHING = """# Lecture

## 1. Pieces

A ***token*** is a piece of text, and a ***chat
template*** turns messages into one text. **Bold** and *italic* are no terms.

```text
***code*** is none either
```
"""
GLOSSARY = """# Glossary

- ***token*** 词元: a piece of text. [Lecture 1, 1](01.md#1-pieces)
- ***chat template*** 对话模板: what turns messages
  into one text. [Lecture 1, 1](01.md#1-pieces)
"""
ZH = """# 术语表

- ***词元*** token：一小段文本。[第 1 讲第 1 节](01.md#1-pieces)
- ***对话模板*** chat template：把消息变成一段文本。[第 1 讲第 1 节](01.md#1-pieces)
"""


@pytest.mark.parametrize('old, new, said', [
    ('- ***token*** 词元: a piece of text. [Lecture 1, 1](01.md#1-pieces)\n', '', 'missing: token'),
    ('***token*** 词元', '***tokens*** 词元', 'taught nowhere: tokens'),
    ('a piece of text. [Lecture 1, 1](01.md#1-pieces)', 'a piece of text. [Lecture 1, 2](01.md#2-more)', 'links of'),
    ('a piece of text.', 'a piece. Of text.', 'more than one sentence'), ('词元: a', '词元, a', 'not an entry'),
    (' [Lecture 1, 1](01.md#1-pieces)\n-', '\n-', 'not an entry')])
def test_a_glossary_that_does_not_fit_is_caught(old: str, new: str, said: str):
    assert glossary.problems(GLOSSARY, {'01.md': TEACHING}) == []
    assert old in GLOSSARY
    assert any(problem.startswith(said) for problem in glossary.problems(GLOSSARY.replace(old, new),
                                                                         {'01.md': TEACHING}))


def test_a_term_that_is_new_or_taught_twice_is_caught():
    assert glossary.problems(GLOSSARY, {'01.md': TEACHING + '\nA ***mask***.'})[0].startswith('missing: mask')
    assert 'teaches it twice' in glossary.problems(GLOSSARY, {'01.md': TEACHING + '\nA ***token***.'})[0]


@pytest.mark.parametrize('old, new', [('token：', 'tokens：'), ('***词元***', '***标记***'),
                                      ('- ***词元*** token：一小段文本。[第 1 讲第 1 节](01.md#1-pieces)\n', '')])
def test_glossaries_that_pair_terms_differently_are_caught(old: str, new: str):
    assert glossary.unlike(ZH, GLOSSARY) == [] and old in ZH
    assert glossary.unlike(ZH.replace(old, new), GLOSSARY)
