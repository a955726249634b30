"""Several runs of Python side by side, each on its share of the cores."""
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from queue import SimpleQueue

from internlm_course.errors import CourseError


def side_by_side(lines: Mapping[str, Sequence[str]], jobs: int) -> Iterator[tuple[str, dict]]:
    """Runs Python with each of the {name: arguments}, `jobs` at a time, each on its share of the cores; gives each
    name, as it ends, with the JSON that it printed last.

    Raises:
        CourseError: one of them failed.
    """
    cores, free = sorted(os.sched_getaffinity(0)), SimpleQueue()
    for job in range(jobs):
        free.put(cores[job::jobs] or cores)

    def run(name: str) -> tuple[str, dict]:
        share = free.get()
        with subprocess.Popen([sys.executable, '-W', 'ignore', *lines[name]], stdout=subprocess.PIPE, text=True,
                              env=dict(os.environ, OMP_NUM_THREADS=str(len(share)))) as process:
            os.sched_setaffinity(process.pid, share)
            printed = process.communicate()[0]
        free.put(share)
        if process.returncode:
            raise CourseError(f'{name} stopped with code {process.returncode}.', 'Its last lines stand above.')
        return name, json.loads(printed.splitlines()[-1])

    with ThreadPoolExecutor(jobs) as pool:
        for done in as_completed([pool.submit(run, name) for name in lines]):
            yield done.result()
