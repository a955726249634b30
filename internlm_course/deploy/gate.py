"""The gate before LMDeploy 0.15's handlers: the ASGI middleware that holds every posted body to `requests`, for the
model that this process serves."""
import asyncio
import json
import logging
from functools import cached_property
from http import HTTPStatus

from lmdeploy.serve.anthropic.protocol import CountTokensRequest, MessagesRequest
from lmdeploy.serve.openai import api_server
from lmdeploy.serve.openai.protocol import (
    ChatCompletionRequest,
    CompletionRequest,
    EmbeddingsRequest,
    EncodeRequest,
    GenerateReqInput,
    PoolingRequest,
    PPLRequest,
)
from lmdeploy.serve.openai.responses.protocol import ResponsesRequest

from internlm_course.deploy import requests
from internlm_course.deploy.requests import BadRequest

# What may be posted; LMDeploy also lets any client put its engine to sleep, end another's session or overwrite the
# weights
SERVED = {
    requests.CHAT: ChatCompletionRequest, requests.COMPLETIONS: CompletionRequest, requests.GENERATE: GenerateReqInput,
    '/v1/messages': MessagesRequest, '/v1/messages/count_tokens': CountTokensRequest, '/v1/responses': ResponsesRequest,
    '/v1/encode': EncodeRequest, '/v1/embeddings': EmbeddingsRequest, '/pooling': PoolingRequest,
    '/get_ppl': PPLRequest,
}
IGNORED = {  # fields that LMDeploy declares and does not read
    '/v1/responses': {'logit_bias', 'max_tool_calls', 'top_logprobs'},
    'turbomind': {'logit_bias', 'repetition_ngram_size', 'repetition_ngram_threshold'},
}
GRAMMAR_SECONDS = 10  # after which a schema or a regular expression is refused
# LMDeploy's handlers, on input they did not expect
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, AssertionError, OverflowError)

log = logging.getLogger(__name__)


class Grammars:
    """xgrammar's compiler for the served model; on a CPU the engine's own, which remembers what it compiled, so that
    its loop never waits for it."""

    @cached_property
    def compiler(self):
        from lmdeploy.pytorch.engine.guided_process import GuidedDecodingManager
        engine = api_server.VariableInterface.async_engine
        if engine.backend == 'pytorch':
            return engine.engine.executor.model_agent.guided_decoding_manager.compiler
        return GuidedDecodingManager(engine.tokenizer.model.model, engine.hf_cfg.vocab_size).compiler

    def compile(self, kind: str, source) -> None:
        """
        Raises:
            ValueError: no text at all follows the grammar. RuntimeError: xgrammar's, for one that cannot be compiled.
        """
        import xgrammar
        compiled = (self.compiler.compile_regex(source) if kind == 'regex_schema'
                    else self.compiler.compile_json_schema(source))
        allowed = xgrammar.allocate_token_bitmask(1, compiled.tokenizer_info.vocab_size)
        xgrammar.GrammarMatcher(compiled).fill_next_token_bitmask(allowed, 0)
        if not allowed.any():
            raise ValueError('no text follows it')


def limits() -> requests.Limits:
    """Of the model that this process serves."""
    engine = api_server.VariableInterface.async_engine
    fields = {path: set(request.model_fields) - IGNORED.get(path, set()) - IGNORED.get(engine.backend, set())
              for path, request in SERVED.items()}
    return requests.Limits(engine.session_len, engine.hf_cfg.vocab_size, fields, Grammars().compile)


class CheckedRequests:
    """ASGI middleware: what is posted is read and checked before LMDeploy's handlers, and what they raise becomes one
    sentence.

    An answer's status is held back until its first piece, so that a stream that fails before its first token still ends
    in status 400.
    """

    def __init__(self, app):
        self.app = app

    @cached_property
    def limits(self) -> requests.Limits:
        return limits()

    async def __call__(self, scope, receive, send):
        if scope['type'] != 'http' or scope['method'] != 'POST':
            return await self.app(scope, receive, send)
        start, begun = None, False

        async def hold_status(message):
            nonlocal start, begun
            if message['type'] == 'http.response.start':
                start = message
                return
            if not begun:
                begun = True
                await send(start)
            await send(message)

        try:
            raw = await self.read(receive)
            if raw is None:
                return
            body = await self.check(scope['path'], raw)
            pending = [dict(type='http.request', body=body, more_body=False)]

            async def replay():
                return pending.pop() if pending else await receive()

            await self.app(scope, replay, hold_status)
        except UNREADABLE as error:
            text = str(error)
            if not isinstance(error, BadRequest):
                log.exception('A request to %s failed.', scope['path'])
                text = f'The request cannot be read: {" ".join(text.split()) or "a value is out of its range"}.'
            if not begun:
                await refusal(text)(scope, receive, send)
            else:  # a stream's status is sent: its last event says what happened, as OpenAI's does
                error = json.dumps(dict(error=dict(message=text, type='invalid_request_error', code=400)))
                event = f'data: {error}\n\ndata: [DONE]\n\n'
                await send(dict(type='http.response.body', body=event.encode(), more_body=False))

    async def read(self, receive) -> bytes | None:
        """The whole body; None when the client left."""
        raw = b''
        while True:
            message = await receive()
            if message['type'] == 'http.disconnect':
                return None
            raw += message.get('body', b'')
            if len(raw) > requests.MAX_BYTES:
                raise BadRequest(f'The body has more than {requests.MAX_BYTES >> 20} MiB.')
            if not message.get('more_body'):
                return raw

    async def check(self, path: str, raw: bytes) -> bytes:
        if path not in SERVED:
            raise BadRequest(f'{path} is not served here: post to {", ".join(SERVED)}.')
        body = requests.prepare(path, requests.read_body(raw), self.limits)
        written = requests.write_body(body)
        if wanted := requests.grammar(body):
            # In a thread, because compiling takes a while and lets others run; what takes too long goes on there, and
            # its request is refused.
            try:
                await asyncio.wait_for(asyncio.to_thread(requests.check_grammar, wanted, self.limits), GRAMMAR_SECONDS)
            except asyncio.TimeoutError as error:
                raise BadRequest(
                    f'The response_format is too large: its grammar takes more than {GRAMMAR_SECONDS} s.') from error
        return written


def refusal(message: str):
    """Status 400 in the shape of LMDeploy's other errors."""
    return api_server.create_error_response(HTTPStatus.BAD_REQUEST, message)


async def refuse_fields(request, error):
    """What pydantic finds wrong, in one sentence; LMDeploy gives status 422 and a list, or 500 where the list holds
    what JSON cannot."""
    first = error.errors()[0]
    if not isinstance(first, dict):
        return refusal(f'{first}.')
    place = '.'.join(str(part) for part in first['loc'] if part != 'body')
    return refusal(f'{place or "The body"}: {first["msg"]}.')
