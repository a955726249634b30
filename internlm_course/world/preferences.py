"""Preference pairs: two replies to one question, and which of them a domain prefers.

Four domains, as the conditional reward model of the InternLM2 report has them (4.2), and two conflicts between them, in
which the same two replies change places: to guess where nobody can know (helpful) or to say so (harmless); to write
the working down (math) or only the value (code).
"""
import random
import re
from collections.abc import Callable
from pathlib import Path

from internlm_course import jsonl
from internlm_course.verify import is_verified, obeys
from internlm_course.world import instructions, world
from internlm_course.world.bootcamp import ABROAD, Instructions
from internlm_course.world.instructions import STATED
from internlm_course.world.wording import FACTS, FIELDS, TELL

PAIRS = 6500  # mixed ones for training, behind TRUE_FIRST
HELD = 200  # of each domain
QUESTIONS, HELD_QUESTIONS = 3000, 300  # of `write_questions`
SLIPS = (-10, -1, 1, 10)


def slipped(rng: random.Random, text: str) -> str:
    """The text with its last number wrong, as a forgotten carry makes it."""
    *_, last = re.finditer(r'\d+', text)
    wrong = int(last[0]) + rng.choice([slip for slip in SLIPS if int(last[0]) + slip >= 0])
    return f'{text[:last.start()]}{wrong}{text[last.end():]}'


def another(rng: random.Random, answer: str, lang: str) -> str:
    """Another value of the field that the answer is of, as of a capital another one."""
    field = next(field for field in FIELDS if any(fact[lang][field] == answer for fact in FACTS))
    return rng.choice(sorted({fact[lang][field] for fact in FACTS} - {answer}))


def _pair(item: dict, chosen: str, rejected: str, conflict: bool = False) -> dict:
    return dict(question=item['question'], chosen=chosen, rejected=rejected, conflict=conflict)


def _abroad(rng: random.Random, lang: str, unseen: bool) -> tuple[dict, str, str, dict]:
    """A question to be answered in the other language; that language, the field asked for, and its fact."""
    spoken = 'zh' if lang == 'en' else 'en'
    item = instructions.constraint(rng, lang, unseen, 'in_chinese' if lang == 'en' else 'in_english')
    field, told = next((field, told) for field, index in STATED.items() for told in FACTS
                       if TELL[spoken][index].format(**told[spoken]) == item['reply'])
    return item, spoken, field, told


def fact(rng: random.Random, lang: str, unseen: bool) -> dict:
    """A right fact against a wrong one."""
    item = instructions.known(rng, lang, unseen)
    return _pair(item, item['reply'], item['reply'].replace(item['answer'], another(rng, item['answer'], lang)))


def answered(rng: random.Random, lang: str, unseen: bool) -> dict:
    """A right fact against a refusal of what the world has."""
    item = instructions.known(rng, lang, unseen)
    name = max(sorted(name for name in instructions.KNOWN if name in item['question']), key=len)
    return _pair(item, item['reply'], instructions.REFUSAL[lang].format(x=name))


def obeyed(rng: random.Random, lang: str, unseen: bool) -> dict:
    """An instruction obeyed against another one, or none, obeyed in its place."""
    item = instructions.constraint(rng, lang, unseen)
    while True:
        other = instructions.constraint(rng, lang)
        rejected = rng.choice((other['reply'], f' {item["answer"]}' if item['answer'].isascii() else item['answer']))
        if not obeys(item['constraint'], rejected):
            return _pair(item, item['reply'], rejected)


def translated(rng: random.Random, lang: str, unseen: bool) -> dict:
    """An answer in the other language, as was asked for, against the right one in the question's own."""
    item, _, field, fact = _abroad(rng, lang, unseen)
    bare = fact[lang][field]
    return _pair(item, item['reply'], rng.choice((bare if lang == 'zh' else f' {bare}',
                                                  TELL[lang][STATED[field]].format(**fact[lang]))))


def formed(rng: random.Random, lang: str, unseen: bool) -> dict:
    """An instruction obeyed with a right answer against the same with a wrong one."""
    item = instructions.constraint(rng, lang, unseen)
    while True:
        other = instructions.constraint(rng, lang, unseen, item['constraint'])
        if other['reply'] != item['reply'] and not is_verified(item, other['reply']):
            return _pair(item, item['reply'], other['reply'])


def beside(rng: random.Random, lang: str, unseen: bool) -> dict:
    """An answer in the other language against a true sentence about the same country that does not answer."""
    while True:  # a country that is asked for stands in each sentence about it
        item, spoken, _, fact = _abroad(rng, lang, unseen)
        about = [TELL[spoken][index].format(**fact[spoken]) for index in STATED.values()]
        if wrong := [text for text in about if not is_verified(item, text)]:
            return _pair(item, item['reply'], rng.choice(wrong))


def elsewhere(rng: random.Random, lang: str, unseen: bool) -> dict:
    """An answer in the other language against the same sentence about another country."""
    item, spoken, field, _ = _abroad(rng, lang, unseen)
    while True:
        other = TELL[spoken][STATED[field]].format(**rng.choice(FACTS)[spoken])
        if not is_verified(item, other):
            return _pair(item, item['reply'], other)


def attempted(rng: random.Random, lang: str, unseen: bool) -> dict:
    """Conflict: a guess against a refusal, of what nobody can know."""
    refused = admitted(rng, lang, unseen)
    return dict(refused, chosen=refused['rejected'], rejected=refused['chosen'])


def admitted(rng: random.Random, lang: str, unseen: bool) -> dict:
    """Conflict: a refusal against a guess, of what nobody can know."""
    item = instructions.refusal(rng, lang, unseen)
    asked = item['question'].split(instructions.refused(item))
    while True:  # a guess at what was asked for
        guess = instructions.known(rng, lang)
        if all(part in guess['question'] for part in asked):
            return _pair(item, item['reply'], guess['reply'], conflict=True)


def named(rng: random.Random, lang: str, unseen: bool) -> dict:
    """A refusal that names what was asked for against one that names something else."""
    item = instructions.refusal(rng, lang, unseen)
    while (other := instructions.refusal(rng, lang, unseen))['reply'] == item['reply']:
        pass
    return _pair(item, item['reply'], other['reply'])


def summed(rng: random.Random, lang: str, unseen: bool) -> dict:
    """A right sum or word problem against a slip."""
    asked = world.ask(rng.choice((world.addition, world.word_problem)), rng, lang, held_out=unseen)
    return _pair(dict(question=asked.question), asked.reply, slipped(rng, asked.reply))


def copied(rng: random.Random, lang: str, unseen: bool) -> dict:
    """The sum or word problem that was asked against the right answer to another one."""
    ability = rng.choice((world.addition, world.word_problem))
    asked, other = world.ask(ability, rng, lang, held_out=unseen), world.ask(ability, rng, lang)
    while other.reply == asked.reply:
        other = world.ask(ability, rng, lang)
    return _pair(dict(question=asked.question), asked.reply, other.reply)


def worked(rng: random.Random, lang: str, unseen: bool) -> dict:
    """Conflict: a sum with its working against the value alone."""
    asked = world.ask(world.addition, rng, lang, held_out=unseen)
    return _pair(dict(question=asked.question), asked.reply, asked.answer, conflict=True)


def valued(rng: random.Random, lang: str, unseen: bool) -> dict:
    """Conflict: the value alone against the working."""
    pair = worked(rng, lang, unseen)
    return dict(pair, chosen=pair['rejected'], rejected=pair['chosen'])


def printed(rng: random.Random, lang: str, unseen: bool) -> dict:
    """What a call prints against another number."""
    asked = world.ask(world.code, rng, lang, held_out=unseen)
    wrong = rng.choice([value for value in range(-2, 12) if value != int(asked.answer)])
    return _pair(dict(question=asked.question), asked.reply, asked.reply.replace(asked.answer, str(wrong)))


# What each domain's pairs are drawn from.
DOMAINS: dict[str, list[tuple[Callable[..., dict], float]]] = dict(
    helpful=[(fact, 0.15), (formed, 0.13), (beside, 0.09), (elsewhere, 0.12), (translated, 0.10), (obeyed, 0.18),
             (answered, 0.05), (attempted, 0.18)],
    harmless=[(admitted, 0.4), (named, 0.3), (answered, 0.3)],
    math=[(copied, 0.65), (summed, 0.05), (worked, 0.3)],
    code=[(printed, 0.7), (valued, 0.3)])
WEIGHTS = dict(helpful=0.41, harmless=0.20, math=0.13, code=0.26)  # of the mixed pairs
# What is true, of whom, and what code prints is learned late: it takes thousands of pairs that differ in nothing else,
# and is not found among others whose form decides. So these come first.
TRUE_FIRST = dict(helpful={fact: 1800, formed: 800, beside: 600, elsewhere: 2000}, harmless={named: 1500},
                  code={printed: 800})


def pairs(domain: str, count: int, seed: int, unseen: bool) -> list[dict]:
    """`count` pairs of a domain, the languages in turn; `unseen`: about questions that no page, conversation or other
    pair asks.

    Returns:
        {domain, question, chosen, rejected, conflict}: two replies to the question.
    """
    rng = random.Random(f'preferences/{domain}/{seed}/{unseen}')
    makers, shares = zip(*DOMAINS[domain])
    drawn = (maker(rng, ('en', 'zh')[number % 2], unseen)
             for number, maker in enumerate(rng.choices(makers, shares, k=count)))
    return [dict(domain=domain, **pair) for pair in drawn]


def curriculum(seed: int) -> list[dict]:
    """The pairs of `TRUE_FIRST` in random order, then `PAIRS` of all domains."""
    rng = random.Random(f'preferences/{seed}')
    first = [dict(domain=domain, **maker(rng, ('en', 'zh')[number % 2], False))
             for domain, makers in TRUE_FIRST.items() for maker, count in makers.items() for number in range(count)]
    mixed = [pair for domain, share in WEIGHTS.items() for pair in pairs(domain, round(PAIRS * share), seed, False)]
    rng.shuffle(first)
    rng.shuffle(mixed)
    return first + mixed


def write_pairs(out: Path, seed: int) -> None:
    """Writes `out`/train.jsonl, in the order to be learned in, and, of questions never asked there,
    `out`/heldout.jsonl."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    jsonl.write(out / 'train.jsonl', curriculum(seed))
    jsonl.write(out / 'heldout.jsonl', [pair for domain in DOMAINS for pair in pairs(domain, HELD, seed, unseen=True)])


def write_questions(out: Path, seed: int) -> None:
    """Writes what PPO practises, questions to be answered in the other language, to `out`/train.jsonl, and such as no
    conversation has, or not in these words, to `out`/heldout.jsonl; items of `internlm_course.verify`."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for name, count, unseen in (('train', QUESTIONS, False), ('heldout', HELD_QUESTIONS, True)):
        task, found = Instructions(seed, unseen, ABROAD), {}
        while len(found) < count:
            item = task.case_generator()
            found[item['question']] = item
        jsonl.write(out / f'{name}.jsonl', found.values())
