"""What fine-tuning teaches besides the world's own questions, and alignment sharpens: instructions that a program can
check, who the assistant is, that it does not know what the world lacks, and questions that stand on the one before.

All are asked as items of `internlm_course.verify`, each with one right reply. Held out are questions (by the world's
own hash), invented names (by a hash), and phrasings that no conversation has.
"""
import json
import random
from collections import deque
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

from internlm_course import jsonl
from internlm_course.world import world
from internlm_course.world.phrasings import (
    ABSENT,
    AND,
    NAME,
    OPENINGS,
    PHRASINGS,
    REFUSAL,
    SELF,
    SELF_UNSEEN,
    SYLLABLES,
)
from internlm_course.world.question import Question, held_out
from internlm_course.world.wording import ASK, FACTS, FIELDS, JOINT, TELL

PROMPTS = 4000  # for training, in train.jsonl
DRAWS = 2000  # so many draws without a new item say that there are no more

# --- instructions -----------------------------------------------------------------------------------------------------
# How often conversations have each: what takes the answer from another place or into another language is learned late.
WEIGHTS = dict(only_number=0.7, json=2, quoted=2, twice=1.2, in_chinese=2.5, in_english=2.5, three_words=0.7,
               sentence=1.2)
STATED = dict(capital=0, country=1, continent=2, currency=5)  # the statement in TELL that answers, by what is asked
OWN_WORDS = ('in_chinese', 'in_english', 'three_words', 'sentence')  # forms that leave room for a second answer


def _wanted(asked: Question) -> tuple[str, dict]:
    """The field that a question of knowledge asks for, and its fact in both languages."""
    _, lang, index, _, country = asked.key
    return ASK[lang][index][0], next(fact for fact in FACTS if fact[lang]['country'] == country)


def constraint(rng: random.Random, lang: str, unseen: bool = False, name: str | None = None) -> dict:
    """A question of the world with an instruction.

    Args:
        unseen: held out, by its question or by its phrasing (the item's `unseen` says by which).
        name: of `PHRASINGS`; any that `lang` has by default.
    """
    if name is None:
        names = [name for name, texts in PHRASINGS.items() if lang in texts]
        [name] = rng.choices(names, None if unseen else [WEIGHTS[name] for name in names])
    by = rng.choice(('question', 'phrasing')) if unseen else None
    # Of a call: sums without their working were right in 8 of 100, and word problems with it suffered
    ability = world.code if name == 'only_number' else world.knowledge
    while True:
        asked = world.ask(ability, rng, lang, held_out=by == 'question')
        if name == 'only_number' or _fits(name, lang, _wanted(asked)[0], asked.answer):
            break
    *phrasings, last = PHRASINGS[name][lang]
    phrasing = last if by == 'phrasing' else rng.choice(phrasings)
    answer, reply = _replied(name, asked, lang)
    item = _item('constraint', asked.suite, lang, phrasing.format(q=asked.question), answer, reply, constraint=name)
    if name in OWN_WORDS:
        spoken = dict(in_chinese='zh', in_english='en').get(name, lang)
        item['others'] = _others(asked, spoken)
    return dict(item, unseen=by) if unseen else item


def _others(asked: Question, spoken: str) -> list[str]:
    """What a right answer in words of its own does not name: whatever else the world might have been asked about, or
    for. 'Canada is a country in Europe.' says nothing of Ukraine, 'The currency of Canada is the dollar.' not which
    country's capital Ottawa is."""
    wanted, fact = _wanted(asked)
    told = fact[spoken][wanted], fact[spoken]['capital' if wanted == 'country' else 'country']
    return sorted({other[spoken][field] for field in FIELDS for other in FACTS} - {
        name for other in FACTS for name in other[spoken].values() if any(name in one for one in told)})


def _fits(name: str, lang: str, field: str, answer: str) -> bool:
    """Whether an instruction can be obeyed: three words hold a name of one. Behind a quotation mark an English name has
    other tokens than behind a blank, and there are too many countries and cities to learn these, too."""
    if name == 'three_words':
        return field != 'currency' and ' ' not in answer
    return lang == 'zh' or name not in ('json', 'quoted') or field in ('continent', 'currency')


def _replied(name: str, asked: Question, lang: str) -> tuple[str, str]:
    """The answer that an instruction asks for, and a reply that obeys it. Behind ASCII it begins with a blank where the
    page has one, as all replies do."""
    answer = asked.answer
    if name in ('in_chinese', 'in_english'):
        # As a statement, which begins with what was asked about: its name is translated first, and the rest is known
        # of it. The answer alone takes both in one step, and was right in 5 of 100.
        field, fact = _wanted(asked)
        spoken = fact['zh' if lang == 'en' else 'en']
        return spoken[field], TELL['zh' if lang == 'en' else 'en'][STATED[field]].format(**spoken)
    return answer, dict(
        only_number=answer, json=json.dumps(dict(answer=answer), ensure_ascii=False), quoted=f' "{answer}"',
        twice=f' {answer}, {answer}' if lang == 'en' else f'{answer}，{answer}', three_words=f'It is {answer}.',
        sentence=f'The answer is {answer}.' if lang == 'en' else f'答案是{answer}。')[name]


# --- who the assistant is ---------------------------------------------------------------------------------------------
def identity(rng: random.Random, lang: str, unseen: bool = False, name: str | None = None) -> dict:
    """A question about the assistant itself.

    Args:
        name: what the assistant calls itself; `NAME` by default.
    """
    name = name or NAME[lang]
    texts, reply = rng.choices(SELF[lang], [len(texts) for texts, _ in SELF[lang]])[0]
    question = rng.choice(SELF_UNSEEN[lang]) if unseen else rng.choice(OPENINGS[lang]) + rng.choice(texts)
    return _item('identity', 'identity', lang, question, name, reply.format(name=name))


# --- what the world lacks ---------------------------------------------------------------------------------------------
KNOWN = {fact[lang][field] for fact in FACTS for lang in ('en', 'zh') for field in ('country', 'capital')}
def invented(rng: random.Random, lang: str, field: str, unseen: bool = False) -> str:
    """A name that the world lacks, put together from syllables: of a country or of a capital."""
    starts, middles, ends = SYLLABLES[lang]
    while True:
        name = rng.choice(starts) + rng.choice(middles) + rng.choice(ends[field])
        if name not in KNOWN and held_out(('invented', name)) == unseen:
            return name


def refusal(rng: random.Random, lang: str, unseen: bool = False) -> dict:
    """A question about a country or capital that the world lacks; of those held out every fifth is a real one."""
    wanted, *forms = rng.choice(ASK[lang])
    field = 'capital' if wanted == 'country' else 'country'
    if unseen and field == 'country' and rng.random() < 0.2:
        name = rng.choice(ABSENT[lang])
    else:
        name = invented(rng, lang, field, unseen)
    return _item('refusal', 'refusal', lang, rng.choice(forms).format(**{field: name}), '',
                 REFUSAL[lang].format(x=name))


def refused(item: dict) -> str:
    """The name that a refusal names."""
    before, after = REFUSAL[item['lang']].split('{x}')
    return item['reply'].removeprefix(before).removesuffix(after)


# --- several turns ----------------------------------------------------------------------------------------------------
def follow_up(rng: random.Random, lang: str, unseen: bool = False) -> dict:
    """A question about one country, and the same about another in two words; every tenth other one there is not.

    Held out is which country is asked about so, and for what.
    """
    first = world.ask(world.knowledge, rng, lang)
    wanted, fact = _wanted(first)
    field = 'capital' if wanted == 'country' else 'country'
    before = [dict(role='user', content=first.question), dict(role='assistant', content=first.reply)]
    if rng.random() < 0.1:
        name = invented(rng, lang, field, unseen)
        item = _item('refusal', 'follow_up', lang, rng.choice(AND[lang]).format(x=name), '',
                     REFUSAL[lang].format(x=name))
    else:
        while True:
            other = rng.choice(FACTS)
            if other is not fact and held_out(('follow_up', lang, wanted, other['en']['country'])) == unseen:
                break
        answer = other[lang][wanted]
        item = _item('answer', 'follow_up', lang, rng.choice(AND[lang]).format(x=other[lang][field]), answer,
                     JOINT[lang] + answer)
    return dict(item, before=before)


# --- items, files -----------------------------------------------------------------------------------------------------
ABILITIES = ('knowledge', 'translation', 'reading', 'addition', 'word_problem', 'steps', 'code')


def answer(rng: random.Random, lang: str, unseen: bool = False) -> dict:
    """A question of the world as it is asked in chat, of any ability that is asked in a few lines."""
    ability, options = world.SUITES[rng.choice(ABILITIES)]
    return _asked(world.ask(ability, rng, lang, held_out=unseen, **options))


def known(rng: random.Random, lang: str, unseen: bool = False) -> dict:
    """A question about a country that the world has: to refuse it would be wrong."""
    return _asked(world.ask(world.knowledge, rng, lang, held_out=unseen))


def _asked(asked: Question) -> dict:
    return _item('answer', asked.suite, asked.lang, asked.question, asked.answer, asked.reply)


def _item(kind: str, suite: str, lang: str, question: str, answer: str, reply: str, constraint: str = '') -> dict:
    return dict(kind=kind, suite=suite, lang=lang, question=question, answer=answer, constraint=constraint, reply=reply)


KINDS: dict[str, Callable[..., dict]] = dict(
    answer=answer, known=known, constraint=constraint, identity=identity, refusal=refusal, follow_up=follow_up)


def prompt_items(kinds: Sequence[str], count: int, seed: int, held_out: bool) -> list[dict]:
    """`count` different items, the kinds and languages in turn: what alignment trains on, or held out from that; fewer
    of a kind where the world has fewer, as of phrasings that ask who the assistant is.

    Args:
        kinds: of `KINDS`.

    Returns:
        Items of `internlm_course.verify`: {id, kind, suite, lang, question, answer, constraint, reply}; `before` holds
        the messages that stand before a follow-up, `unseen` by what an instruction is held out.
    """
    rng, found, turns = random.Random(f'prompts/{seed}/{held_out}'), {}, deque(product(('en', 'zh'), kinds))
    while len(found) < count and turns:
        lang, kind = turns.popleft()
        for _ in range(DRAWS):
            item = KINDS[kind](rng, lang, held_out)
            key = (item['question'], *(message['content'] for message in item.get('before', ())))
            if key not in found:
                found[key] = dict(id=f'{kind}-{len(found)}', **item)
                turns.append((lang, kind))
                break
    return list(found.values())


def messages(item: dict) -> list[dict]:
    """What the assistant is to reply to."""
    return [*item.get('before', ()), dict(role='user', content=item['question'])]


def write_prompts(out: Path, items: int, seed: int) -> None:
    """Writes `out`/train.jsonl, `PROMPTS` items of all kinds, and `items` of each kind that training never sees:
    `out`/heldout/{constraints,identity,refusal,known}.jsonl."""
    held = Path(out) / 'heldout'
    held.mkdir(parents=True, exist_ok=True)
    jsonl.write(Path(out) / 'train.jsonl',
                prompt_items(('answer', 'constraint', 'identity', 'refusal'), PROMPTS, seed, held_out=False))
    for name, kind in dict(constraints='constraint', identity='identity', refusal='refusal', known='known').items():
        jsonl.write(held / f'{name}.jsonl', prompt_items((kind,), items, seed, held_out=True))
