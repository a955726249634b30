"""Runs the Python of a lecture as its reader would, and lays what it prints beside what the lecture says it prints.

    python tests/repository/lecture_code.py            # what differs
    python tests/repository/lecture_code.py --write    # puts the new outputs into both twins

A lecture's ```python blocks are one program: they run in order, in one namespace and one process, offline, on the CPU,
in an empty folder. What a block prints stands in the ```text block directly beneath it, letter by letter; beneath a
block that prints nothing stands none.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LECTURES = sorted(path.name for path in (ROOT / 'lectures/zh').glob('[0-9]*.md'))
BLOCK = re.compile(r'^```python\n(?P<source>.*?)^```\n(?:\n?```text\n(?P<printed>.*?)^```\n)?', re.M | re.S)
OFFLINE = dict(HF_HUB_OFFLINE='1', TRANSFORMERS_OFFLINE='1', CUDA_VISIBLE_DEVICES='', OMP_NUM_THREADS='1',
               TOKENIZERS_PARALLELISM='false', PYTHONUTF8='1', PYTHONHASHSEED='0')
RUNNER = """
import contextlib, io, json, resource, socket, sys, traceback

def refuse(*args):
    raise OSError('a lecture runs offline')

socket.socket.connect = refuse
sources, outputs, error, space = json.load(sys.stdin), [], None, dict(__name__='__main__')
for number, source in enumerate(sources, 1):
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(source, f'block {number}', 'exec'), space)
    except BaseException:
        error = f'block {number} fails:\\n{source}\\n{traceback.format_exc()}'
        break
    outputs.append(printed.getvalue())
spent = resource.getrusage(resource.RUSAGE_SELF)
json.dump(dict(outputs=outputs, error=error, seconds=spent.ru_utime + spent.ru_stime), open(sys.argv[1], 'w'))
"""


@dataclass(frozen=True)
class Block:
    source: str
    printed: str
    """What the lecture says that it prints; empty without a ```text block beneath."""
    before: str
    """What stands above it since the last block that printed; there the reader is asked for a prediction."""


@dataclass(frozen=True)
class Run:
    outputs: list[str]
    """One for each block, as printed."""
    seconds: float
    """Of the processor, which counts alike on a busy machine."""


def blocks(text: str) -> list[Block]:
    """A lecture's Python, in order."""
    found, start = [], 0
    for match in BLOCK.finditer(text):
        found.append(Block(match['source'], match['printed'] or '', text[start:match.start()]))
        start = match.end() if match['printed'] else start
    return found


def run(text: str) -> Run:
    """Runs a lecture's blocks.

    Raises:
        RuntimeError: a block raised; the message has the block and its traceback.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / 'result.json'
        (work := Path(folder) / 'work').mkdir()
        environment = os.environ | OFFLINE | dict(PYTHONPATH=str(ROOT))
        done = subprocess.run([sys.executable, '-c', RUNNER, result], cwd=work, env=environment, timeout=600,
                              input=json.dumps([block.source for block in blocks(text)]), capture_output=True,
                              text=True)
        if not result.exists():
            raise RuntimeError(f'The lecture ended its process with {done.returncode}:\n{done.stderr[-2000:]}')
        said = json.loads(result.read_text('utf-8'))
    if said['error']:
        raise RuntimeError(said['error'])
    return Run(said['outputs'], said['seconds'])


def differences(text: str, outputs: list[str]) -> list[str]:
    """What a lecture says that its blocks print, where they print something else."""
    return [f'block {number} prints\n{output}and the lecture says\n{block.printed}in\n{block.source}'
            for number, (block, output) in enumerate(zip(blocks(text), outputs, strict=True), 1)
            if block.printed != output]


def rewritten(text: str, outputs: list[str]) -> str:
    """The lecture with the outputs put beneath its blocks."""
    given = iter(outputs)

    def block(match: re.Match) -> str:
        printed = next(given)
        return f'```python\n{match["source"]}```\n' + (f'\n```text\n{printed}```\n' if printed else '')
    return BLOCK.sub(block, text)


def main(write: bool) -> int:
    """Every lecture, run once and laid beside both twins; returns the count of differences that are left."""
    left = 0
    for name in LECTURES:
        twins = [ROOT / 'lectures' / language / name for language in ('zh', 'en')]
        texts = [twin.read_text('utf-8') for twin in twins]
        if len({tuple(block.source for block in blocks(text)) for text in texts}) > 1:
            raise SystemExit(f'{name}: the code of the twins differs; make it the same first.')
        ran = run(texts[0])
        print(f'{name}: {len(ran.outputs)} blocks, {ran.seconds:.1f} s of processor time')
        for twin, text in zip(twins, texts):
            if write:
                twin.write_text(rewritten(text, ran.outputs), 'utf-8', newline='\n')
            else:
                print(*(found := differences(text, ran.outputs)), sep='\n', end='')
                left += len(found)
    return left


if __name__ == '__main__':
    sys.exit(bool(main('--write' in sys.argv[1:])))
