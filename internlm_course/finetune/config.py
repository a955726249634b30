"""The XTuner config of a fine-tuning run, written as a file that a student can read, in XTuner's usual five parts."""
from dataclasses import dataclass
from pathlib import Path

from internlm_course.errors import CourseError
from internlm_course.mmconfig import Name, call, write_config

METHODS = ('lora', 'qlora', 'full')
DTYPES = ('float32', 'bfloat16')


@dataclass(frozen=True)
class SFTSettings:
    """What a student turns in supervised fine-tuning; the defaults are the tiny chain's."""
    method: str = 'lora'
    """'lora': low-rank adapters on all linear layers; 'qlora': the same over weights held in 4-bit nf4; 'full': every
    weight."""
    rank: int = 32
    """Inner width of an adapter: W + alpha/rank * B A, with A [rank, in] and B [out, rank]."""
    alpha: float = 64
    """Scale of the adapter, see `rank`."""
    train_embeddings: bool = False
    """Also train the token embedding and the output matrix in full: for chat tokens that pre-training hardly saw, which
    first get the rows of `<s>` and `</s>` (see `chat_tokens`; not with 'full')."""
    embedding_rate: float = 1.0
    """Learning rate of the token embedding and the output matrix, as a part of the adapters'. At their full rate
    similar names drift towards each other, and tool calls suffer from it; the tiny chain takes a tenth."""
    learning_rate: float = 2e-3
    """Peak; a full fine-tuning wants some 10 times less."""
    warmup: float = 0.05
    """Share of the iterations in which the learning rate rises; then it falls along a cosine to a tenth."""
    epochs: float = 3
    """Passes over the packed data; used when max_iters is None."""
    max_iters: int | None = None
    """Optimiser steps."""
    batch_size: int = 16
    """Packed sequences per step, computed one after another; on a CPU, an even number of them by two processes."""
    max_length: int = 256
    """Tokens of a packed sequence; a longer conversation is cut. Packed conversations do not see each other."""
    average: float = 0.0
    """Share of the iterations, the last, whose weights' mean is the result."""
    weight_decay: float = 0.0
    clip: float = 1.0
    """Largest norm of the gradient."""
    checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, a third more time."""
    dtype: str = 'float32'
    """'float32', or where the hardware has it 'bfloat16' (autocast; adapters stay float32)."""
    seed: int = 0

    def check(self) -> None:
        """
        Raises:
            CourseError: a value that cannot work, named with what would.
        """
        if self.method not in METHODS:
            raise CourseError(f"There is no fine-tuning method '{self.method}'.",
                              f'Choose one of {", ".join(METHODS)}.')
        if self.dtype not in DTYPES:
            raise CourseError(f"Fine-tuning cannot compute in '{self.dtype}'.", f'Choose one of {", ".join(DTYPES)}.')
        if self.method == 'full' and self.train_embeddings:
            raise CourseError("train_embeddings says nothing with method 'full'.",
                              'A full fine-tuning trains them anyway: leave it False.')
        positive = ('rank', 'alpha', 'embedding_rate', 'learning_rate', 'batch_size', 'clip',
                    'epochs' if self.max_iters is None else 'max_iters')
        for name in positive:
            value = getattr(self, name)
            if not value > 0:
                raise CourseError(f'Fine-tuning cannot run with {name} {value}.', f'Give {name} a value above 0.')
        if not 0 <= self.warmup < 1:
            raise CourseError(f'The warm-up cannot be {self.warmup} of the iterations.',
                              'Give a share from 0 up to, but not, 1.')
        if self.max_length < 16:
            raise CourseError(f'Sequences of {self.max_length} tokens hold no conversation.',
                              'Give max_length 16 or more.')


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
DATALOADER = dict(
    batch_size=1, num_workers=0, dataset=Name('train_dataset'),
    sampler=call('mmengine.dataset', 'DefaultSampler', shuffle=True),
    collate_fn=call('xtuner.dataset.collate_fns', 'default_collate_fn', use_varlen_attn=True))


def config_text(checkpoint: Path, conversations: Path, settings: SFTSettings, iterations: int, gpu: bool = False,
                processes: int = 1) -> str:
    """The config file.

    Args:
        conversations: jsonl of {'messages': […]}.
        iterations: packed sequences, of which `batch_size` make an optimiser step (XTuner keeps packed conversations
            apart one sequence at a time only); the schedule counts them: XTuner's own rounds a short warm-up badly.
        gpu: whether a CUDA device will train.
        processes: ranks that divide a step's sequences among them; the gradient is the same mean.
    """
    iterations //= processes
    warmup = round(settings.warmup * iterations)
    warmup = warmup if warmup > 1 else 0  # mmengine's LinearLR over one step never leaves its start factor
    model = dict(tokenizer=TOKENIZER, model=_model(settings, gpu))
    if processes > 1:  # left to itself mmengine gives each rank the GPU of its number, and keeps every gradient twice
        model['model_wrapper_cfg'] = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False,
                                          gradient_as_bucket_view=True)
    return write_config(PURPOSE, {
        'PART 1: settings': dict(
            checkpoint=str(checkpoint), conversations=str(conversations), max_length=settings.max_length,
            accumulation=settings.batch_size // processes, iterations=iterations, warmup=warmup,
            lr=settings.learning_rate),
        'PART 2: model and tokenizer': model,
        'PART 3: data': dict(train_dataset=DATASET, train_dataloader=DATALOADER),
        'PART 4: optimiser and schedule': dict(
            optim_wrapper=_optimizer(settings, gpu), param_scheduler=_schedule(warmup),
            train_cfg=call('xtuner.engine.runner', 'TrainLoop', max_iters=Name('iterations'))),
        'PART 5: runtime': _runtime(settings, iterations)})


def _model(settings: SFTSettings, gpu: bool) -> dict:
    load = ('transformers', 'AutoModelForCausalLM.from_pretrained')
    if settings.train_embeddings:
        load = ('internlm_course.finetune.chat_tokens', 'load_for_chat')
    llm = call(*load, **PRETRAINED, torch_dtype=Name('torch.float32', 'torch'))
    if not gpu:
        llm['attn_implementation'] = 'eager'  # on a CPU the explicit products are faster than sdpa in the backward pass
    if settings.method == 'qlora':
        llm['quantization_config'] = call(
            'transformers', 'BitsAndBytesConfig', load_in_4bit=True, bnb_4bit_quant_type='nf4',
            bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=Name(f'torch.{settings.dtype}', 'torch'))
    model = call('xtuner.model', 'SupervisedFinetune', use_varlen_attn=True,
                 use_activation_checkpointing=settings.checkpointing, llm=llm)
    if settings.method != 'full':
        # Named, not left to XTuner, which takes any linear layer: `output` is adapted or trained in full, never both.
        target = ['wqkv', 'wo', 'w1', 'w2', 'w3']
        if settings.method == 'lora' and not settings.train_embeddings:
            target.append('output')
        model['lora'] = call(
            'peft', 'LoraConfig', r=settings.rank, lora_alpha=settings.alpha, lora_dropout=0.0, bias='none',
            task_type='CAUSAL_LM', target_modules=target,
            modules_to_save=['tok_embeddings', 'output'] if settings.train_embeddings else None)
    return model


def _optimizer(settings: SFTSettings, gpu: bool) -> dict:
    wrapper = call('mmengine.optim', 'OptimWrapper')
    if settings.dtype == 'bfloat16':
        wrapper = (call('mmengine.optim', 'AmpOptimWrapper', dtype='bfloat16', loss_scale=1.0) if gpu else
                   call('internlm_course.finetune.autocast', 'CPUAutocastOptimWrapper'))
    wrapper |= dict(
        accumulative_counts=Name('accumulation'), clip_grad=dict(max_norm=settings.clip, error_if_nonfinite=True),
        optimizer=call('torch.optim', 'AdamW', lr=Name('lr'), betas=(0.9, 0.95), weight_decay=settings.weight_decay,
                       fused=True))
    if settings.train_embeddings and settings.embedding_rate != 1:
        # mmengine's rates by name: PEFT holds what it trains in full beside the adapters under modules_to_save.
        wrapper['paramwise_cfg'] = dict(custom_keys=dict(modules_to_save=dict(lr_mult=settings.embedding_rate)))
    return wrapper


def _schedule(warmup: int) -> list[dict]:
    rise = call('mmengine.optim', 'LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=Name('warmup'))
    fall = call('mmengine.optim', 'CosineAnnealingLR', eta_min_ratio=0.1, by_epoch=False, begin=Name('warmup'),
                end=Name('iterations'))
    return [rise, fall] if warmup else [fall]


def _runtime(settings: SFTSettings, iterations: int) -> dict:
    interval = max(1, iterations // 50)  # iterations between two lines of the log, over which the loss there is a mean
    hooks = 'mmengine.hooks'
    average = [call('internlm_course.finetune.average', 'AverageLastWeights',
                    begin=round(iterations * (1 - settings.average)))] if settings.average else []
    return dict(
        custom_hooks=[call('xtuner.engine.hooks', 'DatasetInfoHook', tokenizer=Name('tokenizer')),
                      call('xtuner.engine.hooks', 'VarlenAttnArgsToMessageHubHook'), *average],
        default_hooks=dict(
            timer=call(hooks, 'IterTimerHook'),
            logger=call(hooks, 'LoggerHook', log_metric_by_epoch=False, interval=interval),
            param_scheduler=call(hooks, 'ParamSchedulerHook'),
            checkpoint=call(hooks, 'CheckpointHook', by_epoch=False, interval=Name('iterations'), max_keep_ckpts=1,
                            save_optimizer=False),
            sampler_seed=call(hooks, 'DistSamplerSeedHook')),
        env_cfg=dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
                     dist_cfg=dict(backend='gloo')),
        visualizer=None, log_level='INFO', load_from=None, resume=False,
        randomness=dict(seed=settings.seed, deterministic=False), log_processor=dict(by_epoch=False, window_size=interval))
