"""A pytest plugin for nbval, `-p internlm_course.classroom.tolerant`: numbers within the check's tolerance, and no vacuous pass.

nbval runs the cells and compares texts. Here a check's JSON line that agrees with the reference's within the tolerance in the cell's metadata is set equal to
it first; and with `--compared-minimum N` the run fails unless N cells, and every marked one, had values that were compared."""
import json
from pathlib import Path

from nbval.plugin import IPyNbCell, coalesce_streams

from internlm_course.classroom.compare import count, printed, same

COMPARED: dict[str, int] = {}  # cell id -> single values compared and found to agree
MARKED: set[str] = set()
_compare = IPyNbCell.compare_outputs


def settle(text: str, reference: str, tolerance: dict) -> str:
    """The printed text with every check's line that agrees within the tolerance replaced by the reference's line."""
    lines, wanted = text.splitlines(keepends=True), reference.splitlines(keepends=True)
    for i, (line, other) in enumerate(zip(lines, wanted)):
        got, should = printed(line), printed(other)
        if should and got.keys() == should.keys() and same(got, should, **tolerance):
            lines[i] = other
    return ''.join(lines)


def compare_outputs(self, test, ref, skip_compare=None) -> bool:
    """nbval's comparison after `settle`; remembers how many values it was about."""
    wanted = ''.join(o.text for o in ref if o.output_type == 'stream' and o.name == 'stdout')
    tolerance = self.cell.metadata.get('course', {}).get('tolerance', {})
    for output in coalesce_streams(test):
        if output.output_type == 'stream' and output.name == 'stdout':
            output.text = settle(output.text, wanted, tolerance)
    agrees = _compare(self, test, ref, skip_compare)
    if agrees:
        COMPARED[self.cell.id] = count(printed(wanted))
    return agrees


IPyNbCell.compare_outputs = compare_outputs


def pytest_addoption(parser):
    group = parser.getgroup('nbval')
    group.addoption('--compared-minimum', type=int, default=None, help='fail unless so many cells, and every marked one, had values compared')
    group.addoption('--compared-report', default=None, help='JSON file for {cell id: values compared}')


def pytest_collection_modifyitems(items):
    MARKED.update(item.cell.id for item in items if isinstance(item, IPyNbCell) and item.options['check'])


def pytest_sessionfinish(session):
    config, compared = session.config, {name: values for name, values in COMPARED.items() if values}
    if config.option.compared_report:
        Path(config.option.compared_report).write_text(json.dumps(compared), 'utf-8')
    if (least := config.option.compared_minimum) is not None and (len(compared) < least or set(compared) != MARKED):
        session.exitstatus = session.exitstatus or 1


def pytest_terminal_summary(terminalreporter, config):
    compared = {name: values for name, values in COMPARED.items() if values}
    least = config.option.compared_minimum or 0
    terminalreporter.write_line(f'compared {len(compared)} of {len(MARKED | compared.keys())} marked cells (at least {least}), {sum(compared.values())} values')
