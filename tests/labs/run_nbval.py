"""nbval on one notebook, as the tests of the labs and of their machinery call it."""
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat


def nbval(notebook, folder: Path, *options: str, form: str = '--nbval', runs: Path | None = None,
          timeout: int = 60) -> tuple[int, dict, str]:
    """Runs nbval with the course's plugin.

    Args:
        notebook: a path; or a notebook, which is written into `folder` first.
        form: --nbval compares every cell that is not marked to be ignored, --nbval-lax the marked ones.
        runs: where the lab keeps what it makes; `folder`/runs if not given.
        timeout: seconds that a cell may take.

    Returns:
        exit code, {cell id: single values compared and found to agree}, all that was printed.
    """
    if not isinstance(notebook, Path):
        nbformat.write(notebook, folder / 'lab.ipynb')
        notebook = folder / 'lab.ipynb'
    report = folder / 'compared.json'
    report.unlink(missing_ok=True)
    # No configuration file, no conftest: nothing that lies beside a notebook has a say.
    line = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-p', 'internlm_course.grading.tolerant',
            '-c', os.devnull, '--rootdir', folder,
            '--noconftest', form, '--nbval-current-env', '--nbval-cell-timeout', timeout, '--compared-report', report,
            *options, notebook]
    done = subprocess.run(list(map(str, line)), capture_output=True, text=True,
                          env=dict(os.environ, INTERNLM_COURSE_RUNS=str(runs or folder / 'runs')))
    return done.returncode, json.loads(report.read_text('utf-8')) if report.exists() else {}, done.stdout + done.stderr
