"""The chain: each method builds or fetches one artifact from those before it; this module alone composes the links.

    course = Course.open('tiny')
    checkpoint = course.sft().path            # the staff's, in seconds
    checkpoint = course.sft(mine=True).path   # made here, with everything before it
"""
import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from internlm_course import jsonl
from internlm_course.errors import CourseError
from internlm_course.material import Material, quiet
from internlm_course.names import MODELS
from internlm_course.report.ranges import read_ranges
from internlm_course.scale import open_scale
from internlm_course.store import Artifact, Store

STAFF = Path(__file__).resolve().parent / 'staff'
SEEDS = 2**31


class Course(Material):
    """One chain at one scale over one store. Made by `Course.open`.

    Args:
        listen: called with (stage, record): {'event': 'start' | 'done', …} for every stage, {'event': 'predicted',
            'prediction'} before the first phase of pre-training, and {'step', 'steps', 'loss', …} while one trains.
        seed: of what training draws, the first weights and the order of what is read; the data are the same for all,
            and stand in the store once.
    """

    @classmethod
    def open(cls, scale: str = 'tiny', root: str | Path = 'runs', listen: Callable[[str, dict], None] = quiet,
             executor: str = 'local', seed: int = 0) -> 'Course':
        """Opens the chain at a scale; artifacts live in `root`/store. `executor`: where the data pipeline runs, see
        data.executors.

        Raises:
            CourseError: unknown scale, no GPU for a GPU scale, no such seed, or a folder that cannot be written.
        """
        if type(seed) is not int or not 0 <= seed < SEEDS:
            raise CourseError(f'The seed cannot be {seed!r}.', f'Give a whole number from 0 to {SEEDS - 1}.')
        return cls(open_scale(scale), Store(Path(root) / 'store'), listen, executor, seed)

    # --- pre-training -------------------------------------------------------------------------------------------------
    def base(self, mine: bool = False) -> Artifact:
        """The model after the short-context phase; `mine` trains it here, otherwise the staff's is fetched."""
        return self._pretrained('base', 'short', None) if mine else self._staff('base')

    def long(self, mine: bool = False) -> Artifact:
        """The model after the long-context phase, with the larger RoPE base."""
        return self._pretrained('long', 'long', self.base(mine=True)) if mine else self._staff('long')

    def enhanced(self, mine: bool = False) -> Artifact:
        """The model after the capability enhancement phase: selected data, a lower learning rate."""
        return self._pretrained('enhanced', 'enhancement', self.long(mine=True)) if mine else self._staff('enhanced')

    def _pretrained(self, stage: str, phase_name: str, start: Artifact | None) -> Artifact:
        from internlm_course.machine import cpu_dtype
        from internlm_course.pretrain.config import CONFIGS, read_config
        config = read_config(CONFIGS / f'{self.scale.pretrain}.toml')
        config = dataclasses.replace(config, seed=config.seed + self.seed)
        phase = config.phase(phase_name)

        def make(out: Path) -> dict:
            from internlm_course.pretrain.loop import pretrain
            from internlm_course.pretrain.predict import pretrain_as_predicted
            from internlm_course.tokenfiles import read_corpus
            given = (config, phase, *read_corpus(self.tokens().path), self.tokenizer().path, out)
            if start:
                return pretrain(*given, start.path, on_step=lambda record: self.listen(stage, record))

            def announce(prediction):
                self.listen(stage, dict(event='predicted', prediction=prediction))
            return pretrain_as_predicted(*given, on_step=lambda record: self.listen(stage, record),
                                         on_prediction=announce)
        settings = dict(tokens=self.tokens().key, start=start and start.key, phase=dataclasses.asdict(phase),
                        model=config.model,
                        optimizer=dataclasses.asdict(config.optimizer), seed=config.seed, precision=cpu_dtype())
        return self._build(stage, settings, make, ('pretrain', 'model', 'tokenfiles'), resumable=True)

    def _staff(self, name: str) -> Artifact:
        """The checkpoint that ships with the package, with the modelling code laid beside it."""
        shipped = STAFF / self.scale.name / name
        if not shipped.is_dir():
            raise CourseError(f'No staff checkpoint "{name}" ships for scale "{self.scale.name}".',
                              'Make your own with mine=True (make run).')

        def make(out: Path) -> dict:
            from internlm_course.model import add_code
            shutil.copytree(shipped, out, dirs_exist_ok=True)
            add_code(out)
            return json.loads((shipped / 'metrics.json').read_text('utf-8'))
        weights = hashlib.sha256((shipped / 'model.safetensors').read_bytes()).hexdigest()
        return self._build(f'staff-{name}', dict(weights=weights), make, ('model',))

    # --- fine-tuning, alignment, quantisation -------------------------------------------------------------------------
    def sft(self, mine: bool = False) -> Artifact:
        """The model after supervised fine-tuning with XTuner."""
        if not mine:
            return self._staff('sft')
        from internlm_course.machine import training_dtype
        parent, settings = self.enhanced(mine=True), dict(self.scale.sft, dtype=training_dtype(), seed=self.seed)

        def make(out: Path) -> dict:
            from internlm_course.finetune import SFTSettings, sft
            return sft(parent.path, self.conversations().path / 'sft.jsonl', out, SFTSettings(**settings),
                       self.store.home, on_step=lambda record: self.listen('sft', record))
        return self._build('sft', dict(start=parent.key, conversations=self.conversations().key, **settings), make,
                           ('finetune', 'model'), resumable=True)

    def reward(self, mine: bool = False) -> Artifact:
        """The conditional reward model, made here of `sft` with XTuner, and measured on held-out pairs; of those that
        it learns from, some are `sft`'s own wrong replies."""
        from internlm_course.align.ppo import PPOSettings
        from internlm_course.machine import training_dtype
        stage, longest = 'reward' if mine else 'staff-reward', PPOSettings(**self.scale.ppo).longest
        parent, settings = self.sft(mine), dict(self.scale.reward, dtype=training_dtype(), seed=self.seed)

        def make(out: Path) -> dict:
            from internlm_course.align.reward import train
            from internlm_course.finetune.preference import RewardSettings
            source = self.preferences().path
            return train(parent.path, source / 'pairs', out, RewardSettings(**settings), self.store.home,
                         lambda record: self.listen(stage, record), questions=source / 'questions' / 'train.jsonl',
                         longest=longest)
        given = dict(start=parent.key, preferences=self.preferences().key, longest=longest, **settings)
        return self._build(stage, given, make, ('align/reward', 'align/rollout', 'align/feedback', 'verify', 'marking',
                                                'finetune', 'model'), resumable=True)

    def chat(self, mine: bool = False) -> Artifact:
        """The model after alignment: GRPO on prompts whose replies a program checks."""
        if not mine:
            return self._staff('chat')
        parent, settings = self.sft(mine=True), dict(self.scale.chat, seed=self.seed)

        def make(out: Path) -> dict:
            from internlm_course.align.chat import align
            from internlm_course.align.grpo import GRPOSettings
            return align(parent.path, self.preferences().path / 'prompts', out, GRPOSettings(**settings),
                         lambda record: self.listen('chat', record))
        return self._build('chat', dict(start=parent.key, preferences=self.preferences().key, **settings), make,
                           ('align', 'model', 'verify', 'marking'), resumable=True)

    def rlhf(self, mine: bool = False) -> Artifact:
        """The model after COOL RLHF, PPO against `reward`; made here, beside the chain, whose `chat` needs no judge."""
        from internlm_course.machine import cpu_dtype
        stage, settings = 'rlhf' if mine else 'staff-rlhf', dict(self.scale.ppo, seed=self.seed)
        parent, judge = self.sft(mine), self.reward(mine)

        def make(out: Path) -> dict:
            from internlm_course.align.cool import train
            from internlm_course.align.ppo import PPOSettings
            return train(parent.path, judge.path, self.preferences().path / 'questions', out, PPOSettings(**settings),
                         lambda record: self.listen(stage, record))
        return self._build(stage, dict(start=parent.key, judge=judge.key, precision=cpu_dtype(), **settings), make,
                           ('align', 'model', 'pretrain/loop', 'verify', 'marking'), resumable=True)

    def int4(self, mine: bool = False) -> Artifact:
        """The fine-tuned model with INT4 weights (LMDeploy's AWQ)."""
        parent = self.sft(mine)

        def make(out: Path) -> dict:
            from internlm_course.deploy.quantize import quantize
            calibration = out / 'calibration.jsonl'
            self._write_calibration(calibration)
            return quantize(parent.path, out, bits=4, calibration=calibration, home=self.store.home,
                            **self.scale.quantize)
        return self._build('int4' if mine else 'staff-int4',
                           dict(start=parent.key, conversations=self.conversations().key, **self.scale.quantize), make,
                           ('deploy', 'model'))

    def _write_calibration(self, path: Path) -> None:
        """Conversations as the served model will read them, because AWQ protects the channels that its calibration text
        excites."""
        from internlm_course.model.chat import render
        rows = jsonl.rows(self.conversations().path / 'sft.jsonl')
        jsonl.write(path, (dict(text=render(row['messages'])) for row in rows))

    # --- serving, evaluation, agent -----------------------------------------------------------------------------------
    def serve(self, model: Artifact, log: Path, port: int | None = None):
        """LMDeploy's OpenAI-compatible server over an artifact, as a context manager; it binds to 127.0.0.1."""
        from internlm_course.deploy.serve import serve
        return serve(model.path, model_name=f'internlm2-{self.scale.name}', home=self.store.home, log=log, port=port)

    def scores(self, mine: bool = False) -> Artifact:
        """OpenCompass over the held-out suites: base, long and enhanced by continuation, then the models that chat
        through their servers; one after the other, for servers and OpenCompass's own models are gigabytes together."""
        models = {name: getattr(self, name)(mine) for name in MODELS}
        served = [name for name, model in MODELS.items() if model.chats]

        def make(out: Path) -> dict:
            from internlm_course.deploy.serve import decode_speed, serve_all
            from internlm_course.evaluate import EvalModel, score
            items, home = self.crawl().path / 'items', self.store.home
            suites = score([EvalModel(name, checkpoint=artifact.path)
                            for name, artifact in models.items() if name not in served], items, out / 'continued', home)
            with serve_all({name: models[name].path for name in served}, model_name=f'internlm2-{self.scale.name}',
                           home=home, log=out / 'logs' / 'servers.log') as servers:
                speeds = {name: decode_speed(server.url, server.model) for name, server in servers.items()}
                suites |= score([EvalModel(name, url=server.url, served_name=server.model)
                                 for name, server in servers.items()], items, out / 'asked', home)
            (out / 'predictions').mkdir()
            for folder in out.glob('*/predictions/*'):
                folder.rename(out / 'predictions' / folder.name)
            return dict(suites=suites, decode_tokens_per_second=speeds)
        return self._build('scores' if mine else 'staff-scores',
                           {n: a.key for n, a in models.items()} | dict(crawl=self.crawl().key), make,
                           ('evaluate', 'deploy', 'marking'))

    def agent(self, mine: bool = False) -> Artifact:
        """Long multiplication by the served model, with Lagent's calculator and without."""
        model = self.sft(mine)

        def make(out: Path) -> dict:
            from internlm_course.agents import multiply
            problems = list(jsonl.rows(self.crawl().path / 'agent.jsonl'))
            with self.serve(model, out / 'logs' / 'serve.log') as server:
                results = {kind: multiply(server.url, server.model, problems, tools=kind == 'with_tools')
                           for kind in ('with_tools', 'without_tools')}
            return dict(multiplication=results)
        return self._build('agent' if mine else 'staff-agent', dict(start=model.key, crawl=self.crawl().key), make,
                           ('agents', 'deploy', 'marking'))

    # --- the report card ----------------------------------------------------------------------------------------------
    def card(self, mine: bool = True) -> dict:
        """Runs what is not built yet, and gathers every measurement of the chain (keys as in the README)."""
        from internlm_course.evaluate import dimensions
        from internlm_course.report import card
        began = time.monotonic()
        scores, agent = self.scores(mine), self.agent(mine)
        seconds_now = round(time.monotonic() - began, 1)
        made, funnel = list(self.made.values()), self.corpus().metrics['funnel']
        suites, speeds = scores.metrics['suites'], scores.metrics['decode_tokens_per_second']
        models = {name: card.model_numbers(getattr(self, name)(mine), suites[name], dimensions(suites[name]),
                                           speeds.get(name)) for name in MODELS}
        samples = card.samples_of(self.crawl().path / 'items', scores.path / 'predictions')
        ranges = read_ranges() if mine and self.scale.name == 'tiny' else {}
        return card.gather(self.scale.name, self.seed, seconds_now, made, models, agent.metrics['multiplication'],
                           funnel, samples, ranges)
