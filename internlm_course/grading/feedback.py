"""What students and instructors read: a page for each student without hidden values, and an overview of the class.

Pages are self-contained, in Chinese and English, and the same bytes for the same marks."""

import html
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from internlm_course.grading.rebuild import Key, digest
from internlm_course.grading.tables import write

STYLE = """
body { font: 16px/1.5 system-ui, "Noto Sans CJK SC", "Microsoft YaHei", sans-serif; max-width: 52rem; margin: 2rem auto;
       padding: 0 1rem; color: #1a1a1a; background: #fff; overflow-wrap: break-word; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .4rem .6rem .4rem 0; border-bottom: 1px solid #ddd; }
.tight { white-space: nowrap; }
.bar { background: #2f6f9f; height: .9rem; display: inline-block; vertical-align: middle; }
.advice { margin: .4rem 0 0; border-left: 3px solid #2f6f9f; padding-left: .6rem; }
.ok { color: #146c2e; } .not { color: #a11; } .grey { color: #666; }
@media (max-width: 40rem) {
  table.marks, table.marks tbody, table.marks tr, table.marks td { display: block; border: 0; padding: .1rem 0; }
  table.marks tr { border-bottom: 1px solid #ddd; padding: .5rem 0; } table.marks th { display: none; }
}
"""
MOST = 10  # misconceptions that the overview shows
LEAST = 40  # words and signs of an answer; shorter ones are alike by chance


def page(title: str, body: str) -> str:
    """A whole HTML page."""
    return (
        '<!doctype html>\n<html lang="zh"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>\n{body}\n</body></html>\n'
    )


def both(en: str, zh: str) -> str:
    """A sentence in both languages."""
    return f'{html.escape(zh)}<br><span class="grey">{html.escape(en)}</span>'


def student_page(key: Key, row: dict) -> str:
    """One student's page: points, what to say of each exercise, with advice for a known mistake, and what was done with
    the notebook."""
    lines = ''.join(
        f'<tr><td>{number}. {html.escape(name)}</td>'
        f'<td class="{"ok" if mark["status"] == "ok" else "not"}">{html.escape(mark["status"])}</td>'
        f'<td>{mark["points"]:g} / {key.exercises[name].points:g}</td><td>{both(mark["en"], mark["zh"])}'
        + ''.join(f'<p class="advice">{both(each["en"], each["zh"])}</p>' for each in mark['mistakes'])
        + '</td></tr>'
        for number, (name, mark) in enumerate(row['exercises'].items(), 1)
    )
    notes = ''.join(f'<li>{both(note["en"], note["zh"])}</li>' for note in row['notes'])
    title = f'{key.lab}: {row["name"] or row["student"]}'
    return page(
        title,
        (
            f'<h1>{html.escape(title)}</h1><p><b>{row["points"]:g} / {key.points:g}</b> 分 · points</p>'
            '<table class="marks"><tr><th>练习 · Exercise</th><th>结果 · Result</th><th>分 · Points</th><th></th></tr>'
            + lines
            + '</table>'
            + (f'<h2>关于提交的文件 · About the file</h2><ul>{notes}</ul>' if notes else '')
        ),
    )


def alike(sources: dict[str, dict[str, str]], stubs: dict[str, str]) -> list[tuple[str, list[str]]]:
    """Groups of students whose longer answers to an exercise are the same but for comments, white space and names.

    Args:
        sources: {student: {exercise: text}}.
        stubs: the text that everybody was given.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for student, answers in sorted(sources.items()):
        for exercise, source in answers.items():
            words = shape(source)
            if len(words) >= LEAST and words != shape(stubs.get(exercise, '')):
                groups.setdefault((exercise, ' '.join(words)), []).append(student)
    return [(exercise, students) for (exercise, _), students in sorted(groups.items()) if len(students) > 1]


def shape(source: str) -> list[str]:
    """The words and signs of a text; each name that it chooses itself is a number, in the order in which they come."""
    source = re.sub(r'#.*', '', source)
    chosen: dict[str, str] = {}
    assigned = set(re.findall(r'\b([^\W\d]\w*)\s*(?:=(?!=)|\bin\b)', source)) | set(
        re.findall(r'\bfor\s+([^\W\d]\w*)', source)
    )
    return [
        chosen.setdefault(word, f'${len(chosen)}') if word in assigned else word
        for word in re.findall(r'\w+|[^\w\s]', source)
    ]


def _bar(share: float, width: int = 20) -> str:
    return f'<span class="bar" style="width: min({share * width:.2f}rem, {share * width * 2.2:.2f}vw)"></span>'


def _misconceptions(graded: Sequence[dict]) -> str:
    """Rows of the most frequent known mistakes, each with its sentence of advice."""
    made = Counter(
        (name, *(mistake[part] for part in ('name', 'en', 'zh')))
        for row in graded
        for name, mark in row['exercises'].items()
        for mistake in mark['mistakes']
    )
    many = max(len(graded), 1)
    return ''.join(
        f'<tr><td>{html.escape(exercise)}<br><b>{html.escape(name)}</b></td>'
        f'<td class="tight">{_bar(count / many, 10)} {count} / {len(graded)}</td><td>{both(en, zh)}</td></tr>'
        for (exercise, name, en, zh), count in sorted(made.items(), key=lambda entry: (-entry[1], entry[0]))[:MOST]
    )


def overview(key: Key, rows: Sequence[dict], groups: Sequence[tuple[str, list[str]]], sandbox: str) -> str:
    """The class on one page: points, exercises from the hardest, mistakes from the most frequent, answers alike."""
    graded = [row for row in rows if row['status'] != 'not graded']
    many = max(len(graded), 1)
    tenths = Counter(min(int(10 * row['points'] / key.points), 9) for row in graded)
    most = max(tenths.values(), default=1)
    distribution = ''.join(
        f'<tr><td class="tight">{10 * i}–{10 * i + 10} %</td><td>{_bar(tenths[i] / most)} {tenths[i] or ""}</td></tr>'
        for i in range(10)
    )
    solved = {name: sum(row['exercises'][name]['status'] == 'ok' for row in graded) for name in key.exercises}
    hardest = ''.join(
        f'<tr><td>{html.escape(name)}</td>'
        f'<td class="tight">{_bar(solved[name] / many, 10)} {solved[name]} / {len(graded)}</td><td class="grey">'
        + ', '.join(
            f'{status} {count}'
            for status, count in sorted(Counter(row['exercises'][name]['status'] for row in graded).items())
        )
        + '</td></tr>'
        for name in sorted(key.exercises, key=lambda name: (solved[name], name))
    )
    misconceptions = _misconceptions(graded)
    same = ''.join(
        f'<tr><td>{html.escape(exercise)}</td><td>{html.escape(", ".join(students))}</td></tr>'
        for exercise, students in groups
    )
    people = ''.join(
        f'<tr><td><a href="feedback/{file_of(row["student"])}">'
        f'{html.escape(row["name"] or row["student"])}</a></td><td>{row["points"]:g}</td>'
        f'<td>{html.escape(row["status"])}</td><td>{len(row["notes"]) or ""}</td></tr>'
        for row in rows
    )
    mean = sum(row['points'] for row in graded) / many
    return page(
        f'{key.lab}',
        (
            f'<h1>{html.escape(key.lab)}: {len(graded)} 份 · submissions</h1><p>平均 · mean {mean:.1f} / {key.points:g}'
            + ('' if sandbox == 'sandboxed' else f'<br><b class="not">没有沙箱 · {html.escape(sandbox)}</b>')
            + '</p>'
            f'<h2>分布 · Distribution</h2><table>{distribution}</table>'
            f'<h2>最难的在前 · Hardest first</h2><table>{hardest}</table>'
            + (
                f'<h2>最常见的误解 · Most frequent misconceptions</h2><table class="marks">{misconceptions}</table>'
                if misconceptions
                else ''
            )
            + (
                f'<h2>雷同 · Alike</h2>'
                f'<p class="grey">去掉注释、空白和变量名后相同；短答案本来就会相同，请自行判断。<br>'
                f'The same but for comments, white space and names; judge for yourself, since '
                f'short answers are alike anyway.</p>'
                f'<table>{same}</table>'
                if same
                else ''
            )
            + f'<h2>学生 · Students</h2><table>'
            f'<tr><th></th><th>分 · Points</th><th>结果 · Result</th>'
            f'<th>备注 · Notes</th></tr>{people}</table>'
        ),
    )


def file_of(student: str) -> str:
    """The name of a student's page: readable where the key is, and never a path."""
    plain = re.sub(r'[^\w.-]+', '-', student).strip('.-')[:60]
    return f'{plain or "student"}-{digest(student)[:6]}.html'


def write_pages(out: Path, key: Key, rows: Sequence[dict], sources: dict[str, dict[str, str]], sandbox: str) -> None:
    """OUT/feedback/STUDENT.html for each row, and OUT/class.html."""
    for row in rows:
        write(out / 'feedback' / file_of(row['student']), student_page(key, row))
    groups = alike(sources, {name: exercise.stub for name, exercise in key.exercises.items()})
    write(out / 'class.html', overview(key, rows, groups, sandbox))
