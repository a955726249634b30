"""Known-wrong answers, a module for each lab: what students get wrong, its name, and a sentence of advice.

A student's values that equal those of a known-wrong answer get its advice: in the notebook with public inputs, from
the grader under the secret seed. A graded kernel has none of this: what set-up and checks load does not include it.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path

LABS = {path.stem for path in Path(__file__).parent.glob('[0-9]*.py')}


@dataclass(frozen=True)
class Mistake:
    """A known-wrong answer to an exercise.

    Attributes:
        name: stable, of small letters, digits and dashes; no two have the same, whatever their lab.
        source: the whole exercise cell, as a student who thinks so writes it.
        en, zh: one sentence: what such a student should look at, never the solution.
    """

    name: str
    source: str
    en: str
    zh: str


def known(lab: str) -> dict[str, dict[str, list[Mistake]]]:
    """A lab's known-wrong answers: {exercise: {the function in which the mistake is made: answers}}.

    Where two give the same values the first one counts. A lab without any has none.
    """
    return importlib.import_module(f'{__name__}.{lab}').MISTAKES if lab in LABS else {}
