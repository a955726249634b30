"""The cells of a lab in a plain namespace, without a kernel: an answer to an exercise is scored in milliseconds, as the
grader would score it."""
import ast
import contextlib
import copy
import io
from pathlib import Path

from nbformat.v4 import new_output
from nbgrader.utils import determine_grade

from internlm_course.authoring import build
from internlm_course.grading.compare import output_text, points, printed
from internlm_course.lab.check import Lab

LABS = Path(__file__).resolve().parents[2] / 'labs'
SOURCES = build.sources(LABS)


class Cells:
    """A lab's set-up, exercises and graded checks; the set-up runs once."""

    def __init__(self, source: Path):
        self.solved, self.blank = ({cell.id: cell for cell in made(source).cells}
                                   for made in (build.reference, build.student))
        self.checks = {cell.metadata.course.check: cell
                       for cell in self.solved.values() if cell.metadata.get('nbgrader', {}).get('grade')}
        self.exercises = [name for name, cell in self.solved.items()
                          if cell.metadata.get('nbgrader', {}).get('solution')]
        self.namespace: dict = {}
        for cell in self.solved.values():
            if cell.metadata.get('course', {}).get('setup'):
                self.run(cell.source, self.namespace)

    @staticmethod
    def run(source: str, namespace: dict) -> list:
        """The outputs of a cell: what it prints, and the value of its last line."""
        out, tree = io.StringIO(), ast.parse(source)
        last = ast.Expression(tree.body.pop().value) if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        with contextlib.redirect_stdout(out):
            exec(compile(tree, 'cell', 'exec'), namespace)
            value = eval(compile(last, 'cell', 'eval'), namespace) if last else None
        result = [] if value is None else [new_output('execute_result',
                                                      {'text/plain': repr(value), 'text/html': value._repr_html_()})]
        return [new_output('stream', name='stdout', text=out.getvalue()), *result]

    def copy(self, answers: dict[str, str]) -> dict:
        """The check cells of a copy with these answers, executed one after the other."""
        namespace = dict(self.namespace)
        return {exercise: self.checked(exercise, answers[exercise], namespace) for exercise in self.exercises}

    def checked(self, exercise: str, answer: str, namespace: dict | None = None):
        """The exercise's check cell, executed after this answer, alone or in a namespace that has others."""
        namespace, check = (dict(self.namespace) if namespace is None
                            else namespace, copy.deepcopy(self.checks[exercise]))
        self.run(answer, namespace)
        check.outputs = self.run(check.source, namespace)
        return check

    def say(self, exercise: str, answer: str) -> str:
        """What the exercise's check puts out after this answer."""
        return output_text(self.checked(exercise, answer))

    def light(self, exercise: str, answer: str) -> str:
        """What the self-checks under the exercise say of this answer; of their cells, and of those before, only what
        leads to a self-check is run."""
        namespace, text = dict(self.namespace), ''
        Lab.open = namespace['lab'].name
        self.run(answer, namespace)
        for name in [other for other in self.exercises if f'{other}-light' in self.solved]:
            body = ast.parse(self.solved[f'{name}-light'].source).body
            looks = [isinstance(line, ast.Expr) and ast.unparse(line).startswith('self_check(') for line in body]
            for line, is_look in list(zip(body, looks))[:len(body) - looks[::-1].index(True)]:
                if name == exercise or not is_look:
                    text += ''.join(out.get('text', '') for out in self.run(ast.unparse(line), namespace))
            if name == exercise:
                return text
        raise KeyError(exercise)

    def executed(self, exercise: str):
        """The check cell as the executed reference would hold it."""
        return self.checked(exercise, self.solved[exercise].source)

    def points(self, exercise: str, answer: str) -> float:
        """Ours and nbgrader's points, which must be the same."""
        check = self.checked(exercise, answer)
        ours, theirs = points(self.executed(exercise), output_text(check)), determine_grade(check)[0]
        assert ours == theirs, (exercise, ours, theirs, check.outputs)
        return ours

    def values(self, exercise: str, answer: str) -> dict:
        return printed(self.say(exercise, answer))
