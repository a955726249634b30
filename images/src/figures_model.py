"""The figures of lecture 3 that show the model; figures.py draws them. What they say stands, with its sources, in
facts_pretrain.json."""
import math

from svg import MARGIN, SMALL, WIDTH, Figure

INNER = WIDTH - 2 * MARGIN


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
    y = figure.head('从词元到下一个词元的概率', 'From tokens to the chances of the next one')
    stream, wide = MARGIN + 62, 226
    right = stream + 96

    def station(top: float, zh: str, en: str, fill: str, x: float = MARGIN, w: float = INNER, h: float = 56) -> None:
        figure.box(x, top, w, h, fill)
        figure.text(x + w / 2, top + 24, zh, 17, 'ink', 'middle', True)
        figure.text(x + w / 2, top + 45, en, SMALL, 'muted', 'middle')

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
    figure.text(WIDTH - MARGIN - 14, top + 49, facts['repeat']['en'], SMALL, 'muted', 'end')
    for place, name, fill in ((top + 66, 'forward', 'orange'), (top + 266, 'attention', 'blue')):
        plus(figure, stream, place + 28)
        station(place, facts[name]['zh'], facts[name]['en'], fill, right, wide)
        station(place + 90, 'RMSNorm', facts['norm'], 'plain', right, wide)
        figure.line((right, place + 28), (stream + 15, place + 28), ink='ink')
        figure.line((right + wide / 2, place + 90), (right + wide / 2, place + 58), ink='ink')
        figure.line((stream, place + 164), (right + wide / 2, place + 164), (right + wide / 2, place + 148), ink='ink')
        below = figure.paragraph(right + wide + 14, place + 20, facts[name]['does']['zh'],
                                 WIDTH - MARGIN - right - wide - 20, SMALL)
        figure.paragraph(right + wide + 14, below, facts[name]['does']['en'], WIDTH - MARGIN - right - wide - 20, SMALL,
                         'muted')
    for i, (word, ink) in enumerate((('残差流', 'ink'), ('residual', 'muted'), ('stream', 'muted'))):
        figure.text(stream + 20, top + 154 + 20 * i, word, SMALL, ink, bold=ink == 'ink')
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
            figure.text(MARGIN, y + 56 + 20 * i, line, SMALL, 'muted')
        for j, name in enumerate(names):
            figure.text(left + (j + 0.5) * cell, y + 2, f'k {name}', SMALL, 'orange', 'middle', True)
        y += 14
        for i, row in enumerate(facts[stage['key']]):
            figure.text(left - 10, y + 29, f'q {names[i]}', SMALL, 'blue', 'end', True)
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
    y = figure.paragraph(MARGIN, y - 2, facts['sum']['en'], INNER, SMALL, 'muted') + 8
    for name, weight, ink in zip(names, facts['weights'][2], ('green', 'orange', 'muted')):
        figure.bar(MARGIN, y - 15, 250 * float(weight), 18, ink)
        figure.text(MARGIN + 250 * float(weight) + 10, y, f'{weight} × v {name} = {weight} × ({facts["values"][name]})',
                    SMALL)
        y += 28
    figure.text(MARGIN, y + 4, f'= ({facts["out"][0]}, {facts["out"][1]})', 20, 'green', bold=True)
    return figure.finish(y + 24, facts['source']['zh'], facts['source']['en'])


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
                         f'{facts["model"]}: {facts["shape"]}; the six blocks of one group, and their rows', INNER,
                         SMALL, 'muted')
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
        y = figure.paragraph(MARGIN, y - 2, en, INNER, SMALL, 'muted')
        thin = INNER / len(blocks)
        for i, kind in enumerate(blocks):
            figure.bar(MARGIN + i * thin + 0.75, y - 4, thin - 1.5, 40, kind)
        figure.line((WIDTH / 2, y - 12), (WIDTH / 2, y + 44), ink='ink', arrow=False)
        for i, held in enumerate(holds):
            figure.text(MARGIN + INNER * (0.25 + 0.5 * i), y + 60, f'GPU: {held}', SMALL, ink, 'middle', True)
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
        figure.text(WIDTH - MARGIN, y, f'{facts["context"]} 词元 tokens', SMALL, 'muted', 'end')
        y += 14
        for heads, kind, ink in (('heads', 'all', 'orange'), ('kv_heads', 'grouped', 'green')):
            value = size[kind]
            figure.bar(MARGIN, y, INNER * 0.8 * value / largest, 14, ink)
            figure.text(WIDTH - MARGIN, y + 34, f'{size[f"{kind}_gb"]} GB', 18, ink, 'end', True)
            figure.text(MARGIN, y + 34, f'{value:,} 字节 bytes · {size[heads]} 键值头 KV heads', SMALL, ink)
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
    figure.text(MARGIN, y, '转一整圈要多少个词元（对数）', SMALL)
    figure.text(MARGIN, y + 20, 'tokens for one full turn (logarithmic)', SMALL, 'muted')
    y += 40
    left, right, high, top = MARGIN + 70, WIDTH - MARGIN, 320, 7.0

    def across(pair: float) -> float:
        return left + (right - left) * pair / (facts['pairs'] - 1)

    def down(value: float) -> float:
        return y + high * (1 - math.log10(value) / top)
    for tick in facts['ticks']:
        figure.rule(left, down(tick['value']), right, down(tick['value']))
        figure.text(left - 8, down(tick['value']) + 5, tick['text'], SMALL, 'muted', 'end')
    for context in facts['contexts']:
        figure.line((left, down(context['tokens'])), (right, down(context['tokens'])), ink='violet', arrow=False)
        figure.text(left + 4, down(context['tokens']) - 7, f'上下文 context {context["text"]}', SMALL, 'violet',
                    bold=True)
    for base in facts['bases']:
        points = [(round(across(i), 1), round(down(wavelength(i, base['theta'], facts['head'])), 1))
                  for i in range(facts['pairs'])]
        figure.line(*points, ink=base['ink'], arrow=False)
    end = [down(wavelength(facts['pairs'] - 1, base['theta'], facts['head'])) for base in facts['bases']]
    figure.text(across(44), end[1] + 12, f'θ = {facts["bases"][1]["text"]}', 17, 'orange', 'end', True)
    figure.text(right, end[0] + 106, f'θ = {facts["bases"][0]["text"]}', 17, 'blue', 'end', True)
    figure.text(left, y + high + 24, '快的一端 fast pairs', SMALL, 'muted')
    figure.text(right, y + high + 24, '慢的一端 slow pairs', SMALL, 'muted', 'end')
    y += high + 62
    figure.text(MARGIN, y, '在这一长度内转不满一圈的维度对', 17, bold=True)
    y = figure.text(MARGIN, y + 20, 'pairs that do not complete a turn within this length', SMALL, 'muted') + 8
    for found in facts['beyond']:
        base, context = facts['bases'][found['base']], facts['contexts'][found['context']]
        figure.text(MARGIN, y, f'θ = {base["text"]}', SMALL, base['ink'], bold=True)
        figure.text(MARGIN + 180, y, f'@ {context["text"]}', SMALL)
        figure.bar(MARGIN + 270, y - 13, 160 * found['pairs'] / facts['pairs'], 15, base['ink'])
        figure.text(WIDTH - MARGIN, y, f'{found["pairs"]} / {facts["pairs"]}', 17, base['ink'], 'end', True)
        y += 30
    return figure.finish(y - 8, facts['source']['zh'], facts['source']['en'])


FIGURES = dict(block=block, attention=attention, wqkv=wqkv, kv=kv, rope=rope)
