"""Quantising a checkpoint with LMDeploy's own lite tools: AWQ to INT4 weights, SmoothQuant to INT8 weights and
activations.

`quantize` runs this module as a process of its own, whose `main` calibrates on the course's own text.
"""
import json
import random
import shutil
import sys
import time
from pathlib import Path

from internlm_course.deploy.launch import check_version
from internlm_course.deploy.serve import read_config
from internlm_course.errors import CourseError
from internlm_course.jsonl import rows
from internlm_course.process import die_with_parent, run_tool

LINEARS = ('wqkv', 'wo', 'w1', 'w2', 'w3')
# LMDeploy's calibration statistics
ASIDE = ('inputs_stats.pth', 'outputs_stats.pth', 'key_stats.pth', 'value_stats.pth')


def quantize(checkpoint: Path, out: Path, *, bits: int = 4, calibration: Path, home: Path, group_size: int = 64,
             samples: int = 32, length: int = 128) -> dict:
    """Writes the quantised checkpoint, complete and ready to serve, into `out`.

    Args:
        checkpoint: an InternLM2 folder in Hugging Face format.
        bits: 4 (AWQ, W4A16) or 8 (SmoothQuant, W8A8).
        calibration: jsonl file whose lines have a "text".
        home: folder for the tool's caches.
        group_size: inputs that share one scale and zero (INT4); released InternLM2 checkpoints use 128.
        samples: calibration windows of `length` tokens each.

    Returns:
        bits, seconds, linear_bytes_before, linear_bytes_after (scales and zeros included) and linear_bytes_ratio; also
        in metrics.json.

    Raises:
        CourseError: bad arguments, before any work; or the tool failed.
    """
    checkpoint, out, home = Path(checkpoint).resolve(), Path(out).resolve(), Path(home).resolve()
    check_version()
    check_arguments(checkpoint, bits, Path(calibration), group_size, samples, length)
    started = time.monotonic()
    log = out / 'logs' / 'quantize.log'
    given = (checkpoint, out, Path(calibration).resolve(), bits, group_size, samples, length)
    run_tool('internlm_course.deploy.quantize', list(map(str, given)), log, home)
    before, after = linear_bytes(checkpoint), linear_bytes(out)
    metrics = {'bits': bits, 'seconds': round(time.monotonic() - started, 1), 'linear_bytes_before': before,
               'linear_bytes_after': after, 'linear_bytes_ratio': after / before}
    (out / 'metrics.json').write_text(json.dumps(metrics, indent=2) + '\n', 'utf-8')
    return metrics


def check_arguments(checkpoint: Path, bits: int, calibration: Path, group_size: int, samples: int, length: int) -> None:
    """
    Raises:
        CourseError: what `quantize` cannot do with these.
    """
    if bits not in (4, 8):
        raise CourseError(f'Weights of {bits} bits are not offered.', 'Choose 4 (AWQ) or 8 (SmoothQuant).')
    config = read_config(checkpoint)
    if config.get('quantization_config'):
        raise CourseError(f'{checkpoint} is quantised already.', 'Quantise the bf16 checkpoint.')
    if samples < 1 or not 1 <= length <= config['max_position_embeddings']:
        raise CourseError(f'{samples} windows of {length} tokens do not fit a context of '
                          f'{config["max_position_embeddings"]} positions.',
                          'Take at least one window, no longer than the context.')
    for name in ('hidden_size', 'intermediate_size'):
        if bits == 4 and (group_size < 1 or config[name] % group_size):
            raise CourseError(f'{name} {config[name]} is no multiple of the group size {group_size}.',
                              'Choose 32, 64 or 128.')
    if config['hidden_size'] // config['num_attention_heads'] % 8:
        raise CourseError(f'A head of {config["hidden_size"] // config["num_attention_heads"]} numbers cannot be '
                          'packed by eights.',
                          'Quantise a model whose head size is a multiple of 8.')
    read_texts(calibration)


def read_texts(calibration: Path) -> list[str]:
    """The texts of a jsonl file.

    Raises:
        CourseError: the file is missing, is no jsonl, or has no text.
    """
    texts = [row['text'] for row in rows(calibration, 'Give a jsonl file whose lines have a "text".', ('text',))]
    if not any(map(str.strip, texts)):
        raise CourseError(f'The calibration file {calibration} holds no text.',
                          'Give some hundred lines of course text.')
    return texts


def windows(tokenizer, texts: list[str], samples: int, length: int, seed: int = 0) -> list:
    """`samples` random windows of `length` tokens from the texts joined in random order: tensors (1, length)."""
    import torch
    order = random.Random(seed)
    texts = order.sample(texts, len(texts))
    tokens: list[int] = []
    while len(tokens) < samples * length:  # a short calibration file is read again
        for text in texts:
            tokens += tokenizer.encode(text)
            if len(tokens) >= samples * length:
                break
    return list(torch.tensor(tokens[:samples * length]).view(samples, 1, length))


def linear_bytes(checkpoint: Path) -> int:
    """Bytes of the decoder layers' linear weights in a checkpoint's safetensors, with what quantisation adds to
    them."""
    from safetensors import safe_open
    total = 0
    for path in checkpoint.glob('*.safetensors'):
        with safe_open(path, 'pt') as file:
            names = list(file.keys())  # a safetensors file is no dict
            total += sum(file.get_tensor(name).nbytes for name in names if name.split('.')[-2] in LINEARS)
    return total


def compute_in_float32() -> None:
    """Lets LMDeploy calibrate in float32, because an ordinary CPU multiplies fp16 far more slowly."""
    from lmdeploy.lite.apis import calibrate
    from lmdeploy.lite.quantization.modules import WeightOnlyQLinear
    from transformers import PreTrainedModel

    load, save = calibrate.load_hf_from_pretrained, PreTrainedModel.save_pretrained

    def save_in_fp16(self, *args, **kwargs):
        for parameter in self.parameters():
            parameter.data = parameter.data.half()
        for module in self.modules():
            # INT8's scales stay float32: per channel and of the order of 1e-5
            if isinstance(module, WeightOnlyQLinear):
                module.scales = module.scales.half()
        return save(self, *args, **kwargs)

    calibrate.load_hf_from_pretrained = lambda *args, **kwargs: load(*args, **kwargs).float()
    PreTrainedModel.save_pretrained = save_in_fp16


def main() -> None:
    die_with_parent()
    checkpoint, out, calibration = map(Path, sys.argv[1:4])
    bits, group_size, samples, length = map(int, sys.argv[4:])

    import torch
    from lmdeploy.lite.apis import calibrate
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    texts = read_texts(calibration)
    calibrate.get_calib_loaders = lambda name, tokenizer, nsamples, seqlen: windows(tokenizer, texts, nsamples, seqlen)
    if device == 'cpu':
        compute_in_float32()
    common = dict(work_dir=str(out), calib_samples=samples, calib_seqlen=length, device=device, dtype='float16',
                  batch_size=8, trust_remote_code=True)
    if bits == 4:
        from lmdeploy.lite.apis.auto_awq import auto_awq
        auto_awq(str(checkpoint), w_bits=4, w_group_size=group_size, **common)
    else:
        from lmdeploy.lite.apis.smooth_quant import smooth_quant
        smooth_quant(str(checkpoint), w_bits=8, **common)
    complete(checkpoint, out)


def complete(checkpoint: Path, out: Path) -> None:
    """Makes LMDeploy's output a whole checkpoint: the code, tokenizer and generation settings come along, the
    statistics go."""
    for name in ASIDE:
        (out / name).unlink(missing_ok=True)
    for path in checkpoint.iterdir():
        if path.is_file() and path.suffix != '.safetensors' and path.name not in ('config.json', 'metrics.json'):
            shutil.copy(path, out / path.name)
    written, original = (json.loads((folder / 'config.json').read_text('utf-8')) for folder in (out, checkpoint))
    config = {**original, 'dtype': 'float16', 'quantization_config': written['quantization_config']}
    (out / 'config.json').write_text(json.dumps(config, indent=2) + '\n', 'utf-8')


if __name__ == '__main__':
    main()
