"""The command line: run the chain, look at the computer, serve and talk to a model, open and build the labs."""
import argparse
import sys
import time
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path

from internlm_course.errors import CourseError
from internlm_course.names import MODELS, STAGES


class Narrator:
    """Tells on the terminal what the chain is doing: a line for each stage, and a live bar with the loss while one
    trains."""

    def __init__(self):
        self.bar, self.began, self.open = None, 0.0, []

    def __call__(self, stage: str, record: dict) -> None:
        if 'step' in record:
            self._step(stage, record)
        elif record['event'] == 'start':
            self.open.append(stage)
        elif record['event'] == 'predicted':
            said = record['prediction']
            print(f'  {stage:13} {said.seconds:6.0f} s  {said.memory_bytes / 2**30:4.1f} GiB  predicted · 预测: '
                  f'{said.tokens / 1e6:.1f} M tokens', flush=True)
        else:
            self._done(stage, record['artifact'])

    def _step(self, stage: str, record: dict) -> None:
        from tqdm.auto import tqdm
        # Its clock starts now: the steps so far, of this run or of one that was killed, are no part of its speed
        if self.bar is None:
            self.bar = tqdm(total=record['steps'], initial=record['step'], desc=f'  {stage}', unit='step',
                            mininterval=2)
        self.bar.update(record['step'] - self.bar.n)
        said = f'reward {record["reward"]:.2f}' if 'reward' in record else (
            f'loss {record["loss"]:.3f}, {record["tokens_per_second"]:,.0f} tok/s')
        self.bar.set_postfix_str(said, refresh=False)

    def _done(self, stage: str, artifact) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        how = 'fetched' if artifact.cached else f'{artifact.seconds:6.1f} s'
        name = STAGES.get(stage.removeprefix('staff-'), '')
        print(f'  {stage:13} {how:>9}  {artifact.peak_memory_bytes / 2**30:4.1f} GiB  {name}', flush=True)
        if found := artifact.metrics.get('prediction'):
            errors = ', '.join(f'{name} {row["error"]:+.0%}' for name, row in found.items())
            print(f'                prediction over what came · 预测比实测: {errors}', flush=True)


def run(arguments: argparse.Namespace) -> None:
    """Builds the whole chain and writes the report card."""
    from internlm_course import report
    from internlm_course.course import Course
    from internlm_course.report import ranges
    root, began = Path(arguments.root), time.monotonic()
    course = Course.open(arguments.scale, root, Narrator(), arguments.executor, arguments.seed)
    out = root / arguments.scale
    print(f'InternLM chain at scale {arguments.scale}, seed {arguments.seed}; artifacts in {root / "store"}',
          flush=True)
    card = course.card()
    report.write(card, out)
    print(f'Report card after {time.monotonic() - began:.0f} s: {out / "report.html"} and {out / "report.json"}')
    for name, model in card['models'].items():
        print(f'  {name:9}' + '  '.join(f'{d} {s["score"]:4.0%}' for d, s in model['scores'].items()))
    if 'range' in card:
        print('\n'.join(ranges.lines(card)))


def rlhf(arguments: argparse.Namespace) -> None:
    """Trains a reward model with XTuner, and against it the fine-tuned model by PPO: COOL RLHF, beside the chain."""
    from internlm_course.course import Course
    course = Course.open(arguments.scale, arguments.root, Narrator(), seed=arguments.seed)
    model = course.rlhf(arguments.mine)
    found = model.metrics['verified']
    before, after, *gain = (f'{100 * share:.1f}' for share in (found['before'], found['after'], *found['gain']))
    print(f'{model.path}\nverified {before} % -> {after} % of {found["n"]} held-out questions '
          f'(95 % interval of the gain: {gain[0]} to {gain[1]} points)\n'
          f'{found["n"]} 道留出的题，验证通过 {before}% → {after}%（提高的 95% 区间：{gain[0]} 到 {gain[1]} 个百分点）')


def doctor(arguments: argparse.Namespace) -> int:
    """Looks the computer over."""
    from internlm_course import doctor
    return doctor.main(imports=arguments.imports)


def _model(course, name: str, mine: bool):
    """The artifact of one model of the chain."""
    if name not in MODELS:
        raise CourseError(f'There is no model "{name}".', f'Choose one of {", ".join(MODELS)}.')
    return getattr(course, name)(mine)


def serve(arguments: argparse.Namespace) -> None:
    """Serves one model of the chain until interrupted."""
    from internlm_course.course import Course
    course = Course.open(arguments.scale, arguments.root, seed=arguments.seed)
    with course.serve(_model(course, arguments.model, arguments.mine), Path(arguments.root).absolute() / 'serve.log',
                      arguments.port) as server:
        print(f'{server.model} at {server.url} (OpenAI-compatible; Ctrl-C ends it)', flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            print()


def chat(arguments: argparse.Namespace) -> None:
    """Talks to one model of the chain in the terminal, until Ctrl-D or Ctrl-C."""
    from internlm_course.course import Course
    from internlm_course.lab.chat import talk
    course = Course.open(arguments.scale, arguments.root, seed=arguments.seed)
    model = _model(course, arguments.model, arguments.mine)
    try:
        with course.serve(model, Path(arguments.root).absolute() / 'serve.log') as server:
            talk(server.url)
    except KeyboardInterrupt:
        print()


def lab(arguments: argparse.Namespace) -> None:
    """Lays your copies of the labs into work/, once, and opens JupyterLab on this computer."""
    from internlm_course.lab import jupyter
    jupyter.main(Path(arguments.folder), arguments.port, not arguments.no_browser)


def notebooks(arguments: argparse.Namespace) -> int:
    """Rebuilds the labs' notebooks from their sources and executes the references, for authors.

    What somebody worked in stays as it is.
    """
    from internlm_course.authoring import build
    folder = Path(arguments.folder)
    if arguments.check:
        faults = build.outdated(folder)
        print('\n'.join(faults) or 'Every lab is what its source says.')
        return 1 if faults else 0
    code = 0
    for source in build.sources(folder, tuple(arguments.names)):
        print(f'{source.stem}: executing', flush=True)
        try:
            print(f'{source.stem}: {build.build(source, arguments.force)}', flush=True)
        except CourseError as error:  # the others go on
            print(f'internlm-course: {error}', file=sys.stderr)
            code = 2
    return code


def grade(arguments: argparse.Namespace) -> None:
    """Gives marks for a class: each submission run with nbval in sandboxed kernels, values compared outside."""
    from internlm_course.grading.grade import Settings, grade
    roster, seed = (path and Path(path) for path in (arguments.roster, arguments.seed_file))
    settings = Settings(arguments.lab, Path(arguments.labs), roster, seed, arguments.only, arguments.jobs,
                        arguments.timeout, int(arguments.memory * 2**30), arguments.no_sandbox)
    submissions, out = Path(arguments.submissions), Path(arguments.out)
    if arguments.watch:
        from internlm_course.grading.watch import watch
        print(f'Watching {submissions}; Ctrl-D or Ctrl-C ends it.', flush=True)
        return watch(submissions, out, settings, lambda line: print(line, flush=True))
    rows = grade(submissions, out, settings, lambda line: print(line, flush=True))
    print(f'{len(rows)} rows in {out / "grades.csv"}')


def check(arguments: argparse.Namespace) -> None:
    """Says what your notebook of a lab would earn, by the grader's own way and the public inputs."""
    from internlm_course.grading.selfcheck import check
    from internlm_course.lab.workspace import FOLDER, language, versions
    copy, tongue = Path(arguments.notebook or Path(FOLDER) / f'{arguments.lab}.ipynb'), language()
    key, answers, marks = check(arguments.lab, versions(copy), Path(arguments.labs), arguments.timeout)
    for name, mark in marks.items():
        sign = dict(zip(('ok', 'not attempted'), '✓○')).get(mark.status, '✗')
        print(f'{sign} {name:14} {mark.points:4g} / {key.exercises[name].points:<4g} {mark.status}: '
              f'{" ".join([getattr(mark, tongue), *(mistake[tongue] for mistake in mark.mistakes)])}')
    print(f'{"=":16} {sum(mark.points for mark in marks.values()):4g} / {key.points:g}')
    for note in answers.notes:
        print(f'! {note[tongue]}')


def release(arguments: argparse.Namespace) -> None:
    """Writes what a class gets: students' copies of labs, one zip of them, and a link that opens them in a JupyterHub.
    """
    from internlm_course.authoring.release import release
    done = release(Path(arguments.labs), Path(arguments.out), tuple(arguments.names), arguments.course, arguments.due,
                   not arguments.without_answers, arguments.repository, arguments.branch, arguments.hub)
    print('\n'.join(map(str, [*done.notebooks, done.archive, *filter(None, [done.link])])))


def _seed(text: str) -> int | str:
    """The number where the text is one; what is none, `Course.open` refuses with a sentence."""
    return int(text) if text.isascii() and text.isdigit() else text


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(prog='internlm-course',
                                  description='One small InternLM2 model through the whole open-source chain.')
    commands = top.add_subparsers(dest='command', required=True)

    def command(function, **options):
        added = commands.add_parser(function.__name__, help=function.__doc__.splitlines()[0].lower().rstrip('.'),
                                    **options)
        added.set_defaults(function=function)
        return added

    scaled = argparse.ArgumentParser(add_help=False)
    scaled.add_argument('--scale', default='tiny',
                        help='tiny (two CPU cores), smoke (checks the tools), 1_8b, 7b, 20b (GPU)')
    scaled.add_argument('--root', default='runs', help='folder for artifacts and reports (default: runs)')
    scaled.add_argument('--seed', type=_seed, default=0,
                        help='of your own training: 0 (default), 1, …; the data stay the same')
    command(run, parents=[scaled]).add_argument('--executor', default='local',
                                                help='where the data pipeline runs: local, slurm:PARTITION or ray')
    command(rlhf, parents=[scaled]).add_argument('--mine', action='store_true',
                                                 help="from your own fine-tuned model instead of the staff's")
    command(doctor).add_argument('--imports', action='store_true', help='also import every tool, about a minute')
    for function in (serve, chat):
        added = command(function, parents=[scaled])
        models = ', '.join(f'{name} ({model.en})' for name, model in MODELS.items())
        added.add_argument('--model', default='sft', help=f'{models}; default: sft')
        added.add_argument('--mine', action='store_true', help="your own model instead of the staff's")
        if function is serve:
            added.add_argument('--port', type=int, default=None, help='port on 127.0.0.1 (default: a free one)')
    opened = command(lab)
    opened.add_argument('--folder', default='.', help='folder of the course (default: here)')
    opened.add_argument('--port', type=int, default=None, help='port on 127.0.0.1 (default: 8888 or the next free one)')
    opened.add_argument('--no-browser', action='store_true', help='print the address instead of opening a browser')
    built = command(notebooks)
    built.add_argument('names', nargs='*', help='labs such as 01_full_chain (default: all)')
    built.add_argument('--folder', default='labs', help='folder with src/ (default: labs)')
    built.add_argument('--check', action='store_true', help='only say which notebooks differ from their sources')
    built.add_argument('--force', action='store_true', help='write over what somebody changed, too')
    _add_classroom(command)
    return top


def _add_classroom(command: Callable) -> None:
    """The commands around a class: what an instructor hands out, what a student looks at, what is marked."""
    released = command(release)
    released.add_argument('names', nargs='*', metavar='LAB', help='labs such as 01_full_chain (default: all)')
    released.add_argument('--out', required=True, metavar='DIR', help='folder to write into; the zip is DIR.zip')
    released.add_argument('--labs', default='labs', help='folder with the labs and solutions/ (default: labs)')
    released.add_argument('--course', default='', metavar='NAME', help='name of your course, for the metadata')
    released.add_argument('--due', default='', metavar='DATE', help='such as 2027-03-31, for the metadata')
    released.add_argument('--without-answers', action='store_true',
                          help="the whole course as a student needs it, without the labs' answers and references")
    released.add_argument('--repository', default='', metavar='URL', help='where you put DIR: prints a link to it')
    released.add_argument('--branch', default='main', metavar='B', help='of that repository (default: main)')
    released.add_argument('--hub', default='https://HUB', metavar='URL', help='of the JupyterHub that opens the link')
    checked = command(check)
    checked.add_argument('lab', metavar='LAB', help='such as 03_pretraining')
    checked.add_argument('--notebook', metavar='FILE', help='(default: work/LAB.ipynb)')
    checked.add_argument('--labs', default='labs', help='folder with the labs and solutions/ (default: labs)')
    checked.add_argument('--timeout', type=float, default=10,
                         help='seconds of CPU time that an exercise may take (default: 10)')
    graded = command(grade)
    graded.add_argument('submissions', metavar='SUBMISSIONS',
                        help='folder or zip as Moodle, Canvas or JupyterHub exports it')
    graded.add_argument('--out', required=True, metavar='DIR', help='folder for grades.csv and all else')
    graded.add_argument('--lab', help='such as 03_pretraining (default: what the notebooks say)')
    graded.add_argument('--labs', default='labs', help='folder with the labs and solutions/ (default: labs)')
    graded.add_argument('--roster', metavar='CSV',
                        help='students in their order; a head line with student, name, id or email')
    graded.add_argument('--jobs', type=int, default=0, help='submissions at once (default: one for each core)')
    graded.add_argument('--seed-file', metavar='FILE', help='the secret seed (default: one made once and kept in DIR)')
    graded.add_argument('--only', metavar='STUDENT', help='grade this student alone, anew')
    graded.add_argument('--watch', action='store_true', help='go on, and grade what arrives, until Ctrl-D or Ctrl-C')
    graded.add_argument('--timeout', type=float, default=10,
                        help='seconds of CPU time that an exercise may take (default: 10)')
    graded.add_argument('--memory', type=float, default=2, help='GiB that an exercise may take (default: 2)')
    graded.add_argument('--no-sandbox', action='store_true',
                        help="run students' code with your own rights; the report says so")


def main(argv: list[str] | None = None) -> int:
    """Runs one command; a `CourseError` is one sentence on stderr and exit code 2.

    What the terminal's encoding lacks, be it ✓ or Chinese, is replaced.
    """
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors='replace')
    arguments = parser().parse_args(argv)
    try:
        return arguments.function(arguments) or 0
    except CourseError as error:
        print(f'internlm-course: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('internlm-course: interrupted; run again to go on from here.', file=sys.stderr)
        return 130


if __name__ == '__main__':
    sys.exit(main())
