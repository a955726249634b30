"""Preference pairs: XTuner's own tokens are the chat format's, the count of packs is XTuner's, wrong pairs are
named."""
import json

import pytest

from internlm_course.errors import CourseError
from internlm_course.finetune import preference
from internlm_course.finetune.compared import compare_tokens
from internlm_course.finetune.preference import (
    DPOSettings,
    RewardSettings,
    count_packs,
    dpo,
    read_pairs,
    reward,
)
from internlm_course.model import chat, train_tokenizer
from internlm_course.model.tokenizer import REWARD


def pair(number):
    prompt = [dict(role='user', content=f'What is {number} + 1?' + ' please' * (number % 5))]
    if number % 2:
        prompt = [dict(role='system', content='Be brief.'), *prompt]
    if number % 3 == 0:
        prompt += [dict(role='assistant', content='你好'), dict(role='environment', name='<|plugin|>', content='42')]
    return dict(prompt=prompt, chosen=[dict(role='assistant', content=str(number + 1))],
                rejected=[dict(role='assistant', content='I\ndo not know.' * (1 + number % 4))])


PAIRS = [pair(number) for number in range(60)]


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory):
    texts = ['What is 12*34? Please be brief. 你好 I do not know'] * 9
    return train_tokenizer(texts, 330, tmp_path_factory.mktemp('tokenizer'))


@pytest.mark.parametrize('is_reward', [True, False])
@pytest.mark.parametrize('number', range(6))
def test_xtuner_writes_pairs_as_the_chat_format_does(number, is_reward, tokenizer):
    """And learns from the answers alone, in DPO, and from the last token alone, in a reward model."""
    xtuner = pytest.importorskip('xtuner.dataset.preference_dataset')
    token = tokenizer.convert_tokens_to_ids(REWARD)
    made = xtuner.tokenize(PAIRS[number], tokenizer, 1000, is_reward, token)
    opened = tokenizer.encode(chat.render(PAIRS[number]['prompt'], add_generation_prompt=True))
    for place, answer in enumerate(('chosen', 'rejected')):
        ids = tokenizer.encode(chat.render(PAIRS[number]['prompt'] + PAIRS[number][answer]))
        assert ids[:len(opened)] == opened
        labels = [-100] * len(opened) + ids[len(opened):]
        if is_reward:
            labels = [-100] * len(ids) + [place]
            ids = [*ids, token]
        assert made[f'{answer}_ids'] == ids and made[f'{answer}_labels'] == labels


@pytest.mark.parametrize('is_reward', [True, False])
@pytest.mark.parametrize('max_length, room', [(64, 130), (64, 300), (100, 202), (1000, 2048)])
def test_packs_are_counted_as_xtuner_packs(max_length, room, is_reward, tokenizer):
    xtuner = pytest.importorskip('xtuner.dataset.preference_dataset')
    token = tokenizer.convert_tokens_to_ids(REWARD)
    made, whole = ([xtuner.tokenize(row, tokenizer, length, is_reward, token) for row in PAIRS]
                   for length in (max_length, 10_000))
    packed = xtuner.PackedDatasetWrapper(made, room, shuffle_before_pack=False)
    cut = sum(small != full for small, full in zip(made, whole))
    settings = RewardSettings(max_length=max_length, packed_length=room)
    assert count_packs(PAIRS, tokenizer, settings, int(is_reward)) == (len(packed), cut)
    assert sum(len(packed[i]['cumulative_len']) // 2 for i in range(len(packed))) == len(PAIRS)
    assert (cut > 0) is (max_length < 1000)


def test_tokens_are_compared_from_the_first_difference_on():
    """Of replies of seven and eight tokens, end tokens (9) included, that part at the third: positions 2 to 5, then the
    ends; as many of each, for XTuner's loss pairs them in order."""
    pair = dict(chosen_ids=[1, 2, 3, 4, 5, 6, 9], rejected_ids=[1, 2, 7, 4, 5, 6, 8, 9],
                chosen_labels=[-100] * 6 + [0], rejected_labels=[-100] * 7 + [1])
    compare_tokens(pair)
    assert pair['chosen_labels'] == [-100, -100, 0, 0, 0, 0, 0]
    assert pair['rejected_labels'] == [-100, -100, 1, 1, 1, 1, -100, 1]
    same = dict(chosen_ids=[1, 9], rejected_ids=[1, 9], chosen_labels=[-100, 0], rejected_labels=[-100, 1])
    compare_tokens(same)
    assert same['chosen_labels'] == [-100, 0] and same['rejected_labels'] == [-100, 1]


@pytest.mark.parametrize('settings, message', [
    (RewardSettings(compared='words'), "no compared 'words'"),
    (RewardSettings(loss='hinge'), "no loss 'hinge'"), (RewardSettings(penalty='log'), "no penalty 'log'"),
    (DPOSettings(loss='focal'), "no loss 'focal'"), (DPOSettings(beta=0), 'beta 0'),
    (DPOSettings(method='full', keep_adapter=True), 'keep_adapter'), (DPOSettings(method='dora'), "'dora'"),
    (RewardSettings(learning_rate=0), 'learning_rate 0'), (DPOSettings(packed_length=513), 'no room'),
    (RewardSettings(max_length=512), 'two conversations of 512')])
def test_settings_that_cannot_work(settings, message):
    with pytest.raises(CourseError, match=message):
        settings.check()


def test_files_that_cannot_work(tmp_path):
    path = tmp_path / 'pairs.jsonl'
    with pytest.raises(CourseError, match='cannot be read'):
        read_pairs(path)
    path.write_text('\n', 'utf-8')
    with pytest.raises(CourseError, match='no preference pair'):
        read_pairs(path)
    good = PAIRS[0]
    lines = [json.dumps(good)]
    lines += [json.dumps(good | {name: wrong}) for name in good for wrong in ('text', [], [{'role': 'assistant'}])]
    lines += [json.dumps({name: part for name, part in good.items() if name != 'rejected'}), '{']
    for bad in lines[1:]:
        path.write_text(f'{lines[0]}\n{bad}\n', 'utf-8')
        with pytest.raises(CourseError, match='Line 2 '):
            read_pairs(path)
    path.write_text(json.dumps(dict(good, domain='math', id=7)), 'utf-8')
    assert read_pairs(path) == [good]
    for learn, settings in ((reward, RewardSettings()), (dpo, DPOSettings())):
        with pytest.raises(CourseError, match='no checkpoint'):
            learn(tmp_path / 'nowhere', path, tmp_path / 'out', settings, tmp_path / 'home')


@pytest.mark.parametrize('shuffle', [True, False])
def test_pairs_are_read_as_they_stand_only_when_that_is_asked_for(monkeypatch, tmp_path, tokenizer, shuffle):
    """By this module and by XTuner's sampler."""
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / 'config.json').write_text('{}')
    (tmp_path / 'pairs.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in PAIRS), 'utf-8')
    given = {}

    def run(kind, checkpoint, rows, write_config, *rest):
        given.update(rows=rows, config=write_config(tmp_path / 'data.jsonl', False, 1))
        return dict(curves=dict.fromkeys(('loss', 'acc', 'chosen_score_mean', 'rejected_score_mean'), []))
    monkeypatch.setattr(preference, 'run_xtuner', run)
    out = tmp_path / 'out'
    out.mkdir()
    reward(tmp_path, tmp_path / 'pairs.jsonl', out, RewardSettings(shuffle=shuffle), tmp_path / 'home')
    assert (given['rows'] == PAIRS) is not shuffle and sorted(map(str, given['rows'])) == sorted(map(str, PAIRS))
    assert f'DefaultSampler, shuffle={shuffle}' in given['config']
