"""The package as an exercise's kernel sees it: the modules that the exercise needs, without any answer in them.

A kernel cannot read, import or find in memory what is not there. Left out are all files but the needed modules, and in
those the bodies of functions: the lab's answers, and whatever in the package does what this exercise asks for.
"""

import ast
import json
import os
import py_compile
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from internlm_course.errors import CourseError
from internlm_course.grading.compare import OWN
from internlm_course.grading.rebuild import Exercise, Key

PACKAGE = 'internlm_course'
RAISE = f"raise type({OWN!r}, (Exception,), {{}})('not in the kernel that is graded')"
RECORD = """
import contextlib, io, json, sys
for source in json.loads(sys.stdin.read()):
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(source, 'cell', 'exec'), globals())
modules = {name: module.__file__ for name, module in sorted(sys.modules.items())
           if name.partition('.')[0] == 'internlm_course' and getattr(module, '__file__', None)}
third = sorted({name for name in sys.modules if not name.startswith('internlm_course')})
print(json.dumps([modules, third]))
"""


def needed(key: Key) -> tuple[dict[str, Path], list[str]]:
    """The package's modules that set-up and checks load with the reference's answers, and all others that they do.

    Raises:
        CourseError: the instructor's own cells fail.
    """
    parts = [text for exercise in key.exercises.values() for text in (exercise.answer, exercise.check)]
    with tempfile.TemporaryDirectory(prefix='key-') as folder:
        root = str(Path(__file__).resolve().parents[2])
        done = subprocess.run(
            [sys.executable, '-c', RECORD],
            input=json.dumps([*key.setup, *parts]),
            text=True,
            capture_output=True,
            env=dict(os.environ, PYTHONPATH=root, INTERNLM_COURSE_RUNS=folder),
            cwd=folder,
        )
    if done.returncode:
        last = (done.stderr.strip() or '?').splitlines()[-1]
        raise CourseError(
            f"The instructor's own cells of {key.lab} fail: {last}", 'Build the lab again: internlm-course notebooks.'
        )
    modules, others = json.loads(done.stdout)
    return {name: Path(path) for name, path in modules.items()}, others


def check_parts(check: str) -> list[tuple[str, str, str]]:
    """Of each part of a check cell, `lab.check(…, part=(mine, own.function, cases))`: its name, the student's function
    and the course's own; '' where one is no name."""
    found = []
    for node in ast.walk(ast.parse(check)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == 'check':
            for part in node.keywords:
                if isinstance(part.value, ast.Tuple) and len(part.value.elts) == 3:
                    mine, own, _ = part.value.elts
                    name = own.attr if isinstance(own, ast.Attribute) else getattr(own, 'id', '')
                    found.append((part.arg or '', getattr(mine, 'id', ''), name))
    return found


def own_answers(check: str) -> set[str]:
    """The names of the course's own functions in a check cell."""
    return {own for _, _, own in check_parts(check)} - {''}


def called(tree: ast.AST) -> set[str]:
    """Every name and attribute in a piece of code."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} | {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)
    }


class Package:
    """The needed modules of the package, and which functions of them an exercise must not find."""

    def __init__(self, key: Key, modules: dict[str, Path]):
        self.key, self.paths = key, modules
        self.trees = {name: ast.parse(path.read_text('utf-8')) for name, path in modules.items()}
        self.answers = set().union(*(own_answers(exercise.check) for exercise in key.exercises.values()))
        home = {
            name
            for name, tree in self.trees.items()
            if any(isinstance(node, ast.FunctionDef) and node.name in self.answers for node in tree.body)
        }
        self.functions: dict[str, ast.FunctionDef] = {}
        for module in self._imported(home):
            self.functions |= {node.name: node for node in self.trees[module].body if isinstance(node, ast.FunctionDef)}
        self.searched = self._imported(home)

    def _imported(self, modules: Iterable[str]) -> set[str]:
        """These modules and what of the package they import."""
        found, todo = set(), list(modules)
        while todo:
            module = todo.pop()
            if module not in found:
                found.add(module)
                for node in ast.walk(self.trees[module]):
                    if isinstance(node, ast.ImportFrom) and (node.module or '').startswith(PACKAGE):
                        todo += [
                            name
                            for name in (node.module, *(f'{node.module}.{alias.name}' for alias in node.names))
                            if name in self.trees
                        ]
        return found

    def _reach(self, names: Iterable[str]) -> set[str]:
        """The functions among these names and all that they call."""
        found, todo = set(), [name for name in names if name in self.functions]
        while todo:
            name = todo.pop()
            if name not in found:
                found.add(name)
                todo += [other for other in called(self.functions[name]) if other in self.functions]
        return found

    def absent(self, exercise: Exercise) -> set[str]:
        """The functions whose bodies are left out: all answers, and what does this exercise's work, unless set-up,
        check or the reference's answer need it."""
        own = own_answers(exercise.check)
        check = called(ast.parse(exercise.check)) - own
        used = set(exercise.uses).union(*(called(ast.parse(text)) for text in (*self.key.setup, exercise.answer)))
        mine = set(exercise.functions)
        return ((self._reach(own) | self.answers) - self._reach((check | used) - own - mine)) | own

    def write(self, exercise: Exercise, folder: Path) -> None:
        """Writes the package for an exercise into `folder`, compiled."""
        absent, root = self.absent(exercise), Path(__file__).resolve().parents[1]
        for name, path in self.paths.items():
            out = folder / PACKAGE / path.relative_to(root)
            out.parent.mkdir(parents=True, exist_ok=True)
            tree = ast.parse(path.read_text('utf-8'))
            for node in tree.body:
                if name in self.searched and isinstance(node, ast.FunctionDef) and node.name in absent:
                    node.body = ast.parse(RAISE).body
            out.write_text(ast.unparse(tree), 'utf-8')
            py_compile.compile(str(out), doraise=True)
        for path in (folder, *folder.rglob('*')):
            path.chmod(0o755 if path.is_dir() else 0o644)
