"""What LMDeploy 0.15's api_server lacks for this course, added inside the serving process, for the CPU and TurboMind alike.

InternLM2's chat template (0.15 has none left: it trusts whatever the tokenizer carries), special tokens kept in the text so that a client
can read a tool call, stop strings of any length, and a clear 400 where the server would give status 200 and an empty answer.
"""
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from http import HTTPStatus

from lmdeploy.model import MODELS, BaseChatTemplate
from lmdeploy.serve.core.async_engine import AsyncEngine
from lmdeploy.serve.openai import api_server
from lmdeploy.serve.openai.protocol import ChatCompletionRequest, CompletionRequest
from lmdeploy.serve.parsers.response_parser import BaseResponseParser
from lmdeploy.serve.processors import MultimodalProcessor

from internlm_course.model import chat

STOP_TOKENS = ['<|im_end|>', '<|action_end|>', '</s>']
ROLES = ('system', 'user', 'assistant', 'environment', 'tool')


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
    """The length in tokens of each prompt of a chat or completion request.

    Raises:
        ValueError: there is no prompt, or its messages are not InternLM2's.
    """
    engine = api_server.VariableInterface.async_engine
    if isinstance(request, CompletionRequest):
        prompts = request.prompt if isinstance(request.prompt, list) else [request.prompt]
    elif request.messages:
        tools = request.tools if request.tool_choice != 'none' else None
        prompts = [request.messages if isinstance(request.messages, str) else engine.chat_template.messages2prompt(request.messages, tools)]
    else:
        prompts = [request.input_ids or '']
    if not prompts or not all(prompts):
        raise ValueError('The prompt is empty.')
    return [len(engine.tokenizer.encode(prompt)) if isinstance(prompt, str) else len(prompt) for prompt in prompts]


def check_prompt(request) -> str:
    """What is wrong with a request's prompt, in one sentence, or ''."""
    try:
        longest = max(prompt_tokens(request))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f'The messages or the prompt cannot be read: {error}'
    limit = api_server.VariableInterface.async_engine.session_len
    if longest < limit:
        return ''
    return (f'The prompt has {longest} tokens, but the context length of model {request.model!r} is {limit} tokens, the answer included. '
            'Shorten the messages or the prompt.')


def cut_at(text: str, stops: list[str], final: bool) -> tuple[str, str, bool]:
    """(text that may be shown, text held back because a stop string may begin in it, whether a stop string was met)."""
    met = [position for position in map(text.find, stops) if position >= 0]
    if met:
        return text[:min(met)], '', True
    held = 0 if final else max((size for stop in stops for size in range(1, min(len(stop), len(text) + 1)) if text.endswith(stop[:size])),
                               default=0)
    return text[:len(text) - held], text[len(text) - held:], False


async def stop_at(outputs, stops: list[str]) -> AsyncIterator:
    """Passes a generation on until one of `stops` appears in its text, which LMDeploy finds only if it is a token of its own."""
    held = ''
    async with aclosing(outputs):
        async for output in outputs:
            output.response, held, met = cut_at(held + output.response, stops, final=output.finish_reason is not None)
            if met:
                output.finish_reason = 'stop'
            yield output
            if met:
                return


def install() -> None:
    """Puts the additions into LMDeploy's server, in this process."""
    MODELS.register_module('internlm2', module=InternLM2Template)

    check_request, default_config = api_server.check_request, api_server.resolve_default_gen_config
    generate, build_parser = AsyncEngine.generate, BaseResponseParser.__init__

    def check_request_and_prompt(request):
        error = check_request(request)
        if error is None and isinstance(request, ChatCompletionRequest | CompletionRequest) and (message := check_prompt(request)):
            return api_server.create_error_response(HTTPStatus.BAD_REQUEST, message)
        return error

    def with_special_tokens(*args):
        return {**default_config(*args), 'skip_special_tokens': False, 'spaces_between_special_tokens': False}

    def generate_until_stop(self, *args, gen_config=None, **kwargs):
        stops = [word for word in gen_config.stop_words or [] if word] if gen_config else []
        if stops:
            gen_config = replace(gen_config, stop_words=None)
        outputs = generate(self, *args, gen_config=gen_config, **kwargs)
        return stop_at(outputs, stops) if stops else outputs

    def parse_tools_only_when_asked(self, request):
        # With a tool parser LMDeploy takes calls out of every answer; a client that sent no `tools` reads them from the text.
        build_parser(self, request)
        if not request.tools:
            self.tool_parser = None
            self.profile = self._build_profile()

    api_server.check_request = check_request_and_prompt
    api_server.resolve_default_gen_config = with_special_tokens
    AsyncEngine.generate = generate_until_stop
    BaseResponseParser.__init__ = parse_tools_only_when_asked
