"""What is patched into somebody's library stands in its tool's table, and what stands there is patched."""
import ast
import importlib

import pytest

from internlm_course.store import PACKAGE


def patched(path) -> set[str]:
    """Attributes of imported things that a module assigns, or sets by name: those are somebody else's."""
    tree = ast.parse(path.read_text('utf-8'))
    names, targets = set(), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.split('.')[0] for alias in node.names}
        elif isinstance(node, ast.Assign):
            assigned = [part for target in node.targets for part in getattr(target, 'elts', [target])]
            targets += [part for part in assigned if isinstance(part, ast.Attribute)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == 'setattr':
            targets.append(node.args[0])
    return {text for text in map(ast.unparse, targets) if text.split('.')[0] in names}


@pytest.mark.parametrize('folder', ['finetune', 'evaluate', 'deploy', 'agents'])
def test_the_table_is_what_is_patched(folder):
    lines = importlib.import_module(f'internlm_course.{folder}').__doc__.splitlines()
    cells = [[cell.strip() for cell in line.strip('| ').split('|')] for line in lines if line.startswith('| ')]
    rows = [row for row in cells if row[0] != 'in']
    home = PACKAGE / folder
    modules = {'.'.join(path.relative_to(home).with_suffix('').parts): path for path in home.rglob('*.py')}
    assert sorted((module, target) for module, target, _ in rows) == sorted(
        (module, target) for module, path in modules.items() for target in patched(path))
    assert all(reason for *_, reason in rows)
