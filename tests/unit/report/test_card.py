"""The card's numbers: what is put together from the files of a run."""
import json

from internlm_course.names import SUITES
from internlm_course.report.card import model_numbers, samples_of
from internlm_course.store import Artifact


def test_a_sample_has_its_answer_and_each_models_mark(tmp_path):
    def rows(path, make):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(''.join(json.dumps(make(i)) + '\n' for i in range(7)), 'utf-8')
    for suite in SUITES:
        rows(tmp_path / 'items' / f'{suite}.jsonl', lambda i: dict(question=f'{i}?', answer=f'{i}'))
        for name in ('base', 'sft'):
            rows(tmp_path / 'predictions' / name / f'{suite}.jsonl',
                 lambda i, name=name: dict(prediction=f'{name} {i}', correct=name == 'sft'))
    samples = samples_of(tmp_path / 'items', tmp_path / 'predictions')
    assert len(samples) == 7
    assert samples[3] == dict(question='3?', answer='3', base='base 3', sft='sft 3',
                              correct=dict(base=False, sft=True))


def test_a_models_bytes_are_those_of_its_weights(tmp_path):
    for name, size in (('model.safetensors', 5), ('pytorch_model.bin', 7), ('config.json', 11)):
        (tmp_path / name).write_bytes(b'0' * size)
    model = Artifact('int4', 'key', tmp_path, 1.0, 1, dict(linear_bytes_after=3), False)
    numbers = model_numbers(model, {}, {}, 9.5)
    assert (numbers['bytes'], numbers['linear_bytes'], numbers['bits_per_byte']) == (12, 3, None)
    assert numbers['decode_tokens_per_second'] == 9.5
