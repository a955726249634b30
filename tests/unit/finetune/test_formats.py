"""Four forms of conversations become one; a broken row is named and costs no other; the loss mask is XTuner's own."""
import gzip
import json
import shutil
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from internlm_course.errors import CourseError
from internlm_course.finetune.formats import FORMATS, read
from internlm_course.finetune.mask import loss_mask
from internlm_course.finetune.messages import to_conversation
from internlm_course.finetune.train import read_conversations
from internlm_course.jsonl import write
from internlm_course.model import chat, train_tokenizer

FILES = Path(__file__).parent / 'formats'
PLUGIN = '<|plugin|>'


def user(content):
    return dict(role='user', content=content)


def assistant(content):
    return dict(role='assistant', content=content)


def system(content, **name):
    return dict(role='system', content=content, **name)


CALCULATION = [user('What is 123*456?'), assistant(chat.call('calculator', dict(expression='123*456'))),
               dict(role='environment', name=PLUGIN, content='56088'), assistant('56088')]
EXPECTED = dict(
    alpaca=([[user('Name the capital of France.'), assistant('Paris')],
             [user('翻译成英文。\n我住在东京。'), assistant('I live in Tokyo.')],
             [system('Be brief.'), user('Add 1 and 2.'), assistant('3'), user('Add the numbers.\n47, 38'),
              assistant('85')]],
            ['row 4, output: expected a text', 'row 5: expected a JSON object (']),
    sharegpt=([[user('你好'), assistant('你好！'), user('47+38等于多少？'), assistant('47+38=85')],
               [system('Use the tools.'),
                system('[{"name": "calculator", "description": "Computes.", "parameters": {}}]\n', name=PLUGIN),
                *CALCULATION]],
              ['row 3, conversations[1].from: expected one of system, human', 'row 4: expected a turn of the']),
    openai=([[system('Be brief.'), user('Who are you?'), assistant('InternLM2.')],
             [system('[{"name": "calculator", "description": "Computes."}]\n', name=PLUGIN), *CALCULATION]],
            ['row 3, messages[1].role: expected one of system', 'row 4, messages[0].content[0].text: expected a text',
             'row 5, messages: expected a list that is not empty', 'row 6: expected texts without <|im_start|>',
             'row 7: expected turns of the assistant that are not empty', 'row 8: expected a JSON object']),
    xtuner=([[system('You know countries.'), user('Name the capital of Japan.'), assistant('Tokyo'),
              user('And of Peru?'), assistant('Lima')], [assistant('Once there was a river.')]],
            ['row 3, conversation[0].output_with_loss: expected true', 'row 4, conversation[0].output: expected a']))


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory):
    texts = ['What is 123*456? Name the capital, 47+38, be brief. 你好，我住在东京。 calculator expression'] * 9
    return train_tokenizer(texts, 350, tmp_path_factory.mktemp('tokenizer'))


@pytest.mark.parametrize('name', FORMATS)
def test_a_file_of_each_format_is_recognised_and_its_broken_rows_are_named(name):
    [path] = FILES.glob(f'{name}.*')
    found = read(path)
    messages, skipped = EXPECTED[name]
    assert found.format == name and found == read(path, format=name)
    assert [row['messages'] for row in found.rows] == messages
    assert len(found.skipped) == len(skipped)
    assert all(str(broken).startswith(told) for broken, told in zip(found.skipped, skipped)), found.skipped


def test_a_summary_shows_five_broken_rows_and_counts_the_others():
    lines = str(read(FILES / 'openai.jsonl')).split('\n')
    assert lines[0] == '2 conversations (openai), 6 rows left out'
    assert len(lines) == 7 and lines[-1] == '  and 1 more' and lines[1].startswith('  row 3, messages[1].role')


@pytest.mark.parametrize('name', FORMATS)
def test_parquet_and_gzip_hold_the_same(name, tmp_path):
    """In a column of parquet every row has the fields of all, empty where it has none."""
    [path] = FILES.glob(f'{name}.*')
    found = read(path)
    (tmp_path / f'{path.name}.gz').write_bytes(gzip.compress(path.read_bytes()))
    assert read(tmp_path / f'{path.name}.gz') == found
    data = path.read_text('utf-8')
    rows = json.loads(data) if data.startswith('[') else [json.loads(line) for line in data.split('\n')[:3]]
    rows = [row for number, row in enumerate(rows, 1) if number not in {broken.row for broken in found.skipped}]
    rows = [dict.fromkeys(key for row in rows for key in row) | row for row in rows]
    if name == 'openai':
        rows[1]['messages'][0]['content'] = 'What is 123*456?'  # a column has one type
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / 'a.parquet')
    again = read(tmp_path / 'a.parquet')
    assert again.rows == found.rows and again.format == name and not again.skipped


@pytest.mark.parametrize('name', FORMATS)
def test_what_was_read_can_be_fine_tuned_on(name, tmp_path):
    [path] = FILES.glob(f'{name}.*')
    write(tmp_path / 'a.jsonl', read(path).rows)
    assert read_conversations(tmp_path / 'a.jsonl') == read(path).rows == read(tmp_path / 'a.jsonl').rows


@pytest.mark.parametrize('sign', ['\u2028', '\x85', '\ufeff'])
def test_a_line_ends_at_a_line_feed_alone(sign, tmp_path):
    row = json.dumps(dict(messages=[user('Say two lines.'), assistant(f'One.{sign}Two.')]), ensure_ascii=False)
    (tmp_path / 'a.jsonl').write_text(f'\ufeff{row}\n\n{row}\n', 'utf-8')
    found = read(tmp_path / 'a.jsonl')
    assert [row['messages'][1]['content'] for row in found.rows] == [f'One.{sign}Two.'] * 2 and not found.skipped


def test_half_of_a_surrogate_pair_can_be_written_again(tmp_path):
    (tmp_path / 'a.jsonl').write_text(r'{"instruction": "x \ud83d", "output": "y"}', 'utf-8')
    [row] = read(tmp_path / 'a.jsonl').rows
    assert row['messages'][0]['content'] == 'x \ufffd'


@pytest.mark.parametrize('row, told', [
    (b'\xff\xfe{}', 'expected a JSON object'), (b'{"messages": ' + b'[' * 10**5, 'expected a JSON object'),
    (b'null', 'expected a JSON object'), (b'{"text": "a"}', 'messages: expected a list'),
    (b'{"messages": [3, {"role": "assistant", "content": "x"}]}', 'messages[0]: expected a JSON object'),
    (b'{"messages": [{"role": ["user"], "content": "x"}]}', 'messages[0].role: expected one of'),
    (b'{"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "a", "arguments": "{"}}]}]}',
     'messages[0].tool_calls[0].function.arguments: expected JSON'),
    (b'{"messages": [{"role": "assistant", "content": "", "tool_calls": ["a"]}]}',
     'messages[0].tool_calls[0]: expected a JSON object'),
    (b'{"messages": [{"role": "assistant", "content": "x"}], "tools": "calculator"}', 'tools: expected JSON')])
def test_one_broken_row_stops_nothing(row, told, tmp_path):
    good = b'{"messages": [{"role": "assistant", "content": "x"}]}\n'
    (tmp_path / 'a.jsonl').write_bytes(good + row + b'\n' + good)
    found = read(tmp_path / 'a.jsonl')
    assert len(found.rows) == 2
    [broken] = found.skipped
    assert broken.row == 2 and told in str(broken)


@pytest.mark.parametrize('name, data, told', [
    ('a.jsonl', b'', 'holds no rows'), ('a.json', b'[]', 'holds no rows'), ('a.json', b'[{"messages"', 'JSON array'),
    ('a.jsonl', b'{"text": "a"}\n', 'the fields text'), ('a.csv', b'a,b\n1,2\n', 'none is a JSON object'),
    ('a.parquet', b'PAR1 and no more', 'cannot be read'), ('a.jsonl.gz', b'not packed', 'cannot be read'),
    ('a.jsonl', b'{"messages": []}\n{"messages": 1}\n', 'None of the 2 rows .*: row 1, messages: expected a list')])
def test_a_file_without_conversations_is_refused(name, data, told, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CourseError, match=told) as error:
        read(tmp_path / name)
    assert '\n' not in str(error.value)


def test_a_missing_file_and_an_unknown_format_are_named(tmp_path):
    with pytest.raises(CourseError, match='cannot be read'):
        read(tmp_path / 'a.jsonl')
    shutil.copy(FILES / 'alpaca.jsonl', tmp_path / 'a.jsonl')
    with pytest.raises(CourseError, match='no format "vicuna"'):
        read(tmp_path / 'a.jsonl', format='vicuna')
    with pytest.raises(CourseError, match='None of the 5 rows .* in the form "openai": row 1, messages'):
        read(tmp_path / 'a.jsonl', format='openai')


CONVERSATIONS = [messages for found, _ in EXPECTED.values() for messages in found]


@pytest.mark.parametrize('messages', CONVERSATIONS, ids=range(len(CONVERSATIONS)))
def test_the_loss_mask_is_xtuners_own(messages, tokenizer):
    xtuner = pytest.importorskip('xtuner.dataset.utils')
    encoded = xtuner.encode_fn(to_conversation(dict(messages=messages)), tokenizer, max_length=10_000)
    mask = loss_mask(messages, tokenizer)
    assert mask.ids == encoded['input_ids']
    assert [token if learned else -100 for token, learned in zip(mask.ids, mask.learned)] == encoded['labels']


def test_what_is_learned_can_be_seen(tokenizer):
    mask = loss_mask([system('Be <b>brief</b>.'), user('1+1?'), assistant('2')], tokenizer)
    assert str(mask) == ('<s><|im_start|>system\nBe <b>brief</b>.<|im_end|>\n<|im_start|>user\n1+1?<|im_end|>\n'
                         '<|im_start|>assistant\n⟦2<|im_end|>⟧\n')
    shown = mask._repr_html_()
    assert '<mark>2&lt;|im_end|&gt;</mark>' in shown and '&lt;b&gt;brief' in shown
