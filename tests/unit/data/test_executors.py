"""Executors: the same steps give the same files on each, a failed task is told and only it is run again."""
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from internlm_course.data.executors import execute, ray_cluster
from internlm_course.errors import CourseError


def steps(out: Path, broken: Path):
    """One step that writes a file a task, and appends to it so that a second run would show; while `broken` exists, the
    last task fails as soon as those before it are marked as done (a failure ends the tasks that run beside it, and what
    has no mark is run again)."""
    def write(data, rank: int = 0, world_size: int = 1):
        if rank == world_size - 1 and broken.exists():
            end = time.monotonic() + 60
            while len(list(out.parent.glob('logs/completions/*'))) < rank and time.monotonic() < end:
                time.sleep(0.01)
            raise ValueError('broken on purpose')
        with open(out / f'{rank}.json', 'a', encoding='utf-8') as stream:
            stream.write(json.dumps([rank, world_size]))
        return []
    return [write]


def check(tmp_path: Path, kind: str, tasks: int = 3):
    """A task fails; the others' results stand; the next run does the one that is left and nothing else."""
    out, broken = tmp_path / 'out', tmp_path / 'broken'
    out.mkdir()
    broken.touch()
    with pytest.raises(CourseError) as error:
        execute(steps(out, broken), tasks, 2, tmp_path / 'logs', kind)
    assert 'log' in error.value.remedy
    broken.unlink()
    execute(steps(out, broken), tasks, 2, tmp_path / 'logs', kind)
    written = {path.name: path.read_text('utf-8') for path in out.iterdir()}
    assert written == {f'{rank}.json': f'[{rank}, {tasks}]' for rank in range(tasks)}
    execute(steps(out, broken), tasks, 2, tmp_path / 'logs', kind)  # nothing is left to do
    assert (out / '0.json').read_text('utf-8') == f'[0, {tasks}]'


def test_local(tmp_path):
    check(tmp_path, 'local')


@pytest.mark.parametrize('kind', ['', 'slurm', 'slurm:', 'local:2', 'spark'])
def test_an_unknown_executor_names_those_there_are(tmp_path, kind):
    with pytest.raises(CourseError, match='slurm:PARTITION'):
        execute([], 1, 1, tmp_path, kind)


def test_without_sbatch_the_job_script_is_left_for_the_cluster(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(CourseError, match='no sbatch') as error:
        execute(steps(tmp_path, tmp_path / 'none'), 6, 2, tmp_path / 'logs' / 'filter', 'slurm:cpu')
    script = tmp_path / 'logs' / 'filter' / 'launch_script.slurm'
    assert str(script) in error.value.remedy
    lines = script.read_text('utf-8').splitlines()
    options = dict(line.removeprefix('#SBATCH --').partition('=')[::2] for line in lines if line.startswith('#SBATCH'))
    assert options['array'] == '0-5%2' and options['partition'] == 'cpu'
    assert options['job-name'] == 'internlm-course-filter'
    assert options['wait'] == '' and 'qos' not in options
    assert f'export PATH={Path(sys.executable).parent}:$PATH' in script.read_text('utf-8')
    assert lines[-1].startswith('srun') and lines[-1].endswith(f'launch_pickled_pipeline {script.parent}/executor.pik')
    assert subprocess.run(['/bin/bash', '-n', str(script)]).returncode == 0


# What the three commands of Slurm that datatrove calls do, on this machine: sbatch --wait runs the array's tasks and
# fails if one fails.
SBATCH = """#!/bin/bash
for script; do :; done
for argument; do case $argument in --export=ALL,*) export "${argument#--export=ALL,}";; esac; done
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$script")
code=0
for task in $(seq 0 ${last:-0}); do SLURM_ARRAY_TASK_ID=$task SLURM_NODELIST=localhost \
    bash "$script" >> "$SLURM_LOG" 2>&1 || code=1; done
echo Submitted batch job 7
exit $code
"""
SRUN = '#!/bin/bash\nwhile [ "${1#launch_}" = "$1" ] && [ "${1#merge_}" = "$1" ]; do shift; done\nexec "$@"\n'


@pytest.mark.slow
def test_slurm_on_a_stand_in_for_its_commands(tmp_path, monkeypatch):
    commands = tmp_path / 'bin'
    commands.mkdir()
    for name, text in dict(sbatch=SBATCH, srun=SRUN, scontrol='#!/bin/bash\necho localhost\n').items():
        (commands / name).write_text(text, 'utf-8')
        (commands / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv('PATH', f'{commands}{os.pathsep}{os.environ["PATH"]}')
    monkeypatch.setenv('SLURM_LOG', str(tmp_path / 'slurm.log'))
    monkeypatch.setenv('PYTHONPATH', str(Path(__file__).parent))
    check(tmp_path, 'slurm:cpu')
    assert (tmp_path / 'logs' / 'stats.json').exists()  # the job that merges statistics ran behind the array


def offspring(word: str) -> list[str]:
    """Command lines of this user's processes that hold `word`."""
    found = []
    for path in Path('/proc').glob('[0-9]*/cmdline'):
        try:
            line = path.read_bytes().replace(b'\0', b' ').decode('utf-8', 'replace')
        except OSError:
            continue
        if word in line:
            found.append(line)
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='counts processes in /proc')
def test_ray_on_this_machine_leaves_no_process(tmp_path, monkeypatch):
    monkeypatch.delenv('RAY_ADDRESS', raising=False)
    before = offspring('raylet') + offspring('gcs_server')
    with ray_cluster(2):
        assert offspring('raylet') != before
        check(tmp_path, 'ray', tasks=2)
    assert offspring('raylet') + offspring('gcs_server') == before
