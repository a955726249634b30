"""Evaluation: OpenCompass scores base checkpoints and served chat models on held-out items, in one call.

Nothing is patched into it: `plugins` holds subclasses, which its config names."""
from internlm_course.evaluate.opencompass import EvalModel, score
from internlm_course.evaluate.suites import chance, dimensions, read_items

__all__ = ['EvalModel', 'chance', 'dimensions', 'read_items', 'score']
