"""What a re-grade changed: by student and exercise, what stood in grades.json before, and what stands there now."""
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from internlm_course.grading import tables


@dataclass(frozen=True)
class Change:
    """One exercise of one student, before and after: (status, points)."""

    student: str
    name: str
    exercise: str
    before: tuple[str, float]
    after: tuple[str, float]

    def __str__(self) -> str:
        (was, had), (is_now, has) = self.before, self.after
        return f'changed: {self.student}, {self.exercise}: {was} {had:g} -> {is_now} {has:g}'


def earlier(out: Path, lab: str) -> dict[str, dict]:
    """The rows of the last grading of this lab in `out`, by student."""
    try:
        report = json.loads((out / 'grades.json').read_text('utf-8'))
        return {row['student']: row for row in report['rows']} if report['lab'] == lab else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def compare(before: dict[str, dict], rows: Sequence[dict]) -> list[Change]:
    """The exercises whose status or points are not what they were; a student who is new has no before."""
    found = []
    for row in rows:
        old = before.get(row['student'], {}).get('exercises', {})
        for exercise, mark in row['exercises'].items():
            if exercise in old:
                was, now = ((each['status'], each['points']) for each in (old[exercise], mark))
                if was != now:
                    found.append(Change(row['student'], row['name'], exercise, was, now))
    return found


def tell(out: Path, lab: str, rows: Sequence[dict], say: Callable[[str], None]) -> None:
    """Where `out` holds marks already, says which of them change and writes them to OUT/changes.csv; where none does,
    the file keeps the last that did."""
    if changed := compare(earlier(out, lab), rows):
        tables.write_changes(out, changed)
        for each in changed:
            say(str(each))
