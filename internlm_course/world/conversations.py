"""Conversations for supervised fine-tuning: the micro-world's questions asked in chat, instructions, who the assistant
is, what it does not know, follow-ups, greetings, and tool use in InternLM2's own format."""
import random
from collections.abc import Callable
from pathlib import Path

from internlm_course import jsonl
from internlm_course.model.chat import agent_messages
from internlm_course.world import instructions, world

# Of 203 conversations, how many are of each kind. The loss counts tokens, not conversations, and the value of a
# function is two tokens where a tool's call with its answer is thirty: at 14 % of the conversations code had 2.6 % of
# the loss. So what is short is asked often, and the texts with needles, which are long, seldom (labs/LOG.md).
SHARES = dict(knowledge=18, translation=22, reading=10, addition=10, word_problem=17, steps=9, code=47, needle=6,
              far_needle=1, tools=21, agent=10, constraint=17, refusal=5, identity=6, follow_up=3, greeting=1)
# Of code, by the function's form: what fine-tuning loses first is asked most (labs/LOG.md).
FUNCTIONS = dict(arithmetic=0.50, larger=0.22, list=0.20, length=0.08)
# Of sums and word problems, with a carry that just happens or just does not: fine-tuning loses it first.
NEAR_CARRY = 0.4
GREETINGS = [
    ('Hello!', 'Hello! I am a small InternLM2. Ask me about countries, sums or code.'),
    ('Hi', 'Hello! How can I help?'), ('Thank you!', 'You are welcome.'),
    ('你好', '你好！我是一个小小的书生·浦语模型。'), ('谢谢！', '不客气。')]


def code(rng: random.Random, lang: str) -> world.Question:
    """A call of a small function, of a form drawn from `FUNCTIONS`."""
    [form] = rng.choices(list(FUNCTIONS), FUNCTIONS.values())
    return world.code(rng, lang, form)


def needle(rng: random.Random, lang: str) -> world.Question:
    """A secret among at most 30 statements."""
    return world.needle(rng, lang, rng.randint(1, 30))


def far_needle(rng: random.Random, lang: str) -> world.Question:
    """A secret in a text nearly as long as the long phase reads. Where fine-tuning reads nothing so long, a model may
    say there what it says most elsewhere, `I do not know` (labs/LOG.md)."""
    return world.needle(rng, lang, world.FAR)


def near_carry(key: tuple) -> bool:
    """Whether the units of a sum or a difference, by its key, are within one of the next ten."""
    kind, a, b = key
    return abs(a % 10 + b % 10 - 10) <= 1 if kind == 'sum' else abs(a % 10 - b) <= 1


def sums(ability: Callable, rng: random.Random, lang: str) -> world.Question:
    """A sum or word problem, `NEAR_CARRY` of them so."""
    near = rng.random() < NEAR_CARRY
    while True:
        asked = world.ask(ability, rng, lang)
        if near_carry(asked.key) or not near:
            return asked


def conversation(rng: random.Random, kind: str) -> list[dict]:
    """One conversation of the given kind, as messages; no held-out question is ever asked."""
    lang = rng.choice(['en', 'zh'])
    if kind == 'greeting':
        question, answer = rng.choice(GREETINGS)
    elif kind == 'agent':
        asked = world.ask(world.multiplication, rng, lang)
        expression = '{}*{}'.format(*asked.key[1:])
        return agent_messages(asked.question, expression, asked.answer, asked.answer)
    elif kind in instructions.KINDS:
        item = instructions.KINDS[kind](rng, lang)
        return [*instructions.messages(item), dict(role='assistant', content=item['reply'])]
    elif kind in ('addition', 'word_problem'):
        asked = sums(getattr(world, kind), rng, lang)
        question, answer = asked.question, asked.reply
    else:
        ability = dict(knowledge=world.knowledge, translation=world.translation, reading=world.reading,
                       steps=world.steps, code=code, needle=needle, far_needle=far_needle, tools=world.tools)[kind]
        asked = world.ask(ability, rng, lang)
        question, answer = asked.question, asked.reply
    return [dict(role='user', content=question), dict(role='assistant', content=answer)]


def write_conversations(path: Path, count: int, seed: int) -> None:
    """Writes `count` conversations as jsonl, one {"messages": […]} a line."""
    rng = random.Random(f'conversations/{seed}')
    kinds, weights = list(SHARES), list(SHARES.values())
    drawn = (conversation(rng, rng.choices(kinds, weights)[0]) for _ in range(count))
    jsonl.write(path, (dict(messages=messages) for messages in drawn))
