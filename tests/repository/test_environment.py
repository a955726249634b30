"""The environment's files agree with each other: one lock, no address in it, every override in one place, thin make
targets."""
import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.version import Version

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib

HOME = Path(__file__).resolve().parents[2]
LINE = re.compile(r'[a-z0-9][a-z0-9.-]*==[0-9][a-z0-9.+]*( ; [^;@]+)?')
PYTHONS = ('3.10', '3.11', '3.12', '3.13')


def project() -> dict:
    return tomllib.loads((HOME / 'pyproject.toml').read_text('utf-8'))


def locked(python: str) -> dict[str, Version]:
    """Package -> version in the lock for one Python on Linux x86-64; a package locked twice for it fails."""
    place = dict(default_environment(), python_version=python, python_full_version=python + '.5', sys_platform='linux',
                 os_name='posix', platform_machine='x86_64', platform_system='Linux', implementation_name='cpython',
                 platform_python_implementation='CPython')
    versions = {}
    for line in (HOME / 'requirements.lock').read_text('utf-8').splitlines():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(place):
            assert requirement.name not in versions, requirement.name
            versions[requirement.name] = Version(str(requirement.specifier)[2:])
    return versions


def test_every_line_of_the_lock_is_a_name_a_version_and_a_marker():
    lines = (HOME / 'requirements.lock').read_text('utf-8').splitlines()
    assert len(lines) > 200 and [line for line in lines if not LINE.fullmatch(line)] == []


@pytest.mark.parametrize('line', ['torch @ https://host/torch.whl', 'torch', 'torch>=2', 'torch==2 --hash=sha256:00',
                                  '--index-url https://host', '-e .', 'torch==2 ; python_version < "3" ; x',
                                  '/tmp/torch.whl'])
def test_the_pattern_of_a_line_refuses_addresses_and_loose_versions(line):
    assert not LINE.fullmatch(line)


@pytest.mark.parametrize('python', PYTHONS)
def test_the_lock_holds_every_declared_dependency_within_its_bounds(python):
    versions = locked(python)
    for text in project()['project']['dependencies']:
        need = Requirement(text)
        if need.marker is None or need.marker.evaluate({'python_version': python}):
            assert versions[need.name] in need.specifier, text
    for text in project()['tool']['uv']['override-dependencies']:
        need = Requirement(text)
        assert need.marker is not None or versions[need.name] in need.specifier, text


def test_the_tools_are_the_same_on_every_python():
    for name in ('xtuner', 'lmdeploy', 'opencompass', 'lagent', 'torch', 'transformers', 'datatrove'):
        assert len({locked(python)[name] for python in PYTHONS}) == 1, name


@pytest.mark.parametrize('python', PYTHONS)
def test_one_opencv_is_locked_and_it_needs_no_screen(python):
    versions = locked(python)
    assert 'opencv-python' not in versions and 'opencv-python-headless' in versions


def test_what_is_installed_is_what_is_locked():
    """uv once applied the overrides to the lock's own lines and took newer versions: the set-up installs from outside
    the project."""
    wrong = {}
    for name, version in locked(f'{sys.version_info[0]}.{sys.version_info[1]}').items():
        try:
            found = Version(metadata.version(name))
        except metadata.PackageNotFoundError:
            if not name.startswith(('nvidia-', 'cuda-')):  # left out by TORCH=cpu
                wrong[name] = None
            continue
        if found.public != version.public:  # 2.10.0+cpu is the CPU build of 2.10.0
            wrong[name] = str(found)
    assert wrong == {}


def test_imports_are_compiled_once():
    """By the installation: where Python may not write bytecode, each process of a tool would else compile all that it
    imports."""
    for name in ('torch', 'lmdeploy', 'opencompass', 'xtuner'):
        source = importlib.util.find_spec(name).origin
        assert Path(importlib.util.cache_from_source(source)).exists(), name


def test_every_override_and_every_dependency_has_its_reason_beside_it():
    text = (HOME / 'pyproject.toml').read_text('utf-8')
    for block in (r'(?m)^dependencies = \[\n(.*?)^\]', r'(?m)^override-dependencies = \[\n(.*?)^\]'):
        lines = [line for line in re.search(block, text, re.S)[1].splitlines() if line.strip().startswith("'")]
        assert lines and [line for line in lines if not re.search(r"',  # \w", line)] == []


def test_a_set_up_environment_is_left_alone(tmp_path):
    """The stamp: a second `make` touches nothing and needs no network, no uv and no Python; another lock or a half-done
    install does."""
    for name in ('Makefile', 'pyproject.toml', 'requirements.lock', '.ci'):
        source = HOME / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    tools = tmp_path / 'tools'
    tools.mkdir()
    for name in ('sh', 'cat', 'cut', 'cksum', 'dirname'):
        (tools / name).symlink_to(shutil.which(name))
    (tools / 'uname').write_text('#!/bin/sh\necho Plan9 mips\n')
    (tools / 'uname').chmod(0o755)

    def setup(**extra: str) -> subprocess.CompletedProcess:
        return subprocess.run([shutil.which('sh'), '.ci/setup', 'venv'], cwd=tmp_path, stdin=subprocess.DEVNULL,
                              timeout=20,
                              env=dict(PATH=str(tools), HOME=str(tmp_path), **extra), capture_output=True, text=True)

    (tmp_path / '.venv').mkdir()
    half_done = setup()
    assert half_done.returncode == 1
    assert half_done.stderr.startswith('setup: LMDeploy has no build for Plan9 mips. Use ')
    ready = tmp_path / '.venv/.ready'
    content = (tmp_path / 'requirements.lock').read_bytes() + (tmp_path / 'pyproject.toml').read_bytes()
    checksum = subprocess.run(['cksum'], input=content, capture_output=True, check=True).stdout.decode()
    ready.write_text(f'cpu {checksum}')
    assert setup().returncode == 0 and setup(TORCH='cpu').returncode == 0
    assert setup(TORCH='auto').returncode == 1
    assert 'TORCH=tpu is unknown' in setup(TORCH='tpu').stderr
    with open(tmp_path / 'requirements.lock', 'a') as lock:
        lock.write('more==1\n')
    assert setup().returncode == 1


@pytest.mark.skipif(not shutil.which('flock'), reason='util-linux')
def test_of_two_calls_at_once_one_waits(tmp_path):
    for name in ('pyproject.toml', 'requirements.lock', '.ci'):
        source = HOME / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    (tmp_path / '.venv').mkdir()
    with open(tmp_path / '.setup.lock', 'w') as held:  # another call is building
        fcntl.flock(held, fcntl.LOCK_EX)
        second = subprocess.Popen(['sh', '.ci/setup', 'venv'], cwd=tmp_path,
                                  env={k: v for k, v in os.environ.items() if k != 'TORCH'})
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(1)
        content = (tmp_path / 'requirements.lock').read_bytes() + (tmp_path / 'pyproject.toml').read_bytes()
        checksum = subprocess.run(['cksum'], input=content, capture_output=True, check=True).stdout.decode()
        (tmp_path / '.venv/.ready').write_text(f'auto {checksum}')
    assert second.wait(20) == 0 and not (tmp_path / '.venv/bin').exists()


def test_make_targets_are_thin_and_set_themselves_up():
    text = (HOME / 'Makefile').read_text('utf-8')
    for target in ('run', 'test', 'lab', 'serve', 'chat', 'notebooks', 'bench', 'doctor', 'lint', 'lock'):
        ready = '' if target == 'doctor' else 'ready '  # it looks before anything is installed
        rule = re.search(rf'(?m)^{target}: {ready}## .+\n((?:\t.*\n)+)', text)
        assert rule and rule[1].count('\n') == 1, target
    assert os.access(HOME / '.ci/run', os.X_OK) and 'make test' in (HOME / '.ci/run').read_text('utf-8')


@pytest.mark.parametrize('user, browser, steps', [
    (0, False, ['apt-get update', 'make lint', 'make test']), (0, True, ['make lint', 'make test']),
    (1000, False, ['make lint', 'make test'])])
def test_continuous_integration_brings_a_browser_where_it_may(tmp_path, user, browser, steps):
    """Stand-ins for the tools say that they were called; this apt-get has no network."""
    shutil.copytree(HOME / '.ci', tmp_path / '.ci')
    for name in ('dirname', 'timeout', 'sh'):
        (tmp_path / name).symlink_to(shutil.which(name))
    for name, text in dict({'apt-get': f'echo apt-get $* >>{tmp_path}/steps; exit 100',
                            'make': f'echo make $* >>{tmp_path}/steps', 'id': f'echo {user}'},
                           **dict(chromium='') if browser else {}).items():
        (tmp_path / name).write_text(f'#!{shutil.which("sh")}\n{text}\n')
        (tmp_path / name).chmod(0o755)
    done = subprocess.run([shutil.which('bash'), '.ci/run'], cwd=tmp_path, env=dict(PATH=str(tmp_path)),
                          capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and (tmp_path / 'steps').read_text().splitlines() == steps, done.stderr
    assert done.stdout == '' and done.stderr == ('run: Chromium could not be installed\n' if len(steps) > 2 else '')


@pytest.mark.skipif(not (HOME / '.git').exists(), reason='not a clone')
def test_a_clone_by_git_for_windows_runs_under_wsl(tmp_path):
    """Git for Windows sets core.autocrlf: sh then read a carriage return behind `set -eu`, and hashes differed."""
    def run(*line: str) -> str:
        return subprocess.run(line, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    run('git', '-c', 'core.autocrlf=true', 'clone', '-q', str(HOME), 'course')
    course = tmp_path / 'course'
    names = run('git', '-C', 'course', 'ls-files').split()
    texts = [course / name for name in names if not name.endswith(('.safetensors', '.png'))]
    assert len(texts) > 100 and [path for path in texts if b'\r' in path.read_bytes()] == []
    (course / '.venv').mkdir()
    locked = run('sh', '-c', 'cat course/requirements.lock course/pyproject.toml | cksum')
    (course / '.venv' / '.ready').write_text(f'cpu {locked}')
    run('make', '-C', 'course', '-s', 'ready', 'TORCH=cpu')  # .ci/setup, with nothing left to do
