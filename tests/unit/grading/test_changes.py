"""What a re-grade says of marks that are not what they were, and the hash of what marks depend on."""
import csv
import json

from internlm_course.grading import changes, environment


def row(student: str, **exercises: tuple[str, float]) -> dict:
    return dict(student=student, name=student.title(),
                exercises={name: dict(status=status, points=points) for name, (status, points) in exercises.items()})


def earlier(out, *rows) -> None:
    (out / 'grades.json').write_text(json.dumps(dict(lab='01_a', rows=rows)), 'utf-8')


def test_only_what_changed_is_said_and_written(tmp_path):
    said = []
    earlier(tmp_path, row('ada', rope=('ok', 2), bits=('wrong', 0)), row('lin', rope=('ok', 2.5)), row('gone'))
    rows = [row('ada', rope=('ok', 2), bits=('ok', 3), new=('ok', 1)), row('lin', rope=('ok', 2)),
            row('new', rope=('ok', 2))]
    changes.tell(tmp_path, '01_a', rows, said.append)
    assert said == ['changed: ada, bits: wrong 0 -> ok 3', 'changed: lin, rope: ok 2.5 -> ok 2']
    before = (tmp_path / 'changes.csv').read_text('utf-8')
    changes.tell(tmp_path, '01_a', [row('lin', rope=('ok', 2.5))], said.append)
    assert len(said) == 2 and (tmp_path / 'changes.csv').read_text('utf-8') == before  # nothing new
    first, second = csv.DictReader(before.splitlines())
    assert list(first.values()) == ['ada', 'Ada', 'bits', 'wrong', '0', 'ok', '3'] and second['points before'] == '2.5'


def test_a_first_grading_and_another_lab_change_nothing(tmp_path):
    for content in (None, '{', '[]', '{"lab": "01_a", "rows": [3]}', '{"lab": "02_b", "rows": []}'):
        if content:
            (tmp_path / 'grades.json').write_text(content)
        changes.tell(tmp_path, '01_a', [row('ada', rope=('ok', 2))], [].append)
        assert not (tmp_path / 'changes.csv').exists()


def test_the_environments_hash_stands_for_every_package(monkeypatch):
    about = environment.environment()
    assert about == environment.environment() and about['nbval'] and about['jupyter_client']
    packages = environment.installed()
    assert list(packages) == sorted(packages) and 'jupyter-client' in packages and 'jupyter_client' not in packages
    for other in (dict(packages, scipy='0'), {name: packages[name] for name in packages if name != 'scipy'}):
        monkeypatch.setattr(environment, 'installed', lambda found=other: found)
        assert environment.environment()['hash'] != about['hash']
