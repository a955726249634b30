"""Two processes train as one, a world of another size goes on where one stopped, and no checkpoint is seen before it is
whole."""
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import ranks
import torch
from ranks import CONFIG, EVERY, PHASE, UNSAVED, Cut, documents, train
from safetensors.torch import load_file

from internlm_course.errors import CourseError
from internlm_course.model import InternLM2Config, InternLM2ForCausalLM, load_model, train_tokenizer
from internlm_course.pretrain import __main__, loop
from internlm_course.pretrain.parallel import World

TOML = """
[model]
hidden_size = 32
intermediate_size = 48
num_hidden_layers = 2
num_attention_heads = 2
num_key_value_heads = 1
[[phase]]
name = "short"
steps = 3
sequence_length = 32
micro_batch = 2
accumulation = 2
activation_checkpointing = true
learning_rate = 1e-3
rope_theta = 1e4
mixture = { a = 1.0 }
"""


@pytest.fixture(autouse=True)
def fp32(monkeypatch):
    """`ranks.train` sets these; they go back after each test."""
    monkeypatch.setattr(loop, 'LOG_EVERY', 1)
    monkeypatch.setattr(loop, 'has_fast_bf16', lambda: False)


def _losses(folder: Path, name: str) -> dict[int, float]:
    return dict(json.loads((folder / f'{name}.json').read_text()))


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """A folder with every run that the tests compare: one process, two, one then two, two then one."""
    folder, before, threads = tmp_path_factory.mktemp('runs'), (loop.LOG_EVERY,
                                                                loop.has_fast_bf16), torch.get_num_threads()
    torch.set_num_threads(1)  # matrices this small only wait for a second thread
    train_tokenizer(['one two three four five 一二三四五'] * 10, 300, folder / 'tokenizer')
    (folder / 'config.toml').write_text(TOML)
    (folder / 'tokens').mkdir()
    for name, texts in dict(a=documents()['a'], **{'a.validation': documents()['a'][:3]}).items():
        np.concatenate(texts).astype('<u2').tofile(folder / 'tokens' / f'{name}.ds')
        np.cumsum([len(t) for t in texts]).astype('<u8').tofile(folder / 'tokens' / f'{name}.ds.index')
        np.array([3 * len(t) for t in texts], '<u4').tofile(folder / 'tokens' / f'{name}.ds.bytes')
    train(folder, 'one', config=UNSAVED)
    with pytest.raises(Cut):
        train(folder, 'one_then_two', cut=True, every=EVERY)
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2', '--standalone', ranks.__file__,
               str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300,
                         env=dict(os.environ, OMP_NUM_THREADS='1'))
    assert run.returncode == 0, run.stderr[-3000:]
    train(folder, 'two_then_one', every=EVERY)
    loop.LOG_EVERY, loop.has_fast_bf16 = before
    torch.set_num_threads(threads)
    return folder


def test_two_processes_train_as_one(runs):
    """Each step's loss over 50 steps, in fp32; the parts of a step's rows hold unequal numbers of tokens, so a mean of
    the ranks' means would differ."""
    one, two = _losses(runs, 'one'), _losses(runs, 'two')
    assert list(one) == list(two) == list(range(1, PHASE.steps + 1))
    assert one[50] < one[1] - 2
    assert max(abs(one[step] - two[step]) for step in one) <= 1e-3


@pytest.mark.parametrize('name', ['one_then_two', 'two_then_one'])
def test_another_world_goes_on(runs, name):
    """The state before the cut was taken over: no step is missing or done twice, and the curve is the undisturbed
    run's."""
    changed, one = json.loads((runs / f'{name}.json').read_text()), _losses(runs, 'one')
    assert [step for step, _ in changed] == list(range(EVERY, PHASE.steps + 1, EVERY))
    for step, loss in changed:
        assert loss == pytest.approx(sum(one[step - i] for i in range(EVERY)) / EVERY, abs=1e-3)


@pytest.mark.parametrize('name', ['two', 'one_then_two', 'two_then_one'])
def test_the_final_checkpoint_is_whole(runs, name):
    expected, found = (load_file(runs / folder / 'model.safetensors') for folder in ('one', name))
    assert {k: (v.shape, v.dtype) for k, v in found.items()} == {k: (v.shape, v.dtype) for k, v in expected.items()}
    assert all((found[k].float() - expected[k].float()).abs().max() <= 0.01 for k in expected)
    load_model(runs / name)
    a, b = (json.loads((runs / folder / 'metrics.json').read_text()) for folder in ('one', name))
    assert a['bits_per_byte']['a'] == pytest.approx(b['bits_per_byte']['a'], abs=0.01)
    assert a['parameters'] == b['parameters'] and not list((runs / name).glob('state-*'))


def test_the_command_line(runs, tmp_path, capsys):
    """Two processes under torchrun (in `ranks.main`) and one alone write the same folder; a bad call is one
    sentence."""
    common = ['--tokens', str(runs / 'tokens'), '--tokenizer', str(runs / 'tokenizer'), '--out', str(tmp_path / 'out'),
              '--device', 'cpu']
    assert __main__.main([str(runs / 'config.toml'), *common]) == 0
    alone, two = (json.loads((folder / 'metrics.json').read_text()) for folder in (tmp_path / 'out', runs / 'command'))
    assert (alone['processes'], two['processes']) == (1, 2)
    assert [loss for _, loss in alone['curve']] == pytest.approx([loss for _, loss in two['curve']], abs=1e-3)
    assert 'step 3/3' in capsys.readouterr().out
    assert __main__.main(['absent', *common]) == 2
    assert __main__.main([str(runs / 'config.toml'), *common, '--phase', 'none']) == 2
    assert 'has no phase "none"' in capsys.readouterr().err


def test_processes_that_cannot_divide_the_rows(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(World, 'open', lambda device: World(torch.device('cpu'), size=3))
    with pytest.raises(CourseError, match='3 processes cannot divide the 8 rows'):
        loop.pretrain(CONFIG, PHASE, documents(), {}, runs / 'tokenizer', tmp_path)


def test_gradients_do_not_depend_on_the_micro_batch():
    torch.manual_seed(0)
    model = InternLM2ForCausalLM(InternLM2Config(**CONFIG.model, vocab_size=300))
    rows = torch.from_numpy(next(loop.steps_of(documents(), PHASE, 0)))
    rows[0, 3:] = loop.EMPTY  # one nearly empty row
    found = []
    for micro_batch in (8, 4, 1):
        loss = loop.gradients(model, rows, micro_batch, World(torch.device('cpu')))
        found.append((loss.item(), model.output.weight.grad.clone()))
        model.zero_grad()
    for loss, gradient in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        torch.testing.assert_close(gradient, found[0][1], rtol=1e-4, atol=1e-7)


def test_activation_checkpointing_changes_memory_and_not_the_loss(runs, tmp_path):
    """The bytes that autograd keeps for the backward pass fall, to the layers' inputs and what lies outside the
    layers."""
    small = dataclasses.replace(CONFIG, model=dict(CONFIG.model, num_hidden_layers=6))
    kept, curves = {}, {}
    for on in (False, True):
        phase = dataclasses.replace(PHASE, steps=5, activation_checkpointing=on)
        model = loop.initial_model(small, phase, range(300), None, World(torch.device('cpu')))
        seen = {}

        def pack(tensor, seen=seen):
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor
        own = {p.untyped_storage().data_ptr() for p in model.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loop.loss_of(model, torch.randint(3, 300, (8, 33)))
        kept[on] = sum(size for place, size in seen.items() if place not in own)
        folder = tmp_path / str(on)
        folder.mkdir()
        curves[on] = loop.pretrain(small, phase, documents(), {}, runs / 'tokenizer', folder, device='cpu')['curve']
    assert curves[True] == curves[False]
    assert kept[True] < kept[False] / 2


def test_a_state_is_seen_whole_or_not_at_all(tmp_path):
    """What a killed write left is removed; of two states the later counts; the copy is of the moment of `save`,
    whatever training does after it."""
    world, model = World(torch.device('cpu')), torch.nn.Linear(4, 4)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    (tmp_path / 'state-000000009.partial').mkdir()
    assert world.load(tmp_path, model, optimizer) is None and not list(tmp_path.iterdir())
    for step in (1, 2):
        model(torch.ones(4)).sum().backward()
        optimizer.step()
        expected = model.weight.detach().clone()
        world.save(tmp_path, step, model, optimizer, dict(step=step))
        with torch.no_grad():
            model.weight.zero_()
    world.wait()
    assert [path.name for path in tmp_path.iterdir()] == ['state-000000002']
    assert world.load(tmp_path, model, optimizer) == dict(step=2)
    assert torch.equal(model.weight, expected) and optimizer.state[model.weight]['step'] == 2
    (tmp_path / 'file').write_text('')
    world.save(tmp_path / 'file', 3, model, optimizer, {})
    with pytest.raises(OSError):
        world.wait()
