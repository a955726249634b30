"""InternLM2's chat format: roles, names, the plugin and interpreter forms. Source: InternLM/InternLM
chat/chat_format.md.

`render` is the Python twin of TEMPLATE, the jinja text that travels with every tokenizer and that LMDeploy and
transformers apply."""
from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

ROLES = ('system', 'user', 'assistant', 'environment')
STOP = ('</s>', '<|im_end|>')
generation_prompt = '<|im_start|>assistant\n'
PLUGIN, INTERPRETER = '<|plugin|>', '<|interpreter|>'
CALL = re.compile(r'<\|action_start\|>\s*<\|plugin\|>(.*?)(?:<\|action_end\|>|<\|im_end\|>|$)', re.S)

TEMPLATE = """\
{%- macro tools_message() -%}
{{- '<|im_start|>system name=<|plugin|>\\n[' }}
{%- for tool in tools %}{{ (tool.function if tool.function is defined else tool) | tojson }}\
{{ ', ' if not loop.last }}{% endfor -%}
{{- ']\\n<|im_end|>\\n' }}
{%- endmacro -%}
{{- bos_token -}}
{%- set after = 1 if messages and messages[0].role == 'system' and not messages[0].name else 0 -%}
{%- for message in messages -%}
{%- if tools and loop.index0 == after %}{{ tools_message() }}{% endif -%}
{%- set role = 'environment' if message.role == 'tool' else message.role -%}
{%- set name = '<|plugin|>' if message.role == 'tool' else message.name -%}
{%- set name = '<|' + name + '|>' if name in ['plugin', 'interpreter'] else name -%}
{{- '<|im_start|>' + role + (' name=' + name if name else '') + '\\n' + (message.content or '') -}}
{%- for call in message.tool_calls or [] -%}
{%- set parameters = call.function.arguments -%}
{{- '<|action_start|><|plugin|>\\n{"name": ' + call.function.name | tojson + ', "parameters": ' -}}
{{- (parameters if parameters is string else parameters | tojson) + '}<|action_end|>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if tools and messages | length <= after %}{{ tools_message() }}{% endif -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}
"""


def message(role: str, content: str, name: str | None = None) -> str:
    """One message: a header of role and optional name, the content, the end mark."""
    return f'<|im_start|>{role}{f" name={name}" if name else ""}\n{content}<|im_end|>\n'


def call(name: str, parameters: Mapping[str, Any]) -> str:
    """A plugin call, as it stands at the end of an assistant's content."""
    return f'<|action_start|>{PLUGIN}\n{_json({"name": name, "parameters": parameters})}<|action_end|>'


def code(source: str) -> str:
    """A piece of Python for the interpreter, as it stands at the end of an assistant's content."""
    return f'<|action_start|>{INTERPRETER}\n```python\n{source}\n```<|action_end|>'


def render(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None = None,
           add_generation_prompt: bool = False) -> str:
    """The text of a conversation, without the first `<s>`, which the tokenizer puts before any text.

    Args:
        messages: {'role', 'content', optional 'name'} each; role is system, user, assistant or environment. The OpenAI
            forms, role 'tool' and 'tool_calls' in an assistant's message, become the environment and call forms.
        tools: {'name', 'description', 'parameters'} each, or the same in OpenAI's {'type': 'function', 'function': …};
            they stand after a first system message.
        add_generation_prompt: open the assistant's turn at the end.
    """
    texts = [_render_message(item) for item in messages]
    if tools:
        listed = _json([tool.get('function', tool) for tool in tools])
        after = bool(messages) and messages[0]['role'] == 'system' and not messages[0].get('name')
        texts.insert(int(after), message('system', f'{listed}\n', PLUGIN))
    return ''.join(texts) + (generation_prompt if add_generation_prompt else '')


def parse_call(text: str) -> tuple[str, dict[str, Any]] | None:
    """The first plugin call in an assistant's text as (name, parameters); None when there is none or it is not
    well-formed JSON."""
    found = CALL.search(text)
    try:
        record = json.loads(found[1]) if found else None
    except (ValueError, RecursionError):  # the second of brackets within brackets, a thousand deep
        return None
    if not isinstance(record, dict) or not isinstance(record.get('name'), str):
        return None
    parameters = record.get('parameters', {})
    return (record['name'], parameters) if isinstance(parameters, dict) else None


TOOL_PROMPT = ('[{"name": "calculator", "description": "Computes + - * / ( ).", '
               '"parameters": [{"name": "expression", "type": "STRING"}]}]')
"""What an agent with the calculator is told: one line, because a small model reads some two characters a token."""


def agent_messages(question: str, expression: str, result: str, answer: str) -> list[dict[str, str]]:
    """One whole use of the calculator as messages: what fine-tuning teaches, and, letter by letter, what Lagent's
    served agent sees and says."""
    return [dict(role='system', name=PLUGIN, content=TOOL_PROMPT), dict(role='user', content=question),
            dict(role='assistant', content=call('calculator', dict(expression=expression))),
            dict(role='environment', name=PLUGIN, content=result), dict(role='assistant', content=answer)]


def _render_message(item: Mapping[str, Any]) -> str:
    role, name, content = item['role'], item.get('name'), item.get('content') or ''
    if role == 'tool':
        role, name = 'environment', PLUGIN
    elif name in ('plugin', 'interpreter'):
        name = f'<|{name}|>'
    for wanted in item.get('tool_calls') or []:
        function = wanted['function']
        arguments = function['arguments']
        parameters = arguments if isinstance(arguments, str) else _json(arguments)
        content += (f'<|action_start|>{PLUGIN}\n{{"name": {_json(function["name"])}, "parameters": {parameters}}}'
                    '<|action_end|>')
    return message(role, content, name)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
