"""Evaluation: OpenCompass scores base checkpoints and served chat models on held-out items, in one call."""
