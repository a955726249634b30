"""Runs a student's exercises, each in a kernel and a sandbox of its own, with nbval."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from internlm_course.errors import CourseError
from internlm_course.grading import modes, sandbox, warm
from internlm_course.grading.absence import Package, needed
from internlm_course.grading.rebuild import Key, rebuilt

START = 60  # seconds that kernels may take to start
SAFE_PATH = ['-P'] if sys.version_info >= (3, 11) else []
PYTHON = [os.path.realpath(sys.executable), *SAFE_PATH, '-s', '-S', '-X', 'utf8']
WARM = str(Path(__file__).with_name('warm.py'))
KERNEL_MODULES = (
    'ipykernel.kernelapp',
    'ipykernel.ipkernel',
    'ipykernel.zmqshell',
    'IPython.core.magics',
    'comm',
    'zmq.eventloop.zmqstream',
)
BOOT = """
import sys
sys.path[:0] = {paths!r}
from ipykernel.kernelapp import IPKernelApp
app = IPKernelApp.instance()
app.initialize(['-f', {connection!r}, '--HistoryManager.enabled=False', '--IPKernelApp.log_level=50'])
app.start()
"""

NBVAL = """
import os, resource, sys
os.environ.clear()
os.environ.update({environment!r})
os.chdir({folder!r})
log = os.open('log', os.O_WRONLY | os.O_CREAT)
for number in (1, 2):
    os.dup2(log, number)
resource.setrlimit(resource.RLIMIT_DATA, (1 << 31, 1 << 31))
import pytest
sys.exit(int(pytest.main({line!r})))
"""


@dataclass(frozen=True)
class Job:
    """One exercise to run: its name, the student's text, its seed, texts of other cells that it needs, and further
    answers to check after it in the same kernel."""

    exercise: str
    source: str
    seed: str
    before: tuple[str, ...] = ()
    more: tuple[str, ...] = ()


class Kernels:
    """What all submissions to one lab share: the package without its answers, by exercise, and the way into a sandbox.

    Args:
        mode: of `modes.MODES`, or 'none'.
        timeout: seconds of CPU time for an exercise, which a busy computer does not shorten; a cell that waits has
            three times
            as many on the clock.
        hidden: folders that no kernel may see, even beneath a readable one.
    """

    def __init__(self, key: Key, mode: str, timeout: float = 10, memory: int = 2 << 30, hidden: tuple[Path, ...] = ()):
        self.key, self.mode, self.timeout = key, mode, timeout
        self.limits = sandbox.Limits(memory, START + 20 * timeout, timeout)
        self.hidden = tuple(str(path.resolve()) for path in hidden)
        self.top = Path(tempfile.mkdtemp(prefix='grade-'))
        self._count, self._lock = 0, threading.Lock()
        self._servers: list[subprocess.Popen] = []
        modules, imports = needed(key)
        package = Package(key, modules)
        for name, exercise in key.exercises.items():
            package.write(exercise, self.top / 'package' / name)
        tour = {line.split()[1] for line in key.imports.values()}  # an answer may use what the lab imports further up
        imports = [*KERNEL_MODULES, *(name for name in imports if not name.startswith('_')), *sorted(tour)]
        self.warm = mode != 'bwrap' and self._serve('kernels', modes.package_folders(), imports)
        root = str(Path(__file__).resolve().parents[2])
        self._serve(
            'nbval', [root, *modes.package_folders()], ['pytest', 'nbval.plugin', 'internlm_course.grading.values']
        )

    def _serve(self, name: str, folders: list[str], modules: list[str]) -> bool:
        """Starts a process that forks programs with these modules; False where it cannot."""
        environment = sandbox.Plan(str(self.top), '', self.mode).variables()
        process = subprocess.Popen(
            [*PYTHON, WARM, 'serve', str(self.top / name)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=self.top,
            start_new_session=True,
        )
        self._servers.append(process)
        process.stdin.write(json.dumps([folders, modules]).encode() + b'\n')
        process.stdin.flush()
        return process.stdout.readline() == b'ready\n'

    def __enter__(self) -> 'Kernels':
        return self

    def __exit__(self, *_) -> None:
        for server in self._servers:
            server.stdin.close()
            server.wait()
        shutil.rmtree(self.top, ignore_errors=True)

    def run(self, jobs: list[Job]) -> dict[str, dict]:
        """What each exercise put out: {exercise: {cells: {id: {shown, error}}, ended}}; what was lost is not there."""
        said = self._nbval(jobs)
        if lost := [job for job in jobs if job.exercise not in said and len(jobs) > 1]:
            for job in lost:  # something took nbval down; each alone shows which
                said |= self._nbval([job])
        return said

    def _nbval(self, jobs: list[Job]) -> dict[str, dict]:
        with self._lock:
            self._count += 1
            folder = self.top / f'{self._count}'
        folder.mkdir()
        try:
            for job in jobs:
                self._lay_out(folder, job)
            values = folder / 'values.json'
            self._pytest(folder, jobs, values)
            try:
                return json.loads(values.read_text('utf-8'))
            except (OSError, ValueError):
                return {}
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _lay_out(self, folder: Path, job: Job) -> None:
        """A notebook, and a kernelspec of the same name whose command enters the exercise's sandbox."""
        exercise = self.key.exercises[job.exercise]
        notebook = rebuilt(self.key, exercise, job.source, job.seed, job.exercise, job.before, job.more)
        (folder / f'{job.exercise}.ipynb').write_text(json.dumps(notebook), 'utf-8')
        box, root, spec = (
            folder / job.exercise / 'box',
            folder / job.exercise / 'root',
            folder / 'kernels' / job.exercise,
        )
        for path in (box, root, spec):
            path.mkdir(parents=True)
        package = str(self.top / 'package' / job.exercise)
        readable = {**modes.readable_system(), package: package}
        own = [
            f'{path}/{name}'
            for path in modes.package_folders()
            for name in os.listdir(path)
            if 'internlm_course' in name
        ]
        plan = sandbox.Plan(
            str(box),
            str(root),
            self.mode,
            readable,
            (*own, *self.hidden),
            dict(INTERNLM_COURSE_RUNS=f'{box}/runs'),
            self.limits,
        )
        boot = BOOT.format(paths=[package, *modes.package_folders()], connection=f'{box}/kernel.json')
        if self.warm:
            (spec / 'plan').write_text(plan.text(), 'utf-8')
            (spec / 'program').write_text(boot, 'utf-8')
            line = [*PYTHON, WARM, 'ask', str(self.top / 'kernels'), str(spec / 'plan'), str(spec / 'program')]
        else:
            line = modes.command(plan, [*PYTHON, '-c', boot])
        kernel = dict(argv=line, display_name=job.exercise, language='python', metadata=dict(box=str(box)))
        (spec / 'kernel.json').write_text(json.dumps(kernel), 'utf-8')

    def _pytest(self, folder: Path, jobs: list[Job], values: Path) -> None:
        """nbval on the notebooks in a folder."""
        line = [
            '-q',
            '-p',
            'no:cacheprovider',
            '-p',
            'nbval.plugin',
            '-p',
            'internlm_course.grading.values',
            '-c',
            os.devnull,
            '--rootdir',
            str(folder),
            '--noconftest',
            '--nbval-lax',
            '--nbval-cell-timeout',
            str(3 * self.timeout),
            '--nbval-kernel-startup-timeout',
            str(START),
            '--values',
            str(values),
            *(f'{folder / job.exercise}.ipynb' for job in jobs),
        ]
        environment = dict(
            HOME=str(folder),
            PATH=os.environ.get('PATH', os.defpath),
            LANG='C.UTF-8',
            PYTEST_DISABLE_PLUGIN_AUTOLOAD='1',
            JUPYTER_PATH=str(folder),
            JUPYTER_RUNTIME_DIR=str(folder),
            JUPYTER_CONFIG_DIR=str(folder),
            JUPYTER_NO_CONFIG='1',
        )
        with suppress(OSError):  # it took too long, or was killed: what is missing is run again alone
            warm.ask(
                str(self.top / 'nbval'),
                '',
                NBVAL.format(environment=environment, folder=str(folder), line=line),
                START + len(jobs) * (10 * self.timeout + 20),
            )
        if os.environ.get('INTERNLM_COURSE_DEBUG'):
            print((folder / 'log').read_text('utf-8', 'replace'), file=sys.stderr)


def choose_mode(no_sandbox: bool) -> tuple[str, dict[str, str]]:
    """The sandbox's mode, and why others do not work.

    Raises:
        CourseError: none works, and the instructor did not say to go without.
    """
    mode, faults = modes.best()
    if no_sandbox or mode:
        return ('none' if no_sandbox else mode), faults
    why = '; '.join(f'{name}: {fault}' for name, fault in faults.items())
    raise CourseError(
        f"No sandbox can be built here, so students' code is not run ({why}).",
        'Install bubblewrap, allow user namespaces (sysctl kernel.apparmor_restrict_unprivileged_userns=0), or run as '
        'root; '
        '--no-sandbox runs the code with your own rights, and the report says so.',
    )
