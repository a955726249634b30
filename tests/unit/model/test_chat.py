"""The chat format: the worked forms of InternLM's chat_format.md, the jinja template, and XTuner's own template."""
import ast
import importlib.util
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from internlm_course.model import chat, train_tokenizer

TOOL = {'name': 'calculator', 'description': '计算',
        'parameters': {'type': 'object', 'properties': {'expression': {'type': 'string'}}}}
OPENAI_TOOL = {'type': 'function', 'function': TOOL}


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory):
    return train_tokenizer(['a b 计算 1 + 2'], 400, tmp_path_factory.mktemp('tokenizer'))


def jinja(tokenizer, messages, tools=None, add_generation_prompt=False) -> str:
    text = tokenizer.apply_chat_template(messages, tools=tools, add_generation_prompt=add_generation_prompt,
                                         tokenize=False)
    assert text.startswith('<s>')
    return text.removeprefix('<s>')


def test_a_tool_conversation_has_the_official_form(tokenizer):
    messages = [
        {'role': 'system', 'content': 'Be brief.'},
        {'role': 'user', 'content': '12*34?'},
        {'role': 'assistant', 'content': 'Let me see.' + chat.call('calculator', {'expression': '12*34'})},
        {'role': 'environment', 'name': '<|plugin|>', 'content': '{"result": 408}'}]
    text = chat.render(messages, [TOOL], add_generation_prompt=True)
    assert text == (
        '<|im_start|>system\nBe brief.<|im_end|>\n'
        f'<|im_start|>system name=<|plugin|>\n[{json.dumps(TOOL, ensure_ascii=False)}]\n<|im_end|>\n'
        '<|im_start|>user\n12*34?<|im_end|>\n'
        '<|im_start|>assistant\nLet me see.<|action_start|><|plugin|>\n'
        '{"name": "calculator", "parameters": {"expression": "12*34"}}<|action_end|><|im_end|>\n'
        '<|im_start|>environment name=<|plugin|>\n{"result": 408}<|im_end|>\n'
        '<|im_start|>assistant\n')
    assert jinja(tokenizer, messages, [TOOL], True) == text == chat.render(messages, [OPENAI_TOOL], True)


def test_the_interpreter_form():
    assert chat.render([{'role': 'assistant', 'content': chat.code('print(1)')}]) == (
        '<|im_start|>assistant\n<|action_start|><|interpreter|>\n```python\nprint(1)\n```<|action_end|><|im_end|>\n')


@pytest.mark.parametrize('arguments', [{'expression': '1+"二"'}, '{"expression": "1+1"}'])
def test_openai_tool_messages_become_the_call_and_environment_forms(tokenizer, arguments):
    messages = [{'role': 'user', 'content': 'go'},
                {'role': 'assistant', 'content': None,
                 'tool_calls': [{'function': {'name': 'calculator', 'arguments': arguments}}]},
                {'role': 'tool', 'content': '2'}]
    text = chat.render(messages)
    assert '<|im_start|>environment name=<|plugin|>\n2<|im_end|>\n' in text
    wanted = json.loads(arguments) if isinstance(arguments, str) else arguments
    assert chat.parse_call(text) == ('calculator', wanted)
    assert jinja(tokenizer, messages) == text


MESSAGES = st.lists(st.fixed_dictionaries(
    {'role': st.sampled_from(['system', 'user', 'assistant', 'environment', 'tool']), 'content': st.text(max_size=8)},
    optional={'name': st.sampled_from(['plugin', '<|interpreter|>', 'expert'])}), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None)
@given(messages=MESSAGES, tools=st.sampled_from([None, [TOOL], [OPENAI_TOOL, TOOL]]), opened=st.booleans())
def test_render_equals_the_jinja_template(tokenizer, messages, tools, opened):
    assert jinja(tokenizer, messages, tools, opened) == chat.render(messages, tools, opened)


def test_xtuners_template_gives_the_same_text():
    """xtuner/utils/templates.py is read as text: importing xtuner takes 18 s."""
    source = (Path(importlib.util.find_spec('xtuner').origin).parent / 'utils/templates.py').read_text()
    call = next(node for node in ast.walk(ast.parse(source))
                if isinstance(node, ast.keyword) and node.arg == 'internlm2_chat').value
    template = {item.arg: ast.literal_eval(item.value) for item in call.keywords}
    text = (template['SYSTEM'].format(system='S') + template['INSTRUCTION'].format(input='U') + 'A' + template['SUFFIX']
            + template['SEP'])
    messages = [{'role': role, 'content': content}
                for role, content in (('system', 'S'), ('user', 'U'), ('assistant', 'A'))]
    assert chat.render(messages) == text
    assert set(template['STOP_WORDS']) <= set(chat.STOP)


@settings(max_examples=100, deadline=None)
@given(name=st.text(min_size=1, max_size=8), before=st.sampled_from(['', '先想想。\n']), parameters=st.dictionaries(
    st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=8), st.booleans(), st.none()), max_size=3))
def test_a_call_is_parsed_back(name, parameters, before):
    text = chat.call(name, parameters)
    if '<|' not in json.dumps([name, parameters], ensure_ascii=False):
        assert chat.parse_call(before + text) == (name, parameters)
        # Servers stop before it
        assert chat.parse_call(before + text.removesuffix('<|action_end|>')) == (name, parameters)


@pytest.mark.parametrize('text', ['', 'no call', '<|action_start|><|interpreter|>\n1<|action_end|>',
                                  '<|action_start|><|plugin|>\n{"name": ',
                                  '<|action_start|><|plugin|>\n[1]<|action_end|>',
                                  '<|action_start|><|plugin|>\n{"name": 1}<|action_end|>',
                                  '<|action_start|><|plugin|>\n{"name": "f", "parameters": 3}<|action_end|>'])
def test_what_is_no_call_is_none(text):
    assert chat.parse_call(text) is None


def test_a_call_of_brackets_without_end_is_none():
    assert chat.parse_call('<|action_start|><|plugin|>\n' + '[' * 100_000 + '<|action_end|>') is None
