"""The numbers that lecture 5's figures show are computed again."""
import json
import math
import re
from pathlib import Path

import pytest
import twins

from internlm_course.lab.answers import lab05 as own

ROOT = Path(__file__).resolve().parents[2]
FACTS = json.loads((ROOT / 'images/src/facts_rlhf.json').read_text('utf-8'))


def lecture(language: str) -> str:
    return (ROOT / 'lectures' / language / '05-rlhf.md').read_text('utf-8')


def test_the_focal_loss():
    shown = FACTS['focal']
    for line in shown['lines']:
        assert shown[line['name']] == f'{own.ranking_loss(shown["at"], 0, line["gamma"]):.2f}'


def test_clipping():
    low, high = FACTS['clip']['edges']
    assert (low, high) == (1 - 0.2, 1 + 0.2) and f'{high} ' in FACTS['clip']['lines'][0]['zh']


def test_the_hack():
    """By the closed form: at KL nearly 0, at the best verified share, and at the right edge."""
    shown = FACTS['goodhart']
    found = []
    for i in range(180):
        weights = [p * math.exp(score / (1000 * 0.95**i)) for p, score in zip(shown['start'], shown['score'])]
        p = [weight / sum(weights) for weight in weights]
        kl = sum(new * math.log(new / old) for new, old in zip(p, shown['start']) if new)
        reward, right = (sum(a * b for a, b in zip(p, shown[name])) for name in ('score', 'right'))
        if kl <= shown['across']['high']:
            found.append((reward, right))
    rewards, rights = zip(*found)
    assert list(rewards) == sorted(rewards)
    assert shown['reward'] == [f'{rewards[0]:.2f}', f'{rewards[-1]:.2f}']
    assert shown['verified'] == [f'{share:.0%}' for share in (rights[0], max(rights), rights[-1])]


@pytest.mark.parametrize('language', ['zh', 'en'])
def test_gains_are_the_differences_of_the_lectures_table(language: str):
    table = re.findall(r'^\| ([\w-]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$', lecture(language), re.M)
    rows = {name: [float(score) for score in scores] for name, *scores in table}
    assert len(rows) == 11 == len(FACTS['gains']['rows'])
    for shown in FACTS['gains']['rows']:
        before, after, before_large, after_large = rows[shown['name']]
        assert shown['scores'] == [[before, after], [before_large, after_large]]
        assert shown['change'] == [round(after - before, 1), round(after_large - before_large, 1)]
        assert [said.replace('−', '-') for said in shown['said']] == [f'{change:+.1f}' if change else '0.0'
                                                                      for change in shown['change']]
        assert (shown['ink'] == 'orange') == all(change <= -1 for change in shown['change'])


def test_lecture_1_quotes_the_same_scores():
    quoted = re.findall(r'^\| ([\w-]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| [\d.§ -]+ \|$',
                        (ROOT / 'lectures/en/01-full-chain.md').read_text('utf-8'), re.M)
    mine = {row['name']: [score for pair in row['scores'] for score in pair] for row in FACTS['gains']['rows']}
    shared = {name: [float(score) for score in scores] for name, *scores in quoted if name in mine}
    assert len(shared) >= 8 and all(mine[name] == scores for name, scores in shared.items())


def test_the_ablation_agrees_with_lecture_1():
    numbers = {language: {number for section in twins.sections(lecture(language)) for number in section.numbers}
               for language in ('zh', 'en')}
    first = next(section for section in twins.sections((ROOT / 'lectures/en/01-full-chain.md').read_text('utf-8'))
                 if section.title.startswith('5.4'))
    ablation = {number for number in first.numbers if re.fullmatch(r'7\d\.\d+|68\.25', number)}
    assert len(ablation) == 8 and all(ablation <= known for known in numbers.values())


@pytest.mark.parametrize('language', ['zh', 'en'])
def test_the_collapses_are_the_benchs(language: str):
    """The table of section 6.4, in the bench's order, and what is said of the run at the higher rate."""
    bench = json.loads((ROOT / 'tests/bench/results/alignment-2026-11-29-AVX2.json').read_text('utf-8'))
    section = re.split(r'(?m)^#+ ', lecture(language))[-7]
    assert section.startswith('6.4')
    runs = [bench['runs'][f'{name}-0'] for name in ('ships', 'no_kl', 'divided', 'fast', 'all_three')]
    assert re.findall(r'\| ([\d.]+%) \| ([\d.]+%) \| ([\d.]+) \|$', section, re.M) == [
        (f'{run["after"]["task"]:.1%}', f'{run["after"]["mean"]:.1%}', f'{run["curve"][-1]["kl"]:.2f}') for run in runs]
    reward = [step['reward'] for step in runs[3]['curve']]
    said = (f'{bench["before"]["task"]:.1%}', f'{bench["before"]["mean"]:.1%}', f'{sum(reward[:8]) / 8:.2f}',
            f'{sum(reward[-8:]) / 8:.2f}')
    assert all(number in section for number in said) and bench['held_out'] == 300
    seeds = [run['after'] for name, run in bench['runs'].items() if name.startswith('ships')]
    assert len(seeds) == 5
    for part in ('task', 'mean'):
        shares = [after[part] for after in seeds]
        assert f'{min(shares):.1%}' in section and f'{max(shares):.1%}' in section
