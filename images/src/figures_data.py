"""Figures of lecture 2, drawn by figures.py. What they say stands in facts_data.json; curves are computed here from the
numbers that stand there."""
from math import erfc, sqrt

from svg import MARGIN, SMALL, WIDTH, Figure, width, wrap

INNER = WIDTH - 2 * MARGIN


def composition(facts: dict) -> str:
    """The report's Table 1 as bars: bytes long, documents and size of a document beside them."""
    said = '; '.join(f'{row["en"]} {row["gb"]} GB, {row["percent"]}%, {row["documents"]} documents'
                     for row in facts['rows'])
    figure = Figure('InternLM2 的预训练文本由什么构成 · What InternLM2 was trained on',
                    f'Bars of bytes by source: {said}.')
    y = figure.head('预训练文本：六个来源', "InternLM2's text: six sources, by bytes")
    full = INNER - 8
    for row in facts['rows']:
        end = figure.text(MARGIN, y, row['zh'], 18, row['ink'], bold=True)
        figure.text(MARGIN + 10 + width(row['zh'], 18), y, row['en'], SMALL, 'muted')
        figure.text(WIDTH - MARGIN, y, f'{row["gb"]:,} GB · {row["percent"]}%', 17, 'ink', 'end', True)
        figure.bar(MARGIN, end - 15, max(2, round(full * row['percent'] / 100, 1)), 16, row['ink'])
        y = 16 + figure.text(MARGIN, end + 22, f'{row["documents"]} 篇 documents，每篇 each {row["each"]}', SMALL,
                             'muted')
    figure.rule(MARGIN, y - 20, WIDTH - MARGIN, y - 20)
    for zh, en in (facts['total'], facts['web']):
        y = figure.paragraph(MARGIN, y + 6, zh, INNER, 17, bold=True)
        y = figure.paragraph(MARGIN, y - 1, en, INNER, SMALL, 'muted')
    return figure.finish(y, facts['source']['zh'], facts['source']['en'])


def pipeline(facts: dict) -> str:
    """The steps from top to bottom: what each does, what it drops by mistake, and the name of what is left."""
    said = '; '.join(f'{step["en"]}: {step["does"]["en"]}, by mistake {step["hurts"]["en"]}' for step in facts['steps'])
    figure = Figure('数据流水线与每一步的误伤 · The pipeline, and what each step drops by mistake',
                    f'Steps, top to bottom: {said}.')
    y = figure.head('流水线：每一步都会误伤', 'The pipeline: every step also drops good pages')
    left, room = MARGIN + 60, INNER - 74
    for step in facts['steps']:
        parts = [(step['does']['zh'], SMALL, 'ink'), (step['does']['en'], SMALL, 'muted'),
                 (f'误伤：{step["hurts"]["zh"]}', SMALL, 'orange'),
                 (f'By mistake: {step["hurts"]["en"]}', SMALL, 'muted')]
        high = 44 + sum(size * 1.35 * len(wrap(text, size, room)) for text, size, _ in parts) + 8
        figure.box(MARGIN, y, INNER, round(high), step['fill'])
        figure.dot(MARGIN + 30, y + 30, 17, step['fill'])
        figure.text(MARGIN + 30, y + 37, str(step['n']), 19, 'd-card', 'middle', True)
        figure.text(left, y + 30, step['zh'], 19, step['fill'], bold=True)
        figure.text(left + 10 + width(step['zh'], 19), y + 30, step['en'], SMALL, 'muted')
        at = y + 56
        for text, size, ink in parts:
            at = figure.paragraph(left, at, text, room, size, ink)
        y += round(high)
        gives = step.get('gives')
        if gives or step is not facts['steps'][-1]:
            figure.line((MARGIN + 30, y), (MARGIN + 30, y + 32), ink='muted')
        if gives:
            figure.text(left, y + 22, f'{gives["zh"]} {gives["en"]}', 17, 'green', bold=True)
        y += 32
    return figure.finish(y + 14, facts['source']['zh'], facts['source']['en'])


class Axes:
    """A square of the unit interval, with ticks, in which curves are drawn."""

    def __init__(self, figure: Figure, y: float, ticks: list, high: float = 320):
        self.figure, self.left, self.top, self.wide, self.high = figure, MARGIN + 44, y, INNER - 60, high
        for tick in ticks:
            x, at = self.at(tick, tick)
            figure.rule(self.left, at, self.left + self.wide, at)
            figure.rule(x, self.top, x, self.top + high)
            figure.text(self.left - 8, at + 5, f'{tick:g}', SMALL, 'muted', 'end')
            figure.text(x, self.top + high + 22, f'{tick:g}', SMALL, 'muted', 'middle')

    def at(self, x: float, y: float) -> tuple[float, float]:
        return round(self.left + self.wide * x, 1), round(self.top + self.high * (1 - y), 1)

    def curve(self, points: list[tuple[float, float]], ink: str) -> None:
        self.figure.line(*(self.at(*point) for point in points), ink=ink, arrow=False)


def found(similarity: float, bands: int, rows: int) -> float:
    """Chance that a pair of this similarity agrees in a whole band."""
    return 1 - (1 - similarity**rows) ** bands


def scurve(facts: dict) -> str:
    """Three ways to cut 128 hashes into bands, and the numbers of ours."""
    said = '; '.join(f'{cut["bands"]} bands of {cut["rows"]} rows turn at {cut["turn"]}, slope {cut["slope"]}'
                     for cut in facts['cuts'])
    figure = Figure('LSH 的 S 曲线 · The S-curve of LSH',
                    f'Chance that a pair becomes a candidate, against its Jaccard similarity: {said}.')
    y = figure.head(f'{facts["hashes"]} 个哈希，三种切法', f'Three ways to cut {facts["hashes"]} hashes')
    figure.text(MARGIN, y, '纵轴：成为候选对的概率', SMALL)
    y = figure.text(MARGIN, y + 21, 'Upward: chance to become a candidate pair', SMALL, 'muted')
    axes = Axes(figure, y, facts['ticks'])
    for cut in facts['cuts']:
        axes.curve([(s / 50, found(s / 50, cut['bands'], cut['rows'])) for s in range(51)], cut['ink'])
        x, at = axes.at(cut['turn'], found(cut['turn'], cut['bands'], cut['rows']))
        figure.dot(x, at, 6, cut['ink'])
    y = axes.top + axes.high + 48
    figure.text(MARGIN, y, '横轴：相似度 s；圆点：最陡处', SMALL)
    y = figure.text(MARGIN, y + 21, 'Across: similarity s; dot: where the curve is steepest', SMALL, 'muted') + 10
    for cut in facts['cuts']:
        figure.bar(MARGIN, y - 12, 22, 12, cut['ink'])
        figure.text(MARGIN + 32, y, f'b = {cut["bands"]}, r = {cut["rows"]}', 17, cut['ink'], bold=True)
        figure.text(MARGIN + 168, y, f'拐点 turns at {cut["turn"]}', SMALL)
        figure.text(MARGIN + 346, y, f'斜率 slope {cut["slope"]}', SMALL)
        y = figure.text(MARGIN + 32, y + 21, f'{cut["zh"]} {cut["en"]}', SMALL, 'muted') + 6
    y += 10
    step = INNER / (len(facts['table']) + 1)
    figure.text(MARGIN, y, 's', 17, 'blue', bold=True)
    figure.text(MARGIN, y + 26, '概率 P', SMALL, 'blue', bold=True)
    for column, (similarity, chance) in enumerate(facts['table'], 1):
        figure.text(MARGIN + step * (column + 0.5), y, f'{similarity}', 17, 'ink', 'middle')
        figure.text(MARGIN + step * (column + 0.5), y + 26, chance, 17, 'blue', 'middle', True)
    y += 52
    return figure.finish(y, facts['source']['zh'], facts['source']['en'])


def beyond(z: float) -> float:
    """Share of a standard normal above z."""
    return erfc(z / sqrt(2)) / 2


def rates(threshold: float, apart: float, share: float) -> tuple[float, float]:
    """(recall, precision) at a threshold: scores of good pages ~ N(0, 1), of bad ones, a `share` of all, ~ N(apart,
    1)."""
    recall, false = beyond(threshold - apart), beyond(threshold)
    return recall, share * recall / (share * recall + (1 - share) * false)


def precision(facts: dict) -> str:
    """Precision against recall of one ideal classifier, where its target is common and where it is rare."""
    figure = Figure('查准率与查全率 · Precision against recall',
                    'Two curves of one classifier: the higher where a tenth of the pages are bad, the lower where one '
                    'in a hundred is. '
                    'Raising the threshold gives precision and takes recall.')
    y = figure.head('同一个分类器，坏页多与坏页少', 'One classifier, its target common or rare')
    figure.text(MARGIN, y, '纵轴：查准率', SMALL)
    y = figure.text(MARGIN, y + 21, 'Upward: precision', SMALL, 'muted')
    axes = Axes(figure, y, facts['ticks'])
    for share in facts['shares']:
        axes.curve([rates(t / 10, facts['apart'], share['share']) for t in range(60, -12, -1)], share['ink'])
        for threshold in facts['thresholds']:
            x, at = axes.at(*rates(threshold, facts['apart'], share['share']))
            figure.dot(x, at, 6, share['ink'])
            figure.text(x - 10, at + 20, f'{threshold:g}', SMALL, share['ink'], 'end', True)
    y = axes.top + axes.high + 48
    figure.text(MARGIN, y, '横轴：查全率；点旁：阈值', SMALL)
    y = figure.text(MARGIN, y + 21, 'Across: recall; beside a dot: the threshold', SMALL, 'muted') + 10
    for share in facts['shares']:
        figure.bar(MARGIN, y - 12, 22, 12, share['ink'])
        figure.text(MARGIN + 32, y, share['zh'], 17, share['ink'], bold=True)
        figure.text(MARGIN + 44 + width(share['zh'], 17), y, share['en'], SMALL, 'muted')
        y += 27
    y = figure.paragraph(MARGIN, y + 8, facts['model']['zh'], INNER, SMALL)
    y = figure.paragraph(MARGIN, y - 1, facts['model']['en'], INNER, SMALL, 'muted')
    return figure.finish(y, facts['source']['zh'], facts['source']['en'])


def codetrack(facts: dict) -> str:
    """Grades of code by bytes, then a small repository put in the order of its imports."""
    said = '; '.join(f'{grade["en"]} {grade["gb"]} GB, {grade["percent"]}%, {grade["use"]["en"]}'
                     for grade in facts['grades'])
    figure = Figure('代码：分级与拼装 · Code: grades and assembly',
                    f'Grades: {said}. Below, a repository of four files: the arrow runs from the imported to the '
                    'importing file, and the order follows it.')
    y = figure.head('代码：先分级，再拼装', 'Code: grade, then assemble')
    for grade in facts['grades']:
        end = figure.text(MARGIN, y, grade['zh'], 18, grade['ink'], bold=True)
        figure.text(MARGIN + 10 + width(grade['zh'], 18), y, grade['en'], SMALL, 'muted')
        figure.text(WIDTH - MARGIN, y, f'{grade["gb"]} GB · {grade["percent"]}%', 17, 'ink', 'end', True)
        figure.bar(MARGIN, end - 15, round(INNER * grade['percent'] / 100, 1), 16, grade['ink'])
        figure.text(MARGIN, end + 22, f'{grade["use"]["zh"]} {grade["use"]["en"]}', SMALL, 'muted')
        y = end + 52
    figure.rule(MARGIN, y - 22, WIDTH - MARGIN, y - 22)
    figure.text(MARGIN, y + 6, '拼装：被引用的在前', 19, bold=True)
    y = figure.text(MARGIN, y + 29, 'Assembly: what is imported comes first', SMALL, 'muted') + 6
    room = 216
    places = {}
    for file in facts['files']:
        x, top = (MARGIN, WIDTH - MARGIN - room)[file['column']], y + 92 * file['row']
        places[file['name']] = (x, top)
        figure.box(x, top, room, 56, 'orange' if file['name'].endswith('.md') else 'blue')
        figure.text(x + 14, top + 25, file['name'], 17, 'ink', bold=True)
        figure.text(x + 14, top + 45, file['says'], SMALL, 'muted')
        figure.dot(x + room - 22, top + 28, 14, 'green')
        figure.text(x + room - 22, top + 34, str(file['place']), SMALL, 'd-card', 'middle', True)
    for first, second in facts['arrows']:
        (x0, y0), (x1, y1) = places[first], places[second]
        if x0 == x1:
            figure.line((x0 + 40, y0 + 56), (x1 + 40, y1))
        elif y0 == y1:
            figure.line((x0 + (room if x1 > x0 else 0), y0 + 28), (x1 + (0 if x1 > x0 else room), y1 + 28))
    y += 92 * (1 + max(file['row'] for file in facts['files'])) + 2
    y = figure.paragraph(MARGIN, y, facts['rule']['zh'], INNER, SMALL)
    y = figure.paragraph(MARGIN, y - 1, facts['rule']['en'], INNER, SMALL, 'muted')
    return figure.finish(y, facts['source']['zh'], facts['source']['en'])


FIGURES = dict(composition=composition, pipeline=pipeline, scurve=scurve, precision=precision, codetrack=codetrack)
