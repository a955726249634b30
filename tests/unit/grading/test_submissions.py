"""Submissions of three platforms: who handed in what; what leads out of a zip is refused, and costs nobody else."""

import io
import zipfile

import pytest

from internlm_course.errors import CourseError
from internlm_course.grading.submissions import Refused, align, find, read_roster


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w') as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize(
    'path, student, name, number',
    [
        ('Ann Lee_77_assignsubmission_file/lab.ipynb', 'Ann Lee_77', 'Ann Lee', '77'),
        ('Ann Lee_77_assignsubmission_file_lab.ipynb', 'Ann Lee_77', 'Ann Lee', '77'),
        ('leeann_5_991_03_pretraining.ipynb', 'leeann_5', 'leeann', '5'),
        ('leeann_LATE_5_991_03_pretraining-1.ipynb', 'leeann_5', 'leeann', '5'),
        ('ann/03_pretraining/03_pretraining.ipynb', 'ann', 'ann', ''),
        ('submitted/ann/03/x.ipynb', 'ann', 'ann', ''),
        ('李雷.ipynb', '李雷', '李雷', ''),
    ],
)
@pytest.mark.parametrize('form', ['folder', 'zip'])
def test_who_handed_it_in(tmp_path, form, path, student, name, number):
    if form == 'folder':
        (tmp_path / 'all' / path).parent.mkdir(parents=True)
        (tmp_path / 'all' / path).write_bytes(b'x')
    else:
        (tmp_path / 'all').write_bytes(zipped(**{path: b'x'}))
    (found,) = find(tmp_path / 'all').values()
    assert (found.student, found.name, found.number, found.files[0].read()) == (student, name, number, b'x')


def test_a_folder_around_all_students_is_nobody(tmp_path):
    for name in ('ann', 'bob'):
        (tmp_path / 'all' / 'hw3' / name).mkdir(parents=True)
        (tmp_path / 'all' / 'hw3' / name / 'x.ipynb').write_bytes(b'x')
    assert list(find(tmp_path / 'all')) == ['ann', 'bob']


def test_one_bad_member_costs_its_student_alone(tmp_path):
    inner = zipped(**{'../../up.ipynb': b'x'})
    (tmp_path / 'all.zip').write_bytes(
        zipped(**{'ann/a.ipynb': b'x', 'bob/b.zip': inner, 'cy/c.zip': b'PK', 'dan/': b''})
    )
    found = find(tmp_path / 'all.zip')
    assert list(found) == ['ann', 'bob', 'cy', 'dan']
    assert [len(submission.files) for submission in found.values()] == [1, 0, 0, 0]
    assert 'leads out' in found['bob'].faults[0] and 'broken zip' in found['cy'].faults[0]


def test_a_file_larger_than_allowed_is_not_read(tmp_path):
    (tmp_path / 'ann.ipynb').write_bytes(b'0' * 2000)
    file = find(tmp_path)['ann'].files[0]
    with pytest.raises(Refused, match='larger'):
        file.read(1000)


def test_roster_gives_order_and_names_and_keeps_strangers(tmp_path):
    for name in ('Ann Lee_77_assignsubmission_file_', 'bob', 'zed'):
        (tmp_path / 'all' / name).mkdir(parents=True)
        (tmp_path / 'all' / name / 'x.ipynb').write_bytes(b'x')
    (tmp_path / 'roster.csv').write_text(
        'Student,ID,SIS Login ID\nPoints Possible,,\n"Bob, B",1,bob\n"Lee, Ann",2,alee\nCy,3,cy\n', 'utf-8'
    )
    rows = align(find(tmp_path / 'all'), read_roster(tmp_path / 'roster.csv'))
    assert [(student.student, submission and submission.student) for student, submission in rows] == [
        ('bob', 'bob'),
        ('alee', 'Ann Lee_77'),
        ('cy', None),
        ('zed', 'zed'),
    ]


@pytest.mark.parametrize('text', ['', 'a,b\n1,2\n'])
def test_a_roster_without_students_is_refused(tmp_path, text):
    (tmp_path / 'roster.csv').write_text(text)
    with pytest.raises(CourseError, match='names no student'):
        read_roster(tmp_path / 'roster.csv')


def test_nothing_to_grade_is_said(tmp_path):
    with pytest.raises(CourseError, match='no folder or zip'):
        find(tmp_path / 'none')
    with pytest.raises(CourseError, match='no submissions'):
        find(tmp_path)
