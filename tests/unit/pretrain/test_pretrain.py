"""Pre-training: packing loses nothing, the loop resumes to the bit, and bits per byte is what the definition says."""
import dataclasses
import math
import os
import shutil
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from internlm_course.errors import CourseError
from internlm_course.machine import can_compile, deterministic, has_fast_bf16, kept_memory
from internlm_course.memory import anonymous_bytes
from internlm_course.model import InternLM2Config, InternLM2ForCausalLM, train_tokenizer
from internlm_course.pretrain import batches, loop
from internlm_course.pretrain.batches import EMPTY, draw, pack, rows_of
from internlm_course.pretrain.config import CONFIGS, Optimizer, Phase, PretrainConfig, read_config

PHASE = Phase('short', steps=60, sequence_length=32, micro_batch=2, accumulation=2, learning_rate=1e-2, rope_theta=1e4,
              warmup=5, mixture=dict(a=0.5, b=0.5))
SHAPE = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
             attn_implementation='eager')
CONFIG = PretrainConfig(model=SHAPE, phases=(PHASE,), checkpoint_seconds=0.0)


@given(st.lists(st.integers(1, 90), min_size=1, max_size=60), st.integers(8, 40))
@settings(max_examples=60, deadline=None)
def test_packing_keeps_every_token_once(lengths, length):
    """With room for all, the tokens of the rows are the tokens of the documents, and a document that fits is never
    cut."""
    starts = np.cumsum([0, *lengths])
    documents = [np.arange(a, b, dtype=np.int32) for a, b in zip(starts, starts[1:])]
    rows = pack(documents, len(documents) * (90 // length + 1), length)
    assert sorted(rows[rows != EMPTY].tolist()) == list(range(starts[-1]))
    places = {int(token): (i, j) for i, row in enumerate(rows) for j, token in enumerate(row) if token != EMPTY}
    for document in documents:
        if len(document) <= length + 1:
            row, column = places[int(document[0])]
            assert rows[row, column:column + len(document)].tolist() == document.tolist()


def test_draw_follows_the_mixture():
    rng = np.random.default_rng(0)
    documents = {name: [np.zeros(rng.integers(5, 100), np.int32) + i for _ in range(50)]
                 for i, name in enumerate('abc')}
    drawn = np.concatenate(list(draw(documents, dict(a=0.6, b=0.3, c=0.1, absent=0.5), 200_000, seed=1)))
    assert np.bincount(drawn) / len(drawn) == pytest.approx([0.6, 0.3, 0.1], abs=0.01)


def test_learning_rate_warms_up_and_decays():
    rates = [loop.learning_rate(step, PHASE) for step in range(PHASE.steps)]
    assert rates[:5] == pytest.approx([0.002, 0.004, 0.006, 0.008, 0.01])
    assert all(a >= b for a, b in zip(rates[5:], rates[6:]))
    assert rates[-1] == pytest.approx(0.1 * 1e-2, rel=0.05)


def test_norms_do_not_decay():
    model = InternLM2ForCausalLM(InternLM2Config(**CONFIG.model, vocab_size=64))
    decayed, free = loop.optimizer_of(model, Optimizer()).param_groups
    assert decayed['weight_decay'] == 0.1 and free['weight_decay'] == 0.0
    assert len(free['params']) == 2 * CONFIG.model['num_hidden_layers'] + 1
    assert all(p.dim() == 1 for p in free['params'])


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp('tokenizer')
    train_tokenizer(['one two three four five 一二三四五'] * 10, 300, folder)
    return folder


@pytest.fixture(scope='module')
def documents():
    rng = np.random.default_rng(0)
    return {name: [rng.integers(3, 290, rng.integers(5, 40)).astype(np.uint16) for _ in range(100)] for name in 'ab'}


def _train(out, documents, tokenizer, config=CONFIG, stop_at=None, start=None):
    def on_step(record):
        if stop_at and record['step'] == stop_at:
            raise KeyboardInterrupt
    out.mkdir(exist_ok=True)
    validation = {'a': (documents['a'][:5], [100] * 5)}
    return loop.pretrain(config, config.phases[0], documents, validation, tokenizer, out, start, device='cpu',
                         on_step=on_step)


def test_resume_is_exact_and_same_seed_gives_same_weights(tmp_path, documents, tokenizer):
    """Cut at step 40, after the checkpoint of step 20 (a state is saved after its step is reported, so step 40's is
    not)."""
    whole = _train(tmp_path / 'whole', documents, tokenizer)
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / 'cut', documents, tokenizer, stop_at=40)
    assert [state.name for state in (tmp_path / 'cut').glob('state-*')] == ['state-000000020']
    resumed = _train(tmp_path / 'cut', documents, tokenizer)
    assert resumed['curve'] == whole['curve'] and resumed['bits_per_byte'] == whole['bits_per_byte']
    a, b = (load_file(tmp_path / name / 'model.safetensors') for name in ('whole', 'cut'))
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    assert not list((tmp_path / 'cut').glob('state-*'))
    other = _train(tmp_path / 'other', documents, tokenizer, dataclasses.replace(CONFIG, seed=1))
    assert other['curve'] != whole['curve']
    longer = dataclasses.replace(CONFIG,
                                 phases=(dataclasses.replace(PHASE, steps=1, sequence_length=64, rope_theta=1e6,
                                                             warmup=0),))
    _train(tmp_path / 'long', documents, tokenizer, longer, start=tmp_path / 'whole')
    config = InternLM2Config.from_pretrained(tmp_path / 'long')
    assert (config.rope_theta, config.max_position_embeddings) == (1e6, 64)
    shutil.rmtree(tmp_path)


def test_training_learns(tmp_path, documents, tokenizer):
    sentence = {'a': [np.array([5, 6, 7, 8, 9, 10, 11, 12], np.uint16)] * 10, 'b': []}
    curve = _train(tmp_path / 'x', sentence, tokenizer)['curve']
    assert curve[-1][1] < 0.2 < 2 < curve[0][1]


def test_loss_that_is_not_a_number(tmp_path, documents, tokenizer):
    broken = dataclasses.replace(CONFIG, phases=(dataclasses.replace(PHASE, learning_rate=1e18),))
    with pytest.raises(CourseError, match='Lower its learning_rate'):
        _train(tmp_path / 'x', documents, tokenizer, broken)


def test_bits_per_byte_of_a_uniform_model():
    """A model with zero output weights gives each of V tokens 1/V: log2(V) bits for each predicted token, whatever the
    windows."""
    model = InternLM2ForCausalLM(InternLM2Config(**CONFIG.model, vocab_size=256))
    torch.nn.init.zeros_(model.output.weight)
    documents = [np.arange(n, dtype=np.uint16) for n in (9, 33, 70)]
    predicted = sum(len(d) - 1 for d in documents)
    bits = math.log2(256) * predicted / 60
    assert loop.bits_per_byte(model, documents, [10, 20, 30], 32) == pytest.approx(bits, rel=1e-5)


def test_documents_of_a_row_do_not_see_each_other():
    """The loss over a packed row is the mean over its documents' own tokens, as if each stood alone."""
    torch.manual_seed(0)
    model = InternLM2ForCausalLM(InternLM2Config(**CONFIG.model, vocab_size=64, initializer_range=0.3)).eval()
    documents = [torch.tensor([1, *torch.randint(3, 64, (n,)).tolist(), 2]) for n in (5, 9, 3)]
    row = torch.cat([*documents, torch.full((4,), EMPTY)])[None]
    assert loop.positions_in_documents(row, 1)[0].tolist()[:19] == [*range(7), *range(11), 0]
    with torch.no_grad():
        packed = loop.loss_of(model, row) * (row[0, 1:] != EMPTY).sum()
        alone = sum(loop.loss_of(model, document[None]) * (len(document) - 1) for document in documents)
        # In the row, each `</s>` also predicts the `<s>` of the next document.
        ends = [model(input_ids=document[None]).logits[0, -1].log_softmax(-1)[1] for document in documents[:-1]]
    assert packed.item() == pytest.approx((alone - sum(ends)).item(), rel=1e-5)


@pytest.mark.skipif(sys.platform != 'linux', reason='glibc, and memory as Linux tells it')
def test_memory_is_kept_while_training_and_given_back_after_it():
    """Blocks of 4 MB, 200 MB in all, freed: they stay with the process inside, and are gone behind."""
    before = anonymous_bytes(os.getpid())
    with kept_memory() as obeyed:
        blocks = [np.ones(1 << 19) for _ in range(50)]
        blocks.clear()
        inside = anonymous_bytes(os.getpid())
    if not obeyed:
        pytest.skip('this C library has no mallopt')
    assert inside > before + 150e6 and anonymous_bytes(os.getpid()) < before + 20e6


@pytest.mark.parametrize('onednn, avx512, avx512_bf16, amx, fast', [
    (False, False, False, False, False), (True, False, False, False, True), (True, True, False, False, False),
    (True, True, True, False, True),
    (True, True, True, True, True)], ids=['avx2', 'avx2-vnni-2', 'avx512', 'avx512-bf16', 'amx'])
def test_bf16_is_for_a_cpu_that_multiplies_it(monkeypatch, onednn, avx512, avx512_bf16, amx, fast):
    """oneDNN says yes on every AVX-512, and imitates bf16 there at a sixth of fp32's speed."""
    monkeypatch.setattr(torch.ops.mkldnn, '_is_mkldnn_bf16_supported', lambda: onednn)
    for name, flag in dict(_is_avx512_supported=avx512, _is_avx512_bf16_supported=avx512_bf16,
                           _is_amx_tile_supported=amx).items():
        monkeypatch.setattr(torch.cpu, name, lambda flag=flag: flag)
    assert has_fast_bf16.__wrapped__() == fast


@pytest.mark.slow
def test_compiled_step_learns_the_same(tmp_path, documents, tokenizer):
    """Compiled or not, the curve is the same to rounding."""
    if not can_compile():
        pytest.skip('torch.compile needs a C++ compiler')
    phase = dataclasses.replace(PHASE, steps=40)
    plain, compiled = (_train(tmp_path / str(flag), documents, tokenizer,
                              dataclasses.replace(CONFIG, phases=(dataclasses.replace(phase, compile=flag),)))['curve']
                       for flag in (False, True))
    assert compiled == [[tokens, pytest.approx(loss, rel=2e-2)] for tokens, loss in plain]


@pytest.mark.slow
def test_compiled_gradients_are_the_same_to_the_bit():
    """Few words, so that the threads would meet at the embedding's rows; without `deterministic` each of the gradients
    differs here."""
    if not can_compile():
        pytest.skip('torch.compile needs a C++ compiler')
    torch.manual_seed(0)
    words, rows = torch.randn(40, 192, requires_grad=True), torch.randint(40, (8, 256))
    factors, found = torch.randn(8, 256, 192), []
    with deterministic():
        compute = torch.compile(lambda words: (torch.nn.functional.embedding(rows, words) * factors).sum())
        for _ in range(5):
            found += torch.autograd.grad(compute(words), words)
    assert all(torch.equal(found[0], other) for other in found)


def test_rows_are_a_function_of_the_seed(documents):
    a, b, c = (rows_of(documents, PHASE, seed) for seed in (0, 0, 1))
    assert a.shape == (60 * 4, 33) and (a == b).all() and (a != c).any()
    assert (a == EMPTY).mean() < 0.1


def test_long_phases_are_made_in_blocks(monkeypatch):
    """One block: the rows are `rows_of`'s. Many: any step can be the first, and of a domain as large as the phase
    nearly all is seen, once."""
    rng = np.random.default_rng(0)
    documents = {'a': [np.full(8, i, np.int32) for i in rng.permutation(2000)], 'b': [np.full(8, 5000, np.int32)] * 3}
    phase = dataclasses.replace(PHASE, mixture=dict(a=0.5, b=0.5), steps=50, sequence_length=31, micro_batch=10,
                                accumulation=2)
    whole = np.stack(list(batches.steps_of(documents, phase, 3)))
    assert (whole.reshape(-1, 32) == rows_of(documents, phase, 3)).all()
    monkeypatch.setattr(batches, 'BLOCK', 8 * 20 * 31)
    # A block's surplus, as small beside this block as 64 rows are beside a real one
    monkeypatch.setattr(batches, 'OPEN_ROWS', 4)
    blocks = np.stack(list(batches.steps_of(documents, phase, 3)))
    assert blocks.shape == whole.shape == (50, 20, 32)
    for first in (0, 7, 8, 49):
        assert (np.stack(list(batches.steps_of(documents, phase, 3, first))) == blocks[first:]).all()
    counts = np.bincount(blocks[(blocks >= 0) & (blocks < 5000)], minlength=2000) / 8
    assert (counts > 0).mean() > 0.9 and counts.max() <= 2
    assert (blocks == 5000).mean() == pytest.approx(0.5, abs=0.02)


def test_a_mixture_without_documents(documents):
    with pytest.raises(CourseError, match='no documents of web.*a, b'):
        rows_of(documents, dataclasses.replace(PHASE, mixture=dict(web=1.0)), 0)


@pytest.mark.parametrize('file', sorted(CONFIGS.glob('*.toml')), ids=lambda file: file.stem)
def test_shipped_configs(file):
    config = read_config(file)
    InternLM2Config(**config.model)
    assert [phase.name for phase in config.phases] == ['short', 'long', 'enhancement'][:1 if file.stem == 'lab' else 3]
    lengths = [phase.sequence_length for phase in config.phases[:2]]
    assert lengths == sorted(set(lengths))
    assert all(sum(phase.mixture.values()) == pytest.approx(1.0) for phase in config.phases)


@pytest.mark.parametrize('text',
                         ['', 'seed = ', 'seed = 0\n[model]\n[[phase]]\nname = "x"', 'seed = 0\nspeed = 1\n[model]\n',
                          '[model]\n[[phase]]\nname = "x"\nsteps = 1\nsequence_length = 8\nmicro_batch = '
                          '1\naccumulation = 1\n'
                          'learning_rate = 1e-3\nrope_theta = 1e4\nmixture = {}\ncompile = "yes"\n'])
def test_bad_config(tmp_path, text):
    (tmp_path / 'x.toml').write_text(text)
    with pytest.raises(CourseError, match='Start from one in'):
        read_config(tmp_path / 'x.toml')
    with pytest.raises(CourseError):
        read_config(tmp_path / 'absent.toml')


def test_a_phase_opens_with_a_mixture_of_its_own():
    """The first steps hold the opening's documents alone, the others none of them; a phase in blocks opens once;
    without an opening nothing moves."""
    documents = {name: [np.full(20, token, np.uint16) for _ in range(50)] for name, token in (('a', 5), ('b', 6))}
    phase = dataclasses.replace(PHASE, mixture={'a': 1.0})
    opened = dataclasses.replace(phase, opening=phase.steps // 4, opening_mixture={'b': 1.0})
    rows = batches.rows_of(documents, opened, seed=0).reshape(phase.steps, -1)
    assert len(rows) == phase.steps
    for step, row in enumerate(rows):
        assert set(row[row != batches.EMPTY].tolist()) == ({6} if step < opened.opening else {5})
    assert np.array_equal(batches.rows_of(documents, dataclasses.replace(phase, opening_mixture={'b': 1.0}), 0),
                          batches.rows_of(documents, phase, 0))
    with pytest.raises(CourseError, match='no documents of c'):
        batches.rows_of(documents, dataclasses.replace(opened, opening_mixture={'c': 1.0}), 0)


def test_an_opening_is_not_begun_again_in_the_next_block(monkeypatch):
    documents = {name: [np.full(20, token, np.uint16) for _ in range(50)] for name, token in (('a', 5), ('b', 6))}
    phase = dataclasses.replace(PHASE, mixture={'a': 1.0}, opening=3, opening_mixture={'b': 1.0})
    monkeypatch.setattr(batches, 'BLOCK', 2 * phase.tokens // phase.steps)  # blocks of two steps
    kinds = [set(rows[rows != batches.EMPTY].tolist()) for rows in batches.steps_of(documents, phase, 0)]
    assert kinds == [{6}] * 3 + [{5}] * (phase.steps - 3)
