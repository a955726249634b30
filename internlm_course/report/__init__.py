"""The report card: every number of a run as report.json, and as report.html, one self-contained page in Chinese and
English."""
import json
import math
import os
from pathlib import Path

from internlm_course.report.page import render


def write(card: dict, out: Path) -> None:
    """Writes `out/report.json` and `out/report.html`; each replaces the old one at once, or not at all."""
    card = _finite(card)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in (('report.json', json.dumps(card, ensure_ascii=False, indent=1) + '\n'),
                       ('report.html', render(card))):
        fresh = out / f'.{name}.{os.getpid()}'
        fresh.write_text(text, 'utf-8')
        fresh.replace(out / name)


def _finite(value):
    """JSON has no NaN and no infinity: null in their place."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value
