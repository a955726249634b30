"""Learning from preferences through XTuner: the reward model of the report's section 4.2, and DPO (arXiv:2305.18290),
which needs none.

A pair is {prompt: [messages], chosen: [message], rejected: [message]}. XTuner writes both conversations with the
tokenizer's chat template, and ends them for a reward model with the token that its score is read from:
`[UNUSED_TOKEN_130]`, InternLM2's own, which each of our tokenizers has and no text holds."""
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from internlm_course.errors import CourseError
from internlm_course.finetune.config import AdapterSettings, RunSettings, language_model, run_config
from internlm_course.finetune.messages import is_message, known_fields
from internlm_course.finetune.run import need_checkpoint, run_xtuner
from internlm_course.jsonl import numbered
from internlm_course.mmconfig import Name, call
from internlm_course.model.chat import ROLES, render

FORM = ('Give a jsonl file; a line is {"prompt": [{"role", "content"}, …], "chosen": [one message], "rejected": [one '
        f'message]}}, roles {", ".join(ROLES)}.')
LOSSES = dict(reward=('focal', 'ranking'), dpo=('sigmoid', 'hinge', 'ipo', 'robust', 'kto_pair', 'sppo_hard',
                                                'nca_pair'))
PENALTIES = ('log_barrier', 'L2', 'none')
COMPARED = ('end', 'tokens')


@dataclass(frozen=True)
class RewardSettings(RunSettings):
    """What a student turns in a reward model, of which every weight is trained: of one tuned with adapters XTuner saves
    these alone, and loses the head."""
    learning_rate: float = 2e-4
    batch_size: int = 2
    packed_length: int = 1024
    """Tokens of a packed sequence, into which whole pairs go while there is room, and at least one. On a core, one of
    2,048 takes three tenths less time a pair than one of 512."""
    loss: str = 'focal'
    """'focal': (1 - 2 max(p - 1/2, 0))^2 * -log p for p = sigmoid(chosen - rejected), which pairs that are told apart
    already hardly add to; 'ranking': -log p."""
    penalty: str = 'log_barrier'
    """'log_barrier': -log(5 - r) - log(r + 5), which keeps scores r inside (-5, 5); 'L2': r^2; 'none'."""
    penalty_weight: float = 0.01
    compared: str = 'end'
    """Where a pair is compared: 'end', behind both replies, as the report does; 'tokens', also at each token from their
    first difference on."""
    shuffle: bool = True
    """Read the pairs in random order. False: as they stand in the file, so that what takes longest can come first."""

    def check(self) -> None:
        """See `RunSettings.check`."""
        super().check()
        _check_choice('loss', self.loss, LOSSES['reward'])
        _check_choice('penalty', self.penalty, PENALTIES)
        _check_choice('compared', self.compared, COMPARED)
        _check_room(self)


@dataclass(frozen=True)
class DPOSettings(AdapterSettings):
    """What a student turns in direct preference optimisation."""
    method: str = 'full'
    learning_rate: float = 1e-4
    batch_size: int = 2
    packed_length: int = 1024
    """See `RewardSettings.packed_length`."""
    loss: str = 'sigmoid'
    """'sigmoid': -log sigmoid(beta * d), d how much more the policy than the reference prefers the chosen answer; the
    others as XTuner names them."""
    beta: float = 0.1
    """What a nat of distance from the reference is worth: the smaller, the further the policy goes."""
    shuffle: bool = True
    """See `RewardSettings.shuffle`."""

    POSITIVE = (*AdapterSettings.POSITIVE, 'beta')

    def check(self) -> None:
        """See `RunSettings.check`."""
        super().check()
        _check_choice('loss', self.loss, LOSSES['dpo'])
        _check_room(self)


def reward(checkpoint: Path, pairs: Path, out: Path, settings: RewardSettings, home: Path,
           on_step: Callable[[dict], None] | None = None) -> dict:
    """Trains a reward model from a checkpoint that chats; `model.load_model(out, reward=True)` loads it.

    Args:
        checkpoint: folder in Hugging Face format.
        pairs: jsonl, see above.
        out: gets the checkpoint, metrics.json (what is returned) and logs/; what a killed call left there is gone on
            from.
        home: folder for caches.
        on_step: see `run.run_xtuner`.

    Returns:
        loss, accuracy (share of the pairs in order, at the time), chosen, rejected (mean scores):
            [[packed sequences seen, value], …]; steps (of the optimiser), pairs, packs (sequences of an epoch),
            cut_pairs (longer than max_length), trainable_parameters, train_seconds, seconds, settings.

    Raises:
        CourseError: settings or files that cannot work (before anything starts), or XTuner failed.
    """
    return _learn('reward', checkpoint, pairs, out, settings, home, on_step,
                  dict(accuracy='acc', chosen='chosen_score_mean', rejected='rejected_score_mean'))


def dpo(checkpoint: Path, pairs: Path, out: Path, settings: DPOSettings, home: Path,
        on_step: Callable[[dict], None] | None = None) -> dict:
    """Tunes a checkpoint that chats by direct preference optimisation, against itself as it was, and writes the merged
    checkpoint.

    Arguments, errors and metrics are those of `reward`; chosen and rejected are mean implicit rewards, beta * log
    (policy / reference)."""
    return _learn('dpo', checkpoint, pairs, out, settings, home, on_step,
                  dict(accuracy='reward_acc', chosen='chosen_rewards', rejected='rejected_rewards'))


def _learn(kind: str, checkpoint: Path, pairs: Path, out: Path, settings: RewardSettings | DPOSettings, home: Path,
           on_step: Callable[[dict], None] | None, names: dict[str, str]) -> dict:
    from internlm_course.model import load_tokenizer
    from internlm_course.model.tokenizer import REWARD

    start = time.perf_counter()
    settings.check()
    checkpoint, out = Path(checkpoint).resolve(), Path(out).resolve()
    rows = read_pairs(Path(pairs).resolve())
    if settings.shuffle:
        random.Random(settings.seed).shuffle(rows)
    need_checkpoint(checkpoint)
    tokenizer = load_tokenizer(checkpoint)
    packs, cut = count_packs(rows, tokenizer, settings, ends=int(kind == 'reward'))
    # At least two steps: a schedule with warm-up and decay has no room in one.
    steps = max(2, settings.max_iters or int(settings.epochs * packs / settings.batch_size))
    token = tokenizer.convert_tokens_to_ids(REWARD)

    def write_config(path: Path, gpu: bool, processes: int) -> str:
        return config_text(kind, checkpoint, path, settings, token, steps * settings.batch_size, gpu, processes)
    found = run_xtuner(kind, checkpoint, rows, write_config, out, settings, steps, home, on_step)
    curves = found.pop('curves')
    metrics = dict(loss=curves['loss'], **{name: curves[logged] for name, logged in names.items()}, steps=steps,
                   pairs=len(rows), packs=packs, cut_pairs=cut, **found, settings=asdict(settings),
                   seconds=time.perf_counter() - start)
    (out / 'metrics.json').write_text(json.dumps(metrics, indent=2), 'utf-8')
    return metrics


def config_text(kind: str, checkpoint: Path, pairs: Path, settings: RewardSettings | DPOSettings, reward_token: int,
                iterations: int, gpu: bool = False, processes: int = 1) -> str:
    """The config file of a run on pairs.

    Args:
        kind: 'reward' or 'dpo'.
        reward_token: id of the token that the score is read from.
        iterations, gpu, processes: see `config.run_config`.
    """
    files = dict(checkpoint=str(checkpoint), pairs=str(pairs), max_packed_length=settings.packed_length)
    data, common = 'xtuner.dataset.preference_dataset', language_model(settings, gpu)
    dataset = call(
        data, 'build_preference_dataset', dataset=call(data, 'load_jsonl_dataset', data_files=Name('pairs')),
        tokenizer=Name('tokenizer'), max_length=Name('max_length'), is_dpo=kind == 'dpo', is_reward=kind == 'reward',
        num_proc=1, use_varlen_attn=True, max_packed_length=Name('max_packed_length'), shuffle_before_pack=False)
    if kind == 'reward':
        files['reward_token_id'] = reward_token
        dataset['reward_token_id'] = Name('reward_token_id')
        if settings.compared == 'tokens':
            dataset = call('internlm_course.finetune.compared', 'build_compared_dataset', pairs=dataset)
        model = call('xtuner.model.reward', 'RewardModel', loss_type=settings.loss, penalty_type=settings.penalty,
                     penalty_weight=settings.penalty_weight, reward_token_id=Name('reward_token_id'), **common)
    else:
        model = call('xtuner.model.dpo', 'DPO', loss_type=settings.loss, beta=settings.beta, **common)
    collate = call('xtuner.dataset.collate_fns.preference_collate_fn', 'preference_collate_fn', use_varlen_attn=True)
    return run_config(settings, files, model, dataset, collate, iterations, gpu, processes, group=kind == 'dpo',
                      averaged='loss|acc|score|rewards|margin', shuffle=settings.shuffle)


def read_pairs(path: Path) -> list[dict]:
    """
    Raises:
        CourseError: the file is missing, empty or no jsonl, or a line is no pair.
    """
    pairs = []
    for number, row in numbered(path, FORM):
        pair = {name: row.get(name) for name in ('prompt', 'chosen', 'rejected')}
        if not all(isinstance(part, list) and part and all(map(is_message, part)) for part in pair.values()):
            raise CourseError(f'Line {number} of {path} is not a preference pair.', FORM)
        pairs.append({name: list(map(known_fields, part)) for name, part in pair.items()})
    if not pairs:
        raise CourseError(f'The file {path} holds no preference pair.', FORM)
    return pairs


def count_packs(pairs: Sequence[dict], tokenizer, settings: RewardSettings | DPOSettings, ends: int) -> tuple[int, int]:
    """How many packed sequences XTuner makes of the pairs in this order, with so many tokens that end a conversation,
    and of how many pairs it cuts an answer."""
    packs, filled, cut, longest = 0, 0, 0, settings.max_length
    texts = [render(pair['prompt'] + pair[answer]) for pair in pairs for answer in ('chosen', 'rejected')]
    lengths = [len(ids) + 1 for ids in tokenizer(texts, add_special_tokens=False)['input_ids']]  # `<s>`
    for first, second in zip(lengths[::2], lengths[1::2]):
        cut += max(first, second) > longest
        size = min(first, longest) + min(second, longest) + 2 * ends
        if not packs or filled + size > settings.packed_length:
            packs, filled = packs + 1, 0
        filled += size
    return packs, cut


def _check_choice(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise CourseError(f"There is no {name} '{value}'.", f'Choose one of {", ".join(known)}.')


def _check_room(settings: RewardSettings | DPOSettings) -> None:
    needed = 2 * (settings.max_length + 1)  # XTuner would leave a longer pair out
    if settings.packed_length < needed:
        raise CourseError(f'A packed sequence of {settings.packed_length} tokens has no room for two conversations of '
                          f'{settings.max_length}.', f'Give packed_length {needed} or more.')
