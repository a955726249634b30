"""Figures of lecture 1's links: LoRA beside its matrix, INT4 rounding on a number line, the loop of ReAct."""
from svg import MARGIN, SMALL, WIDTH, Figure

INNER = WIDTH - 2 * MARGIN


def lora(facts: dict) -> str:
    """The frozen matrix and the two thin ones beside it, to scale."""
    width, rank = facts['width'], facts['rank']
    figure = Figure('LoRA：大矩阵旁边的两个瘦矩阵 · LoRA: two thin matrices beside a large one',
                    f'The input goes through the frozen matrix W of {width} by {width} and, beside it, through A of '
                    f'{rank} by {width} and B of {width} by {rank}; the two results are added. W has {facts["matrix"]} '
                    f'weights, A and B together {facts["adapter"]}.')
    y = figure.head('LoRA：大矩阵不动，旁边训练两个瘦矩阵', 'LoRA: the large matrix rests, two thin ones learn')
    side = 200
    thin = side * int(rank) / int(width)
    left, right, middle = MARGIN + 40, WIDTH - MARGIN - 200, WIDTH / 2
    figure.text(middle, y, '输入 x input', 17, 'ink', 'middle', True)
    y += 12
    for x in (left + side / 2, right + 60):
        figure.line((middle, y), (middle, y + 16), (x, y + 16), (x, y + 44))
    y += 48
    figure.box(left, y, side, side, 'plain', 2)
    for i, (zh, en) in enumerate((('W', ''), ('冻结', 'frozen'), (f'{width} × {width}', ''))):
        said = f'{zh} {en}'.strip()
        figure.text(left + side / 2, y + 76 + i * 30, said, 26 if i == 0 else 17, 'ink' if i == 0 else 'muted',
                    'middle', i == 0)
    beside = right + 60 - side / 2
    figure.bar(beside, y, side, thin, 'blue')
    figure.text(right + 60, y + 26, f'A：{rank} × {width}', 17, 'blue', 'middle', True)
    figure.line((right + 60, y + 36), (right + 60, y + 58))
    low = y + 64
    figure.bar(right + 60 - thin / 2, low, thin, side, 'green')
    figure.text(right + 74, low + 40, f'B：{width} × {rank}', 17, 'green', bold=True)
    figure.text(right + 74, low + 64, '从零开始', SMALL, 'muted')
    figure.text(right + 74, low + 84, 'starts as zeros', SMALL, 'muted')
    for x, bottom in ((left + side / 2, y + side), (right + 60, low + side)):
        figure.line((x, bottom + 6), (x, low + side + 26), (middle, low + side + 26), (middle, low + side + 50))
    y = low + side + 70
    figure.text(middle, y, 'Wx + (α/r) B A x', 20, 'ink', 'middle', True)
    y += 44
    for zh, en, count, share, ink in (('大矩阵', 'the matrix', facts['matrix'], 1, 'muted'),
                                      ('要训练的', 'trained', f'{facts["adapter"]} ({facts["share"]})',
                                       2 * int(rank) / int(width), 'blue')):
        figure.text(MARGIN, y, f'{zh} {en}', SMALL)
        figure.text(WIDTH - MARGIN, y, count, 17, 'ink', 'end', True)
        figure.bar(MARGIN, y + 8, INNER * share, 14, ink)
        y += 52
    return figure.finish(y - 14, facts['source']['zh'], facts['source']['en'])


def rounded(weights: list[float], levels: int) -> tuple[float, int, list[int]]:
    """Scale, zero and the level of each weight, as LMDeploy rounds a group."""
    scale = (max(weights) - min(weights)) / (levels - 1)
    zero = round(-min(weights) / scale)
    return scale, zero, [round(weight / scale) + zero for weight in weights]


def int4(facts: dict) -> str:
    """Eight weights and the nearest of sixteen values; then the same with one large weight in the group."""
    rows = [facts['weights'], [*facts['weights'][:-1], facts['outlier']]]
    first, second = facts['rows']
    figure = Figure('INT4：取整到十六个值 · INT4: rounded to sixteen values',
                    f'Eight weights between {min(rows[0])} and {max(rows[0])} go to the nearest of {facts["levels"]} '
                    f'values, {first["step"]} apart. With one weight of {facts["outlier"]} in the group the values are '
                    f'{second["step"]} apart, and the small weights fall together.')
    y = figure.head('INT4：每个权重取最近的一个值', 'INT4: each weight takes the nearest value')
    words = (('八个权重，大小相近', 'eight weights of similar size', first, 'green'),
             ('同一组里混进一个大的', 'one large weight joins the group', second, 'orange'))
    for weights, (zh, en, said, ink) in zip(rows, words):
        scale, zero, levels = rounded(weights, facts['levels'])
        step = (INNER - 24) / (facts['levels'] - 1)

        def place(value: float, scale=scale, zero=zero, step=step) -> float:
            return MARGIN + 12 + (value / scale + zero) * step
        figure.text(MARGIN, y, zh, 18, bold=True)
        y = figure.text(MARGIN, y + 22, en, SMALL, 'muted') + 22
        for i, (weight, level) in enumerate(zip(weights, levels)):
            up = y + 20 * (i % 3)  # three rows: in two, -0.18 and 0.12 of the second group touch
            figure.text(min(max(place(weight), MARGIN + 16), WIDTH - MARGIN - 16), up, f'{weight:g}', SMALL, 'ink',
                        'middle')
            figure.dot(place(weight), y + 56, 4.5, 'ink')
            figure.line((place(weight), y + 60), (MARGIN + 12 + level * step, y + 94), ink=ink, arrow=False)
        axis = y + 98
        figure.line((MARGIN, axis), (WIDTH - MARGIN, axis), arrow=False)
        for level in range(facts['levels']):
            figure.dot(MARGIN + 12 + level * step, axis, 6 if level in levels else 3,
                       ink if level in levels else 'muted')
            figure.text(MARGIN + 12 + level * step, axis + 24, str(level), SMALL, 'muted', 'middle')
        y = figure.text(MARGIN, axis + 52, f'间隔 step {said["step"]}，最大误差 largest error {said["error"]}', 17, ink,
                        bold=True) + 30
    return figure.finish(y - 34, facts['source']['zh'], facts['source']['en'])


def react(facts: dict) -> str:
    """Model and program take turns until the model answers."""
    figure = Figure('ReAct：模型与程序轮流 · ReAct: model and program take turns',
                    f'A loop: the question {facts["question"]} goes to the model; the model writes a call, '
                    f'{facts["call"]}; the program runs it and writes the result {facts["result"]} back as a message '
                    'of the environment; the model reads everything again, and at last answers without a call.')
    y = figure.head('ReAct：模型写，程序做，轮流到底', 'ReAct: the model writes, the program acts, in turns')
    middle, wide, right = MARGIN + 206, 412, WIDTH - MARGIN - 34
    steps = (('用户提问', 'the user asks', facts['question'], 'plain'),
             ('模型写下想法和一次调用', 'the model writes a thought and a call', facts['call'], 'blue'),
             ('程序读出调用，运行工具', 'the program reads the call, runs the tool', f'= {facts["result"]}', 'green'),
             ('结果作为 environment 消息写回', 'the result goes back as a message', facts['result'], 'orange'),
             ('不再调用：模型作答', 'no further call: the model answers', facts['result'], 'blue'))
    tops = []
    for zh, en, example, fill in steps:
        tops.append(y)
        figure.box(middle - wide / 2, y, wide, 88, fill)
        figure.text(middle, y + 26, zh, 18, 'ink', 'middle', True)
        figure.text(middle, y + 47, en, SMALL, 'muted', 'middle')
        figure.text(middle, y + 73, example, 17, fill if fill != 'plain' else 'ink', 'middle', True)
        y += 88
        if len(tops) < len(steps):
            figure.line((middle, y), (middle, y + 26))
            y += 26
    edge = middle + wide / 2
    figure.line((edge, tops[3] + 30), (right, tops[3] + 30), (right, tops[1] + 44), (edge, tops[1] + 44), ink='orange')
    for down, word in ((36, '再来'), (58, 'again')):
        figure.text((edge + right) / 2, tops[2] + down, word, SMALL, 'orange', 'middle')
    return figure.finish(y + 20, facts['source']['zh'], facts['source']['en'])


FIGURES = dict(lora=lora, int4=int4, react=react)
