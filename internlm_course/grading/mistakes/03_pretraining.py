"""Known-wrong answers to the exercises of lab 3."""
from internlm_course.grading.mistakes import Mistake

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


MISTAKES = dict(
    rope=dict(rope=[
        Mistake('neighbours-as-pairs', rope(pairs='x[:, ::2], x[:, 1::2]', one='::2', two='1::2'),
                'Look which two components turn together: how far apart do they stand?',
                '看看一起转的是哪两个分量：它们相隔多远？'),
        Mistake('i-for-2i-in-the-angle', rope(exponent='-1'),
                'Work out the angle of the second pair by hand, and look at the exponent again.',
                '手算一遍第二对的角度，再看看指数。'),
        Mistake('turns-the-other-way', rope(sign='+', other='-'),
                'Turn the vector (1, 0) by a small angle on paper: which sign does its second component get?',
                '在纸上把向量 (1, 0) 转一个小角度：第二个分量是正还是负？'),
        Mistake('growing-frequencies', rope(exponent='2'),
                'Look whether your first pair turns fastest or your last one, and then at the sign of the exponent.',
                '看看你的第一对和最后一对谁转得快，再看指数的符号。'),
        Mistake('positions-from-one', rope(start=1),
                'Look at row 0 of your result: by how much is the first position to be turned?',
                '看看结果的第 0 行：第一个位置该转多少？')]),
    split=dict(split_wqkv=[
        Mistake('all-q-all-k-all-v', split('return wqkv[:heads * d], wqkv[heads * d:(heads + kv_heads) * d], '
                                           'wqkv[(heads + kv_heads) * d:]'),
                'Go down the rows of wqkv group by group: at how many places do keys stand?',
                '把 wqkv 的各行一组一组看下来：K 出现在几个地方？'),
        Mistake('key-and-value-exchanged', split(
            GROUPS + 'return groups[:, :-2].reshape(-1, width), groups[:, -1].reshape(-1, width), '
                     'groups[:, -2].reshape(-1, width)'),
                'Look what stands at the very end of a group.',
                '看看一组的最末尾是什么。'),
        Mistake('key-and-value-before-the-queries', split(
            GROUPS + 'return groups[:, 2:].reshape(-1, width), groups[:, 0].reshape(-1, width), '
                     'groups[:, 1].reshape(-1, width)'),
                'Look what a group begins with.',
                '看看一组的开头是什么。'),
        Mistake('query-heads-mixed', split(
            GROUPS + 'return groups[:, :-2].swapaxes(0, 1).reshape(-1, width), groups[:, -2].reshape(-1, width), '
                     'groups[:, -1].reshape(-1, width)'),
                'Write down to which head each row of your q belongs: do the heads stand in their order?',
                '写出你的 q 每一行属于第几个头：各头的次序对吗？')]),
    attention=dict(attention=[
        Mistake('sees-the-future', attention(masked='scores'),
                'Change the last token: does your result at the first position change, and may it?',
                '改动最后一个词元：你的第一个位置的结果变了吗，可以变吗？'),
        Mistake('no-scale', attention(scores='q @ k.transpose(0, 2, 1)'),
                'Compare your scores for d = 4 and d = 400: what keeps the softmax from becoming too sharp?',
                '比较 d = 4 和 d = 400 时的分数：是什么不让 softmax 变得太尖？'),
        Mistake('heads-dealt-round', attention(k='np.tile(k, (groups, 1, 1))', v='np.tile(v, (groups, 1, 1))'),
                'Write down for four query heads and two key heads who uses which: is it neighbours that share one?',
                '写出 4 个查询头各用 2 个键头中的哪一个：共用一个的是相邻的吗？'),
        Mistake('divides-by-d', attention(scores='q @ k.transpose(0, 2, 1) / q.shape[-1]'),
                'Look again by what the scores are divided before the softmax.',
                '再看一遍 softmax 之前分数除以什么。'),
        Mistake('zeros-for-the-mask', attention(masked='np.where(np.tri(length, dtype=bool), scores, 0)'),
                'Work out exp(0): how much weight does a position get that nobody may see?',
                '算一算 exp(0)：不许看的位置还分到多少权重？'),
        Mistake('softmax-over-the-queries',
                attention(axis='-2', masked='np.where(np.tri(length, dtype=bool), scores, -1e30)'),
                'Add up your weights along each axis: for which one must the sums be 1?',
                '把权重沿每个轴加起来：沿哪个轴的和必须是 1？')]),
    schedule=dict(learning_rate=[
        Mistake('cosine-from-the-first-step', schedule(progress='step / steps'),
                'Look at the rate just after the warm-up: where on the cosine should that step stand?',
                '看看预热刚结束时的学习率：这一步该在余弦的哪一点上？'),
        Mistake('no-warm-up', schedule(warm='False'),
                'Plot the first steps: where does your learning rate begin?',
                '把最初几步画出来：你的学习率从哪里起步？'),
        Mistake('down-to-zero', schedule(shape='(1 + math.cos(math.pi * progress)) / 2'),
                'Look at the last step: at which rate should the curve end?',
                '看看最后一步：曲线该停在多大的学习率上？'),
        Mistake('line-for-cosine', schedule(shape='floor + (1 - floor) * (1 - progress)'),
                'Plot the fall: is a cosine as steep at its ends as in its middle?',
                '把下降的一段画出来：余弦在两头和中间一样陡吗？'),
        Mistake('first-step-of-zero', schedule(rise='step / warmup'),
                'Work out the learning rate of step 0: does that step train anything?',
                '算一算第 0 步的学习率：这一步学得到东西吗？'),
        Mistake('floor-on-top', schedule(shape='floor + (1 + math.cos(math.pi * progress)) / 2'),
                'Work out the learning rate at the end of the warm-up: may it be above the peak?',
                '算一算预热刚结束时的学习率：可以超过峰值吗？')]),
    bits=dict(bits_per_byte=[
        Mistake('nats-left-as-they-are', bits('sum(nats) / len(text.encode())'),
                'Look at the unit of the losses, and at the unit of what is asked for.',
                '看看损失的单位是什么，要求的单位又是什么。'),
        Mistake('characters-for-bytes', bits('sum(nats) / math.log(2) / len(text)'),
                'Try a Chinese character: how many bytes has it in UTF-8?',
                '拿一个汉字试一试：它在 UTF-8 里占几个字节？'),
        Mistake('bits-a-token', bits('sum(nats) / math.log(2) / len(nats)'),
                'Look by what you divide: over which unit shall the bits be spread?',
                '看看你除以的是什么：比特该平摊到什么单位上？'),
        Mistake('mean-loss-over-the-bytes', bits('sum(nats) / len(nats) / math.log(2) / len(text.encode())'),
                'You divide by two numbers of things: how many bits does the whole text take?',
                '你先后除了两种个数：先看整段文本一共要多少比特。'),
        Mistake('multiplied-by-ln-2', bits('sum(nats) * math.log(2) / len(text.encode())'),
                'A nat is more than a bit: does the number grow or shrink when nats become bits?',
                '1 奈特比 1 比特多：奈特换成比特，数值该变大还是变小？')]),
    slow=dict(slow_pairs=[
        Mistake('turn-of-one-radian', slow('sum(theta ** (2 * i / d) > context for i in range(d // 2))'),
                'Look up how many radians make a whole turn.',
                '查一查一整圈是多少弧度。'),
        Mistake('d-pairs', slow('sum(2 * math.pi * theta ** (2 * i / d) > context for i in range(d))'),
                'Take a head of width 4 and count its pairs on your fingers.',
                '拿宽度为 4 的头，掰着指头数一数有几对。'),
        Mistake('i-for-2i-in-the-wavelength', slow('sum(2 * math.pi * theta ** (i / d) > context for i in '
                                                   'range(d // 2))'),
                'Work out the wavelength of the last pair by hand, and look at the exponent again.',
                '手算一遍最后一对的波长，再看看指数。'),
        Mistake('counts-the-fast-ones', slow('sum(2 * math.pi * theta ** (2 * i / d) <= context for i in '
                                             'range(d // 2))'),
                'Look which pairs you count: do they complete a turn within the context, or not?',
                '看看你数的是哪些对：它们在上下文之内转得满一圈吗？'),
        Mistake('half-a-turn', slow('sum(math.pi * theta ** (2 * i / d) > context for i in range(d // 2))'),
                'Look how far a pair has turned after your wavelength: is that once round?',
                '看看走过你算的波长之后转了多少：是整整一圈吗？')]),
    mfu=dict(mfu=[
        Mistake('work-without-attention', mfu('tokens_per_second * 6 * weights / peak'),
                'Let the length grow to a million: which work grows with it, and do you count it?',
                '让长度涨到一百万：哪一部分运算跟着涨，你算进去了吗？'),
        Mistake('forward-pass-alone', mfu('tokens_per_second * (2 * weights + 2 * layers * width * length) / peak'),
                'Ask what a step of training does after the forward pass, and how much work that is.',
                '想一想训练的一步在正向之后还做什么，要多少运算。'),
        Mistake('attention-not-halved', mfu('tokens_per_second * (6 * weights + 12 * layers * width * length) / peak'),
                'Look at the causal mask: how much of the square of scores is of use?',
                '看看因果掩码：分数的方阵里有多少用得上？'),
        Mistake('recomputation-counted', mfu('tokens_per_second * (8 * weights + 8 * layers * width * length) / peak'),
                'Ask whether work that is done twice brings the model any further, and which utilisation counts it.',
                '想一想重算一遍的运算有没有让模型前进，哪一种利用率才把它算进去。'),
        Mistake('attention-of-one-layer', mfu('tokens_per_second * (6 * weights + 6 * width * length) / peak'),
                'Ask in how many places of the model attention is computed.',
                '想一想模型里有几处要算注意力。')]),
    memory=dict(card_bytes=[
        Mistake('everything-cut', memory(value='parameters * size / cards'),
                'Call it with an empty cut: what should each card hold then?',
                '用空的 cut 调用一次：这时每块卡上该有什么？'),
        Mistake('nothing-cut', memory(value='parameters * size'),
                'Call it for one card and for eight: should the results be the same?',
                '分别按一块卡和八块卡调用：结果应该一样吗？'),
        Mistake('states-without-master-weights', memory(each='dict(weights=2, gradients=2, states=8)'),
                'List what AdamW keeps in fp32 of each parameter: the two moments are not all.',
                '列一列 AdamW 为每个参数用 fp32 存了什么：不只是两个矩。'),
        Mistake('gradients-in-fp32', memory(each='dict(weights=2, gradients=4, states=12)'),
                'Look in which format mixed precision keeps the gradients.',
                '看看混合精度里梯度用什么格式存。'),
        Mistake('cuts-what-is-not-named', memory(value='parameters * size / (1 if name in cut else cards)'),
                'Let cut name the states alone: which of the three numbers became smaller?',
                '让 cut 里只有 states：三个数里变小的是哪个？')]))
