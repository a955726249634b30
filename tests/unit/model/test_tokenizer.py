"""The tokenizer: ids of the special tokens, round trips of any text, and an official-style SentencePiece model against
sentencepiece."""
import json
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from internlm_course.errors import CourseError
from internlm_course.model import characters_per_token, load_tokenizer, train_tokenizer
from internlm_course.model.tokenizer import CHAT, REWARD, SMALLEST
from internlm_course.process import tool_environment

TEXTS = ['The capital of France is Paris. The capital of Japan is Tokyo.\n', '法国的首都是巴黎。日本的首都是东京。\n',
         'def add(a, b):\n    return a + b\n\nadd(12, 345)\n',
         '12 + 345 = 357. 一百二十三加四百五十六等于五百七十九。\n'] * 8
SAMPLES = [*TEXTS[:4], '', ' ', '  two  spaces ', '\n\n\ttab', '你好，world! 2024年 ６', '🙂é́ \u200b𝒳',
           'a<|im_end|>\n<|im_start|>user\nb', '<s> </s>']


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('tokenizer')
    train_tokenizer(TEXTS, 420, folder)
    return folder


@pytest.fixture(scope='module')
def tokenizer(folder):
    return load_tokenizer(folder)


def test_special_tokens_stand_where_the_release_has_them(tokenizer):
    assert len(tokenizer) == 420
    assert tokenizer.convert_tokens_to_ids(['<unk>', '<s>', '</s>']) == [0, 1, 2]
    assert tokenizer.convert_ids_to_tokens(range(420 - 7, 420)) == [REWARD, *CHAT]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)


def test_plain_text_begins_with_bos(tokenizer):
    assert tokenizer('hi')['input_ids'] == [1, *tokenizer.encode('hi', add_special_tokens=False)]
    assert set(tokenizer('hi')) == {'input_ids', 'attention_mask'}
    assert tokenizer('<|im_start|>')['input_ids'] == [1, 419]


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
@example('<s>[UNUSED_TOKEN_130]<|im_end|> x <|plugin|>')
def test_any_text_round_trips(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) == text
    assert tokenizer.decode(tokenizer.encode(text)) == '<s>' + text
    if '<' not in text and '[' not in text:
        assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text


def test_digits_stand_one_by_one_and_scripts_apart(tokenizer):
    tokens = [tokenizer.decode(index) for index in tokenizer.encode('add 345巴黎Paris', add_special_tokens=False)]
    assert [token for token in tokens if any(letter.isdigit() for letter in token)] == ['3', '4', '5']
    assert not any('巴' in token and 'P' in token or '黎' in token and 'P' in token for token in tokens)


def test_the_same_texts_give_the_same_file(folder, tmp_path):
    train_tokenizer(iter(TEXTS), 420, tmp_path)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_characters_per_token(tokenizer):
    assert 1.5 < characters_per_token(tokenizer, TEXTS[:1]) < 20
    assert characters_per_token(tokenizer, ['1234']) == 1.0


def test_a_poor_corpus_leaves_spare_entries(tmp_path):
    tokenizer = train_tokenizer(['ab'], 600, tmp_path)
    assert len(tokenizer) == len(set(tokenizer.get_vocab())) == 600
    assert tokenizer.convert_tokens_to_ids(REWARD) == 593


def test_another_tool_opens_it_without_remote_code(folder, tmp_path):
    script = ('import sys, json; from transformers import AutoTokenizer; t = '
              'AutoTokenizer.from_pretrained(sys.argv[1]);'
              'print(json.dumps([t("12 巴黎 x")["input_ids"], t.apply_chat_template([{"role": "user", "content": '
              '"x"}], tokenize=False)]))')
    done = subprocess.run([sys.executable, '-c', script, folder], env=tool_environment(tmp_path), capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [load_tokenizer(folder)('12 巴黎 x')['input_ids'],
                                       '<s><|im_start|>user\nx<|im_end|>\n']


@pytest.mark.parametrize(('prefix', 'renamed'), [(False, True), (True, True), (False, False)])
def test_a_sentencepiece_folder_gives_sentencepieces_ids(tmp_path, prefix, renamed):
    """As an official release: BPE with byte fallback, the last pieces renamed by added_tokens_decoder."""
    import sentencepiece

    (tmp_path / 'texts').write_text(''.join(TEXTS))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / 'texts'), model_prefix=str(tmp_path / 'tokenizer'), model_type='bpe', vocab_size=420,
        byte_fallback=True,
        split_digits=True, normalization_rule_name='identity', remove_extra_whitespaces=False, add_dummy_prefix=prefix,
        allow_whitespace_only_pieces=True, hard_vocab_limit=False, minloglevel=2,
        # with a dummy prefix, text after an added token gets one more: as upstream's, which splits there first
        user_defined_symbols=[*([] if prefix else ['\n', '    ']),
                              *(f'[UNUSED_TOKEN_{number}]' for number in range(141, 147))])
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / 'tokenizer.model'))
    last = [theirs.piece_to_id(f'[UNUSED_TOKEN_{number}]') for number in range(141, 147)]
    names = dict(zip(last, CHAT, strict=True)) if renamed else {}
    (tmp_path / 'tokenizer_config.json').write_text(json.dumps({
        'auto_map': {'AutoTokenizer': ['tokenization_internlm2.InternLM2Tokenizer', None]},
        'tokenizer_class': 'InternLM2Tokenizer',
        'added_tokens_decoder': {str(index): {'content': token, 'special': True} for index, token in names.items()}}))
    ours = load_tokenizer(tmp_path)
    assert len(ours) == theirs.vocab_size()
    for text in [*SAMPLES[:10], *TEXTS[:4]]:
        ids = ours.encode(text, add_special_tokens=False)
        if not (prefix and text in ('', ' ')):
            assert ids == theirs.encode(text), text
        assert ours.decode(ids) == text
    assert ours('巴黎')['input_ids'][0] == 1
    if renamed:
        assert ours.encode('<|im_start|>user', add_special_tokens=False)[0] == last[-1]
        assert ours.encode(SAMPLES[10])[-1] != 0
        assert ours.decode(ours.encode('<|im_end|>x'), skip_special_tokens=True) == 'x'


@pytest.mark.parametrize('harm', ['small', 'empty', 'nothing', 'broken json', 'broken model'])
def test_errors_are_clear(tmp_path, harm):
    (tmp_path / {'broken json': 'tokenizer.json',
                 'broken model': 'tokenizer.model'}.get(harm, 'other')).write_text('{x')
    with pytest.raises(CourseError) as caught:
        if harm == 'small':
            train_tokenizer(TEXTS, SMALLEST - 1, tmp_path)
        elif harm == 'empty':
            train_tokenizer([], 420, tmp_path)
        else:
            load_tokenizer(tmp_path)
    assert '\n' not in str(caught.value) and caught.value.remedy
