"""What makes two lectures twins, and what makes a link whole. Each function returns a list of problems, empty where
there is none.

Numbers: of each section the same numerals in any order, because languages order their words differently. 92,544 is
92544; 13M, 13 million and 1300 万 are one number, 624M is 6.24 亿; a date or a section number (4.2.1) is compared as it
is written. Numbers in words (three, 三) are left to the reader, for 一些 and "one" count nothing. What stands in code,
formulas and addresses is compared there, letter by letter.
"""
import re
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from urllib.parse import unquote

FENCE = re.compile(r'^(`{3,}|~{3,})[^\n]*\n.*?^\1[ \t]*$', re.M | re.S)
INLINE_CODE = re.compile(r'(`+)(?!`)(.+?)(?<!`)\1(?!`)')
DISPLAY = re.compile(r'\$\$(.+?)\$\$', re.S)
INLINE = re.compile(r'(?<![\\$])\$(?!\$)([^$\n]+?)\$(?!\$)')
IMAGE = re.compile(r'!\[([^\]]*)\]\(([^)\s]+)[^)]*\)')
LINK = re.compile(r'\[([^\]]*)\]\(([^)\s]+)[^)]*\)')
HTML_LINK = re.compile(r'<(a|img)\b[^>]*?\b(?:href|src)="([^"]+)"[^>]*>')
HEADING = re.compile(r'^(#{1,6})[ \t]+(.+?)[ \t]*$', re.M)
TAG = re.compile(r'</?(\w+)[^>\n]*>')
ROW = re.compile(r'^\|.*\|[ \t]*$', re.M)
ITEM = re.compile(r'^[ \t]*(-|\d+\.)[ \t]', re.M)

UNITS = {'万亿': 12, '亿': 8, '万': 4, 'trillion': 12, 'billion': 9, 'million': 6, 'thousand': 3, 'T': 12, 'B': 9,
         'M': 6, 'K': 3, 'k': 3}
NUMBER = re.compile(
    r'(?P<name>\d{4}-\d\d(?:-\d\d)?|\d+(?:\.\d+){2,})|(?P<value>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?(?:e-?\d+)?)'
                    r'(?:\s?(?P<unit>万亿|亿|万|trillion|billion|million|thousand|[TBMKk](?![A-Za-z])))?')


@dataclass
class Section:
    """A heading and what stands under it, sorted into the kinds that twins share; the part above the first heading has
    level 0."""
    level: int
    title: str
    numbers: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)
    formulas: list[str] = field(default_factory=list)
    code: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    """Inline code."""
    shape: list[str] = field(default_factory=list)
    """Tables as rows x columns, the count of list items, HTML tags."""


def numerals(text: str) -> list[str]:
    """The numbers in a text, normalised."""
    found = []
    for match in NUMBER.finditer(text):
        if match['name']:
            found.append(match['name'])
        else:
            value = Decimal(match['value'].replace(',', '')).scaleb(UNITS.get(match['unit'], 0))
            found.append(f'{value.normalize():f}')
    return found


def slug(title: str) -> str:
    """The anchor that GitHub gives a heading."""
    plain = LINK.sub(r'\1', IMAGE.sub(r'\1', title)).replace('`', '').replace('*', '')
    return re.sub(r'[^\w\- ]', '', plain.strip().lower()).replace(' ', '-')


def anchors(text: str) -> list[str]:
    """Every heading's anchor, in order; a second heading of the same name gets -1."""
    seen: Counter = Counter()
    result = []
    for match in HEADING.finditer(FENCE.sub('', text)):
        name = slug(match[2])
        result.append(f'{name}-{seen[name]}' if seen[name] else name)
        seen[name] += 1
    return result


def _neutral(target: str, own: list[str]) -> str:
    """A link's target without its language: the twin's folder and README, and an anchor in the same file as the place
    of its heading."""
    if target.startswith('#') and unquote(target[1:]) in own:
        return f'#{own.index(unquote(target[1:]))}'
    return re.sub(r'(^|/)(zh|en)(?=/)', r'\1*', target).replace('.zh.md', '.md')


def _take(pattern: re.Pattern, text: str, keep: str = ' ') -> tuple[list[re.Match], str]:
    return list(pattern.finditer(text)), pattern.sub(keep, text)


def _section(level: int, title: str, body: str, own: list[str]) -> Section:
    section = Section(level, title)
    found, body = _take(FENCE, body)
    section.code = [match[0] for match in found]
    for pattern, group in ((DISPLAY, 1), (INLINE, 1)):
        found, body = _take(pattern, body)
        section.formulas += [match[group].strip() for match in found]
    found, body = _take(INLINE_CODE, body)
    section.names = [match[2] for match in found]
    found, body = _take(IMAGE, body, r'\1')
    section.figures = [match[2] for match in found]
    found, body = _take(LINK, body, r'\1')
    section.links = [_neutral(match[2], own) for match in found]
    section.links += [_neutral(match[2], own) for match in HTML_LINK.finditer(body)]
    tags, body = _take(TAG, body)
    rows = [row[0].count('|') - 1 for row in ROW.finditer(body)]
    section.shape = [f'table cells {sorted(rows)}', f'items {len(ITEM.findall(body))}',
                     f'tags {sorted(Counter(tag[0].split()[0] for tag in tags).items())}']
    section.numbers = numerals(body)
    return section


def sections(text: str) -> list[Section]:
    """A lecture's sections in order."""
    hidden = FENCE.sub(lambda match: re.sub(r'(?m)^#', '\0', match[0]), text)  # a comment in code is no heading
    own, marks = anchors(text), list(HEADING.finditer(hidden))
    result = [_section(0, '', hidden[:marks[0].start()] if marks else hidden, own)]
    for mark, end in zip(marks, [*(m.start() for m in marks[1:]), len(hidden)], strict=True):
        result.append(_section(len(mark[1]), mark[2], hidden[mark.end():end].replace('\0', '#'), own))
    return result


def compare(zh: str, en: str) -> list[str]:
    """What differs between twins."""
    left, right = sections(zh), sections(en)
    problems = [f'headings: "{a.title}" and "{b.title}" differ in level or number' for a, b in zip(left, right)
                if a.level != b.level or numerals(a.title) != numerals(b.title)]
    if len(left) != len(right):
        problems.append(f'headings: {len(left) - 1} in Chinese, {len(right) - 1} in English')
    if problems:
        return problems
    for a, b in zip(left, right):
        for kind in ('numbers', 'links', 'formulas', 'names', 'shape'):
            here, there = Counter(getattr(a, kind)), Counter(getattr(b, kind))
            if here != there:
                problems.append(f'{kind} of "{a.title}": only in Chinese {sorted((here - there).elements())}, only in '
                                'English '
                                f'{sorted((there - here).elements())}')
        problems += [f'{kind} of "{a.title}": {getattr(a, kind)} and {getattr(b, kind)}' for kind in ('figures', 'code')
                     if getattr(a, kind) != getattr(b, kind)]
    return problems


def unreadable(text: str) -> list[str]:
    """Formulas that GitHub would not set: it wants a blank before the first dollar, no letter after the last, and eats
    a backslash before a sign."""
    text = INLINE_CODE.sub(' ', FENCE.sub(' ', text))
    problems = [f'formula with an escape that markdown eats: {match[1]}' for pattern in (DISPLAY, INLINE)
                for match in pattern.finditer(text)
                if re.search(r'\\[!-/:-@\[-`{-~]', match[1])]
    rest = DISPLAY.sub(' ', text)
    for match in INLINE.finditer(rest):
        before, after = rest[match.start() - 1:match.start()], rest[match.end():match.end() + 1]
        if before.strip() or (after and after.isalnum()):
            problems.append(f'formula that touches its neighbour: {before}{match[0]}{after}')
    return problems


def broken(root: Path, file: Path, text: str | None = None) -> list[str]:
    """Relative links, anchors and images of a markdown file that lead nowhere, and images without a text.

    Args:
        root: the repository; no link may leave it.
        text: what the file says, if not what is on the disk.
    """
    text = file.read_text('utf-8') if text is None else text
    name = file.relative_to(root).as_posix()
    body = INLINE_CODE.sub(' ', FENCE.sub(' ', text))
    problems = [f'{name}: the image {match[2]} has no text' for match in IMAGE.finditer(body) if not match[1].strip()]
    targets = [match[2] for match in IMAGE.finditer(body)] + [match[2]
                                                              for match in LINK.finditer(IMAGE.sub(r'\1', body))]
    targets += [match[2] for match in HTML_LINK.finditer(body)]
    for target in targets:
        if re.match(r'[a-z][a-z0-9+.-]*:', target):
            continue
        path, _, anchor = unquote(target).partition('#')
        place = (file.parent / path).resolve() if path else file
        if not place.is_relative_to(root):
            problems.append(f'{name}: {target} leaves the repository')
        elif not place.exists():
            problems.append(f'{name}: {target} is not there')
        elif anchor and place.suffix == '.md':
            if anchor not in anchors(text if place == file else place.read_text('utf-8')):
                problems.append(f'{name}: {target} names no heading')
        elif anchor and not re.fullmatch(r'L\d+(-L\d+)?', anchor):
            problems.append(f'{name}: {target} points into a file without headings')
    return problems


def words(text: str) -> tuple[int, int]:
    """English words and Chinese characters of the prose: no code, no formulas, no addresses."""
    for pattern in (FENCE, DISPLAY, INLINE, INLINE_CODE):
        text = pattern.sub(' ', text)
    text = TAG.sub(' ', LINK.sub(r'\1', IMAGE.sub(r'\1', text)))
    return len(re.findall(r"[A-Za-z][\w'’-]*", text)), len(re.findall(r'[\u4e00-\u9fff]', text))
