"""Submissions that try to earn what they do not deserve, or come back in a state that nobody foresaw; made by code.

Each is a class member with two exercises: `bits` is honest and right in every one, `slow` is where something is tried.
A case is (status of `slow`, points of `slow`, the file or files); `bits` must be right in all but the cases that say
so.
"""

import copy
import io
import json
import os
import stat
import zipfile
from pathlib import Path

LAB = """\
# %% name="setup" setup=true
import math

import numpy as np

from internlm_course.lab.answers import lab03 as own
from internlm_course.lab.check import Lab, numbers, seeded, self_check
lab = Lab('98_hostile', points=dict(bits=2, slow=3))

# %% name="tour"
import statistics

import torch

print(statistics.mean([1, 2]))

# %% name="bits" exercise=true
def bits_per_byte(nats, text):
    ### BEGIN SOLUTION
    return sum(nats) / math.log(2) / len(text.encode())
    ### END SOLUTION

# %% name="check-bits" check="bits" points=2
# NBVAL_CHECK_OUTPUT
rng = seeded('bits')
cases = [([round(rng.expovariate(1), 3) for _ in range(4)], text) for text in ('ab', '首都', 'π')]
lab.check('bits', bits=(bits_per_byte, own.bits_per_byte, cases))

# %% name="slow" exercise=true
def slow_pairs(d, theta, context):
    ### BEGIN SOLUTION
    return sum(2 * math.pi * theta ** (2 * i / d) > context for i in range(d // 2))
    ### END SOLUTION

# %% name="check-slow" check="slow" points=3
# NBVAL_CHECK_OUTPUT
rng = seeded('slow')
cases = [(rng.choice([64, 96, 128]), rng.choice([1e4, 5e4, 1e6]), rng.randrange(100, 40_000)) for _ in range(8)]
lab.check('slow', slow=(slow_pairs, own.slow_pairs, cases))
"""
BITS = 'def bits_per_byte(nats, text):\n    return sum(nats) / math.log(2) / len(text.encode())\n'
RIGHT = (
    'def slow_pairs(d, theta, context):\n'
    '    return sum(2 * math.pi * theta ** (2 * i / d) > context for i in range(d // 2))\n'
)
WRONG = 'def slow_pairs(d, theta, context):\n    return 7\n'
FULL = 3
LINE = '{"check": "slow", "values": [7, 7, 7, 7, 7, 7, 7, 7]}'
FORGE = f'display({{"text/plain": {LINE!r}}}, raw=True)\n'


def body(*lines: str) -> str:
    """An answer whose function has these lines."""
    return 'def slow_pairs(d, theta, context):\n' + ''.join(f'    {line}\n' for line in lines)


def after(*lines: str) -> str:
    """A wrong answer followed by these lines."""
    return WRONG + '\n'.join(lines) + '\n'


CELLS = {  # status, points, the cell
    'right': ('ok', FULL, RIGHT),
    'right, with numpy': (
        'ok',
        FULL,
        body('return (2 * np.pi * theta ** (2 * np.arange(d // 2) / d) > context).sum()'),
    ),
    'right, with torch': (
        'ok',
        FULL,
        'import torch\n'
        + body(
            'i = torch.arange(d // 2, dtype=torch.float64)',
            'return (2 * math.pi * theta ** (2 * i / d) > context).sum()',
        ),
    ),
    'right, with an import of the tour': ('ok', FULL, body('statistics.mean([1])', RIGHT.splitlines()[1].strip())),
    'right, and prints': ('ok', FULL, 'print("x" * 1000)\n' + body(f'print({LINE!r})', RIGHT.splitlines()[1].strip())),
    'right, after an error of its own': ('ok', FULL, RIGHT + 'assert slow_pairs(8, 10.0, 100) == 99\n'),
    'right, with a magic': ('ok', FULL, '%time\n' + RIGHT + '!true\n'),
    'right, and async': ('ok', FULL, 'import asyncio\nawait asyncio.sleep(0)\n' + RIGHT),
    'right, and an alert': ('ok', FULL, 'import warnings\nwarnings.warn("x")\n' + RIGHT),
    'right, in Chinese': (
        'ok',
        FULL,
        '# 一圈是 2π\n圈 = 2 * math.pi\n'
        + body('return sum(圈 * theta ** (2 * i / d) > context for i in range(d // 2))'),
    ),
    'right, NBVAL_SKIP': ('ok', FULL, '# NBVAL_SKIP\n' + RIGHT),
    'wrong': ('wrong', 0, WRONG),
    'comments only': ('not attempted', 0, '# I had no time\n'),
    'stub and a remark': ('not attempted', 0, body('# hm', 'raise NotImplementedError')),
    'returns nothing': ('wrong', 0, body('pass')),
    'raises': ('error', 0, body('return 1 / 0')),
    'syntax error': ('error', 0, 'def slow_pairs(d, theta, context:\n    return 7\n'),
    'another name': ('error', 0, RIGHT.replace('slow_pairs', 'slowpairs')),
    'a very long cell': ('error', 0, RIGHT + '#' * (1 << 20)),
    'null byte': ('error', 0, RIGHT + 'x = "\0"\n'),
    'deep brackets': ('error', 0, RIGHT.replace('7', '') + '(' * 5000 + ')' * 5000 + '\n'),
    'homoglyph': ('error', 0, RIGHT.replace('slow_pairs', 'slоw_pairs')),
    'NaN': ('wrong', 0, body('return float("nan")')),
    'infinity': ('wrong', 0, body('return 1e400')),
    'huge integer': ('error', 0, body('return 10 ** 5000')),
    'deep list': ('wrong', 0, body('x = []', 'for _ in range(300): x = [x]', 'return x')),
    'recursion': ('error', 0, body('return slow_pairs(d, theta, context)')),
    'numpy scalar of another value': ('wrong', 0, body('return np.int64(7)')),
    'always equal': (
        'wrong',
        0,
        'class Equal(int):\n    __eq__ = lambda *a: True\n    __hash__ = int.__hash__\n' + body('return Equal(7)'),
    ),
    'lies about its class': (
        'error',
        0,
        'class Liar:\n    __class__ = int\n    def __eq__(self, other): return True\n' + body('return Liar()'),
    ),
    'its tolist never ends': (
        'timeout',
        0,
        'class L:\n    def tolist(self):\n        while True: pass\n' + body('return L()'),
    ),
    'public values': ('wrong', 0, 'count = iter([16, 3, 9, 22, 31, 4, 7, 12])\n' + body('return next(count)')),
    "the package's own": ('wrong', 0, body('return own.slow_pairs(d, theta, context)')),
    "the package's own, imported": ('wrong', 0, 'from internlm_course.lab.answers.lab03 import slow_pairs\n'),
    "the package's own, found": (
        'wrong',
        0,
        'import sys\nslow_pairs = sys.modules["internlm_course.lab.answers.lab03"].slow_pairs\n',
    ),
    'prints the line itself': ('wrong', 0, after(f'print({LINE!r})')),
    'displays the line in its cell': ('wrong', 0, after(f'display({{"text/plain": {LINE!r}}}, raw=True)')),
    'displays the line from the function': (
        'tampered',
        0,
        body(f'display({{"text/plain": {LINE!r}}}, raw=True)', 'return 7'),
    ),
    'patched json': ('tampered', 0, after('import json', f'json.dumps = lambda *a, **k: {LINE[:-1]!r}')),
    'patched json with the line': ('tampered', 0, after('import json', f'json.dumps = lambda *a, **k: {LINE!r}')),
    'patched comparison': (
        'wrong',
        0,
        after(
            'import internlm_course.lab.trial as t, internlm_course.grading.compare as c',
            't.same = c.same = lambda *a, **k: True',
        ),
    ),
    'patched check': ('tampered', 0, after('Lab.check = lambda *a, **k: 3')),
    'patched points': ('wrong', 0, after('lab.points["slow"] = 1000')),
    'patched seed': ('wrong', 0, after('import random', 'seeded = lambda name: random.Random(1)')),
    'no cases': (
        'wrong',
        0,
        after(
            'import internlm_course.lab.check as c',
            'old = c.Trial',
            'c.Trial = lambda mine, own, cases, *more: old(mine, own, [], *more)',
        ),
    ),
    'transformer that drops cells': (
        'tampered',
        0,
        after('get_ipython().input_transformers_cleanup.append(lambda lines: [])'),
    ),
    'transformer that answers': (
        'wrong',
        0,
        after(f'get_ipython().input_transformers_cleanup.append(lambda lines: [{FORGE!r}])'),
    ),
    'ast transformer': (
        'tampered',
        0,
        after(
            'import ast',
            'class T(ast.NodeTransformer):',
            '    def visit_Module(self, node):',
            '        node.body = []',
            '        return node',
            'get_ipython().ast_transformers.append(T())',
        ),
    ),
    'display hook': ('wrong', 0, after('get_ipython().display_pub.register_hook(lambda m: m)')),
    'display hook that swallows': ('tampered', 0, after('get_ipython().display_pub.register_hook(lambda m: None)')),
    'post_run_cell event': (
        'tampered',
        0,
        after(
            f'get_ipython().events.register("post_run_cell", lambda *a: display({{"text/plain": {LINE!r}}}, raw=True))'
        ),
    ),
    'thread that displays later': (
        'wrong',
        0,
        after(
            'import threading, time',
            'def later():',
            '    time.sleep(30)',
            'threading.Thread(target=later, daemon=True).start()',
        ),
    ),
    'at exit': ('wrong', 0, after('import atexit', f'atexit.register(print, {LINE!r})')),
    'looks for the seed': ('wrong', 0, 'import os\n' + body('return len(os.environ.get("INTERNLM_COURSE_SEED", ""))')),
    'leaves at once': ('killed', 0, 'import os\nos._exit(0)\n'),
    'leaves in the check': ('killed', 0, 'import os\n' + body('os._exit(0)')),
    'kills itself': ('killed', 0, 'import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n'),
    'kills everything': (
        'killed',
        0,
        'import os, signal\nfor pid in (1, -1, 0): \n    try: os.kill(pid, signal.SIGKILL)\n    except OSError: pass\n',
    ),
    'segmentation fault': ('killed', 0, 'import ctypes\nctypes.string_at(0)\n'),
    'stops itself': ('timeout', 0, 'import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\n'),
    'endless': ('timeout', 0, 'while True: pass\n'),
    'endless, deaf': ('timeout', 0, 'import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass\n'),
    'sleeps': ('timeout', 0, body('import time', 'time.sleep(999)')),
    'waits for input': ('error', 0, 'input()\n'),
    'memory': ('memory', 0, 'x = []\nwhile True: x.append(bytearray(b"x" * (1 << 24)))\n'),
    'memory at once': ('memory', 0, body('return len(bytes(10 ** 11))')),
    'shared memory': (
        'memory',
        0,
        'import mmap\nm = [mmap.mmap(-1, 1 << 30) for _ in range(4)]\nfor part in m:\n'
        '    for i in range(0, 1 << 30, 4096): part[i] = 1\n',
    ),
    'fork bomb': ('killed', 0, 'import os, time\nwhile True:\n    if os.fork() == 0: time.sleep(99)\n'),
    'orphan': (
        'wrong',
        0,
        after('import os, time', 'if os.fork() == 0:', '    os.setsid()', '    time.sleep(600)', '    os._exit(0)'),
    ),
    'prints without end': ('flood or memory or tampered or killed', 0, 'while True: print("x" * 10000)\n'),
    'displays without end': ('flood', 0, 'while True: display("x" * 20000)\n'),
    'prints through a program': ('flood', 0, 'import os\nos.system("yes | head -c 50000000")\n' + RIGHT),
    'fills the disk': (
        'flood',
        0,
        'for i in range(10**6):\n    with open(f"file{i}", "wb") as f: f.write(b"x" * (1 << 22))\n',
    ),
    'many files': ('flood', 0, 'for i in range(10**7): open(f"file{i}", "w").close()\n'),
    'rewrites the package': (
        'wrong',
        0,
        after(
            'import internlm_course, os',
            'try:',
            '    open(os.path.join(internlm_course.__path__[0], "lab/check.py"), "w").write("")',
            'except OSError: pass',
            'else: raise SystemExit',
        ),
    ),
    'sitecustomize': (
        'wrong',
        0,
        after(
            'open("sitecustomize.py", "w").write("1/0")',
            'open("conftest.py", "w").write("1/0")',
            'import os',
            'os.makedirs(".ipython/profile_default/startup", exist_ok=True)',
            'open(".ipython/profile_default/startup/a.py", "w").write("1/0")',
        ),
    ),
}
BESIDE = tuple(CELLS)  # those in whose notebooks `bits` is solved; in the others it is left open, to save time
DISPLAY = f'display({{"text/plain": {LINE!r}}}, raw=True)'
DEEP = """import os
for _ in range(30):
    os.mkdir('d' * 200); os.chdir('d' * 200)
"""
FILL = """for i in range(100):
    with open(f'file{i}', 'wb') as f: os.posix_fallocate(f.fileno(), 0, 1 << 22)
import time; time.sleep(99)
"""
CELLS |= {  # honest, and unlike what one expects
    'right, as a lambda': ('ok', FULL, f'slow_pairs = lambda d, theta, context: {RIGHT.partition("return ")[2]}'),
    'right, as a partial': (
        'ok',
        FULL,
        f'import functools\n{RIGHT.replace("slow_pairs(", "_pairs(turn, ").replace("2 * math.pi", "turn")}'
        'slow_pairs = functools.partial(_pairs, 2 * math.pi)\n',
    ),
    'right, as an object': (
        'ok',
        FULL,
        'class Pairs:\n    def __call__(self, d, theta, context):\n    '
        + RIGHT.partition('\n')[2]
        + 'slow_pairs = Pairs()\n',
    ),
    'right, with processes and a pool': (
        'ok',
        FULL,
        'from concurrent.futures import ThreadPoolExecutor\nimport subprocess\nsubprocess.run(["true"])\n'
        + body(
            'with ThreadPoolExecutor(2) as pool:',
            '    return sum(pool.map(lambda i: 2 * math.pi * theta ** (2 * i / d) > context, range(d // 2)))',
        ),
    ),
    'right, a float': ('ok', FULL, RIGHT.replace('sum(', 'sum(1.0 * (', 1).rstrip().replace(' for', ') for') + '\n'),
    'right, capturing': ('ok', FULL, '%%capture\n' + RIGHT),
    'right, timed': ('ok', FULL, '%%time\n' + RIGHT),
    'right, and leaves politely': ('ok', FULL, RIGHT + 'raise SystemExit\n'),
    'right, as a script': ('ok', FULL, RIGHT + 'if __name__ == "__main__":\n    print(slow_pairs(8, 10.0, 100))\n'),
    'right, with a plot': (
        'ok',
        FULL,
        '%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\n' + RIGHT,
    ),
    'right, changes its folder': ('ok', FULL, 'import os\nos.mkdir("x"); os.chdir("x")\n' + RIGHT),
    'right, wants a progress bar': ('ok', FULL, 'from tqdm.auto import tqdm\nlist(tqdm(range(3)))\n' + RIGHT),
    'right, warns each time': ('ok', FULL, 'import warnings\n' + RIGHT.replace('\n', '\n    warnings.warn("x")\n', 1)),
}
CELLS |= {  # patches
    'patched print': ('wrong', 0, after('import builtins', 'builtins.print = lambda *a, **k: None')),
    'patched builtins': ('wrong', 0, after('import builtins', 'builtins.all = builtins.any = lambda *a: True')),
    'patched numpy': ('wrong', 0, after('np.pi = 3', 'np.allclose = np.array_equal = lambda *a, **k: True')),
    'patched math': ('wrong', 0, after('math.isclose = lambda *a, **k: True', 'math.isfinite = lambda x: False')),
    'patched values': (
        'wrong',
        0,
        after('import internlm_course.lab.trial as t', 't.json_value = lambda x: 7', 't.Trial.agree = [True]'),
    ),
    'patched output': (
        'tampered',
        0,
        after('import internlm_course.lab.check as c', 'c._put_out = lambda checks: None'),
    ),
    'patched display': (
        'wrong',
        0,
        after(
            'import IPython.display as d',
            'old = d.display',
            f'd.display = lambda *a, **k: old({{"text/plain": {LINE!r}}}, raw=True)',
        ),
    ),
    'its own Lab': ('tampered', 0, after('class Lab:', '    check = lambda *a, **k: 3', 'lab = Lab()')),
}
CELLS |= {  # values that are not what they seem
    'tolist that answers': ('wrong', 0, 'class A:\n    tolist = lambda self: {"check": "slow"}\n' + body('return A()')),
    'float with a repr': ('wrong', 0, 'class F(float):\n    __repr__ = lambda self: "8"\n' + body('return F(7)')),
    'dict that is a list': ('wrong', 0, 'class D(dict):\n    items = lambda self: []\n' + body('return D(a=1)')),
    'text with the line': ('wrong', 0, body(f'return "]}}\\n" + {LINE!r}')),
    'text with lone surrogates': ('error', 0, body('return "\\ud800"')),
    'torch scalar of another value': ('wrong', 0, 'import torch\n' + body('return torch.tensor(7)')),
    'no JSON': ('wrong', 0, body('return [7j, b"7", {7}, ..., True][context % 5]')),
    'generator': ('wrong', 0, body('yield 7')),
    'async function': ('wrong', 0, 'async ' + RIGHT),
    'circle': ('error', 0, body('x = []', 'x.append(x)', 'return x')),
    'all values at once': ('wrong', 0, body('return list(range(64))')),
    'public values by their arguments': (
        'wrong',
        0,
        'public = {(64, 1e4, 5000): 7, (128, 5e4, 100): 9}\n' + body('return public.get((d, theta, context), 7)'),
    ),
    'error with a lone surrogate': ('error', 0, 'raise ValueError("\\ud800 <script>alert(1)</script>")\n'),
    'reads the check': (
        'wrong',
        0,
        body('return len(get_ipython().user_ns["In"][-1]) + len(get_ipython().user_ns["rng"].__reduce__())'),
    ),
    'searches memory': (
        'wrong',
        0,
        'import gc\nfound = [f for f in gc.get_objects() if getattr(f, "__name__", "") == "slow_pairs"\n'
        '         and f.__module__ != "__main__"]\n' + body('return found[0](d, theta, context)'),
    ),
}
CELLS |= {  # later, elsewhere
    'signal that displays': (
        'tampered',
        0,
        'import signal\n'
        f'signal.signal(signal.SIGUSR1, lambda *a: {DISPLAY})\n'
        + body('signal.raise_signal(signal.SIGUSR1)', 'return 7'),
    ),
    'clears and displays again': (
        'tampered',
        0,
        after(
            'from IPython.display import clear_output',
            f'get_ipython().events.register("post_run_cell", lambda *a: (clear_output(), {DISPLAY}, {DISPLAY}))',
        ),
    ),
    'updates its display': (
        'wrong',
        0,
        after(
            'h = display({"text/plain": "x"}, raw=True, display_id="h")',
            'old = slow_pairs',
            'def slow_pairs(d, theta, context):',
            f'    h.update({{"text/plain": {LINE!r}}}, raw=True)',
            '    return 7',
        ),
    ),
    'child that displays': (
        'wrong',
        0,
        after('import os', 'if os.fork() == 0:', f'    {DISPLAY}', '    os._exit(0)', 'os.wait()'),
    ),
    'exits at once': ('killed', 0, RIGHT + 'import sys\nsys.stdout.flush()\nimport os\nos._exit(0)\n'),
    'becomes another program': ('killed', 0, 'import os\nos.execv("/bin/true", ["true"])\n'),
    'becomes a program that waits': ('timeout', 0, 'import os\nos.execv("/bin/sleep", ["sleep", "600"])\n'),
    'right, and stops the watcher': (
        'ok',
        FULL,
        'import os, signal\nfor s in (signal.SIGSTOP, signal.SIGKILL, signal.SIGTERM, signal.SIGINT):\n'
        '    os.kill(1, s)\n' + RIGHT,
    ),
    'right, its sockets removed': (
        'ok',
        FULL,
        'import glob, os\nfor name in ["kernel.json", *glob.glob("k-*")]:\n    os.remove(name)\n'
        'os.symlink("/etc/passwd", "kernel.json"); os.mkdir("k-1")\n' + RIGHT,
    ),
    'right, a pipe for a file': ('ok', FULL, 'import os\nos.remove("kernel.json"); os.mkfifo("kernel.json")\n' + RIGHT),
    'pth': (
        'wrong',
        0,
        after(
            'import os, site, sys',
            'for folder in [*sys.path, site.getusersitepackages(), ".", os.path.expanduser("~")]:',
            '    for name in ("a.pth", "usercustomize.py", "pytest.ini", "conftest.py", "json.py"):',
            '        try:',
            '            os.makedirs(folder, exist_ok=True)',
            '            open(os.path.join(folder, name), "w").write("import os; os._exit(1)")',
            '        except OSError: pass',
        ),
    ),
    'writes its cell away': ('error', 0, '%%writefile slow.py\n' + RIGHT),
    'in bash': ('error', 0, '%%bash\nexit 0\n' + RIGHT),
    'resets': ('error', 0, RIGHT + '%reset -f\n'),
    'loads an extension': ('error', 0, '%load_ext hostile\n'),
    'disk in the deep': ('flood', 0, DEEP + FILL),
    'disk in the dark': ('flood', 0, 'import os\nos.mkdir("d", 0o300); os.chdir("d")\n' + FILL),
    'disk without names': (
        'memory',
        0,
        'import mmap, os, time\nkept = []\nfor i in range(40):\n    with open("f", "w+b") as f:\n'
        '        os.posix_fallocate(f.fileno(), 0, 1 << 25); kept.append(mmap.mmap(f.fileno(), 4096))\n'
        '    os.remove("f")\ntime.sleep(99)\n',
    ),
    'threads without end': (
        'error',
        0,
        'import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(99,)).start()\n',
    ),
    'many signs': ('memory or error', 0, 'x = ' + '-' * 10_000 + '1\n' + RIGHT),
}
PRYING = """import glob, os, socket
def pry():
    found = []
    for path in {paths!r}:
        if os.path.exists(path): found.append(path)
    for path in glob.glob('/proc/[0-9]*/environ') + glob.glob('/proc/[0-9]*/cmdline'):
        try:
            if b'hostile' in open(path, 'rb').read() or b'pytest' in open(path, 'rb').read(): found.append(path)
        except OSError: pass
    for pid in os.listdir('/proc'):
        if pid.isdigit() and pid != str(os.getpid()):
            try: open(f'/proc/{{pid}}/mem', 'rb').read(1)
            except OSError as error:
                if pid == '1' and not isinstance(error, PermissionError): found.append('mem')
            else: found.append(pid)
    for address in (('127.0.0.1', 22), ('8.8.8.8', 53), ('169.254.169.254', 80)):
        try:
            socket.create_connection(address, 0.5); found.append(address)
        except OSError: pass
    for path in ('/tmp/../x', '/usr/x', '/etc/x', '/x', '/dev/x'):
        try: open(path, 'w').close(); found.append('wrote ' + path)
        except OSError: pass
    try: os.setuid(0); found.append('root')
    except OSError: pass
    if os.getuid() != 65534: found.append('uid')
    return found
if pry(): raise SystemExit(str(pry()))
"""


def notebook_of(blank: dict, slow: str | None, bits: bool = True) -> dict:
    """The student's notebook with the honest answer to one exercise, or none, and this one to the other."""
    made = copy.deepcopy(blank)
    for cell in made['cells']:
        cell['source'] = ''.join(cell['source'])
        if cell['id'] == 'bits' and bits:
            cell['source'] = BITS
        elif cell['id'] == 'slow' and slow is not None:
            cell['source'] = slow
    return made


def cell_of(notebook: dict, name: str) -> dict:
    """A cell by its id."""
    return next(cell for cell in notebook['cells'] if cell['id'] == name)


def _changed(blank: dict, change) -> bytes:
    """A right notebook after a change."""
    made = notebook_of(blank, RIGHT)
    made = change(made) or made
    return json.dumps(made).encode()


def _without_ids(made: dict) -> None:
    made['nbformat_minor'] = 0
    for cell in made['cells']:
        del cell['id']
        cell['metadata'] = {}


def _version_3(made: dict) -> dict:
    cells = [
        dict(
            cell_type='code',
            input=cell['source'].splitlines(True),
            language='python',
            outputs=[],
            metadata={},
            prompt_number=1,
        )
        for cell in made['cells']
    ]
    return dict(nbformat=3, nbformat_minor=0, metadata=dict(name=''), worksheets=[dict(cells=cells, metadata={})])


def _each(made: dict, **fields) -> None:
    for cell in made['cells']:
        cell.update(fields)


def _twice(made: dict) -> None:
    made['cells'].append(dict(cell_of(made, 'slow'), source=WRONG))
    made['cells'].append(dict(cell_of(made, 'slow'), source=RIGHT))


def _marked(made: dict) -> None:
    _without_ids(made)
    for cell in made['cells']:
        if 'def slow_pairs' in cell['source']:
            cell['source'] = '# exercise: slow\n' + RIGHT.replace(
                'def slow_pairs', 'slow_pairs = lambda *a: other(*a)\ndef other'
            )


CRLF = RIGHT.replace('\n', '\r\n')
NOTEBOOKS = {  # status and points of slow, then of bits; the change
    'checks edited': ('ok', FULL, 'ok', 2, lambda made: cell_of(made, 'check-slow').update(source='pass')),
    'checks deleted': (
        'ok',
        FULL,
        'ok',
        2,
        lambda made: made.update(cells=[c for c in made['cells'] if 'check' not in c['id']]),
    ),
    'reversed': ('ok', FULL, 'ok', 2, lambda made: made['cells'].reverse()),
    'a cell more': (
        'ok',
        FULL,
        'ok',
        2,
        lambda made: made['cells'].insert(0, dict(cell_type='code', id='x', source='import os; os._exit(1)')),
    ),
    'setup edited': ('ok', FULL, 'ok', 2, lambda made: cell_of(made, 'setup').update(source='1/0')),
    'exercise deleted': ('not attempted', 0, 'ok', 2, lambda made: made['cells'].remove(cell_of(made, 'slow'))),
    'exercise doubled': ('ok', FULL, 'ok', 2, _twice),
    'exercises swapped': (
        'error',
        0,
        'error',
        0,
        lambda made: [cell_of(made, 'slow').update(source=BITS), cell_of(made, 'bits').update(source=RIGHT)][0],
    ),
    'exercise retyped': ('ok', FULL, 'ok', 2, lambda made: cell_of(made, 'slow').update(cell_type='markdown')),
    'without ids': ('ok', FULL, 'ok', 2, _without_ids),
    'without ids, by its comment': ('ok', FULL, 'ok', 2, _marked),
    'version 3': ('ok', FULL, 'ok', 2, _version_3),
    'null metadata': (
        'ok',
        FULL,
        'ok',
        2,
        lambda made: [made.update(metadata=None), _each(made, metadata=None)][0],
    ),
    'odd metadata': (
        'ok',
        FULL,
        'ok',
        2,
        lambda made: [made.update(metadata=[1]), _each(made, metadata='x', outputs=7)][0],
    ),
    'source as lines': (
        'ok',
        FULL,
        'ok',
        2,
        lambda made: [c.update(source=c['source'].splitlines(True)) for c in made['cells']] and None,
    ),
    'lone surrogate': ('ok', FULL, 'ok', 2, lambda made: cell_of(made, 'slow').update(source=RIGHT + '# \ud800\n')),
    'large outputs': (
        'ok',
        FULL,
        'ok',
        2,
        lambda made: cell_of(made, 'setup').update(
            outputs=[dict(output_type='stream', name='stdout', text='x' * (50 << 20))]
        ),
    ),
    'tags that skip': (
        'ok',
        FULL,
        'ok',
        2,
        lambda made: _each(made, metadata=dict(tags=['nbval-skip', 'raises-exception'])),
    ),
    'another kernel': (
        'ok',
        FULL,
        'ok',
        2,
        lambda made: made['metadata'].update(kernelspec=dict(name='bash', display_name='x')),
    ),
    'another version': ('ok', FULL, 'ok', 2, lambda made: made.update(nbformat='x', nbformat_minor=None)),
    'another lab': ('ok', FULL, 'ok', 2, lambda made: made['metadata'].update(course=dict(lab='03_pretraining'))),
    'numbers without end': ('ok', FULL, 'ok', 2, lambda made: made.update(metadata=dict(x=float('nan'), y=1e308 * 10))),
    'cells that are none': ('ok', FULL, 'ok', 2, lambda made: made['cells'].extend([None, 7, 'x', [], {}])),
    'ids that are none': (
        'ok',
        FULL,
        'ok',
        2,
        lambda made: [cell.update(id=7) for cell in made['cells'] if 'def' not in cell['source']] and None,
    ),
    'exercise raw': ('ok', FULL, 'ok', 2, lambda made: cell_of(made, 'slow').update(cell_type='raw', metadata={})),
    'lines of Windows': ('ok', FULL, 'ok', 2, lambda made: cell_of(made, 'slow').update(source=CRLF)),
    'spaces of the web': (
        'error',
        0,
        'ok',
        2,
        lambda made: cell_of(made, 'slow').update(source=RIGHT.replace('    ', '\u00a0   ')),
    ),
    'ids lost, and a cell of 20 MB': (
        'ok',
        FULL,
        'ok',
        2,
        lambda made: [_without_ids(made), made['cells'].append(dict(cell_type='code', source='x\n' * (10 << 20)))][0],
    ),
    'a thousand of each': (
        'ok',
        FULL,
        'ok',
        2,
        lambda made: made['cells'].extend([dict(cell_of(made, 'slow')) for _ in range(1000)]),
    ),
    'everything commented': (
        'not attempted',
        0,
        'not attempted',
        0,
        lambda made: _each(made, source='# ' + RIGHT.replace('\n', '\n# ')),
    ),
}
UNREADABLE = {
    'empty': b'',
    'text': b'hello',
    'list': b'[1, 2]',
    'null': b'null',
    'no cells': b'{"cells": []}',
    'cells are text': b'{"cells": "x", "nbformat": 4}',
    'deep': b'[' * 100_000,
    'not UTF-8': b'\xff\xfe\x00{',
    'cut off': b'{"cells": [{"cell_type": "code", "sou',
    'too large': b' ' * ((64 << 20) + 1),
    'UTF-16': '{"cells": []}'.encode('utf-16'),
    'a number without end': b'{"cells": [{"id": ' + b'7' * 10_000 + b'}]}',
}


def _zip(members: dict[str, bytes], links: tuple[str, ...] = ()) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (stat.S_IFLNK | 0o777 if name in links else stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content)
    return out.getvalue()


def write_class(folder: Path, blank: dict, secret: Path) -> dict[str, tuple[str, float, str, float]]:
    """Writes all submissions into a folder.

    Args:
        blank: the student's notebook.
        secret: a file that no kernel may see.

    Returns:
        {student: (status of slow, points, status of bits, points)}
    """
    expected = {}

    def put(student: str, content: bytes, *wanted, name: str = 'lab.ipynb') -> None:
        (folder / student).mkdir()
        (folder / student / name).write_bytes(content)
        expected[student] = wanted

    prying = PRYING.format(
        paths=[str(secret), str(folder), str(Path(__file__).resolve()), '/root/.bashrc', '/home', '/var/log']
    )
    for student, (status, points, cell) in dict(CELLS, prying=('ok', FULL, prying + RIGHT)).items():
        bits = student in BESIDE
        content = json.dumps(notebook_of(blank, cell, bits)).encode()
        put(student, content, status, points, *(('ok', 2) if bits else ('not attempted', 0)))
    for student, (status, points, other, bits, change) in NOTEBOOKS.items():
        put(student, _changed(blank, change), status, points, other, bits)
    nothing = ('unreadable', 0, 'unreadable', 0)
    for student, content in UNREADABLE.items():
        put(student, content, *nothing)
    right = json.dumps(notebook_of(blank, RIGHT)).encode()
    put('zip', _zip({'a/b/lab.ipynb': right}), 'ok', FULL, 'ok', 2, name='all.zip')
    put('zip slip', _zip({'../../lab.ipynb': right}), *nothing, name='all.zip')
    put('zip with a link', _zip({'lab.ipynb': str(secret).encode()}, links=('lab.ipynb',)), *nothing, name='all.zip')
    put('zip bomb', _zip({'lab.ipynb': b'0' * (200 << 20)}), *nothing, name='all.zip')
    put('broken zip', right[:500], *nothing, name='all.zip')
    for student in ('link', 'folder only'):
        (folder / student).mkdir()
        expected[student] = nothing
    (folder / 'link' / 'lab.ipynb').symlink_to(folder / 'right' / 'lab.ipynb')
    put('=1+1', right, 'ok', FULL, 'ok', 2)
    put('<img src=x onerror=alert(1)>', right, 'ok', FULL, 'ok', 2)
    put('na\udcffme', right, 'ok', FULL, 'ok', 2)  # a name of bytes that are no UTF-8
    put('with a BOM', b'\xef\xbb\xbf' + right, 'ok', FULL, 'ok', 2)
    put('zip in a zip', _zip({'x.zip': _zip({'lab.ipynb': right})}), 'ok', FULL, 'ok', 2, name='all.zip')
    put('zip too deep', _zip({'x.zip': _zip({'y.zip': _zip({'lab.ipynb': right})})}), *nothing, name='all.zip')
    encrypted = _zip({'lab.ipynb': right}).replace(b'PK\1\2\x14\3\x14\0\0\0', b'PK\1\2\x14\3\x14\0\1\0')
    put('zip with a password', encrypted, *nothing, name='all.zip')
    put('pipe', right, 'ok', FULL, 'ok', 2)
    os.mkfifo(folder / 'pipe' / 'another.ipynb')
    put('with tests of its own', right, 'ok', FULL, 'ok', 2)
    for name in ('conftest.py', 'pytest.ini', 'sitecustomize.py', 'json.py', 'lab.py'):
        (folder / 'with tests of its own' / name).write_text('import os; os._exit(1)')
    return expected
