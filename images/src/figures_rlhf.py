"""The figures of lecture 5; figures.py draws them. What they say stands, with its sources, in facts_rlhf.json."""
import math

from svg import MARGIN, SMALL, WIDTH, Axes, Figure, key, legend

INNER = WIDTH - 2 * MARGIN


def ranking_loss(difference: float, gamma: float) -> float:
    """Of a pair's scores, in nats."""
    p = 1 / (1 + math.exp(-difference))
    return -((1 - 2 * max(0.0, p - 0.5)) ** gamma) * math.log(p)


def focal(facts: dict) -> str:
    """The plain ranking loss and the focal one over the difference of scores."""
    figure = Figure('焦点排序损失 · The focal ranking loss',
                    'Loss in nats over the difference of scores: alike where the pair is in the wrong order; at a '
                    f'difference of {facts["at"]} the plain loss is {facts["plain"]}, the focal one {facts["focal"]}.')
    y = figure.head('已经排对的一对，损失打折', 'A pair in the right order gets a discount')
    axes = Axes(figure, y, 300, facts['across'], facts['down'])
    middle, _ = axes.place(0, 0)
    figure.line((middle, axes.top), (middle, axes.bottom), ink='violet', arrow=False)
    for line in facts['lines']:
        axes.curve(lambda x, gamma=line['gamma']: ranking_loss(x, gamma), line['ink'])
        across, down = axes.place(facts['at'], ranking_loss(facts['at'], line['gamma']))
        figure.dot(across, down, 5, line['ink'])
        figure.text(across + 10, down + line['lift'], facts[line['name']], 17, line['ink'], bold=True)
    figure.text(middle - 10, axes.top + 20, f'{facts["wrong"]["zh"]} {facts["wrong"]["en"]}', SMALL, 'violet', 'end')
    figure.text(middle + 10, axes.top + 20, f'{facts["right"]["zh"]} {facts["right"]["en"]}', SMALL, 'violet')
    y = key(figure, axes.bottom + 76, facts['lines'])
    return figure.finish(y - 8, facts['source']['zh'], facts['source']['en'])


def ppo(facts: dict) -> str:
    """Who reads what in PPO, and who is trained."""
    figure = Figure('PPO 的四个模型 · The four models of PPO',
                    'The actor draws a reply to the question. The reference model, the reward model with its condition '
                    'and the critic read it; a reward and a value for each token make advantages, which train actor '
                    'and critic.')
    y = figure.head('PPO 的四个模型：两个在训练，两个冻结', 'The four models of PPO: two are trained, two are frozen')
    middle, half = WIDTH / 2, 158

    def block(x: float, y: float, part: dict, fill: str, wide: float, high: float = 66) -> None:
        figure.box(x - wide / 2, y, wide, high, fill)
        figure.text(x, y + 26, part['zh'], 17, 'ink', 'middle', True)
        figure.text(x, y + 47, part['en'], SMALL, 'muted', 'middle')
    block(middle, y, facts['question'], 'plain', 300)
    figure.line((middle, y + 66), (middle, y + 88))
    block(middle, y + 90, facts['actor'], 'blue', 300)
    figure.line((middle, y + 156), (middle, y + 178))
    block(middle, y + 180, facts['reply'], 'plain', 300)
    top = y + 284
    for i, part in enumerate(facts['readers']):
        x = middle + (i - 1) * (half + 16)
        figure.line((middle, top - 38), (middle, top - 20), (x, top - 20), (x, top - 2))
        block(x, top, part, part['fill'], half)
        below = figure.paragraph(x, top + 90, part['gives']['zh'], half, SMALL, 'ink', 'middle')
        figure.paragraph(x, below, part['gives']['en'], half, SMALL, 'muted', 'middle')
        figure.line((x, top + 158), (x, top + 176), (middle, top + 176), arrow=False)
    figure.line((middle, top + 176), (middle, top + 196))
    block(middle, top + 198, facts['advantages'], 'orange', 420)
    y = top + 294
    for fill, words in (('blue', facts['trained']), ('plain', facts['frozen'])):
        figure.box(MARGIN, y - 14, 26, 16, fill, 3)
        figure.text(MARGIN + 38, y, f'{words["zh"]} · {words["en"]}', SMALL)
        y += 26
    return figure.finish(y - 8, facts['source']['zh'], facts['source']['en'])


def clip(facts: dict) -> str:
    """The clipped objective of a good and a bad token over the probability ratio."""
    figure = Figure('裁剪目标 · The clipped objective',
                    'The objective over the probability ratio. A good token rises to '
                    f'{facts["edges"][1]} and is flat beyond; a bad one is flat below {facts["edges"][0]} and falls '
                    'beyond.')
    y = figure.head('走得够远就放手，走错了就拉住', 'Far enough is let go, the wrong way is held')
    axes = Axes(figure, y, 280, facts['across'], facts['down'])
    for edge in facts['edges']:
        at, _ = axes.place(edge, 0)
        figure.line((at, axes.top), (at, axes.bottom), ink='violet', arrow=False)
        figure.text(at + (6 if edge > 1 else -6), axes.top + 18, f'{edge}', SMALL, 'violet',
                    'start' if edge > 1 else 'end', True)
    low, high = facts['edges']
    for line in facts['lines']:
        axes.curve(lambda x, a=line['advantage']: min(x * a, min(max(x, low), high) * a), line['ink'])
    y = key(figure, axes.bottom + 76, facts['lines'])
    return figure.finish(y - 8, facts['source']['zh'], facts['source']['en'])


def best_policy(facts: dict, beta: float) -> list[float]:
    """The chances of each kind of reply at which reward less beta times KL is greatest."""
    weights = [p * math.exp(score / beta) for p, score in zip(facts['start'], facts['score'])]
    return [weight / sum(weights) for weight in weights]


def divergence(facts: dict, p: list[float]) -> float:
    return sum(new * math.log(new / old) for new, old in zip(p, facts['start']) if new)


def goodhart(facts: dict) -> str:
    """The judge's score and the verified share of the best policies, over their distance from the start."""
    figure = Figure('奖励黑客 · Reward hacking',
                    f"The judge's score rises from {facts['reward'][0]} to {facts['reward'][1]} with the KL "
                    'divergence; '
                    f'the verified share rises from {facts["verified"][0]} to {facts["verified"][1]} and falls to '
                    f'{facts["verified"][2]}.')
    y = figure.head('先合后分：奖励与它所代表的东西', 'Together, then apart: the reward and what it stands for')
    axes = Axes(figure, y, 300, facts['across'], facts['down'])
    policies = [best_policy(facts, 1000 * 0.95**i) for i in range(180)]
    distances = [divergence(facts, p) for p in policies]
    for name, ink in (('score', 'orange'), ('right', 'blue')):
        scale = facts['scale'] if name == 'score' else 1
        values = [sum(a * b for a, b in zip(p, facts[name])) / scale for p in policies]
        inside = [(x, y) for x, y in zip(distances, values) if x <= facts['across']['high']]
        figure.line(*(axes.place(*pair) for pair in inside), ink=ink, arrow=False)
        if name == 'right':
            best = max(inside, key=lambda pair: pair[1])
            across, down = axes.place(*best)
            figure.dot(across, down, 6, 'blue')
            figure.text(across + 10, down - 12, facts['verified'][1], 18, 'blue', bold=True)
        end = axes.place(*inside[-1])
        said = facts['reward'][1] if name == 'score' else facts['verified'][2]
        figure.text(end[0] - 4, end[1] - 14, said, 18, ink, 'end', True)
    y = key(figure, axes.bottom + 76, facts['lines'])
    return figure.finish(y - 8, facts['source']['zh'], facts['source']['en'])


def gains(facts: dict) -> str:
    """By how much each benchmark changed from SFT to chat, at 7B and 20B."""
    figure = Figure('RLHF 前后的变化 · What RLHF changed',
                    'Chat less SFT in points: '
                    + '; '.join(f'{row["name"]} {row["said"][0]} at 7B, {row["said"][1]} at 20B' for row in
                                facts['rows']) + '.')
    y = figure.head('RLHF 之后减去之前，各题集的分数', 'After RLHF less before, in the points of each benchmark')
    legend(figure, y, facts['sizes'])
    y += 34
    zero, scale, top = MARGIN + 214, 17.0, y - 22
    for row in facts['rows']:
        figure.text(MARGIN, y + 8, row['name'], 17, row['ink'], bold=True)
        for i, (change, said) in enumerate(zip(row['change'], row['said'])):
            long = max(abs(change) * scale, 1.5)
            figure.bar(zero - long if change < 0 else zero, y - 14 + 20 * i, long, 15, facts['sizes'][i]['ink'])
            at, anchor = (zero - long - 6, 'end') if change < 0 else (zero + long + 6, 'start')
            figure.text(at, y - 1 + 20 * i, said, SMALL, 'ink', anchor)
        y += 50
    figure.line((zero, top), (zero, y - 26), ink='muted', arrow=False)
    for line in facts['notes']:
        figure.text(MARGIN, y, line['zh'], SMALL, line['ink'])
        y = figure.paragraph(MARGIN, y + 20, line['en'], INNER, SMALL, 'muted') + 6
    return figure.finish(y - 6, facts['source']['zh'], facts['source']['en'])


FIGURES = dict(focal=focal, ppo=ppo, clip=clip, goodhart=goodhart, gains=gains)
