"""The figures of lecture 3, pre-training; figures.py draws them. What they say stands, with its sources, in
facts_pretrain.json."""
import math

from svg import MARGIN, WIDTH, Figure, width

INNER = WIDTH - 2 * MARGIN


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


FIGURES = dict(wqkv=wqkv, kv=kv, rope=rope, phases=phases, sharding=sharding)
