"""OpenCompass in a process of its own: `python -m internlm_course.evaluate.launch` takes the arguments of the
`opencompass` command."""
import sys
from importlib.util import find_spec
from types import ModuleType

from internlm_course.process import die_with_parent

GRAMMARS = 'tree_sitter_languages'


def main() -> None:
    die_with_parent()
    if find_spec(GRAMMARS) is None:  # no build for Python 3.13; needed by BigCodeBench alone
        absent = ModuleType(GRAMMARS)
        absent.get_parser = None
        sys.modules[GRAMMARS] = absent
    from opencompass.cli.main import main as opencompass

    opencompass()


if __name__ == '__main__':
    main()
