"""Known-wrong answers to the exercises of lab 1."""
from internlm_course.grading.mistakes import Mistake

TEMPLATE = """
def chat_text(messages):
    text = {start}
    for message in messages:
        text += {each}
    return text + {end}
"""
EACH = "f'<|im_start|>{message[\"role\"]}\\n{message[\"content\"]}<|im_end|>\\n'"
OPEN = "'<|im_start|>assistant\\n'"


def template(start="''", each=EACH, end=OPEN):
    return TEMPLATE.format(start=start, each=each, end=end)


PARAMETERS = """
def parameters(config):
    h, kv = config.hidden_size, config.hidden_size // config.num_attention_heads * config.num_key_value_heads
    layer = {qkv} + h * h + {ffn} * h * config.intermediate_size + {norms} * h
    return {ends} * config.vocab_size * h + config.num_hidden_layers * layer + h
"""


def parameters(qkv='h * (h + 2 * kv)', ffn=3, norms=2, ends=2):
    return PARAMETERS.format(qkv=qkv, ffn=ffn, norms=norms, ends=ends)


MEMORY = """
def memory(config, bits, tokens):
    count, ends = parameter_count(config), 2 * config.vocab_size * config.hidden_size
    head = config.hidden_size // config.num_attention_heads
    return dict(weights={weights}, kv={kv}, adamw={adamw})
"""


def memory(weights='2 * ends + (count - ends) * bits // 8',
           kv='4 * config.num_hidden_layers * config.num_key_value_heads * head * tokens', adamw='12 * count'):
    return MEMORY.format(weights=weights, kv=kv, adamw=adamw)


GPU = """
def gpu(config, bits, tokens):
    need = {need}
    for name, gib in planning.GPUS.items():
        if need <= {room}:
            return name
    return {none}
"""


def gpu(need='sizes.weight_bytes(config, bits) + sizes.kv_bytes(config, tokens)', room='planning.USABLE * gib * 2**30',
        none='None'):
    return GPU.format(need=need, room=room, none=none)


INTERVAL = """
def interval(score, n):
    z = {z}
    {body}


def better(first, second, n):
    (low, high), (other_low, other_high) = interval(first, n), interval(second, n)
    return {verdict}
"""
WILSON = """centre, margin, scale = score + z * z / (2 * n), \
z * (score * (1 - score) / n + z * z / (4 * n * n)) ** 0.5, 1 + z * z / n
    return (centre - margin) / scale, (centre + margin) / scale"""


def interval(z='1.959964', body=WILSON,
             verdict="'first' if low > other_high else 'second' if other_low > high else 'undecided'"):
    return INTERVAL.format(z=z, body=body, verdict=verdict)


DECIDE = """
def decide(complex_scene, enough_compute, needs_environment):
    {body}
"""


def decide(body):
    return DECIDE.format(body=body)


MISTAKES = dict(
    template=dict(chat_text=[
        Mistake('s-by-hand', template(start="'<s>'"),
                'Count the <s> that the model reads, and look who puts the one at the beginning.',
                '数一数模型读到几个 <s>，再看看开头的那一个由谁来加。'),
        Mistake('no-newline-after-the-end-mark', template(each=EACH.replace('<|im_end|>\\n', '<|im_end|>')),
                'Print two messages with repr() and compare with the format: what stands between them?',
                '用 repr() 打印两条消息，对照格式：上一条的结尾与下一条的开头之间有什么？'),
        Mistake('turn-not-opened', template(end="''"),
                'Ask how the model is to know whose turn it is, and read again what the whole text ends with.',
                '想一想模型怎么知道轮到谁说话，再读一遍整段文本以什么结尾。'),
        Mistake('turn-opened-without-newline', template(end="'<|im_start|>assistant'"),
                'Look at the very last character of your text, and at what follows the role in every other message.',
                '看看你的文本最后一个字符，再看其他消息里角色后面跟着什么。'),
        Mistake('content-stripped', template(each=EACH.replace('["content"]', '["content"].strip()')),
                'Try a content with blanks or line breaks at its ends: is what the user wrote still all there?',
                '拿首尾带空格或换行的内容试一试：用户写的还都在吗？'),
        Mistake('every-role-is-user', template(each=EACH.replace('{message["role"]}', 'user')),
                'Try a conversation with a system message and an answer: does your text still tell who said what?',
                '拿一段有 system 和 assistant 的对话试一试：从你的文本还看得出哪句是谁说的吗？')]),
    parameters=dict(parameters=[
        Mistake('as-many-key-value-heads', parameters(qkv='3 * h * h'),
                'Compare num_key_value_heads with num_attention_heads of the 7B: are K and V as wide as Q?',
                '比较 7B 的 num_key_value_heads 和 num_attention_heads：K、V 和 Q 一样宽吗？'),
        Mistake('swiglu-of-two-matrices', parameters(ffn=2),
                'Count the matrices of SwiGLU in the list above the exercise.',
                '对照练习上面列出的零件，数一数 SwiGLU 有几个矩阵。'),
        Mistake('output-shared-with-embedding', parameters(ends=1),
                'Look where the vocabulary comes in and where it goes out: does InternLM2 use one matrix for both?',
                '看看词表在入口和出口各对应什么矩阵：InternLM2 两处共用一个吗？'),
        Mistake('one-norm-a-layer', parameters(norms=1),
                'Walk through one layer from its beginning to its end and count the norms on the way.',
                '把一层从头走到尾，数一数路上有几个归一化。')]),
    memory=dict(memory=[
        Mistake('embedding-and-output-in-bits', memory(weights='count * bits // 8'),
                'Read again which two matrices AWQ leaves as they are.',
                '再读一遍：AWQ 让哪两个矩阵保持原样？'),
        Mistake('keys-without-values',
                memory(kv='2 * config.num_hidden_layers * config.num_key_value_heads * head * tokens'),
                'Ask what attention takes from the cache besides the keys.',
                '想一想注意力从缓存里除了 K 还取什么。'),
        Mistake('query-heads-in-the-cache',
                memory(kv='4 * config.num_hidden_layers * config.num_attention_heads * head * tokens'),
                'Look at which kind of head the cache is about, and which field of the config counts that kind.',
                '看看缓存里存的是哪一种头，config 的哪个字段数的是这种头。'),
        Mistake('adamw-without-master-weights', memory(adamw='8 * count'),
                'List what AdamW keeps of each parameter in mixed precision: the two moments are not all.',
                '列一列混合精度下 AdamW 为每个参数存了什么：不只是两个矩。'),
        Mistake('bits-for-bytes', memory(weights='8 * (2 * ends + (count - ends) * bits // 8)'),
                'Check the unit of your weights: does the exercise ask for bits or for bytes?',
                '核对权重的单位：题目要的是位还是字节？')]),
    gpu=dict(gpu=[
        Mistake('weights-without-cache', gpu(need='sizes.weight_bytes(config, bits)'),
                'Something beside the weights grows with every token of the context: is it in your sum?',
                '除了权重，还有一样东西随上下文的词元数增长：你算进去了吗？'),
        Mistake('card-filled-to-the-brim', gpu(room='gib * 2**30'),
                'Look at planning.USABLE: may a model fill the card to its last byte?',
                '看看 planning.USABLE：模型可以把显存占满吗？'),
        Mistake('gib-of-ten-to-the-ninth', gpu(room='planning.USABLE * gib * 1e9'),
                'Look up how many bytes are in a GiB, and how many in a GB.',
                '查一查 1 GiB 是多少字节，1 GB 又是多少字节。'),
        Mistake('largest-card-where-none-fits', gpu(none="'A100 80G'"),
                'Try a context so long that no card holds it: what shall be returned then?',
                '试一个长到哪块卡都放不下的上下文：这时该返回什么？'),
        Mistake('always-16-bits', gpu(need='sizes.weight_bytes(config, 16) + sizes.kv_bytes(config, tokens)'),
                'Change bits from 16 to 4 and look whether your need of memory changes.',
                '把 bits 从 16 换成 4，看看你算出的内存变不变。')]),
    interval=dict(
        interval=[
            Mistake('normal-approximation', interval(body='margin = z * (score * (1 - score) / n) ** 0.5\n    return '
                                                          'score - margin, score + margin'),
                    'Try a score of 1 from 10 items: your interval has no width, but do ten items leave no doubt?',
                    '拿 10 道题全对试一试：区间宽度为零等于毫无疑问，这说得过去吗？'),
            Mistake('ninety-percent', interval(z='1.644854'),
                    'Check your z: for which share of the cases does it stand?',
                    '核对你的 z：它对应的是百分之几？'),
            Mistake('no-denominator', interval(body=WILSON.replace('1 + z * z / n', '1')),
                    'Look at what stands below the long line of the fraction, and at what it divides.',
                    '看看公式里长分数线的下面是什么，它除的又是什么。')],
        better=[
            Mistake('compares-scores-alone', interval(verdict="'first' if first > second else 'second'"),
                    'Take two scores that differ by one item of a hundred: what did you compute the intervals for?',
                    '拿一百道题里只差一道的两个分数试一试：算区间是为了什么？'),
            Mistake('never-decides', interval(verdict="'undecided'"),
                    'Draw two intervals that lie apart: what should the verdict on them be?',
                    '画两个互不相交的区间：这时该怎么判？')]),
    decide=dict(decide=[
        Mistake('simple-scene-is-tuned', decide("return ['choose', 'full fine-tuning' if enough_compute else 'LoRA', "
                                                "*(['agent'] if needs_environment else []), 'evaluate', 'deploy']"),
                'Follow the flow for a scene that is not complex: which steps does it pass?',
                '按流程走一遍不复杂的场景：会经过哪几步？'),
        Mistake('agent-without-tuning', decide("return ['choose', *(['full fine-tuning' if enough_compute else 'LoRA'] "
                                               "if complex_scene else []), "
                                               "*(['agent'] if needs_environment else []), 'evaluate', 'deploy']"),
                'Look on which branch of the flow, and after which step, the question of the environment is asked.',
                '看看是否要与环境交互，是在流程的哪条支路上、哪一步之后才问的。'),
        Mistake('deploys-before-evaluating', decide("return ['choose', *(['full fine-tuning' if enough_compute else "
                                                    "'LoRA', *(['agent'] if needs_environment else [])] "
                                                    "if complex_scene else []), 'deploy', 'evaluate']"),
                'Look at the last two steps of the flow: who would serve a model before knowing how good it is?',
                '看看流程的最后两步：还不知道好坏，就先上线吗？'),
        Mistake('lora-with-enough-compute', decide("return ['choose', *(['LoRA' if enough_compute else "
                                                   "'full fine-tuning', *(['agent'] if needs_environment else [])] "
                                                   "if complex_scene else []), 'evaluate', 'deploy']"),
                'Ask which of the two ways of fine-tuning takes more memory, and who can afford it.',
                '想一想两种微调里哪一种更费显存，谁才用得起。')]))
