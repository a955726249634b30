"""The command `chat` as a shell of another kind calls it: behind proxies, in a terminal without UTF-8, with an input that ends."""
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.chain
PROXIES = dict(http_proxy='http://127.0.0.1:9', all_proxy='socks5://127.0.0.1:9')


def test_a_chat_past_proxies_ends_with_its_input(tmp_path):
    line = [sys.executable, '-m', 'internlm_course.cli', 'chat', '--root', str(tmp_path)]
    done = subprocess.run(line, env=dict(os.environ, PYTHONIOENCODING='latin-1', **PROXIES), input=b'Hello!\n', capture_output=True)
    said = done.stdout.decode('latin-1')
    assert done.returncode == 0 and 'InternLM2' in said and '????' in said and 'Traceback' not in done.stderr.decode('latin-1')
