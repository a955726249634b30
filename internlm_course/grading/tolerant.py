"""A pytest plugin for nbval, `-p internlm_course.grading.tolerant`: numbers within a tolerance, and no vacuous pass.

nbval runs the cells of a notebook and compares texts with those that the same file holds. Here a check whose values
agree within the tolerance in its metadata is set equal first; `--compared-with REFERENCE` takes the marked cells and
what they shall say from another notebook; and with `--compared-minimum N` the run fails unless N cells, and every
marked one, had values that were compared.
"""
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbval.plugin import IPyNbCell, IPyNbFile, coalesce_streams, find_comment_markers, transform_streams_for_comparison

from internlm_course.grading.compare import agrees, count, output_text, printed
from internlm_course.grading.notebook import cell_name

COMPARED: dict[str, int] = {}  # cell -> single values compared and found to agree
MARKED: set[str] = set()
_compare, _collect = IPyNbCell.compare_outputs, IPyNbFile.collect


def identity(item: IPyNbCell) -> str:
    """The cell's id; its file and number in a notebook that has none (nbformat 4.0 to 4.4, as Colab writes)."""
    return str(item.cell.get('id') or f'{item.parent.path.name}: {item.name}')


def tolerance_of(cell: Mapping) -> dict[str, float]:
    """The tolerance that a cell's metadata states, as arguments of `same`."""
    stated: Any = cell
    for name in ('metadata', 'course', 'tolerance'):
        stated = stated.get(name) if isinstance(stated, Mapping) else None
    stated = stated if isinstance(stated, Mapping) else {}
    return {name: stated[name] for name in ('relative', 'absolute')
            if type(stated.get(name)) in (int, float) and stated[name] >= 0}


def settle(outputs: list, reference: list, tolerance: Mapping[str, float]) -> None:
    """Sets outputs that agree within the tolerance equal to the reference's; in a stream, the lines of JSON alone."""
    text, wanted = output_text(dict(outputs=outputs)), output_text(dict(outputs=reference))
    if not agrees(text, wanted, tolerance):
        return
    lines = {tuple(printed(line)): line for line in wanted.split('\n')}
    for output in outputs:
        if output.get('name') == 'stdout':
            output.text = '\n'.join(printed(line) and lines[tuple(printed(line))] or line
                                    for line in output.text.split('\n'))
    shown, other = ([output for output in some if 'data' in output] for some in (outputs, reference))
    for output, should in zip(shown, other):  # the values, and what is said of them
        output.data = should.data


def compare_outputs(self, test, ref, skip_compare=None) -> bool:
    """nbval's comparison after `settle`; remembers how many values it was about."""
    test = coalesce_streams(test)
    settle(test, ref, tolerance_of(self.cell))
    agree = _compare(self, test, ref, skip_compare)
    if agree:
        COMPARED[identity(self)] = count(printed(output_text(dict(outputs=ref))))
    return agree


def compare_with(reference: Path, items: list[IPyNbCell]) -> None:
    """Puts a reference's marked cells in the place of those of the same name; no other cell is compared."""
    cells = nbformat.read(reference, as_version=4).cells
    marked = {cell_name(cell): cell for cell in cells if ('check', True) in find_comment_markers(cell.source)}
    MARKED.update(marked)
    for item in items:
        name = cell_name(item.cell)
        item.options['check'] = name in marked
        item.cell.update(marked.get(name, {}))


def collect(self) -> list[IPyNbCell]:
    """nbval's cells; of a file that is no notebook, or whose cells lack what nbval reads, one sentence."""
    try:
        items = list(_collect(self))
        if reference := self.config.option.compared_with:
            compare_with(Path(reference), items)
        for item in items:
            item.cell.setdefault('execution_count', None)
            output_text(item.cell), transform_streams_for_comparison(item.cell.outputs)
        return items
    except Exception as error:  # json, nbformat and nbval raise many kinds
        cause = (str(error).strip() or '?').splitlines()[0][:200]
        told = f'{self.path.name} is no notebook that can be run: {type(error).__name__}: {cause}'
        raise self.CollectError(told) from None


IPyNbCell.compare_outputs, IPyNbFile.collect = compare_outputs, collect


def pytest_addoption(parser):
    group = parser.getgroup('nbval')
    group.addoption('--compared-with', default=None, metavar='REFERENCE',
                    help='an executed notebook: its checks and outputs')
    group.addoption('--compared-minimum', type=int, default=None,
                    help='fail unless so many cells, and every marked one, had values compared')
    group.addoption('--compared-report', default=None, help='JSON file for {cell id: values compared}')


def pytest_configure(config):
    if (reference := config.option.compared_with) and not Path(reference).is_file():
        raise pytest.UsageError(f'--compared-with: there is no notebook {reference}.')


def pytest_collection_modifyitems(items):
    MARKED.update(identity(item) for item in items if isinstance(item, IPyNbCell) and item.options['check'])


def pytest_sessionfinish(session):
    config, compared = session.config, {name: values for name, values in COMPARED.items() if values}
    if config.option.compared_report:
        Path(config.option.compared_report).write_text(json.dumps(compared), 'utf-8')
    if (least := config.option.compared_minimum) is not None and (len(compared) < least or set(compared) != MARKED):
        session.exitstatus = session.exitstatus or 1


def pytest_terminal_summary(terminalreporter, config):
    compared = {name: values for name, values in COMPARED.items() if values}
    marked, least = len(MARKED | compared.keys()), config.option.compared_minimum or 0
    terminalreporter.write_line(f'compared {len(compared)} of {marked} marked cells (at least {least}), '
                                f'{sum(compared.values())} values')
