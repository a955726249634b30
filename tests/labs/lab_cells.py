"""The cells of a lab in a plain namespace, without a kernel: an answer to an exercise is scored in milliseconds, as the grader would score it."""
import contextlib
import io
from pathlib import Path

from internlm_course.classroom import build
from internlm_course.classroom.compare import points, printed

LABS = Path(__file__).resolve().parents[2] / 'labs'
SOURCES = build.sources(LABS)


class Cells:
    """A lab's set-up, exercises and graded checks; the set-up runs once."""

    def __init__(self, source: Path):
        self.solved, self.blank = ({cell.id: cell for cell in made(source).cells} for made in (build.reference, build.student))
        self.checks = {cell.metadata.course.check: cell for cell in self.solved.values() if cell.metadata.get('nbgrader', {}).get('grade')}
        self.exercises = [name for name, cell in self.solved.items() if cell.metadata.get('nbgrader', {}).get('solution')]
        self.namespace: dict = {}
        for cell in self.solved.values():
            if cell.metadata.get('course', {}).get('setup'):
                self.run(cell.source, self.namespace)

    @staticmethod
    def run(source: str, namespace: dict) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(source, 'cell', 'exec'), namespace)
        return out.getvalue()

    def say(self, exercise: str, answer: str) -> str:
        """What the exercise's check prints after this answer."""
        namespace = dict(self.namespace)
        self.run(answer, namespace)
        return self.run(self.checks[exercise].source, namespace)

    def executed(self, exercise: str) -> dict:
        """The check cell as the executed reference would hold it."""
        text = self.say(exercise, self.solved[exercise].source)
        return dict(metadata=self.checks[exercise].metadata, outputs=[dict(output_type='stream', name='stdout', text=text)])

    def points(self, exercise: str, answer: str) -> float:
        return points(self.executed(exercise), self.say(exercise, answer))

    def values(self, exercise: str, answer: str) -> dict:
        return printed(self.say(exercise, answer))
