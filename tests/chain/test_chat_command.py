"""The command `chat` as a shell of another kind calls it: behind proxies, in a terminal without UTF-8; what it proposes
to ask, the shipped model knows."""
import os
import signal
import subprocess
import sys

import pytest

from internlm_course.lab.chat import examples

pytestmark = pytest.mark.chain
PROXIES = dict(http_proxy='http://127.0.0.1:9', all_proxy='socks5://127.0.0.1:9')


def heed_ctrl_c() -> None:
    """What a shell starts in its background, as some run their tests, ignores Ctrl-C, and so do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_chat_past_proxies_knows_what_it_proposes_and_leaves_on_ctrl_c(tmp_path):
    line = [sys.executable, '-m', 'internlm_course.cli', 'chat', '--root', str(tmp_path)]
    english = {question: reply for kind in examples().values()
               for question, reply in kind.items() if question.isascii()}
    environment = dict(os.environ, PYTHONIOENCODING='latin-1', **PROXIES)
    with subprocess.Popen(line, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, encoding='latin-1', preexec_fn=heed_ctrl_c) as chat:
        print('Hello!', 'word ' * 3000, *english, 'Thank you!', sep='\n', file=chat.stdin, flush=True)
        said = []
        while not said or 'welcome' not in said[-1]:
            said.append(chat.stdout.readline())
            assert said[-1], chat.stderr.read()
        chat.send_signal(signal.SIGINT)
        assert chat.wait(60) == 0 and 'Traceback' not in (told := chat.stderr.read()) and 'run again' not in told
    guide, answers = ''.join(said).split('leaves.', 1)
    assert 'InternLM2' in answers and '????' in guide and 'Ask a shorter one.' in answers
    assert all(question in guide for question in english)
    told = [line.removeprefix('> ').strip() for line in answers.splitlines()]
    assert len([reply for reply in english.values()
                if reply.encode('latin-1', 'replace').decode() in told]) >= len(english) - 1, told
