"""The one jsonl reader: valid JSON is read, whatever signs it holds; what is none is one sentence that names the
row."""
import gzip
import json

import pytest

from internlm_course.data.contamination import read_items as read_search_items
from internlm_course.data.pipeline import build_corpus
from internlm_course.data.quality import LABELS, read_labels
from internlm_course.deploy.quantize import read_texts
from internlm_course.errors import CourseError
from internlm_course.evaluate.suites import read_items
from internlm_course.finetune.train import read_conversations
from internlm_course.jsonl import numbered, rows, whole, write

SIGNS = 'one\u2028two\u2029three\u0085four\x0bfive\x0csix\x1cseven\r\n eight \U0001f600'
WRITTEN = [json.dumps(SIGNS, ensure_ascii=False), json.dumps(SIGNS)]


def conversation(text: str) -> str:
    return f'{{"messages": [{{"role": "user", "content": {text}}}, {{"role": "assistant", "content": "Yes."}}]}}'


@pytest.mark.parametrize('start, end', [('', '\n'), ('\ufeff', '\r\n'), ('\n\ufeff\r\n', '\n\n'), ('', '')])
@pytest.mark.parametrize('text', WRITTEN)
def test_every_sign_inside_a_text_is_read(tmp_path, start, end, text):
    """Signs at which str.splitlines ends a line; byte order marks, also inside joined files; blank lines."""
    path = tmp_path / 'a.jsonl'
    path.write_bytes(f'{start}{{"a": {text}}}{end}'.encode() + (f'\ufeff{{"a": {text}}}{end}'.encode() if end else b''))
    assert [row['a'] for row in rows(path)] == [SIGNS] * (2 if end else 1)
    (tmp_path / 'b.jsonl.gz').write_bytes(gzip.compress(path.read_bytes()))
    assert list(numbered(tmp_path / 'b.jsonl.gz')) == list(numbered(path))


def test_what_is_written_is_read_again_and_can_be_read_by_people(tmp_path):
    written = [dict(text=SIGNS), dict(text='书生', spans=[['id', 1, 2]])]
    write(tmp_path / 'a.jsonl', iter(written))
    assert list(rows(tmp_path / 'a.jsonl')) == written and '书生' in (tmp_path / 'a.jsonl').read_text('utf-8')


@pytest.mark.parametrize('text', WRITTEN)
def test_every_reader_of_the_course_is_that_one(tmp_path, text):
    path = tmp_path / 'items' / 'suite.jsonl'
    path.parent.mkdir()

    def read(reader, line: str, where=path):
        path.write_bytes(f'\ufeff{line}\n'.encode())
        return reader(where)
    assert read(read_conversations, conversation(text))[0]['messages'][0]['content'] == SIGNS
    assert read(read_texts, f'{{"text": {text}}}') == [SIGNS]
    labelled = '\n'.join(f'{{"text": {text}, "label": "{label}"}}' for label in LABELS)
    assert read(read_labels, labelled)[0] == [SIGNS] * len(LABELS)
    item = f'{{"id": 7, "dimension": "code", "suite": "suite", "prompt": {text}, "question": {text}, "answer": "a"}}'
    assert read(read_items, item, path.parent)['suite'][0]['question'] == SIGNS
    assert read(read_search_items, item, path.parent)[0]['prompt'] == SIGNS


def test_half_of_a_surrogate_pair_becomes_a_sign_that_can_be_written(tmp_path):
    written = rb'{"a": "x \ud83d", "\uDE00": ["\ud83d\ude00 \\ud83d"], "deep": {"b": "\ude00"}}'
    (tmp_path / 'a.jsonl').write_bytes(written)
    [row] = rows(tmp_path / 'a.jsonl')
    assert row == {'a': 'x \ufffd', '\ufffd': ['\U0001f600 \\ud83d'], 'deep': {'b': '\ufffd'}}
    assert whole('\ud83d\ude00\ude00') == '\U0001f600\ufffd'


@pytest.mark.parametrize('bad', [b'{', b'[1]', b'"text"', b'{"text": "\xff"}', b'{"text": 1}', b'{"a": ' + b'[' * 10**5,
                                 b'{"text": "a"} {"text": "b"}'])
def test_a_broken_row_is_named(tmp_path, bad):
    path = tmp_path / 'a.jsonl'
    path.write_bytes(b'{"text": "good"}\n\n' + bad + b'\n')
    with pytest.raises(CourseError, match=r'Line 3 of .*a\.jsonl') as error:
        list(rows(path, texts=('text',)))
    assert '\n' not in str(error.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / 'a.jsonl.gz').write_bytes(gzip.compress(b'{"text": "good"}\n' * 99)[:-9])
    (tmp_path / 'b.jsonl.gz').write_bytes(b'{"text": "not packed"}\n')
    (tmp_path / 'd.jsonl').mkdir()
    for name in ('a.jsonl.gz', 'b.jsonl.gz', 'c.jsonl', 'd.jsonl'):
        with pytest.raises(CourseError, match=f'{name}.* cannot be read'):
            list(rows(tmp_path / name))


@pytest.mark.parametrize('message', [
    '{"role": "user"}', '{"role": ["user"], "content": "x"}', '{"role": "user", "content": null}', '[]', 'null',
    '{"role": "user", "content": "x", "name": 1}', '{"role": "user", "content": "x", "tool_calls": [1]}'])
def test_a_line_that_is_no_conversation_is_named(tmp_path, message):
    bad = f'{{"messages": [{message}, {{"role": "assistant", "content": "x"}}]}}'
    (tmp_path / 'a.jsonl').write_text(f'{conversation(WRITTEN[0])}\n{bad}\n', 'utf-8')
    with pytest.raises(CourseError, match='Line 2 of .* is not a conversation'):
        read_conversations(tmp_path / 'a.jsonl')


def test_an_item_whose_reply_or_choices_cannot_be_used_is_named(tmp_path):
    item = dict(id='i', dimension='code', suite='s', prompt='p', question='q', answer='a')
    for wrong in (dict(reply=1), dict(choices=4), dict(answer=None), dict(prompt=['p'])):
        (tmp_path / 's.jsonl').write_text(json.dumps(item | wrong), 'utf-8')
        with pytest.raises(CourseError, match='s.jsonl'):
            read_items(tmp_path)


@pytest.mark.parametrize('name, good', [
    ('labels.jsonl', '{"text": "a", "label": "clean"}'), ('items/s.jsonl', '{"prompt": "a", "answer": "b"}')])
def test_a_broken_label_or_item_stops_a_pipeline_before_it_starts(tmp_path, name, good):
    (tmp_path / 'items').mkdir()
    (tmp_path / 'a.warc.gz').touch()  # what is read where labels and items stand beside it
    (tmp_path / name).write_text(f'{good}\n{{"text": 1, "prompt": 2}}\n', 'utf-8')
    with pytest.raises(CourseError, match=f'Line 2 of .*{name}'):
        build_corpus(tmp_path, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
