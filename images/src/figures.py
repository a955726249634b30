"""Draws every figure of the lectures: `python images/src/figures.py [folder]`. What the figures say stands, with its
sources, in facts.json.

Each figures_X.py beside this script has a FIGURES of its own, with its facts in facts_X.json.
"""
import importlib
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from svg import MARGIN, SMALL, WIDTH, Figure, width  # noqa: E402 (a script beside its helper, not a package)

INNER = WIDTH - 2 * MARGIN


def history(facts: dict) -> str:
    """Open releases from the first to the latest, as a vertical line of dates."""
    figure = Figure("InternLM 开源历程 · InternLM's open releases",
                    'A vertical timeline: ' + '; '.join(f'{r["date"]} {r["name"]}' for r in facts['releases']) + '.')
    y = figure.head('书生·浦语开源历程', "InternLM's open releases, 2023-07 to 2026-02")
    x = MARGIN
    for zh, en, ink in (('模型', 'model', 'blue'), ('工具', 'tool', 'green'), ('数据', 'data', 'orange'),
                        ('报告', 'report', 'violet')):
        figure.dot(x + 7, y - 5, 7, ink)
        figure.text(x + 20, y, f'{zh} {en}', SMALL, 'muted')
        x += 36 + width(f'{zh} {en}', SMALL)
    y += 38
    line, left = 138, 160
    first = y - 6
    for release in facts['releases']:
        last = y - 6
        figure.text(line - 18, y, release['date'], SMALL, 'muted', 'end')
        figure.dot(line, last, 7, release['kind'])
        bottom = figure.text(left, y, release['name'], 18, release['kind'], bold=True)
        bottom = figure.paragraph(left, bottom, release['zh'], WIDTH - MARGIN - left, SMALL)
        y = figure.paragraph(left, bottom - 1, release['en'], WIDTH - MARGIN - left, SMALL, 'muted') + 14
    figure.rule(line, first, line, last, under=True)
    return figure.finish(y - 8, facts['source']['zh'], facts['source']['en'])


def family(facts: dict) -> str:
    """Three sizes across, four stages down."""
    figure = Figure('InternLM2 家族与阶段 · The InternLM2 family and its stages',
                    'Three sizes, 1.8B, 7B and 20B, and four stages: Base; enhanced, from Base; SFT, from Base as '
                    'well; RLHF, from SFT; '
                    'with the name of each released model.')
    y = figure.head('InternLM2：三个尺寸，四个阶段', 'InternLM2: three sizes, four stages')
    columns = [MARGIN + 138 + i * 126 for i in range(3)]
    for x, size in zip(columns, facts['sizes']):
        figure.text(x + 60, y + 6, size['name'], 24, 'ink', 'middle', True)
    y += 34
    rows = (('参数', 'parameters', 'parameters'), ('层数', 'layers', 'layers'), ('隐藏维度', 'hidden size', 'hidden'),
            ('查询头 / KV 头', 'query / KV heads', 'heads'))
    for zh, en, key in rows:
        figure.text(MARGIN, y, zh, SMALL)
        figure.text(MARGIN, y + 19, en, SMALL, 'muted')
        for x, size in zip(columns, facts['sizes']):
            figure.text(x + 60, y + 9, str(size[key]), 17, 'ink', 'middle')
        y += 48
    y += 4
    # A stage's arrow comes from the stage above or from its `parent`; past a stage between them it runs on the left.
    passed = {i for place, stage in enumerate(facts['stages']) for i in range(stage.get('parent', place) + 1, place)}
    bottoms = []
    for place, stage in enumerate(facts['stages']):
        inset = 34 if place in passed else 0
        left, start = MARGIN + inset, bottoms[stage['parent']] if 'parent' in stage else y - 12
        figure.line((left + 14, start), (left + 14, y + 38), ink='muted')
        # How a stage is made stands on the arrow that leads to it.
        below = figure.text(left + 32, y + 6, stage['how']['zh'], SMALL)
        figure.text(left + 32, below, stage['how']['en'], SMALL, 'muted')
        y += 44
        figure.box(left, y, INNER - inset, 56, stage['fill'])
        figure.text(left + 14, y + 25, stage['zh'], 19, stage['fill'], bold=True)
        figure.text(left + 14, y + 45, stage['en'], SMALL, 'muted')
        for x, model in zip(columns, stage['models']):
            figure.text(x + 60, y + 34, model, SMALL, 'ink', 'middle')
        bottoms.append(y + 60)
        y += 72
    y = figure.paragraph(MARGIN, y + 16, facts['notes']['zh'], INNER, SMALL)
    y = figure.paragraph(MARGIN, y - 1, facts['notes']['en'], INNER, SMALL, 'muted')
    return figure.finish(y, facts['source']['zh'], facts['source']['en'])


def step(figure: Figure, x: float, y: float, zh: str, en: str, fill: str, w: float = 230) -> None:
    """A step of a flow, centred on x, y its top, 58 high."""
    figure.box(x - w / 2, y, w, 58, fill)
    figure.text(x, y + 25, zh, 18, 'ink', 'middle', True)
    figure.text(x, y + 46, en, SMALL, 'muted', 'middle')


def question(figure: Figure, x: float, y: float, zh: str, en: str) -> None:
    """A question of a flow, centred on x, y its top, 112 high."""
    figure.diamond(x, y + 56, 330, 112, 'plain')
    figure.text(x, y + 54, zh, 18, 'ink', 'middle', True)
    figure.text(x, y + 75, en, SMALL, 'muted', 'middle')


def flow(facts: dict) -> str:
    """From model to application: three questions, four ways."""
    figure = Figure('从模型到应用 · From model to application',
                    'A flow: choose a model. Is the scene complex? If not, evaluate and deploy. If it is: is compute '
                    'enough? Yes: continue training or '
                    'full fine-tuning; no: LoRA. Then: must it act on an environment? Yes: build an agent. Then '
                    'evaluate and deploy.')
    y = figure.head('从模型到应用：三个问题', 'From model to application: three questions')
    middle, right = 226, 488
    step(figure, middle, y, '选择模型', 'choose a model', 'blue')
    figure.line((middle, y + 58), (middle, y + 82))
    y += 82
    question(figure, middle, y, '业务场景复杂吗？', 'a complex scene?')
    simple = y + 56
    figure.text(middle + 172, simple - 8, '否 no', SMALL, 'orange')
    figure.line((middle, y + 112), (middle, y + 146))
    figure.text(middle + 12, y + 134, '是 yes', SMALL, 'green')
    y += 146
    question(figure, middle, y, '算力足够吗？', 'enough compute?')
    left, other = 130, 354
    turn = y + 56
    figure.line((middle - 165, turn), (42, turn), (42, turn + 92))
    figure.text(MARGIN, turn - 10, '是 yes', SMALL, 'green')
    figure.line((middle + 165, turn), (410, turn), (410, turn + 92))
    figure.text(394, turn - 10, '否 no', SMALL, 'orange')
    y = turn + 92
    figure.box(MARGIN, y, 206, 78, 'green')
    figure.text(MARGIN + 103, y + 24, '续训 / 全参微调', 18, 'ink', 'middle', True)
    figure.text(MARGIN + 103, y + 46, 'continued training or', SMALL, 'muted', 'middle')
    figure.text(MARGIN + 103, y + 66, 'full fine-tuning', SMALL, 'muted', 'middle')
    figure.box(250, y, 206, 78, 'green')
    figure.text(353, y + 24, '部分微调 LoRA', 18, 'ink', 'middle', True)
    figure.text(353, y + 46, 'partial fine-tuning:', SMALL, 'muted', 'middle')
    figure.text(353, y + 66, 'LoRA, QLoRA', SMALL, 'muted', 'middle')
    join = y + 102
    figure.line((left - 15, y + 78), (left - 15, join), (middle, join), arrow=False)
    figure.line((other - 1, y + 78), (other - 1, join), (middle, join), arrow=False)
    figure.line((middle, join), (middle, join + 24))
    y = join + 24
    question(figure, middle, y, '要与环境交互吗？', 'act on an environment?')
    act = y + 56
    figure.line((middle, y + 112), (middle, y + 146))
    figure.text(middle + 12, y + 134, '是 yes', SMALL, 'green')
    figure.text(middle + 172, act - 8, '否 no', SMALL, 'orange')
    y += 146
    step(figure, middle, y, '构建智能体', 'build an agent', 'orange')
    figure.line((middle, y + 58), (middle, y + 90))
    y += 90
    step(figure, middle, y, '评测', 'evaluate', 'violet')
    figure.line((middle + 165, simple), (right, simple), (right, y + 29), (middle + 115, y + 29))
    figure.line((middle + 165, act), (right, act), arrow=False)
    figure.line((middle, y + 58), (middle, y + 86))
    y += 86
    step(figure, middle, y, '部署', 'deploy', 'blue')
    return figure.finish(y + 84, facts['source']['zh'], facts['source']['en'])


def chain(facts: dict) -> str:
    """Six links with their tools, and the course's small model growing from link to link."""
    figure = Figure('六个环节的全链路 · The chain of six links',
                    'Six links, top to bottom: '
                    + '; '.join(f'{link["en"]} with {link["tool"]}: {link["makes"]["en"]}' for link in facts['links'])
                    + '.')
    y = figure.head('全链路：六个环节，一个模型在长大', 'The chain: six links, one model growing')
    y -= 12
    sprout = WIDTH - MARGIN - 46
    for number, link in enumerate(facts['links'], 1):
        figure.box(MARGIN, y, INNER, 116, link['fill'])
        figure.dot(MARGIN + 30, y + 34, 17, link['fill'])
        figure.text(MARGIN + 30, y + 41, str(number), 19, 'd-card', 'middle', True)
        figure.text(MARGIN + 60, y + 32, link['zh'], 20, link['fill'], bold=True)
        figure.text(MARGIN + 68 + width(link['zh'], 20), y + 32, link['en'], SMALL, 'muted')
        figure.text(MARGIN + 60, y + 56, link['tool'], 18, bold=True)
        figure.text(MARGIN + 60, y + 82, link['makes']['zh'], SMALL)
        figure.text(MARGIN + 60, y + 103, link['makes']['en'], SMALL, 'muted')
        plant(figure, sprout, y + 98, number, link['fill'])
        y += 116
        if number < len(facts['links']):
            figure.line((MARGIN + 30, y), (MARGIN + 30, y + 26), ink='muted')
            y += 26
    return figure.finish(y + 20, facts['source']['zh'], facts['source']['en'])


def plant(figure: Figure, x: float, ground: float, number: int, ink: str) -> None:
    """A sprout that is taller with each link: a stem with `number` leaves on its two sides."""
    top = ground - 12 * number
    figure.line((x, ground), (x, top), ink=ink, arrow=False)
    figure.line((x - 26, ground), (x + 26, ground), ink=ink, arrow=False)
    for leaf in range(number):
        y, side = ground - 12 * (leaf + 1), 1 if leaf % 2 else -1
        figure.leaf(x + side * 12, y, -18 * side, ink)


def comparison(facts: dict) -> str:
    """Three models in the report's six dimensions, one benchmark for each, as bars with their figures."""
    said = []
    for dimension in facts['dimensions']:
        scores = ', '.join(f'{model["name"]} {"no figure" if score is None else score}'
                           for model, score in zip(facts['models'], dimension['scores']))
        said.append(f'{dimension["en"]}: {dimension["benchmark"]} {scores}')
    figure = Figure('三个模型，六个维度 · Three models, six dimensions', '; '.join(said) + '.')
    y = figure.head('三个模型，六个维度', 'Three models, six dimensions')
    x = MARGIN
    for model in facts['models']:
        figure.bar(x, y - 13, 14, 14, model['ink'])
        figure.text(x + 20, y, model['name'], SMALL)
        x += 32 + width(model['name'], SMALL)
    y += 40
    left, full = 206, 260  # where bars begin, and the length of 100 points
    top = y - 24
    for dimension in facts['dimensions']:
        figure.text(MARGIN, y, dimension['zh'], 18, bold=True)
        below = figure.paragraph(MARGIN, y + 21, dimension['en'], left - MARGIN - 12, SMALL, 'muted')
        figure.text(MARGIN, below + 2, dimension['benchmark'], 17, 'violet', bold=True)
        at = y - 14
        for model, score in zip(facts['models'], dimension['scores']):
            if score is None:
                figure.text(left + 8, at + 15, '— 没有 no figure', SMALL, 'muted')
            else:
                figure.bar(left, at, full * score / 100, 18, model['ink'])
                figure.text(left + full * score / 100 + 8, at + 15, str(score), SMALL)
            at += 26
        y = max(at, below + 24) + 34
        figure.rule(MARGIN, y - 38, WIDTH - MARGIN, y - 38)
    for points in (0, 50, 100):
        place = left + full * points / 100
        figure.rule(place, top, place, y - 38, under=True)
        figure.text(place, y - 18, str(points), SMALL, 'muted', 'middle')
    return figure.finish(y + 8, facts['source']['zh'], facts['source']['en'])


FIGURES = dict(history=history, family=family, flow=flow, chain=chain, comparison=comparison)


def facts() -> dict:
    """What every figure says, by the figure's name."""
    return {name: part for path in sorted(HERE.glob('facts*.json'))
            for name, part in json.loads(path.read_text('utf-8')).items()}


def drawings() -> dict:
    """Every figure's drawing function, by the figure's name: facts of the figure -> SVG."""
    scripts = [importlib.import_module(path.stem) for path in sorted(HERE.glob('figures_*.py'))]
    return FIGURES | {name: make for script in scripts for name, make in script.FIGURES.items()}


def draw(folder: Path) -> None:
    """Writes every figure into `folder`; the same facts give the same bytes."""
    said = facts()
    for name, make in drawings().items():
        (folder / f'{name}.svg').write_text(make(said[name]), 'utf-8', newline='\n')


if __name__ == '__main__':
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent)
