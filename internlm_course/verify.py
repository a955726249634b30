"""What a program can check of a reply: whether it obeys an instruction, as IFEval (Zhou et al., 2023) does it, whether
it is a refusal, and whether it is right as a whole. No model judges.

An item is {id, kind: 'answer' | 'constraint' | 'identity' | 'refusal', suite, lang, question, answer, constraint,
reply}: `reply` is one right reply, `answer` what must be in it; `world/instructions.py` asks them.
"""
import json
import re
from collections.abc import Mapping

from internlm_course.marking import is_correct

STOP = re.compile(r'</s>|<\|im_end\|>')
REFUSAL = re.compile(r'I do not know(?: ([^.,;:!?]{1,40}))?\.?|我不知道([^。，；：！？]{0,20})。?')
HAN = re.compile(r'[\u4e00-\u9fff]')
LATIN = re.compile(r'[A-Za-z]')


# --- what a reply says ------------------------------------------------------------------------------------------------
def said(reply: str) -> str:
    """The reply up to its first stop token, without blanks around it."""
    return STOP.split(reply, maxsplit=1)[0].strip()


def is_refusal(reply: str) -> bool:
    """Whether the reply is a refusal and nothing else: 'I do not know Zamoria.'"""
    return refused(reply) is not None


def refused(reply: str) -> str | None:
    """What a refusal names, 'Zamoria'; '' where it names nothing; None where the reply is no refusal."""
    found = REFUSAL.fullmatch(said(reply))
    return found and (found[1] or found[2] or '')


def names(text: str, answer: str) -> bool:
    """Whether the answer stands in a text as a whole: neither 5 in 15, nor Niger in Nigeria, nor in other letters than
    small or capital ones."""
    if answer.casefold() not in text.casefold():
        return False
    left, right = ('(?<![A-Za-z0-9])', '(?![A-Za-z0-9])') if answer.isascii() else ('', '')
    return bool(re.search(left + re.escape(answer) + right, text, re.IGNORECASE))


# --- instructions -----------------------------------------------------------------------------------------------------
def _value(reply: str) -> str | None:
    """The one value of a JSON object that holds nothing but an answer."""
    try:  # in pairs, so that {"answer": 84, "answer": 85} has two; an array of two is a list
        pairs = json.loads(said(reply), object_pairs_hook=list)
    except (ValueError, RecursionError):
        return None
    if not isinstance(pairs, list) or len(pairs) != 1 or not isinstance(pairs[0], tuple):
        return None
    value = pairs[0][1]
    return str(value) if type(value) in (str, int) else None


def _within(pattern: str, reply: str) -> str | None:
    found = re.fullmatch(pattern, said(reply))
    return found[1] if found else None


def _content(constraint: str, reply: str) -> str | None:
    """What the reply answers once the form that was asked for is taken off; None where the form is not kept."""
    text = said(reply)
    bare = text.rstrip('.。')
    if constraint == 'json':
        return _value(reply)
    if constraint == 'quoted':
        return _within(r'["“]([^"“”]+)["”][.。]?', reply)
    if constraint == 'twice':
        return _within(r'([^,，、]+?)(?:[,，、] ?| )\1[.。]?', reply)
    kept = dict(
        only_number=re.fullmatch(r'-?\d+', bare),
        in_chinese=HAN.search(text) and not LATIN.search(text),
        in_english=LATIN.search(text) and not HAN.search(text),
        three_words=len(re.findall(r"[\w'-]+", text)) == 3 and not HAN.search(text),
        sentence=re.fullmatch(r'[A-Z][^.\n]*\.', text) and 4 <= len(text.split()) <= 12
        or re.fullmatch(r'[^。\n]{4,24}。', text))
    return bare if kept[constraint] else None


CONSTRAINTS = ('only_number', 'json', 'quoted', 'twice', 'in_chinese', 'in_english', 'three_words', 'sentence')


def obeys(constraint: str, reply: str) -> bool:
    """Whether a reply keeps the form that was asked for, right or wrong: one of `CONSTRAINTS`; never over more than one
    line."""
    return '\n' not in said(reply) and _content(constraint, reply) is not None


# --- the whole --------------------------------------------------------------------------------------------------------
def is_verified(item: Mapping, reply: str) -> bool:
    """Whether a reply is right as a whole: the right answer, in the form that was asked for; the assistant's name; or a
    refusal of what nobody can know, whatever it names."""
    text = said(reply)
    if '\n' in text or item['kind'] != 'refusal' and is_refusal(reply):
        return False
    if item['kind'] == 'refusal':
        return is_refusal(reply)
    if item['kind'] == 'identity':
        return names(text, item['answer'])
    if item['kind'] == 'answer':
        return is_correct(text, item['reply']) or is_correct(text, item['answer'])
    if not obeys(item['constraint'], reply):
        return False
    content = _content(item['constraint'], reply)
    if 'others' in item:  # in words of its own, but with one answer
        others = (other for other in item['others'] if not names(item['answer'], other))
        return names(content, item['answer']) and not any(names(content, other) for other in others)
    return is_correct(content.casefold(), item['answer'].casefold())


def is_exact(item: Mapping, reply: str) -> bool:
    """Whether a reply is verified, and a refusal names what was asked for, or nothing: not 'I do not know Yaldodor.' of
    Karland."""
    return is_verified(item, reply) and (item['kind'] != 'refusal' or refused(reply) in ('', refused(item['reply'])))
