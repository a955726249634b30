"""The public half of the verdict, for a student on her own notebook: the grader's own way, with values that are public.

The seed is the one that everybody has at home, and the values to compare with are those that the executed reference
published in labs/solutions. A lab that was released without answers has them, too.
"""
from pathlib import Path

from internlm_course.errors import CourseError
from internlm_course.grading import modes
from internlm_course.grading.answers import Answers, pick
from internlm_course.grading.compare import output_text, printed
from internlm_course.grading.grade import Grader
from internlm_course.grading.kernels import Kernels
from internlm_course.grading.notebook import load
from internlm_course.grading.rebuild import Key, read_key
from internlm_course.grading.submissions import File, Submission
from internlm_course.grading.verdict import Mark

SEED = '0'  # of the inputs at home


def published(labs: Path, lab: str) -> dict[str, dict]:
    """The values by exercise and part that the reference's check cells hold, {exercise: {part: values}}."""
    return {cell.metadata['course']['check']: printed(output_text(cell))
            for cell in load(labs / 'solutions' / f'{lab}.ipynb').cells if cell.metadata.get('course', {}).get('check')}


class Public(Grader):
    """A grader that runs no reference: everybody's seed, and the published values.

    Raises:
        CourseError: an exercise has none.
    """

    def __init__(self, key: Key, kernels: Kernels, labs: Path):
        self.key, self.kernels = key, kernels
        self.seeds, self.wanted = dict.fromkeys(key.exercises, SEED), published(labs, key.lab)
        if missing := [name for name in key.exercises if not self.wanted.get(name)]:
            raise CourseError(f'{labs / "solutions" / key.lab}.ipynb holds no values of exercise "{missing[0]}".',
                              'Take the lab from the course again.')
        self.known = self._known()


def check(lab: str, notebooks: list[Path], labs: Path, timeout: float = 10) -> tuple[Key, Answers, dict[str, Mark]]:
    """The key, what was taken of a student's notebook, and the mark of each exercise.

    Args:
        notebooks: versions of hers; the one with most answers counts.

    Raises:
        CourseError: there is no such lab, or no notebook that can be read.
    """
    key = read_key(labs, lab)
    there = [path for path in notebooks if path.is_file()]
    if not there:
        raise CourseError(f'There is no {notebooks[0]}.', 'Call make lab, which puts it there, or say --notebook FILE.')
    answers, faults, _ = pick(Submission('', files=[File(path) for path in there]), key)
    if answers is None:
        raise CourseError(f'No answers were found: {"; ".join(faults)}.', 'Save the notebook and call again.')
    with Kernels(key, modes.best()[0] or 'none', timeout) as kernels:  # her own code may have her own rights
        return key, answers, Public(key, kernels, labs).mark(answers)
