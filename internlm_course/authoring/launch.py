"""One click from a page to a lab: badges that open Binder, Colab and Codespaces, and the cell with which a lab brings
the course to Colab.

The repository's public address stands in one place: pyproject.toml, `[project.urls]`. After a change there,
`python -m internlm_course.authoring.launch` writes badges and students' notebooks anew; nothing is executed.
"""
import re
from pathlib import Path
from urllib.parse import quote, urlsplit

from internlm_course.errors import CourseError
from internlm_course.grading.notebook import in_use
from internlm_course.lab import workspace

BRANCH = 'main'
BADGE = re.compile(r'\[!\[(Binder|Colab|Codespaces)\]\([^)\s]*\)\]'
                   r'\([^)\s]*?(?:(?:/|%2F)(\w+\.ipynb|START(?:\.zh)?\.md))?\)')
IMAGES = dict(Binder='https://mybinder.org/badge_logo.svg',
              Colab='https://colab.research.google.com/assets/colab-badge.svg',
              Codespaces='https://github.com/codespaces/badge.svg')
CELL = """\
# 在 Colab 上，这一格安装课程、重启会话，约五分钟；在别处什么也不做。
# On Colab, this installs the course and restarts the session, in about five minutes;
# elsewhere it does nothing.
import os
import sys
import time
from importlib.util import find_spec

if 'google.colab' in sys.modules and not find_spec('internlm_course'):
    shell, home = get_ipython(), '/content/internlm-course'
    shell.system(f'test -d {{home}} || git clone -q --depth 1 '
                 f'{address} {{home}}')
    shell.system(f'sh {{home}}/.ci/setup colab')
    if shell.user_ns['_exit_code'] == 0:
        time.sleep(2)  # until the last line is shown
        os.kill(os.getpid(), 9)"""


def address(course: Path) -> str | None:
    """The repository's public address; None where the folder has none to tell, such as a lab's alone."""
    try:
        import tomllib
    except ModuleNotFoundError:
        import tomli as tomllib
    project = course / 'pyproject.toml'
    return (tomllib.loads(project.read_text('utf-8'))['project'].get('urls', {}).get('Repository')
            if project.is_file() else None)


def link(service: str, address: str, page: str | None = None) -> str:
    """The address at which Binder, Colab or Codespaces opens the course: a lab (01_full_chain.ipynb), or the page of
    the work folder; Codespaces opens the whole course, whatever the page."""
    repository = urlsplit(address).path.strip('/')
    if service == 'Binder':
        opened = quote(f'lab/tree/{workspace.FOLDER}/{page or workspace.PAGES["en"]}', safe='')
        return f'https://mybinder.org/v2/gh/{repository}/{BRANCH}?urlpath={opened}'
    if service == 'Colab':
        return f'https://colab.research.google.com/github/{repository}/blob/{BRANCH}/labs/{page}'
    return f'https://codespaces.new/{repository}'


def badge(service: str, address: str, page: str | None = None) -> str:
    """A picture that leads there, in markdown."""
    return f'[![{service}]({IMAGES[service]})]({link(service, address, page)})'


def badges(address: str, lab: str) -> str:
    """What opens one lab: Binder with the student's copy, Colab with the notebook as it is released."""
    return ' '.join(badge(service, address, f'{lab}.ipynb') for service in ('Binder', 'Colab'))


def renewed(text: str, address: str) -> str:
    """A page whose badges lead to this address."""
    return BADGE.sub(lambda found: badge(found[1], address, found[2]), text)


def pages(course: Path) -> list[Path]:
    """The pages that have badges: the READMEs and the lectures."""
    return [*sorted(course.glob('README*.md')), *sorted(course.glob('lectures/*/*.md'))]


def cell(address: str):
    """The first cell of code of a student's notebook: on Colab it brings the course, elsewhere it does nothing."""
    from nbformat.v4 import new_code_cell
    return new_code_cell(CELL.format(address=address), id='colab', metadata=dict(tags=['nbval-ignore-output']))


def renew(course: Path) -> list[Path]:
    """Writes badges and students' notebooks anew, but for notebooks that hold somebody's work; the files that changed.

    Raises:
        CourseError: pyproject.toml tells no address.
    """
    import nbformat

    from internlm_course.authoring import build
    if not (repository := address(course)):
        raise CourseError(f'{course / "pyproject.toml"} tells no address of the repository.',
                          'Write it there: [project.urls], Repository.')
    new = {page: renewed(page.read_text('utf-8'), repository) for page in pages(course)}
    for source in build.sources(course / 'labs'):
        blank = build.paths(source)[1]
        if not in_use(blank, runs=True):
            new[blank] = nbformat.writes(build.student(source)) + '\n'
    changed = [path for path, text in new.items() if not path.exists() or path.read_text('utf-8') != text]
    for path in changed:
        path.write_text(new[path], 'utf-8')
    return changed


if __name__ == '__main__':
    print('\n'.join(map(str, renew(Path()))) or 'Every badge and notebook leads to the address in pyproject.toml.')
