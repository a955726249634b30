"""Rollouts of a small random model: masks, probabilities, seeds."""
from functools import partial

import pytest
import torch

from internlm_course.align.rollout import asked, draw, log_probabilities, sample
from internlm_course.errors import CourseError

QUESTIONS = [asked(text) for text in ('Hi', 'What is the capital of France?', '法国的首都是哪里？')]


@pytest.fixture(scope='module')
def small():
    from internlm_course.course import STAFF
    from internlm_course.model import load_model, load_tokenizer
    folder = STAFF / 'tiny' / 'sft'
    return load_model(folder, dtype=torch.float32, attn='eager'), load_tokenizer(folder)


def test_greedy_is_what_the_model_says_alone(small):
    model, tokenizer = small
    together = sample(model, tokenizer, QUESTIONS, 24, seed=None)
    for question, text in zip(QUESTIONS, together.texts):
        assert sample(model, tokenizer, [question], 24, seed=None).texts == [text]
    assert 'Paris' in together.texts[1] and '巴黎' in together.texts[2]


def test_said_marks_the_reply_with_its_end(small):
    model, tokenizer = small
    replies = sample(model, tokenizer, QUESTIONS, 24, seed=3)
    end = tokenizer.convert_tokens_to_ids('<|im_end|>')
    for row, text in zip(range(len(QUESTIONS)), replies.texts):
        chosen = replies.tokens[row, 1:][replies.said[row]].tolist()
        assert tokenizer.decode([token for token in chosen if token != end]) == text
        assert chosen.count(end) <= 1 and end not in chosen[:-1]


def test_probabilities_are_those_of_the_reply_alone(small):
    """Neither padding nor neighbours change them."""
    model, tokenizer = small
    replies = sample(model, tokenizer, QUESTIONS, 16, seed=5)
    with torch.no_grad():
        found = log_probabilities(model, replies)
        for row in range(len(QUESTIONS)):
            tokens = replies.tokens[row][replies.real[row]][None]
            alone = model(input_ids=tokens, use_cache=False).logits[0, :-1].float().log_softmax(-1)
            wanted = alone.gather(1, tokens[0, 1:, None])[:, 0][-int(replies.said[row].sum()):]
            assert torch.allclose(found[row][replies.said[row]], wanted, atol=2e-4)


def test_a_seed_draws_the_same_again_and_leaves_torchs_own_alone(small):
    model, tokenizer = small
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    hot = partial(sample, model, tokenizer, QUESTIONS * 4, 16, temperature=3.0)  # else it is too sure to say two things
    first = hot(seed=7)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first.tokens, hot(seed=7).tokens)
    assert first.texts != hot(seed=8).texts


def test_draws_as_often_as_the_nucleus_says():
    """0.5, 0.3, 0.2 at top_p 0.7: the first two, 5 to 3."""
    logits = torch.tensor([0.2, 0.5, 0.3]).log().expand(8000, 3)
    drawn = draw(logits, 0.7, torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) == {1, 2}
    assert (drawn == 1).float().mean().item() == pytest.approx(5 / 8, abs=0.02)
    drawn = draw(logits, 1.0, torch.Generator().manual_seed(0))
    assert (drawn == 0).float().mean().item() == pytest.approx(0.2, abs=0.02)


def test_a_temperature_is_what_is_drawn_from(small):
    model, tokenizer = small
    drawn = sample(model, tokenizer, QUESTIONS[:1] * 2000, 1, seed=5, temperature=2.0).tokens[:, -1]
    prompt = sample(model, tokenizer, QUESTIONS[:1], 1, seed=None).tokens[:, :-1]
    with torch.no_grad():
        wanted = (model(input_ids=prompt, use_cache=False).logits[0, -1].float() / 2).softmax(-1)
    token = int(wanted.argmax())
    assert (drawn == token).float().mean().item() == pytest.approx(wanted[token].item(), abs=0.04)
    with pytest.raises(CourseError, match='at a temperature of 0'):
        sample(model, tokenizer, QUESTIONS, 1, seed=5, temperature=0)


def test_probabilities_at_a_temperature(small):
    model, tokenizer = small
    replies = sample(model, tokenizer, QUESTIONS, 16, seed=5, temperature=2.0)
    with torch.no_grad():
        found = log_probabilities(model, replies, temperature=2.0)
        tokens = replies.tokens[1][replies.real[1]][None]
        alone = (model(input_ids=tokens, use_cache=False).logits[0, :-1].float() / 2).log_softmax(-1)
    wanted = alone.gather(1, tokens[0, 1:, None])[:, 0][-int(replies.said[1].sum()):]
    assert torch.allclose(found[1][replies.said[1]], wanted, atol=2e-4)
