"""Pages with personal data that belongs to nobody: what masking is measured on."""
import random
from collections.abc import Iterator
from string import Formatter

from internlm_course.world.web import Page

# Lines of personal data; a value stands where its kind is named. The last lines hold numbers that are nobody's: they
# must stay.
CONTACTS = dict(
    en=['Write to {email} for a copy.', 'The author can be reached at {phone} on weekdays.',
        'Her identity number is {id}.', 'This edit came from {ip}.', 'Please pay to card {card}.',
        'Reach me at {email} or {phone}.'],
    zh=['联系邮箱：{email}。', '作者电话{phone}，工作日可打。', '身份证号：{id}。', '本次编辑来自{ip}。',
        '请付款到银行卡{card}。', '邮箱{email}，手机{phone}。'])
DECOYS = dict(en=['Order {wrong_id} was sent on 2023-{month:02d}-14.', 'Tested with release v{n}.2.{month}.',
                  'Serial number {wrong_card}.', 'The population is {n},345,678.'],
              zh=['订单{wrong_id}已于2023-{month:02d}-14发出。', '使用v{n}.2.{month}版本测试。', '序列号{wrong_card}。',
                  '人口为{n},345,678。'])
FAMILY = ['wang', 'li', 'zhang', 'smith', 'garcia', 'mueller', 'tanaka', 'novak']


def personal(rng: random.Random, kind: str) -> str:
    """An invented value of a kind of personal data, with its checksum where it has one."""
    def digits(n: int) -> str:
        return ''.join(rng.choice('0123456789') for _ in range(n))
    if kind == 'email':
        name = f'{rng.choice(FAMILY)}{rng.choice(["", ".", "_"])}{rng.choice(FAMILY)}{rng.randrange(100)}'
        return f'{name}@{rng.choice(["mail", "post.uni", "box"])}.example'
    if kind == 'phone':
        joint = rng.choice(['', ' ', '-'])
        return rng.choice([f'1{rng.randint(3, 9)}{digits(1)}{joint}{digits(4)}{joint}{digits(4)}',
                           f'+86 1{rng.randint(3, 9)}{digits(9)}', f'0{rng.randint(10, 29)}-{digits(8)}',
                           f'+44 20 {digits(4)} {digits(4)}', f'+1 {rng.randint(200, 999)}-555-{digits(4)}',
                           f'({rng.randint(200, 999)}) 555-{digits(4)}', f'+49{rng.randint(30, 89)}{digits(7)}'])
    if kind == 'id':
        body = (f'{rng.randint(11, 65)}{digits(4)}{rng.randint(1940, 2012)}{rng.randint(1, 12):02d}'
                f'{rng.randint(1, 28):02d}{digits(3)}')
        return body + id_check(body)
    if kind == 'card':
        body = rng.choice(['62', '4', '53']) + digits(13)
        number = body + card_check(body)
        return ' '.join(number[i:i + 4] for i in range(0, len(number), 4)) if rng.random() < 0.5 else number
    if rng.random() < 0.2:
        return ':'.join(f'{rng.randrange(1, 1 << 16):x}' for _ in range(8))
    return '.'.join(str(rng.randint(1, 254)) for _ in range(4))


def id_check(body: str) -> str:
    """The check character behind 17 digits of a Chinese identity number (GB 11643: weights are powers of 2 modulo
    11)."""
    return '10X98765432'[sum(pow(2, 17 - place, 11) * int(digit) for place, digit in enumerate(body)) % 11]


def card_check(body: str) -> str:
    """The check digit of a card's number (ISO/IEC 7812): every second digit doubled, from the right."""
    doubled = [int(digit) * (2 - place % 2) for place, digit in enumerate(reversed(body))]
    return str(-sum(digit // 10 + digit % 10 for digit in doubled) % 10)


def fields(template: str) -> Iterator[tuple[str, str | None]]:
    """The parts of a template: a literal text and the name of the field behind it, None at the end."""
    return ((literal, name) for literal, name, *_ in Formatter().parse(template))


def private(rng: random.Random, page: Page) -> tuple[Page, list[tuple[str, int, int]], str]:
    """A good page with one or two lines of personal data, and often a line of numbers that are none.

    Returns:
        the page, the spans to mask in its text as (kind, start, end), and its text after perfect masking.
    """
    text, spans = '\n'.join(page.lines), []
    masked = text
    for _ in range(rng.randint(1, 2)):
        text, masked = f'{text}\n', f'{masked}\n'
        for literal, kind in fields(rng.choice(CONTACTS[page.lang])):
            text, masked = text + literal, masked + literal
            if kind:
                value = personal(rng, kind)
                spans.append((kind, len(text), len(text) + len(value)))
                text, masked = text + value, f'{masked}[{kind.upper()}]'
    if rng.random() < 0.5:
        number = personal(rng, 'id')
        card = personal(rng, 'card').replace(' ', '')
        decoy = '\n' + rng.choice(DECOYS[page.lang]).format(
            wrong_id=number[:-1] + str((int(number[-1].replace('X', '0')) + 1) % 10),
            wrong_card=card[:-1] + str((int(card[-1]) + 1) % 10), n=rng.randint(1, 9), month=rng.randint(1, 12))
        text, masked = text + decoy, masked + decoy
    return Page(page.kind, page.lang, page.title, tuple(text.split('\n'))), spans, masked
