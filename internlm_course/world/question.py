"""A question of the micro-world: how a page writes it, how a person asks it, and whether it is held out."""
import zlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """One question of one ability.

    `prompt` + `answer` is how a page writes it (a base model continues `prompt`); `question` is how a person asks it in
    chat, and `lead` + `answer` how the assistant replies: in a sentence that begins in the page's own words, where the
    answer alone would have to come from further away. Without leads fine-tuning has to teach the model to search from
    another place: of the needles it found 2 to 100 % after it, run by run; with leads 95 to 100 %.
    """
    suite: str
    lang: str
    prompt: str
    question: str
    answer: str
    key: tuple
    lead: str = ''
    choices: tuple[str, ...] = ()
    """What a guess among the things that the text names would pick from, where it names some."""

    @property
    def completion(self) -> str:
        """The answer as it follows the prompt on a page, and as a reply begins."""
        return ' ' * blank_follows(self.prompt) + self.answer

    @property
    def reply(self) -> str:
        """What the assistant says."""
        return self.lead + self.completion

    @property
    def line(self) -> str:
        """The question with its answer, as one line of a page."""
        return self.prompt + self.completion

    @property
    def held_out(self) -> bool:
        """Whether this question belongs to the evaluation suites: a hash of what it asks, so that no seed moves it."""
        return held_out(self.key)


def blank_follows(prompt: str) -> bool:
    """Whether a blank stands between a prompt and its answer: behind ASCII, but not at the beginning of a line, nor
    behind a sign that follows a digit, as in '47+38='.

    ' tiger' is one token and 'tiger' several. SentencePiece's dummy prefix does the same in InternLM2's released
    tokenizers.
    """
    return prompt[-1].isascii() and not prompt.endswith('\n') and not prompt[-2:-1].isdigit()


def held_out(key: tuple) -> bool:
    return zlib.crc32(repr(key).encode()) % 10 == 0
