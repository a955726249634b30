"""The safety net below `requests`: what one request makes LMDeploy's PyTorch engine raise ends that request, not the
engine.

In LMDeploy 0.15 the engine's loops are plain tasks: the first exception ends them, and every client gets
"ENGINE_STOP_ERROR" from then on. They died at four places, which stand in the table of `deploy`.
"""
import logging
from contextlib import aclosing
from dataclasses import fields, replace

import numpy as np
import torch
from lmdeploy.messages import EngineOutput, ResponseType
from lmdeploy.pytorch.engine.engine import Engine
from lmdeploy.pytorch.engine.engine_instance import EngineInstance
from lmdeploy.pytorch.engine.logits_process import FusedLogitsProcessor, SamplingInputs
from lmdeploy.pytorch.engine.model_agent import agent

log = logging.getLogger(__name__)
failed: set[int] = set()
"""Sessions whose sequence failed inside the engine and whose client has not been told yet."""


def row(inputs: SamplingInputs, index: int) -> SamplingInputs:
    """The sampling inputs of one sequence of the batch."""
    batch, parts = inputs.batch_size, {}
    for field in fields(inputs):
        value = getattr(inputs, field.name)
        if isinstance(value, torch.Tensor | np.ndarray | list | tuple) and len(value) == batch:
            parts[field.name] = value[index:index + 1]
    alone = replace(inputs, **parts | dict(batch_size=1, session_to_cleanup=None))
    if alone.stop_mask is not None and not alone.stop_mask.any():
        alone.stop_words = alone.stop_mask = None  # padding for its neighbours, which is no token
    if alone.top_k is not None:
        alone.max_top_k = int(alone.top_k)  # not the batch's, which may be what raised
    if alone.repetition_ngram_size is not None:
        alone.max_repetition_ngram_size = int(alone.repetition_ngram_size)
    return alone


class RowsApart:
    """Stands in for LMDeploy's FusedLogitsProcessor: the whole batch at once, as ever; when that raises, row by row,
    and a row that raises again fails.

    logits: (batch, vocabulary).
    """

    def __init__(self, sampling_inputs: SamplingInputs, **options):
        self.inputs, self.options = sampling_inputs, options
        self.processors: list[FusedLogitsProcessor] = []

    async def __call__(self, logits: torch.Tensor):
        kept = logits.clone()  # the processors write into what they get
        try:
            chosen = await self.choose(self.inputs, logits)
        except Exception:
            log.exception('A batch of %d could not be sampled; each sequence is tried by itself.', len(kept))
            self.processors, rows = [], []
            for index in range(len(kept)):
                rows.append(await self.choose_alone(index, kept[index:index + 1]))
            chosen = [torch.cat([made[0] for made in rows]), join([made[1] for made in rows]),
                      torch.cat([made[2] for made in rows])]
        scores, logprobs, self.tokens = chosen
        for index in (~torch.isfinite(scores).any(1)).nonzero().flatten().tolist():
            self.fail(index, 'no token is allowed, or the logits are not numbers')
        return scores, logprobs

    async def choose(self, inputs: SamplingInputs, logits: torch.Tensor):
        processor = FusedLogitsProcessor(inputs, **self.options)
        scores, logprobs = await processor(logits)
        tokens = processor.sampling(scores)
        self.processors.append(processor)
        return scores, logprobs, tokens

    async def choose_alone(self, index: int, logits: torch.Tensor):
        try:
            return await self.choose(row(self.inputs, index), logits.clone())
        except Exception as error:
            self.fail(index, repr(error))
            self.processors.append(FusedLogitsProcessor(replace(row(self.inputs, index), response_formats=(None,)),
                                                        **self.options))
            return logits, None, logits.nan_to_num().argmax(-1)

    def fail(self, index: int, reason: str) -> None:
        session = self.inputs.session_ctx[index]['session_id']
        log.error('Session %d failed: %s.', session, reason)
        failed.add(session)

    def sampling(self, logits: torch.Tensor) -> torch.Tensor:
        return self.tokens

    async def accept_guided_tokens(self, tokens: torch.Tensor) -> None:
        if len(self.processors) == 1:
            return await self.processors[0].accept_guided_tokens(tokens)
        for processor, token in zip(self.processors, tokens.split(1)):
            await processor.accept_guided_tokens(token)

    def compute_logprobs(self, raw: torch.Tensor | None, tokens: torch.Tensor):
        return self.processors[0].compute_logprobs(raw, tokens)


def join(parts: list[torch.Tensor | None]) -> torch.Tensor | None:
    """Rows of raw logprobs, with zeros for a row that failed; None when none were asked for."""
    given = [part for part in parts if part is not None]
    return torch.cat([torch.zeros_like(given[0]) if part is None else part for part in parts]) if given else None


def check_message(data: dict, vocabulary: int) -> None:
    """
    Raises:
        ValueError, OverflowError, TypeError, RuntimeError: a token id outside the vocabulary, or a parameter that fits
            no tensor.
    """
    tokens = np.asarray(data['token_ids'], dtype=np.int64)
    if not len(tokens) or tokens.min() < 0 or tokens.max() >= vocabulary:
        raise ValueError(f'a prompt of {len(tokens)} token ids, of which one at least is not below {vocabulary}, or '
                         'none')
    parameters = data['sampling_param']
    whole = [parameters.top_k, parameters.max_new_tokens, parameters.min_new_tokens, parameters.repetition_ngram_size,
             parameters.repetition_ngram_threshold, *parameters.stop_words, *parameters.bad_words]
    torch.tensor(whole, dtype=torch.int64)
    torch.tensor([parameters.temperature, parameters.top_p, parameters.min_p, parameters.repetition_penalty],
                 dtype=torch.float32)
    if any(not 0 <= token < vocabulary for token in [*parameters.stop_words, *parameters.bad_words]):
        raise ValueError(f'a stop token outside the vocabulary of {vocabulary}')


def install() -> None:
    """Puts the net under this process's PyTorch engine; call before it is built."""
    add, infer = Engine._on_add_message, EngineInstance.async_stream_infer
    forward = agent.BaseModelAgent._async_model_forward

    def add_apart(self, reqs, **kwargs):
        for request in reqs:
            try:
                check_message(request.data, self.model_config.vocab_size)
                add(self, [request], **kwargs)
            except Exception:
                log.exception('A request could not be taken into the engine.')
                request.resp.is_done = True
                self._response(request.resp, ResponseType.INTERNAL_ENGINE_ERROR)

    async def forward_or_nan(self, inputs, return_logits):
        try:
            return await forward(self, inputs, return_logits)
        except Exception:
            log.exception('A step of the model failed.')
            rows = inputs.input_ids.numel() if return_logits else inputs.seq_length.numel()
            return dict(logits=torch.full((1, rows, self.model_config.vocab_size), torch.nan),
                        seq_length=inputs.seq_length)

    async def infer_until_failure(self, session_id, *args, **kwargs):
        try:
            async with aclosing(infer(self, session_id, *args, **kwargs)) as outputs:
                async for output in outputs:
                    if session_id in failed:
                        yield EngineOutput(ResponseType.INTERNAL_ENGINE_ERROR, [])
                        return
                    yield output
        finally:
            failed.discard(session_id)

    Engine._on_add_message = add_apart
    agent.BaseModelAgent._async_model_forward = forward_or_nan
    agent.FusedLogitsProcessor = RowsApart
    EngineInstance.async_stream_infer = infer_until_failure
