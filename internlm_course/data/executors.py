"""One switch for where datatrove's steps run: processes of this machine, a Slurm cluster, or Ray. The steps, the tasks
and the bytes that they write stay the same; so does resuming, because each task that is done is marked in the logging
folder.
"""
import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from internlm_course.errors import CourseError

KINDS = ('local', 'slurm:PARTITION', 'ray')
# Longest time of a Slurm task. Slurm's own variables (SBATCH_TIMELIMIT, SBATCH_PARTITION, SBATCH_QOS, SBATCH_ACCOUNT,
# …) override the script.
TIME = '1-00:00:00'
# Memory that Ray sets aside for each task, in GB: Ray waits for ever where a machine cannot give it. datatrove asks for
# 2.
RAY_MEMORY = 0.5
# Bytes of shared memory of a local Ray, which allows no less than 75 MB; documents never pass through it.
OBJECT_STORE = 80 << 20


def execute(steps: list, tasks: int, workers: int, logging_dir: Path, kind: str = 'local') -> None:
    """Runs the steps as `tasks` tasks, at most `workers` at a time, and returns when all are done; tasks done before
    are not run again.

    Args:
        steps: datatrove's steps, or functions (data, rank, world_size).
        logging_dir: where logs, statistics and marks of completion go; for a cluster a folder that every node sees.
        kind: 'local'; 'slurm:PARTITION', submitted with `sbatch --wait` from a login node; 'ray', a Ray on this machine
            that ends with the run, or the cluster that RAY_ADDRESS names.

    Raises:
        CourseError: unknown kind, no sbatch here, or a task failed.
    """
    name, _, partition = kind.partition(':')
    if kind not in ('local', 'ray') and not (name == 'slurm' and partition):
        raise CourseError(f'There is no executor {kind!r}.', f'Choose one of {", ".join(KINDS)}.')
    logging_dir.mkdir(parents=True, exist_ok=True)
    run = dict(local=run_local, slurm=run_slurm, ray=run_ray)[name]
    try:
        executor = run(steps, tasks, workers, logging_dir, *([partition] if partition else []))
    except CourseError:
        raise
    except Exception as error:  # a step may raise anything
        raise CourseError(f'A task failed: {type(error).__name__}: {error}',
                          f'The log of each task is in {logging_dir / "logs"}.') from error
    if left := executor.get_incomplete_ranks():
        log = logging_dir / 'logs' / f'task_{left[0]:05d}.log'
        raise CourseError(f'{len(left)} of {tasks} tasks failed, the first is task {left[0]}.',
                          f'Its log is {log}; started again, the run does what is left.')


def run_local(steps: list, tasks: int, workers: int, logging_dir: Path):
    from datatrove.executor.local import LocalPipelineExecutor
    # Forked workers share what is imported already; others import it anew (5 s a stage).
    executor = LocalPipelineExecutor(steps, tasks, min(workers, tasks), str(logging_dir), start_method='fork')
    executor.run()
    return executor


def run_slurm(steps: list, tasks: int, workers: int, logging_dir: Path, partition: str):
    from datatrove.executor.slurm import SlurmPipelineExecutor
    # The nodes' shells know neither this Python nor this package.
    path, package = shlex.quote(str(Path(sys.executable).parent)), shlex.quote(str(Path(__file__).resolve().parents[2]))
    # `wait` makes sbatch return when the whole array is done, so that the next stage finds this one's files.
    executor = SlurmPipelineExecutor(
        steps, tasks, TIME, partition, workers=min(workers, tasks), job_name=f'internlm-course-{logging_dir.name}',
        qos='', sbatch_args=dict(wait=''),
        env_command=f'export PATH={path}:$PATH PYTHONPATH={package}:$PYTHONPATH',
        logging_dir=str(logging_dir.resolve()))
    try:
        executor.run()
    except FileNotFoundError as error:
        script = logging_dir / 'launch_script.slurm'
        raise CourseError('There is no sbatch on this machine.',
                          f'Start from a login node of the cluster, or submit {script} there yourself.') from error
    except subprocess.CalledProcessError as error:
        raise CourseError(f'sbatch ended with code {error.returncode}.',
                          f'The logs of the jobs are in {logging_dir / "slurm_logs"}.') from error
    return executor


def run_ray(steps: list, tasks: int, workers: int, logging_dir: Path):
    from datatrove.executor.ray import RayPipelineExecutor
    executor = RayPipelineExecutor(steps, tasks, min(workers, tasks), logging_dir=str(logging_dir.resolve()),
                                   mem_per_cpu_gb=RAY_MEMORY)
    if executor.get_incomplete_ranks():
        with ray_cluster(min(workers, tasks)):
            executor.run()
    return executor


@contextlib.contextmanager
def ray_cluster(workers: int) -> Iterator[None]:
    """The cluster of RAY_ADDRESS, or a Ray of `workers` CPUs on 127.0.0.1 that reports to nobody and ends with the
    block.

    A block around several calls of `execute` lets them share one Ray, whose start takes seconds. After a kill -9 of
    this process Ray's own two watchmen are the last to go, within two minutes.
    """
    os.environ.update(RAY_USAGE_STATS_ENABLED='0', RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO='0')
    import ray
    if ray.is_initialized():
        yield
        return
    with tempfile.TemporaryDirectory(prefix='ray-', ignore_cleanup_errors=True) as folder:
        if address := os.environ.get('RAY_ADDRESS'):
            ray.init(address, log_to_driver=False)
        else:
            ray.init('local', num_cpus=workers, num_gpus=0, include_dashboard=False, log_to_driver=False,
                     configure_logging=False, object_store_memory=OBJECT_STORE, _node_ip_address='127.0.0.1',
                     _temp_dir=folder)
        try:
            yield
        finally:
            ray.shutdown()
