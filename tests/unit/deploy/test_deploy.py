"""Serving and quantising refuse bad input in one sentence, before any heavy tool starts."""
import json
import socket
import subprocess
import sys

import pytest

from internlm_course.deploy import launch
from internlm_course.deploy.quantize import quantize, read_texts, windows
from internlm_course.deploy.serve import CHAT_ROOM, check_port, free_port, kv_blocks, serve
from internlm_course.errors import CourseError

CONFIG = {'model_type': 'internlm2', 'hidden_size': 256, 'intermediate_size': 768, 'num_hidden_layers': 4,
          'num_attention_heads': 4,
          'num_key_value_heads': 2, 'max_position_embeddings': 512}


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / 'checkpoint'
    folder.mkdir()
    (folder / 'config.json').write_text(json.dumps(CONFIG))
    return folder


@pytest.fixture
def calibration(tmp_path):
    path = tmp_path / 'calibration.jsonl'
    path.write_text(''.join(json.dumps({'text': f'Line {number}: 书生·浦语'}) + '\n' for number in range(5)))
    return path


@pytest.fixture
def no_tool(monkeypatch):
    """Starting a process is a failure of the test: the error must come first."""
    def refuse(*args, **kwargs):
        raise AssertionError('a tool was started')
    monkeypatch.setattr('internlm_course.deploy.serve.start_tool', refuse)
    monkeypatch.setattr('internlm_course.deploy.quantize.run_tool', refuse)


def start(checkpoint, tmp_path, **options):
    with serve(checkpoint, model_name='internlm2-tiny', home=tmp_path, log=tmp_path / 'serve.log', **options):
        pass


def test_a_taken_port_is_named(checkpoint, tmp_path, no_tool):
    with socket.socket() as holder:
        holder.bind(('127.0.0.1', 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(CourseError, match=f'Port {port} .*in use'):
            start(checkpoint, tmp_path, port=port)
    check_port(port)


def test_a_free_port_can_be_taken():
    check_port(free_port())


def test_several_servers_get_different_ports(monkeypatch):
    drawn = iter([5001, 5001, 5002])

    class Probe:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def bind(self, address):
            self.port = next(drawn)

        def getsockname(self):
            return '127.0.0.1', self.port

    monkeypatch.setattr('socket.socket', Probe)
    first = free_port()
    assert (first, free_port([first])) == (5001, 5002)


@pytest.mark.parametrize('port', [-1, 70000])
def test_an_impossible_port(checkpoint, tmp_path, no_tool, port):
    with pytest.raises(CourseError, match='cannot be used'):
        start(checkpoint, tmp_path, port=port)


def test_a_missing_checkpoint(tmp_path, no_tool):
    with pytest.raises(CourseError, match='no checkpoint'):
        start(tmp_path / 'nothing', tmp_path)


@pytest.mark.parametrize('found', ['0.14.0', '0.16.0', '1.0'])
def test_an_untested_lmdeploy_is_named(checkpoint, calibration, tmp_path, no_tool, monkeypatch, found):
    monkeypatch.setattr(launch, 'version', lambda name: found)
    with pytest.raises(CourseError, match=f'{found} is installed'):
        start(checkpoint, tmp_path)
    with pytest.raises(CourseError, match=f'{found} is installed'):
        quantize(checkpoint, tmp_path / 'out', calibration=calibration, home=tmp_path)


def test_a_server_that_fails_shows_its_log(checkpoint, tmp_path, monkeypatch):
    def fail(module, arguments, log, home, extra=None):
        import subprocess
        log.write_text('loading\nValueError: the tokenizer is broken\n')
        return subprocess.Popen([sys.executable, '-c', 'raise SystemExit(3)'], start_new_session=True)
    monkeypatch.setattr('internlm_course.deploy.serve.start_tool', fail)
    with pytest.raises(CourseError, match='code 3 .*the tokenizer is broken'):
        start(checkpoint, tmp_path)


def test_the_kv_cache_holds_a_full_batch_or_at_least_one_sequence():
    assert kv_blocks(CONFIG) == 16 * ((512 + CHAT_ROOM) // 64 + 1) + 1
    large = {'hidden_size': 6144, 'num_attention_heads': 48, 'num_key_value_heads': 8, 'num_hidden_layers': 48,
             'max_position_embeddings': 200_000}
    assert kv_blocks(large) >= 200_000 // 64


@pytest.mark.parametrize(('change', 'options', 'message'), [
    ({}, {'bits': 3}, '3 bits'),
    ({}, {'group_size': 96}, 'multiple of the group size 96'),
    ({'intermediate_size': 700}, {}, 'intermediate_size 700'),
    ({'hidden_size': 192, 'num_attention_heads': 48}, {}, 'packed by eights'),
    ({}, {'length': 513}, '513 tokens'),
    ({}, {'samples': 0}, '0 windows'),
    ({'quantization_config': {'quant_method': 'awq'}}, {}, 'quantised already'),
])
def test_what_cannot_be_quantised(checkpoint, calibration, tmp_path, no_tool, change, options, message):
    (checkpoint / 'config.json').write_text(json.dumps(CONFIG | change))
    with pytest.raises(CourseError, match=message):
        quantize(checkpoint, tmp_path / 'out', calibration=calibration, home=tmp_path, **options)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('content', [None, '', 'no json\n', '{"words": "x"}\n', '[1]\n', '{"text": ""}\n'])
def test_calibration_without_text(checkpoint, tmp_path, no_tool, content):
    path = tmp_path / 'bad.jsonl'
    if content is not None:
        path.write_text(content)
    with pytest.raises(CourseError, match='bad.jsonl'):
        quantize(checkpoint, tmp_path / 'out', calibration=path, home=tmp_path)


def test_calibration_windows_cover_the_text_and_are_seeded(calibration):
    class Bytes:
        def encode(self, text):
            return list(text.encode())
    texts = read_texts(calibration)
    found = windows(Bytes(), texts, samples=20, length=16)
    assert [tuple(window.shape) for window in found] == [(1, 16)] * 20
    read = b''.join(bytes(window[0].tolist()) for window in found).decode('utf-8', 'ignore')
    assert all(text in read for text in texts)
    again = windows(Bytes(), texts, samples=20, length=16)
    assert all((one == other).all() for one, other in zip(found, again))


@pytest.mark.skipif(subprocess.getstatusoutput('unshare -rn setpriv true')[0] != 0,
                    reason='no network namespace may be made here')
def test_loopback_of_an_empty_network_namespace_is_brought_up():
    code = """
import socket
from internlm_course.errors import CourseError
from internlm_course.process import HOST, free_port, open_loopback
def answer():
    try:
        socket.create_connection((HOST, free_port()))
    except OSError as error:
        return type(error).__name__
before = answer()
try:
    open_loopback()
    open_loopback()
    print(before, answer())
except CourseError as error:
    print(before, error)
"""
    def run(*prefix: str) -> str:
        return subprocess.run(['unshare', '-rn', *prefix, sys.executable, '-c', code], capture_output=True, text=True,
                              check=True).stdout
    assert run() == 'OSError ConnectionRefusedError\n'
    assert 'ip link set lo up' in run('setpriv', '--bounding-set=-all', '--inh-caps=-all')
