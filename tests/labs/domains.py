"""Random inputs for the functions that exercises ask for, drawn from all that an exercise's text allows and not from
what its check draws: an answer that differs from the reference on one of them is a wrong answer."""

import string

from internlm_course.lab.answers import lab01, lab02
from internlm_course.lab.check import numbers
from internlm_course.model import sizes

WORDS = ['hello', '你好', '12 + 30', '<b>', '', ' ', 'two\nlines', '{x}', '<|im_end|>', '~~~~', '--', '* * *', 'ß']


def _messages(rng):
    roles = ['system', 'user', 'assistant', 'environment']
    return ([dict(role=rng.choice(roles), content=rng.choice(WORDS)) for _ in range(rng.randrange(6))],)


def _config(rng):
    if rng.random() < 0.3:
        return rng.choice(list(sizes.released().values()))
    kv, group, head = rng.randrange(1, 9), rng.randrange(1, 9), rng.choice([16, 32, 64, 128])
    return sizes.shape(
        vocab_size=rng.randrange(100, 100_000),
        num_hidden_layers=rng.randrange(1, 65),
        hidden_size=kv * group * head,
        num_attention_heads=kv * group,
        num_key_value_heads=kv,
        intermediate_size=rng.randrange(16, 20_000),
    )


def _served(rng):
    return _config(rng), rng.choice([16, 8, 4]), rng.randrange(1, rng.choice([100, 10_000, 400_000]))


def _near_a_card(rng):
    """A number of tokens that a card holds, just so or just not, in a part of the draws."""
    config, bits, tokens = _served(rng)
    if rng.random() < 0.4:
        room = lab01.USABLE * rng.choice(list(lab01.GPUS.values())) * 2**30 - sizes.weight_bytes(config, bits)
        tokens = max(int(room / sizes.kv_bytes(config, 1)) + rng.randrange(-9, 10), 1)
    return config, bits, tokens


def _share(rng):
    return rng.choice([0.0, 1.0, 0.5, round(rng.random(), 3)])


def _two_shares(rng):
    first = _share(rng)
    return first, min(max(round(first + rng.gauss(0, 0.1), 3), 0.0), 1.0), rng.randrange(1, 3000)


def _dropped(rng):
    crawled = range(rng.randrange(1, 40))
    before, bad = ({page for page in crawled if rng.random() < chance} for chance in (rng.random(), rng.random()))
    return before, {page for page in before if rng.random() < rng.choice([0, 0.3, 0.9])}, bad


def _lines(rng):
    some = [*WORDS, '巴黎', 'a', '---', '——', '= = =', '。。。', '12', ' *** ', '_-_', ' --']
    end = rng.choice(['\n', '\n', '\r\n', '\n\n'])
    return (end.join(rng.choice(some) for _ in range(rng.randrange(14))),)


def _scores(rng):
    many, digits = rng.randrange(0, 30), rng.randrange(1, 3)
    scores = [round(rng.random(), digits) for _ in range(many)]
    return scores, [rng.random() < 0.2 + 0.6 * score for score in scores], rng.choice([0.25, 0.5, 0.6, 0.9, 1.0])


def _two_signatures(rng):
    return tuple(zip(*((rng.randrange(3), rng.randrange(3)) for _ in range(rng.randrange(1, 20)))))


def _graph(rng):
    """Files that import files and names from outside, with a circle in every other draw."""
    names = rng.sample(string.ascii_lowercase, rng.randrange(1, 10))
    graph = {}
    for i, name in enumerate(names):
        others = names[:i] if rng.random() < 0.85 else [other for other in names if other != name]
        graph[name] = rng.sample(others, min(len(others), rng.randrange(4))) + ['os'] * rng.randrange(2)
    return ({name: graph[name] for name in rng.sample(names, len(names))},)


def _nats(rng, most=9):
    return [round(rng.uniform(0.01, 5), 3) for _ in range(rng.randrange(1, most))]


def _halves(rng):
    first, second = _nats(rng), _nats(rng)
    alone = rng.choice([second, [round(rng.uniform(0.01, 5), 3) for _ in second]])
    return first + second, alone, len(first)


def _text(rng, least=1):
    letters = 'abcABC　 \n\tß３3＋+?首都巴黎é'
    return ''.join(rng.choice(letters) for _ in range(rng.randrange(least, 14)))


def _item(rng):
    item = rng.choice('aB３首') + _text(rng, 0)
    return item, rng.choice([_text(rng), item.upper(), _text(rng) + item[rng.randrange(3) :]]), rng.randrange(1, 9)


def _wqkv(rng):
    kv, group, d, width = (rng.randrange(1, 5) for _ in range(4))
    return numbers(rng, (kv * group + 2 * kv) * d, width), kv * group, kv


def _qkv(rng):
    kv, group, length, d = (rng.randrange(1, 5) for _ in range(4))
    return numbers(rng, kv * group, length, d), numbers(rng, kv, length, d), numbers(rng, kv, length, d)


def _pieces(rng):
    """A conversation of messages whose headers and texts are cut anyhow."""
    said = []
    for _ in range(rng.randrange(5)):
        role = rng.choice(['system', 'user', 'assistant', 'environment'])
        words = rng.choices(['Hi', '\n', ' ', '巴黎', '{"name"', 'user'], k=rng.randrange(6))
        said.append((role, ['<|im_start|>', role, *[' name'] * rng.randrange(2), '\n', *words, '<|im_end|>', '\n']))
    return (said,)


def _losses(rng):
    nats = _nats(rng)
    return nats, [rng.random() < 0.5 for _ in nats]


def _adapter(rng):
    m, n, rank = (rng.randrange(1, 6) for _ in range(3))
    return numbers(rng, m, n), numbers(rng, rank, n), numbers(rng, m, rank), rng.choice([0.5, 1.0, 16.0, 64.0])


def _adapted(rng):
    w, a, b, alpha = _adapter(rng)
    return numbers(rng, rng.randrange(1, 4), w.shape[1]), w, a, b, alpha


def _block(rng):
    return (rng.choice([0, 0.02, 1, 1, 30]) * numbers(rng, rng.randrange(1, 20)),)


REPLIES = ['85', '-85', '85.', '85。', ' 7', '８', '{"answer": 1}', '{"answer": {"answer": 1}}', '[]', '{}', 'null',
           'It is Rome', 'a b', '罗马', '罗马。', 'é', 'Z', '', '\n', '{"a": 1}', '1 2 3', 'a\tb\nc']


def _told(rng):
    constraint = rng.choice(['only_number', 'json', 'three_words', 'in_chinese'])
    before, after = rng.choice(['', ' ', '\n']), rng.choice(['', '', ' ', '.', 'z', '罗', '1'])
    return constraint, before + rng.choice(REPLIES) + after


def _step(rng):
    steps = rng.randrange(2, 900)
    warmup = rng.randrange(steps)
    return rng.randrange(steps), steps, warmup, rng.choice([1e-4, 3e-3, 1.0]), rng.choice([0.0, 0.1, 0.5, 1.0])


def _tokens(rng, count):
    """Log probabilities or advantages: `count` arrays with a number for each token."""
    length = rng.randrange(1, 7)
    return [numbers(rng, length) for _ in range(count)]


def _rewards_and_values(rng):
    length = rng.randrange(1, 8)
    rewards, values = (numbers(rng, length).tolist() for _ in range(2))
    return rewards, values, rng.choice([0.0, 0.5, 0.9, 1.0]), _share(rng)


def _rewards(rng):
    size = rng.randrange(1, 6)
    values = rng.choice([[0.0, 1.0], [0.0, 0.5, 1.0], [1.0]])
    return [rng.choice(values) for _ in range(size * rng.randrange(1, 5))], size, rng.random() < 0.5


def _reply(rng):
    answer = rng.choice([0, 7, 85, -12])
    some = [f'{answer}', f'{answer}', f'{-answer}', f'{answer}0', *'+==  -.\n8', 'It is ', '是']
    return rng.choice(['', '37+48=']) + ''.join(rng.choice(some) for _ in range(rng.randrange(5))), answer


def _curves(rng):
    steps = rng.randrange(1, 24)
    curves = []
    for slope in (rng.uniform(-1, 1), rng.uniform(-1, 1)):
        curves.append([round(0.5 + slope * i / steps + rng.gauss(0, 0.1), 2) for i in range(steps)])
    return *curves, rng.choice([0.05, 0.1, 0.3])


DRAWS = {
    '01_full_chain': dict(
        chat_text=_messages,
        parameters=lambda rng: (_config(rng),),
        memory=_served,
        gpu=_near_a_card,
        interval=lambda rng: (_share(rng), rng.randrange(1, 3000)),
        better=_two_shares,
        decide=lambda rng: tuple(rng.random() < 0.5 for _ in range(3)),
    ),
    '02_data': dict(
        rates=_dropped,
        decorated=_lines,
        lowest_threshold=_scores,
        signature=lambda rng: (
            {rng.randrange(1 << 32) for _ in range(rng.randrange(1, 30))},
            lab02.hash_functions(rng, rng.randrange(1, 6)),
        ),
        resemblance=_two_signatures,
        found=lambda rng: (_share(rng), rng.randrange(1, 40), rng.randrange(1, 12)),
        cut=lambda rng: (rng.randrange(1, 150), _share(rng), rng.choice([0.1, 0.5, 0.9, 0.99])),
        reading_order=_graph,
        earns_its_length=_halves,
        overlap=_item,
    ),
    '03_pretraining': dict(
        rope=lambda rng: (numbers(rng, rng.randrange(1, 8), 2 * rng.randrange(1, 6)), rng.choice([10.0, 1e4, 5e4])),
        split_wqkv=_wqkv,
        attention=_qkv,
        learning_rate=_step,
        bits_per_byte=lambda rng: (_nats(rng), _text(rng)),
        slow_pairs=lambda rng: (2 * rng.randrange(1, 80), rng.choice([10.0, 1e4, 1e6]), rng.randrange(1, 50_000)),
        mfu=lambda rng: (
            *(rng.randrange(1, most) for most in (10**9, 90, 9000, 40_000)),
            rng.uniform(1, 1e5),
            rng.uniform(1e9, 1e15),
        ),
        card_bytes=lambda rng: (
            rng.randrange(1, 10**10),
            rng.randrange(1, 65),
            rng.sample(['weights', 'gradients', 'states'], rng.randrange(4)),
        ),
    ),
    '04_finetuning': dict(
        loss_mask=_pieces,
        learned_loss=_losses,
        lora=_adapted,
        merged=_adapter,
        lora_parameters=lambda rng: (
            _config(rng),
            rng.randrange(1, 80),
            rng.sample(['wqkv', 'wo', 'w1', 'w2', 'w3'], rng.randrange(6)),
        ),
        quantise=_block,
        dequantise=lambda rng: (
            [rng.randrange(16) for _ in range(rng.randrange(1, 9))],
            rng.choice([0.0, 0.1, 1.0, 7.5]),
        ),
        pack=lambda rng: (
            [rng.randrange(1, rng.choice([4, 40])) for _ in range(rng.randrange(8))],
            rng.randrange(1, 25),
        ),
        may_see=lambda rng: ([rng.randrange(1, 5) for _ in range(rng.randrange(1, 5))],),
        obeys=_told,
    ),
    '05_rlhf': dict(
        ranking_loss=lambda rng: (*(round(rng.uniform(-5, 5), 2) for _ in range(2)), rng.choice([0, 1, 2, 3])),
        penalty=lambda rng: (round(rng.uniform(-9, 9), 1), rng.choice([1.0, 3.0, 5.0])),
        gae=_rewards_and_values,
        clipped_objective=lambda rng: (*_tokens(rng, 3), rng.choice([0.1, 0.2, 0.5])),
        kl_estimators=lambda rng: tuple(_tokens(rng, 2)),
        group_advantages=_rewards,
        verified=_reply,
        diagnose=_curves,
    ),
}
"""By lab and function: what draws the arguments of one call from a `random.Random`."""
