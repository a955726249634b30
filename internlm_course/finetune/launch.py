"""XTuner in a process of its own: `xtuner train`, then `xtuner convert` to Hugging Face form, then the merge.

`python -m internlm_course.finetune.launch CONFIG WORK CHECKPOINT OUT KIND PROCESSES`; KIND: sft, dpo or reward."""
import json
import os
import sys
import threading
import time
from pathlib import Path

from internlm_course.machine import deterministic, kept_memory
from internlm_course.process import HOST, die_with_parent, free_port


def main() -> None:
    die_with_parent()
    config, work, checkpoint, out, kind, processes = sys.argv[1:]
    hide_unused('BitsAndBytesConfig' in Path(config).read_text('utf-8'))
    import torch

    if not torch.cuda.is_available():
        torch.cpu.is_bf16_supported = lambda: False
        torch.cuda.set_device = lambda device: None
    from xtuner.tools import train

    last, start = Path(work) / 'last_checkpoint', time.perf_counter()
    if last.exists() and not Path(last.read_text('utf-8').strip()).is_file():
        last.unlink()  # killed while it was written: from the beginning
    # XTuner's DPO asks torch.distributed for its rank even where it is alone
    group = int(processes) > 1 or kind == 'dpo'
    rank = start_ranks(int(processes)) if group else 0
    with kept_memory(), deterministic():
        _run(train.main, config, '--work-dir', work, '--launcher', 'pytorch' if group else 'none')
    seconds = time.perf_counter() - start
    if rank:
        return
    whole = Path(work) / 'whole'
    finish = write_reward_model if kind == 'reward' else write_language_model
    parameters = finish(Path(config), Path(checkpoint), Path(last.read_text('utf-8').strip()), whole)
    for file in sorted(whole.iterdir(), key=lambda file: file.name == 'config.json'):  # without it there is no model
        os.replace(file, Path(out) / file.name)
    (Path(work) / 'result.json').write_text(json.dumps(dict(train_seconds=seconds, trainable_parameters=parameters)),
                                            'utf-8')


def hide_unused(quantised: bool) -> None:
    """Lets the tools find no scikit-learn and, without 4-bit weights, no bitsandbytes: they import both, for nothing
    that is done here, and these torch's compiler and SciPy, in seconds and 100 MB."""
    for name in ['sklearn'] if quantised else ['sklearn', 'bitsandbytes']:
        sys.modules[name] = None


def start_ranks(processes: int) -> int:
    """Makes this process the first of so many ranks, or of one, and forks the others; returns the rank.

    Forked, because what was imported is then in memory once, and was in time. What torchrun does in a process more:
    these die with this one (`die_with_parent`), and this one with the first of them that fails.
    """
    # gloo asks for the address of the host's name, which there may be none of without a network
    os.environ.update(WORLD_SIZE=str(processes), MASTER_ADDR=HOST, MASTER_PORT=str(free_port()),
                      GLOO_SOCKET_IFNAME='lo', RANK='0', LOCAL_RANK='0')
    for rank in range(1, processes):
        other = os.fork()
        if not other:
            die_with_parent()
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
            return rank
        threading.Thread(target=_fail_with, args=(rank, other), daemon=True).start()
    return 0


def _fail_with(rank: int, other: int) -> None:
    """Ends this process when the other fails: one that never joins would be waited for, half an hour by torch's
    default."""
    if code := os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]):
        print(f'error: rank {rank} of XTuner stopped with code {code}', file=sys.stderr, flush=True)
        os._exit(1)


def write_language_model(config: Path, checkpoint: Path, trained: Path, out: Path) -> int:
    """`xtuner convert pth_to_hf`, which leaves the adapter or the model in `hf` beside `trained`, then the merge.
    Returns how many parameters were trained."""
    from xtuner.tools.model_converters import pth_to_hf
    found = trained.parent / 'hf'
    _run(pth_to_hf.main, str(config), str(trained), str(found), '--fp32', '--safe-serialization')
    return merge(checkpoint, found, out)


def merge(checkpoint: Path, trained: Path, out: Path) -> int:
    """Adds an adapter to the weights that it was trained on (peft's merge, in float32) and writes a whole checkpoint; a
    full fine-tuning is only written anew. Returns how many parameters were trained.

    xtuner's own `convert merge` does the same in float16, which a bf16 checkpoint may not fit into."""
    from peft import PeftModel

    from internlm_course.model import load_model, load_tokenizer, save_checkpoint

    if not (trained / 'adapter_config.json').exists():
        model = load_model(trained, 'float32')
        parameters = model.num_parameters()
    else:
        model = PeftModel.from_pretrained(load_model(checkpoint, 'float32'), trained, is_trainable=True)
        parameters = model.get_nb_trainable_parameters()[0]
        model = model.merge_and_unload(safe_merge=True)
    model.config.use_cache = True
    save_checkpoint(model, load_tokenizer(checkpoint), out)
    return parameters


def write_reward_model(config: Path, checkpoint: Path, trained: Path, out: Path) -> int:
    """The trained backbone and its head as `InternLM2ForRewardModel`, which `load_model(out, reward=True)` loads.
    Returns how many parameters were trained.

    `xtuner convert` would write them as classes of its own, which are older than this transformers."""
    import torch

    from internlm_course.model import InternLM2Config, InternLM2ForRewardModel, load_tokenizer, save_checkpoint
    from internlm_course.model.tokenizer import REWARD

    tokenizer = load_tokenizer(checkpoint)
    settings = InternLM2Config.from_pretrained(checkpoint)
    settings.reward_token_id = tokenizer.convert_tokens_to_ids(REWARD)
    model = InternLM2ForRewardModel(settings)
    weights = torch.load(trained, map_location='cpu', weights_only=False)['state_dict']
    model.load_state_dict({name.replace('llm.', 'model.', 1): weight for name, weight in weights.items()})
    save_checkpoint(model, tokenizer, out)
    return model.num_parameters()


def _run(entry, *arguments: str) -> None:
    """Calls a command of XTuner with its command line."""
    sys.argv[1:] = arguments
    entry()


if __name__ == '__main__':
    main()
