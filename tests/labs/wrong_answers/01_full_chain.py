"""Known-wrong answers to the exercises of lab 1, each a mistake that students make: {exercise: {the mistake: the
cell}}."""

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


WRONG = dict(
    template={
        'an <s> of its own, which the tokenizer adds again': template(start="'<s>'"),
        'no newline after the end mark': template(each=EACH.replace('<|im_end|>\\n', '<|im_end|>')),
        'the turn of the assistant is not opened': template(end="''"),
        'the turn is opened without its newline': template(end="'<|im_start|>assistant'"),
        'strips the content': template(each=EACH.replace('["content"]', '["content"].strip()')),
        'the role of every message is user': template(each=EACH.replace('{message["role"]}', 'user'))},
    parameters={
        'as many key-value heads as query heads': parameters(qkv='3 * h * h'),
        'two matrices in SwiGLU': parameters(ffn=2),
        'output shared with the embedding': parameters(ends=1),
        'one norm a layer': parameters(norms=1)},
    memory={
        'everything in `bits` bits': memory(weights='count * bits // 8'),
        'keys without values': memory(kv='2 * config.num_hidden_layers * config.num_key_value_heads * head * tokens'),
        'query heads in the cache': memory(kv='4 * config.num_hidden_layers * config.num_attention_heads * head * '
                                              'tokens'),
        'no master weights': memory(adamw='8 * count'),
        'bits for bytes': memory(weights='8 * (2 * ends + (count - ends) * bits // 8)')},
    gpu={
        'no cache': gpu(need='sizes.weight_bytes(config, bits)'),
        'no reserve': gpu(room='gib * 2**30'),
        'a GiB of 10^9': gpu(room='planning.USABLE * gib * 1e9'),
        'the largest where none fits': gpu(none="'A100 80G'"),
        'always 16 bits': gpu(need='sizes.weight_bytes(config, 16) + sizes.kv_bytes(config, tokens)')},
    interval={
        'the normal approximation': interval(body='margin = z * (score * (1 - score) / n) ** 0.5\n    return score - '
                                                  'margin, score + margin'),
        '90% instead of 95%': interval(z='1.644854'),
        'forgets the denominator': interval(body=WILSON.replace('1 + z * z / n', '1')),
        'compares scores alone': interval(verdict="'first' if first > second else 'second'"),
        'never decides': interval(verdict="'undecided'")},
    decide={
        'a simple scene is tuned too': decide("return ['choose', 'full fine-tuning' if enough_compute else 'LoRA', "
                                              "*(['agent'] if needs_environment else []), "
                                               "'evaluate', 'deploy']"),
        'an agent without fine-tuning': decide("return ['choose', *(['full fine-tuning' if enough_compute else 'LoRA'] "
                                               "if complex_scene else []), "
                                                "*(['agent'] if needs_environment else []), 'evaluate', 'deploy']"),
        'deploys before it evaluates': decide("return ['choose', *(['full fine-tuning' if enough_compute else 'LoRA', "
                                              "*(['agent'] if needs_environment else [])] if complex_scene else []), "
                                              "'deploy', 'evaluate']"),
        'LoRA with enough compute': decide("return ['choose', *(['LoRA' if enough_compute else 'full fine-tuning', "
                                           "*(['agent'] if needs_environment else [])] if complex_scene else []), "
                                           "'evaluate', 'deploy']")},
)
