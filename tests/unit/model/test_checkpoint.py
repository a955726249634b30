"""Checkpoints: written and read again, by another process with their own code, a broken one told in a sentence."""
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_models import SCALINGS, small, tokens

from internlm_course.errors import CourseError
from internlm_course.model import InternLM2ForCausalLM, load_model, save_checkpoint
from internlm_course.process import tool_environment


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('checkpoint') / 'tiny'
    save_checkpoint(small(scaling=SCALINGS[2]), None, folder)
    return folder


@torch.no_grad()
def test_checkpoint_round_trip(checkpoint):
    model = small(scaling=SCALINGS[2])
    loaded = load_model(checkpoint)
    assert loaded.dtype == torch.bfloat16 and loaded.config._attn_implementation == 'sdpa'
    assert load_model(checkpoint, attn='eager').config._attn_implementation == 'eager'
    wide = load_model(checkpoint, dtype='float32')
    assert all(torch.equal(tensor.bfloat16(), loaded.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(wide(tokens()).logits, model.bfloat16().float()(tokens()).logits)


def test_another_process_loads_the_checkpoint_with_its_own_code(checkpoint, tmp_path):
    """As XTuner, OpenCompass and LMDeploy do: AutoModelForCausalLM, remote code, no internlm_course; then it saves
    again with its code."""
    script = """
import sys, torch
sys.modules['internlm_course'] = None
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True, dtype='float32').eval()
ids = torch.arange(3, 23)[None]
print(model(ids).logits.double().sum().item(),
      model.generate(ids, max_new_tokens=4, do_sample=False, eos_token_id=None)[0].tolist())
model.save_pretrained(sys.argv[2])
"""
    again = tmp_path / 'again'
    done = subprocess.run([sys.executable, '-c', script, checkpoint, again], env=tool_environment(tmp_path),
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    total, generated = done.stdout.strip().split(' ', 1)
    model, ids = load_model(checkpoint, dtype='float32'), torch.arange(3, 23)[None]
    assert float(total) == pytest.approx(model(ids).logits.double().sum().item(), abs=1e-3)
    assert json.loads(generated) == model.generate(ids, max_new_tokens=4, do_sample=False,
                                                   eos_token_id=None)[0].tolist()
    assert (again / 'modeling_internlm2.py').exists() and load_model(again).dtype == torch.float32


def test_an_official_configuration_loads_without_its_code(checkpoint, tmp_path):
    """The hub's config.json names remote code and asks for 'eager'; neither is followed."""
    folder = tmp_path / 'official'
    folder.mkdir()
    (folder / 'model.safetensors').write_bytes((checkpoint / 'model.safetensors').read_bytes())
    config = json.loads((checkpoint / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps({**config, 'attn_implementation': 'eager', 'pretraining_tp': 1}))
    (folder / 'modeling_internlm2.py').write_text('raise SystemExit("remote code ran")')
    model = load_model(folder, dtype='float32')
    assert type(model) is InternLM2ForCausalLM and model.config._attn_implementation == 'sdpa'


@pytest.mark.parametrize('harm', ['no folder', 'no config', 'broken config', 'other model', 'no weights', 'cut weights',
                                  'lost weight'])
def test_a_broken_checkpoint_ends_in_one_clear_error(checkpoint, tmp_path, harm):
    folder = tmp_path / 'broken'
    folder.mkdir()
    for path in checkpoint.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config, weights = folder / 'config.json', folder / 'model.safetensors'
    if harm == 'no folder':
        folder = tmp_path / 'nowhere'
    elif harm == 'no config':
        config.unlink()
    elif harm == 'broken config':
        config.write_text('{"model_type": ')
    elif harm == 'other model':
        config.write_text('{"model_type": "llama"}')
    elif harm == 'no weights':
        weights.unlink()
    elif harm == 'cut weights':
        weights.write_bytes(weights.read_bytes()[:-100])
    else:
        config.write_text(config.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    with pytest.raises(CourseError) as caught:
        load_model(folder)
    assert '\n' not in str(caught.value) and caught.value.remedy
