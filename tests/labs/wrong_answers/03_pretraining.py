"""Known-wrong answers to the exercises of lab 3, each a mistake that students make: {exercise: {the mistake: the
cell}}."""

ROPE = """
def rope(x, theta):
    length, d = x.shape
    angle = np.arange({start}, length + {start})[:, None] * theta ** ({exponent} * np.arange(d // 2) / d)
    first, second = {pairs}
    turned = np.empty_like(x)
    turned[:, {one}], turned[:, {two}] = first * np.cos(angle) {sign} second * np.sin(angle), \
second * np.cos(angle) {other} first * np.sin(angle)
    return turned
"""


def rope(start=0, exponent='-2', pairs='x[:, :d // 2], x[:, d // 2:]', one=':d // 2', two='d // 2:', sign='-',
         other='+'):
    return ROPE.format(start=start, exponent=exponent, pairs=pairs, one=one, two=two, sign=sign, other=other)


SPLIT = """
def split_wqkv(wqkv, heads, kv_heads):
    rows, width = wqkv.shape
    d = rows // (heads + 2 * kv_heads)
    {body}
"""


def split(body):
    return SPLIT.format(body=body)


GROUPS = 'groups = wqkv.reshape(kv_heads, heads // kv_heads + 2, d, width)\n    '

ATTENTION = """
def attention(q, k, v):
    groups, length = len(q) // len(k), q.shape[1]
    k, v = {k}, {v}
    scores = {scores}
    scores = {masked}
    weights = np.exp(scores - scores.max({axis}, keepdims=True))
    return weights / weights.sum({axis}, keepdims=True) @ v
"""


def attention(k='np.repeat(k, groups, axis=0)', v='np.repeat(v, groups, axis=0)',
              scores='q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])',
              masked='np.where(np.tri(length, dtype=bool), scores, -np.inf)', axis='-1'):
    return ATTENTION.format(k=k, v=v, scores=scores, masked=masked, axis=axis)


SCHEDULE = """
def learning_rate(step, steps, warmup, peak, floor):
    if {warm}:
        return peak * {rise}
    progress = {progress}
    return peak * ({shape})
"""


def schedule(warm='step < warmup', rise='(step + 1) / warmup', progress='(step - warmup) / (steps - warmup)',
             shape='floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2'):
    return SCHEDULE.format(warm=warm, rise=rise, progress=progress, shape=shape)


def bits(value):
    return f'def bits_per_byte(nats, text):\n    return {value}\n'


def slow(value):
    return f'def slow_pairs(d, theta, context):\n    return {value}\n'


def mfu(value):
    return f'def mfu(weights, layers, width, length, tokens_per_second, peak):\n    return {value}\n'


def memory(each='dict(weights=2, gradients=2, states=12)', value='parameters * size / (cards if name in cut else 1)'):
    return f'def card_bytes(parameters, cards, cut):\n    return {{name: {value} for name, size in {each}.items()}}\n'


WRONG = dict(
    rope={
        'neighbours as pairs': rope(pairs='x[:, ::2], x[:, 1::2]', one='::2', two='1::2'),
        'i instead of 2i in the exponent': rope(exponent='-1'),
        'turns the other way': rope(sign='+', other='-'),
        'frequencies that grow': rope(exponent='2'),
        'counts positions from one': rope(start=1)},
    split={
        'all Q, all K, all V': split('return wqkv[:heads * d], wqkv[heads * d:(heads + kv_heads) * d], wqkv[(heads + '
                                     'kv_heads) * d:]'),
        'key and value exchanged': split(
            GROUPS + 'return groups[:, :-2].reshape(-1, width), groups[:, -1].reshape(-1, width), groups[:, '
                     '-2].reshape(-1, width)'),
        'key and value before the queries': split(
            GROUPS + 'return groups[:, 2:].reshape(-1, width), groups[:, 0].reshape(-1, width), groups[:, '
                     '1].reshape(-1, width)'),
        'query heads of all groups mixed': split(
            GROUPS + 'return groups[:, :-2].swapaxes(0, 1).reshape(-1, width), groups[:, -2].reshape(-1, width), '
                     'groups[:, -1].reshape(-1, width)')},
    attention={
        'sees the future': attention(masked='scores'),
        'no scale': attention(scores='q @ k.transpose(0, 2, 1)'),
        'heads dealt round to the key heads': attention(k='np.tile(k, (groups, 1, 1))', v='np.tile(v, (groups, 1, 1))'),
        'divides by d instead of its root': attention(scores='q @ k.transpose(0, 2, 1) / q.shape[-1]'),
        'zeros instead of minus infinity': attention(masked='np.where(np.tri(length, dtype=bool), scores, 0)'),
        'softmax over the queries': attention(axis='-2', masked='np.where(np.tri(length, dtype=bool), scores, -1e30)')},
    schedule={
        'cosine from the first step': schedule(progress='step / steps'),
        'no warm-up': schedule(warm='False'),
        'down to zero': schedule(shape='(1 + math.cos(math.pi * progress)) / 2'),
        'a line instead of a cosine': schedule(shape='floor + (1 - floor) * (1 - progress)'),
        'begins with a step of zero': schedule(rise='step / warmup'),
        'the floor added on top': schedule(shape='floor + (1 + math.cos(math.pi * progress)) / 2')},
    bits={
        'nats for bits': bits('sum(nats) / len(text.encode())'),
        'characters for bytes': bits('sum(nats) / math.log(2) / len(text)'),
        'bits a token': bits('sum(nats) / math.log(2) / len(nats)'),
        'the mean loss over the bytes': bits('sum(nats) / len(nats) / math.log(2) / len(text.encode())'),
        'multiplied by ln 2': bits('sum(nats) * math.log(2) / len(text.encode())')},
    slow={
        'a turn of one radian': slow('sum(theta ** (2 * i / d) > context for i in range(d // 2))'),
        'd pairs': slow('sum(2 * math.pi * theta ** (2 * i / d) > context for i in range(d))'),
        'i instead of 2i in the exponent': slow('sum(2 * math.pi * theta ** (i / d) > context for i in range(d // 2))'),
        'counts the fast ones': slow('sum(2 * math.pi * theta ** (2 * i / d) <= context for i in range(d // 2))'),
        'half a turn': slow('sum(math.pi * theta ** (2 * i / d) > context for i in range(d // 2))')},
    mfu={
        'no attention': mfu('tokens_per_second * 6 * weights / peak'),
        'the forward pass alone': mfu('tokens_per_second * (2 * weights + 2 * layers * width * length) / peak'),
        'attention not halved': mfu('tokens_per_second * (6 * weights + 12 * layers * width * length) / peak'),
        'recomputation counted as progress': mfu('tokens_per_second * (8 * weights + 8 * layers * width * length) / '
                                                 'peak'),
        'attention of one layer': mfu('tokens_per_second * (6 * weights + 6 * width * length) / peak')},
    memory={
        'everything cut always': memory(value='parameters * size / cards'),
        'nothing cut': memory(value='parameters * size'),
        'no master weights': memory(each='dict(weights=2, gradients=2, states=8)'),
        'gradients in fp32': memory(each='dict(weights=2, gradients=4, states=12)'),
        'cuts what is not named': memory(value='parameters * size / (1 if name in cut else cards)')},
)
