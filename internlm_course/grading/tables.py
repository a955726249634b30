"""What an instructor takes away: grades.csv, grades.json, and the forms that Canvas and Moodle import.

Rows stand in the roster's order; the same marks give the same bytes."""

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from internlm_course.grading.rebuild import Key


def write(path: Path, text: str) -> None:
    """Writes a whole file or none, even if killed in between; what UTF-8 cannot hold is spelt out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f'{path.name}.part')
    draft.write_bytes(text.encode('utf-8', 'backslashreplace'))
    os.replace(draft, path)


def safe(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula; numbers stay numbers."""
    if not isinstance(value, str):
        return value
    value = ' '.join(value.replace('\0', '').split())
    return f"'{value}" if value[:1] in '=+-@|%' and value else value


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A CSV text with every text in quotes."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator='\n')
    writer.writerows([[safe(value) for value in row] for row in (head, *rows)])
    return out.getvalue()


def _number(value: float) -> float | int:
    return int(value) if float(value).is_integer() else round(value, 4)


def _grades(key: Key, rows: Sequence[dict]) -> str:
    """Our own table: all that was found."""
    names = list(key.exercises)
    head = ['student', 'name', 'lab', 'status', 'points', 'possible', *names, *(f'{name} status' for name in names)]
    return table([*head, 'notes'], [
        [row['student'], row['name'], key.lab, row['status'], _number(row['points']), _number(key.points),
         *(_number(row['exercises'][name]['points']) for name in names),
         *(row['exercises'][name]['status'] for name in names), ' | '.join(note['en'] for note in row['notes'])]
        for row in rows])


def _canvas(key: Key, rows: Sequence[dict], assignment: str | None) -> str:
    """The form that Canvas imports; a column is called by its name and the assignment's number."""
    column = f'{key.lab} ({assignment})' if assignment else key.lab
    return table(['Student', 'ID', 'SIS User ID', 'SIS Login ID', 'Section', column], [
        ['    Points Possible', '', '', '', '', _number(key.points)],
        *([row['name'] or row['student'], row['ids']['id'], row['ids']['sis'], row['student'], row['ids']['section'],
           _number(row['points'])] for row in rows)])


def _moodle(key: Key, rows: Sequence[dict]) -> str:
    """The form that Moodle imports."""
    head = ['Identifier', 'Full name', 'Email address', 'Grade', 'Maximum Grade', 'Feedback comments']
    lines = []
    for row in rows:
        number, email = row['ids']['id'], row['ids']['email']
        identifier = f'Participant {number}' if number.isdigit() else number or row['student']
        status = '; '.join(f'{name}: {row["exercises"][name]["status"]}' for name in key.exercises)
        lines.append([identifier, row['name'], email, _number(row['points']), _number(key.points), status])
    return table(head, lines)


def write_all(out: Path, key: Key, rows: list[dict], about: dict) -> None:
    """Writes every table into the folder `out`.

    Args:
        rows: as `grade.grade` makes them.
        about: what the report says of the run.
    """
    write(out / 'grades.csv', _grades(key, rows))
    report = dict(**about, rows=rows)
    write(out / 'grades.json', json.dumps(report, ensure_ascii=False, indent=1, sort_keys=True) + '\n')
    write(out / 'canvas.csv', _canvas(key, rows, about.get('assignment')))
    write(out / 'moodle.csv', _moodle(key, rows))


CHANGES = ('student', 'name', 'exercise', 'status before', 'points before', 'status after', 'points after')


def write_changes(out: Path, changes: Sequence[Any]) -> None:
    """OUT/changes.csv: a line for each `changes.Change` of the last re-grade."""
    write(out / 'changes.csv', table(CHANGES, [
        [each.student, each.name, each.exercise, each.before[0], _number(each.before[1]), each.after[0],
         _number(each.after[1])] for each in changes]))
