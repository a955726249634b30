"""What the course adds to OpenCompass, in whose process alone it is imported: the marking rule, a prompt that is the
item as it stands, a served model without a tokenizer, and a runner that asks several of those at a time."""
from concurrent.futures import ThreadPoolExecutor
from copy import copy

from opencompass.models import OpenAISDK
from opencompass.openicl.icl_evaluator import BaseEvaluator
from opencompass.openicl.icl_prompt_template import PromptTemplate
from opencompass.runners import LocalRunner

from internlm_course.marking import is_correct


class Field(PromptTemplate):
    """The item's field that the template, `{field}`, names: upstream's also fills in each `{answer}` of the
    question."""

    def generate_item(self, entry: dict, *_, **__) -> str:
        return entry[self.template[1:-1]]


class ExactAnswer(BaseEvaluator):
    """Accuracy in percent, which is OpenCompass's unit."""

    def score(self, predictions: list[str], references: list[str]) -> dict:
        return dict(accuracy=100 * sum(map(is_correct, predictions, references)) / len(references))


class ServedChat(OpenAISDK):
    """OpenAISDK counts a prompt's tokens only to cut it, which the course never does; its tokenizer would be looked for
    on the hub and then downloaded from OpenAI, so there is none: the server itself refuses a prompt that is too
    long."""

    def _init_tokenizer(self) -> None:
        pass

    def get_token_len(self, prompt: str) -> int:
        return 0


class SideBySide(LocalRunner):
    """LocalRunner in debug mode (tasks in this process, one after the other), but the tasks of served models go side by
    side in threads at the end: their servers do the work, a small model's each on one core. Without debug mode every
    task would import OpenCompass anew."""

    def launch(self, tasks: list[dict]) -> list[tuple[str, int]]:
        served = [task for task in tasks if all('openai_api_base' in model for model in task['models'])]
        done = super().launch([task for task in tasks if task not in served])
        with ThreadPoolExecutor(max(1, len(served))) as pool:  # a copy each, because a runner keeps its last model
            return done + sum(pool.map(lambda task: LocalRunner.launch(copy(self), [task]), served), [])
