"""The course opens with one click: the files that Binder, Colab and Codespaces read agree with the lock and with what
`make` does, and every badge leads to the address in pyproject.toml."""
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from internlm_course.authoring import build, launch
from internlm_course.lab import jupyter, workspace

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib

HOME = Path(__file__).resolve().parents[2]
LABS = [source.stem for source in build.sources(HOME / 'labs')]
SETUP = (HOME / '.ci/setup').read_text('utf-8')


# --- badges -----------------------------------------------------------------------------------------------------------
def test_every_badge_leads_to_the_address_in_the_project():
    address = launch.address(HOME)
    assert re.fullmatch(r'https://github\.com/[\w-]+/[\w.-]+', address)
    for page in launch.pages(HOME):
        text = page.read_text('utf-8')
        assert launch.renewed(text, address) == text, page
        assert text.count('mybinder.org/v2') + text.count('codespaces.new') == len(
            [found for found in launch.BADGE.findall(text) if found[0] != 'Colab'])  # none is written in another way


@pytest.mark.parametrize('lab', LABS)
def test_a_lab_opens_from_the_tables_and_from_its_lecture(lab):
    wanted = launch.badges(launch.address(HOME), lab)
    for readme in ('README.md', 'README.zh.md'):
        [row] = [line for line in (HOME / readme).read_text('utf-8').splitlines() if f'(labs/{lab}.ipynb)' in line]
        assert row.endswith(f'| {wanted} |')
    for language in ('en', 'zh'):
        [lecture] = (HOME / 'lectures' / language).glob(f'{lab[:2]}-*.md')
        [line] = [line for line in lecture.read_text('utf-8').splitlines() if 'mybinder.org' in line]
        assert line.startswith('- ') and line.endswith(wanted)


@pytest.mark.parametrize('page', ['START.md', 'START.zh.md', '01_full_chain.ipynb'])
def test_a_badge_follows_the_repository(page):
    services = ('Binder', 'Codespaces') if page.startswith('START') else ('Binder', 'Colab')
    old, new = (' '.join(launch.badge(service, f'https://github.com/{name}', page) for service in services)
                for name in ('one/course', 'two/chain'))
    assert 'one/course' in old and 'one' not in new
    assert launch.renewed(f'| {old} |', 'https://github.com/two/chain') == f'| {new} |'


def test_after_a_move_one_call_renews_pages_and_notebooks_but_nobodys_work(tmp_path):
    for name in ('README.md', 'pyproject.toml'):
        shutil.copy(HOME / name, tmp_path)
    shutil.copytree(HOME / 'labs', tmp_path / 'labs')
    project = tmp_path / 'pyproject.toml'
    project.write_text(re.sub(r'github\.com/[^\']+', 'github.com/two/chain', project.read_text('utf-8')), 'utf-8')
    mine = tmp_path / 'labs' / f'{LABS[0]}.ipynb'
    notebook = json.loads(mine.read_text('utf-8'))
    notebook['cells'][-1]['source'] = ['mine']
    mine.write_text(json.dumps(notebook), 'utf-8')
    changed = launch.renew(tmp_path)
    assert changed == [tmp_path / 'README.md', *(tmp_path / 'labs' / f'{lab}.ipynb' for lab in LABS[1:])]
    assert all('two/chain' in path.read_text('utf-8') for path in changed) and launch.renew(tmp_path) == []
    assert "['mine']" in str(json.loads(mine.read_text('utf-8'))['cells'][-1]['source'])


# --- Binder -----------------------------------------------------------------------------------------------------------
def test_binder_reads_the_files_at_the_top():
    """A folder binder/ would hide them; repo2docker needs them executable."""
    assert not (HOME / 'binder').exists() and not (HOME / '.binder').exists()
    for name in ('postBuild', 'start'):
        assert os.access(HOME / name, os.X_OK) and (HOME / name).read_text('utf-8').startswith('#!/bin/sh\n'), name
    assert 'TORCH=${TORCH:-cpu} exec sh .ci/setup here' in (HOME / 'postBuild').read_text('utf-8')


def test_binders_python_is_one_of_the_projects_and_all_else_comes_from_the_lock():
    text = (HOME / 'environment.yml').read_text('utf-8')
    packages = re.findall(r'(?m)^  - ([\w-]+)(?:=([\d.]+))?', text)
    project = tomllib.loads((HOME / 'pyproject.toml').read_text('utf-8'))['project']
    assert SpecifierSet(project['requires-python']).contains(dict(packages)['python'])
    locked = {Requirement(line).name for line in (HOME / 'requirements.lock').read_text('utf-8').splitlines()}
    assert locked.isdisjoint(name for name, _ in packages)  # two places would differ one day


def test_binders_server_opens_on_the_page_of_make_lab(tmp_path):
    """`start` before a stand-in for Binder's server, which tells its arguments and its settings."""
    course, programs = tmp_path / 'course', tmp_path / 'bin'
    course.mkdir()
    programs.mkdir()
    shutil.copy(HOME / 'start', course)
    (course / 'labs').symlink_to(HOME / 'labs')
    for name in ('jupyter-lab', 'other'):
        (programs / name).write_text('#!/bin/sh\nprintf "%s\\n" "$JUPYTER_CONFIG_PATH" "$@"\n')
        (programs / name).chmod(0o755)

    def start(*line: str) -> list[str]:
        path = os.pathsep.join((str(programs), str(Path(sys.executable).parent), os.defpath))
        done = subprocess.run([course / 'start', *line], capture_output=True, text=True, check=True, cwd=tmp_path,
                              env=dict(PATH=path, LANG='C.UTF-8', PYTHONPATH=str(HOME), HOME=str(tmp_path)))
        return done.stdout.splitlines()
    settings, *arguments = start('jupyter-lab', '--ip=0.0.0.0')
    assert settings.split(':')[0] == str(jupyter.SETTINGS) and arguments[0] == '--ip=0.0.0.0'
    assert '--LabApp.default_url=/lab/tree/work/START.md' in arguments
    assert {path.stem for path in (course / workspace.FOLDER).glob('*.ipynb')} == set(LABS)
    assert start('other', 'a b')[1:] == ['a b']


# --- Colab ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('lab', LABS)
def test_a_students_notebook_begins_with_the_cell_for_colab(lab):
    """The reference, which is executed and compared, has none."""
    source = HOME / 'labs/src' / f'{lab}.py'
    first, second = [cell for cell in build.student(source).cells if cell.cell_type == 'code'][:2]
    assert first.id == 'colab' and f"{launch.address(HOME)} {{home}}'" in first.source
    assert second.metadata.course.setup and 'colab' not in [cell.id for cell in build.reference(source).cells]


def run(cell: str, **names) -> dict:
    exec(compile(cell, 'cell', 'exec'), names)
    return names


def test_elsewhere_the_cell_does_nothing():
    run(launch.CELL.format(address='https://example.org/course'), get_ipython=None)


class Shell:
    """IPython's shell as far as the cell uses it: commands run for real, without the address of the git with them."""

    def __init__(self, home: Path):
        self.home, self.user_ns = home, {}

    def system(self, command: str) -> None:
        self.user_ns['_exit_code'] = subprocess.run(command.replace('/content', str(self.home)), shell=True,
                                                    stderr=subprocess.DEVNULL).returncode


@pytest.mark.parametrize('setup, ended', [('echo $1 >>calls', True), ('echo $1 >>calls; exit 1', False)])
def test_on_colab_the_cell_clones_once_sets_up_and_ends_the_kernel(tmp_path, monkeypatch, setup, ended):
    """A kernel that ends is started anew by its server; where the set-up failed, its words stay."""
    origin = tmp_path / 'origin'
    (origin / '.ci').mkdir(parents=True)
    (origin / '.ci/setup').write_text(f'cd "$(dirname "$0")"\n{setup}\n')
    for line in (['init', '-q'], ['add', '.'], ['-c', 'user.name=a', '-c', 'user.email=a', 'commit', '-qm', 'a']):
        subprocess.run(['git', '-C', origin, *line], check=True)
    monkeypatch.setitem(sys.modules, 'google.colab', sys)
    killed: list[tuple] = []
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    monkeypatch.setattr('os.kill', lambda *call: killed.append(call))
    shell = Shell(tmp_path)
    for _ in range(2):
        run(launch.CELL.format(address=f'file://{origin}'), get_ipython=lambda: shell)
    assert killed == [(os.getpid(), 9)] * 2 * ended
    assert (tmp_path / 'internlm-course/.ci/calls').read_text() == 'colab\n' * 2


def test_what_carries_colabs_kernel_stays_as_it_is():
    """The packages that google-colab itself pins, and the rest of Jupyter; nothing that models compute with."""
    [pattern] = re.findall(r"(?m)^    but='(.+)'$", SETUP)
    locked = {Requirement(line).name for line in (HOME / 'requirements.lock').read_text('utf-8').splitlines()}
    kept = {name for name in locked if re.match(pattern, name)}
    assert kept >= {'ipykernel', 'ipython', 'ipywidgets', 'jupyter-client', 'jupyter-core', 'jupyter-server',
                    'notebook', 'pandas', 'pyzmq', 'tornado', 'traitlets'}
    assert kept.isdisjoint({'torch', 'numpy', 'transformers', 'xtuner', 'lmdeploy', 'opencompass', 'lagent',
                            'jupytext'})


# --- Codespaces -------------------------------------------------------------------------------------------------------
def test_codespaces_makes_the_environment_and_lays_out_the_labs():
    made = json.loads((HOME / '.devcontainer/devcontainer.json').read_text('utf-8'))
    assert made['postCreateCommand'] == ('make ready TORCH=cpu && '
                                         '.venv/bin/python -m internlm_course.lab.jupyter true')
    project = tomllib.loads((HOME / 'pyproject.toml').read_text('utf-8'))['project']
    assert SpecifierSet(project['requires-python']).contains(made['image'].rpartition(':')[2])
    assert made['customizations']['codespaces']['openFiles'] == [f'{workspace.FOLDER}/{workspace.PAGES["en"]}']
