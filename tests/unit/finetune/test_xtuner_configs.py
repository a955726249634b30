"""Every config, of each method at each scale, is one that XTuner's own libraries read, with types that are there and
take these arguments."""
import inspect
from pathlib import Path

import pytest

from internlm_course.errors import CourseError
from internlm_course.finetune import preference
from internlm_course.finetune.config import METHODS, ZERO, SFTSettings, config_text, train_command
from internlm_course.finetune.preference import DPOSettings, RewardSettings
from internlm_course.scale import SCALES

Config = pytest.importorskip('mmengine.config').Config


def texts():
    """{name: text} of every config."""
    found = {}
    for name, scale in SCALES.items():
        gpu = bool(scale.gpu_memory_gib)
        where, dtype = (Path(f'/models/{name}'), Path('/data/rows.jsonl')), 'bfloat16' if gpu else 'float32'
        for method in METHODS:
            chosen = dict(scale.sft, method=method, dtype=dtype, sample_questions=['What is 1+1?', '你好\n'])
            if method == 'full':
                chosen.pop('train_embeddings', None)
            found[f'sft {method} {name}'] = config_text(*where, SFTSettings(**chosen), 1000, gpu)
            found[f'sft {method} {name}, 8 ranks'] = config_text(
                *where, SFTSettings(**chosen | dict(batch_size=16)), 1000, gpu, 8)
            settings = DPOSettings(method=method, dtype=dtype, checkpointing=gpu)
            found[f'dpo {method} {name}'] = preference.config_text('dpo', *where, settings, 7, 100, gpu)
        for compared in preference.COMPARED:
            settings = RewardSettings(dtype=dtype, compared=compared)
            found[f'reward {compared} {name}'] = preference.config_text('reward', *where, settings, 7, 100, gpu)
    return found


TEXTS = texts()


def parameters(target):
    """The names that a type takes; of one that passes `**kwargs` on, those of what it passes them to."""
    signature = inspect.signature(target)
    names = set(signature.parameters) | ({'paramwise_cfg'} if 'OptimWrapper' in target.__name__ else set())
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values()):
        if target.__name__ == 'from_pretrained':
            names |= {'pretrained_model_name_or_path', 'trust_remote_code', 'torch_dtype', 'attn_implementation',
                      'quantization_config', 'padding_side'}
        elif target.__name__ == 'load_for_chat':
            names |= {'trust_remote_code', 'torch_dtype', 'attn_implementation', 'quantization_config'}
        elif target.__name__ == 'load_dataset':
            names |= {'path', 'data_files'}
        for base in getattr(target, '__mro__', (target,))[1:-1]:
            names |= set(inspect.signature(base).parameters)
    return names


def faults(node, path='config'):
    """What cannot be built, one sentence each."""
    if isinstance(node, (list, tuple)):
        return [fault for index, part in enumerate(node) for fault in faults(part, f'{path}[{index}]')]
    if not isinstance(node, dict):
        return []
    found = [fault for key, part in node.items() for fault in faults(part, f'{path}.{key}')]
    if 'type' in node:
        target = node['type']
        if isinstance(target, str):
            from mmengine.registry import MODEL_WRAPPERS
            target = MODEL_WRAPPERS.get(target)
        if not callable(target):
            return [*found, f'{path}: {node["type"]} is not there']
        unknown = node.keys() - {'type'} - parameters(target)
        found += [f'{path}: {target.__name__} takes no {name}' for name in sorted(unknown)]
    return found


def parse(text, tmp_path):
    (tmp_path / 'config.py').write_text(text, 'utf-8')
    return Config.fromfile(tmp_path / 'config.py')._cfg_dict


@pytest.mark.parametrize('name', TEXTS)
def test_xtuner_can_build_what_a_config_names(name, tmp_path):
    config = parse(TEXTS[name], tmp_path)
    assert faults(config) == []
    assert {'model', 'tokenizer', 'train_dataloader', 'optim_wrapper', 'train_cfg', 'default_hooks'} <= set(config)
    assert (config['env_cfg']['dist_cfg']['backend'] == 'nccl') is name.split(',')[0].endswith('b')


@pytest.mark.parametrize('right, wrong, fault', [
    ('use_varlen_attn=True, use_activation', 'use_varlen=True, use_activation', 'takes no use_varlen'),
    ('lora_dropout=0.0', 'lora_drop=0.0', 'LoraConfig takes no lora_drop'),
    ('shuffle_before_pack=True', 'shuffle_before=True', 'takes no shuffle_before'),
    ('max_keep_ckpts=2', 'max_keep=2', 'CheckpointHook takes no max_keep')])
def test_what_xtuner_would_not_take_is_found(right, wrong, fault, tmp_path):
    text = TEXTS['sft lora tiny']
    squeezed = text if right in text else text.replace(',\n    use_activation', ', use_activation')
    assert right in squeezed
    assert any(fault in found for found in faults(parse(squeezed.replace(right, wrong), tmp_path)))


@pytest.mark.parametrize('zero', ZERO)
def test_deepspeeds_stages_are_names_that_xtuner_knows(zero):
    names = pytest.importorskip('xtuner.configs').cfgs_name_path
    command = train_command('config.py', 8, zero)
    assert command == f'NPROC_PER_NODE=8 xtuner train config.py --deepspeed deepspeed_zero{zero}'
    assert Path(names[command.split()[-1]]).suffix == '.json'


def test_the_command_for_one_gpu_and_a_stage_that_is_none():
    assert train_command('config.py') == 'xtuner train config.py'
    with pytest.raises(CourseError, match="stage '4'"):
        train_command('config.py', 8, '4')
