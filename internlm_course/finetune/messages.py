"""Chat messages for XTuner: its `dataset_map_fn` hook, token by token as `model.chat.render` writes, loss on what the
assistant says.

XTuner's own openai_map_fn and templates know no names and no environment role, so a tool's result would be lost."""
from collections.abc import Mapping, Sequence

from internlm_course.model.chat import ROLES, render

KNOWN = ('role', 'content', 'name', 'tool_calls')


def to_conversation(example: Mapping) -> dict[str, list[dict]]:
    """One line of a messages file in the form that XTuner tokenises: per assistant turn, `input` has no loss, `output`
    has.

    XTuner puts `<s>` first, encodes input, output and separator one after another, and adds no end token of its own
    (need_eos_token False: the output ends in `<|im_end|>`). Messages after the last assistant turn teach nothing and
    are left out.

    Args:
        example: {'messages': [{'role', 'content', optional 'name'}]}, or {'text'}: a page of pre-training, replayed
            with loss on all of it (what XTuner calls an incremental pre-training dataset).
    """
    if text := example.get('text'):
        return dict(conversation=[dict(input='', output=text, output_with_loss=True, need_eos_token=True, sep='')])
    messages = example['messages']
    turns, done = [], 0
    for index, message in enumerate(messages):
        if message['role'] != 'assistant':
            continue
        opened = render(messages[:index], add_generation_prompt=True)
        closed = render(messages[:index + 1])
        output = closed[len(opened):]
        turns.append(dict(input=opened[done:], output=output.rstrip('\n'), output_with_loss=True, need_eos_token=False,
                          sep=output[len(output.rstrip('\n')):]))
        done = len(closed)
    return dict(conversation=turns)


def count_tokens(conversations: Sequence[Mapping], tokenizer, max_length: int) -> tuple[int, int]:
    """Tokens that XTuner will train on after cutting each conversation to `max_length`, and how many conversations it
    cuts."""
    texts = [''.join(turn['input'] + turn['output'] + turn['sep'] for turn in to_conversation(example)['conversation'])
             for example in conversations]
    lengths = [len(ids) + 1 for ids in tokenizer(texts, add_special_tokens=False)['input_ids']]
    return sum(min(length, max_length) for length in lengths), sum(length > max_length for length in lengths)


def is_message(message: object) -> bool:
    """Whether the chat format can write it: {'role', 'content', optional 'name' and 'tool_calls'}."""
    return (isinstance(message, dict) and message.get('role') in ROLES and isinstance(message.get('content'), str)
            and isinstance(message.get('name'), str | None) and _are_calls(message.get('tool_calls') or []))


def _are_calls(calls: object) -> bool:
    def is_call(call: object) -> bool:
        function = call.get('function') if isinstance(call, dict) else None
        return isinstance(function, dict) and isinstance(function.get('name'), str) and 'arguments' in function
    return isinstance(calls, list) and all(map(is_call, calls))


def known_fields(message: Mapping) -> dict:
    """The message without what the chat format does not know: XTuner's readers want fields of the same types in all."""
    return {key: value for key, value in message.items() if key in KNOWN}
