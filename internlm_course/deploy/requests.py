"""What the body of a request must be before LMDeploy's engine sees it, and the sentence that says so where it is not.

LMDeploy 0.15 checks little before its engine's loop does the work, where an invalid schema, a token id outside the
vocabulary or a temperature of 1e-40 raises and ends the loop for every client; and it accepts fields that it then
ignores. So a request is honoured here, or refused with status 400. `null` means absent, as in OpenAI's API. Nothing
here imports LMDeploy.
"""
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MAX_BYTES = 8 << 20     # of a body
# Of a body's lists and objects; xgrammar needs a minute for a schema of 600 levels, 0.2 s for one of 64
MAX_DEPTH = 64
MAX_REGEX = 500         # characters: `a?` written 900 times keeps xgrammar's compiler busy for minutes
MAX_SCHEMA = 20_000     # characters of a schema as JSON
GREEDY_BELOW = 0.01     # a softmax this sharp has one token left, and dividing the logits by less overflows

CHAT, COMPLETIONS, GENERATE = '/v1/chat/completions', '/v1/completions', '/generate'
# Inside these a null is a value (`enum: [null]`, `const: null`)
AS_THEY_ARE = ('schema', 'parameters', 'input_schema', 'arguments')
HARMLESS = {'metadata', 'model', 'prompt_cache_key', 'prompt_cache_retention', 'safety_identifier', 'service_tier',
            'store', 'user'}

_ONE_CHOICE = 'the server makes one choice a request: send it several times, each with its own seed'
_PENALTY = 'the engine knows only repetition_penalty'
_ONLY_TEXT = 'the model reads text only'
NOT_HONOURED = {  # field: (the value that asks for nothing, why nothing else is taken)
    'n': (1, _ONE_CHOICE), 'best_of': (1, _ONE_CHOICE),
    'presence_penalty': (0, _PENALTY), 'frequency_penalty': (0, _PENALTY),
    'echo': (False, 'the prompt is not repeated in the answer'),
    'suffix': ('', 'the model writes on from a prompt, not into a gap'),
    'image_data': ('', _ONLY_TEXT), 'media_io_kwargs': ({}, _ONLY_TEXT), 'mm_processor_kwargs': ({}, _ONLY_TEXT),
}
RANGES = {  # field: (least, most); None is without end
    'temperature': (0, 2), 'top_p': (0, 1), 'min_p': (0, 1), 'top_k': (0, None), 'repetition_penalty': (0.01, 100),
    'max_tokens': (1, None), 'max_completion_tokens': (1, None), 'max_output_tokens': (1, None),
    'min_new_tokens': (0, None),
    'repetition_ngram_size': (0, None), 'repetition_ngram_threshold': (0, None), 'top_logprobs': (0, 20),
    'session_id': (-1, None),
}
LENGTHS = ('max_tokens', 'max_completion_tokens', 'max_output_tokens', 'min_new_tokens', 'repetition_ngram_size',
           'repetition_ngram_threshold')


class BadRequest(ValueError):
    """A request that is answered with status 400 and this one sentence."""


@dataclass(frozen=True)
class Limits:
    """What the served model can take.

    Attributes:
        context: tokens of a prompt and its answer.
        vocabulary: token ids are below this.
        fields: the fields that LMDeploy reads, per path.
        compile: (kind, schema or regex) raises an exception when no grammar can be made of it.
    """
    context: int
    vocabulary: int
    fields: dict[str, set[str]]
    compile: Callable[[str, Any], None]


def read_body(raw: bytes) -> dict:
    """The JSON object in a body, without the fields that are null.

    Raises:
        BadRequest: no JSON, no object, NaN or a number beyond 64 bits, half of a surrogate pair, or too deep.
    """
    try:
        body = json.loads(raw, parse_constant=_no_number, parse_float=_finite, parse_int=_within_64_bits)
    except BadRequest:
        raise
    except (ValueError, RecursionError) as error:
        raise BadRequest(f'The body is not JSON: {error}.') from error
    if not isinstance(body, dict):
        raise BadRequest('The body must be a JSON object.')
    return _without_nulls(body)


def write_body(body: dict) -> bytes:
    """
    Raises:
        BadRequest: a text holds half of a surrogate pair, which is no character.
    """
    try:
        return json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise BadRequest(
            'A text holds half of a surrogate pair (\\ud800 to \\udfff alone), which is no character.') from error


def _no_number(text: str):
    raise BadRequest(f'{text} is no number in JSON.')


def _finite(text: str) -> float:
    value = float(text)
    if value in (float('inf'), float('-inf')):
        raise BadRequest(f'The number {text[:24]} is too large.')
    return value


def _within_64_bits(text: str) -> int:
    if len(text) > 20 or not -2 ** 63 <= int(text) < 2 ** 63:
        raise BadRequest(f'The number {text[:24]} is too large.')
    return int(text)


def _without_nulls(value, depth: int = 0, keep: bool = False):
    if depth > MAX_DEPTH:
        raise BadRequest(f'The body is nested deeper than {MAX_DEPTH} levels.')
    if isinstance(value, list):
        return [_without_nulls(item, depth + 1, keep) for item in value]
    if isinstance(value, dict):
        return {key: _without_nulls(item, depth + 1, keep or key in AS_THEY_ARE)
                for key, item in value.items() if keep or item is not None}
    return value


def prepare(path: str, body: dict, limits: Limits) -> dict:
    """The body as the engine may have it: every field honoured, sharp temperatures greedy, lengths within the context.

    Args:
        path: of the endpoint.
        body: as `read_body` gives it; changed in place.

    Raises:
        BadRequest: a field that cannot be honoured.
    """
    _read_lagent(body)
    _check_fields(path, body, limits)
    for field, (least, most) in RANGES.items():
        if field in body:
            _check_number(field, body[field], least, most)
    _check_tokens(path, body, limits)
    _check_messages(path, body)
    if body.get('temperature', 1) < GREEDY_BELOW:
        body['temperature'] = 0
    if body.get('top_k', 0) >= limits.vocabulary:
        body['top_k'] = 0  # all of them; more than there are raises
    for field in LENGTHS:
        if field in body:
            body[field] = min(body[field], limits.context)
    if isinstance(body.get('stop'), str):
        body['stop'] = [body['stop']]  # LMDeploy's chat would stop at each of its letters
    return body


def _read_lagent(body: dict) -> None:
    """Lagent's GPTAPI sends its repetition_penalty under the name frequency_penalty, always; it sends n and top_k
    beside it, as OpenAI's clients never do."""
    if ({'n', 'top_k'} <= body.keys() and body.get('frequency_penalty', 0) != 0
        and not {'presence_penalty', 'repetition_penalty'} & body.keys()):
        body['repetition_penalty'] = body.pop('frequency_penalty')


def _check_fields(path: str, body: dict, limits: Limits) -> None:
    for field, (nothing, reason) in NOT_HONOURED.items():
        if body.pop(field, nothing) != nothing:
            raise BadRequest(f'{field} cannot be honoured: {reason}.')
    if path == COMPLETIONS and body.pop('logprobs', False) is not False:
        raise BadRequest('logprobs cannot be honoured for completions: ask for them in a chat.')
    choice = body.get('tool_choice', 'auto')
    mode = choice.get('type') if isinstance(choice, dict) else choice
    allowed = choice.get('allowed_tools') if mode == 'allowed_tools' else None
    if mode not in ('auto', 'none') and not (isinstance(allowed, dict) and allowed.get('mode') == 'auto'):
        raise BadRequest('tool_choice cannot be honoured: the model cannot be made to call a tool, so only auto and '
                         'none are taken.')
    unknown = [field for field, value in body.items()
               if field not in limits.fields[path] and field not in HARMLESS and value not in (False, '', [], {})]
    if unknown:
        raise BadRequest(f'{path} knows no field {", ".join(repr(field[:40]) for field in unknown[:5])}, and would '
                         'ignore it.')


def _check_number(field: str, value, least: float, most: float | None) -> None:
    if (isinstance(value, bool) or not isinstance(value, int | float) or value < least or most is not None
        and value > most):
        span = f'of {least} or more' if most is None else f'from {least} to {most}'
        raise BadRequest(f'{field} is {_short(value)}, and must be a number {span}.')


def _short(value) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:60] + '…'


def _check_tokens(path: str, body: dict, limits: Limits) -> None:
    lists = [body[field] for field in ('input_ids', 'input') if isinstance(body.get(field), list)]
    if path == COMPLETIONS and isinstance(body.get('prompt'), list):
        prompt = body['prompt']
        if prompt and all(_is_id(item) for item in prompt):
            prompt = body['prompt'] = [prompt]
        for item in prompt:
            if not isinstance(item, str | list) or isinstance(item, list) and not all(_is_id(token) for token in item):
                raise BadRequest('The prompt must be a text, a list of token ids, or a list of either.')
        lists += prompt
    for ids in lists:
        wrong = ([token for token in ids if _is_id(token) and not 0 <= token < limits.vocabulary]
                 if isinstance(ids, list) else [])
        if wrong:
            raise BadRequest(f'The token id {wrong[0]} is outside the vocabulary of {limits.vocabulary}.')


def _is_id(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_messages(path: str, body: dict) -> None:
    """A chat's contents are texts, or parts of type text: LMDeploy leaves out every other part without a word."""
    messages = body.get('messages') if path == CHAT else None
    for message in messages if isinstance(messages, list) else []:
        content = message.get('content', '') if isinstance(message, dict) else ''
        parts = content if isinstance(content, list) else [{'type': 'text', 'text': content}]
        for part in parts:
            if not isinstance(part, dict) or part.get('type') != 'text' or not isinstance(part.get('text'), str):
                raise BadRequest('The content of a message must be a text, or parts of type text: the model reads '
                                 'nothing else.')


def grammar(body: dict) -> tuple[str, Any] | None:
    """(kind, schema or regex) that an answer is to follow, if one is asked for.

    Raises:
        BadRequest: no grammar of a known type and moderate size, or one that other fields contradict.
    """
    text = body.get('text')
    wanted = body.get('response_format', text.get('format') if isinstance(text, dict) else None)
    if wanted is None:
        return None
    kind = wanted.get('type', 'text' if text else None) if isinstance(wanted, dict) else None
    if kind not in ('text', 'json_object', 'json_schema', 'regex_schema'):
        raise BadRequest(f'response_format.type is {_short(kind)}, and must be text, json_object, json_schema or '
                         'regex_schema.')
    if kind != 'text' and (body.get('ignore_eos') or body.get('min_new_tokens')):
        raise BadRequest('ignore_eos and min_new_tokens contradict a response_format: the answer ends where the format '
                         'does.')
    if kind == 'regex_schema':
        regex = wanted.get('regex_schema')
        if not isinstance(regex, str):
            raise BadRequest('response_format.regex_schema must be a regular expression.')
        _check_regex(regex)
        return kind, regex
    if kind == 'json_schema':
        holder = wanted if 'schema' in wanted else wanted.get('json_schema')
        schema = holder.get('schema') if isinstance(holder, dict) else None
        if not isinstance(schema, dict):
            raise BadRequest('response_format.json_schema.schema must be a JSON schema, which is an object.')
        if len(json.dumps(schema)) > MAX_SCHEMA:
            raise BadRequest(f'The JSON schema has more than {MAX_SCHEMA} characters.')
        _check_patterns(schema)
        return kind, schema
    return (kind, {'type': 'object', 'additionalProperties': True}) if kind == 'json_object' else None


def _check_regex(regex: str) -> None:
    if len(regex) > MAX_REGEX:
        raise BadRequest(f'A regular expression has more than {MAX_REGEX} characters.')


def _check_patterns(schema) -> None:
    if isinstance(schema, list):
        for item in schema:
            _check_patterns(item)
    elif isinstance(schema, dict):
        for key, item in schema.items():
            if key == 'pattern' and isinstance(item, str):
                _check_regex(item)
            if key == 'patternProperties' and isinstance(item, dict):
                for regex in item:
                    _check_regex(regex)
            _check_patterns(item)


def check_grammar(wanted: tuple[str, Any], limits: Limits) -> None:
    """
    Raises:
        BadRequest: xgrammar, with which LMDeploy guides an answer, can make nothing of the schema or the regular
            expression.
    """
    kind, source = wanted
    try:
        limits.compile(kind, source)
    except (RuntimeError, ValueError, TypeError) as error:
        reason = str(error).strip().rsplit(': ', 1)[-1] if isinstance(error, RuntimeError) else str(error)
        raise BadRequest(f'No answer can follow the response_format of type {kind}: {reason.rstrip(".")}.') from error
