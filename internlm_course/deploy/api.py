"""What LMDeploy 0.15's api_server lacks for this course, added inside the serving process, for the CPU and TurboMind
alike.

InternLM2's chat template (0.15 has none left: it trusts whatever the tokenizer carries), special tokens kept in the
text so that a client can read a tool call, stop strings of any length, prompts of token ids, and a clear 400 where the
server would give status 200 with an empty answer or an error as text, status 500, or an end of the engine (see `gate`
and `requests`).
"""
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from fastapi import FastAPI
from lmdeploy.model import MODELS, BaseChatTemplate
from lmdeploy.serve.anthropic import adapter
from lmdeploy.serve.core.async_engine import AsyncEngine
from lmdeploy.serve.openai import api_server
from lmdeploy.serve.openai.protocol import ChatCompletionRequest, CompletionRequest, GenerateReqInput
from lmdeploy.serve.openai.responses import response
from lmdeploy.serve.parsers.response_parser import BaseResponseParser
from lmdeploy.serve.processors import MultimodalProcessor
from starlette.middleware import Middleware

from internlm_course.deploy.gate import UNREADABLE, CheckedRequests, refusal, refuse_fields
from internlm_course.deploy.requests import BadRequest
from internlm_course.model import chat

STOP_TOKENS = ['<|im_end|>', '<|action_end|>', '</s>']
ROLES = (*chat.ROLES, 'tool')


class InternLM2Template(BaseChatTemplate):
    """InternLM2's chat format with names and tools: the same `render` that made the training data."""

    def __init__(self, **kwargs):
        super().__init__(stop_words=STOP_TOKENS)

    def get_prompt(self, prompt: str) -> str:
        return self.messages2prompt([{'role': 'user', 'content': prompt}])

    def messages2prompt(self, messages, tools=None, **kwargs) -> str:
        if isinstance(messages, str):
            return self.get_prompt(messages)
        messages = [MultimodalProcessor.merge_message_content(message) for message in messages]
        for message in messages:
            if message.get('role') not in ROLES:
                raise ValueError(f'the role {message.get("role")!r} is none of {", ".join(ROLES)}.')
        tools = [tool if isinstance(tool, dict) else tool.model_dump() for tool in tools or []]
        return chat.render(messages, tools=tools, add_generation_prompt=True)


def prompt_tokens(request) -> list[int]:
    """The length in tokens of each prompt of a chat, completion or generation.

    Raises:
        ValueError: there is no prompt, or its messages are not InternLM2's.
    """
    engine = api_server.VariableInterface.async_engine
    if isinstance(request, CompletionRequest):
        prompts = request.prompt if isinstance(request.prompt, list) else [request.prompt]
    elif isinstance(request, GenerateReqInput):
        prompts = [request.prompt or request.input_ids]
    elif request.messages:
        tools = request.tools if request.tool_choice != 'none' else None
        prompts = [request.messages if isinstance(request.messages, str)
                   else engine.chat_template.messages2prompt(request.messages, tools)]
    else:
        prompts = [request.input_ids or '']
    if not prompts or not all(prompts):
        raise ValueError('The prompt is empty.')
    return [len(engine.tokenizer.encode(prompt)) if isinstance(prompt, str) else len(prompt) for prompt in prompts]


def check_prompt(request) -> str:
    """What is wrong with a request's prompt, in one sentence, or ''."""
    try:
        longest = max(prompt_tokens(request))
    except UNREADABLE as error:
        return f'The messages or the prompt cannot be read: {error}'
    engine = api_server.VariableInterface.async_engine
    if longest < engine.session_len:
        return ''
    return (f'The prompt has {longest} tokens, but the context length of model {engine.model_name!r} is '
            f'{engine.session_len} tokens, '
            'the answer included. Shorten the messages or the prompt.')


def cut_at(text: str, stops: list[str], final: bool) -> tuple[str, str, bool]:
    """(text that may be shown, text held back because a stop string may begin in it, whether a stop string was met)."""
    met = [position for position in map(text.find, stops) if position >= 0]
    if met:
        return text[:min(met)], '', True
    held = 0 if final else max((size for stop in stops
                                for size in range(1, min(len(stop), len(text) + 1)) if text.endswith(stop[:size])),
                               default=0)
    return text[:len(text) - held], text[len(text) - held:], False


async def watched(outputs, stops: list[str]) -> AsyncIterator:
    """Passes a generation on until one of `stops` appears in its text, which LMDeploy finds only if it is a token of
    its own.

    Raises:
        BadRequest: the generation failed, which LMDeploy would tell as the answer's text.
    """
    held = ''
    async with aclosing(outputs):
        async for output in outputs:
            if output.finish_reason == 'error':
                raise BadRequest(f'The engine could not answer this request ({output.response.strip()}); the reason '
                                 'stands in its log.')
            output.response, held, met = cut_at(held + output.response, stops, final=output.finish_reason is not None)
            if met:
                output.finish_reason = 'stop'
            yield output
            if met:
                return


def install() -> None:
    """Puts the additions into LMDeploy's server, in this process; call before it serves. Reasons: see `deploy`."""
    MODELS.register_module('internlm2', module=InternLM2Template)

    check_request, default_config = api_server.check_request, api_server.resolve_default_gen_config
    generate, build_parser = AsyncEngine.generate, BaseResponseParser.__init__
    build_config = adapter.build_generation_config

    def check_request_and_prompt(request):
        error = check_request(request)
        if (error is None and isinstance(request, ChatCompletionRequest | CompletionRequest | GenerateReqInput)
            and (message := check_prompt(request))):
            return refusal(message)
        return error

    def with_special_tokens(*args):
        return {**default_config(*args), 'skip_special_tokens': False, 'spaces_between_special_tokens': False}

    def defaults_not_given(request, defaults, **given):
        return build_config(request, {field: value for field, value in defaults.items() if field not in given}, **given)

    def generate_watched(self, messages, *args, gen_config=None, **kwargs):
        stops = [word for word in gen_config.stop_words or [] if word] if gen_config else []
        if stops:
            gen_config = replace(gen_config, stop_words=None)
        if isinstance(messages, list) and messages and isinstance(messages[0], int):
            messages, kwargs['input_ids'] = None, messages
        return watched(generate(self, messages, *args, gen_config=gen_config, **kwargs), stops)

    def parse_tools_only_when_asked(self, request):
        build_parser(self, request)
        if not request.tools:
            self.tool_parser = None
            self.profile = self._build_profile()

    api_server.check_request = check_request_and_prompt
    api_server.resolve_default_gen_config = with_special_tokens
    api_server.validation_exception_handler = refuse_fields
    api_server.FastAPI = partial(FastAPI, middleware=[Middleware(CheckedRequests)])
    adapter.build_generation_config = defaults_not_given
    response.ResponseInputTokensDetails = partial(response.ResponseInputTokensDetails, cache_write_tokens=0)
    AsyncEngine.generate = generate_watched
    BaseResponseParser.__init__ = parse_tools_only_when_asked
