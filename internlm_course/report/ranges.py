"""The range of the course's own runs: what the same recipe gave with other seeds and processors, and what of a run fell
out of it."""
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from internlm_course.marking import wilson
from internlm_course.names import AGENT, AGENT_SUITES, DIMENSIONS, MODELS, SUITES, Name, in_order

RANGES = Path(__file__).parents[1] / 'staff' / 'range.json'
AGENTS_MODEL = 'sft'  # the model that the agent asks
VERDICTS = dict(within=Name('在课程的范围内', "within the course's range"),
                below=Name('低于课程的范围', "below the course's range"),
                above=Name('高于课程的范围', "above the course's range"))
Ranges = dict[str, dict[str, tuple[float, float]]]


def read_ranges(path: Path = RANGES) -> Ranges:
    """{model: {suite: (lowest, highest)}} over the runs of the file, and the agent's as 'agent': {'with_tools',
    'without_tools'}; empty without runs.

    Args:
        path: {"runs": [{"models": {model: {suite: score}}, "agent": {…}, and where, when and how they ran}]}.
    """
    if not path.is_file():
        return {}
    values: dict[str, dict[str, list[float]]] = {}
    for run in json.loads(path.read_text('utf-8'))['runs']:
        for model, suites in (run['models'] | dict(agent=run['agent'])).items():
            for suite, value in suites.items():
                values.setdefault(model, {}).setdefault(suite, []).append(value)
    return {model: {suite: (min(found), max(found)) for suite, found in suites.items()}
            for model, suites in values.items()}


def compare_with_ranges(card: Mapping, ranges: Ranges) -> dict:
    """What a report card's `range` holds: {'models': {model: {dimension: {verdict, out}}}, 'agent': {verdict, out}}, of
    what has a range.

    `verdict` is 'within', 'above' or 'below', `out` the suites that fell out, {suite, verdict, score, low, high} each,
    with the range's ends. A dimension with suites on both sides is below.
    """
    models = {}
    for name, model in card['models'].items():
        known = ranges.get(name, {})
        placed = [dict(_placed(suite, row, known[suite]), dimension=row['dimension'])
                  for suite, row in model['suites'].items() if suite in known]
        dimensions = in_order((each['dimension'] for each in placed), DIMENSIONS)
        models[name] = {dimension: _together(each for each in placed if each['dimension'] == dimension)
                        for dimension in dimensions}
    found = dict(models=models)
    if 'agent' in ranges:
        [measured] = card['agent'].values()
        found['agent'] = _together(_placed(kind, measured[kind], ranges['agent'][kind]) for kind in AGENT_SUITES)
    return found


def _placed(suite: str, measured: Mapping, bounds: tuple[float, float]) -> dict:
    """Below is a score whose whole 95 % interval lies under that of the lowest run, above likewise.

    Both are measured on so few items: against the bare ends 119 right of 120 would be below where every run had all
    right.
    """
    (low, high), n = bounds, measured['n']
    verdict = 'within'
    if measured['high'] < wilson(round(low * n), n)[0]:
        verdict = 'below'
    elif measured['low'] > wilson(round(high * n), n)[1]:
        verdict = 'above'
    return dict(suite=suite, verdict=verdict, score=measured['score'], low=low, high=high)


def _together(placed: Iterable[Mapping]) -> dict:
    out = [{key: each[key] for key in ('suite', 'verdict', 'score', 'low', 'high')}
           for each in placed if each['verdict'] != 'within']
    verdicts = [each['verdict'] for each in out]
    return dict(verdict='below' if 'below' in verdicts else 'above' if verdicts else 'within', out=out)


@dataclass(frozen=True)
class Summary:
    """A card's `range` in words, for the terminal and the page."""
    within: list[Name]
    """The dimensions, and the agent, in which every model stayed within."""
    fallen: list[tuple[Name, Name, str]]
    """(verdict, suite, 'sft 22% (60–80%), int4 20% (58–80%)') of each suite that fell out, the range in brackets."""
    advice: Name | None
    """What it means where something is below."""

    @property
    def kept(self) -> Name:
        """What stayed within, in one line of each language."""
        verdict = VERDICTS['within']
        return Name(f'{verdict.zh}：{"、".join(part.zh for part in self.within)}',
                    f'{verdict.en}: {", ".join(part.en for part in self.within)}')


def summary(card: Mapping) -> Summary:
    """The words for a card that has a `range`."""
    found, rows, parts = card['range'], [], {}
    for model, dimensions in found['models'].items():
        for dimension, placed in dimensions.items():
            parts.setdefault(DIMENSIONS[dimension], []).append(placed['verdict'])
            rows += [(SUITES[each['suite']], model, each) for each in placed['out']]
    if 'agent' in found:
        parts[AGENT] = [found['agent']['verdict']]
        for each in found['agent']['out']:
            kind = AGENT_SUITES[each['suite']]
            rows.append((Name(f'{AGENT.zh}，{kind.zh}', f'{AGENT.en}, {kind.en}'), AGENTS_MODEL, each))
    texts: dict[tuple[str, Name], list[str]] = {}
    for suite, model, each in rows:
        bounds = '–'.join(dict.fromkeys(f'{100 * end:.0f}' for end in (each['low'], each['high'])))
        texts.setdefault((each['verdict'], suite), []).append(f'{model} {each["score"]:.0%} ({bounds}%)')
    fallen = [(VERDICTS[verdict], suite, ', '.join(models)) for (verdict, suite), models in texts.items()]
    weaker = {model for _, model, each in rows if each['verdict'] == 'below'}
    within = [part for part, verdicts in parts.items() if set(verdicts) == {'within'}]
    return Summary(within, fallen, _advice([name for name in MODELS if name in weaker], card['seed']) if weaker
                   else None)


def _advice(weaker: list[str], seed: int) -> Name:
    zh = f'你训练的模型（{"、".join(weaker)}）在这些题上比课程的弱。'
    en = f'Your own models ({", ".join(weaker)}) are weaker at this than the course\'s. '
    if labs := sorted({str(lab) for name in weaker for lab in MODELS[name].labs}):
        zh += f'用到它们的实验（{"、".join(labs)}）照常使用随课程发布的检查点，不受影响。'
        en += (f'The labs that open them ({", ".join(labs)}) go on with the checkpoints that ship, '
               'so nothing breaks there. ')
    command = f"make run ARGS='--seed {seed + 1}'"
    return Name(f'{zh}换一个种子再训练：{command}', f'{en}To train with another seed: {command}')


def lines(card: Mapping) -> list[str]:
    """The summary as lines of a terminal."""
    told = summary(card)
    text = [told.kept.en, told.kept.zh] if told.within else []
    text += [f'{verdict}: {suite}: {models}' for verdict, suite, models in told.fallen]
    if told.advice:
        text += [told.advice.en, told.advice.zh]
    return [f'  {line}' for line in text]
