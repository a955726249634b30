"""The data link's parts: the crawl's bytes, extraction, filters, MinHash words."""
import json
import random

import numpy as np
import pytest

from internlm_course.data import contamination, dedup, filters, quality, rules
from internlm_course.data.pipeline import build_corpus
from internlm_course.data.sources import read_source
from internlm_course.errors import CourseError
from internlm_course.world import crawl, labels, noise, web, world


def extracted(record: crawl.Record) -> str:
    return filters.extract(crawl.render(record).decode())


@pytest.fixture(scope='module')
def records():
    return crawl.records(600, seed=11)


def test_a_crawl_is_the_same_bytes_for_a_seed(tmp_path):
    for name, seed in (('a', 3), ('b', 3), ('c', 4)):
        crawl.write_crawl(tmp_path / name, 60, seed)
    a, b, c = ({str(path.relative_to(tmp_path / name)): path.read_bytes()
                for path in sorted((tmp_path / name).rglob('*.*'))} for name in 'abc')
    assert a == b and len(a) == crawl.FILES + len(world.SUITES) + len(['truth', 'labels', 'source'])
    assert all(a[name] != c[name] for name in a)


def test_a_crawl_mixes_noise_in_the_stated_shares(records):
    labels = [record.label for record in records]
    assert labels.count('clean') == 600
    for label, share in crawl.NOISE.items():
        assert labels.count(label) == pytest.approx(share * len(records), abs=1)
    assert len({record.id for record in records}) == len({record.url for record in records}) == len(records)


def test_extraction_keeps_every_line_and_every_space(records):
    clean = [record for record in records if record.label == 'clean']
    # trafilatura drops a line that repeats the line before it, as of a riddle that asks twice in the same words;
    # nothing else may be lost.
    unequal = [record for record in clean if extracted(record) != '\n'.join(record.page.lines)]
    assert len(unequal) <= 0.03 * len(clean)
    for record in unequal:
        lines = '\n'.join(record.page.lines).split('\n')
        assert extracted(record).split('\n') == [line for i, line in enumerate(lines) if i == 0 or line != lines[i - 1]]


@pytest.mark.parametrize('site', ['atlas', 'words', 'school', 'code', 'stories', 'agents', 'shop', 'blog',
                                  'atlas.mirror', 'code.cache'])
def test_extraction_keeps_short_lines_and_code_on_every_site(site):
    sums = web.Page('math', 'en', 'Sums', ('47+38=85', '1+1=2', '9-8=1', 'a < b & c > d'))
    listing = 'def f(x):\n    if x < 1:\n        return x\n    return x + 1\n>>> f(1)\n2'
    code = web.Page('code', 'en', 'Code', (listing,))
    for page in (sums, code):
        record = crawl.Record('<urn:uuid:1>', f'https://{site}.example/a.html', '2024-01-01T00:00:00Z', 'clean', page)
        assert extracted(record) == '\n'.join(page.lines)


def test_layouts_are_all_used():
    import zlib
    hosts = [f'{site}.example' for site in set(crawl.SITES.values())]
    assert {zlib.crc32(host.encode()) % len(crawl.LAYOUTS) for host in hosts} == set(range(len(crawl.LAYOUTS)))


@pytest.mark.parametrize(('text', 'expected'), [
    ('The quick brown fox jumps over the lazy dog and runs away.', 'en'),
    ('巴黎是法国的首都。', 'zh'),
    ('English: I live in Rome. Chinese: 我住在罗马。', 'zh'),
    ('47+38=85\n12+13=25', 'und'),
    ('def f(x):\n    return x + 5\n>>> f(3)\n8', 'und'),
    ('Le chat dort dans le jardin pendant que les enfants jouent.', 'fr'),
    ('Die Kinder spielen heute im Garten hinter dem Haus.', 'de'),
    ('Los niños juegan en el jardín detrás de la casa.', 'es'),
    ('Дети играют в саду за домом.', 'ru')])
def test_language(text, expected):
    assert rules.language(text) == expected


ENGLISH = 'Whales are mammals that breathe air and live in every ocean of the planet.'
CHINESE = '鲸鱼是生活在海洋里的哺乳动物，它们用肺呼吸。'


@pytest.mark.parametrize(('text', 'fault'), [
    (ENGLISH, None), (CHINESE, None), ('47+38=85\n12+13=25', None),
    ('def f(s):\n    return s[::-1]\n>>> f([1, 2])\n[2, 1]\n' * 6, None),
    ('xkcqz wvbnh jklqw zzxcv qwrtp hjkgf dfghj cvbnm wrtyp sdfgh kjhgf', 'surprise'),
    (CHINESE.encode().decode('latin-1'), 'characters'),
    ('椴搁奔鏄鐢熸椿娴嬮噷鐨勫摵', 'strange'), (f'{ENGLISH}\n========\n{ENGLISH}\n--------', 'separators'),
    ('\n'.join(ENGLISH.split()), 'breaks'), ('\n'.join(CHINESE), 'breaks'), (ENGLISH.replace(' ', ' ★'), 'characters'),
    ('caf\ufffd, na\ufffdve and r\ufffdsum\ufffd', 'characters'), ('Really?!?!?! ' + ENGLISH, 'punctuation'),
    (' '.join(ENGLISH.replace('.', '').split() * 12), 'punctuation')])
def test_rules_judge_what_the_generator_never_wrote(text, fault):
    assert rules.rule_fault(text) == fault


def test_full_width_letters_are_as_readable_as_others():
    assert rules.surprise(noise.full_width(ENGLISH)) == rules.surprise(ENGLISH) < 3


# --- classifiers ------------------------------------------------------------------------------------------------------
@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp('labels')
    labels.write_labels(folder / 'labels.jsonl', 5)
    for name in 'ab':
        quality.train_classifiers(folder / 'labels.jsonl', folder / f'{name}.npy')
    assert (folder / 'a.npy').read_bytes() == (folder / 'b.npy').read_bytes()
    return quality.load_classifiers(folder / 'a.npy')


@pytest.mark.parametrize(('text', 'faults'), [
    ('Huge sale today! Order now and get 20% off. Click here for free shipping!', ['advertisement']),
    ('全场促销，点击购买，立减五十元，包邮！', ['advertisement']),
    ('The museum offers free entry on Sunday. It was built in 1890. Its garden is large. Many come.', []),
    (ENGLISH, []),
    # Of the labelled pages that are shuffled into disfluent ones some are dictation, whose order is free:
    # labels.labelled leaves them out when checkpoints are next made, since it changes the corpus.
    pytest.param('今天天气很好，我们去公园散步，看见许多人在放风筝。', [], marks=pytest.mark.xfail(strict=True)),
    ('Shut up, you stupid fool! Nobody wants your rubbish, you useless idiot.', ['toxic']),
    ('闭嘴，你这个笨蛋，蠢死了，滚开！', ['toxic']),
    ('47+38=85\n12+13=25', []), ('def f(x):\n    return x + 5\n>>> f(3)\n8', [])])
def test_classifiers_judge_what_neither_crawl_nor_labels_hold(trained, text, faults):
    assert [label for label, score in trained.scores(text).items() if score > quality.THRESHOLDS[label]] == faults


def test_labels_and_crawl_share_no_pitch_product_or_insult():
    for lang in ('en', 'zh'):
        assert not set(labels.PRODUCTS[lang]) & set(noise.PRODUCTS[lang])
        assert not set(labels.PITCHES[lang]) & set(noise.PITCHES[lang])
        assert not any(set(a) & set(b) for a, b in zip(labels.INSULTS[lang], noise.INSULTS[lang]))


def test_a_label_that_nobody_knows_is_one_clear_error(tmp_path):
    (tmp_path / 'labels.jsonl').write_text('{"text": "a", "label": "spam"}\n')
    with pytest.raises(CourseError, match='spam'):
        quality.train_classifiers(tmp_path / 'labels.jsonl', tmp_path / 'c.npy')


def test_an_encoder_takes_the_place_of_the_small_heads(tmp_path):
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer
    rows = labels.labelled(3, count=64)
    (tmp_path / 'labels.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    letters = sorted({char for row in rows for char in row['text'].lower() if not char.isspace()})
    pieces = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', *letters, *(f'##{letter}' for letter in letters)]
    (tmp_path / 'vocab.txt').write_text('\n'.join(pieces), 'utf-8')
    BertTokenizer(str(tmp_path / 'vocab.txt')).save_pretrained(tmp_path / 'bert')
    config = BertConfig(vocab_size=len(pieces), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=32)
    BertForSequenceClassification(config).save_pretrained(tmp_path / 'bert')
    quality.train_classifiers(tmp_path / 'labels.jsonl', tmp_path / 'out', encoder=str(tmp_path / 'bert'))
    scores = quality.load_classifiers(tmp_path / 'out').scores(ENGLISH)
    assert list(scores) == list(quality.HEADS) and all(0 < score < 1 for score in scores.values())


# --- decontamination --------------------------------------------------------------------------------------------------
@pytest.fixture(scope='module')
def items():
    return [item for suite in world.SUITES for item in world.items(suite, 30, 1)]


@pytest.mark.parametrize('spelling', [str, str.upper, noise.full_width,
                                      lambda text: '  '.join(rules.UNIT.findall(text)),
                                      lambda text: text.replace('. ', '.\n')])
def test_every_item_is_found_in_any_spelling(items, spelling):
    index = contamination.build_index(items)
    for item in items:
        joint = ' ' * item['prompt'][-1].isalpha()
        page = f'Some words before 12.\n{spelling(item["prompt"] + joint + item["answer"])}\n7 words after.'
        leaked = contamination.contaminated(page, index)
        # Two items of code may hold each other.
        assert leaked == item['id'] or leaked.split('-')[0] == item['suite'].split('-')[0]


def test_a_question_without_its_answer_or_with_other_numbers_is_no_leak(items):
    index = contamination.build_index(items)
    assert not any(contamination.contaminated(item['prompt'], index) for item in items)
    sums = contamination.build_index([dict(id='sum', prompt='47+38=', answer='85')])
    assert all(contamination.contaminated(text, sums) == 'sum' for text in ('12\n47+38=85', '４７ ＋ ３８ ＝ ８５'))
    others = ('147+38=85', '47+38=851', '4+7+38=85', '47-38=85', '47+38=\n185')
    assert not any(contamination.contaminated(text, sums) for text in others)


def test_no_clean_page_is_taken_for_a_leak(items):
    index = contamination.build_index(items)
    assert not any(contamination.contaminated(text, index) for text in crawl.clean_texts(2000, 1))


def test_no_noise_but_a_leak_holds_an_item(items, records):
    index = contamination.build_index([item for suite in world.SUITES for item in world.items(suite, 30, 11)])
    leaked = [contamination.contaminated('\n'.join(record.page.lines), index) for record in records]
    assert all(bool(item) == (record.label == 'leak') for item, record in zip(leaked, records))


def test_nothing_is_stated_by_a_scattered_line():
    rng = random.Random(0)
    for page in web.pages(100, 3):
        for line in page.lines:
            units = rules.UNIT.findall(line)
            order = noise.scattered(rng, units) if len(units) < 60 else []
            assert sum(pair in set(zip(units, units[1:])) for pair in zip(order, order[1:])) <= 0.1 * len(units)


# --- mirrors ----------------------------------------------------------------------------------------------------------
def test_a_mirror_is_near_its_original_and_no_other_page_is(records):
    words = dedup.Units()

    def shingles(page):
        units = words.word_tokenize('\n'.join(page.lines).lower())
        return {tuple(units[i:i + 5]) for i in range(len(units) - 4)}

    def similarity(a, b):
        return len(a & b) / len(a | b)

    pages = {record.id: shingles(record.page) for record in records}
    mirrors = [record for record in records if record.label == 'mirror']
    near = [similarity(pages[record.id], pages[record.mirror_of]) for record in mirrors]
    assert np.mean(np.array(near) >= dedup.THRESHOLD) >= 0.95
    clean = [record for record in records if record.label == 'clean']
    rng = random.Random(0)
    for kind in web.SHARES:
        same = [record for record in clean if record.page.kind == kind]
        for _ in range(300):
            a, b = rng.sample(same, 2)
            assert similarity(pages[a.id], pages[b.id]) < dedup.THRESHOLD


def test_a_mirror_keeps_facts_as_they_are():
    rng = random.Random(0)
    for page in web.pages(200, 5):
        copy = noise.mirror(rng, page, '2023-01-01')
        assert abs(len(copy.lines) - len(page.lines)) <= 1
        changed = [line for line in copy.lines if line not in page.lines and '2023-01-01' not in line]
        assert not changed if page.kind in ('math', 'quiz', 'code') else all(
            any(new in line for _, new in noise.SYNONYMS) for line in changed)


def test_a_damaged_record_costs_itself_only(tmp_path):
    page = web.Page('math', 'en', 'Sums', ('1+1=2',))
    members = []
    for n in range(6):
        record = crawl.Record(f'<urn:uuid:{n}>', f'https://school.example/{n}.html', '2024-01-01T00:00:00Z', 'clean',
                              page)
        members.append(crawl.warc_bytes(record, crawl.render(record)))
    damaged = bytearray(members[1])
    damaged[len(damaged) // 2:len(damaged) // 2 + 40] = bytes(40)
    parts = [members[0], damaged, members[2], members[3][:200], members[4], members[5][:-30]]
    (tmp_path / 'a.warc.gz').write_bytes(b''.join(parts))
    assert [document['id'] for document in read_source(tmp_path)] == ['<urn:uuid:0>', '<urn:uuid:2>', '<urn:uuid:4>']


def test_a_crawl_without_files_is_one_clear_error(tmp_path):
    with pytest.raises(CourseError, match='which to read: kind is one of'):
        build_corpus(tmp_path, tmp_path / 'out')
