"""Tokenizers: our own byte-level BPE with InternLM2's special tokens, and official InternLM2 tokenizers converted
without remote code.

The tokenizers library trains and encodes; a saved folder opens with AutoTokenizer in any tool."""
from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING

from internlm_course.errors import CourseError
from internlm_course.model.chat import TEMPLATE

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

FIRST = ('<unk>', '<s>', '</s>')
REWARD = '[UNUSED_TOKEN_130]'
# 92538 to 92543 officially
CHAT = ('<|plugin|>', '<|interpreter|>', '<|action_end|>', '<|action_start|>', '<|im_end|>', '<|im_start|>')
# Words keep their leading space; Han runs, single digits, punctuation and white space stand apart, so that no merge
# crosses them.
PIECES = (r' ?[\p{L}\p{M}&&[^\p{Han}]]+|\p{Han}+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|\s*[\r\n]+|\s+(?!\S)|\s+')
SMALLEST = len(FIRST) + 256 + 1 + len(CHAT)


def train_tokenizer(texts: Iterable[str], vocab_size: int, out: Path) -> PreTrainedTokenizerFast:
    """Trains a byte-level BPE on `texts` and writes it into the folder `out`; the same texts give the same file.

    Ids: `<unk>` 0, `<s>` 1, `</s>` 2, the 256 bytes, the merges, then the reward token and the six chat tokens in
    official order at the end. Texts too poor for `vocab_size` leave spare `[UNUSED_TOKEN_n]` entries, as the official
    vocabulary has.

    Raises:
        CourseError: `vocab_size` has no room for the bytes and special tokens, there is no text, or `out` cannot be
            written.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    if vocab_size < SMALLEST:
        raise CourseError(f'A vocabulary of {vocab_size} is too small.',
                          f'It takes at least {SMALLEST}: 256 bytes and the special tokens.')
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PIECES), 'isolated'),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocab_size - 1 - len(CHAT), special_tokens=list(FIRST), show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    if tokenizer.get_vocab_size() == len(FIRST) + 256:
        raise CourseError('There was no text to train a tokenizer on.', 'Check that the corpus is not empty.')
    spare = vocab_size - 1 - len(CHAT) - tokenizer.get_vocab_size()
    names = (name for number in count() if (name := f'[UNUSED_TOKEN_{number}]') != REWARD)
    last = [*islice(names, spare), REWARD, *CHAT]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in last])
    fast = _wrap(tokenizer)
    try:
        fast.save_pretrained(out)
    except OSError as error:
        raise CourseError(f'The tokenizer could not be written into {out}: {error}.',
                          'Choose a writable folder with free space.') from error
    return fast


def load_tokenizer(folder: Path | str) -> PreTrainedTokenizerBase:
    """Opens a tokenizer folder: ours, or an official InternLM2 one that holds a SentencePiece `tokenizer.model`; no
    remote code runs.

    Raises:
        CourseError: there is no tokenizer in the folder, or its files are broken.
    """
    folder = Path(folder)
    try:
        if (folder / 'tokenizer.json').exists():
            from transformers import PreTrainedTokenizerFast
            return PreTrainedTokenizerFast.from_pretrained(folder)
        if (folder / 'tokenizer.model').exists():
            return _convert_sentencepiece(folder)
    except Exception as error:  # the tokenizers library raises bare Exception for a broken file
        raise CourseError(f'The tokenizer in {folder} cannot be read: {str(error).splitlines()[0][:200]}.',
                          'Build or download it again.') from error
    raise CourseError(f'{folder} holds no tokenizer.json and no tokenizer.model.',
                      'Point to a checkpoint or tokenizer folder.')


def characters_per_token(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> float:
    """Mean characters that one token carries over `texts` (special tokens not counted): higher means shorter
    sequences."""
    characters = tokens = 0
    for text in texts:
        characters += len(text)
        tokens += len(tokenizer.encode(text, add_special_tokens=False))
    return characters / max(tokens, 1)


def _wrap(tokenizer: Tokenizer, **settings) -> PreTrainedTokenizerFast:
    """Gives the core tokenizer what transformers knows of it: special tokens, `<s>` first, the chat template."""
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    tokenizer.post_processor = TemplateProcessing(single='<s> $A', pair='<s> $A <s>:1 $B:1',
                                                  special_tokens=[('<s>', 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token='<unk>', bos_token='<s>', eos_token='</s>', pad_token='</s>',
        additional_special_tokens=[token for token in reversed(CHAT) if tokenizer.token_to_id(token)],
        model_input_names=['input_ids', 'attention_mask'], clean_up_tokenization_spaces=False,
        **{'chat_template': TEMPLATE, **settings})


def _convert_sentencepiece(folder: Path) -> PreTrainedTokenizerFast:
    """SentencePiece BPE with byte fallback -> the tokenizers library. tokenizer_config.json's added_tokens_decoder
    names the last ids."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
    from transformers.convert_slow_tokenizer import SentencePieceExtractor, import_protobuf

    proto = import_protobuf().ModelProto()
    proto.ParseFromString((folder / 'tokenizer.model').read_bytes())
    path = folder / 'tokenizer_config.json'
    config = json.loads(path.read_text('utf-8')) if path.exists() else {}
    # The file calls the last pieces [UNUSED_TOKEN_141] and so on; the release renames them by id.
    renamed = {int(index): entry['content'] for index, entry in config.get('added_tokens_decoder', {}).items()}
    scores = [(renamed.get(index, piece.piece), piece.score) for index, piece in enumerate(proto.pieces)]
    _, merges = SentencePieceExtractor(str(folder / 'tokenizer.model')).extract(scores)
    tokenizer = Tokenizer(models.BPE({piece: index for index, (piece, _) in enumerate(scores)}, merges,
                                     unk_token='<unk>', fuse_unk=True, byte_fallback=True))
    prefix = proto.normalizer_spec.add_dummy_prefix
    tokenizer.normalizer = normalizers.Sequence([*([normalizers.Prepend('▁')] if prefix else []),
                                                 normalizers.Replace(' ', '▁')])
    tokenizer.decoder = decoders.Sequence([decoders.Replace('▁', ' '), decoders.ByteFallback(), decoders.Fuse(),
                                           *([decoders.Strip(' ', 1, 0)] if prefix else [])])
    # SentencePiece looks for user-defined pieces after ' ' became '▁': one that is written with a space never occurs.
    own = [index for index, piece in enumerate(proto.pieces)
           if index == 0 or index in renamed or piece.type == 3 or piece.type == 4 and ' ' not in piece.piece]
    tokenizer.add_tokens([AddedToken(scores[index][0], normalized=False,
                                     special=index in renamed or proto.pieces[index].type != 4)
                          for index in own])
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True)
                                  for token in CHAT if tokenizer.token_to_id(token)])
    return _wrap(tokenizer, **({'chat_template': config['chat_template']} if config.get('chat_template') else {}))
