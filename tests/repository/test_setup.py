"""The set-up, with the real uv and no network: a line for each step, and the environment that is there stays where the
new one cannot be had."""
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[2]
UV = shutil.which('uv') or shutil.which('uv', path=HOME / '.uv' / 'bin')
BACKEND = """
import zipfile
def build_editable(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(f'{folder}/course-1-py3-none-any.whl', 'w') as wheel:
        for name, text in dict(METADATA='Metadata-Version: 2.1\\nName: course\\nVersion: 1\\n', RECORD='',
                               WHEEL='Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n').items():
            wheel.writestr(f'course-1.dist-info/{name}', text)
    return 'course-1-py3-none-any.whl'
"""

pytestmark = pytest.mark.skipif(not UV, reason='no uv here: the set-up did not run')


def pack(folder: Path, name: str) -> None:
    """A wheel that holds one empty module."""
    with zipfile.ZipFile(folder / f'{name}-1-py3-none-any.whl', 'w') as wheel:
        for path, text in {f'{name}.py': '',
                           f'{name}-1.dist-info/METADATA': f'Metadata-Version: 2.1\nName: {name}\nVersion: 1\n',
                           f'{name}-1.dist-info/WHEEL': 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\n'
                                                           'Tag: py3-none-any\n',
                           f'{name}-1.dist-info/RECORD': ''}.items():
            wheel.writestr(path, text)


@pytest.fixture
def setup(tmp_path: Path):
    """Calls the set-up of a course that needs the two wheels beside it, without a network."""
    shutil.copytree(HOME / '.ci', tmp_path / '.ci')
    (tmp_path / 'requirements.lock').write_text('small==1\ntorch==1\n')
    (tmp_path
     / 'pyproject.toml').write_text('[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
                                    '[project]\nname = "course"\nversion = "1"\n')
    (tmp_path / 'backend.py').write_text(BACKEND)
    for name in ('small', 'torch'):
        pack(tmp_path, name)
    path = os.pathsep.join((str(Path(UV).parent), str(Path(sys.base_prefix, 'bin')), os.defpath))
    environment = dict(PATH=path, HOME=str(tmp_path), UV_OFFLINE='1', UV_FIND_LINKS=str(tmp_path),
                       UV_CACHE_DIR=str(tmp_path / 'cache'))
    return lambda **more: subprocess.run(['sh', '.ci/setup', 'venv'], cwd=tmp_path, env=dict(environment, **more),
                                         capture_output=True, text=True)


def test_a_line_for_each_step(setup, tmp_path):
    done = setup()
    said = done.stderr.splitlines()
    assert done.returncode == 0 and done.stdout == '' and len(said) == 3, done.stderr
    assert all(line.startswith('setup: ') and ' · ' in line for line in said) and 'minutes' in said[1]
    assert subprocess.run([tmp_path / '.venv/bin/python', '-c', 'import small, torch']).returncode == 0
    assert setup().stderr == ''


@pytest.mark.parametrize('torch, remedy', [('cpu', 'leave out TORCH=cpu'), ('', 'try again later')])
def test_the_environment_stays_where_another_cannot_be_had(setup, tmp_path, torch, remedy):
    """download.pytorch.org is out of reach, or the course was updated without a network."""
    assert setup().returncode == 0
    before = (tmp_path / '.venv' / '.ready').read_text()
    if torch:
        (tmp_path / 'torch-1-py3-none-any.whl').unlink()
    else:
        with (tmp_path / 'requirements.lock').open('a') as lock:
            lock.write('unknown==1\n')
    done = setup(TORCH=torch)
    *reason, last = done.stderr.splitlines()
    assert done.returncode == 1 and 'nothing was changed' in last and '没有改动' in last and remedy in last
    assert ('torch' if torch else 'unknown') in ''.join(reason[1:])  # in uv's own words
    assert (tmp_path / '.venv' / '.ready').read_text() == before
    assert subprocess.run([tmp_path / '.venv/bin/python', '-c', 'import small, torch']).returncode == 0
    assert setup().returncode == int(not torch)
