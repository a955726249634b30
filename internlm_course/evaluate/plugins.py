"""What the course adds to OpenCompass, in whose process alone it is imported: the marking rule, and a served model without a tokenizer."""
from opencompass.models import OpenAISDK
from opencompass.openicl.icl_evaluator import BaseEvaluator

from internlm_course.marking import is_correct


class ExactAnswer(BaseEvaluator):
    """Accuracy in percent, which is OpenCompass's unit."""

    def score(self, predictions: list[str], references: list[str]) -> dict:
        return dict(accuracy=100 * sum(map(is_correct, predictions, references)) / len(references))


class ServedChat(OpenAISDK):
    """OpenAISDK counts a prompt's tokens only to cut it, which the course never does; its tokenizer would be looked for on the hub and then
    downloaded from OpenAI, so there is none: the server itself refuses a prompt that is too long."""

    def _init_tokenizer(self) -> None:
        pass

    def get_token_len(self, prompt: str) -> int:
        return 0
