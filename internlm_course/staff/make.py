"""Copies the models of a finished run into the package: `make staff` runs the chain, then this."""
import json
import shutil
import sys
from pathlib import Path

from internlm_course.course import STAFF, Course
from internlm_course.model.checkpoint import CODE
from internlm_course.names import MODELS

NAMES = [name for name in MODELS if name != 'int4']  # which is made of sft in seconds


def ship(root: Path, scale: str = 'tiny') -> None:
    """Lays `NAMES`, the checkpoints that ship, of the run in `root` under staff/<scale>; the modelling code stays in
    `internlm_course.model` alone."""
    course = Course.open(scale, root)
    course.card()
    for name in NAMES:
        artifact, target = course.made[name], STAFF / scale / name
        if target.exists():
            shutil.rmtree(target)
        shutil.copytree(artifact.path, target,
                        ignore=shutil.ignore_patterns('logs', 'stage.json', 'prediction.json', *CODE))
        record = dict(artifact.metrics, seconds=artifact.seconds, peak_memory_bytes=artifact.peak_memory_bytes)
        (target / 'metrics.json').write_text(json.dumps(record, indent=1, ensure_ascii=False) + '\n', 'utf-8')
        print(target.relative_to(STAFF.parent.parent), sum(f.stat().st_size for f in target.iterdir()), 'bytes')


if __name__ == '__main__':
    ship(Path(sys.argv[1] if len(sys.argv) > 1 else 'runs'))
