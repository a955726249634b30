"""The one error of the course: what went wrong, and what to do about it."""


class CourseError(Exception):
    """Ends in one clear sentence for the user: `cause`, then `remedy`; the command line prints it without a traceback.

    Args:
        cause: what is wrong, in one sentence, naming the value that was given.
        remedy: what the user can do next.
    """

    def __init__(self, cause: str, remedy: str):
        super().__init__(f'{cause} {remedy}')
        self.cause, self.remedy = cause, remedy

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows."""
        return [f'CourseError: {self}']
