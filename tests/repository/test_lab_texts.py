"""What a student reads in the labs: complete in each language, linked with its lecture and back, a place for each
prediction, answers true to the run."""
import re
from pathlib import Path
from unicodedata import east_asian_width

import nbformat
import pytest
import twins

from internlm_course.authoring import build
from internlm_course.grading.compare import output_text

ROOT = Path(__file__).resolve().parents[2]
SOURCES = build.sources(ROOT / 'labs')
each_lab = pytest.mark.parametrize('source', SOURCES, ids=lambda source: source.stem)
LECTURE = re.compile(r'\]\(\.\./lectures/(zh|en)/([\w-]+\.md)#([^)]+)\)')
HANZI = re.compile(r'[\u4e00-\u9fff]')
EMOJI = re.compile(r'[\U0001f000-\U0001faff\u2600-\u27bf\ufe0f]')


def prose(cells) -> list:
    return [cell for cell in cells if cell.cell_type == 'markdown']


def languages(text: str) -> tuple[str, str]:
    """A cell's Chinese and its English, by paragraph; headings, links to the lecture, tables and tags belong to both, a
    formula to what leads up to it."""
    blocks: dict[bool, list[str]] = {True: [], False: []}
    chinese = True
    for paragraph in re.split(r'\n\s*\n', text):
        if not re.match(r'[#|<]|讲义', paragraph):
            chinese = (chinese if paragraph.startswith('$$')
                       else bool(HANZI.search(twins.INLINE_CODE.sub('', paragraph))))
            blocks[chinese].append(paragraph)
    return '\n\n'.join(blocks[True]), '\n\n'.join(blocks[False])


def incomplete(text: str) -> list[str]:
    """What stands in one of a cell's languages only: names in code, formulas, numbers, list items."""
    return twins.compare(*(f'# A cell\n\n{block}' for block in languages(text)))


@each_lab
def test_each_text_is_complete_in_both_languages(source):
    for cell in prose(build.read(source).cells):
        assert cell.id.endswith('-guess') or incomplete(cell.source) == [], cell.id


@pytest.mark.parametrize('old, new', [('of $n$ items, `a` and `b`', 'of $n$ items, by the names above'),
                                      ('$n$ items', 'items'), ('2 points', '3 points')])
def test_what_one_language_leaves_out_is_seen(old, new):
    text = ('## 1 题 · An exercise\n\n**练习 1（2 分）** $n$ 道题的 `a`、`b`。\n\n$$x = 1$$\n\n'
            '**Exercise 1 (2 points)** of $n$ items, `a` and `b`.\n\n$$x = 1$$')
    assert incomplete(text) == [] and incomplete(text.replace(old, new)) != []


@each_lab
def test_exercises_state_the_points_of_their_checks(source):
    cells = build.read(source).cells
    points = [cell.metadata.nbgrader.points for cell in cells if cell.metadata.get('nbgrader', {}).get('grade')]
    said = [(int(n), int(p)) for cell in prose(cells)
            for n, p in re.findall(r'\*\*Exercise (\d+) \((\d+) points\)\*\*', cell.source)]
    assert said == list(enumerate(points, 1))
    listed = re.findall(r'^\| (\d+) .*\| (\d+) \|$', cells[0].source, re.M)
    assert [(int(n), int(p)) for n, p in listed] == said


@each_lab
def test_each_prediction_has_a_place_and_an_answer_after_the_run(source):
    cells = build.student(source).cells
    asked = [i for i, cell in enumerate(cells) if '**Predict**' in cell.source]
    assert len(asked) >= 7
    for i, end in zip(asked, [*asked[1:], len(cells)]):
        assert '**先预测**' in cells[i].source and cells[i + 1].id.endswith('-guess')
        assert cells[i + 1].cell_type == 'markdown'
        # Nobody's to grade or to lock
        assert cells[i + 1].source.startswith('**我的预测 · My prediction**') and not cells[i + 1].metadata
        kinds = [cell.cell_type if '<details>' not in cell.source else 'answer' for cell in cells[i + 2:end]]
        assert 'code' in kinds[:kinds.index('answer')], cells[i].id
    for cell in cells:
        parts = ('<details>', '</details>', '<summary>答案 · Answer</summary>')
        assert len({cell.source.count(part) for part in parts}) == 1


@each_lab
def test_no_word_of_a_lab_needs_a_font_with_emoji(source):
    assert EMOJI.findall(source.read_text('utf-8')) == [] and EMOJI.search('🔮')


@each_lab
def test_no_line_of_code_wraps_in_jupyterlab(source):
    """A Chinese character is as wide as two letters."""
    lines = [line for notebook in (build.reference(source), build.student(source))
             for cell in notebook.cells if cell.cell_type == 'code'
             for line in cell.source.split('\n')]
    assert [line for line in lines if sum(1 + (east_asian_width(letter) in 'WF') for letter in line) > 88] == []


@each_lab
def test_checks_say_what_they_are_and_are_not_folded(source):
    """JupyterLab shows no [*] beside a folded cell, so nobody could tell whether it runs."""
    for notebook in (build.reference(source), build.student(source)):
        for cell in notebook.cells:
            assert (build.MARK in cell.source) == cell.source.startswith(build.CHECK), cell.id
            assert 'jupyter' not in cell.metadata


# --- links ------------------------------------------------------------------------------------------------------------
@each_lab
def test_links_lead_somewhere_from_each_place_of_a_lab(source):
    reference, blank = build.paths(source)
    for path, notebook in ((reference, build.reference(source)), (blank, build.student(source)),
                           (ROOT / 'work' / blank.name, build.student(source))):
        text = '\n\n'.join(cell.source for cell in prose(notebook.cells))
        assert '../lectures/' in text and twins.broken(ROOT, path, text) == []
        assert twins.broken(ROOT, path, text.replace('/zh/', '/zz/'))
        assert twins.broken(ROOT, path, text.replace('.md#', '.md#no-'))


def treated(source: Path) -> dict[tuple[str, int], set[str]]:
    """The lecture's sections, as (file, place among the headings), that the lab's parts link, with the numbers of these
    parts."""
    found: dict[tuple[str, int], set[str]] = {}
    for cell in prose(build.read(source).cells):
        for part in re.findall(r'^## (\d+) ', cell.source, re.M):
            places: dict[str, list] = dict(zh=[], en=[])
            for language, name, anchor in LECTURE.findall(cell.source):
                places[language].append((name,
                                         twins.anchors((ROOT / 'lectures' / language
                                                        / name).read_text('utf-8')).index(anchor)))
            assert places['zh'] == places['en'] and places['zh'], f'{source.stem}, part {part}'
            for place in places['zh']:
                found.setdefault(place, set()).add(part)
    return found


@each_lab
@pytest.mark.parametrize('language', ['zh', 'en'])
def test_each_part_links_its_sections_and_each_section_its_parts(source, language):
    link = re.compile(rf'\[([^\]]*)\]\(\.\./\.\./labs/{source.stem}\.ipynb\)')
    wanted = treated(source)
    for name in {name for name, _ in wanted}:
        text = (ROOT / 'lectures' / language / name).read_text('utf-8')
        bodies = re.split(r'(?m)^#{1,6} .*$', twins.FENCE.sub('', text))[1:]
        for place, body in enumerate(bodies):
            numbers = {number for said in link.findall(body)
                       for number in re.findall(r'\d+', said)[1:] if said.startswith(('Lab', '实验'))}
            assert numbers == wanted.get((name, place), set()), twins.anchors(text)[place]


# --- answers, against what the references printed ---------------------------------------------------------------------
def outputs(lab: str) -> dict[str, str]:
    return {cell.id: output_text(cell)
            for cell in nbformat.read(ROOT / 'labs/solutions' / f'{lab}.ipynb', as_version=4).cells
            if cell.cell_type == 'code'}


def funnel(text: str) -> dict[str, list[float | None]]:
    """Each step's documents, bytes, precision and recall."""
    rows = [line.split() for line in text[text.index('crawl '):].splitlines() if line]
    return {name: [None if word == '-' else float(word.replace(',', '')) for word in words] for name, *words in rows}


@pytest.mark.parametrize('lab, cell', [('01_full_chain', 'corpus'), ('02_data', 'funnel')])
def test_answers_on_the_funnel(lab, cell):
    steps = funnel(outputs(lab)[cell])
    documents, sizes = ({name: row[column] for name, row in steps.items()} for column in (0, 1))
    names = list(steps)
    lost = {step: documents[before] - documents[step] for before, step in zip(names, names[1:])}
    saved = {step: sizes[before] - sizes[step] for before, step in zip(names, names[1:])}
    assert max(lost, key=lost.get) == 'duplicates' and max(saved, key=saved.get) == 'extraction'
    assert sizes['extraction'] < sizes['crawl'] / 3 and lost['extraction'] < 0.02 * documents['crawl']
    assert documents[names[-1]] > documents['crawl'] / 2 and sizes[names[-1]] < sizes['crawl'] / 5
    assert all(precision is None or precision > 0.95 for _, _, precision, _ in steps.values())
    if lab == '01_full_chain':
        assert [name for name, row in steps.items() if row[2] not in (None, 1)] == ['language', 'rules']
        assert [name for name, row in steps.items() if row[3] not in (None, 1)] == ['duplicates', 'fluency']


def test_answers_of_lab_1():
    said = outputs('01_full_chain')
    assert re.search(r'20b +4 bits +\S.*?RTX 4090', said['gpu-light'])
    assert said['interval-light'].count('undecided') == 4
    without = said['agent'].split('with the calculator')[0]
    assert without.count('wrong · 错') == 4 and without.count('no answer') == without.count('it wrote')


def test_answers_of_lab_2():
    said = outputs('02_data')
    [(pages, chinese)] = re.findall(r'A-Za-z0-9\]: (\d+) pages, (\d+) of them Chinese', said['rule-light'])
    [few] = re.findall(r'(\d+) of \d+ pages are decorated', said['rule-light'])
    assert int(pages) > 10 * int(few) and int(chinese) > 0.9 * int(pages)
    recalls = [int(share) for share in re.findall(r'recall (\d+)%', said['threshold-light'])]
    assert len(recalls) == 2 and recalls[1] < recalls[0] / 2
    [deviation] = re.findall(r'standard deviation · 标准差 ([\d.]+)', said['signature-light'])
    assert float(deviation) == pytest.approx(0.04, abs=0.01)
    assert '16 bands of 8' in said['cut-light'] and "['b', 'z', 'a']" in said['order-light']
    kept = [int(count) for count in re.findall(r'kept +(\d+) of', said['perplexity-light'])]
    assert kept[0] == 12 and kept[1] > 0 and kept[2] > 6


def test_answers_of_lab_3():
    said = outputs('03_pretraining')
    products = re.findall(r'product (\S+)', said['rope-light'])
    assert products[0] == products[1] == products[2] != products[3]
    (english, bits_english), (chinese, bits_chinese) = (
        map(float, re.search(rf'{lang} mine +(\S+) nats a token, (\S+) bits', said['bits-light']).groups())
        for lang in ('en', 'zh'))
    assert (english > chinese) != (bits_english > bits_chinese)
    assert '20b: at least 4 card' in said['memory-light']
    base = [float(share) for share in re.findall(r'\d\.\d+', said['needle'].split(';')[0].split(': [[')[1])]
    rows = [base[i:i + 5] for i in range(0, 25, 5)]
    within, beyond, furthest = (sum(sum(row[part]) for row in rows) / sum(len(row[part]) for row in rows)
                                for part in (slice(3), slice(3, 4), slice(4, 5)))
    assert within > 0.9 > beyond > furthest and furthest < 0.2


def test_answers_of_lab_4():
    said = outputs('04_finetuning')
    [share] = re.findall(r'tokens, (\d+)%', said['mask-light'])
    assert int(share) < 50
    assert 'B = 0: far from the model without it · 与没有适配器时相差 0.0' in said['lora-light']
    shares = dict(re.findall(r'7b +rank +(\d+): .* (\S+)%', said['parameters-light']))
    assert float(shares['64']) == pytest.approx(2, abs=0.1) and float(shares['8']) < 0.3
    rows = {(spoiled == 'with outliers', int(size)): (float(ours), float(even)) for spoiled, size, ours, even in
            re.findall(r'(weights|with outliers) .*block of +(\d+): NF4 +(\S+)%, .* (\S+)%', said['nf4-light'])}
    assert all(ours < even for (spoiled, _), (ours, even) in rows.items() if not spoiled)
    assert rows[True, 64] < rows[True, 256] < rows[True, 1024] and rows[True, 64] > rows[False, 64]
    apart, whole = (float(share) for share in re.findall(r'答狐狸的机会 (\S+)%', said['packing-light'])[::-1])
    assert whole > 90 and apart < 10
    kept = {line.split()[0]: [float(share.rstrip('%')) for share in line.split()[1:]]
            for line in said['scores'].splitlines() if line.count('%') == 4}
    before, after, continued_before, continued_after = kept.pop('mean')
    assert before < 20 and after > before + 30 and continued_before > 50
    assert any(scores[0] < 10 and scores[1] > 80 for scores in kept.values())
    assert re.search(r"The answer is 85.': False", said['checker-light']) and "'85': False" in said['checker-light']


def test_answers_of_lab_5():
    said = outputs('05_rlhf')
    both = re.search(r'^both +word +(\d+)% +sentence +(\d+)% +flattery +(\d+)% +silence +(\d+)%', said['votes'], re.M)
    assert both[1] == both[2] > both[3] == both[4]
    losses = [list(map(float, found)) for found in re.findall(r'gamma 0 ([\d.]+), gamma 2 ([\d.]+)',
                                                              said['ranking-light'])]
    (plain, focal), (even, _), (wrong, same) = losses
    assert focal < plain / 20 and even > plain and wrong == same
    fitted = {(reader, weight): dict(zip(*[iter(re.split(r'[ ,]+', scores))] * 2)) for reader, weight, scores in
              re.findall(r'^(\w+) +penalty · 障碍 +([\d.]+): (.*)$', said['ranking-light'], re.M)}
    together = fitted['both', '0.02']
    assert together['word'] == together['sentence'] and together['flattery'] == together['silence']
    assert abs(float(fitted['program', '0.0']['word'])) > float(fitted['program', '0.02']['word']) > 0
    rows = {float(lam): numbers.split() for lam, numbers in re.findall(r'lam +([\d.]+): (.*)', said['gae-light'])}
    assert rows[0.0] == ['+0.000'] * 5 + ['+0.500'] and rows[1.0] == ['+0.500'] * 6
    exact = float(re.search(r'([\d.]+) nats', said['kl-light'])[1])
    kl = {name: list(map(float, found)) for name, *found in re.findall(
        r'(k\d): mean · 平均 ([\d.]+), deviation · 标准差 ([\d.]+), below zero · 为负 +(\d+)%', said['kl-light'])}
    assert [name for name in kl if kl[name][2]] == ['k1'] and kl['k1'][1] > 2 * max(kl['k2'][1], kl['k3'][1])
    assert max(abs(kl[name][0] / exact - 1) for name in ('k1', 'k3')) < 0.1
    assert '1 of 8 right · 对 1 个: first reply +0.875' in said['groups-light'] and '+2.646' in said['groups-light']
    rules = re.findall(r'^.{20} (True|False) +(True|False) +(True|False)$', said['verifier-light'], re.M)
    assert len(rules) == 15 and {yours for *_, yours in rules[:6]} == {'True'} != {yours for *_, yours in rules[6:]}
    assert [sum(row[rule] == 'True' for row in rules[6:]) for rule in range(3)] == [7, 4, 0]
    runs = re.findall(r"核对 ([\d.]+), best · 最好 ([\d.]+) → ([\d.]+): \('(\w+)'", said['diagnosis-light'])
    assert [kind for *_, kind in runs] == ['hack', 'hack', 'learning', 'standstill']
    assert float(runs[0][2]) == 0 and all(float(best) > float(last) for _, best, last, _ in runs[:2])
