"""Conversations for supervised fine-tuning: the micro-world's questions asked in chat, greetings, and tool use in
InternLM2's own format."""
import random
from pathlib import Path

from internlm_course import jsonl
from internlm_course.model.chat import agent_messages
from internlm_course.world import world

# Share of the conversations. The loss counts tokens, not conversations, and the value of a function is two tokens where
# a tool's call with its answer is
# thirty: at 14 % of the conversations code had 2.6 % of the loss.
SHARES = dict(knowledge=0.18, translation=0.10, reading=0.05, addition=0.05, word_problem=0.07, steps=0.04, code=0.25,
              needle=0.06, tools=0.11, agent=0.06, greeting=0.03)
# Of code, by the function's form: what fine-tuning loses first is asked most (labs/LOG.md).
FUNCTIONS = dict(arithmetic=0.45, larger=0.22, list=0.25, length=0.08)
GREETINGS = [
    ('Hello!', 'Hello! I am a small InternLM2. Ask me about countries, sums or code.'),
    ('Hi', 'Hello! How can I help?'),
    ('Who are you?', 'I am a small InternLM2, trained from scratch in this course.'),
    ('What can you do?', 'I know countries, sums and small functions.'),
    ('Thank you!', 'You are welcome.'), ('你好', '你好！我是一个小小的书生·浦语模型。'),
    ('你是谁？', '我是在这门课里从零训练的小书生·浦语模型。'),
    ('你会做什么？', '我知道国家、加法和小函数。'), ('谢谢！', '不客气。'),
    ('请介绍一下你自己。', '我是在这门课里从零训练的小书生·浦语模型。')]


def code(rng: random.Random, lang: str) -> world.Question:
    """A call of a small function, of a form drawn from `FUNCTIONS`."""
    [form] = rng.choices(list(FUNCTIONS), FUNCTIONS.values())
    return world.code(rng, lang, form)


def conversation(rng: random.Random, kind: str) -> list[dict]:
    """One conversation of the given kind, as messages; no held-out question is ever asked."""
    lang = rng.choice(['en', 'zh'])
    if kind == 'greeting':
        question, answer = rng.choice(GREETINGS)
    elif kind == 'agent':
        asked = world.ask(world.multiplication, rng, lang)
        expression = '{}*{}'.format(*asked.key[1:])
        return agent_messages(asked.question, expression, asked.answer, asked.answer)
    else:
        ability = dict(knowledge=world.knowledge, translation=world.translation, reading=world.reading,
                       addition=world.addition, word_problem=world.word_problem, steps=world.steps, code=code,
                       needle=world.needle, tools=world.tools)[kind]
        asked = world.ask(ability, rng, lang, **(dict(facts=rng.randint(1, 40)) if kind == 'needle' else {}))
        question, answer = asked.question, asked.reply
    return [dict(role='user', content=question), dict(role='assistant', content=answer)]


def write_conversations(path: Path, count: int, seed: int) -> None:
    """Writes `count` conversations as jsonl, one {"messages": […]} a line."""
    rng = random.Random(f'conversations/{seed}')
    kinds, weights = list(SHARES), list(SHARES.values())
    drawn = (conversation(rng, rng.choices(kinds, weights)[0]) for _ in range(count))
    jsonl.write(path, (dict(messages=messages) for messages in drawn))
