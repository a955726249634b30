"""Comparison outside the kernel: values that a check cell printed as one JSON line, against the reference's."""
import contextlib
import json
import math
from collections.abc import Mapping
from typing import Any

OWN = 'PackagesOwnAnswer'  # the error of a function of the package that was left out
RELATIVE, ABSOLUTE = 1e-6, 1e-9  # where a check states no tolerance of its own; the second is for zeros


def same(value: Any, reference: Any, relative: float = RELATIVE, absolute: float = ABSOLUTE) -> bool:
    """Whether two JSON values agree: within the tolerance where the reference is a float, exactly in all else.

    Exact are integers, texts, truth values, shapes and keys.
    Integers and floats of the same value agree: 2 bytes are 2.0 bytes.
    """
    if isinstance(reference, bool) or isinstance(value, bool):
        return value is reference
    if isinstance(reference, float):
        with contextlib.suppress(OverflowError):  # an integer that no float holds
            return isinstance(value, int | float) and math.isclose(value, reference, rel_tol=relative, abs_tol=absolute)
        return False
    if isinstance(reference, int):
        return isinstance(value, int | float) and value == reference
    if isinstance(reference, dict):
        return (isinstance(value, dict) and value.keys() == reference.keys()
                and all(same(value[key], reference[key], relative, absolute) for key in reference))
    if isinstance(reference, list):
        return (isinstance(value, list) and len(value) == len(reference)
                and all(same(one, other, relative, absolute) for one, other in zip(value, reference)))
    return type(value) is type(reference) and value == reference


def count(value: Any) -> int:
    """Single values inside a JSON value."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 1 if parts is None else sum(map(count, parts))


def printed(text: str) -> dict[str, Any]:
    """The checks in a cell's printed text: {check: values}; lines of another form are not checks."""
    found = {}
    for line in text.split('\n'):  # splitlines would also end a line at U+2028 inside a text
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and record.keys() == {'check', 'values'} and isinstance(record['check'], str):
            found[record['check']] = record['values']
    return found


def output_text(cell: Mapping) -> str:
    """What a notebook cell printed on stdout, and the plain text of what it displayed."""
    return ''.join(o['text'] if o['output_type'] == 'stream' else f"{o['data'].get('text/plain', '')}\n"
                   for o in cell.get('outputs', ())
                   if o['output_type'] == 'display_data' or o['output_type'] == 'stream' and o['name'] == 'stdout')


def agrees(text: str, reference: str, tolerance: Mapping[str, float]) -> bool:
    """Whether two texts hold the same checks with values that agree; no check at all is no agreement."""
    got, wanted = printed(text), printed(reference)
    return bool(wanted) and got.keys() == wanted.keys() and same(got, wanted, **tolerance)


def points(cell: Mapping, text: str) -> float:
    """The points that `text`, printed by a student's kernel, earns at a reference's check cell: all, or none.

    Points need a comparison that took place: a reference without values, or a text without them, earns nothing.
    """
    agree = agrees(text, output_text(cell), cell['metadata']['course'].get('tolerance', {}))
    return cell['metadata']['nbgrader']['points'] if agree else 0
