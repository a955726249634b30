"""The micro-world's pages: what its questions and facts look like on the web, kind by kind."""
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from internlm_course.model.chat import TOOL_PROMPT
from internlm_course.world import world
from internlm_course.world.world import JOINT


@dataclass(frozen=True)
class Page:
    """One document of the world: `lines` are its paragraphs; a code page is shown verbatim."""
    kind: str
    lang: str
    title: str
    lines: tuple[str, ...]


TITLES = dict(
    encyclopedia=('Countries of the world', '世界各国'), quiz=('Geography quiz', '地理问答'),
    language=('Phrase book', '常用语'), reading=('Who visits which city', '谁游览哪里'),
    dictation=('Listen and repeat', '听写'), math=('Exercise sheet', '练习题'),
    exam=('Problems in steps', '分步应用题'), code=('Small functions', '小函数'), riddle=('Short secrets', '小秘密'),
    story=('A secret among facts', '事实中的秘密'), long=('A long walk through the atlas', '地图漫游'),
    tools=('Tools at work', '使用工具'))
# Share of the pages of each kind; how often each is seen is the mixture of the pre-training config.
SHARES = dict(encyclopedia=0.07, quiz=0.09, language=0.08, reading=0.09, dictation=0.10, math=0.15, exam=0.06,
              code=0.10,
              riddle=0.09, story=0.07, long=0.03, tools=0.07)


def reading_page(rng: random.Random, lang: str) -> list[str]:
    """A text about several people with a question about each, in any order; nobody visits two cities on one page."""
    while True:
        text, asked = world.told_places(rng, lang)
        if not any(world.held_out(('reading', text, name)) for name, _, _ in asked):
            break
    joint, told = JOINT[lang], world.PLACE[lang][0]
    return [text, *(world.QA[lang].format(q=question) + joint + told.format(name=name, place=place).rstrip('。.')
                    for name, question, place in rng.sample(asked, len(asked)))]


def sums(rng: random.Random, lang: str) -> str:
    """A line of an exercise sheet; worked steps in one of three forms. A held-out pair never appears, nor inside the
    steps of another."""
    while True:
        question = world.addition(rng, lang)
        a, b = map(int, question.prompt[:-1].split('+'))
        if not question.held_out:
            break
    form = rng.random()
    if form < 0.70:
        return question.line
    if form < 0.78:
        return f'{a}+{b}: {a % 10}+{b % 10}={a % 10 + b % 10}, {a // 10}+{b // 10}={a // 10 + b // 10}, {a + b}'
    if form < 0.86:
        return f'{a + b}-{b}={a}'
    if form < 0.92:
        c, d = rng.randrange(10), rng.randrange(10)
        return f'{c}*{d}={c * d}' if form < 0.89 else f'{c}+{d}={c + d}'
    return f'{a} plus {b} equals {a + b}.' if lang == 'en' else f'{a}加{b}等于{a + b}。'


def tool_trace(rng: random.Random, lang: str) -> str:
    """A tool's call as pages describe it; one long multiplication in three goes on with the result and the answer, in
    words or as JSON."""
    question = world.ask(world.tools, rng, lang)
    form = rng.random()
    if '*' not in question.answer or form < 0.67:
        return question.line
    expression = question.answer[len('calculator('):-1]
    a, b = map(int, expression.split('*'))
    if form < 0.85:
        return f'{question.line} Result: {a * b} Answer: {a * b}'
    asked = question.question[len(world.TOOLS[lang]):].strip()
    return f'{asked} {{"name": "calculator", "parameters": {{"expression": "{expression}"}}}} {a * b} {a * b}'


def page(rng: random.Random, kind: str) -> Page:
    """A clean page of the given kind; all but `long` stay within the first context, in many sizes, so that they pack
    well into rows."""
    lang, size = rng.choice(['en', 'zh']), rng.uniform(0.25, 1.0)

    def lines_of(line: Callable[[], str], most: int) -> list[str]:
        lines = []
        while len(lines) < max(1, round(most * size)):
            if (fresh := line()) not in lines[-1:]:
                lines.append(fresh)
        return lines
    if kind == 'encyclopedia':
        lines = lines_of(lambda: JOINT[lang].join(world.tell(rng, lang) for _ in range(3)), 5)
    elif kind == 'quiz':
        lines = lines_of(lambda: world.ask(world.knowledge, rng, lang).line, 13)
    elif kind == 'language':
        lines = lines_of(lambda: world.ask(world.translation, rng, lang).line, 6)
    elif kind == 'reading':
        lines = reading_page(rng, lang)
    elif kind == 'dictation':
        lines = lines_of(lambda: world.dictation(rng, lang), 6)
    elif kind == 'math':
        lines = lines_of(lambda: (
            world.ask(world.word_problem, rng, lang).line if rng.random() < 0.18 else sums(rng, lang)), 14)
    elif kind == 'exam':
        lines = lines_of(lambda: world.ask(world.steps, rng, lang).line, 8)
    elif kind == 'code':
        lines = lines_of(lambda: world.ask(world.code, rng, lang).line, 9)
    elif kind == 'tools':
        lines = [TOOL_PROMPT] * (rng.random() < 0.1) + lines_of(lambda: tool_trace(rng, lang), 5)
    elif kind in ('riddle', 'story'):  # one secret a page: two would contradict each other
        secret = world.ask(world.needle, rng, lang, facts=rng.randint(*((1, 4) if kind == 'riddle' else (2, 14))))
        lines = secret.line.split('\n')
        if kind == 'riddle':  # asked twice: of the page's tokens more are found by looking back
            again = rng.choice(['en', 'zh'])
            lines.append(f'{world.QA[again].format(q=world.SECRET_ASK[again])} {secret.reply}')
    else:
        lines = world.ask(world.needle, rng, lang, facts=rng.randint(25, world.FAR[lang] + 4)).line.split('\n')
    return Page(kind, lang, f'{TITLES[kind][lang == "zh"]} {rng.randrange(100_000)}', tuple(lines))


def pages(count: int, seed: int) -> Iterator[Page]:
    """`count` clean pages in a fixed random order."""
    rng = random.Random(seed)
    kinds, weights = list(SHARES), list(SHARES.values())
    for _ in range(count):
        yield page(rng, rng.choices(kinds, weights)[0])
