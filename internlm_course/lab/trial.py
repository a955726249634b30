"""A student's function at the cases of a check, beside the course's own: values as JSON has them, and what to say of
the first that differs."""
import ast
import copy
import inspect
import linecache
import math
import os
import reprlib
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from unicodedata import east_asian_width

from internlm_course.grading.compare import OWN, same
from internlm_course.lab.kernel import INDENT, definitions

NOT_ATTEMPTED = 'not attempted · 未作答'
UNSOLVED = dict(error='not attempted')  # the value of a stub
NOTHING = 'your function returned nothing: is a `return` missing? · 函数没有返回值：是不是漏了 return？'
STALE = ('the last run of its cell stopped with an error, or gave it another name, so an older version is still in '
         'memory: '
         'mend the cell, run it, then run this one · '
         '上次运行它的单元时出了错，或改了函数名，内存里还是旧的：请改好并运行那个单元，再运行本单元')
UNKNOWN = ('this copy of the course has no answers; the check below compares with the values that it knows · '
           '这一份课程不含答案；下面的核对单元会与已公布的数值比较')
LEFT = ('your answer is there, but your cell still raises NotImplementedError: delete the line '
        '`raise NotImplementedError` · 你已作答，但单元里还留着 `raise NotImplementedError` 那一行：请删去它')
YOURS, EXPECTED = (f'{INDENT}{label}  ' for label in ('yours    · 你的', 'expected · 应为'))  # as wide as each other
MOST, BEFORE = 72, 36  # letters of a value that are shown, and how many of them may precede the first difference


class Trial:
    """The student's function beside the course's own, at each case.

    Attributes:
        agree: by case, whether the values are the same.
        known: whether there is something to compare with: this copy of the course has the answer, or `published`, the
            values of a copy without answers.
        why: where no case tells more: it is not attempted, half so, or an older version; otherwise ''.
    """

    def __init__(self, mine: Callable, own: Callable, cases: Sequence[tuple], published: list | None = None):
        self.mine, self.cases, self.wanted = mine, cases, values_of(own, cases)
        self.known = dict(error=OWN) not in self.wanted
        if not self.known and published is not None and len(published) == len(cases):
            self.wanted, self.known = published, True
        old = definitions.stale(mine)
        self.outcomes = ([(dict(error='older version'), None)] * len(cases) if old
                         else [_outcome(mine, case) for case in cases])
        self.values = [value for value, _ in self.outcomes]
        self.agree = [self.known and same(*pair) for pair in zip(self.values, self.wanted, strict=True)]
        first = next((error for (_, error), agree in zip(self.outcomes, self.agree) if not agree), None)
        self.why = STALE if old else unsolved(mine, first)

    def difference(self) -> list[str]:
        """The first case that does not agree: its input; one under the other, the student's value or error and the
        right value."""
        wrong = self.agree.index(False)
        (value, error), wanted = self.outcomes[wrong], self.wanted[wrong]
        call = f'{self.mine.__name__}({", ".join(map(SHORT.repr, self.cases[wrong]))})'
        if error is not None:
            said = [*_raised(self.mine, error), EXPECTED + _cut(_shown(wanted))]
        elif value is None and None not in self.wanted:
            said = [NOTHING, EXPECTED + _cut(_shown(wanted))]
        else:
            said = _rows(value, wanted)
        return [f'case {wrong + 1} · 第 {wrong + 1} 例: {call}', *said]


def advice(trial: Trial, lab: str) -> list[str]:
    """What the first known-wrong answer advises whose values are the student's at every case; nothing where there is
    none, or in a kernel that is graded, which holds no such answers."""
    try:
        from internlm_course.grading.mistakes import known
    except ImportError:
        return []
    name, notebook = trial.mine.__name__, getattr(inspect.unwrap(trial.mine), '__globals__', {})
    for mistake in [each for functions in known(lab).values() for each in functions.get(name, ())]:
        with suppress(Exception):  # the notebook may lack what the answer needs
            namespace = dict(notebook)
            exec(mistake.source, namespace)
            if same(trial.values, values_of(namespace[name], trial.cases)):
                return [f'{mistake.zh} · {mistake.en}']
    return []


def values_of(function: Callable, cases: Sequence[tuple]) -> list:
    """The function's value at each case as JSON can hold it; an error stands as {"error": its name}."""
    return [_outcome(function, case)[0] for case in cases]


def _outcome(function: Callable, case: tuple) -> tuple[Any, Exception | None]:
    """The function's value at a case, and the error if it raised one."""
    try:
        return json_value(function(*copy.deepcopy(case))), None
    except NotImplementedError as error:
        return UNSOLVED, error
    except Exception as error:
        return dict(error=type(error).__name__), error


def _stub() -> None:
    raise NotImplementedError


def unsolved(mine: Callable, error: Exception | None) -> str:
    """What to say where the line of the stub was reached; '' where it was not."""
    code = getattr(mine, '__code__', None)
    if not isinstance(error, NotImplementedError) or code is None:
        return ''
    if code.co_code == _stub.__code__.co_code and not _written(mine):
        return NOT_ATTEMPTED
    *_, (last, _) = traceback.walk_tb(error.__traceback__)
    return LEFT if last.f_code is code else ''


def _written(mine: Callable) -> bool:
    """Whether the student's cell holds more than a stub of that name: an answer below the line of the stub, which the
    compiler leaves out, or above the stub's own `def`."""
    with suppress(SyntaxError):
        cell = ast.parse(''.join(linecache.getlines(mine.__code__.co_filename)))
        return any(not isinstance(line, ast.Raise | ast.Expr) for function in ast.walk(cell)
                   if isinstance(function, ast.FunctionDef) and function.name == mine.__name__
                   for line in function.body)
    return False


def json_value(value: Any) -> Any:
    """The value as JSON has it; what JSON has not becomes {"error": …}, so that a check never fails to print."""
    if hasattr(value, 'tolist'):
        value = value.tolist()  # numpy and torch
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else dict(error=str(value))
    if isinstance(value, dict):
        return {str(key): json_value(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(part) for part in value]
    return dict(error=f'a {type(value).__name__} is no JSON value')


def _shown(value: Any) -> str:
    """A value, or its fault, on one line."""
    fault = isinstance(value, dict) and value.keys() == UNSOLVED.keys()
    return ' '.join(value['error'].split()) if fault else repr(value)


def _rows(value: Any, wanted: Any) -> list[str]:
    """The student's value, the right one, and a mark under the first letter that differs, so that they are aligned in
    monospace; of long ones what stands around it."""
    texts = [_shown(_agreed(value, wanted)), _shown(wanted)]
    first = len(os.path.commonprefix(texts))
    begin = max(0, first - BEFORE) if max(map(len, texts)) > MOST else 0
    yours, right = (_cut(text, begin) for text in texts)
    before = EXPECTED + right[:first - begin + bool(begin)]
    # An ideographic space is as wide as a Chinese character, whatever the font
    blank = ''.join('\u3000' if east_asian_width(letter) in 'WF' else ' ' for letter in before)
    return [YOURS + yours, EXPECTED + right, *([f'{blank}^'] if first else [])]


def _cut(text: str, begin: int = 0) -> str:
    """`MOST` letters of a text, an ellipsis for what was cut."""
    return ('…' if begin else '') + text[begin:begin + MOST] + ('…' if begin + MOST < len(text) else '')


def _agreed(value: Any, wanted: Any) -> Any:
    """The student's value with each part that agrees as the right one has it: what a tolerance allows is no
    difference."""
    if same(value, wanted):
        return wanted
    if isinstance(value, list) and isinstance(wanted, list):
        return [*map(_agreed, value, wanted), *value[len(wanted):]]
    if isinstance(value, dict) and isinstance(wanted, dict):
        common = {key: _agreed(value[key], wanted[key]) for key in wanted if key in value}
        return common | {key: value[key] for key in value if key not in wanted}
    return value


def _raised(mine: Callable, error: Exception) -> list[str]:
    """The error, and the innermost line of the cell of `mine` that led to it."""
    file = getattr(getattr(inspect.unwrap(mine), '__code__', None), 'co_filename', None)
    inside = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    where = [f'line {frame.lineno} of your cell · 你的单元第 {frame.lineno} 行: {frame.line}'.rstrip(': ')
             for frame in inside]
    return [_short(f'{type(error).__name__}: {error}'), *where[-1:]]


class _Arguments(reprlib.Repr):
    """Arguments on one line: long ones cut between their items, arrays as their shape, a model's config as its
    numbers."""

    def __init__(self):
        super().__init__()
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = 6
        self.maxstring = self.maxother = 70

    def repr_ndarray(self, array, level: int) -> str:
        return f'array of {" × ".join(map(str, array.shape))}'

    def repr_SimpleNamespace(self, config, level: int) -> str:
        fields = {name: value for name, value in vars(config).items() if not isinstance(value, bool)}
        return f'config({", ".join(f"{name}={self.repr1(value, level - 1)}" for name, value in fields.items())})'


SHORT = _Arguments()


def _short(text: str, most: int = 200) -> str:
    """The text on one line, its middle cut out where it is longer."""
    text = ' '.join(text.split())
    return text if len(text) <= most else f'{text[:most * 3 // 4]} … {text[-most // 4:]}'
