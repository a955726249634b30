"""What the foundation costs: the import, a training step and a served token, each beside a peer in the same run; `make
bench` writes the JSON.

Rounds are interleaved, so that a noisy machine disturbs a case and its peer alike; compare by ratio.
"""
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

RESULTS = Path(__file__).parent / 'results'


def seconds_of(code: str) -> float:
    """Wall clock of `code` in a fresh interpreter, the interpreter's own start not counted."""
    timed = f'import time; began = time.perf_counter()\n{code}\nprint(time.perf_counter() - began)'
    return float(subprocess.run([sys.executable, '-c', timed], capture_output=True, text=True, check=True).stdout)


def case(samples: list[float], unit: str) -> dict:
    """Every sample, and the median."""
    return dict(unit=unit, samples=[round(s, 4) for s in samples], median=round(statistics.median(samples), 4))


def imports(rounds: int = 9) -> dict:
    """`import internlm_course`, beside the import of the standard library's http.client."""
    ours, peer = [], []
    for _ in range(rounds):
        ours.append(seconds_of('import internlm_course'))
        peer.append(seconds_of('import http.client'))
    return dict(internlm_course=case(ours, 's'), http_client=case(peer, 's'))


def steps(rounds: int = 7) -> dict:
    """Tokens a second of a pre-training step at the tiny shape: ours with either attention, and transformers' LLaMA of
    the same size."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from internlm_course.model import InternLM2Config, InternLM2ForCausalLM
    from internlm_course.pretrain.config import CONFIGS, Optimizer, read_config
    from internlm_course.pretrain.loop import autocast, loss_of, optimizer_of
    config = read_config(CONFIGS / 'tiny.toml')
    shape = {**config.model, 'vocab_size': 1280}
    models = {}
    for attention in ('eager', 'sdpa'):
        models[f'ours_{attention}'] = InternLM2ForCausalLM(InternLM2Config(**{**shape,
                                                                              'attn_implementation': attention}))
        models[f'transformers_llama_{attention}'] = LlamaForCausalLM(LlamaConfig(**{**shape,
                                                                                    'attn_implementation': attention}))
    optimizers = {name: optimizer_of(model, Optimizer()) for name, model in models.items()}
    phase = config.phases[0]
    rows = torch.randint(3, 1280, (phase.micro_batch, phase.sequence_length + 1),
                         generator=torch.Generator().manual_seed(0))
    rates = {name: [] for name in models}
    for round_ in range(rounds + 1):
        for name, model in models.items():
            began = time.perf_counter()
            with autocast(torch.device('cpu')):
                loss_of(model, rows).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizers[name].step()
            optimizers[name].zero_grad()
            if round_:  # the first is a warm-up
                rates[name].append(phase.micro_batch * phase.sequence_length / (time.perf_counter() - began))
    return {name: case(samples, 'tokens/s') for name, samples in rates.items()}


def serving(rounds: int = 5, tokens: int = 64) -> dict:
    """Tokens a second for one user: LMDeploy on our CPU device over HTTP, and transformers' generate in this
    process."""
    import torch
    from openai import OpenAI

    from internlm_course.course import Course
    from internlm_course.model import load_model, load_tokenizer
    with tempfile.TemporaryDirectory() as root:
        course = Course.open('tiny', root)
        checkpoint = course.sft()
        model, tokenizer = load_model(checkpoint.path, dtype=torch.float32).eval(), load_tokenizer(checkpoint.path)
        prompt = tokenizer('The capital of France is', return_tensors='pt').input_ids
        ours, peer = [], []
        with course.serve(checkpoint, Path(root) / 'serve.log') as server:
            client = OpenAI(base_url=server.url, api_key='none')
            for _ in range(rounds):
                began = time.perf_counter()
                reply = client.completions.create(model=server.model, prompt='The capital of France is',
                                                  max_tokens=tokens, temperature=0, extra_body=dict(ignore_eos=True))
                ours.append(reply.usage.completion_tokens / (time.perf_counter() - began))
                began = time.perf_counter()
                with torch.no_grad():
                    model.generate(prompt, min_new_tokens=tokens, max_new_tokens=tokens, do_sample=False)
                peer.append(tokens / (time.perf_counter() - began))
    return dict(lmdeploy_cpu=case(ours, 'tokens/s'), transformers_generate=case(peer, 'tokens/s'))


if __name__ == '__main__':
    import torch
    result = dict(date=str(date.today()), command='make bench', host=dict(
        system=platform.platform(), cores=os.cpu_count(), cpu_capability=torch.backends.cpu.get_cpu_capability(),
        torch=torch.__version__))
    for measure in (imports, steps, serving):
        result[measure.__name__] = measure()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f'foundation-{date.today()}.json'
    path.write_text(json.dumps(result, indent=1) + '\n', 'utf-8')
    print(path.read_text('utf-8'))
