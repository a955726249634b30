"""Fine-tuning: XTuner trains LoRA, QLoRA or all weights on chat messages, in its own process, and the result is a full checkpoint again."""
