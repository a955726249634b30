"""The doctor finds what is wrong and says what to do; memory is counted over the whole tree of processes."""
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from internlm_course import doctor, memory

HOME = Path(__file__).resolve().parents[2]


def test_table_marks_what_is_wrong_and_gives_the_remedy():
    checks = [doctor.Check('好 good', True, 'x', 'unused'), doctor.Check('bad', False, 'y', 'mend it'),
              doctor.Check('odd', False, 'z', 'look at it', required=False)]
    lines = doctor.table(checks).splitlines()
    assert [line[0] for line in lines[:3]] == ['✓', '✗', '!']
    assert 'unused' not in lines[0] and lines[1].endswith('→ mend it') and lines[3].startswith('1 ')


def test_what_is_well_ends_with_both_ways_to_go_on():
    *_, head, lab, run = doctor.table([doctor.Check('good', True, 'x')]).splitlines()
    assert 'ready' in head and 'make lab' in lab and 'opens the labs' in lab and 'make run' in run
    assert 'trains a model' in run


def test_exit_code_is_1_only_for_what_is_required(monkeypatch, capsys):
    for required in (True, False):
        monkeypatch.setattr(doctor, 'diagnose',
                            lambda *_, required=required: [doctor.Check('x', False, 'y', 'z', required)])
        assert doctor.main() == int(required)
    assert capsys.readouterr().out.count('→ z') == 2


def test_the_machine_is_looked_at_before_anything_is_installed(tmp_path):
    """`make doctor` in a fresh clone, by a Python without any package."""
    shutil.copy(HOME / 'Makefile', tmp_path)
    (tmp_path / 'internlm_course').mkdir()
    for name in ('__init__.py', 'doctor.py'):
        shutil.copy(HOME / 'internlm_course' / name, tmp_path / 'internlm_course')
    python = tmp_path / 'bin' / 'python3'
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S -B "$@"\n')
    python.chmod(0o755)
    path = f'{python.parent}:/usr/bin:/bin'
    done = subprocess.run(['make', 'doctor'], cwd=tmp_path, env=dict(PATH=path, HOME=str(tmp_path)),
                          capture_output=True, text=True)
    assert all(f'{name} ' in done.stdout for name in ('system', 'installer', 'cores', 'memory', 'writeable', 'disk'))
    assert done.returncode in (0, 2) and 'Traceback' not in done.stderr
    assert ('nothing is installed yet' in done.stdout) == (done.returncode == 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['Makefile', 'bin', 'internlm_course']


def test_a_machine_without_room_or_installer_is_told_before(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, 'INSTALL_GB', 10**9)
    monkeypatch.setattr(doctor, 'find_spec', lambda name: None)
    monkeypatch.setattr(doctor.shutil, 'which', lambda *_, **__: None)
    wrong = {each.name: each.remedy for each in doctor.before_install(tmp_path) if each.required and not each.ok}
    assert 'TORCH=cpu' in wrong['磁盘 disk'] and 'python3-venv' in wrong['安装 installer']


def test_this_machine_can_run_the_course():
    checks = {each.name: each for each in [doctor.check_python(), doctor.check_system(), *doctor.check_packages()]}
    assert all(each.ok for each in checks.values()), checks


def test_versions_that_differ_from_the_lock_are_shown(tmp_path):
    lock = tmp_path / 'requirements.lock'
    lock.write_text('numpy==1.0 ; python_version < "3"\nnumpy==0.1 ; python_version >= "3"\n')
    check = next(each for each in doctor.check_packages(lock) if each.name == 'numpy')
    assert not check.ok and check.found.endswith('≠ 0.1') and 'make' in check.remedy
    assert doctor.locked_versions(tmp_path / 'none') == {}


def test_import_failure_shows_its_last_line():
    good, bad = doctor.check_imports({'json': 'json', 'nothing': 'no_such_module'})
    assert good.ok and good.found.endswith(' s')
    assert not bad.ok and 'no_such_module' in bad.found


def test_taken_port_is_told():
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        check = doctor.check_port(port)
    assert not check.ok and str(port + 1) in check.remedy
    assert doctor.check_port(port).ok


def test_folder_that_cannot_be_written(tmp_path):
    blocked = tmp_path / 'file'
    blocked.write_text('not a folder')
    assert not doctor.check_folder(blocked)[0].ok
    assert doctor.check_folder(tmp_path / 'not' / 'yet')[0].ok and not (tmp_path / 'not').exists()


def test_container_limit_counts(tmp_path):
    (tmp_path / 'memory.max').write_text('1000000\n')
    (tmp_path / 'memory.current').write_text('400000\n')
    assert doctor.available_memory(tmp_path) == 600000
    (tmp_path / 'memory.max').write_text('max\n')
    assert doctor.available_memory(tmp_path) > 1e6


HOG = 'import sys, time; block = bytearray(b"x" * 60_000_000); print("full", flush=True); sys.stdin.read()'


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='Pss is of Linux')
def test_peak_memory_counts_a_child_in_another_session_and_forgets_it_after():
    with memory.PeakMemory() as peak:
        before = peak.sample()
        child = subprocess.Popen([sys.executable, '-c', HOG], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 start_new_session=True)
        child.stdout.readline()
        full = peak.sample()
        child.communicate()
        assert peak.lap() >= full and peak.lap() < full - 50_000_000
    assert peak.method == 'pss' and 60_000_000 < full - before < 90_000_000 and peak.peak_bytes >= full


def test_peak_memory_is_cheap(monkeypatch):
    """Under 1% of one core by construction: a sample that cost t seconds of CPU is followed by a pause of 100 t, and
    never less than the interval."""
    clock, costs, pauses = [0.0], [0.001, 0.05], []

    class Watch(memory.PeakMemory):
        def sample(self):
            clock[0] += costs[len(pauses) - 1]

    class Stop:
        def wait(self, pause):
            pauses.append(pause)
            return len(pauses) > len(costs)
    monkeypatch.setattr(memory.time, 'thread_time', lambda: clock[0])
    watch = Watch()
    watch._stop = Stop()
    watch._watch()
    assert pauses == [0, memory.INTERVAL, pytest.approx(5.0)]


def test_orphan_stays_in_the_tree():
    """A server whose parent died moves under init: it was seen once, so it is still counted."""
    script = f'import subprocess, sys; subprocess.Popen([sys.executable, "-c", {HOG!r}]); sys.stdin.readline()'
    with memory.PeakMemory() as peak:
        before = peak.sample()
        keep = subprocess.Popen([sys.executable, '-c', 'import sys; sys.stdin.read()'], stdin=subprocess.PIPE)
        parent = subprocess.Popen([sys.executable, '-c', script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert parent.stdout.readline() == b'full\n'
        peak.sample()
        parent.kill()
        parent.wait()
        after = peak.sample()
        parent.stdin.close()
        keep.communicate()
    assert after - before > 55_000_000
