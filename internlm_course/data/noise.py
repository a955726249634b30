"""What a crawl holds besides good pages: mirrors, advertisements, gibberish, other languages. Each function draws one noisy page of the
micro-world; none of them can state a false fact or a held-out question."""
import random

from internlm_course.data.world import Page

# A mirror says the same in slightly other words, so that exact hashing misses it and MinHash does not.
SYNONYMS = [('you pay with', 'one pays with'), ('people in', 'residents of'), ('lies in', 'is found in'), ('is a city in', 'is a town in'),
            ('位于', '地处'), ('使用的货币', '所用的货币'), ('人们用', '大家用'), ('的一座城市', '的一个城市')]
ARCHIVED = dict(en=['Archived copy of {day}.', 'Mirrored on {day}.', 'This copy was saved on {day}.'],
                zh=['存档于{day}。', '镜像保存于{day}。', '本页转载于{day}。'])

PRODUCTS = dict(en=['running shoes', 'garden chairs', 'phone cases', 'winter coats', 'coffee machines', 'travel bags', 'desk lamps',
                    'vitamin pills'],
                zh=['跑鞋', '手机壳', '羽绒服', '咖啡机', '旅行箱', '台灯', '面膜', '保健品'])
PITCHES = dict(
    en=['Buy {thing} now and save {n}%!', 'Best {thing} of the year, only ${n}.99.', 'Click here to order your {thing} today!',
        'Limited time offer: {n}% off all {thing}.',
        'Free shipping on orders over ${n}.', 'Our customers love these {thing}.', 'Your neighbours have already switched to our {thing}.',
        'Subscribe for exclusive deals!', 'Do not miss this sale, it ends in {n} hours!',
        'Add to cart and get a second pair of {thing} for free.',
        'Call {n}-555-0100 for your discount.', 'Satisfaction guaranteed or your money back!'],
    zh=['{thing}限时{n}折优惠！', '立即购买{thing}，立减{n}元！', '全场包邮，满{n}元再送好礼。', '点击领取{n}元优惠券！',
        '今日特价{thing}仅需{n}元。', '老客户都说我们的{thing}好用。',
        '马上下单，免费试用{n}天！', '扫码关注，专享折扣。', '抢购倒计时{n}小时，错过再等一年！', '{thing}厂家直销，欢迎咨询客服热线。'])

# Small grammars of other languages: subject, verb, object, place, link.
GRAMMARS = dict(
    fr=(['Le voisin', 'Ma grande sœur', 'Le vieux professeur', 'Une amie', 'Le facteur', 'Notre équipe'],
        ['prépare', 'cherche', 'a trouvé', 'raconte', 'regarde souvent', 'voudrait acheter'],
        ['un nouveau vélo', 'la lettre de sa mère', 'des fleurs rouges', 'une très longue histoire', 'le dîner du dimanche',
         'les photos de vacances'],
        ['près de la gare', 'dans le jardin', 'à côté de l’école', 'pendant la nuit', 'depuis ce matin', 'avec ses enfants'], 'et puis'),
    de=(['Der Nachbar', 'Meine kleine Schwester', 'Die alte Lehrerin', 'Ein Freund', 'Der Bäcker', 'Unsere Mannschaft'],
        ['sucht', 'verkauft heute', 'findet endlich', 'zeigt uns', 'beschreibt', 'möchte gern'],
        ['ein neues Fahrrad', 'den Brief seiner Mutter', 'die roten Blumen', 'eine sehr lange Geschichte', 'das Abendessen',
         'die Bilder vom Urlaub'],
        ['neben dem Bahnhof', 'im Garten', 'hinter der Schule', 'während der Nacht', 'seit heute Morgen', 'mit den Kindern'], 'und danach'),
    es=(['El vecino', 'Mi hermana pequeña', 'La vieja maestra', 'Una amiga', 'El cartero', 'Nuestro equipo'],
        ['prepara', 'está buscando', 'ha encontrado', 'cuenta', 'mira siempre', 'quiere comprar'],
        ['una bicicleta nueva', 'la carta de su madre', 'unas flores rojas', 'una historia muy larga', 'la cena del domingo',
         'las fotos del viaje'],
        ['cerca de la estación', 'en el jardín', 'al lado de la escuela', 'durante la noche', 'desde esta mañana', 'con los niños'],
        'y después'),
    ru=(['Наш сосед', 'Моя младшая сестра', 'Старая учительница', 'Моя подруга', 'Почтальон', 'Вся команда'],
        ['готовит', 'ищет', 'уже нашла', 'показывает', 'часто смотрит', 'хочет купить'],
        ['новый велосипед', 'письмо от матери', 'красные цветы', 'очень длинную историю', 'вкусный ужин', 'фотографии из поездки'],
        ['возле вокзала', 'в большом саду', 'рядом со школой', 'поздно ночью', 'с самого утра', 'вместе с детьми'], 'а потом'))
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


def advertisement(rng: random.Random) -> Page:
    """A page that sells something, in English or Chinese."""
    lang = rng.choice(['en', 'zh'])
    thing, joint = rng.choice(PRODUCTS[lang]), '' if lang == 'zh' else ' '
    lines = [joint.join(pitch.format(thing=thing, n=rng.randint(2, 99)) for pitch in rng.sample(PITCHES[lang], rng.randint(2, 3)))
             for _ in range(rng.randint(3, 6))]
    return Page('advertisement', lang, thing.capitalize(), tuple(lines))


def gibberish(rng: random.Random, page: Page) -> Page:
    """Text that no one wrote: shuffled letters, a wrong decoding, or hands on a keyboard. `page` is what it once was."""
    form = rng.choice(['shuffled', 'decoded', 'keyboard']) if page.lang == 'en' else 'decoded'
    if form == 'keyboard':
        lines = [' '.join(''.join(rng.choice(rng.choice(ROWS)) for _ in range(rng.randint(2, 11))) for _ in range(rng.randint(6, 14)))
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
