"""The agent: Lagent's Internlm2Agent over the served model, in InternLM2's tool format (`<|action_start|><|plugin|>` …
`<|action_end|>`).

The prompt is one line, because the tiny model reads some two characters a token; fine-tuning and serving see the same
tokens."""
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from internlm_course.errors import CourseError
from internlm_course.marking import is_correct, mark
from internlm_course.model.chat import INTERPRETER, PLUGIN, ROLES, TOOL_PROMPT
from internlm_course.process import open_loopback

ATTEMPTS = 3


@dataclass(frozen=True)
class Answer:
    """The agent's final text ('' when it never came to one), the expressions that it sent to the tool, the seconds it
    took, and what the model wrote last, as it wrote it: a call that nobody ran stands only there."""
    question: str
    text: str
    calls: tuple[str, ...]
    seconds: float
    said: str


def solve(url: str, model: str, questions: Sequence[str], tools: bool = True, threads: int = 8) -> list[Answer]:
    """Asks the agent every question, several at a time, greedily.

    Args:
        url: the server's OpenAI-style address, ending in /v1.
        model: the served name; Lagent wants it to begin with 'internlm'.
        tools: whether the agent has the calculator; without it, the model gets the bare question.

    Raises:
        CourseError: the name is one that Lagent cannot talk to, or the server does not answer.
    """
    if not model.lower().startswith('internlm'):
        raise CourseError(f"Lagent cannot call a model named '{model}'.",
                          "Serve it under a name that begins with 'internlm'.")
    open_loopback()
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda question: _ask(_agent(url, model, tools), question), questions))


def multiply(url: str, model: str, problems: Sequence[Mapping[str, str]], tools: bool = True) -> dict[str, float]:
    """Long multiplication by the agent: score, n and 95% interval, with `calls`, the share of questions in which it
    used the tool.

    Args:
        problems: {question, answer} each; at least one.
    """
    answers = solve(url, model, [problem['question'] for problem in problems], tools)
    correct = sum(is_correct(answer.text, problem['answer']) for answer, problem in zip(answers, problems, strict=True))
    return dict(mark(correct, len(problems)), calls=sum(bool(answer.calls) for answer in answers) / len(problems))


def _ask(agent, question: str) -> Answer:
    start, text, calls = time.perf_counter(), '', ()
    try:
        reply = agent.chat(question, max_new_tokens=64, temperature=0.0, top_p=1.0, top_k=1,
                           spaces_between_special_tokens=False)
        text, calls = reply.response.strip(), tuple(str((action.args or {}).get('expression', action.args))
                                                    for action in reply.actions)
    except RuntimeError as error:
        raise CourseError(f'The served model did not answer the agent: {error}', "Read the server's log.") from error
    except (AttributeError, KeyError, TypeError, ValueError):
        # Lagent trusts that a call is one JSON object with name and parameters; a model that writes another is wrong,
        # not broken
        pass
    return Answer(question, text, calls, time.perf_counter() - start, agent._llm.said)


def _agent(url: str, model: str, tools: bool):
    """A fresh agent per question: GPTAPI guards its key counter with a new lock each time, so it must not be shared by
    threads."""
    from lagent.actions import ActionExecutor
    from lagent.agents.internlm2_agent import Internlm2Agent

    from internlm_course.agents.calculator import Calculator

    executor = ActionExecutor(Calculator()) if tools else None
    return Internlm2Agent(_served_model(url, model), plugin_executor=executor, protocol=_protocol())


def _protocol():
    from lagent.agents.internlm2_agent import Internlm2Protocol

    class Protocol(Internlm2Protocol):
        """InternLM2's protocol with a one-line prompt, and with names as the chat template writes them."""

        def format(self, *args, **kwargs) -> list[dict]:
            return [dict(message, name=PLUGIN) if 'name' in message else message
                    for message in super().format(*args, **kwargs)]

    tool = dict(begin='{start_token}{name}\n', start_token='<|action_start|>',
                name_map=dict(plugin=PLUGIN, interpreter=INTERPRETER), belong='assistant', end='<|action_end|>')
    return Protocol(meta_prompt=None, plugin_prompt=TOOL_PROMPT.replace('{', '{{').replace('}', '}}'), tool=tool)


def _served_model(url: str, model: str):
    from lagent.llms import GPTAPI

    class ServedModel(GPTAPI):
        """GPTAPI without a rate limit, that remembers what the model said, and gives up: upstream tries a refused
        connection again for ever."""
        said = ''

        def chat(self, *args, **kwargs) -> str:
            self.attempts = 0
            try:
                self.said = super().chat(*args, **kwargs)
                return self.said
            except (KeyError, TypeError) as error:  # upstream, on a server's error that is not of OpenAI's shape
                raise RuntimeError(f'an answer of unknown form ({error!r})') from error

        def _wait(self) -> None:
            self.attempts += 1
            if self.attempts > ATTEMPTS:
                raise CourseError(f'No model answers at {self.url}.',
                                  'Start it with `make serve`, or check the address.')

    # Upstream turns 'environment' into 'system'; our chat template knows the role, so every role stays what it is.
    roles = [dict(role=role, api_role=role) for role in ROLES]
    return ServedModel(model_type=model, key='local', meta_template=roles, openai_api_base=f'{url}/chat/completions')
