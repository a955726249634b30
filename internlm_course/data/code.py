"""The code track: Python files -> distinct files -> graded files -> one markdown document a repository, its files in
the order of their imports (report section 3.1.2: topological order of what regular expressions find, documentation
before the first code file of its sub-folder; the alphabet decides where a circle of imports begins).
"""
import contextlib
import gzip
import io
import json
import re
import sysconfig
import time
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import IO, TypeVar

from internlm_course import jsonl
from internlm_course.data.code_filters import duplicates, quality
from internlm_course.errors import CourseError

T = TypeVar('T')
SKIPPED = {'site-packages', 'dist-packages', '__pycache__', 'node_modules', 'venv', 'build', 'dist'}
TESTS = {'test', 'tests', 'idle_test'}
# `from a.b import (c, d as e)` and `import a.b, c as d` at the beginning of a line. A regular expression, as in the
# report: it also reads files that this Python cannot parse, and takes a line of a docstring for an import, which costs
# an edge and no more.
IMPORT = re.compile(r'^[ \t]*(?:from[ \t]+(\.*[\w.]*)[ \t]+import[ \t]*(\([^)]*\)|(?:\\\n|[^\n;#])+)'
                    r'|import[ \t]+((?:\\\n|[^\n;#])+))', re.M)
README = re.compile(r'readme(\.\w+)?$', re.I)
PROJECT = ('__init__.py', 'pyproject.toml', 'setup.py', 'setup.cfg', '.git')


def stdlib() -> Path:
    """Python's standard library on this machine: the course's own code corpus."""
    return Path(sysconfig.get_path('stdlib'))


# --- assembly ---------------------------------------------------------------------------------------------------------
def imports(text: str) -> list[str]:
    """What a file imports, in order, as dotted names: `from a.b import c` gives 'a.b.c' (c may be a module or a name in
    a.b), `from . import d` gives '.d', `import e.f as g` gives 'e.f'."""
    imported = []
    for source, names, modules in IMPORT.findall(text):
        listed = re.sub(r'#[^\n]*|[()\\]', ' ', names or modules).split(',')
        listed = [name.split()[0] for name in listed if name.split()]
        joint = '' if not source or source.endswith('.') else '.'
        imported += [f'{source}{joint}{name}' for name in listed if re.fullmatch(r'[\w.]+|\*', name)]
    return imported


def code_files(folder: Path) -> list[Path]:
    """The Python files of a folder, relative to it, in alphabetical order; installed packages and build folders are
    left out."""
    return walk(folder, lambda path: path.suffix == '.py')


def doc_files(folder: Path) -> list[Path]:
    """README files, Markdown and reStructuredText, relative to the folder."""
    return walk(folder, lambda path: path.suffix.lower() in ('.md', '.rst')
                or bool(README.match(path.name)) and path.suffix != '.py')


def walk(folder: Path, wanted) -> list[Path]:
    paths = (path.relative_to(folder) for path in folder.rglob('*') if wanted(path) and path.is_file())
    return sorted(path for path in paths if not SKIPPED & set(path.parts)
                  and not any(part.startswith('.') for part in path.parts))


def dependencies(folder: Path, files: Iterable[Path] | None = None) -> dict[Path, set[Path]]:
    """Each file with the files of the same folder that it imports; paths are relative to the folder.

    A name is looked for as Python does: from the folder, its `src`, the folder above where the folder is itself a
    package, and, for a script outside any package, from its own folder. The longest part of `a.b.c` that is a file
    counts: a/b/c.py, a/b/c/__init__.py, a/b.py, …
    """
    files = code_files(folder) if files is None else sorted(files)
    known = set(files)
    package = (folder.name,) if (folder / '__init__.py').exists() else None

    def module(parts: tuple[str, ...], shortest: int) -> Path | None:
        for end in range(len(parts), shortest - 1, -1):
            for path in (Path(*parts[:end]).with_suffix('.py') if end and parts[end - 1] else None,
                         Path(*parts[:end], '__init__.py')):
                if path in known:
                    return path
        return None

    def resolve(name: str, file: Path) -> Path | None:
        dots = len(name) - len(name.lstrip('.'))
        parts = tuple(part for part in name.split('.') if part not in ('', '*'))
        if dots:
            above = file.parts[:-1]
            top = len(above) - dots + 1
            return module(above[:top] + parts, top) if top >= 0 else None
        starts = [(), ('src',)]
        if not (folder / file.parent / '__init__.py').exists():
            starts.insert(0, file.parts[:-1])
        for start in starts:
            if needed := module(start + parts, len(start) + 1):
                return needed
        return module(parts[1:], 0) if parts[:1] == package else None

    return {file: {needed for name in imports(read(folder / file) or '')
                   if (needed := resolve(name, file)) and needed != file} for file in files}


def topological(graph: Mapping[T, set[T]]) -> list[T]:
    """The nodes of `graph` (node -> the nodes it needs), each after all that it needs; where there is a choice the
    smallest first.

    Nodes that need each other in a circle stand together in alphabetical order (the report lets the alphabet choose
    where a circle begins and says no more): circles are contracted one by one until graphlib finds none.
    """
    home = {node: node for node in graph}  # node -> the smallest node of its circle
    circles = {node: [node] for node in graph}
    needs = {node: {other for other in others if other in graph} - {node} for node, others in graph.items()}
    while True:
        sorter = TopologicalSorter({node: sorted(needs[node]) for node in sorted(needs)})
        try:
            sorter.prepare()
            break
        except CycleError as error:
            circle = set(error.args[1])
        head = min(circle)
        circles[head] = sorted(node for part in circle for node in circles[part])
        home |= dict.fromkeys(circles[head], head)
        joined = set().union(*(needs.pop(node) for node in circle))
        needs[head] = joined
        needs = {node: {home[other] for other in others} - {node} for node, others in needs.items()}
    placed = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        sorter.done(*ready)
        placed += [node for head in ready for node in circles[head]]
    return placed


def order(folder: Path, files: Iterable[Path] | None = None) -> list[Path]:
    """The order in which a repository is read: what is imported before what imports it, and the documentation of a
    sub-folder before the first code file in it; documentation of a folder without code goes with the folder above.
    Paths are relative to `folder`.

    Args:
        files: the code files to read, relative paths; all of the folder's by default.
    """
    code = topological(dependencies(folder, files))
    first: dict[Path, Path] = {}  # folder -> the first code file in it or below it
    for file in code:
        for above in file.parents:
            first.setdefault(above, file)
    docs: dict[Path, list[Path]] = {}  # code file -> the documentation before it, that of outer folders first
    for doc in sorted(doc_files(folder), key=lambda doc: (len(home_of(doc, first).parts), doc)) if code else ():
        docs.setdefault(first[home_of(doc, first)], []).append(doc)
    return [path for file in code for path in (*docs.get(file, ()), file)]


def home_of(doc: Path, folders: Mapping[Path, Path]) -> Path:
    """The nearest folder around a document that is one of `folders`."""
    return next(folder for folder in doc.parents if folder in folders)


def assemble(folder: Path, files: Iterable[Path] | None = None) -> str:
    """A repository as one markdown document: its name, then each file of `order` under its path, code in fences; a
    single file is one too."""
    if folder.is_file():
        folder, files, docs = folder.parent, [Path(folder.name)], False
    else:
        docs = True
    parts = [f'# {folder.name}\n'] if docs else []
    for path in order(folder, files) if docs else files:
        text = (read(folder / path) or '').strip('\n')
        if path.suffix == '.py':
            fence = '`' * max(3, 1 + max(map(len, re.findall('`+', text)), default=0))
            text = f'{fence}python\n{text}\n{fence}'
        parts.append(f'## {path.as_posix()}\n\n{text}\n')
    return '\n'.join(parts)


def repositories(folder: Path) -> list[Path]:
    """The folder itself where it is a project or a package; else each of its sub-folders with code, and each loose
    module."""
    if any((folder / name).exists() for name in PROJECT) or any(README.match(path.name) for path in folder.iterdir()):
        return [folder]
    return sorted({folder / path.parts[0] for path in code_files(folder)})


# --- the corpus -------------------------------------------------------------------------------------------------------
LARGEST = 1 << 20  # bytes of a file; what is larger is data


def read(path: Path) -> str | None:
    """A source file's text by the encoding that it declares (PEP 263), or None where it is not in that encoding."""
    content = path.read_bytes()
    try:
        encoding = tokenize.detect_encoding(io.BytesIO(content).readline)[0] if path.suffix == '.py' else 'utf-8-sig'
        return content.decode(encoding).replace('\r\n', '\n').replace('\r', '\n')
    except (SyntaxError, UnicodeDecodeError, LookupError):
        return None


def code_corpus(folder: Path, out: Path, tests: bool = False) -> dict:
    """Turns a folder of Python code into `out/clean/code.jsonl.gz`, one markdown document a repository (id, text,
    metadata: domain, quality by bytes, files), and `out/dropped.jsonl` (path, step, reason). The same bytes on every
    run.

    Args:
        folder: `stdlib()`, a project, or a folder of projects; tests: whether to read test suites too.

    Returns:
        funnel: list of {step, files, bytes}; grades: files and bytes of each before the low are dropped; documents,
            bytes, seconds.

    Raises:
        CourseError: there is no Python file in `folder`.
    """
    start = time.perf_counter()
    files = [path for path in code_files(folder) if tests or not TESTS & set(path.parts)] if folder.is_dir() else []
    if not files:
        raise CourseError(f'There is no Python file in {folder}.',
                          'Give a folder of code, such as the standard library (code.stdlib()).')
    sizes = {path: (folder / path).stat().st_size for path in files}
    funnel, dropped = [], []

    def step(name: str, left: Iterable[Path], gone: Mapping[Path, str]) -> None:
        left = list(left)
        funnel.append(dict(step=name, files=len(left), bytes=sum(sizes[path] for path in left)))
        dropped.extend(dict(path=path.as_posix(), step=name, reason=reason) for path, reason in gone.items())

    step('found', files, {})
    texts = {path: text for path in files if sizes[path] <= LARGEST and (text := read(folder / path)) is not None}
    step('readable', texts, {path: 'too large' if sizes[path] > LARGEST else 'undecodable'
                             for path in files if path not in texts})
    # Of two copies the one nearer to the root stays.
    copies = duplicates({path: texts[path] for path in sorted(texts, key=lambda path: (len(path.parts), path))})
    for kind in ('exact', 'near'):
        gone = {path: f'{kind} copy of {kept.as_posix()}'
                for path, (kept, likeness) in copies.items() if likeness == kind}
        texts = {path: text for path, text in texts.items() if path not in gone}
        step(kind, texts, gone)
    graded = {path: quality(text) for path, text in texts.items()}
    low = {path: features['reason'] for path, (grade, features) in graded.items() if grade == 'low'}
    step('quality', [path for path in texts if path not in low], low)
    grades = {grade: dict(files=sum(each == grade for each, _ in graded.values()),
                          bytes=sum(sizes[path] for path, (each, _) in graded.items() if each == grade))
              for grade in ('high', 'moderate', 'low')}
    kept, written = [path for path in texts if path not in low], []
    with packed(out / 'clean' / 'code.jsonl.gz') as lines:
        for repository in repositories(folder):
            if row := document(folder, repository, kept, graded):
                lines.write(jsonl.line_of(row).encode())
                written.append(len(row['text'].encode()))
    jsonl.write(out / 'dropped.jsonl', dropped)
    metrics = dict(funnel=funnel, grades=grades, documents=len(written), bytes=sum(written))
    (out / 'metrics.json').write_text(json.dumps(metrics, indent=1), 'utf-8')
    return metrics | dict(seconds=round(time.perf_counter() - start, 2))


def document(folder: Path, repository: Path, kept: Iterable[Path],
             graded: Mapping[Path, tuple[str, dict]]) -> dict | None:
    """A repository's document of the files that were kept, or None where none was."""
    place = repository.relative_to(folder)
    mine = [path for path in kept if path == place or place in path.parents or place == Path()]
    if not mine:
        return None
    inside = [path.relative_to(place) for path in mine] if repository.is_dir() else None
    shares = Counter()
    for path in mine:
        shares[graded[path][0]] += (folder / path).stat().st_size
    total = sum(shares.values())
    name = place.as_posix() if place != Path() else folder.name
    return dict(id=f'code/{name}', text=assemble(repository, inside),
                metadata=dict(domain='code', lang='en', files=len(mine), high=round(shares['high'] / total, 3)))


@contextlib.contextmanager
def packed(path: Path) -> Iterator[IO[bytes]]:
    """A gzip file to write, there whole after the block or not at all; the same bytes on every run (no time and no name
    in its header)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix('.part')
    with open(partial, 'wb') as stream, gzip.GzipFile('', 'wb', 6, stream, mtime=0) as lines:
        yield lines
    partial.replace(path)
