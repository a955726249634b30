"""The report card's page: every part of a full card shows, every missing part is left out, nothing of a student's text
becomes markup.

FAKE is made up for the renderer alone; no figure in it was measured.
"""
import html
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from test_commands import fault

from internlm_course import report
from internlm_course.names import DIMENSIONS, MODELS
from internlm_course.report import drawing
from internlm_course.report.ranges import compare_with_ranges


def score(value: float, chance: float = 0.02) -> dict:
    return {'score': value, 'n': 120, 'low': max(0, value - 0.07), 'high': min(1, value + 0.05), 'chance': chance}


def scores(*values: float) -> dict:
    return dict(zip(DIMENSIONS, map(score, values), strict=True))


def suites(translation: float, reading: float, knowledge: float) -> dict:
    return {'reading': score(reading, 0.36) | {'dimension': 'language'},
            'translation': score(translation) | {'dimension': 'language'},
            'knowledge': score(knowledge) | {'dimension': 'knowledge'}}


FAKE = {
    'scale': 'fake', 'seed': 5, 'seconds': 1085.4, 'peak_memory_bytes': 3_210_000_000,
    'machine': {'cpu': 'Fake CPU, 2 cores', 'memory': '24 GB', 'dtype': 'float32'},
    'versions': {'torch': '0.0.1', 'xtuner': '0.0.2'},
    'stages': [
        {'name': 'crawl', 'seconds': 11.2, 'peak_memory_bytes': 400_000_000, 'cached': True, 'metrics': {}},
        {'name': 'corpus', 'seconds': 61.0, 'peak_memory_bytes': 900_000_000, 'cached': False,
         'metrics': {'documents': 9000}},
        {'name': 'base', 'seconds': 402.0, 'peak_memory_bytes': 1_900_000_000, 'cached': False,
         'metrics': {'curve': [[i * 1e5, 1 + 6 * math.exp(-i / 8)] for i in range(1, 50)]}},
        {'name': 'long', 'seconds': 120.0, 'peak_memory_bytes': 2_100_000_000, 'cached': False,
         'metrics': {'curve': [[i * 1e5, 1 - i / 100] for i in range(1, 12)]}},
        {'name': 'sft', 'seconds': 95.0, 'peak_memory_bytes': 2_300_000_000, 'cached': False, 'metrics': {}},
        {'name': 'chat', 'seconds': 90.0, 'peak_memory_bytes': 900_000_000, 'cached': False,
         'metrics': {'checks': {'refusal': {'before': 0.41, 'after': 0.63, 'n': 120}},
                     'verified': {'before': 0.41, 'after': 0.63, 'n': 120, 'gain': [0.102, 0.338]},
                     'steps': [[1, 0.4, 0.0], [2, 0.6, 0.07]]}}],
    'models': {
        'base': {'bits_per_byte': {'web': 0.912, 'code': 0.401}, 'bytes': 9_100_000, 'decode_tokens_per_second': 195.0,
                 'scores': scores(.97, .9, .7, .88, .5, .81), 'suites': suites(.93, .34, .97)},
        'long': {'bits_per_byte': {'web': 0.905, 'code': 0.398}, 'bytes': 9_100_000, 'decode_tokens_per_second': 195.0,
                 'scores': scores(.965, .91, .72, .9, .93, .82)},
        'sft': {'bits_per_byte': {'web': 0.95}, 'bytes': 9_100_000, 'decode_tokens_per_second': 195.0,
                'scores': scores(.96, .9, .71, .89, .92, .9), 'suites': suites(.94, .62, .96)},
        'int4': {'bytes': 3_300_000, 'decode_tokens_per_second': 160.0, 'scores': scores(.95, .89, .69, .87, .9, .9)}},
    'agent': {'multiply_3_by_3': {'with_tools': score(0.94), 'without_tools': 0.03, 'n': 120}},
    'data': {'funnel': [{'step': 'pages', 'documents': 20000, 'bytes': 52_000_000, 'precision': None, 'recall': None},
                        {'step': 'language', 'documents': 17100, 'bytes': 41_000_000, 'precision': 0.99,
                         'recall': 0.97},
                        {'step': 'rules', 'documents': 14200, 'bytes': 30_000_000, 'precision': 0.96, 'recall': 0.91},
                        {'step': 'minhash', 'documents': 9000, 'bytes': 21_000_000, 'precision': 0.995,
                         'recall': 0.98}]},
    'samples': [{'question': '法国的首都是哪里？', 'answer': '巴黎', 'correct': {'base': False, 'sft': True},
                 'base': '法国的首都是里昂。', 'sft': '巴黎。'},
                {'question': 'What is 27 + 48? <script>alert(1)</script>', 'base': '27 + 48 = 75', 'sft': '75'}],
}
PARTS = {'stages': 'Stages', 'models': 'What next', 'data': 'The data funnel', 'agent': 'The agent and its tool',
         'samples': 'In its own words'}


class Page(HTMLParser):
    """Collects the tags and what they point to, and checks that they close in order."""
    VOID = ('meta', 'br')

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.links = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ('src', 'href')]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_full_card_shows_every_part():
    text = report.render(FAKE)
    page = Page(text)
    assert 'script' not in page.tags and not page.links and 'http' not in text
    for part in (*PARTS.values(), 'Pre-training', 'Six dimensions', 'Bytes of the weights', 'Machine and versions'):
        assert part in text
    for number in ('18 min 05 s', '3.21 GB', '50% → 93%', '3% → 94%', '36%', '0.912', '17,100', 'P 99% · R 97%',
                   '41%', '63%', '+10.2 to +33.8', '0.07 nats'):
        assert number in text
    assert page.tags.count('polyline') == 2
    assert '&lt;script&gt;' in text


class Rows(HTMLParser):
    """The texts of the cells of every table row."""

    def __init__(self, text: str):
        super().__init__()
        self.rows = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == 'tr':
            self.rows.append([])
        elif tag in ('td', 'th'):
            self.rows[-1].append('')

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def test_suites_that_a_dimension_pools_have_rows_of_their_own_with_their_own_chance():
    rows = Rows(report.render(FAKE)).rows
    [language] = [i for i, row in enumerate(rows) if row and row[0] == '语言 language']
    names = [row[0] for row in rows[language + 1:language + 4]]
    assert names == ['翻译 translation', '阅读 reading', '推理与数学 reasoning']
    assert [row[-1] for row in rows[language:language + 3]] == ['2%', '2%', '36%']
    assert [cell[:3] for cell in rows[language + 2]] == ['阅读 ', '34%', '', '62%', '',
                                                         '36%'], 'base, long, sft, int4 and chance'
    assert not [row for row in rows
                if row and row[0].startswith('知识') and row[1][:3] != '97%'], 'knowledge is one suite'


def ranged(low: float) -> dict:
    """FAKE with the range of runs whose base had `low` to 100 % in reading."""
    ranges = {'base': {'translation': (0.9, 1.0), 'reading': (low, 1.0), 'knowledge': (0.9, 1.0)}}
    return dict(FAKE, range=compare_with_ranges(dict(FAKE, models={'base': FAKE['models']['base']}), ranges))


def test_the_range_is_one_line_where_all_is_within_it():
    text = report.render(ranged(0.3))
    Page(text)
    assert "within the course's range: knowledge, language" in text.replace('&#x27;', "'")
    assert '在课程的范围内：知识、语言' in text
    assert 'class="range"' not in text and '--seed' not in text.split('id="next"')[0]


def test_what_fell_out_of_the_range_is_named_with_its_numbers_and_the_way_on():
    text = report.render(ranged(0.9))
    Page(text)
    part = text[text.index('class="range"'):text.index('</section>',
                                                       text.index('class="range"'))].replace('&#x27;', "'")
    assert '阅读 <span class="en" lang="en">reading</span></dt><dd>base 34% (90–100%)<br>低于课程的范围' in part
    assert "below the course's range" in part and '在课程的范围内：知识' in part and "make run ARGS='--seed 6'" in part


def test_a_sample_shows_the_expected_answer_and_who_gave_it():
    [first, second] = report.render(FAKE).split('<div class="chat">')[1:]
    assert re.search('expected</span> <b>巴黎</b>', first) and 'base</span> ✗' in first and 'sft</span> ✓' in first
    assert 'expected' not in second and '✓' not in second, 'a card of an earlier version has neither'


@pytest.mark.parametrize('card, commands', [
    (FAKE | {'scale': 'tiny'}, ["make chat ARGS='--mine --seed 5'", "make run ARGS='--seed 6'"]),
    (FAKE | {'scale': '1_8b', 'seed': 0},
     ["make chat SCALE=1_8b ARGS='--mine'", "make run SCALE=1_8b ARGS='--seed 1'"])])
def test_the_page_ends_in_what_to_do_next(card, commands):
    last = html.unescape(report.render(card).split('<section')[-1])
    assert last.startswith(' id="next"') and re.findall('<code>(make .*?)</code>', last) == ['make lab', *commands]
    assert [fault(command) for command in commands] == [None, None]


def test_what_next_tells_of_a_fall_only_where_there_is_one():
    fallen, within = (html.unescape(report.render(ranged(low)).split('id="next"')[1]) for low in (0.9, 0.3))
    assert "below the course's range" in fallen and '低于课程的范围' in fallen
    assert 'below' not in within and 'how much of a score is luck' in within


MEASURE = """<script>addEventListener('load', () => { const page = document.querySelector('iframe').contentDocument;
  const beyond = [...page.querySelectorAll('main *:not(svg *)')].filter(each => {
    const at = each.getBoundingClientRect();
    return at.right > innerWidth + .5 || at.left < 0 ||
      (each.clientWidth && each.scrollWidth > each.clientWidth + 8); });
  const heads = [...page.querySelectorAll('.scores tr:first-child th')]
    .filter(each => each.getBoundingClientRect().width > 0);
  document.body.dataset.found = JSON.stringify({width: page.documentElement.clientWidth,
    beyond: beyond.map(each => each.outerHTML.slice(0, 80)),
    heads: heads.map(each => each.innerText.split('\\n')[0])}); })</script>"""


@pytest.mark.skipif(not shutil.which('chromium'), reason='no Chromium here: the page was not looked at')
@pytest.mark.parametrize('width', [390, 1280])
def test_on_a_phone_as_on_a_desk_no_model_and_no_label_is_cut(tmp_path, width):
    """A frame stands for the window, which Chromium never makes narrower than 500 pixels."""
    card = dict(ranged(0.9), models=dict.fromkeys(MODELS, FAKE['models']['sft']))
    (tmp_path / 'frame.html').write_text(f'<!doctype html><style>body {{ margin: 0 }} iframe {{ border: 0; width: '
                                         f'{width}px; height: 900px }}</style>'
                                         f'<iframe srcdoc="{html.escape(report.render(card))}"></iframe>{MEASURE}',
                                         'utf-8')
    line = ['chromium', '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run',
            '--disable-background-networking', '--hide-scrollbars',
            f'--user-data-dir={tmp_path}', f'--window-size={max(width, 520)},900', '--dump-dom',
            (tmp_path / 'frame.html').as_uri()]
    dom = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60).stdout
    found = json.loads(html.unescape(re.search('data-found="(.*?)"', dom)[1]))
    assert found['width'] == width and found['beyond'] == []
    assert [name for name in MODELS if name in found['heads']] == list(MODELS)


def contrast(one: str, other: str) -> float:
    """WCAG's, of two colours such as fff and 1d1f21."""
    lights = []
    for colour in (one, other):
        digits = colour if len(colour) == 6 else ''.join(2 * digit for digit in colour)
        parts = [int(digits[i:i + 2], 16) / 255 for i in (0, 2, 4)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        lights.append(0.2126 * red + 0.7152 * green + 0.0722 * blue)
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def test_texts_and_marks_stand_out_by_day_and_by_night():
    css = Path(report.page.__file__).with_suffix('.css').read_text('utf-8')
    day, night = (dict(re.findall(r'--(\w+): #(\w+)', theme)) for theme in re.findall(r':root \{([^}]*)\}', css))
    for theme in (day, night):
        assert min(contrast(theme[text], theme[ground]) for text in ('ink', 'soft')
                   for ground in ('page', 'card', 'track')) >= 4.5
        assert min(contrast(theme[mark], theme['card']) for mark in ('accent', *(f'm{i}' for i in range(7)))) >= 3


@pytest.mark.parametrize('part', list(FAKE))
def test_missing_part_is_left_out(part):
    text = report.render({key: value for key, value in FAKE.items() if key != part})
    Page(text)
    if part in PARTS:
        assert PARTS[part] not in text


def test_empty_card_is_a_page():
    assert 'section' not in Page(report.render({})).tags


def test_every_tile_names_its_number_once():
    card = dict(FAKE, models={'base': FAKE['models']['base']}, agent={})
    assert '→' not in report.render(card)


def test_write_keeps_the_keys_and_leaves_one_file_each(tmp_path):
    report.write({'scale': 'old'}, tmp_path)
    report.write(dict(FAKE, seconds=math.nan), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['report.html', 'report.json']
    card = json.loads((tmp_path / 'report.json').read_text('utf-8'), parse_constant=pytest.fail)
    assert list(card) == list(FAKE) and card['seconds'] is None and card['models'] == FAKE['models']


@pytest.mark.parametrize('seconds, text',
                         [(0.04, '0.0 s'), (59.94, '59.9 s'), (59.96, '1 min 00 s'), (3599.6, '1 h 00 min'),
                          (7380, '2 h 03 min')])
def test_duration(seconds, text):
    assert drawing.duration(seconds) == text


@pytest.mark.parametrize('count, text',
                         [(0, '0 B'), (999, '999 B'), (1000, '1.00 kB'), (12_345, '12.3 kB'), (999_499, '999 kB'),
                          (999_500, '1.00 MB'), (3.2e9, '3.20 GB'), (4e12, '4.00 TB')])
def test_size(count, text):
    assert drawing.size(count) == text


@pytest.mark.parametrize('fraction, text', [(0, '0%'), (0.004, '0.4%'), (0.5, '50%'), (0.992, '99.2%'), (1, '100%')])
def test_percent(fraction, text):
    assert drawing.percent(fraction) == text


def test_losses_have_a_logarithmic_axis():
    assert drawing.log_ticks(0.45, 6.9) == [0.5, 1, 2, 5] and drawing.log_ticks(0.02, 0.3) == [0.02, 0.05, 0.1, 0.2]


@pytest.mark.parametrize('low, high', [(0, 7.3), (0, 0.02), (0, 5e6), (1.2, 1.3)])
def test_ticks_are_few_round_and_inside(low, high):
    ticks = drawing.ticks(low, high)
    assert 2 <= len(ticks) <= 7 and low - 1e-9 <= ticks[0] and ticks[-1] <= high + 1e-9
