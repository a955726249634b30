"""What the growing model writes: greedy continuations of a few prompts after 0 and 300 steps of tiny.toml's first phase
(lecture 3 opens with them).

    python tests/bench/growth.py --tokens STORE/tokens-… --tokenizer STORE/tokenizer-…
"""
import argparse
import dataclasses
from pathlib import Path

import torch

from internlm_course.model import load_tokenizer
from internlm_course.pretrain.batches import steps_of
from internlm_course.pretrain.config import CONFIGS, read_config
from internlm_course.pretrain.loop import gradients, initial_model, learning_rate, optimizer_of
from internlm_course.pretrain.parallel import World
from internlm_course.tokenfiles import read_corpus

PROMPTS = ('The capital of France is', '法国的首都是', 'Listen: 48213 Repeat:', '37+48=',
           'Tom visits Cairo. Anna visits Paris.\nQ: Which city does Tom visit? A: Tom visits')
NEW = 12  # tokens


def written(model, tokenizer, prompt: str) -> str:
    """The likeliest `NEW` tokens after a prompt, one by one."""
    ids = torch.tensor([tokenizer.encode(prompt)])
    with torch.no_grad():
        for _ in range(NEW):
            ids = torch.cat([ids, model(input_ids=ids).logits[:, -1:].argmax(-1)], 1)
    return tokenizer.decode(ids[0, -NEW:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--tokens', type=Path, required=True)
    parser.add_argument('--tokenizer', type=Path, required=True)
    parser.add_argument('--steps', type=int, nargs='+', default=[0, 300])
    parser.add_argument('--save', type=Path)
    args = parser.parse_args()
    config, tokenizer, world = read_config(CONFIGS / 'tiny.toml'), load_tokenizer(args.tokenizer), World.open('cpu')
    phase = dataclasses.replace(config.phase('short'), compile=False)
    model = initial_model(config, phase, tokenizer, None, world)
    optimizer = optimizer_of(model, config.optimizer)
    documents, _ = read_corpus(args.tokens)
    for step, rows in enumerate(steps_of(documents, phase, config.seed)):
        if step in args.steps:
            model.eval()
            for prompt in PROMPTS:
                print(f'step {step:4}  {prompt!r} -> {written(model, tokenizer, prompt)!r}', flush=True)
            model.train()
            if args.save:
                torch.save(model.state_dict(), args.save / f'{step}.pt')
        if step == max(args.steps):
            break
        for group in optimizer.param_groups:
            group['lr'] = learning_rate(step, phase)
        loss = gradients(model, torch.from_numpy(rows), phase.micro_batch, world)
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip)
        optimizer.step()
        optimizer.zero_grad()
        if step % 20 == 0:
            print(f'step {step:4}  loss {loss:.3f}', flush=True)


if __name__ == '__main__':
    main()
