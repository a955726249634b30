"""The long track: length in bytes, statistics of prose, and what the perplexity filter separates with our own base
model."""
import gzip
import json
import math
import random
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from internlm_course.data import long
from internlm_course.data.pipeline import documents
from internlm_course.errors import CourseError
from internlm_course.model import InternLM2Config, InternLM2ForCausalLM, load_model, load_tokenizer
from internlm_course.world import web, world

HERE = Path(__file__).resolve().parents[3]
CHECKPOINT = HERE / 'internlm_course' / 'staff' / 'tiny' / 'long'


@pytest.fixture(scope='module')
def base():
    return load_model(CHECKPOINT, dtype=torch.float32), load_tokenizer(CHECKPOINT)


# --- statistics -------------------------------------------------------------------------------------------------------
def prose() -> dict[str, str]:
    """Long texts that people wrote: the course's lectures in both languages and chapters of the Python manual."""
    from pydoc_data.topics import topics
    # A glossary is a list
    lectures = {str(path): path.read_text('utf-8') for path in HERE.glob('lectures/*/[0-9]*.md')}
    names = ('compound', 'classes', 'imports', 'execmodel', 'exprlists')
    return lectures | {'manual': '\n\n'.join(topics[name] for name in names if name in topics)}


def other() -> dict[str, str]:
    """Long texts that are no prose: tables, numbers, lists, pages of the micro-world that say one thing a line, one
    paragraph over and over."""
    rng = random.Random(0)
    lists = {kind: '\n'.join(line for _ in range(20) for line in web.page(rng, kind).lines)
             for kind in ('quiz', 'code', 'tools', 'math', 'language')}
    return lists | dict(table=(HERE / 'internlm_course' / 'world' / 'facts.tsv').read_text('utf-8'),
                        numbers=(CHECKPOINT / 'metrics.json').read_text('utf-8'),
                        lock=(HERE / 'requirements.lock').read_text('utf-8'),
                        again='If it rains, then we stay; but when it is dry, we go.\n\n' * 90)


def test_statistics_keep_prose_and_drop_the_rest():
    assert {name: long.coherent(text) for name, text in prose().items()} == dict.fromkeys(prose(), (True, ''))
    assert {name for name, text in other().items() if long.coherent(text)[0]} == set()


def test_statistics_by_hand():
    """Two paragraphs; 70 words with 7 markers in one, 4 words in the other, one line twice."""
    text = ' '.join(['we stay because it rains outside, but nobody saw it here'] * 7) + '\n\nend of it\n'
    rates = long.statistics(text)
    assert rates['markers'] == round(1000 * 14 / 80, 1) and rates['prose'] == round(77 / 80, 3)
    assert rates['repeated'] == 0.0
    assert long.statistics('因为下雨，所以我们不去。')['markers'] == round(1000 * 2 / (10 / 1.6), 1)
    assert long.statistics('1 2 3\n1 2 3\n')['repeated'] == 0.5
    assert long.statistics('') == dict(markers=0.0, words=0.0, prose=0.0, repeated=0.0)


# --- perplexity -------------------------------------------------------------------------------------------------------
def test_halves_are_cut_at_a_paragraph_near_the_middle():
    assert long.split('ab\ncdefgh\nij\n') == ('ab\n', 'cdefgh\nij\n')
    assert long.split('abcdef') == ('abc', 'def')
    tokenizer = load_tokenizer(CHECKPOINT)
    text = 'The capital of France is Paris.\n' * 20
    first, second = (tokenizer.encode(part, add_special_tokens=False) for part in long.split(text))
    assert long.halves(text, tokenizer, 10_000) == (first, second)
    assert long.halves(text, tokenizer, 50) == (first[-25:], second[:25])


@pytest.mark.parametrize('window', [None, 40])
def test_perplexities_are_those_of_one_text_at_a_time(window):
    """In batches of unequal lengths, against a loop over single sequences."""
    torch.manual_seed(0)
    tokenizer = load_tokenizer(CHECKPOINT)
    model = InternLM2ForCausalLM(InternLM2Config(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2,
                                                 num_attention_heads=2, num_key_value_heads=1, intermediate_size=48,
                                                 max_position_embeddings=256)).eval()
    rng = random.Random(1)
    texts = ['\n'.join(web.page(rng, kind).lines) for kind in ('code', 'story', 'quiz', 'math')]
    for text, pair in zip(texts, long.perplexities(model, tokenizer, texts, window, batch=3)):
        first, second = long.halves(text, tokenizer, (window or 256) - 1)
        for value, before in zip(pair, ([], first)):
            tokens = torch.tensor([[1, *before, *second]])
            assert tokens.shape[1] <= (window or 256)
            with torch.no_grad():
                logits = model(input_ids=tokens, use_cache=False).logits[0, len(before):-1]
            assert value == pytest.approx(math.exp(F.cross_entropy(logits, tokens[0, 1 + len(before):]).item()),
                                          rel=1e-4)


def test_the_criterion_is_the_reports():
    pairs = [(2.0, 1.9), (2.0, 2.0), (2.0, 2.1), (3.0, 2.99)]
    assert long.depends(pairs) == [alone > behind for alone, behind in pairs]
    assert long.depends(pairs, margin=0.01) == [True, False, False, False]
    assert long.gains([(math.e, 1.0)]) == [1.0]


def pages(count: int, seed: int, first_half: bool) -> list[str]:
    """Pages of 25 to 58 statements that ask at their end for an animal told in their first half, or only in their
    second.

    In longer ones the answer, one token that the first half gives away, counts for less than the noise.
    """
    rng, texts = random.Random(seed), []
    while len(texts) < count:
        text = world.ask(world.needle, rng, rng.choice(['en', 'zh']), facts=rng.randint(25, 58)).line
        if ('The secret animal is the' in long.split(text)[0]) == first_half:
            texts.append(text)
    return texts


def language(text: str) -> str:
    return 'zh' if long.HANZI.search(text) else 'en'


def glued(texts: list[str], same: bool, seed: int) -> list[str]:
    """The second half of each text behind the first half of another, in the same language or in the other one."""
    rng = random.Random(seed)
    firsts = [rng.choice([other for other in texts
                          if other is not text and (language(other) == language(text)) == same]) for text in texts]
    return [long.split(first)[0].rstrip('\n') + '\n' + long.split(text)[1] for first, text in zip(firsts, texts)]


def test_the_filter_tells_pages_of_one_piece_from_glued_ones(base):
    """Precision and recall at equal numbers. The report's criterion keeps every dependent page, and drops glued ones
    where language or facts break; that two halves of one kind have nothing to do with each other it sees in part. The
    margin, found without labels, sees it."""
    dependent = pages(20, 3, True)
    margin = long.margin_of(*base, pages(30, 5, True) + pages(30, 6, False))
    gains = {name: long.gains(long.perplexities(*base, texts)) for name, texts in dict(
        dependent=dependent, same=glued(dependent, True, 1), other=glued(dependent, False, 2)).items()}
    rate = {(name, limit): sum(gain > limit for gain in each) / len(each) for name, each in gains.items()
            for limit in (0, margin)}
    print({name: round(value, 3) for name, value in rate.items()}, round(margin, 4))
    assert 0 < margin < 0.10
    assert rate['dependent', 0] == 1.0 and rate['other', 0] <= 0.6 and rate['same', margin] < rate['same', 0]
    assert rate['dependent', margin] >= 0.75 and rate['same', margin] <= 0.2 and rate['other', margin] <= 0.1
    kept, wrong = rate['dependent', margin], (rate['same', margin] + rate['other', margin]) / 2
    assert kept / (kept + wrong) >= 0.9


def test_the_corpus_is_what_all_three_filters_leave(tmp_path):
    whole, apart = pages(6, 11, True), glued(pages(6, 12, True), False, 3)
    texts = whole + apart + ['short'] * 3 + ['1 2 3 4 5 6 7 8 9\n' * 200]
    corpus = [dict(id=str(n), text=text, metadata=dict(url=f'u{n}')) for n, text in enumerate(texts)]
    # The micro-world says one fact a sentence, with no conjunction: of the statistics only the share of words is for
    # it.
    results = [long.long_corpus(iter(corpus), tmp_path / name, CHECKPOINT, length=1200, limits=dict(words=(0.6, 1.0)),
                                margin=0.02) for name in 'ab']
    assert results[0] == results[1]
    lengthy = {str(n) for n, text in enumerate(texts) if len(text.encode()) > 1200}
    counts = [row['documents'] for row in results[0]['funnel']]
    assert len(lengthy) >= 12 and counts[:3] == [16, len(lengthy), len(lengthy) - 1]
    kept = list(documents(tmp_path / 'a' / 'clean'))
    dropped = [row for path in sorted((tmp_path / 'a' / 'dropped').iterdir())
               for row in map(json.loads, gzip.decompress(path.read_bytes()).splitlines())]
    names = {row['id'] for row in kept}
    assert names | {row['id'] for row in dropped} == lengthy
    assert lengthy & {str(n) for n in range(6)} <= names and len(kept) == counts[3] <= 8
    assert all(row['metadata']['dropped'].startswith('words' if row['id'] == '15' else 'PPL') for row in dropped)
    assert kept[0] == corpus[int(kept[0]['id'])]
    packed = [(tmp_path / name / 'clean' / 'long.jsonl.gz').read_bytes() for name in 'ab']
    assert packed[0] == packed[1]


def test_no_checkpoint_is_one_sentence(tmp_path):
    with pytest.raises(CourseError, match='no checkpoint'):
        long.long_corpus([], tmp_path, tmp_path / 'none')
