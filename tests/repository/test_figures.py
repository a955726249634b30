"""Figures are those that the script draws from its facts, can be read, and say what the lectures say."""
import importlib.util
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import twins

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / 'images'
SVG = '{http://www.w3.org/2000/svg}'
PHONE = 328  # pixels that GitHub leaves a figure on a page 360 wide


@pytest.fixture(scope='module')
def figures():
    spec = importlib.util.spec_from_file_location('figures', IMAGES / 'src' / 'figures.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def facts(figures) -> dict:
    return figures.facts()


def test_figures_are_up_to_date(tmp_path: Path):
    subprocess.run([sys.executable, IMAGES / 'src' / 'figures.py', tmp_path], check=True)
    drawn = {path.name: path.read_bytes() for path in tmp_path.glob('*.svg')}
    assert drawn == {path.name: path.read_bytes() for path in IMAGES.glob('*.svg')}


@pytest.mark.parametrize('path', sorted(IMAGES.glob('*.svg')), ids=lambda path: path.stem)
def test_a_figure_can_be_read(path: Path, figures):
    """By a screen reader, in the dark and on a phone: texts that stay texts, none too small and none beyond the
    edge."""
    root = ElementTree.parse(path).getroot()
    assert root.find(f'{SVG}title').text and len(root.find(f'{SVG}desc').text) > 40
    assert 'prefers-color-scheme: dark' in root.find(f'{SVG}style').text
    texts = list(root.iter(f'{SVG}text'))
    said = ' '.join(text.text for text in texts)
    assert len(texts) >= 10 and '来源：' in said and 'Source: ' in said and re.search('[\u4e00-\u9fff]', said)
    assert root.find(f'.//{SVG}image') is None
    wide, high = map(float, root.get('viewBox').split()[2:])
    for text in texts:
        size, x = float(text.get('font-size')), float(text.get('x'))
        assert size * PHONE / wide >= 10 and size <= float(text.get('y')) <= high, text.text
        length = figures.width(text.text, size)
        start = x - length * {'start': 0, 'middle': 0.5, 'end': 1}[text.get('text-anchor')]
        assert start >= 0 and start + length <= wide, text.text


def test_every_figure_and_every_fact_has_its_source(figures, facts: dict):
    assert set(facts) == set(figures.drawings())
    assert all(part['source']['zh'] and part['source']['en'] for part in facts.values())
    entries = [*facts['history']['releases'], *(stage['how'] for stage in facts['family']['stages']),
               *facts['comparison']['dimensions']]
    assert all(entry['source'] for entry in entries)


def test_figures_print_no_number_of_their_own(facts: dict):
    """But for ticks, counters and the span in a heading, a numeral in a figure stands in facts.json."""
    own = dict(comparison={'0', '50', '100'}, chain=set('123456'), int4=set(map(str, range(16))),
               history={facts['history']['releases'][i]['date'][:7] for i in (0, -1)})
    for name, part in facts.items():
        texts = [text.text for text in ElementTree.parse(IMAGES / f'{name}.svg').getroot().iter(f'{SVG}text')]
        known = set(twins.numerals(json.dumps(part, ensure_ascii=False))) | own.get(name, set())
        assert set(twins.numerals('; '.join(texts))) - known - set(twins.numerals('InternLM2')) == set(), name


def test_the_comparison_shows_what_the_lecture_says(facts: dict):
    scores = [score for row in facts['comparison']['dimensions'] for score in row['scores'] if score is not None]
    for lecture in (ROOT / 'lectures').glob('*/01-*.md'):
        known = {number for section in twins.sections(lecture.read_text('utf-8')) for number in section.numbers}
        assert {f'{score}' for score in scores} <= known


def test_figures_of_the_data_lecture_compute_what_they_say(facts: dict):
    """The S-curve's turning points, slopes and chances follow from its bands and rows; sums and shares of Table 1 from
    its rows."""
    def chance(similarity: float) -> float:
        return 1 - (1 - similarity**ours['rows']) ** ours['bands']

    def steepest(b: int, r: int) -> tuple[float, float]:
        """(slope, similarity) where the curve of b bands of r rises most, of 1000 steps."""
        return max((b * r * s**(r - 1) * (1 - s**r)**(b - 1), s) for s in (step / 1000 for step in range(1000)))

    curve, rows = facts['scurve'], facts['composition']['rows']
    ours = next(cut for cut in curve['cuts'] if cut['ink'] == 'blue')
    for cut in curve['cuts']:
        slope, turn = steepest(cut['bands'], cut['rows'])
        assert cut['bands'] * cut['rows'] == curve['hashes'] and (turn, round(slope, 1)) == (cut['turn'], cut['slope'])
    assert [said for _, said in curve['table']] == [f'{chance(s):.{len(said) - 2}f}' for s, said in curve['table']]
    total = sum(row['gb'] for row in rows)
    documents = [float(row['documents'].split()[0].replace(',', '')) for row in rows]
    shares = [(row['percent'], round(100 * row['gb'] / total, 2)) for row in rows]
    # The report's own slip, told in the lecture
    assert [pair for pair in shares if pair[0] != pair[1]] == [(4.27, 4.26)]
    assert [float(row['each'].split()[0]) for row in rows] == [round(row['gb'] / n, 1 if row['gb'] / n < 100 else None)
                                                               for row, n in zip(rows, documents)]
    known = set(twins.numerals(' '.join(map(' '.join, (facts['composition']['total'], facts['composition']['web'])))))
    assert known == set(twins.numerals(f'{total:.2f} {sum(documents):.2f} M '
                                       f'{100 * sum(row["gb"] for row in rows if "web" in row["en"]) / total:.2f} '
                                       f'{100 * sum(row["gb"] for row in rows if "Chinese" in row["en"]) / total:.1f}'))


def test_a_changed_fact_changes_its_figure(figures, facts: dict):
    before = figures.comparison(facts['comparison'])
    facts = json.loads(json.dumps(facts))
    facts['comparison']['dimensions'][0]['scores'][0] += 0.1
    assert figures.comparison(facts['comparison']) != before
