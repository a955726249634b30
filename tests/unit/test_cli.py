"""The command line and the dial: bad input ends in one sentence with a remedy, and importing the course is instant."""
import io
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from internlm_course import cli
from internlm_course.doctor import Check
from internlm_course.errors import CourseError
from internlm_course.evaluate import dimensions
from internlm_course.marking import mark
from internlm_course.report.ranges import compare_with_ranges
from internlm_course.scale import SCALES, open_scale


def test_unknown_scale(capsys, tmp_path):
    assert cli.main(['run', '--scale', 'huge', '--root', str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == '' and err.count('\n') == 1
    assert '"huge"' in err and 'tiny' in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('seed', ['-1', '1.5', 'one', '٣', '', str(2**31)])
def test_a_seed_that_is_none(seed, capsys, tmp_path):
    for command in ('run', 'chat'):
        assert cli.main([command, '--seed', seed, '--root', str(tmp_path)]) == 2
        out, err = capsys.readouterr()
        assert out == '' and err.count('\n') == 1 and seed in err and 'whole number' in err
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason='this computer has a GPU')
@pytest.mark.parametrize('name', ['1_8b', '7b', '20b'])
def test_gpu_scale_without_gpu(name, capsys, tmp_path):
    assert cli.main(['run', '--scale', name, '--root', str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert err.count('\n') == 1 and 'GPU' in err and '--scale tiny' in err


def test_unknown_model(capsys, tmp_path):
    assert cli.main(['serve', '--model', 'gpt', '--root', str(tmp_path)]) == 2
    assert 'base, long, enhanced, sft, chat, int4' in capsys.readouterr().err


def test_cpu_scales_open():
    for name, scale in SCALES.items():
        if not scale.gpu_memory_gib:
            assert open_scale(name) is scale
    with pytest.raises(CourseError):
        open_scale('')


@pytest.mark.parametrize('judged', [True, False])
def test_a_run_ends_with_what_fell_out_of_the_courses_range(judged, capsys, tmp_path, monkeypatch):
    suites = dict(tools=dict(mark(0, 120), dimension='tools', chance=0.0))
    card = dict(seed=3, models=dict(sft=dict(scores=dimensions(suites), suites=suites)))
    if judged:
        card['range'] = compare_with_ranges(card, dict(sft=dict(tools=(0.9, 1.0))))
    asked = []
    monkeypatch.setattr('internlm_course.course.Course.open',
                        lambda *given: asked.append(given[-1]) or SimpleNamespace(card=lambda: card))
    assert cli.main(['run', '--seed', '3', '--root', str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert asked == [3] and 'seed 3;' in out and ('sft 0% (90–100%)' in out) is judged and ('--seed 4' in out) is judged
    assert (tmp_path / 'tiny' / 'report.html').is_file()


def test_a_resumed_phase_shows_its_own_speed():
    """4,000 steps that an earlier run made, then 20 more: the bar stands at 4,020 and has seen 20."""
    narrator = cli.Narrator()
    for step in (4000, 4020):
        narrator('base', dict(step=step, steps=6000, loss=1.0, tokens_per_second=1.0))
    assert narrator.bar.n == 4020 and narrator.bar.initial == 4000 and narrator.bar.total == 6000
    narrator.bar.close()


HEAVY = ('torch', 'transformers', 'numpy', 'datatrove', 'xtuner', 'lmdeploy', 'opencompass', 'lagent', 'matplotlib')


def test_import_is_light():
    """`import internlm_course` must take under 0.3 s, which nothing heavy allows; the time itself is measured in the
    benchmarks."""
    modules = ', '.join(['internlm_course',
                         *(f'internlm_course.{name}' for name in ('course', 'cli', 'report.ranges'))])
    script = f'import sys, {modules}; print([m for m in {HEAVY!r} if m in sys.modules])'
    assert subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True).stdout == '[]\n'


# --- terminals --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('encoding', ['gbk', 'latin-1', 'ascii', 'utf-16'])
def test_signs_that_a_terminal_lacks_are_replaced(encoding, monkeypatch):
    terminal, errors = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    monkeypatch.setattr(sys, 'stdout', terminal)
    monkeypatch.setattr(sys, 'stderr', errors)
    monkeypatch.setattr('internlm_course.doctor.diagnose', lambda *_: [Check('内存 memory', True, '4 GB \ud83d')])
    assert cli.main(['doctor']) == 0 and cli.main(['serve', '--model', '✗']) == 2
    terminal.flush(), errors.flush()
    said = terminal.buffer.getvalue().decode(encoding)
    assert 'memory' in said and '4 GB ?' in said and 'make lab' in said and 'make run' in said
    assert ('✓' in said) is (encoding == 'utf-16')
    assert 'There is no model' in errors.buffer.getvalue().decode(encoding)


def test_doctor_in_a_terminal_of_ascii():
    """The command itself, as a shell calls it."""
    line = [sys.executable, '-m', 'internlm_course.cli', 'doctor']
    done = subprocess.run(line, env=dict(os.environ, PYTHONIOENCODING='ascii'), capture_output=True)
    assert b'Traceback' not in done.stderr and done.stdout.isascii() and b'? Python' in done.stdout
    assert done.stdout.count(b'\n') > 10
