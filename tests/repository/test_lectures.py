"""Lectures are twins, their links lead somewhere, what they compute follows from their tables; and each of these checks
can fail."""
import json
import random
import re
import subprocess
from pathlib import Path

import pytest
import twins

ROOT = Path(__file__).resolve().parents[2]
LECTURES = sorted(path.name for path in (ROOT / 'lectures/zh').glob('[0-9]*.md'))
WORDS = (1500, 7000)  # the longest, lecture 5, is read in an hour and a half
HANZI_A_WORD = 1.6  # how many characters say what an English word says


def lecture(language: str, name: str = LECTURES[0]) -> str:
    return (ROOT / 'lectures' / language / name).read_text('utf-8')


def documents() -> list[Path]:
    """Every markdown file of the repository, as git has it; without git, as it lies there."""
    listed = subprocess.run(['git', '-C', ROOT, 'ls-files', '*.md'], capture_output=True, text=True)
    if listed.returncode == 0 and listed.stdout:
        return [ROOT / line for line in listed.stdout.splitlines()]
    return [*ROOT.glob('*.md'), *(ROOT / 'lectures').rglob('*.md'), *(ROOT / 'internlm_course').rglob('*.md')]


# --- twins ------------------------------------------------------------------------------------------------------------
def test_every_lecture_has_its_twin():
    names = {language: sorted(path.name for path in (ROOT / 'lectures' / language).glob('*.md'))
             for language in ('zh', 'en')}
    assert LECTURES and names['zh'] == names['en'] == [*LECTURES, 'glossary.md']


@pytest.mark.parametrize('name', sorted(path.name for path in (ROOT / 'lectures/zh/selftest').glob('*.md')))
def test_a_self_test_has_ten_questions_with_hidden_answers(name: str):
    zh, en = (lecture(language, f'selftest/{name}') for language in ('zh', 'en'))
    assert twins.compare(zh, en) == [] and name in LECTURES
    for text in (zh, en):
        assert re.findall(r'(?m)^\*\*(\d+)\.\*\*', text) == [str(number) for number in range(1, 11)]
        assert text.count('<details>') == text.count('</details>') == 10
    assert all(f'(selftest/{name})' in lecture(language, name) for language in ('zh', 'en'))


def test_the_course_page_is_one_page_in_two_languages():
    pages = [(ROOT / 'lectures' / name).read_text('utf-8') for name in ('README.zh.md', 'README.md')]
    assert twins.compare(*pages) == []
    assert [name for name in LECTURES for page in pages if f'/{name})' not in page] == []


@pytest.mark.parametrize('name', LECTURES)
def test_twins_say_the_same(name: str):
    assert twins.compare(lecture('zh', name), lecture('en', name)) == []


@pytest.mark.parametrize('name', LECTURES)
def test_length(name: str):
    english, chinese = twins.words(lecture('en', name))[0], twins.words(lecture('zh', name))[1]
    assert WORDS[0] <= english <= WORDS[1]
    assert WORDS[0] <= chinese / HANZI_A_WORD <= WORDS[1]


@pytest.mark.parametrize('path', [path for path in documents() if path.is_file()],
                         ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_anchors_and_images_lead_somewhere(path: Path):
    assert twins.broken(ROOT, path) == []


@pytest.mark.parametrize('language', ['zh', 'en'])
@pytest.mark.parametrize('name', LECTURES)
def test_formulas_are_set_by_github(name: str, language: str):
    assert twins.unreadable(lecture(language, name)) == []


def test_readme_lists_every_lecture():
    for readme in ('README.md', 'README.zh.md'):
        text = (ROOT / readme).read_text('utf-8')
        assert ([name for name in LECTURES if f'lectures/zh/{name}' not in text or f'lectures/en/{name}' not in text]
                == [])


@pytest.mark.parametrize('language', ['zh', 'en'])
def test_differences_of_the_contamination_tables_follow_from_their_losses(language: str):
    """Table 20 of the report: 13 rows in lecture 2, of which lecture 1 quotes eight without a change."""
    def rows(name: str) -> dict[str, list[float]]:
        found = re.findall(r'^\| (\S+) \| (\d\.\d\d) \| (\d\.\d\d) \| (\d\.\d\d) \| (-?\d\.\d\d) \| (-?\d\.\d\d) \|$',
                           lecture(language, name), re.M)
        return {model: [float(figure) for figure in figures] for model, *figures in found}

    whole, quoted = rows('02-data.md'), rows('01-full-chain.md')
    assert len(whole) == 13 and len(quoted) == 8 and quoted.items() <= whole.items()
    for test, train, reference, leaked, learned in whole.values():
        assert (leaked, learned) == (round(test - reference, 2), round(test - train, 2))
    assert sum(leaked < 0 for *_, leaked, _ in whole.values()) == 5


def test_the_data_lecture_quotes_the_executed_lab():
    """Pages and bytes at the crawl, after extraction and at the end, as the committed reference of lab 2 printed
    them."""
    cells = json.loads((ROOT / 'labs/solutions/02_data.ipynb').read_text('utf-8'))['cells']
    printed = ''.join(''.join(output['text']) for cell in cells if cell['id'] == 'funnel' for output in cell['outputs'])
    rows = [line.split()[1:3] for line in printed.splitlines() if line and not line.startswith('step')]
    pages, size = ([int(row[column].replace(',', '')) for row in rows] for column in (0, 1))
    told = (f'{pages[0]} {size[0]} {size[1]} {pages[-1]} {size[-1]} {100 * pages[-1] / pages[0]:.0f} '
            f'{100 * size[-1] / size[0]:.0f}')
    for language in ('zh', 'en'):
        section = next(section for section in twins.sections(lecture(language, '02-data.md'))
                       if section.title.startswith('3. '))
        assert set(twins.numerals(told)) <= set(section.numbers)


# --- tests of the tests -----------------------------------------------------------------------------------------------
ZH = """# 第 1 讲

[English](../en/01.md) · [见第 2 节](#2-数据)

## 2. 数据

屏蔽 1300 万个域名，词表 92,544，共 `id` 一列，2023-07-06 发布，见 [仓库](https://example.org/a) 。

![图](../../images/flow.svg)

设 $x = 1$，则 $$y = 2$$

| 甲 | 乙 |
|---|---|
| 64.0 | 65 |

```python
# 不是标题
print(3)
```
"""
EN = """# Lecture 1

[中文](../zh/01.md) · [see section 2](#2-data)

## 2. Data

Published on 2023-07-06 ([repository](https://example.org/a)); 92544 words, one column `id`, and 13M blocked domains.

![figure](../../images/flow.svg)

Let $x = 1$, then $$y = 2$$

| a | b |
|---|---|
| 64.0 | 65 |

```python
# 不是标题
print(3)
```
"""


def test_different_words_for_the_same_pass():
    assert twins.compare(ZH, EN) == []
    assert twins.numerals('13M 624M 2.4 million 400k 2.0T') == twins.numerals('1300 万 6.24 亿 240 万 40 万 2 万亿')
    assert twins.numerals('8 GB, 2 TB, 7b') == ['8', '2', '7'] and twins.numerals('4.2.1') != twins.numerals('4.21')


@pytest.mark.parametrize('old, new, kind', [
    ('13M', '13K', 'numbers'), ('92544', '92545', 'numbers'), ('64.0 |', '64.1 |', 'numbers'),
    ('2023-07-06', '2023-07-08', 'numbers'),
    ('13M blocked', 'blocked', 'numbers'), ('## 2. Data', '## 3. Data', 'headings'),
    ('## 2. Data', '### 2. Data', 'headings'),
    ('## 2. Data\n', '', 'headings'), ('images/flow.svg', 'images/chain.svg', 'figures'),
    ('![figure](../../images/flow.svg)\n', '', 'figures'),
    ('example.org/a', 'example.org/b', 'links'), ('[repository](https://example.org/a)', 'repository', 'links'),
    ('#2-data', '#lecture-1', 'links'),
    ('$x = 1$', '$x = 2$', 'formulas'), ('$$y = 2$$', 'y = 2', 'formulas'), ('print(3)', 'print(4)', 'code'),
    ('`id`', '`ids`', 'names'),
    ('| 64.0 | 65 |', '| 64.0 | 65 | |', 'shape'), ('| 64.0 | 65 |\n', '64.0, 65\n', 'shape')])
def test_a_mismatch_is_caught(old: str, new: str, kind: str):
    assert EN.count(old) == 1
    assert any(problem.startswith(kind) for problem in twins.compare(ZH, EN.replace(old, new)))


@pytest.mark.parametrize('language', ['zh', 'en'])
def test_any_changed_digit_of_the_lecture_is_caught(language: str):
    """60 of its some 900 numbers, wherever they stand: text, table, heading, formula, address, code."""
    text, other = lecture(language), lecture('en' if language == 'zh' else 'zh')
    for match in random.Random(0).sample(list(re.finditer(r'\d', re.sub(r'/zh/|/en/', '////', text))), 60):
        changed = text[:match.start()] + str((int(match[0]) + 1) % 10) + text[match.end():]
        pair = (changed, other) if language == 'zh' else (other, changed)
        assert twins.compare(*pair), text[match.start() - 20:match.end() + 20]


@pytest.mark.parametrize('line, problem', [
    ('[a](gone.md)', 'gone.md is not there'), ('![a](gone.svg)', 'gone.svg is not there'),
    ('![](there.svg)', 'has no text'),
    ('[a](#gone)', 'names no heading'), ('[a](other.md#gone)', 'names no heading'),
    ('[a](code.py#main)', 'without headings'),
    ('[a](../out.md)', 'leaves the repository'), ('<img src="gone.png">', 'gone.png is not there'),
    ('<a href="gone">a</a>', 'gone is not there'),
    ('[![a](gone.svg)](there.svg)', 'gone.svg is not there'), ('[![a](there.svg)](gone.md)', 'gone.md is not there')])
def test_a_broken_link_is_caught(tmp_path: Path, line: str, problem: str):
    (tmp_path.parent / 'out.md').write_text('# Out\n')
    (tmp_path / 'there.svg').write_text('<svg/>')
    (tmp_path / 'code.py').write_text('main = 1\n')
    (tmp_path / 'other.md').write_text('# 一、数据 (A)\n\n## Data\n\n## Data\n')
    page = tmp_path / 'page.md'
    good = ('# The page\n\n[a](other.md#一数据-a) [b](other.md#data-1) [c](#the-page) [d](code.py#L1) '
            '![e](there.svg) `[f](gone)` [g](https://example.org)\n')
    page.write_text(good)
    assert twins.broken(tmp_path, page) == []
    page.write_text(good + line + '\n')
    assert len(found := twins.broken(tmp_path, page)) == 1 and problem in found[0]


@pytest.mark.parametrize('text', ['设，$x$ 为', '设 $x$为', '（$x$）', 'a $\\{x\\}$ b', '$$a \\; b$$', 'a$x$ b'])
def test_a_formula_that_github_leaves_raw_is_caught(text: str):
    assert twins.unreadable('设 $x$，则\n\n$$y_1 \\quad z$$\n\n`$5` | $z$ |') == []
    assert twins.unreadable(text)
