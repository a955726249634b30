"""The micro-world's pages: what its questions and facts look like on the web, kind by kind."""
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from internlm_course.data import world
from internlm_course.data.world import JOINT
from internlm_course.model.chat import TOOL_PROMPT


@dataclass(frozen=True)
class Page:
    """One document of the world: `lines` are its paragraphs; a code page is shown verbatim."""
    kind: str
    lang: str
    title: str
    lines: tuple[str, ...]


TITLES = dict(
    encyclopedia=('Countries of the world', '世界各国'), quiz=('Geography quiz', '地理问答'), language=('Phrase book', '常用语'),
    reading=('Who lives where', '谁住在哪里'), math=('Exercise sheet', '练习题'), exam=('Problems in steps', '分步应用题'), code=('Small functions', '小函数'),
    riddle=('Short secrets', '小秘密'), story=('A secret among facts', '事实中的秘密'), long=('A long walk through the atlas', '地图漫游'),
    tools=('Tools at work', '使用工具'))
# Share of the pages of each kind; how often each is seen is the mixture of the pre-training config.
SHARES = dict(encyclopedia=0.07, quiz=0.11, language=0.06, reading=0.11, math=0.15, exam=0.06, code=0.11, riddle=0.12, story=0.09, long=0.03, tools=0.09)


def page(rng: random.Random, kind: str) -> Page:
    """A clean page of the given kind; all but `long` stay within the first context, in many sizes, so that they pack well into rows."""
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
        lines = world.reading_page(rng, lang)
    elif kind == 'math':
        lines = lines_of(lambda: world.ask(world.word_problem, rng, lang).line if rng.random() < 0.3 else world.sums(rng, lang), 14)
    elif kind == 'exam':
        lines = lines_of(lambda: world.ask(world.steps, rng, lang).line, 8)
    elif kind == 'code':
        lines = lines_of(lambda: world.ask(world.code, rng, lang).line, 9)
    elif kind == 'tools':
        lines = [TOOL_PROMPT] * (rng.random() < 0.1) + lines_of(lambda: world.tool_trace(rng, lang), 5)
    elif kind in ('riddle', 'story'):  # one secret a page: two would contradict each other
        lines = world.ask(world.needle, rng, lang, facts=rng.randint(*((1, 4) if kind == 'riddle' else (2, 14)))).line.split('\n')
    else:
        lines = world.ask(world.needle, rng, lang, facts=rng.randint(25, world.FAR[lang] + 4)).line.split('\n')
    return Page(kind, lang, f'{TITLES[kind][lang == "zh"]} {rng.randrange(100_000)}', tuple(lines))


def pages(count: int, seed: int) -> Iterator[Page]:
    """`count` clean pages in a fixed random order."""
    rng = random.Random(seed)
    kinds, weights = list(SHARES), list(SHARES.values())
    for _ in range(count):
        yield page(rng, rng.choices(kinds, weights)[0])
