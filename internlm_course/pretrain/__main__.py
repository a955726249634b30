"""Trains one phase from a config, in one process or, under torchrun, in many.

Interrupted, the same command goes on, with any number of processes.

    torchrun --nproc_per_node=2 -m internlm_course.pretrain tiny --tokens DIR --tokenizer DIR --out DIR --phase short
"""
import argparse
import sys
from pathlib import Path

from internlm_course.errors import CourseError


def parser() -> argparse.ArgumentParser:
    """The options; the folders are those that `internlm-course run` makes in its store."""
    options = argparse.ArgumentParser(prog='python -m internlm_course.pretrain', description=__doc__.splitlines()[0])
    options.add_argument('config', help='a TOML file, or the name of a shipped one: tiny, 1_8b, …')
    options.add_argument('--tokens', type=Path, required=True, help='folder of token files (<domain>.ds)')
    options.add_argument('--tokenizer', type=Path, required=True, help='folder of the tokenizer')
    options.add_argument('--out', type=Path, required=True,
                         help='folder for the checkpoint and, until then, the resumable state')
    options.add_argument('--phase', default='short', help='phase of the config (default: short)')
    options.add_argument('--start', type=Path, help='checkpoint of the phase before (default: random weights)')
    options.add_argument('--device', help='cpu or cuda (default: cuda where there is one)')
    return options


def show(record: dict) -> None:
    print('step {step}/{steps}, {tokens} tokens, loss {loss:.4f}, {tokens_per_second:.0f} tokens/s'.format(**record),
          flush=True)


def main(argv: list[str] | None = None) -> int:
    """Runs one phase; a `CourseError` is one sentence on stderr and exit code 2."""
    chosen = parser().parse_args(argv)
    from internlm_course.pretrain.config import CONFIGS, read_config
    from internlm_course.pretrain.loop import pretrain
    from internlm_course.tokenfiles import read_corpus
    try:
        config = read_config(Path(chosen.config) if chosen.config.endswith('.toml')
                             else CONFIGS / f'{chosen.config}.toml')
        chosen.out.mkdir(parents=True, exist_ok=True)
        pretrain(config, config.phase(chosen.phase), *read_corpus(chosen.tokens), chosen.tokenizer, chosen.out,
                 chosen.start, chosen.device, on_step=show)
    except CourseError as error:
        print(f'pretrain: {error}', file=sys.stderr)
        return 2
    finally:
        import torch.distributed as dist
        if dist.is_initialized():
            dist.destroy_process_group()
    return 0


if __name__ == '__main__':
    sys.exit(main())
