"""The figures of lecture 4; figures.py draws them. What they say stands, with its sources, in facts_finetune.json."""
import math

from svg import MARGIN, SMALL, WIDTH, Axes, Figure, legend, width

INNER = WIDTH - 2 * MARGIN


def mask(facts: dict) -> str:
    """One conversation as its tokens; those that are learned are filled."""
    learned = [token for token, flag in facts['tokens'] if flag]
    figure = Figure('损失掩码 · The loss mask',
                    f'A conversation of {len(facts["tokens"])} tokens in boxes, in the order of reading. Filled are '
                    f'the {len(learned)} that are learned: {", ".join(learned)}. All others are read only.')
    y = figure.head('一段对话的词元：哪些要学', 'One conversation as tokens: which are learned')
    x, high = MARGIN, 32
    for token, flag in facts['tokens']:
        shown = token.replace(' ', '␣')
        wide = width(shown, SMALL) + 12
        if x + wide > WIDTH - MARGIN:
            x, y = MARGIN, y + high + 8
        figure.box(x, y, wide, high, 'blue' if flag else 'plain', 5)
        figure.text(x + wide / 2, y + 21, shown, SMALL, 'blue' if flag else 'muted', 'middle', bool(flag))
        x += wide + 5
        if token == facts['end']:  # each message begins a line
            x, y = MARGIN, y + high + 16
    y += high + 30
    for fill, ink, said in (('blue', 'blue', facts['learned']), ('plain', 'muted', facts['read'])):
        figure.box(MARGIN, y - 15, 26, 20, fill, 4)
        figure.text(MARGIN + 38, y, said['zh'], SMALL, ink, bold=True)
        y = figure.paragraph(MARGIN + 38, y + 20, said['en'], INNER - 38, SMALL, 'muted') + 8
    return figure.finish(y - 10, facts['source']['zh'], facts['source']['en'])


def nf4(facts: dict) -> str:
    """The levels of NF4 under the normal distribution whose quantiles they are, and sixteen even ones."""
    figure = Figure('NF4 的十六个等级 · The sixteen levels of NF4',
                    'A bell curve, and under it two rows of marks from -1 to 1: the levels of NF4, '
                    + ', '.join(f'{level:.2f}' for level in facts['levels'])
                    + ', close together near zero and far apart at the ends; and sixteen even levels.')
    y = figure.head('NF4：等级跟着权重的疏密走', 'NF4: levels as dense as the weights')
    left, right, high = MARGIN + 14, WIDTH - MARGIN - 14, 190
    middle, half = (left + right) / 2, (right - left) / 2

    def across(level: float) -> float:
        return round(middle + half * level, 1)
    bell = [(step / 50, math.exp(-(step / 50 * facts['widest'])**2 / 2)) for step in range(-50, 51)]
    figure.line(*((across(level), round(y + high * (1 - density), 1)) for level, density in bell), ink='muted',
                arrow=False)
    figure.text(across(0.58), y + 30, facts['bell']['zh'], SMALL)
    figure.text(across(0.58), y + 50, facts['bell']['en'], SMALL, 'muted')
    y += high
    figure.rule(left, y, right, y)
    even = [2 * step / (len(facts['levels']) - 1) - 1 for step in range(len(facts['levels']))]
    for levels, ink, said in ((facts['levels'], 'blue', facts['nf4']), (even, 'orange', facts['even'])):
        for level in levels:
            figure.line((across(level), y + 8), (across(level), y + 44), ink=ink, arrow=False)
        for mark in facts['marks']:
            figure.text(across(mark), y + 64, f'{mark:g}', SMALL, 'muted', 'middle')
        figure.text(left, y + 92, said['zh'], SMALL, ink, bold=True)
        y = figure.paragraph(left, y + 112, said['en'], right - left, SMALL, 'muted') + 2
    return figure.finish(y, facts['source']['zh'], facts['source']['en'])


def memory(facts: dict) -> str:
    """Bytes of weights, gradients and states for three sizes and three methods, beside the memory of cards."""
    figure = Figure('微调要多少显存 · What fine-tuning takes',
                    'Bars on a logarithmic scale: '
                    + '; '.join(f'{size["name"]}: ' + ', '.join(f'{way["en"]} {gb} GB' for way, gb in
                                                                zip(facts['ways'], size['gb']))
                                for size in facts['sizes'])
                    + '. Lines mark cards of ' + ', '.join(f'{card["gb"]} GB' for card in facts['cards']) + '.')
    y = figure.head('微调要多少显存（对数）', 'What fine-tuning takes (logarithmic)')
    left, right = MARGIN + 128, WIDTH - MARGIN - 62
    low, top = facts['range']

    def across(gb: float) -> float:
        return round(left + (right - left) * math.log(gb / low) / math.log(top / low), 1)
    begin = y
    y += 30
    for size in facts['sizes']:
        figure.text(MARGIN, y + 44, size['name'], 22, bold=True)
        for way, gb in zip(facts['ways'], size['gb']):
            figure.text(left - 10, y + 17, way['zh'], SMALL, way['ink'], 'end')
            figure.bar(left, y + 3, across(gb) - left, 18, way['ink'])
            figure.text(across(gb) + 6, y + 18, f'{gb}', SMALL, 'ink')
            y += 25
        y += 20
    for card in facts['cards']:
        figure.rule(across(card['gb']), begin + 8, across(card['gb']), y - 10, under=True)
        figure.text(across(card['gb']), begin + 2, f'{card["text"]}', SMALL, 'violet', 'middle')
    y += 10
    for way in facts['ways']:
        figure.bar(MARGIN, y - 13, 20, 14, way['ink'])
        figure.text(MARGIN + 30, y, way['said']['zh'], SMALL)
        y = figure.paragraph(MARGIN + 30, y + 20, way['said']['en'], INNER - 30, SMALL, 'muted') + 6
    return figure.finish(y - 8, facts['source']['zh'], facts['source']['en'])


def tuning(facts: dict) -> str:
    """In chat and continuing texts, the mean of the suites: over the rank, over the learning rate, over the share of
    replay."""
    figure = Figure('秩、学习率与重放 · Rank, learning rate and replay',
                    'Mean of the suites in per cent, asked in chat and as texts to be continued. '
                    + ' '.join(f'{panel["en"]}: ' + '; '.join(
                        f'{line["name"]}: ' + ', '.join(f'{at} {value}' for at, value in zip(line['at'],
                                                                                             line['values']))
                        for line in panel['lines']) + '.' for panel in facts['panels']))
    y = figure.head('秩、学习率、重放：学到多少，忘掉多少', 'Rank, rate, replay: what is learned, what is forgotten')
    for panel in facts['panels']:
        y = figure.text(MARGIN, y, panel['zh'], SMALL, bold=True)
        y = figure.paragraph(MARGIN, y - 2, panel['en'], INNER, SMALL, 'muted', bold=True) + 8
        legend(figure, y, panel['lines'])
        axes = Axes(figure, y + 26, 150, panel['across'], facts['down'])
        for line in panel['lines']:
            points = [axes.place(math.log(at) if panel['log'] else at, value)
                      for at, value in zip(line['at'], line['values'])]
            figure.line(*points, ink=line['ink'], arrow=False)
            for point in points:
                figure.dot(*point, 5, line['ink'])
        y = axes.bottom + 78
    return figure.finish(y - 20, facts['source']['zh'], facts['source']['en'])


FIGURES = dict(mask=mask, nf4=nf4, memory=memory, tuning=tuning)
