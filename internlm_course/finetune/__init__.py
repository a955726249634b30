"""Fine-tuning: XTuner trains LoRA, QLoRA or all weights on chat messages, in its own process, and the result is a full checkpoint again."""
from internlm_course.finetune.config import SFTSettings
from internlm_course.finetune.train import sft

__all__ = ['SFTSettings', 'sft']
