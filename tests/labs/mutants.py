"""Are exercises worth their points? Each reference solution, changed in one place, and what the check says of it.

A mutant behaves differently when it does so on one of many random inputs (domains.py) or of the check's own; it loses
its points when it does under every seed. `python tests/labs/mutants.py [LAB…]` tries all of them, prints a line for
each exercise, and writes mutants.json: the numbers, and every survivor with the reason why it may live. A survivor
without a reason is written as `NOT JUDGED`, and the tests fail until somebody has judged it.
"""

import ast
import contextlib
import copy
import hashlib
import json
import os
import random
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from domains import DRAWS
from lab_cells import SOURCES, Cells

from internlm_course.grading.compare import agrees, same
from internlm_course.grading.rebuild import SEED
from internlm_course.lab.trial import values_of

FEWEST, MOST = 30, 60  # mutants of an exercise
SEEDS = ('0', 'autumn', 'spring', '7f3a', 'graded')
DRAWN = 250  # random inputs for each function
SECONDS, BYTES = 1, 4 << 30  # of CPU time for a mutant under all seeds, and of memory
RESULT = Path(__file__).with_name('mutants.json')
UNJUDGED = 'NOT JUDGED'
OTHER = {
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div, ast.Add],
    ast.Div: [ast.Mult, ast.FloorDiv],
    ast.FloorDiv: [ast.Mult, ast.Mod],
    ast.Mod: [ast.FloorDiv],
    ast.Pow: [ast.Mult],
    ast.MatMult: [ast.Mult],
    ast.BitAnd: [ast.BitOr, ast.Sub],
    ast.Lt: [ast.LtE, ast.Gt],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.Lt],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq, ast.LtE],
    ast.NotEq: [ast.Eq],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
    ast.And: [ast.Or],
    ast.Or: [ast.And],
}
CALLED = dict(min='max', max='min', all='any', any='all', sum='len', cos='sin', sin='cos', casefold='upper')
"""What is called, and what a mutant calls in its place."""
HIDDEN = ('annotation', 'returns', 'decorator_list', 'ctx')  # fields that do not change what a function does


def places(node: ast.AST, path: tuple = ()) -> Iterator[tuple[tuple, ast.AST]]:
    """Every node of a tree that counts, with the way to it: (field, index or None) at each step."""
    yield path, node
    for field, value in ast.iter_fields(node):
        if field not in HIDDEN:
            for index, part in enumerate(value) if isinstance(value, list) else ((None, value),):
                if isinstance(part, ast.AST):
                    yield from places(part, (*path, (field, index)))


def replaced(tree: ast.AST, path: tuple, new: ast.AST | None) -> ast.AST:
    """A copy of the tree with another node at the end of the path; None takes a statement away."""
    node = tree = copy.deepcopy(tree)
    for field, index in path[:-1]:
        node = getattr(node, field) if index is None else getattr(node, field)[index]
    field, index = path[-1]
    if index is None:
        setattr(node, field, new)
    else:
        getattr(node, field)[index] = ast.Pass() if new is None else copy.deepcopy(new)
    return ast.fix_missing_locations(tree)


def changed(node: ast.AST, **fields) -> ast.AST:
    """A copy of a node with other fields."""
    node = copy.deepcopy(node)
    for name, value in fields.items():
        setattr(node, name, value)
    return node


def alternatives(node: ast.AST, names: list[str]) -> Iterator[ast.AST | None]:
    """What may stand in a node's place; `names` are the function's arguments."""
    match node:
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield from (ast.Constant(value + 1), ast.Constant(value - 1))
        case ast.Constant(value=float(value)):
            yield from (ast.Constant(value * 1.01), ast.Constant(-value))
        case ast.Constant(value=str(value)):
            yield from (ast.Constant(f'{value}_'), ast.Constant(value[1:]))
        case ast.operator() | ast.cmpop() | ast.boolop():
            yield from (other() for other in OTHER.get(type(node), ()))
        case ast.BinOp(left=left, right=right):
            yield from (left, right)
            if not isinstance(node.op, ast.Add | ast.Mult | ast.BitAnd):
                yield changed(node, left=right, right=left)
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.BoolOp(values=values):
            yield from values
        case ast.Compare(left=left, comparators=[right]):
            yield changed(node, left=right, comparators=[left])
        case ast.IfExp(body=body, orelse=other):
            yield from (body, other, changed(node, test=ast.UnaryOp(ast.Not(), node.test)))
        case ast.Call():
            yield from _calls(node)
        case ast.Slice(lower=low, upper=high):
            yield from (changed(node, lower=None), changed(node, upper=None), changed(node, lower=high, upper=low))
        case ast.comprehension(ifs=[_, *_]):
            yield changed(node, ifs=[])
        case ast.Tuple(elts=[_, _, *_], ctx=ast.Load()):
            yield changed(node, elts=node.elts[::-1])
        case ast.Name(ctx=ast.Load()) if node.id in names:
            yield from (changed(node, id=other) for other in names if other != node.id)
        case ast.If(test=test) | ast.While(test=test):
            yield changed(node, test=ast.UnaryOp(ast.Not(), test))
            yield None
        case ast.Return() if not (isinstance(node.value, ast.Constant) and node.value.value is None):
            yield changed(node, value=ast.Constant(None))
        case ast.Assign() | ast.AugAssign() | ast.Expr() | ast.For() | ast.Break():
            yield None


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    """Another function, swapped or missing arguments, an off-by-one, a reversed order, or no call at all."""
    name = getattr(node.func, 'attr', getattr(node.func, 'id', ''))
    if (other := CALLED.get(name, name)) != name:
        field = 'attr' if isinstance(node.func, ast.Attribute) else 'id'
        yield changed(node, func=changed(node.func, **{field: other}))
    if len(node.args) >= 2:
        yield changed(node, args=[node.args[1], node.args[0], *node.args[2:]])
    if name == 'range':
        yield changed(node, args=[*node.args[:-1], ast.BinOp(node.args[-1], ast.Sub(), ast.Constant(1))])
        yield changed(node, args=[ast.Constant(1), *node.args[-1:]])
    if name == 'sorted':
        yield changed(node, keywords=[*node.keywords, ast.keyword('reverse', ast.Constant(True))])
    if len(node.args) == 1 and not node.keywords:
        yield node.args[0]
    if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name | ast.Call) and not node.args:
        yield node.func.value
    for i, keyword in enumerate(node.keywords):
        others = node.keywords[:i] + node.keywords[i + 1 :]
        yield changed(node, keywords=others)
        for other in others[i : i + 1]:  # this one's value and the next one's, swapped
            swapped = [changed(keyword, value=other.value), changed(other, value=keyword.value)]
            yield changed(node, keywords=node.keywords[:i] + swapped + node.keywords[i + 2 :])


def mutants_of(source: str) -> dict[str, str]:
    """{what was changed: the source}, each different from the others and from `source`.

    One change each; of few, two at once, too, up to `FEWEST` if there are so many; of many, a fixed choice of `MOST`.
    """
    tree = ast.parse(source)
    once = _changes(tree)
    order = sorted(once, key=_shuffled)
    chosen = dict.fromkeys(order[:MOST])
    while len(chosen) < FEWEST and order:
        twice = _changes(once[order.pop()]).keys() - once.keys() - {ast.unparse(tree)}
        chosen |= dict.fromkeys(sorted(twice, key=_shuffled)[:3])
    return {difference(ast.unparse(tree), text): text for text in chosen}


def _shuffled(text: str) -> bytes:
    """Sorts by chance, and each time alike."""
    return hashlib.sha256(text.encode()).digest()


def _changes(tree: ast.AST) -> dict[str, ast.AST]:
    """The trees with one change, by their text; those that are no Python are left out."""
    found = {}
    for number, function in enumerate(tree.body):
        names = [argument.arg for argument in function.args.args] if isinstance(function, ast.FunctionDef) else []
        for path, node in places(function, (('body', number),)):
            for new in alternatives(node, names):
                with contextlib.suppress(SyntaxError, ValueError):
                    mutant = replaced(tree, path, new)
                    text = ast.unparse(mutant)
                    compile(text, 'mutant', 'exec')
                    found.setdefault(text, mutant)
    found.pop(ast.unparse(tree), None)
    return found


def difference(old: str, new: str) -> str:
    """The lines of one text that the other has not, and the reverse: `old → new`."""
    before, after = old.splitlines(), new.splitlines()
    gone = [line.strip() for line in before if line not in after]
    come = [line.strip() for line in after if line not in before]
    return f'{" ¶ ".join(gone)} → {" ¶ ".join(come)}'


class Trials:
    """One exercise: its reference's values under each seed and at random inputs, and a mutant beside them."""

    def __init__(self, cells: Cells, lab: str, exercise: str):
        self.cells, self.exercise = cells, exercise
        self.source = cells.solved[exercise].source
        self.tolerance = cells.checks[exercise].metadata.course.get('tolerance', {})
        self.said = dict(self._says(self.source))
        rng, self.drawn = random.Random(f'{lab}/{exercise}'), {}
        for node in ast.parse(self.source).body:
            if isinstance(node, ast.FunctionDef):
                self.drawn[node.name] = [DRAWS[lab][node.name](rng) for _ in range(DRAWN)]
        self.values = self._values(self.source)

    def _says(self, source: str) -> Iterator[tuple[str, str]]:
        """What the check puts out under each seed."""
        for seed in SEEDS:
            os.environ[SEED] = seed
            yield seed, self.cells.say(self.exercise, source)

    def _values(self, source: str) -> dict[str, list]:
        """The values at the random inputs, by function."""
        namespace = dict(self.cells.namespace)
        self.cells.run(source, namespace)
        return {name: values_of(namespace[name], cases) for name, cases in self.drawn.items()}

    def verdict(self, source: str) -> tuple[bool, bool]:
        """Whether a mutant behaves differently, and whether it loses its points under every seed."""
        kept = [agrees(said, self.said[seed], self.tolerance) for seed, said in self._says(source)]
        return not all(kept) or not same(self._values(source), self.values, **self.tolerance), not any(kept)


def verdicts(trials: Trials, sources: list[str]) -> list[tuple[bool, bool]]:
    """The verdict on each source; one that takes too long behaves differently and loses its points."""
    found: list[tuple[bool, bool]] = []
    while len(found) < len(sources):
        read, write = os.pipe()
        if not (child := os.fork()):
            _work(trials, sources[len(found) :], write)
        os.close(write)
        with open(read) as stream:
            found += [tuple(json.loads(line)) for line in stream]
        os.waitpid(child, 0)
        if len(found) < len(sources):
            found.append((True, True))  # its process ended with it
    return found


def _work(trials: Trials, sources: list[str], write: int) -> None:
    """A child that puts out a line for each source; the timer's signal kills it, wherever it hangs."""
    resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    try:
        for source in sources:
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            os.write(write, json.dumps(trials.verdict(source)).encode() + b'\n')
    finally:
        os._exit(0)


def tried(cells: Cells, lab: str, exercise: str, share: int = 1) -> dict:
    """Every `share`-th mutant of an exercise: how many were made, behave differently, and lose their points; and the
    survivors, {change: whether it behaves differently}."""
    trials, made = Trials(cells, lab, exercise), dict(list(mutants_of(cells.solved[exercise].source).items())[::share])
    results = dict(zip(made, verdicts(trials, list(made.values()))))
    different = [caught for differs, caught in results.values() if differs]
    survivors = {change: differs for change, (differs, caught) in results.items() if not caught}
    return dict(made=len(made), different=len(different), caught=sum(different), survivors=survivors)


def judged(found: dict, known: dict) -> dict:
    """The result as it is written: each survivor with the reason of before, or `NOT JUDGED`."""
    reasons = {change: known.get(change, f': {UNJUDGED}').partition(': ')[2] for change in found['survivors']}
    said = {True: 'differs', False: 'the same'}
    survivors = {change: f'{said[differs]}: {reasons[change]}' for change, differs in found['survivors'].items()}
    return dict(found, survivors=survivors)


def main(labs: list[str]) -> None:
    """Tries all mutants of the labs, or of those named, and writes the result."""
    result = json.loads(RESULT.read_text('utf-8')) if RESULT.exists() else {}
    os.environ['INTERNLM_COURSE_RUNS'] = tempfile.mkdtemp(prefix='mutants-')
    for source in SOURCES:
        if source.stem in DRAWS and (not labs or source.stem in labs):
            cells, before = Cells(source), result.get(source.stem, {})
            result[source.stem] = {}
            for exercise in cells.exercises:
                found = tried(cells, source.stem, exercise)
                result[source.stem][exercise] = judged(found, before.get(exercise, {}).get('survivors', {}))
                print(source.stem, exercise, *(f'{said} {found[said]}' for said in ('made', 'different', 'caught')))
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + '\n', 'utf-8')


if __name__ == '__main__':
    main(sys.argv[1:])
