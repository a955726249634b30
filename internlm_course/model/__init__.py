"""InternLM2: model classes, checkpoints, tokenizer, chat format, LLaMA conversion.

Names are loaded when first used, so that importing this package imports neither torch nor transformers."""
from importlib import import_module

_HOME = {
    'InternLM2Config': 'configuration_internlm2',
    'InternLM2Model': 'modeling_internlm2', 'InternLM2ForCausalLM': 'modeling_internlm2',
    'InternLM2ForRewardModel': 'modeling_internlm2',
    'CONFIGS': 'checkpoint', 'add_code': 'checkpoint', 'load_model': 'checkpoint', 'parameter_count': 'checkpoint',
    'save_checkpoint': 'checkpoint',
    'characters_per_token': 'tokenizer', 'load_tokenizer': 'tokenizer', 'train_tokenizer': 'tokenizer',
    'from_llama': 'convert', 'to_llama': 'convert',
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_HOME[name]}'), name)


def __dir__() -> list[str]:
    return __all__
