"""The verdict on an exercise: what its check put out, beside what the reference's put out under the same seed.

Points need a comparison that took place: what is missing, doubled or of another form earns nothing.
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from internlm_course.grading.compare import OWN, printed, same
from internlm_course.grading.mistakes import Mistake
from internlm_course.grading.rebuild import Exercise

STATUSES = ('ok', 'wrong', 'not attempted', 'error', 'timeout', 'killed', 'memory', 'flood', 'tampered', 'unreadable')
UNSOLVED = dict(error='not attempted')
SAYS = {
    'ok': ('Right.', '正确。'),
    'wrong': ('Not right: some values differ from the reference.', '不对：有的数值与参考答案不同。'),
    'not attempted': ('Not attempted.', '未作答。'),
    'error': ('It stopped with an error: {}.', '运行出错：{}。'),
    'timeout': ('It did not end within the time limit.', '超出时间限制，没有结束。'),
    'killed': ('Its kernel ended before the check was over.', '内核在核对结束之前退出。'),
    'memory': ('It took more memory than allowed.', '超出内存限制。'),
    'flood': ('It put out or wrote more than allowed.', '输出或写入的内容超出限制。'),
    'tampered': (
        'The check did not put out what a check puts out: its values are missing, doubled or of another form.',
        '核对单元的输出不是它该有的样子：数值缺失、重复，或形式不符。',
    ),
    'unreadable': ('The submission could not be read.', '提交的文件无法读取。'),
}
SAYS_OWN = (
    "It calls the package's own function instead of an answer, which earns nothing.",
    '直接调用了课程包自带的函数，没有作答，不得分。',
)


@dataclass(frozen=True)
class Mark:
    """One exercise's status, its points, and a sentence in English and Chinese.

    Attributes:
        mistakes: the known ones that were recognised: name, and the advice as en and zh.
    """

    status: str
    points: float
    en: str
    zh: str
    mistakes: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Known:
    """A known-wrong answer, the part of the check in which it is wrong, and what it put out there under the seed."""

    mistake: Mistake
    part: str
    values: Any


def mark(status: str, points: float = 0, detail: str = '') -> Mark:
    """A mark with the sentence of its status."""
    en, zh = (text.format(detail) for text in SAYS[status])
    return Mark(status, points, en, zh)


def untouched(source: str, exercise: Exercise) -> bool:
    """Whether a cell holds no answer: the stub as it was given, or nothing but comments."""
    if source.strip() == exercise.stub.strip():
        return True
    try:
        return not ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def checks(said: dict, cell: str = 'check') -> dict[str, Any] | None:
    """The values that a check cell put out, {part: values}; None where a part came twice."""
    found: dict[str, Any] = {}
    for text in said.get('cells', {}).get(cell, {}).get('shown', ()):
        for line in text.split('\n'):
            for name, values in printed(line).items():
                if name in found:
                    return None
                found[name] = values
    return found


def judge(exercise: Exercise, said: dict | None, wanted: dict[str, Any], known: Sequence[Known] = ()) -> Mark:
    """The mark of an exercise.

    Args:
        said: what its kernel put out; None where it was lost.
        wanted: the reference's values by part.
        known: mistakes to recognise.
    """
    if said is None:
        return mark('killed')
    if said.get('ended'):
        return mark(said['ended'] if said['ended'] in STATUSES else 'killed')
    found, cells = checks(said), said.get('cells', {})
    if not found and found is not None and (failure := cells.get('check', {}).get('error')):
        before = cells.get('answer', {}).get('error')
        name, text = before or (failure[0], failure[1] if failure[0] == 'NameError' else '')
        status = 'memory' if name == 'MemoryError' else 'error'
        return mark(status, detail=f'{name}: {text}'.rstrip(': ')[:200])
    if not found or found.keys() != wanted.keys():
        return mark('tampered')
    return replace(_compared(exercise, found, wanted), mistakes=_recognised(exercise, found, wanted, known))


def _recognised(
    exercise: Exercise, found: dict[str, Any], wanted: dict[str, Any], known: Sequence[Known]
) -> list[dict[str, str]]:
    """For each part that is wrong the first known mistake with the same values."""
    hits: dict[str, Mistake] = {}
    for each in known:
        if (
            each.part not in hits
            and same(found[each.part], each.values, **exercise.tolerance)
            and not same(found[each.part], wanted[each.part], **exercise.tolerance)
        ):
            hits[each.part] = each.mistake
    return [dict(name=mistake.name, en=mistake.en, zh=mistake.zh) for mistake in hits.values()]


def _compared(exercise: Exercise, found: dict[str, Any], wanted: dict[str, Any]) -> Mark:
    """The mark of values that came as they should."""
    agree = {name: same(found[name], wanted[name], **exercise.tolerance) for name in wanted}
    if all(agree.values()):
        return mark('ok', exercise.points)
    each = [
        (value, right)
        for name in wanted
        if isinstance(found[name], list) and isinstance(wanted[name], list)
        for value, right in zip(found[name], wanted[name], strict=False)
    ]
    if each and all(value == UNSOLVED for value, _ in each):
        return mark('not attempted')
    faults = [_error(value) for value, right in each if not same(value, right, **exercise.tolerance)]
    points = exercise.points * sum(agree.values()) / len(agree) if exercise.partial else 0
    if OWN in faults:
        return Mark('wrong', points, *SAYS_OWN)
    if faults and all(faults):
        return mark('memory' if 'MemoryError' in faults else 'error', points, faults[0])
    return mark('wrong', points)


def _error(value: Any) -> str:
    """The error that stands in place of a value; '' where a value is there."""
    error = value.get('error') if isinstance(value, dict) and value.keys() == {'error'} else None
    return error[:60] if isinstance(error, str) and error.isidentifier() and error not in ('nan', 'inf') else ''
