"""The figures of lecture 3, pre-training; figures.py draws them. What they say stands, with its sources, in
facts_pretrain.json."""
import json
import math
from pathlib import Path

from svg import MARGIN, WIDTH, Figure, width

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
    figure.text(MARGIN, y, '损失，奈特（对数）', 16)
    figure.text(MARGIN, y + 20, 'loss in nats (logarithmic)', 15, 'muted')
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
        figure.text(left - 8, down + 5, f'{loss:g}', 15, 'muted', 'end')
    for tick in facts['tokens']:
        across, _ = place(tick['value'], y0)
        figure.rule(across, y, across, y + high)
        figure.text(across, y + high + 22, tick['text'], 15, 'muted', 'middle')
    _, uniform = place(x0, facts['uniform'])
    figure.line((left, uniform), (right, uniform), ink='violet', arrow=False)
    figure.text(right, uniform + 22, f'一无所知 knows nothing: ln V = {facts["uniform"]}', 16, 'violet', 'end', True)
    area(figure, [*(place(tokens, low) for tokens, low, _, _ in band),
                  *(place(tokens, top) for tokens, _, _, top in reversed(band))], 'muted', 0.55)
    figure.line(*(place(tokens, loss) for tokens, loss in base), ink='blue', arrow=False)
    across, down = place(*facts['peak'])
    figure.dot(across, down, 6, 'orange')
    figure.text(across + 12, down - 2, f'{facts["leap"]}', 18, 'orange', bold=True)
    figure.text(across + 12, down + 20, '配料换了', 16, 'orange', bold=True)
    figure.text(across + 12, down + 40, 'the mixture changes', 15, 'orange')
    across, down = place(*base[-1])
    figure.dot(across, down, 5, 'blue')
    figure.text(across, down - 40, f'{facts["end"]}', 18, 'blue', 'end', True)
    figure.text(right, y + high + 44, '读过的词元 tokens read', 15, 'muted', 'end')
    y += high + 76
    for ink, zh, en in (('blue', facts['runs'][0]['zh'], facts['runs'][0]['en']),
                        ('muted', facts['runs'][1]['zh'], facts['runs'][1]['en'])):
        figure.bar(MARGIN, y - 13, 26, 14, ink)
        figure.text(MARGIN + 38, y, zh, 16)
        y = figure.paragraph(MARGIN + 38, y + 20, en, INNER - 38, 15, 'muted') + 10
    return figure.finish(y - 10, facts['source']['zh'], facts['source']['en'])


def plus(figure: Figure, x: float, y: float) -> None:
    """Where a note is added to the residual stream."""
    figure.dot(x, y, 14, 'ink')
    figure.text(x, y + 7, '+', 22, 'd-card', 'middle', True)


def block(facts: dict) -> str:
    """From token ids at the bottom to chances at the top; one layer between them drawn whole."""
    figure = Figure('一层里有什么 · What a layer is made of',
                    'From bottom to top: tokens, embedding, a layer that is repeated, RMSNorm, output matrix, chances. '
                    'In the layer the residual stream runs straight up; attention, and after it the feed-forward '
                    'part, read it through RMSNorm and add their result to it.')
    y = figure.head('从词元到下一个词元的机会', 'From tokens to the chances of the next one')
    stream, wide = MARGIN + 62, 226
    right = stream + 96

    def station(top: float, zh: str, en: str, fill: str, x: float = MARGIN, w: float = INNER, h: float = 56) -> None:
        figure.box(x, top, w, h, fill)
        figure.text(x + w / 2, top + 24, zh, 17, 'ink', 'middle', True)
        figure.text(x + w / 2, top + 45, en, 15, 'muted', 'middle')

    y -= 10
    station(y, facts['chances']['zh'], facts['chances']['en'], 'green')
    output = y + 84
    station(output, facts['output']['zh'], facts['output']['en'], 'violet')
    figure.line((stream, output), (stream, y + 58), ink='ink')
    top = output + 84
    figure.line((stream, top + 494), (stream, output + 58), ink='ink')
    figure.parts.append(f'<rect x="{MARGIN:g}" y="{top:g}" width="{INNER:g}" height="468" rx="12" class="l-muted" '
                        'stroke-dasharray="7 5"/>')
    figure.text(WIDTH - MARGIN - 14, top + 28, facts['repeat']['zh'], 17, 'ink', 'end', True)
    figure.text(WIDTH - MARGIN - 14, top + 49, facts['repeat']['en'], 15, 'muted', 'end')
    for place, name, fill in ((top + 66, 'forward', 'orange'), (top + 266, 'attention', 'blue')):
        plus(figure, stream, place + 28)
        station(place, facts[name]['zh'], facts[name]['en'], fill, right, wide)
        station(place + 90, 'RMSNorm', facts['norm'], 'plain', right, wide)
        figure.line((right, place + 28), (stream + 15, place + 28), ink='ink')
        figure.line((right + wide / 2, place + 90), (right + wide / 2, place + 58), ink='ink')
        figure.line((stream, place + 164), (right + wide / 2, place + 164), (right + wide / 2, place + 148), ink='ink')
        below = figure.paragraph(right + wide + 14, place + 20, facts[name]['does']['zh'],
                                 WIDTH - MARGIN - right - wide - 20, 16)
        figure.paragraph(right + wide + 14, below, facts[name]['does']['en'], WIDTH - MARGIN - right - wide - 20, 15,
                         'muted')
    for i, (word, size, ink) in enumerate((('残差流', 17, 'ink'), ('residual', 15, 'muted'), ('stream', 15, 'muted'))):
        figure.text(stream + 20, top + 154 + 20 * i, word, size, ink, bold=ink == 'ink')
    y = top + 494
    station(y, facts['embedding']['zh'], facts['embedding']['en'], 'violet')
    station(y + 84, facts['text']['zh'], facts['text']['en'], 'plain')
    figure.line((stream, y + 84), (stream, y + 58), ink='ink')
    return figure.finish(y + 168, facts['source']['zh'], facts['source']['en'])


def attention(facts: dict) -> str:
    """Three tokens: the products, the mask, the weights, and what the last token receives."""
    figure = Figure('三个词元上的注意力 · Attention on three tokens',
                    'Three grids of three rows and columns for cat, slept, it: the products of queries and keys over '
                    'the root of d; the same with the upper right masked; the weights after softmax. The last row '
                    f'gives {facts["weights"][2][0]} to cat, and receives {facts["out"][0]} of an animal.')
    y = figure.head('三个词元上的注意力', 'Attention on three tokens')
    cell, names = 78, facts['words']
    left = WIDTH - MARGIN - 3 * cell
    for stage in facts['stages']:
        figure.text(MARGIN, y + 34, stage['zh'], 17, bold=True)
        for i, line in enumerate(stage['en']):
            figure.text(MARGIN, y + 56 + 20 * i, line, 15, 'muted')
        for j, name in enumerate(names):
            figure.text(left + (j + 0.5) * cell, y + 2, f'k {name}', 15, 'orange', 'middle', True)
        y += 14
        for i, row in enumerate(facts[stage['key']]):
            figure.text(left - 10, y + 29, f'q {names[i]}', 15, 'blue', 'end', True)
            for j, said in enumerate(row):
                shade = float(said) if stage['key'] == 'weights' else 0.0
                figure.box(left + j * cell + 2, y, cell - 4, 44, 'plain', 5)
                if shade:
                    figure.parts.append(f'<rect x="{left + j * cell + 2:g}" y="{y:g}" width="{cell - 4:g}" height="44" '
                                        f'rx="5" class="d-blue" opacity="{0.45 * shade:g}"/>')
                figure.text(left + (j + 0.5) * cell, y + 29, said, 18, 'muted' if said in ('−∞', '0.00') else 'ink',
                            'middle', said not in ('−∞', '0.00'))
            y += 48
        y += 34
    y = figure.paragraph(MARGIN, y - 4, facts['sum']['zh'], INNER, 17, bold=True)
    y = figure.paragraph(MARGIN, y - 2, facts['sum']['en'], INNER, 15, 'muted') + 8
    for name, weight, ink in zip(names, facts['weights'][2], ('green', 'orange', 'muted')):
        figure.bar(MARGIN, y - 15, 250 * float(weight), 18, ink)
        figure.text(MARGIN + 250 * float(weight) + 10, y, f'{weight} × v {name} = {weight} × ({facts["values"][name]})',
                    16)
        y += 28
    figure.text(MARGIN, y + 4, f'= ({facts["out"][0]}, {facts["out"][1]})', 20, 'green', bold=True)
    return figure.finish(y + 24, facts['source']['zh'], facts['source']['en'])


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
        below = figure.paragraph(MARGIN, below, found['en'], left - MARGIN - 60, 15, 'muted')
        figure.text(MARGIN, below + 22, found['furthest'], 24, found['ink'], bold=True)
        figure.text(MARGIN, below + 44, '在最长处', 15, 'muted')
        figure.text(MARGIN, below + 63, 'at the far end', 15, 'muted')
        for depth, row in zip(facts['depths'], found['found']):
            figure.text(left - 8, y + 23, depth, 15, 'muted', 'end')
            for j, count in enumerate(row):
                figure.box(left + j * cell + 1.5, y, cell - 3, 33, 'plain', 4)
                if count:
                    figure.parts.append(f'<rect x="{left + j * cell + 1.5:g}" y="{y:g}" width="{cell - 3:g}" '
                                        f'height="33" rx="4" class="d-{found["ink"]}" '
                                        f'opacity="{0.5 * count / facts["items"]:.2f}"/>')
                figure.text(left + (j + 0.5) * cell, y + 23, f'{count}', 16, 'ink', 'middle', count > 0)
            y += 36
        for j, length in enumerate(facts['lengths']):
            figure.text(left + (j + 0.5) * cell, y + 16, length, 15, 'muted', 'middle')
        edge = left + facts['edge'] * cell
        figure.line((edge, y - 5 * 36 - 6), (edge, y + 2), ink='violet', arrow=False)
        y += 46
    y = figure.paragraph(MARGIN, y, facts['note']['zh'], INNER, 16)
    y = figure.paragraph(MARGIN, y - 1, facts['note']['en'], INNER, 15, 'muted')
    return figure.finish(y - 6, facts['source']['zh'], facts['source']['en'])


def wqkv(facts: dict) -> str:
    """One group enlarged, then the whole matrix cut for two GPUs: interleaved, and stacked as it is not."""
    figure = Figure('wqkv 的排列 · How wqkv is packed',
                    f'The rows of wqkv in {facts["groups"]} groups, each {facts["group"]} query heads, a key head and '
                    'a value head. Cut in two, each half is a '
                    'whole attention; stacked as all Q, all K, all V, the first half would hold '
                    f'{facts["stacked"]["first"]} query heads and no key.')
    y = figure.head('wqkv：一个矩阵，按键值头分组', 'wqkv: one matrix, its rows grouped by key-value head')
    y = figure.paragraph(MARGIN, y, f'{facts["model"]}：{facts["shape"]}，一组的六块，每块的行数', INNER, 17, bold=True)
    y = figure.paragraph(MARGIN, y - 2,
                         f'{facts["model"]}: {facts["shape"]}; the six blocks of one group, and their rows', INNER, 15,
                         'muted')
    cell, kinds = INNER / 6, ['blue'] * facts['group'] + ['orange', 'green']
    for i, (kind, word) in enumerate(zip(kinds, ['q'] * facts['group'] + ['k', 'v'])):
        figure.box(MARGIN + i * cell + 2, y - 6, cell - 4, 66, kind, 5)
        figure.text(MARGIN + (i + 0.5) * cell, y + 22, word, 22, kind, 'middle', True)
        figure.text(MARGIN + (i + 0.5) * cell, y + 47, f'{facts["rows"]}', 17, 'muted', 'middle')
    y += 100
    whole = [*kinds] * facts['groups']
    stacked = ['blue'] * facts['queries'] + ['orange'] * facts['keys'] + ['green'] * facts['keys']
    half, other = facts['halves'], facts['stacked']
    strips = (('按组交错（实际如此）：一刀下去，两半都完整',
               'interleaved, as it is: one cut, and both halves are whole', whole,
               (f'q {half["queries"]}, k {half["keys"]}, v {half["keys"]}',
                f'q {half["queries"]}, k {half["keys"]}, v {half["keys"]}'), 'green'),
              ('先 Q 再 K 再 V 叠放：前一半没有键和值', 'stacked as Q, K, V: the first half has no key and no value',
               stacked,
               (f'q {other["first"]}', f'q {other["second"]}, k {other["keys"]}, v {other["keys"]}'), 'orange'))
    for zh, en, blocks, holds, ink in strips:
        y = figure.paragraph(MARGIN, y, zh, INNER, 17, bold=True)
        y = figure.paragraph(MARGIN, y - 2, en, INNER, 15, 'muted')
        thin = INNER / len(blocks)
        for i, kind in enumerate(blocks):
            figure.bar(MARGIN + i * thin + 0.75, y - 4, thin - 1.5, 40, kind)
        figure.line((WIDTH / 2, y - 12), (WIDTH / 2, y + 44), ink='ink', arrow=False)
        for i, held in enumerate(holds):
            figure.text(MARGIN + INNER * (0.25 + 0.5 * i), y + 60, f'GPU: {held}', 16, ink, 'middle', True)
        y += 100
    return figure.finish(y - 24, facts['source']['zh'], facts['source']['en'])


def kv(facts: dict) -> str:
    """Bytes that a token leaves in the cache: a key head for every query head, and the released eight."""
    figure = Figure('KV 缓存：每个词元的字节 · KV cache: bytes a token',
                    'For each size two bars: '
                    + '; '.join(f'{s["name"]} {s["all"]:,} bytes with {s["heads"]} key heads, {s["grouped"]:,} with '
                                f'{s["kv_heads"]}'
                                 for s in facts['sizes']) + '.')
    y = figure.head('分组查询注意力省下的缓存', 'What grouped-query attention saves in the cache')
    largest = max(size['all'] for size in facts['sizes'])
    for size in facts['sizes']:
        figure.text(MARGIN, y, size['name'], 20, bold=True)
        figure.text(WIDTH - MARGIN, y, f'{facts["context"]} 词元 tokens', 15, 'muted', 'end')
        y += 14
        for heads, kind, ink in (('heads', 'all', 'orange'), ('kv_heads', 'grouped', 'green')):
            value = size[kind]
            figure.bar(MARGIN, y, INNER * 0.8 * value / largest, 14, ink)
            figure.text(WIDTH - MARGIN, y + 34, f'{size[f"{kind}_gb"]} GB', 18, ink, 'end', True)
            figure.text(MARGIN, y + 34, f'{value:,} 字节 bytes · {size[heads]} 键值头 KV heads', 16, ink)
            y += 50
        y += 24
    return figure.finish(y - 18, facts['source']['zh'], facts['source']['en'])


def wavelength(pair: int, theta: float, head: int) -> float:
    """Tokens for one turn of RoPE's pair `pair` in a head of width `head`."""
    return 2 * math.pi * theta ** (2 * pair / head)


def rope(facts: dict) -> str:
    """Wavelength over pair, logarithmic, for both bases, against the two contexts."""
    figure = Figure('RoPE 的波长 · RoPE wavelengths',
                    f'Wavelength in tokens of each of the {facts["pairs"]} pairs, logarithmic, for two bases, with the '
                    'contexts 4,096 and 32,768. '
                    + ' '.join(f'At base {facts["bases"][b["base"]]["text"]} {b["pairs"]} pairs are longer than '
                               f'{facts["contexts"][b["context"]]["text"]}.'
                               for b in facts['beyond']))
    y = figure.head('RoPE 的波长与上下文', 'RoPE wavelengths and the context')
    figure.text(MARGIN, y, '转一整圈要多少个词元（对数）', 16)
    figure.text(MARGIN, y + 20, 'tokens for one full turn (logarithmic)', 15, 'muted')
    y += 40
    left, right, high, top = MARGIN + 70, WIDTH - MARGIN, 320, 7.0

    def across(pair: float) -> float:
        return left + (right - left) * pair / (facts['pairs'] - 1)

    def down(value: float) -> float:
        return y + high * (1 - math.log10(value) / top)
    for tick in facts['ticks']:
        figure.rule(left, down(tick['value']), right, down(tick['value']))
        figure.text(left - 8, down(tick['value']) + 5, tick['text'], 15, 'muted', 'end')
    for context in facts['contexts']:
        figure.line((left, down(context['tokens'])), (right, down(context['tokens'])), ink='violet', arrow=False)
        figure.text(left + 4, down(context['tokens']) - 7, f'上下文 context {context["text"]}', 16, 'violet', bold=True)
    for base in facts['bases']:
        points = [(round(across(i), 1), round(down(wavelength(i, base['theta'], facts['head'])), 1))
                  for i in range(facts['pairs'])]
        figure.line(*points, ink=base['ink'], arrow=False)
    end = [down(wavelength(facts['pairs'] - 1, base['theta'], facts['head'])) for base in facts['bases']]
    figure.text(across(44), end[1] + 12, f'θ = {facts["bases"][1]["text"]}', 17, 'orange', 'end', True)
    figure.text(right, end[0] + 106, f'θ = {facts["bases"][0]["text"]}', 17, 'blue', 'end', True)
    figure.text(left, y + high + 24, '快的一端 fast pairs', 15, 'muted')
    figure.text(right, y + high + 24, '慢的一端 slow pairs', 15, 'muted', 'end')
    y += high + 62
    figure.text(MARGIN, y, '在这一长度内转不满一圈的维度对', 17, bold=True)
    y = figure.text(MARGIN, y + 20, 'pairs that do not complete a turn within this length', 15, 'muted') + 8
    for found in facts['beyond']:
        base, context = facts['bases'][found['base']], facts['contexts'][found['context']]
        figure.text(MARGIN, y, f'θ = {base["text"]}', 16, base['ink'], bold=True)
        figure.text(MARGIN + 180, y, f'@ {context["text"]}', 16)
        figure.bar(MARGIN + 270, y - 13, 160 * found['pairs'] / facts['pairs'], 15, base['ink'])
        figure.text(WIDTH - MARGIN, y, f'{found["pairs"]} / {facts["pairs"]}', 17, base['ink'], 'end', True)
        y += 30
    return figure.finish(y - 8, facts['source']['zh'], facts['source']['en'])


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
        figure.bar(MARGIN, y - 15, 7, 96, phase['fill'])
        figure.text(MARGIN + 20, y, phase['zh'], 19, phase['fill'], bold=True)
        figure.text(MARGIN + 20 + width(phase['zh'], 19) + 10, y, phase['en'], 16, 'muted')
        figure.text(WIDTH - MARGIN, y, phase['share_text'], 19, phase['fill'], 'end', True)
        y += 26
        for line in [*phase['lines'], phase['course']]:
            y = figure.paragraph(MARGIN + 20, y, line['zh'], INNER - 24, 16)
            y = figure.paragraph(MARGIN + 20, y - 2, line['en'], INNER - 24, 15, 'muted') + 4
        y += 22
    figure.text(MARGIN, y, '第三段之前与之后各做 SFT 的分数', 17, bold=True)
    y = figure.text(MARGIN, y + 21, 'scores of an SFT model made before and after phase 3', 15, 'muted') + 10
    left, room = MARGIN + 118, 250
    for row in facts['effect']:
        before, after = row['scores']
        figure.text(MARGIN, y - 2, row['zh'], 16)
        figure.text(MARGIN, y + 18, row['en'], 15, 'muted')
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
        figure.text(x + 20, y, label, 15, 'muted')
        x += 32 + width(label, 15)
    y = figure.paragraph(MARGIN, y + 24, '数字：每个参数的字节 · numbers: bytes a parameter', INNER, 15, 'muted') + 24
    scale, top = (INNER - 8) / max(way['total'] for way in facts['ways']), y - 24
    for way in facts['ways']:
        y = figure.text(MARGIN, y, way['zh'], 17, bold=True)
        figure.text(MARGIN, y - 2, way['en'], 15, 'muted')
        figure.text(WIDTH - MARGIN, y - 2, f'{way["total"]} GB', 20, 'ink', 'end', True)
        x = MARGIN
        for name, gb in gigabytes(facts, way['cut']).items():
            figure.bar(x, y + 8, gb * scale, 24, inks[name])
            x += gb * scale
        y += 66
    card = MARGIN + facts['card_gb'] * scale
    figure.rule(card, top, card, y - 30, under=True)
    figure.text(card, y - 10, f'{facts["card_gb"]} GB', 16, 'muted', 'middle', True)
    return figure.finish(y + 12, facts['source']['zh'], facts['source']['en'])


FIGURES = dict(curve=curve, block=block, attention=attention, needle=needle, wqkv=wqkv, kv=kv, rope=rope,
               phases=phases, sharding=sharding)
