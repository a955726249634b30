"""Tasks whose answers a program checks, in the interface of InternBootcamp (github.com/InternLM/InternBootcamp):
`case_generator` makes a case, `prompt_func` asks it, `verify_score` marks a reply from 0 to 1."""
import random
from collections.abc import Sequence

from internlm_course.verify import is_verified
from internlm_course.world import instructions
from internlm_course.world.phrasings import PHRASINGS

# Answers in the other language than the question's: what fine-tuning leaves hardest.
ABROAD = ('in_chinese', 'in_english')


class Instructions:
    """The world's questions with an instruction: right where the instruction is obeyed and the answer right.

    Args:
        seed: of the cases.
        unseen: cases of which no conversation has the question, or the phrasing.
        names: of the instructions (`instructions.PHRASINGS`); all by default.
    """

    def __init__(self, seed: int = 0, unseen: bool = False, names: Sequence[str] = tuple(PHRASINGS)):
        self.rng, self.unseen, self.names = random.Random(f'bootcamp/{seed}/{unseen}'), unseen, names

    def case_generator(self) -> dict:
        """An item of `internlm_course.verify`."""
        name, lang = self.rng.choice([(name, lang) for name in self.names for lang in PHRASINGS[name]])
        return instructions.constraint(self.rng, lang, self.unseen, name)

    @staticmethod
    def prompt_func(question_case: dict) -> str:
        """What the user says."""
        return question_case['question']

    @staticmethod
    def verify_score(model_output: str, identity: dict) -> float:
        """1 where the reply is right as a whole, else 0."""
        return float(is_verified(identity, model_output))
