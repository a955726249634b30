"""kill -9 a running chain at random moments, then let it finish; by hand: `python tests/chain/kills.py --scale tiny
--kills 10 --root FOLDER`.

Prints the hash of every weight file as JSON, to be compared with an undisturbed run's (`--kills 0`).
"""
import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path


def command(scale: str, root: Path) -> list[str]:
    """What `make run` calls."""
    return [sys.executable, '-m', 'internlm_course.cli', 'run', '--scale', scale, '--root', str(root)]


def run_killed(scale: str, root: Path, kills: int, span: float, seed: int = 0,
               weights_only: bool = False) -> list[float]:
    """Starts the chain and kills it `kills` times, each after a random part of `span` seconds, then runs it to its end;
    `weights_only`: to its last weights.

    Returns the seconds that each killed run lived. Raises CalledProcessError when the last run fails.
    """
    last = command(scale, root)
    if weights_only:
        last = [sys.executable, '-c',
                f'from internlm_course.course import Course; course = Course.open({scale!r}, {str(root)!r}); '
                f'course.chat(mine=True), course.int4(mine=True)']
    rng, lived = random.Random(seed), []
    root.mkdir(parents=True, exist_ok=True)
    with open(root / 'run.log', 'ab') as log:
        while len(lived) < kills:
            run, wait = subprocess.Popen(command(scale, root), stdout=log, stderr=log), rng.uniform(2, span)
            try:
                run.wait(wait)
                break  # it finished first: nothing is left to kill
            except subprocess.TimeoutExpired:
                os.kill(run.pid, signal.SIGKILL)
                run.wait()
                lived.append(round(wait, 1))
        subprocess.run(last, stdout=log, stderr=log, check=True)
    return lived


def weights(root: Path) -> dict[str, str]:
    """SHA-256 of the weights of every model of the chain."""
    files = sorted((root / 'store').glob('*-*/*.safetensors'))
    return {file.parent.name.rsplit('-', 1)[0]: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


if __name__ == '__main__':
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument('--scale', default='tiny')
    options.add_argument('--root', type=Path, required=True)
    options.add_argument('--kills', type=int, default=10)
    options.add_argument('--span', type=float, default=200.0, help='longest life of a killed run, in seconds')
    chosen = options.parse_args()
    began = time.monotonic()
    lives = run_killed(chosen.scale, chosen.root, chosen.kills, chosen.span)
    print(json.dumps(dict(killed_after=lives, seconds=round(time.monotonic() - began), weights=weights(chosen.root)),
                     indent=1))
