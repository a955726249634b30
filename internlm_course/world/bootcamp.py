"""Tasks whose answers a program checks, in the interface of InternBootcamp (github.com/InternLM/InternBootcamp):
`case_generator` makes a case, `prompt_func` asks it, `verify_score` marks a reply from 0 to 1.

Fine-tuning sees a few hundred of their cases, so that a reply is sometimes right, and much is left to learn by trying.
"""
import random
import re

from internlm_course.world.question import held_out
from internlm_course.world.wording import NAMES, THINGS


class Change:
    """A number that changes once, told in words of its own: 'Anna had 34 pens and lost 8. How many are left?'

    Args:
        seed: of the cases; held: give held-out cases only, or none of them.
    """

    def __init__(self, seed: float = 0, held: bool = False):
        self.rng, self.held = random.Random(f'change/{seed}/{held}'), held

    def case_generator(self) -> dict:
        while True:
            a, b, lang = self.rng.randint(20, 90), self.rng.randint(2, 9), self.rng.choice(('en', 'zh'))
            sign = self.rng.choice((1, -1))
            if held_out(('change', a, sign * b)) == self.held:
                return dict(lang=lang, name=self.rng.choice(NAMES[lang]), thing=self.rng.choice(THINGS[lang]), a=a,
                            change=sign * b)

    @staticmethod
    def prompt_func(case: dict) -> str:
        a, b, name, thing = case['a'], abs(case['change']), case['name'], case['thing']
        if case['lang'] == 'en':
            if case['change'] < 0:
                return f'{name} had {a} {thing} and lost {b}. How many are left?'
            return f'{name} had {a} {thing} and found {b}. How many are there?'
        if case['change'] < 0:
            return f'{name}原有{a}个{thing}，丢了{b}个，还剩几个？'
        return f'{name}原有{a}个{thing}，捡到{b}个，一共几个？'

    @staticmethod
    def reply(case: dict) -> str:
        """A right reply."""
        return f'{case["a"]}{case["change"]:+}={case["a"] + case["change"]}'

    @staticmethod
    def verify_score(model_output: str, identity: dict) -> float:
        """1 where the last number of the reply is right, and the reply is short enough to be an answer."""
        numbers = re.findall(r'\d+', model_output)
        right = bool(numbers) and int(numbers[-1]) == identity['a'] + identity['change']
        return float(right and len(model_output) <= 80)
