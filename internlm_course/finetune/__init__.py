"""Fine-tuning: XTuner trains LoRA, QLoRA or all weights on chat messages, or on preference pairs, in its own process,
and the result is a full checkpoint again.

What is patched into XTuner 0.2.0, in that process and without a GPU; all else of ours its config names.

| in | target | reason |
|---|---|---|
| launch | torch.cpu.is_bf16_supported | is asked of every device, for flash attention only, and torch.cpu cannot say |
| launch | torch.cuda.set_device | mmengine gives every rank a GPU |

Not patched, but kept from it: sklearn and bitsandbytes, which it imports for nothing (`launch.hide_unused`). Its
process has TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD, since a checkpoint to resume from holds more than weights, and mmengine
trusts it.
"""
from internlm_course.finetune.config import SFTSettings
from internlm_course.finetune.preference import DPOSettings, RewardSettings, dpo, reward
from internlm_course.finetune.train import sft

__all__ = ['DPOSettings', 'RewardSettings', 'SFTSettings', 'dpo', 'reward', 'sft']
