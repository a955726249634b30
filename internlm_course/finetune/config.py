"""The XTuner config of a run, written as a file that a student can read, in XTuner's usual five parts: what all runs
share, and supervised fine-tuning."""
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from internlm_course.errors import CourseError
from internlm_course.mmconfig import Name, call, write_config
from internlm_course.model.chat import render

METHODS = ('lora', 'qlora', 'full')
DTYPES = ('float32', 'bfloat16')
ZERO = ('1', '2', '3', '2_offload', '3_offload')


@dataclass(frozen=True)
class RunSettings:
    """What every run of XTuner is told."""
    learning_rate: float = 2e-4
    """Peak."""
    warmup: float = 0.05
    """Share of the iterations in which the learning rate rises; then it falls along a cosine to a tenth."""
    epochs: float = 1
    """Passes over the packed data; used when max_iters is None."""
    max_iters: int | None = None
    """Optimiser steps."""
    batch_size: int = 16
    """Packed sequences per step, computed one after another; on a CPU, an even number of them by two processes."""
    max_length: int = 256
    """Tokens of a sequence; what is longer is cut. What is packed together does not see each other."""
    average: float = 0.0
    """Share of the iterations, the last, whose weights' mean is the result, see `average`."""
    weight_decay: float = 0.0
    clip: float = 1.0
    """Largest norm of the gradient."""
    checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, a third more time."""
    dtype: str = 'float32'
    """'float32', or where the hardware has it 'bfloat16' (autocast; adapters stay float32)."""
    seed: int = 0

    POSITIVE = ('learning_rate', 'batch_size', 'clip')

    def check(self) -> None:
        """
        Raises:
            CourseError: a value that cannot work, named with what would.
        """
        if self.dtype not in DTYPES:
            raise CourseError(f"Fine-tuning cannot compute in '{self.dtype}'.", f'Choose one of {", ".join(DTYPES)}.')
        for name in (*self.POSITIVE, 'epochs' if self.max_iters is None else 'max_iters'):
            value = getattr(self, name)
            if not value > 0:
                raise CourseError(f'Fine-tuning cannot run with {name} {value}.', f'Give {name} a value above 0.')
        if not 0 <= self.warmup < 1:
            raise CourseError(f'The warm-up cannot be {self.warmup} of the iterations.',
                              'Give a share from 0 up to, but not, 1.')
        if self.max_length < 16:
            raise CourseError(f'Sequences of {self.max_length} tokens hold no conversation.',
                              'Give max_length 16 or more.')


@dataclass(frozen=True)
class AdapterSettings(RunSettings):
    """A run that may train adapters instead of all weights."""
    method: str = 'lora'
    """'lora': low-rank adapters on all linear layers; 'qlora': the same over weights held in 4-bit nf4; 'full': every
    weight."""
    rank: int = 32
    """Inner width of an adapter: W + alpha/rank * B A, with A [rank, in] and B [out, rank]."""
    alpha: float = 64
    """Scale of the adapter, see `rank`."""
    keep_adapter: bool = False
    """Also leave the adapter by itself, in PEFT's form, in the folder `adapter` of the result."""

    POSITIVE = (*RunSettings.POSITIVE, 'rank', 'alpha')

    def check(self) -> None:
        """See `RunSettings.check`."""
        if self.method not in METHODS:
            raise CourseError(f"There is no fine-tuning method '{self.method}'.",
                              f'Choose one of {", ".join(METHODS)}.')
        if self.method == 'full' and self.keep_adapter:
            raise CourseError("keep_adapter says nothing with method 'full'.",
                              'A full fine-tuning has no adapter: leave it False.')
        super().check()


@dataclass(frozen=True)
class SFTSettings(AdapterSettings):
    """What a student turns in supervised fine-tuning; the defaults are the tiny chain's."""
    learning_rate: float = 2e-3
    """Peak; a full fine-tuning wants some 10 times less."""
    epochs: float = 3
    train_embeddings: bool = False
    """Also train the token embedding and the output matrix in full: for chat tokens that pre-training hardly saw, which
    first get the rows of `<s>` and `</s>` (see `chat_tokens`; not with 'full')."""
    embedding_rate: float = 1.0
    """Learning rate of the token embedding and the output matrix, as a part of the adapters'. At their full rate
    similar names drift towards each other, and tool calls suffer from it; the tiny chain takes a tenth."""
    sample_questions: Sequence[str] = ()
    """Questions of a user that the model answers ten times while it trains, by XTuner's EvaluateChatHook."""

    POSITIVE = (*AdapterSettings.POSITIVE, 'embedding_rate')

    def check(self) -> None:
        """See `RunSettings.check`."""
        super().check()
        if self.method == 'full' and self.train_embeddings:
            raise CourseError("train_embeddings says nothing with method 'full'.",
                              'A full fine-tuning trains them anyway: leave it False.')


PURPOSE = 'XTuner config: `xtuner train config.py` trains the same (on a CPU, through internlm_course.finetune.launch).'
# Names in these trees that are imported from nowhere are the settings of PART 1, or assigned above.
PRETRAINED = dict(pretrained_model_name_or_path=Name('checkpoint'), trust_remote_code=True)
TOKENIZER = call('transformers', 'AutoTokenizer.from_pretrained', **PRETRAINED, padding_side='right')
DATASET = call(
    'xtuner.dataset', 'process_hf_dataset',
    dataset=call('datasets', 'load_dataset', path='json', data_files=dict(train=Name('conversations'))),
    tokenizer=Name('tokenizer'), max_length=Name('max_length'),
    dataset_map_fn='internlm_course.finetune.messages.to_conversation', template_map_fn=None, map_num_proc=None,
    remove_unused_columns=True, shuffle_before_pack=True, pack_to_max_length=True, use_varlen_attn=True)
COLLATE = call('xtuner.dataset.collate_fns', 'default_collate_fn', use_varlen_attn=True)


def config_text(checkpoint: Path, conversations: Path, settings: SFTSettings, iterations: int, gpu: bool = False,
                processes: int = 1) -> str:
    """The config file of supervised fine-tuning on a jsonl of {'messages': […]}; the rest as in `run_config`."""
    load = ('transformers', 'AutoModelForCausalLM.from_pretrained')
    if settings.train_embeddings:
        load = ('internlm_course.finetune.chat_tokens', 'load_for_chat')
    model = call('xtuner.model', 'SupervisedFinetune', **language_model(settings, gpu, load))
    hooks = [_sample_answers(settings.sample_questions)] if settings.sample_questions else []
    return run_config(settings, dict(checkpoint=str(checkpoint), conversations=str(conversations)), model, DATASET,
                      COLLATE, iterations, gpu, processes, hooks=hooks)


def run_config(settings: RunSettings, files: dict, model: dict, dataset: dict, collate: dict, iterations: int,
               gpu: bool, processes: int, group: bool = False, hooks: Sequence[dict] = (),
               averaged: str = 'loss', shuffle: bool = True) -> str:
    """The config file of any run.

    Args:
        files: the settings that begin PART 1, and that `model` and `dataset` name.
        iterations: packed sequences, of which `batch_size` make an optimiser step (XTuner keeps what is packed apart
            one sequence at a time only); the schedule counts them: XTuner's own rounds a short warm-up badly.
        gpu: whether CUDA devices will train.
        processes: ranks that divide a step's sequences among them; the gradient is the same mean.
        group: whether even one process is a group of torch.distributed.
        hooks: more of mmengine's hooks.
        averaged: what the log gives as a mean since its last line, a pattern.
        shuffle: read the packed sequences in random order, not as they come.
    """
    iterations, accumulation = iterations // processes, settings.batch_size // processes
    warmup = round(settings.warmup * iterations)
    warmup = warmup if warmup > 1 else 0  # mmengine's LinearLR over one step never leaves its start factor
    built = dict(tokenizer=TOKENIZER, model=model)
    if (processes > 1 or group) and not gpu:
        # left to itself mmengine gives each rank the GPU of its number, and keeps every gradient twice
        built['model_wrapper_cfg'] = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False,
                                          gradient_as_bucket_view=True)
    loader = dict(batch_size=1, num_workers=0, dataset=Name('train_dataset'),
                  sampler=call('mmengine.dataset', 'DefaultSampler', shuffle=shuffle), collate_fn=collate)
    return write_config(PURPOSE, {
        'PART 1: settings': dict(
            **files, max_length=settings.max_length, accumulation=accumulation, iterations=iterations, warmup=warmup,
            lr=settings.learning_rate,
            # Ten times a run, at whole steps: gradients half summed are not kept
            save_every=accumulation * max(1, iterations // accumulation // 10)),
        'PART 2: model and tokenizer': built,
        'PART 3: data': dict(train_dataset=dataset, train_dataloader=loader),
        'PART 4: optimiser and schedule': dict(
            optim_wrapper=_optimizer(settings, gpu), param_scheduler=_schedule(warmup),
            train_cfg=call('xtuner.engine.runner', 'TrainLoop', max_iters=Name('iterations'))),
        'PART 5: runtime': _runtime(settings, iterations, hooks, gpu, averaged)})


def train_command(config: Path | str, gpus: int = 1, zero: str = '') -> str:
    """The command line that trains a config by `xtuner train` itself on a machine with GPUs.

    Args:
        config: written for as many `processes`.
        zero: DeepSpeed's stage, one of ZERO: what the GPUs divide among them is '1' the optimiser's states, '2' the
            gradients too, '3' the weights too; with `_offload` in the computer's memory.

    Raises:
        CourseError: no such stage.
    """
    if zero and zero not in ZERO:
        raise CourseError(f"DeepSpeed has no ZeRO stage '{zero}'.", f'Choose one of {", ".join(ZERO)}.')
    several, divided = f'NPROC_PER_NODE={gpus} ' * (gpus > 1), f' --deepspeed deepspeed_zero{zero}' * bool(zero)
    return f'{several}xtuner train {config}{divided}'


def language_model(settings: RunSettings, gpu: bool,
                   load: tuple[str, str] = ('transformers', 'AutoModelForCausalLM.from_pretrained')) -> dict:
    """What XTuner's models have in common: `llm`, the packing, and the adapters where settings ask for them.

    Args:
        load: module and name of what loads the checkpoint.
    """
    llm = call(*load, **PRETRAINED, torch_dtype=Name('torch.float32', 'torch'))
    if not gpu:
        llm['attn_implementation'] = 'eager'  # on a CPU the explicit products are faster than sdpa in the backward pass
    model = dict(use_varlen_attn=True, use_activation_checkpointing=settings.checkpointing, llm=llm)
    method = getattr(settings, 'method', 'full')
    if method == 'qlora':
        llm['quantization_config'] = call(
            'transformers', 'BitsAndBytesConfig', load_in_4bit=True, bnb_4bit_quant_type='nf4',
            bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=Name(f'torch.{settings.dtype}', 'torch'))
    if method != 'full':
        embeddings = getattr(settings, 'train_embeddings', False)
        # Named, not left to XTuner, which takes any linear layer: `output` is adapted or trained in full, never both.
        target = ['wqkv', 'wo', 'w1', 'w2', 'w3']
        if not embeddings:
            target.append('output')
        model['lora'] = call(
            'peft', 'LoraConfig', r=settings.rank, lora_alpha=settings.alpha, lora_dropout=0.0, bias='none',
            task_type='CAUSAL_LM', target_modules=target,
            modules_to_save=['tok_embeddings', 'output'] if embeddings else None)
    return model


def _sample_answers(questions: Sequence[str]) -> dict:
    """Greedy answers in XTuner's log, and in a file at each checkpoint."""
    asked = [render([dict(role='user', content=question)], add_generation_prompt=True) for question in questions]
    return call('xtuner.engine.hooks', 'EvaluateChatHook', tokenizer=Name('tokenizer'), evaluation_inputs=asked,
                every_n_iters=Name('save_every'), max_new_tokens=64, stop_words=['<|im_end|>'],
                generation_kwargs=dict(do_sample=False, temperature=None, top_p=None, top_k=None))


def _optimizer(settings: RunSettings, gpu: bool) -> dict:
    wrapper = call('mmengine.optim', 'OptimWrapper')
    if settings.dtype == 'bfloat16':
        wrapper = (call('mmengine.optim', 'AmpOptimWrapper', dtype='bfloat16', loss_scale=1.0) if gpu else
                   call('internlm_course.finetune.autocast', 'CPUAutocastOptimWrapper'))
    wrapper |= dict(
        accumulative_counts=Name('accumulation'), clip_grad=dict(max_norm=settings.clip, error_if_nonfinite=True),
        optimizer=call('torch.optim', 'AdamW', lr=Name('lr'), betas=(0.9, 0.95), weight_decay=settings.weight_decay,
                       fused=True))
    if getattr(settings, 'train_embeddings', False) and settings.embedding_rate != 1:
        # mmengine's rates by name: PEFT holds what it trains in full beside the adapters under modules_to_save.
        wrapper['paramwise_cfg'] = dict(custom_keys=dict(modules_to_save=dict(lr_mult=settings.embedding_rate)))
    return wrapper


def _schedule(warmup: int) -> list[dict]:
    rise = call('mmengine.optim', 'LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=Name('warmup'))
    fall = call('mmengine.optim', 'CosineAnnealingLR', eta_min_ratio=0.1, by_epoch=False, begin=Name('warmup'),
                end=Name('iterations'))
    return [rise, fall] if warmup else [fall]


def _runtime(settings: RunSettings, iterations: int, more_hooks: Sequence[dict], gpu: bool,
             averaged: str) -> dict:
    interval = max(1, iterations // 50)  # iterations between two lines of the log, over which the loss there is a mean
    hooks = 'mmengine.hooks'
    average = [call('internlm_course.finetune.average', 'AverageLastWeights',
                    begin=round(iterations * (1 - settings.average)))] if settings.average else []
    return dict(
        custom_hooks=[call('xtuner.engine.hooks', 'DatasetInfoHook', tokenizer=Name('tokenizer')),
                      call('xtuner.engine.hooks', 'VarlenAttnArgsToMessageHubHook'), *average, *more_hooks],
        default_hooks=dict(
            timer=call(hooks, 'IterTimerHook'),
            logger=call(hooks, 'LoggerHook', log_metric_by_epoch=False, interval=interval),
            param_scheduler=call(hooks, 'ParamSchedulerHook'),
            # mmengine deletes the oldest before it writes the newest: of one there would be none in between
            checkpoint=call(hooks, 'CheckpointHook', by_epoch=False, interval=Name('save_every'), max_keep_ckpts=2),
            sampler_seed=call(hooks, 'DistSamplerSeedHook')),
        env_cfg=dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
                     dist_cfg=dict(backend='nccl' if gpu else 'gloo')),
        visualizer=None, log_level='INFO', load_from=None, resume=True,
        randomness=dict(seed=settings.seed, deterministic=False),
        log_processor=dict(by_epoch=False, window_size=interval, mean_pattern=f'.*({averaged}|time|grad_norm).*'))
