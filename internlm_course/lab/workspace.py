"""The student's copies of the labs in work/, which git ignores, and the page there on which JupyterLab opens.

A copy is made once and never written over. A newer release of a lab is laid beside it, with the student's answers
carried over by the names of their cells.
"""
import hashlib
import json
import os
import re
from pathlib import Path

from internlm_course.errors import CourseError
from internlm_course.grading.compare import output_text, points
from internlm_course.grading.notebook import cell_name, edited, load, recorded, write_copy

FOLDER = 'work'
PAGES = dict(zh='START.zh.md', en='START.md')
MINUTES_A_POINT = 5  # to read, think and write
TEXT = dict(zh="""\
# 从这里开始

[English](START.md)
{news}
## 先做什么

1. 在下表中**打开一个实验**。最好先读旁边的讲义。
2. 用 Shift+Enter **逐个运行单元**，看看得到了什么；见到“先预测”，先写下你的答案。\
不做练习也能运行到底：还没作答的，由课程自己的代码代劳。
3. **做一个练习**：把 `raise NotImplementedError` 那一行换成你的解答，运行它和它下面的两个单元：\
第一个核对几个例子，第二个给分。绿色是对了，红色给出第一处不同和提示，灰色是还没作答。
4. 用 Ctrl+S **保存**。你的文件都在这个文件夹 `work/` 里；更新课程、再次执行 `make lab` 都不会覆盖它们。

## 实验

| 实验 | 用时 | 打开时的进度 | 讲义 | 参考解答 |
|---|---|---|---|---|
{rows}

用时：做完练习的时间，加上机器运行的时间。进度取自你保存的笔记本；\
每次执行 `make lab`，这一页都会重新生成，请不要在这里记笔记。\
参考解答留到自己试过之后再看。

- **改天接着做**：内核已经忘了一切。点中停下的那个单元，菜单 Run → Run All Above Selected Cell；训练过的直接取用。
- **出了怪事**：菜单 Kernel → Restart Kernel…，再从头运行。
- **想重做一遍**：给你的笔记本改个名字，再执行 `make lab`，就有一份新的。
- **关掉了这一页**：再执行一次 `make lab`，打开着的标签页都还在。
- **结束**：菜单 File → Shut Down，或在终端里按 Ctrl-C。
""", en="""\
# Start here

[中文](START.zh.md)
{news}
## What to do first

1. **Open a lab** from the table below. The lecture beside it is best read first.
2. **Run it cell by cell** with Shift+Enter, and look at what comes; where it says “Predict”, write your answer down
   first. A lab runs to its end unsolved, too: where you have not answered yet, the course's own code goes on.
3. **Solve an exercise**: write your answer in place of the line `raise NotImplementedError`, then run the cell
   and the two beneath it: the first tries examples, the second gives the points. Green is right, red shows the first
   difference and a hint, grey is not attempted.
4. **Save** with Ctrl+S. Your work lies in this folder, `work/`; neither an update of the course nor another `make lab`
   writes over it.

## Labs

| Lab | Time | Progress when this opened | Lecture | Reference |
|---|---|---|---|---|
{rows}

Time: to solve it, and for the computer to run it. Your progress is that of the notebooks you saved; every
`make lab` writes this page anew, so keep no notes here. The reference is for after you have tried.

- **Going on another day**: the kernel has forgotten everything. Select the cell where you stopped, then
  Run → Run All Above Selected Cell; what was trained before is fetched.
- **Something is odd**: Kernel → Restart Kernel…, then run from the top.
- **Once more from the beginning**: rename your notebook and call `make lab`; there will be a fresh one.
- **Closed the page**: call `make lab` again; the tabs are those that you left.
- **To end**: File → Shut Down, or Ctrl-C in the terminal.
""")
WORDS = dict(
    zh=dict(time='约 {hours:g} 小时 + {minutes} 分钟', progress='{1} 题做对 {0} 题，{2:g}/{3:g} 分',
            fresh='还没开始', answered='还没运行', broken='无法读取', newer='新版本', lecture='讲义', reference='参考'),
    en=dict(time='about {hours:g} h + {minutes} min', progress='{0} of {1} exercises, {2:g} of {3:g} points',
            fresh='not started yet', answered='not run yet', broken='cannot be read', newer='newer release',
            lecture='lecture', reference='reference'))


def language() -> str:
    """zh or en, as the user's environment has it."""
    return 'zh' if (os.environ.get('LC_ALL') or os.environ.get('LANG', '')).startswith('zh') else 'en'


def prepare(course: Path) -> list[dict[str, str]]:
    """Fills <course>/work with copies of the labs and their references, as far as they are missing, and writes its
    page; returns news, in both languages.

    Raises:
        CourseError: the folder cannot be written.
    """
    work, news = course / FOLDER, []
    labs = sorted((course / 'labs').glob('*.ipynb'))
    if not labs:  # a folder of another kind
        return []
    try:
        for shipped in labs:
            for notebook, folder in ((shipped, work),
                                     (shipped.parent / 'solutions' / shipped.name, work / 'solutions')):
                if notebook.exists():
                    news += _keep(notebook, folder)
        for tongue, page in PAGES.items():
            rows = '\n'.join(row for shipped in labs for row in _rows(shipped, work, tongue))
            (work / page).write_text(TEXT[tongue].format(news=''.join(f'\n> {line[tongue]}\n' for line in news),
                                                         rows=rows), 'utf-8')
    except OSError as error:
        raise CourseError(f'The folder {work} cannot be written ({error}). · 无法写入。',
                          'Make room, or mend its rights. · 请腾出空间，或修正权限。') from error
    return news


def versions(copy: Path) -> list[Path]:
    """A student's copy and the newer releases beside it."""
    return [copy, *sorted(copy.parent.glob(f'{copy.stem}.new-*.ipynb'))]


def _keep(shipped: Path, folder: Path) -> list[dict[str, str]]:
    """Copies a notebook into the folder, or lays its newer release beside what is there; the news of it."""
    copy = folder / shipped.name
    try:
        new = load(shipped)
        if not copy.exists():
            folder.mkdir(parents=True, exist_ok=True)
            part = copy.with_suffix('.part')
            write_copy(new, part)
            part.replace(copy)  # whole or not at all
            return _misplaced(new, shipped, 'is in its copy', '已在副本里')
        if misplaced := _misplaced(new, shipped, 'is not in your copy: move it there under another name',
                                   '不在你的副本里：请改名移过去'):
            return misplaced
        mine = {path: load(path) for path in versions(copy)}
    except CourseError as error:
        return [dict(en=f'{error.cause} It stays as it is; move it away and call make lab again for a fresh one.',
                     zh=f'{error.cause}笔记本无法读取，保持原样；把它移走后再执行 make lab，就有一份新的。')]
    if any(recorded(notebook) == recorded(new) for notebook in mine.values()):
        return []
    latest = max(mine, key=lambda path: path.stat().st_mtime)
    digest = hashlib.sha256(json.dumps(recorded(new)).encode()).hexdigest()[:8]
    path = copy.with_name(f'{copy.stem}.new-{digest}.ipynb')
    if path.exists():
        return []
    names = ', '.join(_offer(new, mine[latest], path))
    return [dict(en=f'{latest.name} has a newer release beside it: {path.name}, '
                    f'{f"with your answers to {names}" if names else "with no answers yet"}. '
                    'Yours stays as it is; go on in either.',
                 zh=f'{latest.name} '
                    f'有了新版本：{path.name}，{f"已带上你的解答（{names}）" if names else "其中还没有解答"}。'
                    '你的文件没有动；接着做哪一份都可以。')]


def _misplaced(notebook, path: Path, where: str, wo: str) -> list[dict[str, str]]:
    """The news that somebody worked in a notebook of the course itself, over which the next update would stumble."""
    if not edited(notebook):
        return []
    return [dict(en=f'{path} was changed by hand, and an update would stumble over it. What you wrote {where}. Then '
                    f'put it back: git checkout {path}',
                 zh=f'{path} 被改动过，更新课程时会冲突。你写的内容{wo}。然后恢复它：git checkout {path}')]


def _offer(new, mine, path: Path) -> list[str]:
    """Writes a newer release with the student's answers, and what she wrote into cells of text that are still the same;
    the names of those cells."""
    answers, before, now, carried = edited(mine), recorded(mine), recorded(new), []
    for cell in new.cells:
        name = cell_name(cell)
        same_text = cell.cell_type == 'markdown' and before.get(name) == now.get(name)
        if answers.get(name) and (same_text or cell.metadata.get('nbgrader', {}).get('solution')):
            cell.source = answers[name].source
            carried.append(name)
    write_copy(new, path)
    return carried


def progress(notebook, reference) -> tuple[int, int, float, float]:
    """Exercises solved and all there are, points earned and all there are, by the values that the checks had printed
    when the notebook was saved."""
    said = {cell_name(cell): output_text(cell) for cell in notebook.cells}
    graded = [cell for cell in reference.cells if cell.metadata.get('nbgrader', {}).get('grade')]
    earned = [points(cell, said.get(cell_name(cell), '')) for cell in graded]
    return sum(map(bool, earned)), len(graded), sum(earned), sum(cell.metadata.nbgrader.points for cell in graded)


def _rows(shipped: Path, work: Path, tongue: str) -> list[str]:
    """The table's lines about one lab: the student's copy, and newer releases beside it."""
    words, title, time = WORDS[tongue], shipped.stem, ''
    try:
        reference = load(shipped.parent / 'solutions' / shipped.name)
        prose, code = ('\n'.join(cell.source for cell in reference.cells if cell.cell_type == kind)
                       for kind in ('markdown', 'code'))
        title = (re.search(r'(?m)^# (.+)|\Z', prose)[1] or title).split(' · ')[0 if tongue == 'zh' else -1]
        hours = max(1, round(progress(reference, reference)[3] * MINUTES_A_POINT / 30)) / 2
        time = words['time'].format(hours=hours, minutes=re.search(r'\bminutes=(\d+)|\Z', code)[1] or 5)
    except CourseError:
        reference = None
    links = [f'[{words["lecture"]}](../{path.relative_to(work.parent).as_posix()})'
             for path in (work.parent / 'lectures' / tongue).glob(f'{shipped.stem[:2]}-*.md')]
    links = ' '.join(links) + f' | [{words["reference"]}](solutions/{shipped.name})'
    own, *newer = versions(work / shipped.name)
    return [f'| [{title}]({own.name}) | {time} | {_state(own, reference, words)} | {links} |',
            *(f'| ↳ [{words["newer"]}]({path.name}) | | {_state(path, reference, words)} | | |' for path in newer)]


def _state(path: Path, reference, words: dict[str, str]) -> str:
    """How far a notebook is, in words."""
    try:
        notebook = load(path)
    except CourseError:
        return words['broken']
    if reference is None or not any(cell.get('outputs') for cell in notebook.cells):
        return words['answered' if edited(notebook) else 'fresh']
    return words['progress'].format(*progress(notebook, reference))
