"""Config files of mmengine, which XTuner and OpenCompass read: dicts, lists and values, written as Python.

mmengine reads such a file as syntax, so it holds imports and assignments only; what the values name is imported."""
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf

WIDTH = 120


@dataclass(frozen=True)
class Name:
    """An expression that stands in the file as it is: what is imported from `module`, or was assigned above."""
    expression: str
    module: str = ''

    def __repr__(self) -> str:
        return self.expression


def call(module: str, target: str, **arguments: object) -> dict:
    """What mmengine makes by calling `target` of `module` with these arguments: `dict(type=target, …)`."""
    return dict(type=Name(target, module), **arguments)


def write_config(purpose: str, parts: Mapping[str, Mapping[str, object]]) -> str:
    """The file's text: a comment that says its purpose, the imports, and each part's assignments under its title.

    Args:
        parts: {title: {name: value}}; a dict is written as a call of `dict`, so its keys are identifiers.
    """
    imports: dict[str, set[str]] = {}
    for name in _names(parts):
        imports.setdefault(name.module, set()).add(name.expression.split('.')[0])
    lines = [f'# {purpose}']
    for module, names in sorted(imports.items()):
        lines.append(f'import {module}' if names == {module} else f'from {module} import {", ".join(sorted(names))}')
    for title, assignments in parts.items():
        lines += ['', f'# {title}', *(_source(f'{name} = ', value, WIDTH) for name, value in assignments.items())]
    return '\n'.join(lines) + '\n'


def _names(value: object) -> Iterator[Name]:
    if isinstance(value, Name) and value.module:
        yield value
    elif isinstance(value, Mapping | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _names(part)


def _source(head: str, value: object, room: float) -> str:
    """`head` and the value on one line where `room` columns hold it, otherwise with each part on a line of its own."""
    if not isinstance(value, Mapping | list):
        return f'{head}{value!r}'
    if isinstance(value, Mapping):
        opened, closed, parts = 'dict(', ')', [(f'{key}=', part) for key, part in value.items()]
    else:
        opened, closed, parts = '[', ']', [('', part) for part in value]
    line = head + opened + ', '.join(_source(*part, inf) for part in parts) + closed
    if len(line) <= room:
        return line
    lines = ',\n'.join(_source(*part, room - 5) for part in parts)  # an indent, and the comma
    return f'{head}{opened}\n{textwrap.indent(lines, "    ")}{closed}'
