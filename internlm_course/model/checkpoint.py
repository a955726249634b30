"""Checkpoints in Hugging Face format that carry their own modelling code, and the shapes of the released models.

transformers writes and reads; this module adds the code files, so that XTuner, LMDeploy and OpenCompass load a folder
by themselves."""
from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from internlm_course.errors import CourseError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from internlm_course.model.configuration_internlm2 import InternLM2Config

CODE = ('configuration_internlm2.py', 'modeling_internlm2.py')
MODELS = {'InternLM2ForCausalLM': 'AutoModelForCausalLM', 'InternLM2ForRewardModel': 'AutoModel',
          'InternLM2Model': 'AutoModel'}

# Report table 3 and the released config.json files; what all share are InternLM2Config's defaults.
CONFIGS = {
    '1_8b': {'num_hidden_layers': 24, 'hidden_size': 2048, 'num_attention_heads': 16, 'num_key_value_heads': 8,
             'intermediate_size': 8192},
    '7b': {'num_hidden_layers': 32, 'hidden_size': 4096, 'num_attention_heads': 32, 'num_key_value_heads': 8,
           'intermediate_size': 14336},
    '20b': {'num_hidden_layers': 48, 'hidden_size': 6144, 'num_attention_heads': 48, 'num_key_value_heads': 8,
            'intermediate_size': 16384},
}


def parameter_count(config: InternLM2Config) -> int:
    """Parameters of InternLM2ForCausalLM in closed form: embedding, output, final norm; per layer wqkv, wo, SwiGLU, two
    norms."""
    width, layers = config.hidden_size, config.num_hidden_layers
    biases = qkv_width(config) + width if config.bias else 0
    embedding = 0 if config.tie_word_embeddings else config.vocab_size * width
    return matmul_parameters(config) + embedding + layers * (2 * width + biases) + width


def matmul_parameters(config) -> int:
    """Weights that multiply every token: all but the embedding, a look-up, and the norms. `config`: an InternLM2Config
    or its fields."""
    width = config.hidden_size
    layer = width * qkv_width(config) + width * width + 3 * width * config.intermediate_size
    return config.num_hidden_layers * layer + config.vocab_size * width


def qkv_width(config) -> int:
    """Rows of wqkv: the queries, and a key and a value for each key head."""
    return config.hidden_size + 2 * (config.hidden_size // config.num_attention_heads) * config.num_key_value_heads


def add_code(folder: Path) -> None:
    """Copies the modelling code beside a checkpoint and names it in config.json's auto_map, as tools with
    trust_remote_code need.

    Raises:
        CourseError: the folder has no readable InternLM2 config.json.
    """
    path = Path(folder) / 'config.json'
    config = _read_config(path)
    for name in CODE:
        shutil.copyfile(Path(__file__).parent / name, path.parent / name)
    architecture = config.setdefault('architectures', ['InternLM2ForCausalLM'])[0]
    config['auto_map'] = {'AutoConfig': 'configuration_internlm2.InternLM2Config',
                          'AutoModel': 'modeling_internlm2.InternLM2Model'}
    config['auto_map'][MODELS.get(architecture, 'AutoModelForCausalLM')] = f'modeling_internlm2.{architecture}'
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + '\n', 'utf-8')


def save_checkpoint(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, out: Path) -> None:
    """Writes bf16 safetensors, config, modelling code, tokenizer and generation settings into the folder `out`.

    The model in memory keeps its own number format.

    Raises:
        CourseError: `out` cannot be written (no permission, full disk).
    """
    import torch
    from transformers import GenerationConfig

    out = Path(out)
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in model.state_dict().items()}
    try:
        out.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(out, state_dict=weights)
        if tokenizer is not None:
            tokenizer.save_pretrained(out)
            stops = [model.config.eos_token_id, tokenizer.convert_tokens_to_ids('<|im_end|>')]
            GenerationConfig(bos_token_id=model.config.bos_token_id, eos_token_id=stops,
                             pad_token_id=model.config.pad_token_id).save_pretrained(out)
        path = out / 'config.json'
        config = json.loads(path.read_text('utf-8'))
        config.pop('torch_dtype', None)
        config['dtype'] = 'bfloat16'
        path.write_text(json.dumps(config), 'utf-8')
        add_code(out)
        for file in out.glob('*.safetensors'):  # safetensors writes them for the owner alone; a class shares a store
            file.chmod(0o644)
    except OSError as error:
        raise CourseError(f'The checkpoint {out} could not be written: {error}.',
                          'Free some disk space or choose a writable folder.') from error


def load_model(checkpoint: Path | str, dtype: str | torch.dtype | None = None, attn: str | None = None,
               reward: bool = False, **changes) -> PreTrainedModel:
    """Loads a checkpoint into our own classes, ours or an official release, without running code that lies beside it.

    Args:
        checkpoint: a folder; or a hub id such as 'internlm/internlm2-1_8b', which is downloaded as transformers does.
        dtype: number format to compute in; None keeps the file's own.
        attn: 'eager', 'sdpa' or 'flash_attention_2'; None lets transformers choose (sdpa).
        reward: load the reward model (with its head) instead of the language model.
        changes: config fields to set otherwise than the file says, such as rope_theta.

    Raises:
        CourseError: the folder or one of its files is missing or broken, or it holds another kind of model.
    """
    from safetensors import SafetensorError

    from internlm_course.model.configuration_internlm2 import InternLM2Config
    from internlm_course.model.modeling_internlm2 import InternLM2ForCausalLM, InternLM2ForRewardModel

    folder = Path(checkpoint)
    if folder.is_dir():
        _read_config(folder / 'config.json')
    elif isinstance(checkpoint, Path) or str(checkpoint).count('/') != 1 or str(checkpoint).startswith(('.', '~', '/')):
        raise CourseError(f'There is no checkpoint folder {checkpoint}.',
                          'Check the path, or build the model with `make run`.')
    options = {} if attn is None else {'attn_implementation': attn}
    try:
        config = InternLM2Config.from_pretrained(checkpoint, **changes)
        model, report = (InternLM2ForRewardModel if reward else InternLM2ForCausalLM).from_pretrained(
            checkpoint, config=config, dtype=dtype or 'auto', output_loading_info=True, **options)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise CourseError(f'The checkpoint {checkpoint} cannot be loaded: {str(error).splitlines()[0]}.',
                          'Build it again, or download it again.') from error
    lost = sorted(report['missing_keys']) + sorted(str(key) for key in report['mismatched_keys'])
    if lost:
        raise CourseError(f'The checkpoint {checkpoint} lacks {len(lost)} weights, among them {lost[0]}.',
                          'Build it again, or download it again.')
    return model.eval()


def _read_config(path: Path) -> dict:
    try:
        config = json.loads(path.read_text('utf-8'))
    except (OSError, ValueError) as error:
        raise CourseError(f'{path} is missing or cannot be read.',
                          'Point to a folder in Hugging Face format.') from error
    if not isinstance(config, dict) or config.get('model_type') != 'internlm2':
        raise CourseError(f'{path} is not an InternLM2 configuration.', "Its 'model_type' must be 'internlm2'.")
    return config
