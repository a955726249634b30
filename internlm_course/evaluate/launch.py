"""OpenCompass in a process of its own: `python -m internlm_course.evaluate.launch` takes the arguments of the
`opencompass` command."""
from internlm_course.process import die_with_parent


def main() -> None:
    die_with_parent()
    from opencompass.cli.main import main as opencompass

    opencompass()


if __name__ == '__main__':
    main()
