"""Lab 4's own answers against XTuner, PEFT, bitsandbytes and the model: what a student is compared with is what
trains."""
import random
from statistics import NormalDist

import numpy as np
import pytest
import torch

from internlm_course.course import STAFF
from internlm_course.finetune.messages import to_conversation
from internlm_course.lab.answers import lab04 as own
from internlm_course.model import load_model, load_tokenizer
from internlm_course.model.chat import agent_messages, render
from internlm_course.model.modeling_internlm2 import packed_mask
from internlm_course.world.conversations import SHARES, conversation

RNG = np.random.default_rng(0)


@pytest.fixture(scope='module')
def tokenizer():
    return load_tokenizer(STAFF / 'tiny/sft')


def test_the_mask_is_xtuners(tokenizer):
    """Token by token, for conversations of every kind: XTuner encodes a turn's input, output and separator apart."""
    from xtuner.dataset.utils import encode_fn
    rng = random.Random(0)
    talks = [conversation(rng, kind) for kind in SHARES for _ in range(20)]
    talks.append(agent_messages('What is 2*3?', '2*3', '6', ' 6'))
    for messages in talks:
        theirs = encode_fn(to_conversation(dict(messages=messages)), tokenizer, 100_000)
        pieces = [(message['role'], [tokenizer.decode(token) for token in
                                     tokenizer.encode(render([message]), add_special_tokens=False)])
                  for message in messages]
        mask = own.loss_mask(pieces)
        assert mask == [label != -100 for label in theirs['labels']] and any(mask)


def test_the_loss_is_the_models(tokenizer):
    model = load_model(STAFF / 'tiny/sft', dtype=torch.float32)
    ids = torch.tensor([tokenizer.encode('The capital of France is Paris.')])
    learned = [False] + [i % 2 == 0 for i in range(ids.shape[1] - 1)]
    labels = torch.where(torch.tensor(learned), ids, -100)
    with torch.no_grad():
        out = model(input_ids=ids, labels=labels)
    nats = torch.nn.functional.cross_entropy(out.logits[0, :-1], ids[0, 1:], reduction='none')
    assert own.learned_loss([0.0, *nats.tolist()], learned) == pytest.approx(out.loss.item(), rel=1e-5)
    assert own.learned_loss([1.0], [False]) == 0


@pytest.fixture(scope='module')
def adapted():
    import peft
    model = load_model(STAFF / 'tiny/enhanced', dtype=torch.float32)
    targets = ['wqkv', 'wo', 'w1', 'w2', 'w3']
    torch.manual_seed(0)
    return peft.get_peft_model(model, peft.LoraConfig(r=6, lora_alpha=15, target_modules=targets,
                                                      init_lora_weights=False))


def test_lora_and_merging_are_pefts(adapted):
    layer = adapted.base_model.model.model.layers[1].attention.wqkv
    w, a, b = (part.weight.detach().double().numpy()
               for part in (layer.base_layer, layer.lora_A.default, layer.lora_B.default))
    x = RNG.normal(size=(3, w.shape[1]))
    bias = layer.base_layer.bias.detach().double().numpy() if layer.base_layer.bias is not None else 0
    with torch.no_grad():
        theirs = layer(torch.from_numpy(x).float()).double().numpy() - bias
    assert np.allclose(own.lora(x, w, a, b, 15), theirs, atol=1e-4)
    change = layer.get_delta_weight('default').detach().double().numpy()
    assert np.allclose(own.merged(w, a, b, 15), w + change, atol=1e-5)
    assert np.allclose(own.lora(x, w, a, b, 15), x @ own.merged(w, a, b, 15).T, rtol=1e-12)


def test_the_count_is_pefts(adapted):
    trained = sum(part.numel() for part in adapted.parameters() if part.requires_grad)
    assert own.lora_parameters(adapted.config, 6, ('wqkv', 'wo', 'w1', 'w2', 'w3')) == trained


def test_the_levels_follow_from_the_normal_distribution():
    """QLoRA's appendix: quantiles, eight above zero and seven below, over the largest."""
    inverse, edge = NormalDist().inv_cdf, 0.9677083
    above, below = ([inverse(share) for share in np.linspace(edge, 0.5, count)[:-1]] for count in (9, 8))
    levels = sorted([*above, 0, *(-level for level in below)])
    assert np.allclose(np.array(levels) / max(levels), own.NF4, atol=1e-6)


@pytest.mark.parametrize('size', [64, 128])
def test_nf4_is_bitsandbytes(size):
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit
    weights = torch.from_numpy(RNG.normal(size=8 * size)).float() * 0.02
    stored, state = quantize_4bit(weights, blocksize=size, quant_type='nf4')
    blocks = [own.quantise(block) for block in weights.double().numpy().reshape(-1, size)]
    ours = [index for indices, _ in blocks for index in indices]
    theirs = torch.stack([stored.flatten() >> 4, stored.flatten() & 15], 1).flatten().tolist()
    assert ours == theirs and np.allclose([scale for _, scale in blocks], state.absmax)
    back = np.concatenate([own.dequantise(*block) for block in blocks])
    assert np.allclose(back, dequantize_4bit(stored, state).flatten().numpy(), atol=1e-7)
    assert own.quantise(np.zeros(3)) == ([7] * 3, 0.0)


@pytest.mark.parametrize('room', [5, 8, 64])
def test_packing_is_xtuners(room):
    from xtuner.dataset.utils import Packer
    rng = random.Random(room)
    lengths = [rng.randrange(1, 20) for _ in range(60)]
    packer = Packer(room, use_varlen_attn=True)
    packed = packer(dict(input_ids=[[1] * length for length in lengths], labels=[[1] * length for length in lengths]))
    theirs = [np.diff(ends).tolist() for ends in packed['cumulative_len']]
    assert own.pack(lengths, room) == theirs


def test_what_may_be_seen_is_the_models():
    pieces = [3, 1, 4]
    places = torch.cat([torch.arange(piece) for piece in pieces])[None]
    assert np.array_equal(own.may_see(pieces), packed_mask(places, torch.float32)[0, 0].numpy() == 0)


@pytest.mark.parametrize('constraint, reply, kept', [
    ('only_number', '-85。', True), ('only_number', '８５', False), ('json', '{"answer": 3}', True),
    ('json', '[3]', False), ('json', '{', False), ('three_words', 'It is\nRome', True), ('in_chinese', 'é。', False),
    ('in_chinese', '是85。', True)])
def test_the_checker(constraint, reply, kept):
    assert own.obeys(constraint, reply) is kept
