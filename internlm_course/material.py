"""What the chain learns from, link by link: the crawl, the clean corpus, tokenizer and token files, conversations and
preferences. `course.Course` goes on from here."""
from collections.abc import Callable
from pathlib import Path

from internlm_course import jsonl
from internlm_course.names import SUITES
from internlm_course.scale import Scale
from internlm_course.store import Artifact, Store

SEED = 0  # of the data, whatever the training's is
# Of the world by module, so that other conversations leave the pages as they are.
QUESTIONS = ('world/world', 'world/question', 'world/wording', 'world/facts.tsv', 'model/chat')
PAGES = (*QUESTIONS, 'world/crawl', 'world/web', 'world/noise', 'world/labels', 'world/personal', 'blocklist')


def quiet(stage: str, record: dict) -> None:
    """The default listener: shows nothing."""


class Material:
    """The data of one scale in one store; arguments as for `course.Course`."""

    def __init__(self, scale: Scale, store: Store, listen: Callable[[str, dict], None] = quiet,
                 executor: str = 'local', seed: int = 0):
        self.scale, self.store, self.listen, self.executor, self.seed = scale, store, listen, executor, seed
        self.made: dict[str, Artifact] = {}

    def _build(self, stage: str, settings: dict, make: Callable[[Path], dict | None], code: tuple[str, ...],
               resumable: bool = False) -> Artifact:
        if stage not in self.made:
            self.listen(stage, dict(event='start'))
            artifact = self.store.build(stage, settings, make, code, resumable)
            self.made[stage] = artifact
            self.listen(stage, dict(event='done', artifact=artifact))
        return self.made[stage]

    def crawl(self) -> Artifact:
        """The micro-world's web crawl (WARC) with its truth aside, and the held-out items and problems."""
        def make(out: Path) -> dict:
            from internlm_course.world import crawl
            measured = crawl.write_crawl(out, self.scale.pages, SEED)
            crawl.write_items(out, self.scale.items, SEED)
            crawl.write_problems(out / 'agent.jsonl', self.scale.items, SEED)
            return measured
        settings = dict(pages=self.scale.pages, items=self.scale.items, seed=SEED,
                        suites={name: suite.dimension for name, suite in SUITES.items()})
        return self._build('crawl', settings, make, PAGES)

    def corpus(self) -> Artifact:
        """The crawl after extraction, language identification, rules and deduplication: clean text, with the funnel
        measured."""
        def make(out: Path) -> dict:
            from internlm_course.data.pipeline import build_corpus
            return build_corpus(self.crawl().path, out, executor=self.executor)
        return self._build('corpus', dict(crawl=self.crawl().key), make, ('data', 'blocklist'), resumable=True)

    def tokenizer(self) -> Artifact:
        """Byte-level BPE trained on the corpus."""
        def make(out: Path) -> dict:
            from internlm_course.data.pipeline import texts
            from internlm_course.model import characters_per_token, load_tokenizer, train_tokenizer
            train_tokenizer(texts(self.corpus().path), self.scale.vocab_size, out)
            tokenizer = load_tokenizer(out)
            samples: dict[str, list[str]] = {'en': [], 'zh': []}
            for item in jsonl.rows(self.crawl().path / 'items' / 'translation.jsonl'):
                samples[item['lang']].append(item['prompt'])
            return dict(vocab_size=len(tokenizer),
                        characters_per_token={k: round(characters_per_token(tokenizer, v), 3)
                                              for k, v in samples.items()})
        return self._build('tokenizer', dict(corpus=self.corpus().key, vocab_size=self.scale.vocab_size), make,
                           ('model',))

    def tokens(self) -> Artifact:
        """The corpus as token files, one for each domain, with validation documents apart."""
        def make(out: Path) -> dict:
            from internlm_course.data.tokens import tokenize
            return tokenize(self.corpus().path, self.tokenizer().path, out)
        return self._build('tokens', dict(corpus=self.corpus().key, tokenizer=self.tokenizer().key), make, ('data',))

    def conversations(self) -> Artifact:
        """The micro-world's questions asked in chat, and tool use: what fine-tuning learns from. Other conversations
        leave pre-training as it is."""
        def make(out: Path) -> None:
            from internlm_course.world.conversations import write_conversations
            write_conversations(out / 'sft.jsonl', self.scale.conversations, SEED)
        return self._build('conversations', dict(count=self.scale.conversations, seed=SEED), make,
                           (*QUESTIONS, 'world/conversations', 'world/instructions', 'world/phrasings',
                            'world/bootcamp'))

    def preferences(self) -> Artifact:
        """Prompts and questions whose replies a program checks (`verify`), and preference pairs of four domains; some
        held out."""
        def make(out: Path) -> None:
            from internlm_course.world.instructions import write_prompts
            from internlm_course.world.preferences import write_pairs, write_questions
            write_prompts(out / 'prompts', self.scale.items, SEED)
            write_pairs(out / 'pairs', SEED)
            write_questions(out / 'questions', SEED)
        return self._build('preferences', dict(items=self.scale.items, seed=SEED), make,
                           (*QUESTIONS, 'world/instructions', 'world/phrasings', 'world/bootcamp', 'world/preferences',
                            'verify', 'marking'))
