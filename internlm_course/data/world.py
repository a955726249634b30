"""The micro-world: a small bilingual world of facts, sums, functions, stories and tool calls that a 2 M-parameter model can learn in minutes.

Synthetic, seeded and documented as such. Each ability asks `Question`s; one tenth of them, chosen by a hash, is held out: no page and no
conversation contains it, and the evaluation suites contain nothing else.
"""
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from internlm_course import catalog

FIELDS = ('country', 'capital', 'continent', 'currency')
FACTS = [dict(en=dict(zip(FIELDS, row[:4])), zh=dict(zip(FIELDS, row[4:]))) for row in
         (line.split('\t') for line in (Path(__file__).parent / 'facts.tsv').read_text('utf-8').splitlines())]
NAMES = dict(en=['Anna', 'Tom', 'Maria', 'Omar', 'Yuki', 'Ivan', 'Lucy', 'David', 'Sara', 'Peter', 'Nina', 'Jack'],
             zh=['李明', '王芳', '赵磊', '陈晨', '刘洋', '孙丽', '周杰', '吴敏', '小红', '小华', '小刚', '阿强'])
THINGS = dict(en=['apples', 'books', 'pens', 'stones', 'coins', 'cups', 'stars', 'shells'], zh=['苹果', '书', '笔', '石头', '硬币', '杯子', '星星', '贝壳'])


@dataclass(frozen=True)
class Question:
    """One question of one ability.

    `prompt` + `answer` is how a page writes it (a base model continues `prompt`); `question` is how a person asks it in chat, and `lead` + `answer`
    how the assistant replies: in a sentence that begins in the page's own words, where the answer alone would have to come from further away.
    Without leads fine-tuning has to teach the model to search from another place: of the needles it found 2 to 100 % after it, run by run; with
    leads 95 to 100 %.
    """
    suite: str
    lang: str
    prompt: str
    question: str
    answer: str
    key: tuple
    lead: str = ''
    choices: tuple[str, ...] = ()
    """What a guess among the things that the text names would pick from, where it names some."""

    @property
    def completion(self) -> str:
        """The answer as it follows the prompt on a page, and as a reply begins: with a blank where words do, since ' tiger' is one token and
        'tiger' several. SentencePiece's dummy prefix does the same in InternLM2's released tokenizers."""
        spaced = self.prompt[-1].isascii() and not self.prompt.endswith('\n') and not self.prompt[-2:-1].isdigit()
        return ' ' * spaced + self.answer

    @property
    def reply(self) -> str:
        """What the assistant says."""
        return self.lead + self.completion

    @property
    def line(self) -> str:
        """The question with its answer, as one line of a page."""
        return self.prompt + self.completion

    @property
    def held_out(self) -> bool:
        """Whether this question belongs to the evaluation suites: a hash of what it asks, so that no seed moves it."""
        return held_out(self.key)


def held_out(key: tuple) -> bool:
    return zlib.crc32(repr(key).encode()) % 10 == 0


# --- knowledge -----------------------------------------------------------------------------------------------------------------------
ASK = dict(
    en=[('capital', 'What is the capital of {country}?', 'Which city is the capital of {country}?', 'Name the capital city of {country}.'),
        ('country', 'Which country has the capital {capital}?', '{capital} is the capital of which country?', 'Name the country whose capital is {capital}.'),
        ('continent', 'On which continent is {country}?', 'Which continent is {country} part of?', 'Name the continent of {country}.'),
        ('currency', 'Which currency does {country} use?', 'What money do people use in {country}?', 'Name the currency of {country}.')],
    zh=[('capital', '{country}的首都是哪里？', '哪个城市是{country}的首都？', '请说出{country}的首都。'),
        ('country', '{capital}是哪个国家的首都？', '哪个国家的首都是{capital}？', '请说出首都为{capital}的国家。'),
        ('continent', '{country}在哪个洲？', '{country}属于哪个洲？', '请说出{country}所在的洲。'),
        ('currency', '{country}使用什么货币？', '人们在{country}用什么钱？', '请说出{country}的货币。')])
TELL = dict(
    en=['The capital of {country} is {capital}.', '{capital} is the capital of {country}.', '{country} is a country in {continent}.',
        'People in {country} pay with the {currency}.', '{country} lies in {continent}. Its capital is {capital}.',
        'The currency of {country} is the {currency}.', '{capital} is a city in {country}, in {continent}.',
        'In {capital}, the capital of {country}, you pay with the {currency}.'],
    zh=['{country}的首都是{capital}。', '{capital}是{country}的首都。', '{country}是{continent}的一个国家。', '{country}人使用的货币是{currency}。',
        '{country}位于{continent}，首都是{capital}。', '{country}的货币是{currency}。', '{capital}是{continent}国家{country}的一座城市。',
        '在{country}的首都{capital}，人们用{currency}付钱。'])
QA = dict(en='Question: {q} Answer:', zh='问：{q}答：')
JOINT = dict(en=' ', zh='')  # between two sentences


def knowledge(rng: random.Random, lang: str) -> Question:
    index, (wanted, *forms) = rng.choice(list(enumerate(ASK[lang])))
    form, fact = rng.randrange(len(forms)), rng.choice(FACTS)[lang]
    question = forms[form].format(**fact)
    return Question('knowledge', lang, QA[lang].format(q=question), question, fact[wanted], ('knowledge', lang, index, form, fact['country']))


def told_names(rng: random.Random, lang: str) -> tuple[str, list[str]]:
    """A statement about one country, and the names in it."""
    form, fact = rng.choice(TELL[lang]), rng.choice(FACTS)[lang]
    return form.format(**fact), [fact[field] for field in FIELDS if f'{{{field}}}' in form]


def tell(rng: random.Random, lang: str) -> str:
    """A statement about one country."""
    return told_names(rng, lang)[0]


# --- language: translation and reading -------------------------------------------------------------------------------------------------
SENTENCES = [('The capital of {country} is {capital}.', '{country}的首都是{capital}。'), ('{country} is in {continent}.', '{country}在{continent}。'),
             ('I live in {capital}.', '我住在{capital}。'), ('She likes {country}.', '她喜欢{country}。'), ('He flies to {capital}.', '他飞往{capital}。'),
             ('{capital} is in {continent}.', '{capital}在{continent}。'), ('He lives in {capital}.', '他住在{capital}。'),
             ('She lives in {country}.', '她住在{country}。'), ('I like {capital}.', '我喜欢{capital}。'), ('He likes {country}.', '他喜欢{country}。'),
             ('I fly to {capital}.', '我飞往{capital}。'), ('She flies to {country}.', '她飞往{country}。'),
             # A name that begins a sentence has other tokens than one after a blank: each is seen in several such forms.
             ('{country} is far away.', '{country}很远。'), ('{capital} is far away.', '{capital}很远。'),
             ('{country} is beautiful.', '{country}很美。'), ('{capital} is beautiful.', '{capital}很美。')]
# One word stands between a name and its place. With two ("lives in") English texts were read only by some seeds: whoever
# copies the place has to match what stood two tokens before.
PLACE = dict(en=('{name} visits {place}.', 'Which city does {name} visit?'), zh=('{name}游览{place}。', '{name}游览哪里？'))


def translation(rng: random.Random, lang: str) -> Question:
    """From `lang` into the other language."""
    form, fact = rng.randrange(len(SENTENCES)), rng.choice(FACTS)
    english, chinese = SENTENCES[form][0].format(**fact['en']), SENTENCES[form][1].format(**fact['zh'])
    key = ('translation', lang, form, fact['en']['country'])
    if lang == 'en':
        return Question('translation', lang, f'English: {english} Chinese:', f'Translate into Chinese: {english}', chinese, key)
    return Question('translation', lang, f'中文：{chinese}英文：', f'翻译成英文：{chinese}', english, key)


def told_places(rng: random.Random, lang: str) -> tuple[str, list[tuple[str, str, str]]]:
    """Several people and the city that each visits: the text, and for each of them (name, question with the beginning of its answer, place)."""
    (told, asked), joint = PLACE[lang], JOINT[lang]
    people = list(zip(rng.sample(NAMES[lang], rng.randint(2, 4)), (fact[lang]['capital'] for fact in rng.sample(FACTS, 4))))
    text = joint.join(told.format(name=name, place=place) for name, place in people)
    return text, [(name, asked.format(name=name), place) for name, place in people]


def reading(rng: random.Random, lang: str) -> Question:
    """Which city one of several people visits, told just before."""
    text, asked = told_places(rng, lang)
    name, question, place = rng.choice(asked)
    joint, lead = JOINT[lang], PLACE[lang][0].format(name=name, place='').rstrip('。. ')
    return Question('reading', lang, f'{text}\n{QA[lang].format(q=question)}{joint}{lead}', f'{text}\n{question}', place,
                    ('reading', text, name), lead, tuple(place for _, _, place in asked))


# --- reasoning and mathematics -----------------------------------------------------------------------------------------------------------
def addition(rng: random.Random, lang: str) -> Question:
    """Two two-digit numbers; a held-out pair is held out in both orders and in every wording."""
    a, b = rng.randint(10, 99), rng.randint(10, 99)
    return Question('addition', lang, f'{a}+{b}=', TOOL_ASK[lang]['calculator'].format(x=f'{a}+{b}'), str(a + b), ('sum', min(a, b), max(a, b)), f'{a}+{b}=')


def word_problem(rng: random.Random, lang: str) -> Question:
    """One purchase or gift; the answer writes the sum down before its result. Without it, to find the carry before the first digit was a matter of luck:
    of two seeds one solved 89 % after fine-tuning, the other 7 %."""
    a, b, name, thing = rng.randint(10, 90), rng.randint(1, 9), rng.choice(NAMES[lang]), rng.choice(THINGS[lang])
    change = -b if rng.random() < 0.4 and a > b else b
    key, answer = change_key(a, change), f'{a}{change:+}={a + change}'
    if lang == 'en':
        text = f'{name} has {a} {thing} and {"gives away" if change < 0 else "buys"} {b}.'
        prompt = f'{text} Now {name} has'
        return Question('word_problem', lang, prompt, f'{text} How many {thing} does {name} have now?', f'{answer} {thing}.', key, prompt)
    text = f'{name}有{a}个{thing}，{"送出" if change < 0 else "又买了"}{b}个。'
    prompt = f'{text}现在{name}有：'
    return Question('word_problem', lang, prompt, f'{text}现在{name}有几个{thing}？', f'{answer}个{thing}。', key, prompt)


def change_key(a: int, change: int) -> tuple:
    """What a problem of one step asks: what one buys is a sum, held out as sums are."""
    return ('word', a, -change) if change < 0 else ('sum', min(a, change), max(a, change))


def steps(rng: random.Random, lang: str) -> Question:
    """A word problem of two steps, worked out. Each step alone may stand on any page; what is held out is the two together."""
    while True:
        a, changes = rng.randint(20, 80), [rng.choice((1, -1)) * rng.randint(1, 9) for _ in range(2)]
        between = a + changes[0]
        if not held_out(change_key(a, changes[0])) and not held_out(change_key(between, changes[1])):
            break
    name, thing = rng.choice(NAMES[lang]), rng.choice(THINGS[lang])
    if lang == 'en':
        first, second = (f'{"buys" if change > 0 else "gives away"} {abs(change)}' for change in changes)
        text = f'{name} has {a} {thing}, {first}, then {second}. Steps:'
    else:
        first, second = (f'{"买" if change > 0 else "送"}{abs(change)}个' for change in changes)
        text = f'{name}有{a}个{thing}，先{first}，再{second}。算式：'
    return Question('steps', lang, text, text, f'{a}{changes[0]:+}={between}, {between}{changes[1]:+}={between + changes[1]}', ('steps', a, *changes))


# --- code --------------------------------------------------------------------------------------------------------------------------------
def code(rng: random.Random, lang: str) -> Question:
    """A small Python function and a call; the answer is what the interpreter prints."""
    name, form = rng.choice('fgh'), rng.random()
    if form < 0.4:
        x, k, op = rng.randrange(10), rng.randrange(10), rng.choice('+-')
        body, call, value, header = f'x {op} {k}', f'{x}', x + k if op == '+' else x - k, 'x'
    elif form < 0.6:
        pick, x, k = rng.choice(['max', 'min']), rng.randrange(10), rng.randrange(10)
        body, call, value, header = f'{pick}(a, b)', f'{x}, {k}', (max if pick == 'max' else min)(x, k), 'a, b'
    else:
        items = [rng.randrange(10) for _ in range(rng.randint(2, 5))]
        body, value = rng.choice([('s[0]', items[0]), ('s[1]', items[1]), ('s[-1]', items[-1]), ('len(s)', len(items))])
        call, header = str(items), 's'
    prompt = f'def {name}({header}):\n    return {body}\n>>> {name}({call})\n'
    return Question('code', lang, prompt, f'What does this print?\n{prompt}'.rstrip(), str(value), ('code', body, call))


# --- long context --------------------------------------------------------------------------------------------------------------------------
# The secret stands in the same words in both languages. A lead that ends in a common word is found first: on a dense diet "is the" was found
# in 83 % of the items after 0.4 M tokens, "PASSWORD =" in 15 % after 0.8 M.
SECRET = 'The secret animal is the {n}.'
SECRET_ASK = dict(en='What is the secret animal?', zh='秘密动物是什么？')
ANIMALS = ['tiger', 'lion', 'horse', 'cow', 'sheep', 'dog', 'cat', 'hen', 'fish', 'bird', 'snake', 'mouse', 'rabbit', 'monkey', 'pig', 'bear', 'wolf',
         'deer', 'fox', 'eagle', 'goose', 'duck', 'ant', 'bee', 'whale', 'crane', 'turtle', 'frog', 'camel', 'panda']


# Statements that fill nearly 1,000 tokens, four of the first contexts; a Chinese one has fewer tokens.
FAR = dict(en=98, zh=186)


def needle(rng: random.Random, lang: str, facts: int | dict[str, int], depth: float | None = None) -> Question:
    """An animal hidden among `facts` statements (a number, or one for each language) about countries, asked for at the end.

    `depth`, 0 first to 1 last, says where it stands; None anywhere.
    """
    facts = facts[lang] if isinstance(facts, dict) else facts
    animal, asked, lead = rng.choice(ANIMALS), SECRET_ASK[lang], SECRET.format(n='').rstrip('. ')
    told = [told_names(rng, lang) for _ in range(facts)]
    lines = [line for line, _ in told]
    place = rng.randrange(facts + 1) if depth is None else round(depth * facts)
    lines.insert(place, SECRET.format(n=animal) + ' ' * (lang == 'zh'))
    # Paragraphs of six sentences, as a page would have them.
    text = '\n'.join(JOINT[lang].join(lines[i:i + 6]).strip() for i in range(0, len(lines), 6))
    choices = tuple(sorted({animal}.union(*(names for _, names in told))))
    return Question('needle', lang, f'{text}\n{QA[lang].format(q=asked)} {lead}', f'{text}\n{asked}', animal, ('needle', text), lead, choices)


# --- dictation: what is said once more -----------------------------------------------------------------------------------------------------
DICTATE = dict(en='Listen: {x} Repeat: {y}', zh='听：{x}写：{y}')
LIST = dict(en=', ', zh='、')
# How a list is repeated: without the blank before it a name has other tokens, and a tool's argument stands so.
REPEAT = dict(en='({}) ', zh='({})')


def dictation(rng: random.Random, lang: str) -> str:
    """A line of a dictation: who visits which city, told once more in another order, or digits, names or a secret, word for word.

    Half of its tokens can be had by copying alone. Copying digits and copying names are one skill, and reading, tools,
    agents and secrets stand on it: pages that show it densely bring it sooner (labs/LOG.md).
    """
    if rng.random() < 0.5:
        people = zip(rng.sample(NAMES[lang], count := rng.randint(3, 6)), rng.sample(FACTS, count))
        told = [PLACE[lang][0].format(name=name, place=fact[lang]['capital']) for name, fact in people]
        return DICTATE[lang].format(x=JOINT[lang].join(told), y=JOINT[lang].join(rng.sample(told, count)))
    form = rng.random()
    if form < 0.4:
        names = [rng.choice(FACTS)[lang][rng.choice(('country', 'capital'))] for _ in range(rng.randint(2, 4))]
        return DICTATE[lang].format(x=LIST[lang].join(names), y=''.join(map(REPEAT[lang].format, names)).rstrip())
    if form < 0.5:
        text = SECRET.format(n=rng.choice(ANIMALS))
    elif form < 0.86:
        text = ''.join(rng.choice('0123456789') for _ in range(rng.randint(3, 8)))
    else:
        text = f'{rng.randint(100, 999)}{rng.choice("-/ ")}{rng.randint(100, 999)}'
    return DICTATE[lang].format(x=text, y=text)


# --- tools ---------------------------------------------------------------------------------------------------------------------------------
TOOLS = dict(en='Tools: calculator, translator, atlas.', zh='工具：calculator、translator、atlas。')
CALL = dict(en='Question: {q} Call:', zh='问：{q}调用：')
# In English the argument is asked for in quotes: behind a blank it would have other tokens than in the call.
TOOL_ASK = dict(en=dict(calculator='What is {x}?', translator='Translate "{x}".', atlas='Show "{x}" on the map.'),
                zh=dict(calculator='{x}等于多少？', translator='翻译{x}。', atlas='在地图上显示{x}。'))


def product(rng: random.Random) -> tuple[int, int]:
    """Two three-digit numbers, the factors of a long multiplication."""
    return rng.randint(100, 999), rng.randint(100, 999)


def multiplication(rng: random.Random, lang: str) -> Question:
    """A product of two three-digit numbers, as one would ask an agent that has a calculator."""
    a, b = product(rng)
    return Question('agent', lang, '', TOOL_ASK[lang]['calculator'].format(x=f'{a}*{b}'), str(a * b), ('product', a, b))


def tools(rng: random.Random, lang: str) -> Question:
    """Which tool to call, with which argument."""
    tool = rng.choice(['calculator', 'calculator', 'translator', 'atlas'])
    a, b = product(rng)
    value = f'{a}*{b}' if tool == 'calculator' else rng.choice(FACTS)[lang][rng.choice(['country', 'capital'])]
    question = TOOL_ASK[lang][tool].format(x=value)
    joint = JOINT[lang]
    return Question('tools', lang, TOOLS[lang] + joint + CALL[lang].format(q=question), TOOLS[lang] + joint + question, f'{tool}({value})',
                    ('tools', lang, tool, value))


# --- questions, suites ----------------------------------------------------------------------------------------------------------------------
def ask(ability: Callable, rng: random.Random, lang: str, held_out: bool = False, **options) -> Question:
    """Draws until the question is on the wanted side of the hold-out."""
    while True:
        question = ability(rng, lang, **options)
        if question.held_out == held_out:
            return question


# Suite of the catalog -> ability and its options.
SUITES: dict[str, tuple[Callable, dict]] = dict(
    knowledge=(knowledge, {}), translation=(translation, {}), reading=(reading, {}), addition=(addition, {}), word_problem=(word_problem, {}),
    steps=(steps, {}), code=(code, {}), needle_short=(needle, dict(facts=13)), needle_long=(needle, dict(facts=FAR)), tools=(tools, {}))


DRAWS = 5000  # so many draws without a new question say that there are no more


def items(suite: str, count: int, seed: int) -> list[dict]:
    """`count` different held-out items of a suite, half in each language, as the evaluation link reads them; fewer where the world holds out fewer, as of
    its few sentences to translate."""
    ability, options = SUITES[suite]
    rng, found, misses = random.Random(f'{suite}/{seed}'), {}, 0
    while len(found) < count and misses < DRAWS:
        question = ask(ability, rng, ('en', 'zh')[len(found) % 2], held_out=True, **options)
        misses = misses + 1 if (question.prompt, question.answer) in found else 0
        found.setdefault((question.prompt, question.answer), question)
    return [_item(f'{suite}-{i}', suite, question) for i, question in enumerate(found.values())]


def _item(name: str, suite: str, q: Question) -> dict:
    offered = dict(choices=q.choices) if q.choices else {}
    return dict(id=name, dimension=catalog.SUITES[suite].dimension, suite=suite, lang=q.lang, prompt=q.prompt, question=q.question, answer=q.answer,
                reply=q.reply, **offered)
