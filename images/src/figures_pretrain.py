"""The figures of lecture 3 that show the training; figures.py draws them. What they say stands, with its sources, in
facts_pretrain.json."""
import json
import math
from pathlib import Path

from svg import MARGIN, SMALL, WIDTH, Figure, width

INNER = WIDTH - 2 * MARGIN
PACKAGE = Path(__file__).resolve().parents[2] / 'internlm_course'


def area(figure: Figure, points: list[tuple[float, float]], ink: str, opacity: float) -> None:
    """A closed shape, filled."""
    path = 'M' + ' L'.join(f'{x:g},{y:g}' for x, y in points) + ' Z'
    figure.parts.append(f'<path d="{path}" class="d-{ink}" opacity="{opacity:g}"/>')


def curve(facts: dict) -> str:
    """The shipped base model's loss over tokens, both logarithmic, with the band of lab 3's seeds."""
    base = json.loads((PACKAGE / facts['base']).read_text('utf-8'))['curve']
    band = json.loads((PACKAGE / facts['band']).read_text('utf-8'))['band']
    figure = Figure("课程模型的损失曲线 · The loss curve of the course's model",
                    f'Loss in nats over tokens read, both logarithmic. The base model begins at {facts["start"]}, '
                    f'stands at {facts["before"]} after its opening of {facts["opening"]} steps, leaps to '
                    f'{facts["leap"]} when the whole mixture comes, and ends at {facts["end"]}. The band of three '
                    'seeds of lab 3 falls without a leap.')
    y = figure.head('课程模型的损失曲线，一次真实的训练', "The loss curve of the course's model, a real run")
    figure.text(MARGIN, y, '损失，奈特（对数）', SMALL)
    figure.text(MARGIN, y + 20, 'loss in nats (logarithmic)', SMALL, 'muted')
    y += 44
    left, right, high = MARGIN + 44, WIDTH - MARGIN - 8, 330
    (x0, x1), (y0, y1) = facts['across'], facts['down']

    def place(tokens: float, loss: float) -> tuple[float, float]:
        across = math.log(tokens / x0) / math.log(x1 / x0)
        down = math.log(y1 / loss) / math.log(y1 / y0)
        return round(left + (right - left) * across, 1), round(y + high * down, 1)
    for loss in facts['losses']:
        _, down = place(x0, loss)
        figure.rule(left, down, right, down)
        figure.text(left - 8, down + 5, f'{loss:g}', SMALL, 'muted', 'end')
    for tick in facts['tokens']:
        across, _ = place(tick['value'], y0)
        figure.rule(across, y, across, y + high)
        figure.text(across, y + high + 22, tick['text'], SMALL, 'muted', 'middle')
    _, uniform = place(x0, facts['uniform'])
    figure.line((left, uniform), (right, uniform), ink='violet', arrow=False)
    figure.text(right, uniform + 22, f'一无所知 knows nothing: ln V = {facts["uniform"]}', SMALL, 'violet', 'end', True)
    area(figure, [*(place(tokens, low) for tokens, low, _, _ in band),
                  *(place(tokens, top) for tokens, _, _, top in reversed(band))], 'muted', 0.55)
    figure.line(*(place(tokens, loss) for tokens, loss in base), ink='blue', arrow=False)
    across, down = place(*facts['peak'])
    figure.dot(across, down, 6, 'orange')
    figure.text(across + 12, down - 2, f'{facts["leap"]}', 18, 'orange', bold=True)
    figure.text(across + 12, down + 20, '换成混合数据', SMALL, 'orange', bold=True)
    figure.text(across + 12, down + 40, 'the mixture changes', SMALL, 'orange')
    across, down = place(*base[-1])
    figure.dot(across, down, 5, 'blue')
    figure.text(across, down - 40, f'{facts["end"]}', 18, 'blue', 'end', True)
    figure.text(right, y + high + 44, '读过的词元 tokens read', SMALL, 'muted', 'end')
    y += high + 76
    for ink, zh, en in (('blue', facts['runs'][0]['zh'], facts['runs'][0]['en']),
                        ('muted', facts['runs'][1]['zh'], facts['runs'][1]['en'])):
        figure.bar(MARGIN, y - 13, 26, 14, ink)
        figure.text(MARGIN + 38, y, zh, SMALL)
        y = figure.paragraph(MARGIN + 38, y + 20, en, INNER - 38, SMALL, 'muted') + 10
    return figure.finish(y - 10, facts['source']['zh'], facts['source']['en'])


def needle(facts: dict) -> str:
    """Needles found by length and depth: base, base with the larger RoPE base, the model after the long phase."""
    figure = Figure('“针”找到了几根 · Needles found',
                    f'Three maps of five depths and five lengths, up to {facts["lengths"][-1]} tokens. At the greatest '
                    'length '
                    + ', '.join(f'{m["en"]} finds {m["furthest"]}' for m in facts['maps']) + '.')
    y = figure.head(f'“针”：每格 {facts["items"]} 根里找到几根',
                    f'The needle: how many of {facts["items"]} are found in each cell')
    cell = 54
    left = WIDTH - MARGIN - 5 * cell
    for found in facts['maps']:
        below = figure.paragraph(MARGIN, y + 22, found['zh'], left - MARGIN - 60, 17, found['ink'], bold=True)
        below = figure.paragraph(MARGIN, below, found['en'], left - MARGIN - 60, SMALL, 'muted')
        figure.text(MARGIN, below + 22, found['furthest'], 24, found['ink'], bold=True)
        figure.text(MARGIN, below + 44, '在最长处', SMALL, 'muted')
        figure.text(MARGIN, below + 63, 'at the far end', SMALL, 'muted')
        for depth, row in zip(facts['depths'], found['found']):
            figure.text(left - 8, y + 23, depth, SMALL, 'muted', 'end')
            for j, count in enumerate(row):
                figure.box(left + j * cell + 1.5, y, cell - 3, 33, 'plain', 4)
                if count:
                    figure.parts.append(f'<rect x="{left + j * cell + 1.5:g}" y="{y:g}" width="{cell - 3:g}" '
                                        f'height="33" rx="4" class="d-{found["ink"]}" '
                                        f'opacity="{0.5 * count / facts["items"]:.2f}"/>')
                figure.text(left + (j + 0.5) * cell, y + 23, f'{count}', SMALL, 'ink', 'middle', count > 0)
            y += 36
        for j, length in enumerate(facts['lengths']):
            figure.text(left + (j + 0.5) * cell, y + 16, length, SMALL, 'muted', 'middle')
        edge = left + facts['edge'] * cell
        figure.line((edge, y - 5 * 36 - 6), (edge, y + 2), ink='violet', arrow=False)
        y += 46
    y = figure.paragraph(MARGIN, y, facts['note']['zh'], INNER, SMALL)
    y = figure.paragraph(MARGIN, y - 1, facts['note']['en'], INNER, SMALL, 'muted')
    return figure.finish(y - 6, facts['source']['zh'], facts['source']['en'])


def phases(facts: dict) -> str:
    """Three phases with their share of the steps, and what the third did to an SFT model."""
    figure = Figure('预训练的三个阶段 · Three phases of pre-training',
                    'Three phases: '
                    + '; '.join(f'{p["en"]}, {p["share_text"]} of the training: {p["lines"][0]["en"]}'
                                for p in facts['phases']) + '.')
    y = figure.head('预训练的三个阶段', 'Three phases of pre-training')
    x = MARGIN
    for phase in facts['phases']:
        w = max(INNER * phase['share'] / 100, 8)
        figure.bar(x, y - 8, w - 2, 24, phase['fill'])
        x += w
    y += 46
    for phase in facts['phases']:
        top = y - 15
        figure.text(MARGIN + 20, y, phase['zh'], 19, phase['fill'], bold=True)
        figure.text(MARGIN + 20 + width(phase['zh'], 19) + 10, y, phase['en'], SMALL, 'muted')
        figure.text(WIDTH - MARGIN, y, phase['share_text'], 19, phase['fill'], 'end', True)
        y += 26
        for line in [*phase['lines'], phase['course']]:
            y = figure.paragraph(MARGIN + 20, y, line['zh'], INNER - 24, SMALL)
            y = figure.paragraph(MARGIN + 20, y - 2, line['en'], INNER - 24, SMALL, 'muted') + 4
        figure.bar(MARGIN, top, 7, y - 20 - top, phase['fill'])
        y += 22
    figure.text(MARGIN, y, '第三段之前与之后各做 SFT 的分数', 17, bold=True)
    y = figure.text(MARGIN, y + 21, 'scores of an SFT model made before and after phase 3', SMALL, 'muted') + 10
    left, room = MARGIN + 118, 250
    for row in facts['effect']:
        before, after = row['scores']
        figure.text(MARGIN, y - 2, row['zh'], SMALL)
        figure.text(MARGIN, y + 18, row['en'], SMALL, 'muted')
        figure.bar(left, y - 14, room * before / 100, 14, 'orange')
        figure.bar(left, y + 3, room * after / 100, 14, 'blue')
        figure.text(WIDTH - MARGIN, y + 8, f'{before:.2f} → {after:.2f}', 17, 'ink', 'end', True)
        y += 46
    return figure.finish(y - 6, facts['source']['zh'], facts['source']['en'])


def gigabytes(facts: dict, cut: list[str]) -> dict[str, float]:
    """GB of each state on one card when those in `cut` are split over all cards."""
    return {name: facts['parameters'] * each / (facts['cards'] if name in cut else 1)
            for name, each in facts['bytes'].items()}


def sharding(facts: dict) -> str:
    """Weights, gradients and optimiser states on one of eight cards, from full copies to everything cut."""
    figure = Figure('切分与显存 · Sharding and memory',
                    f'Memory on each of {facts["cards"]} cards for {facts["model"]}: '
                    + '; '.join(f'{way["en"]} {way["total"]} GB' for way in facts['ways']) + '.')
    y = figure.head(f'{facts["model"]} 在 {facts["cards"]} 块卡上：每块要多少',
                    f'{facts["model"]} on {facts["cards"]} cards: memory on each')
    inks = dict(weights='blue', gradients='orange', states='violet')
    x = MARGIN
    for name, words in dict(weights='权重 weights', gradients='梯度 gradients', states='优化器 optimiser').items():
        figure.dot(x + 7, y - 5, 7, inks[name])
        label = f'{words} {facts["bytes"][name]}'
        figure.text(x + 20, y, label, SMALL, 'muted')
        x += 32 + width(label, SMALL)
    y = 24 + figure.text(MARGIN, y + 24, '数字：每个参数的字节 · numbers: bytes a parameter', SMALL, 'muted')
    scale, top = (INNER - 8) / max(way['total'] for way in facts['ways']), y - 24
    for way in facts['ways']:
        y = figure.text(MARGIN, y, way['zh'], 17, bold=True)
        figure.text(MARGIN, y - 2, way['en'], SMALL, 'muted')
        figure.text(WIDTH - MARGIN, y - 2, f'{way["total"]} GB', 20, 'ink', 'end', True)
        x = MARGIN
        for name, gb in gigabytes(facts, way['cut']).items():
            figure.bar(x, y + 8, gb * scale, 24, inks[name])
            x += gb * scale
        y += 66
    card = MARGIN + facts['card_gb'] * scale
    figure.rule(card, top, card, y - 30, under=True)
    figure.text(card, y - 10, f'{facts["card_gb"]} GB', SMALL, 'muted', 'middle', True)
    return figure.finish(y + 12, facts['source']['zh'], facts['source']['en'])


FIGURES = dict(curve=curve, needle=needle, phases=phases, sharding=sharding)
