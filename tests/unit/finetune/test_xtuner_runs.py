"""What is read back of XTuner's run: one curve of a run that was killed and went on, answers without their
questions."""
import json

from internlm_course.finetune.run import log_rows, read_samples
from internlm_course.process import run_tool


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, 'utf-8')


def line(step, loss):
    return json.dumps(dict(loss=loss, time=0.1, iter=step, step=step)) + '\n'


def test_the_log_of_a_killed_run_is_one_curve(tmp_path):
    """The second start went on from step 20; the first was killed in the middle of a line."""
    assert log_rows(tmp_path) == []
    write(tmp_path / '20260101_000000' / 'vis_data' / 'scalars.json', line(10, 3.0) + line(20, 2.0) + line(30, 1.9)[:9])
    assert [(row['step'], row['loss']) for row in log_rows(tmp_path)] == [(10, 3.0), (20, 2.0)]
    write(tmp_path / '20260101_000100' / 'vis_data' / 'scalars.json', '{"lr": 1}\n' + line(30, 1.5) + line(40, 1.0))
    assert [row['step'] for row in log_rows(tmp_path)] == [10, 20, 30, 40]


def test_samples_are_answers_alone(tmp_path):
    """As EvaluateChatHook writes them, named by the iteration that has not been counted yet."""
    def talk(number, question, answer):
        return (f'Eval output {number}:\n<s><|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n'
                f'{answer}<|im_end|>\n\n\n')
    folder = tmp_path / '20260101_000000' / 'vis_data'
    write(folder / 'eval_outputs_iter_19.txt', talk(1, '1+1?', '2') + talk(2, 'Eval output 1:', 'two\nlines'))
    cut = talk(2, 'b', '<s>').removesuffix('<|im_end|>\n\n\n')
    write(folder / 'eval_outputs_iter_9.txt', talk(1, '1+1?', '') + cut)
    assert list(read_samples(tmp_path, 2)) == [dict(step=5, answers=['', '<s>']),
                                               dict(step=10, answers=['2', 'two\nlines'])]


def test_a_tool_is_watched_while_it_runs(tmp_path):
    """The last call sees all that it wrote."""
    seen = []
    run_tool('this', [], tmp_path / 'log', tmp_path,
             watch=lambda: seen.append((tmp_path / 'log').read_text('utf-8').count('\n')))
    assert len(seen) > 1 and seen[-1] > 20
