"""Serving a checkpoint: LMDeploy's OpenAI-compatible api_server in its own process, TurboMind on a GPU, our CPU device
elsewhere."""
import json
import statistics
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from internlm_course.deploy.launch import AND, MODULE, check_version
from internlm_course.errors import CourseError
from internlm_course.process import HOST, free_port, openai_client, port_fault, start_tool, stop_tool, telling_lines

CHAT_ROOM = 64     # tokens
BATCH = 16         # sequences decoded together; more wait
BLOCK_SIZE = 64    # tokens of one block of the paged KV cache, LMDeploy's default
KV_BYTES = 4 << 30  # the KV cache of a CPU server is cut to this


@dataclass(frozen=True)
class Server:
    """A running server: `url` ends in /v1, as the OpenAI client's base_url wants it; `model` is the name it answers to,
    `pid` its process, or that of which several are forks."""
    url: str
    port: int
    model: str
    pid: int


def check_port(port: int) -> None:
    """
    Raises:
        CourseError: another program listens on the port, or it may not be used.
    """
    if fault := port_fault(port):
        raise CourseError(f'Port {port} of {HOST} cannot be used: {fault}.',
                          'Stop the program that holds it, or let a free port be picked (port=None).')


def read_config(checkpoint: Path) -> dict:
    """
    Raises:
        CourseError: the folder is no checkpoint in Hugging Face format.
    """
    try:
        return json.loads((checkpoint / 'config.json').read_text('utf-8'))
    except (OSError, ValueError) as error:
        raise CourseError(f'{checkpoint} is no checkpoint: its config.json is missing or cannot be read.',
                          'Give the folder of a model in Hugging Face format.') from error


def session_length(config: dict) -> int:
    """Tokens of one conversation: the context that the model was trained at, and room for the chat template and an
    answer to a prompt that fills it."""
    return config['max_position_embeddings'] + CHAT_ROOM


def kv_blocks(config: dict) -> int:
    """Blocks for BATCH sequences of full length, within KV_BYTES but for one sequence at least, and one that the engine
    keeps."""
    head = config['hidden_size'] // config['num_attention_heads']
    # K and V, 2 bytes each
    block_bytes = 2 * 2 * config['num_hidden_layers'] * config['num_key_value_heads'] * head * BLOCK_SIZE
    sequence = -(-session_length(config) // BLOCK_SIZE) + 1
    return max(sequence, min(BATCH * sequence, KV_BYTES // block_bytes)) + 1


def threads(config: dict) -> dict[str, str]:
    """One thread for a small model: its products end before a second thread wakes, and on a busy computer the two wait
    for each other."""
    return {'OMP_NUM_THREADS': '1'} if config['hidden_size'] < 1024 else {}


def arguments(checkpoint: Path, config: dict, model_name: str, port: int) -> list[str]:
    """The command line of LMDeploy's api_server for this checkpoint; the launcher adds the backend, which only it can
    see."""
    return ['--kv-blocks', str(kv_blocks(config)), 'serve', 'api_server', str(checkpoint), '--model-name', model_name,
            '--server-name', HOST, '--server-port', str(port),
            '--chat-template', 'internlm2', '--tool-call-parser', 'internlm', '--trust-remote-code',
            '--disable-metrics',
            '--session-len', str(session_length(config)), '--max-batch-size', str(BATCH)]


def wait_until_ready(process: subprocess.Popen, url: str, log: Path, end: float) -> None:
    """Waits until the server lists its model.

    Raises:
        CourseError: the process ended, or the time is `end` (of time.monotonic).
    """
    while time.monotonic() < end:
        if process.poll() is not None:
            raise CourseError(f'The server stopped with code {process.returncode} before it was ready: '
                              f'{telling_lines(log)}',
                              f'The whole log is in {log}.')
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f'{url}/models', timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise CourseError(f'The server was not ready in time: {telling_lines(log)}',
                      f'Look into {log}, or give it more time.')


@contextmanager
def serve_all(checkpoints: Mapping[str, Path], *, model_name: str, home: Path, log: Path, port: int | None = None,
              timeout: float = 180) -> Iterator[dict[str, Server]]:
    """Serves checkpoints of one scale {name: folder} while the block runs, each by a server of its own; all are gone
    afterwards, also after an exception or a kill -9 of this process.

    A server spends its start importing, and most of its memory is what it imported: so one process imports, and the
    servers are its forks (on a GPU each imports by itself).

    Args:
        checkpoints: folders in Hugging Face format: bf16, AWQ INT4 or SmoothQuant INT8.
        model_name: the name clients ask for.
        home: folder for the servers' caches.
        log: file for the servers' output.
        port: of the first, on 127.0.0.1; None picks a free one, as the others do.
        timeout: seconds that the start may take.

    Raises:
        CourseError: no checkpoint, an untested LMDeploy, a taken port, or a server that does not start.
    """
    home, log = Path(home).resolve(), Path(log).resolve()
    check_version()
    ports, commands, extra = [], [], {}
    for checkpoint in (Path(folder).resolve() for folder in checkpoints.values()):
        config = read_config(checkpoint)
        ports.append(port if port and not ports else free_port(ports))
        check_port(ports[-1])
        commands += [AND, *arguments(checkpoint, config, model_name, ports[-1])]
        extra |= threads(config)
    end = time.monotonic() + timeout
    process = start_tool(MODULE, commands[1:], log, home, extra)
    try:
        servers = {name: Server(f'http://{HOST}:{port}/v1', port, model_name, process.pid)
                   for name, port in zip(checkpoints, ports)}
        for server in servers.values():
            wait_until_ready(process, server.url, log, end)
        yield servers
    finally:
        stop_tool(process)


@contextmanager
def serve(checkpoint: Path, **options: Any) -> Iterator[Server]:
    """Serves one checkpoint; arguments and errors are those of `serve_all`."""
    with serve_all(dict(one=checkpoint), **options) as servers:
        yield servers['one']


def decode_speed(url: str, model: str, tokens: int = 64) -> float:
    """Tokens a second that the server writes for one user: the median of three greedy answers of `tokens` tokens."""
    client, rates = openai_client(url), []
    for _ in range(3):
        began = time.monotonic()
        reply = client.completions.create(model=model, prompt='The', max_tokens=tokens, temperature=0,
                                          extra_body=dict(ignore_eos=True))
        rates.append(reply.usage.completion_tokens / (time.monotonic() - began))
    return round(statistics.median(rates), 1)
