"""Conversations in the forms in which people give them away (alpaca, ShareGPT, OpenAI messages, XTuner's own) as the
course's one form, {'messages': [...]}.

A broken row never stops the others: it is left out, counted, and named with what was expected of it.
"""
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from internlm_course import jsonl
from internlm_course.errors import CourseError
from internlm_course.model.chat import PLUGIN, call

SHOWN = 5  # broken rows that a summary names
PARQUET = b'PAR1'


@dataclass(frozen=True)
class Broken:
    """A row that was left out."""
    row: int
    """Line of a jsonl file, else place in the file; from 1."""
    field: str
    """Where in it, as in messages[1].role; empty for the row itself."""
    expected: str

    def __str__(self) -> str:
        return f'row {self.row}{f", {self.field}" if self.field else ""}: expected {self.expected}'


@dataclass(frozen=True)
class Conversations:
    """What was read of a file, and what was not."""
    rows: list[dict]
    """{'messages': [{'role', 'content', optional 'name'}]} each."""
    format: str
    skipped: list[Broken]

    def __str__(self) -> str:
        more = len(self.skipped) - SHOWN
        return '\n'.join([f'{len(self.rows):,} conversations ({self.format}), {len(self.skipped):,} rows left out',
                          *(f'  {broken}' for broken in self.skipped[:SHOWN]), *[f'  and {more:,} more'] * (more > 0)])


class _Unfit(Exception):
    """Ends the reading of one row: (field, what was expected)."""


def read(path: Path, format: str | None = None) -> Conversations:
    """The conversations of a jsonl, JSON or parquet file; packed with gzip or not.

    Args:
        path: jsonl with a row a line, a JSON array of rows, or parquet.
        format: of `FORMATS`; by default the one whose field most of the first rows have.

    Raises:
        CourseError: there is no such format, the file cannot be read, or none of its rows is a conversation.
    """
    path = Path(path)
    if format is not None and format not in FORMATS:
        raise CourseError(f'There is no format "{format}".', f'Choose one of {", ".join(FORMATS)}.')
    records = list(_records(path))
    if not records:
        raise CourseError(f'The file {path} holds no rows.', FORMS)
    format = format or _recognised(path, [row for _, row in records])
    rows, skipped = [], []
    for number, row in records:
        try:
            rows.append(dict(messages=_checked(FORMATS[format].read(_object(row)))))
        except _Unfit as error:
            skipped.append(Broken(number, *error.args))
    if not rows:
        raise CourseError(f'None of the {len(skipped):,} rows of {path} is a conversation in the form "{format}": '
                          f'{skipped[0]}.', FORMS)
    return Conversations(rows, format, skipped)


# --- rows of a file ---------------------------------------------------------------------------------------------------
def _records(path: Path) -> Iterator[tuple[int, Any]]:
    """Each row with its number; a row that is no JSON comes as the error that says why."""
    try:
        with gzip.open(path, 'rb') if path.suffix == '.gz' else open(path, 'rb') as file:
            data = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise CourseError(f'{path} cannot be read: {error}.', 'Check the path, or give another file.') from error
    bare = data.removeprefix(b'\xef\xbb\xbf').lstrip()
    if data.startswith(PARQUET):
        yield from enumerate(_parquet(path, data), 1)
    elif bare.startswith(b'[') and not path.name.removesuffix('.gz').endswith('.jsonl'):
        try:
            yield from enumerate(jsonl.parse(data), 1)
        except ValueError as error:
            raise CourseError(f'{path} is not a JSON array: {error}.', FORMS) from error
    else:
        yield from ((number, _parsed(line)) for number, line in enumerate(data.split(b'\n'), 1)
                    if line.removeprefix(b'\xef\xbb\xbf').strip())


def _parsed(line: bytes) -> Any:
    try:
        return jsonl.parse(line)
    except ValueError as error:
        return error


def _parquet(path: Path, data: bytes) -> Iterator[dict]:
    import pyarrow
    import pyarrow.parquet

    try:
        for batch in pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data)).iter_batches():
            yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise CourseError(f'{path} is a parquet file that cannot be read: {reason}', 'Download it again.') from error


def _recognised(path: Path, rows: Sequence[Any]) -> str:
    """The format whose field most of the first hundred rows have; of two in one row the first of `FORMATS`."""
    objects = list(islice((row for row in rows if isinstance(row, Mapping)), 100))
    found = Counter(name for row in objects for name in [name for name in FORMATS if FORMATS[name].field in row][:1])
    if found:
        return found.most_common(1)[0][0]
    seen = f'the first one has the fields {", ".join(map(str, objects[0]))}' if objects else 'none is a JSON object'
    raise CourseError(f'The rows of {path} are in no form that is known: {seen}.', FORMS)


# --- parts of a row ---------------------------------------------------------------------------------------------------
def _object(row: Any, field: str = '') -> Mapping:
    if not isinstance(row, Mapping):
        raise _Unfit(field, f'a JSON object ({row})' if isinstance(row, ValueError) else 'a JSON object')
    return row


def _list(row: Mapping, name: str) -> list:
    value = row.get(name)
    if not isinstance(value, list) or not value:
        raise _Unfit(name, 'a list that is not empty')
    return value


def _text(row: Mapping, name: str, where: str = '', optional: bool = False) -> str:
    value = row.get(name)
    if value is None and optional:
        return ''
    if not isinstance(value, str):
        raise _Unfit(where + name, 'a text')
    return value


def _said(role: str, content: str) -> dict:
    return dict(role=role, content=content)


def _told(system: str) -> list[dict]:
    return [_said('system', system)] * bool(system)


def _value(value: Any, field: str) -> Any:
    """JSON as it is, or as the text that most files hold."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        raise _Unfit(field, 'JSON') from None


def _call(record: Any, field: str) -> str:
    """A tool's call {'name', 'arguments'} as it stands in an assistant's content."""
    record = _object(record, field)
    arguments = _object(_value(record.get('arguments') or {}, f'{field}.arguments'), f'{field}.arguments')
    given = {key: value for key, value in arguments.items() if value is not None}  # parquet has all keys in every row
    return call(_text(record, 'name', f'{field}.'), given)


def _with_tools(messages: list[dict], row: Mapping) -> list[dict]:
    """The messages with the row's list of tools as InternLM2's format tells of them: behind a first system message."""
    tools = _value(row.get('tools') or [], 'tools')
    if not isinstance(tools, list):
        raise _Unfit('tools', 'a list')
    if not tools:
        return messages
    tools = [_object(tool, f'tools[{i}]') for i, tool in enumerate(tools)]
    listed = json.dumps([tool.get('function') or tool for tool in tools], ensure_ascii=False)
    after = messages[:1] if messages[0]['role'] == 'system' else []
    return [*after, dict(role='system', name=PLUGIN, content=f'{listed}\n'), *messages[len(after):]]


def _checked(messages: list[dict]) -> list[dict]:
    """The messages, if there is something to learn in them and no text opens or closes a message of its own."""
    spoken = [message for message in messages if message['role'] == 'assistant']
    if not spoken:
        raise _Unfit('', 'a turn of the assistant')
    if not all(message['content'].strip() for message in spoken):
        raise _Unfit('', 'turns of the assistant that are not empty')
    if any(mark in message['content'] for message in messages for mark in ('<|im_start|>', '<|im_end|>')):
        raise _Unfit('', 'texts without <|im_start|> and <|im_end|>, which the chat format puts around them')
    return messages


# --- the formats ------------------------------------------------------------------------------------------------------
def _alpaca(row: Mapping) -> list[dict]:
    """{'instruction', 'input', 'output', optional 'system' and 'history': [[question, answer], …]}"""
    messages = _told(_text(row, 'system', optional=True))
    for i, pair in enumerate(row.get('history') or []):
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise _Unfit(f'history[{i}]', 'a question and an answer as texts')
        messages += [_said('user', pair[0]), _said('assistant', pair[1])]
    asked = [_text(row, 'instruction'), _text(row, 'input', optional=True)]
    return [*messages, _said('user', '\n'.join(filter(None, asked))), _said('assistant', _text(row, 'output'))]


SPEAKERS = dict(system='system', human='user', user='user', gpt='assistant', assistant='assistant',
                function_call='assistant', observation='environment', tool='environment')


def _sharegpt(row: Mapping) -> list[dict]:
    """{'conversations': [{'from', 'value'}], optional 'system' and 'tools'}"""
    messages = _told(_text(row, 'system', optional=True))
    for i, turn in enumerate(_list(row, 'conversations')):
        turn = _object(turn, where := f'conversations[{i}]')
        speaker, said = turn.get('from', turn.get('role')), turn.get('value', turn.get('content'))
        if not isinstance(speaker, str) or speaker not in SPEAKERS:
            raise _Unfit(f'{where}.from', f'one of {", ".join(SPEAKERS)}')
        if speaker == 'function_call':
            said = _call(_value(said, f'{where}.value'), f'{where}.value')
        content = _text(dict(value=said), 'value', f'{where}.')
        named = dict(name=PLUGIN) if SPEAKERS[speaker] == 'environment' else {}
        messages.append(dict(_said(SPEAKERS[speaker], content), **named))
    return _with_tools(messages, row)


ROLES = dict(system='system', developer='system', user='user', assistant='assistant', tool='environment',
             function='environment', environment='environment')


def _openai(row: Mapping) -> list[dict]:
    """{'messages': [{'role', 'content', optional 'name' and 'tool_calls'}], optional 'tools'}; `name` stays where it is
    the chat format's own."""
    messages = []
    for i, message in enumerate(_list(row, 'messages')):
        message = _object(message, where := f'messages[{i}]')
        role = message.get('role')
        if not isinstance(role, str) or role not in ROLES:
            raise _Unfit(f'{where}.role', f'one of {", ".join(ROLES)}')
        calls = message.get('tool_calls') or []
        if not isinstance(calls, list):
            raise _Unfit(f'{where}.tool_calls', 'a list')
        content = _content(message, where, optional=bool(calls))
        for j, wanted in enumerate(calls):
            field = f'{where}.tool_calls[{j}]'
            content += _call(_object(wanted, field).get('function'), f'{field}.function')
        name = PLUGIN if role in ('tool', 'function') else _text(message, 'name', f'{where}.', optional=True)
        messages.append(dict(_said(ROLES[role], content), **(dict(name=name) if name.startswith('<|') else {})))
    return _with_tools(messages, row)


def _content(message: Mapping, where: str, optional: bool) -> str:
    """A text, or a list of parts that are all texts."""
    parts = message.get('content')
    if not isinstance(parts, list):
        return _text(message, 'content', f'{where}.', optional)
    return ''.join(_text(_object(part, f'{where}.content[{i}]'), 'text', f'{where}.content[{i}].')
                   for i, part in enumerate(parts))


def _xtuner(row: Mapping) -> list[dict]:
    """{'conversation': [{optional 'system', 'input', 'output'}]}"""
    messages = []
    for i, turn in enumerate(_list(row, 'conversation')):
        turn = _object(turn, where := f'conversation[{i}]')
        if turn.get('output_with_loss') is False:
            raise _Unfit(f'{where}.output_with_loss', 'true: here all that the assistant says is learned')
        asked = _text(turn, 'input', f'{where}.')
        messages += _told(_text(turn, 'system', f'{where}.', optional=True))
        messages += [_said('user', asked)] * bool(asked) + [_said('assistant', _text(turn, 'output', f'{where}.'))]
    return messages


@dataclass(frozen=True)
class Format:
    """A form of rows: the field that tells it, an example, and what makes messages of a row."""
    field: str
    example: str
    read: Callable[[Mapping], list[dict]]


FORMATS = dict(
    openai=Format('messages', '{"messages": [{"role", "content"}, …]}', _openai),
    sharegpt=Format('conversations', '{"conversations": [{"from", "value"}, …]}', _sharegpt),
    xtuner=Format('conversation', '{"conversation": [{"system", "input", "output"}, …]}', _xtuner),
    alpaca=Format('instruction', '{"instruction", "input", "output"}', _alpaca))
FORMS = 'Give jsonl, a JSON array or parquet with rows such as ' + ' or '.join(
    f'{form.example} ({name})' for name, form in FORMATS.items()) + '.'
