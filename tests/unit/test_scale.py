"""The dial: what each scale sets is what the links take, looked up without a GPU."""
import inspect

import pytest

from internlm_course.deploy.quantize import quantize
from internlm_course.finetune import SFTSettings
from internlm_course.finetune.preference import RewardSettings
from internlm_course.pretrain.config import CONFIGS, read_config
from internlm_course.scale import SCALES


@pytest.mark.parametrize('scale', SCALES.values(), ids=SCALES)
def test_a_scales_settings_are_fields_of_what_they_set(scale):
    settings = SFTSettings(**scale.sft)
    assert settings.method == ('qlora' if scale.gpu_memory_gib else dict(tiny='full', smoke='lora')[scale.name])
    assert scale.quantize.keys() == {'group_size', 'samples', 'length'} <= inspect.signature(quantize).parameters.keys()
    RewardSettings(**scale.reward).check()
    context = read_config(CONFIGS / f'{scale.pretrain}.toml').phases[-1].sequence_length
    assert scale.quantize['length'] <= context and max(scale.sft['max_length'], scale.reward['max_length']) <= context


def test_a_scale_is_called_by_its_own_name():
    assert all(name == scale.name for name, scale in SCALES.items())
