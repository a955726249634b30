"""A config is what mmengine reads back: the values, and imports of what is named and nothing else, in 120 columns."""
import pytest

from internlm_course.mmconfig import WIDTH, Name, call, write_config

LAYERS = [f'layer {i}' for i in range(20)]
PARTS = {'PART 1': dict(lr=1e-3, path="it's\nhere"),
         'PART 2': dict(model=call('torch.nn', 'Linear', names=LAYERS, dtype=Name('torch.float32', 'torch')),
                        optimizer=call('torch.optim', 'AdamW', lr=Name('lr'), betas=(0.9, 0.95)), hooks=[], none=None)}


def test_a_file_says_its_purpose_and_imports_what_it_names():
    lines = write_config('What it is for.', PARTS).splitlines()
    imports = ['import torch', 'from torch.nn import Linear', 'from torch.optim import AdamW']
    assert lines[:6] == ['# What it is for.', *imports, '', '# PART 1']
    assert lines[-3:] == ['optimizer = dict(type=AdamW, lr=lr, betas=(0.9, 0.95))', 'hooks = []', 'none = None']
    assert 'lr = 0.001' in lines and '    dtype=torch.float32)' in lines


def test_a_line_is_broken_only_where_it_is_too_long():
    for length in range(60, 70):
        text = write_config('', {'': dict(value=dict(inner=dict(first='a' * length, last='b' * 30), other=1))})
        assert max(map(len, text.splitlines())) <= WIDTH
        line = f"value = dict(inner=dict(first='{'a' * length}', last='{'b' * 30}'), other=1)"
        assert (line in text) is (len(line) <= WIDTH) is ('\n    inner=' not in text)


def test_mmengine_reads_back_what_was_written(tmp_path):
    torch, Config = pytest.importorskip('torch'), pytest.importorskip('mmengine.config').Config
    path = tmp_path / 'config.py'
    path.write_text(write_config('', PARTS), 'utf-8')
    config = Config.fromfile(path)
    assert dict(config.model) == dict(type=torch.nn.Linear, names=LAYERS, dtype=torch.float32)
    assert dict(config.optimizer) == dict(type=torch.optim.AdamW, lr=1e-3, betas=(0.9, 0.95))
    assert (config.path, config.hooks, config.none) == ("it's\nhere", [], None)
