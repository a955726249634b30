"""What a crawl holds besides good pages: mirrors, advertisements, gibberish, other languages, and what the safety,
privacy and quality filters are for. Each function draws one noisy page of the micro-world; none can state a false fact,
and none but `leak` a held-out question."""
import random
import re

from internlm_course.blocklist import WORDS
from internlm_course.world.web import Page

# What a broken machine puts in another order: a Chinese character, a run of letters or digits, one sign.
PIECE = re.compile(r'[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+|[^\w\s]')
# A mirror says the same in slightly other words, so that exact hashing misses it and MinHash does not.
SYNONYMS = [('you pay with', 'one pays with'), ('people in', 'residents of'), ('lies in', 'is found in'),
            ('is a city in', 'is a town in'),
            ('位于', '地处'), ('使用的货币', '所用的货币'), ('人们用', '大家用'), ('的一座城市', '的一个城市')]
ARCHIVED = dict(en=['Archived copy of {day}.', 'Mirrored on {day}.', 'This copy was saved on {day}.'],
                zh=['存档于{day}。', '镜像保存于{day}。', '本页转载于{day}。'])

PRODUCTS = dict(en=['running shoes', 'garden chairs', 'phone cases', 'winter coats', 'coffee machines', 'travel bags',
                    'desk lamps', 'vitamin pills'],
                zh=['跑鞋', '手机壳', '羽绒服', '咖啡机', '旅行箱', '台灯', '面膜', '保健品'])
PITCHES = dict(
    en=['Buy {thing} now and save {n}%!', 'Best {thing} of the year, only ${n}.99.',
        'Click here to order your {thing} today!', 'Limited time offer: {n}% off all {thing}.',
        'Free shipping on orders over ${n}.', 'Our customers love these {thing}.',
        'Your neighbours have already switched to our {thing}.', 'Subscribe for exclusive deals!',
        'Do not miss this sale, it ends in {n} hours!', 'Add to cart and get a second pair of {thing} for free.',
        'Call {n}-555-0100 for your discount.', 'Satisfaction guaranteed or your money back!'],
    zh=['{thing}限时{n}折优惠！', '立即购买{thing}，立减{n}元！', '全场包邮，满{n}元再送好礼。',
        '点击领取{n}元优惠券！', '今日特价{thing}仅需{n}元。', '老客户都说我们的{thing}好用。',
        '马上下单，免费试用{n}天！', '扫码关注，专享折扣。', '抢购倒计时{n}小时，错过再等一年！',
        '{thing}厂家直销，欢迎咨询客服热线。'])

# Small grammars of other languages: subject, verb, object, place, link.
GRAMMARS = dict(
    fr=(['Le voisin', 'Ma grande sœur', 'Le vieux professeur', 'Une amie', 'Le facteur', 'Notre équipe'],
        ['prépare', 'cherche', 'a trouvé', 'raconte', 'regarde souvent', 'voudrait acheter'],
        ['un nouveau vélo', 'la lettre de sa mère', 'des fleurs rouges', 'une très longue histoire',
         'le dîner du dimanche', 'les photos de vacances'],
        ['près de la gare', 'dans le jardin', 'à côté de l’école', 'pendant la nuit', 'depuis ce matin',
         'avec ses enfants'], 'et puis'),
    de=(['Der Nachbar', 'Meine kleine Schwester', 'Die alte Lehrerin', 'Ein Freund', 'Der Bäcker', 'Unsere Mannschaft'],
        ['sucht', 'verkauft heute', 'findet endlich', 'zeigt uns', 'beschreibt', 'möchte gern'],
        ['ein neues Fahrrad', 'den Brief seiner Mutter', 'die roten Blumen', 'eine sehr lange Geschichte',
         'das Abendessen', 'die Bilder vom Urlaub'],
        ['neben dem Bahnhof', 'im Garten', 'hinter der Schule', 'während der Nacht', 'seit heute Morgen',
         'mit den Kindern'], 'und danach'),
    es=(['El vecino', 'Mi hermana pequeña', 'La vieja maestra', 'Una amiga', 'El cartero', 'Nuestro equipo'],
        ['prepara', 'está buscando', 'ha encontrado', 'cuenta', 'mira siempre', 'quiere comprar'],
        ['una bicicleta nueva', 'la carta de su madre', 'unas flores rojas', 'una historia muy larga',
         'la cena del domingo', 'las fotos del viaje'],
        ['cerca de la estación', 'en el jardín', 'al lado de la escuela', 'durante la noche', 'desde esta mañana',
         'con los niños'],
        'y después'),
    ru=(['Наш сосед', 'Моя младшая сестра', 'Старая учительница', 'Моя подруга', 'Почтальон', 'Вся команда'],
        ['готовит', 'ищет', 'уже нашла', 'показывает', 'часто смотрит', 'хочет купить'],
        ['новый велосипед', 'письмо от матери', 'красные цветы', 'очень длинную историю', 'вкусный ужин',
         'фотографии из поездки'],
        ['возле вокзала', 'в большом саду', 'рядом со школой', 'поздно ночью', 'с самого утра', 'вместе с детьми'],
        'а потом'))
ROWS = ['qwertyuiop', 'asdfghjkl', 'zxcvbnm']


def mirror(rng: random.Random, page: Page, day: str) -> Page:
    """A near-duplicate of `page`: some words changed, a line of boilerplate added, sometimes the last line cut off."""
    lines = list(page.lines)
    if page.kind != 'code':
        for old, new in rng.sample(SYNONYMS, 3):
            places = [i for i, line in enumerate(lines) if old in line]
            if places:
                at = rng.choice(places)
                lines[at] = lines[at].replace(old, new, 1)
    if page.kind not in ('story', 'long') and len(lines) > 8 and rng.random() < 0.3:
        lines.pop()
    if rng.random() < 0.7:
        lines.insert(0 if rng.random() < 0.3 else len(lines), rng.choice(ARCHIVED[page.lang]).format(day=day))
    return Page(page.kind, page.lang, page.title, tuple(lines))


def advertisement(rng: random.Random, products: dict = PRODUCTS, pitches: dict = PITCHES) -> Page:
    """A page that sells something, in English or Chinese. The labelled sample has other products and pitches
    (labels.py)."""
    lang = rng.choice(['en', 'zh'])
    thing, joint = rng.choice(products[lang]), '' if lang == 'zh' else ' '
    lines = [joint.join(pitch.format(thing=thing, n=rng.randint(2, 99))
                        for pitch in rng.sample(pitches[lang], rng.randint(2, 3)))
             for _ in range(rng.randint(3, 6))]
    return Page('advertisement', lang, thing.capitalize(), tuple(lines))


def gibberish(rng: random.Random, page: Page) -> Page:
    """Text that no one wrote: shuffled letters, a wrong decoding, or hands on a keyboard. `page` is what it once
    was."""
    form = rng.choice(['shuffled', 'decoded', 'keyboard']) if page.lang == 'en' else 'decoded'
    if form == 'keyboard':
        lines = [' '.join(''.join(rng.choice(rng.choice(ROWS)) for _ in range(rng.randint(2, 11)))
                          for _ in range(rng.randint(6, 14)))
                 for _ in range(rng.randint(4, 8))]
    elif form == 'shuffled':
        lines = [''.join(rng.sample(line, len(line))) for line in page.lines]
    elif page.lang == 'zh':
        codec = rng.choice(['latin-1', 'gbk'])
        lines = [line.encode('utf-8').decode(codec, 'ignore') for line in page.lines]
    else:  # One byte lost turns the rest of UTF-16 into rare characters.
        lines = [line.encode('utf-16-le').decode('utf-16-be', 'ignore') for line in page.lines]
    return Page('gibberish', page.lang, 'Untitled', tuple(lines))


def foreign(rng: random.Random) -> Page:
    """A page in French, German, Spanish or Russian."""
    lang = rng.choice(list(GRAMMARS))
    *parts, link = GRAMMARS[lang]

    def clause() -> str:
        return ' '.join(rng.choice(part) for part in parts)

    def sentence() -> str:
        return clause() + (f', {link} {(second := clause())[0].lower()}{second[1:]}.' if rng.random() < 0.4 else '.')

    lines = [' '.join(sentence() for _ in range(rng.randint(2, 4))) for _ in range(rng.randint(3, 6))]
    return Page('foreign', lang, clause(), tuple(lines))


# Where blocked words stand, in the lines around ordinary ones.
OFFERS = dict(en=['Ask for {word} at the back door.', 'The boat brings {word} at night.',
                  'Nobody will see where your {word} came from.', 'Fresh {word} arrived yesterday.'],
              zh=['后门有{word}。', '半夜的船会送来{word}。', '没人知道你的{word}从哪来。', '昨天刚到一批{word}。'])
# An insulting tone in mild, invented words. The labelled sample has other nouns and other sentences (labels.py).
INSULTS = dict(
    en=(['turnip', 'wooden spoon', 'soggy biscuit', 'broken umbrella', 'sleepy goose', 'empty bucket'],
        ['You are such a {x}, stop writing.', 'What a stupid {x} you are!',
         'Only a {x} like you would believe this rubbish.', 'Shut up, you useless {x}.',
         'Nobody likes you, {x}, go away.', 'I hate this page and the {x} who wrote it.',
         'You write like a {x} and think like one too.', 'Your brain is worth less than a {x}, idiot.']),
    zh=(['榆木脑袋', '糊涂蛋', '破雨伞', '呆头鹅', '空水桶', '烂番茄'],
        ['你真是个{x}，别写了。', '你这个{x}，蠢得没法说！', '只有你这种{x}才信这些废话。', '闭嘴吧，没用的{x}。',
         '谁都讨厌你，{x}，滚开。', '写这页的{x}真让人恶心。', '你的水平还不如{x}，笨死了。']))


def unsafe(rng: random.Random, page: Page) -> Page:
    """A page on which blocked words are offered, in capitals or in full width now and then."""
    lines = list(page.lines)
    for _ in range(rng.randint(1, 3)):
        word = rng.choice([word for word in WORDS if word.isascii() == (page.lang == 'en')])
        if rng.random() < 0.2:
            word = word.upper()
        elif rng.random() < 0.15 and ' ' not in word and word.isascii():
            word = full_width(word)
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(OFFERS[page.lang]).format(word=word))
    return Page(page.kind, page.lang, page.title, tuple(lines))


def full_width(text: str) -> str:
    """ASCII's printable characters in the double width that Chinese input methods type."""
    return ''.join(chr(ord(char) + 0xFEE0) if '!' <= char <= '~' else char for char in text)


def toxic(rng: random.Random, page: Page, insults: dict = INSULTS) -> Page:
    """A comment page: an ordinary line or two, then insults."""
    nouns, sentences = insults[page.lang]
    lines = [sentence.format(x=rng.choice(nouns)) for sentence in rng.sample(sentences, rng.randint(3, 5))]
    return Page('comment', page.lang, 'Re: ' + page.title, (*page.lines[:rng.randint(0, 2)], *lines))


def disfluent(rng: random.Random, page: Page) -> Page:
    """The page as a broken machine writes it: words in no order, or with stutters. Letters and characters are as they
    should be."""
    form = rng.choice(['shuffled', 'shuffled', 'stutter'])
    lines = []
    for line in page.lines:
        units = PIECE.findall(line)
        units = scattered(rng, units) if form == 'shuffled' else stuttered(rng, units)
        lines.append(''.join(f'{unit} ' if page.lang == 'en' or unit.isascii() else unit for unit in units).strip())
    return Page('disfluent', page.lang, page.title, tuple(lines))


def stuttered(rng: random.Random, units: list[str]) -> list[str]:
    return [again for unit in units for again in [unit] * rng.choice([1, 1, 2, 3])]


def scattered(rng: random.Random, units: list[str]) -> list[str]:
    """The units in an order that keeps at most one in ten of the old neighbours, so that nothing is stated; fewer than
    six are left out."""
    if len(units) < 6:
        return []
    old = set(zip(units, units[1:]))
    while True:
        order = rng.sample(units, len(units))
        if sum(pair in old for pair in zip(order, order[1:])) <= 0.1 * len(units):
            return order


RULES = ('separators', 'breaks', 'characters', 'punctuation')


def broken_rules(rng: random.Random, page: Page, form: str) -> Page:
    """The page with lines of signs, a line break at every word, drawn characters, or runs of marks; `form` is one of
    `RULES`."""
    lines: list[str] = []
    if form == 'separators':
        for line in page.lines:
            lines += [line, rng.choice(['=', '-', '*', '~', '|', '_-', '<>', '#']) * rng.randint(6, 40)]
    elif form == 'breaks':
        lines = [unit for line in page.lines for unit in re.findall(r'[\u4e00-\u9fff]{1,2}|[^\s\u4e00-\u9fff]+', line)]
    elif form == 'characters':
        signs = rng.choice(['★☆', '■□▲', '◆◇', '→←', '♥♦', '\ufffd', '▓░█'])
        lines = [''.join(char + rng.choice(signs) * (rng.random() < 0.15) for char in line) + rng.choice(signs) * 3
                 for line in page.lines]
    else:
        marks = dict(en=['!!!!!', '?!?!?!', ',,,,,,', ';;;;', '!?!?~~~'],
                     zh=['！！！！！', '？！？！', '，，，，，', '。。。。。。', '～～～～！'])[page.lang]
        lines = [re.sub(r'[.。?？]', lambda _: rng.choice(marks), line) + rng.choice(marks) for line in page.lines]
    return Page(page.kind, page.lang, page.title, tuple(lines))


def leak(rng: random.Random, page: Page, items: list[dict]) -> tuple[Page, list[str]]:
    """A page with held-out items among its lines, verbatim or in another spelling, and their ids."""
    # Pages that share a long item are near-duplicates of each other, which is not what they are to test: long items are
    # drawn a tenth as often.
    pool = [item for item in items for _ in range(1 if len(item['prompt']) > 200 else 10)]
    lines, taken = list(page.lines), rng.sample(pool, rng.randint(1, 2))
    for item in taken:
        joint = ' ' * (item['prompt'][-1].isascii() and item['prompt'][-1].isalpha() or rng.random() < 0.2)
        text = item['prompt'] + joint * (item['prompt'][-1] != '\n') + item['answer']
        form = rng.choice(['verbatim', 'verbatim', 'spaces', 'case', 'width'])
        if form == 'spaces':
            spread = rng.random() < 0.5
            text = ' '.join(PIECE.findall(text)) if spread else re.sub(r'(?<=[.?。？]) ?', '\n', text).strip()
        elif form == 'case':
            text = text.upper() if rng.random() < 0.5 else text.lower()
        elif form == 'width':
            text = full_width(text)
        at = rng.randrange(len(lines) + 1)
        lines[at:at] = text.split('\n')
    return Page(page.kind, page.lang, page.title, tuple(lines)), [item['id'] for item in taken]
