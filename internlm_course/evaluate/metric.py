"""The course's exact-match rule as an OpenCompass evaluator. Only OpenCompass's process imports this file."""
from opencompass.openicl.icl_evaluator import BaseEvaluator

from internlm_course.marking import is_correct


class ExactAnswer(BaseEvaluator):
    """Accuracy in percent (OpenCompass's unit), with the verdict on each sample in `details`."""

    def score(self, predictions: list[str], references: list[str]) -> dict:
        rows = [dict(pred=prediction, answer=answer, correct=is_correct(prediction, answer))
                for prediction, answer in zip(predictions, references, strict=True)]
        return dict(accuracy=100 * sum(row['correct'] for row in rows) / len(rows), details=rows)
