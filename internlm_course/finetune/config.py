"""The XTuner config of a fine-tuning run, written as a file that a student can read, in XTuner's usual five parts."""
from dataclasses import dataclass
from pathlib import Path

from internlm_course.errors import CourseError

METHODS = ('lora', 'qlora', 'full')
DTYPES = ('float32', 'bfloat16')


@dataclass(frozen=True)
class SFTSettings:
    """What a student turns in supervised fine-tuning; the defaults are the tiny chain's."""
    method: str = 'lora'
    """'lora': low-rank adapters on all linear layers; 'qlora': the same over weights held in 4-bit nf4; 'full': every weight."""
    rank: int = 32
    """Inner width of an adapter: W + alpha/rank * B A, with A [rank, in] and B [out, rank]."""
    alpha: float = 64
    """Scale of the adapter, see `rank`."""
    train_embeddings: bool = False
    """Also train the token embedding and the output matrix in full: for chat tokens that pre-training hardly saw, which first get the rows of
    `<s>` and `</s>` (see `chat_tokens`; not with 'full')."""
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
            raise CourseError(f"There is no fine-tuning method '{self.method}'.", f'Choose one of {", ".join(METHODS)}.')
        if self.dtype not in DTYPES:
            raise CourseError(f"Fine-tuning cannot compute in '{self.dtype}'.", f'Choose one of {", ".join(DTYPES)}.')
        if self.method == 'full' and self.train_embeddings:
            raise CourseError("train_embeddings says nothing with method 'full'.", 'A full fine-tuning trains them anyway: leave it False.')
        positive = ('rank', 'alpha', 'embedding_rate', 'learning_rate', 'batch_size', 'clip', 'epochs' if self.max_iters is None else 'max_iters')
        for name in positive:
            value = getattr(self, name)
            if not value > 0:
                raise CourseError(f'Fine-tuning cannot run with {name} {value}.', f'Give {name} a value above 0.')
        if not 0 <= self.warmup < 1:
            raise CourseError(f'The warm-up cannot be {self.warmup} of the iterations.', 'Give a share from 0 up to, but not, 1.')
        if self.max_length < 16:
            raise CourseError(f'Sequences of {self.max_length} tokens hold no conversation.', 'Give max_length 16 or more.')


def config_text(checkpoint: Path, conversations: Path, settings: SFTSettings, iterations: int, gpu: bool = False, processes: int = 1) -> str:
    """The config file. mmengine reads it as syntax (lazy imports), so it holds imports and assignments only.

    Args:
        conversations: jsonl of {'messages': […]}.
        iterations: packed sequences, of which `batch_size` make an optimiser step (XTuner keeps packed conversations apart one sequence at
            a time only); the schedule counts them, because XTuner's schedule by epochs rounds a short warm-up badly.
        gpu: whether a CUDA device will train.
        processes: ranks that divide a step's sequences among them; the gradient is the same mean.
    """
    iterations //= processes
    warmup = round(settings.warmup * iterations)
    # mmengine's LinearLR over one step never leaves its start factor, so a warm-up shorter than two steps is none.
    warmup, rising = (warmup, 'dict(type=LinearLR, start_factor=0.01, by_epoch=False, begin=0, end=warmup),') if warmup > 1 else (0, '')
    interval = max(1, iterations // 50)
    wrapper = f'type={_wrapper(settings, gpu)}'
    return f"""# XTuner config: `xtuner train config.py` does the same as the course (on a CPU, through internlm_course.finetune.launch).
import torch
from datasets import load_dataset
from mmengine.dataset import DefaultSampler
from mmengine.hooks import CheckpointHook, DistSamplerSeedHook, IterTimerHook, LoggerHook, ParamSchedulerHook
from mmengine.optim import AmpOptimWrapper, CosineAnnealingLR, LinearLR, OptimWrapper
from peft import LoraConfig
from torch.optim import AdamW
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from xtuner.dataset import process_hf_dataset
from xtuner.dataset.collate_fns import default_collate_fn
from xtuner.engine.hooks import DatasetInfoHook, VarlenAttnArgsToMessageHubHook
from xtuner.engine.runner import TrainLoop
from xtuner.model import SupervisedFinetune

from internlm_course.finetune.autocast import CPUAutocastOptimWrapper
from internlm_course.finetune.chat_tokens import load_for_chat

# PART 1: settings
checkpoint = {str(checkpoint)!r}
conversations = {str(conversations)!r}
max_length = {settings.max_length}
accumulation = {settings.batch_size // processes}
iterations = {iterations}
warmup = {warmup}
lr = {settings.learning_rate}

# PART 2: model and tokenizer
tokenizer = dict(type=AutoTokenizer.from_pretrained, pretrained_model_name_or_path=checkpoint, trust_remote_code=True, padding_side='right')
model = dict(
    type=SupervisedFinetune,
    use_varlen_attn=True,
    use_activation_checkpointing={settings.checkpointing},
    llm=dict(type={_loader(settings)}, pretrained_model_name_or_path=checkpoint, trust_remote_code=True,
             torch_dtype=torch.float32{_attention(gpu)}{_quantization(settings)}){_lora(settings)}){_ranks(processes)}

# PART 3: data
train_dataset = dict(
    type=process_hf_dataset,
    dataset=dict(type=load_dataset, path='json', data_files=dict(train=conversations)),
    tokenizer=tokenizer,
    max_length=max_length,
    dataset_map_fn='internlm_course.finetune.messages.to_conversation',
    template_map_fn=None,
    remove_unused_columns=True,
    shuffle_before_pack=True,
    pack_to_max_length=True,
    use_varlen_attn=True,
    map_num_proc=None)
train_dataloader = dict(
    batch_size=1,
    num_workers=0,
    dataset=train_dataset,
    sampler=dict(type=DefaultSampler, shuffle=True),
    collate_fn=dict(type=default_collate_fn, use_varlen_attn=True))

# PART 4: optimiser and schedule
optim_wrapper = dict(
    {wrapper}, accumulative_counts=accumulation, clip_grad=dict(max_norm={settings.clip}, error_if_nonfinite=True),
    optimizer=dict(type=AdamW, lr=lr, betas=(0.9, 0.95), weight_decay={settings.weight_decay}, fused=True){_paramwise(settings)})
param_scheduler = [
    {rising}
    dict(type=CosineAnnealingLR, eta_min_ratio=0.1, by_epoch=False, begin=warmup, end=iterations)]
train_cfg = dict(type=TrainLoop, max_iters=iterations)

# PART 5: runtime
custom_hooks = [dict(type=DatasetInfoHook, tokenizer=tokenizer), dict(type=VarlenAttnArgsToMessageHubHook)]
default_hooks = dict(
    timer=dict(type=IterTimerHook),
    logger=dict(type=LoggerHook, log_metric_by_epoch=False, interval={interval}),
    param_scheduler=dict(type=ParamSchedulerHook),
    checkpoint=dict(type=CheckpointHook, by_epoch=False, interval=iterations, max_keep_ckpts=1, save_optimizer=False),
    sampler_seed=dict(type=DistSamplerSeedHook))
env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0), dist_cfg=dict(backend='gloo'))
visualizer = None
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed={settings.seed}, deterministic=False)
log_processor = dict(by_epoch=False, window_size={interval})
"""


def _ranks(processes: int) -> str:
    """Left to itself mmengine gives each rank the GPU of its number, and keeps every gradient twice."""
    return '' if processes == 1 else """
model_wrapper_cfg = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False, gradient_as_bucket_view=True)"""


def _wrapper(settings: SFTSettings, gpu: bool) -> str:
    if settings.dtype == 'float32':
        return 'OptimWrapper'
    return "AmpOptimWrapper, dtype='bfloat16', loss_scale=1.0" if gpu else 'CPUAutocastOptimWrapper'


def _loader(settings: SFTSettings) -> str:
    return 'load_for_chat' if settings.train_embeddings else 'AutoModelForCausalLM.from_pretrained'


def _attention(gpu: bool) -> str:
    """On a CPU the explicit products are faster than sdpa in the backward pass."""
    return '' if gpu else ", attn_implementation='eager'"


def _paramwise(settings: SFTSettings) -> str:
    """mmengine's rates by name: PEFT holds what it trains in full beside the adapters under modules_to_save."""
    if not settings.train_embeddings or settings.embedding_rate == 1:
        return ''
    return f""",
    paramwise_cfg=dict(custom_keys=dict(modules_to_save=dict(lr_mult={settings.embedding_rate})))"""


def _quantization(settings: SFTSettings) -> str:
    if settings.method != 'qlora':
        return ''
    return f""",
             quantization_config=dict(type=BitsAndBytesConfig, load_in_4bit=True, bnb_4bit_quant_type='nf4', bnb_4bit_use_double_quant=True,
                                      bnb_4bit_compute_dtype=torch.{settings.dtype})"""


def _lora(settings: SFTSettings) -> str:
    if settings.method == 'full':
        return ''
    # Named, not left to XTuner: it would take any linear layer, and `output` is either adapted or trained in full, never both.
    target, save = ['wqkv', 'wo', 'w1', 'w2', 'w3'], None
    if settings.train_embeddings:
        save = ['tok_embeddings', 'output']
    elif settings.method == 'lora':
        target.append('output')
    return f""",
    lora=dict(type=LoraConfig, r={settings.rank}, lora_alpha={settings.alpha}, lora_dropout=0.0, bias='none', task_type='CAUSAL_LM',
              target_modules={target}, modules_to_save={save})"""
