"""Alignment: COOL RLHF (InternLM2 report, 4.2 and 4.3), a conditional reward model and PPO in online rounds, and what
came after, GRPO with rewards that a program gives."""
