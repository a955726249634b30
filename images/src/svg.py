"""A figure as plain SVG: text stays text, one style sheet serves light and dark, the same calls give the same bytes.

On a phone whose page is 360 pixels wide GitHub leaves a figure 328, and its smallest text has 10 of them.
"""
from collections.abc import Callable
from html import escape

WIDTH = 536
MARGIN = 12
SMALL = 16.4  # the smallest text: 10 pixels of 328 are 16.4 units of 536
FONT = "'Noto Sans CJK SC', 'Noto Sans SC', 'PingFang SC', 'Microsoft YaHei', 'Segoe UI', Helvetica, Arial, sans-serif"
# Class -> (light, dark). Hues name what they mark in every figure: blue for models, green for tools, orange for data,
# violet for reading.
INK = dict(ink=('#1f2328', '#e6edf3'), muted=('#57606a', '#9da7b3'), blue=('#0b57a4', '#7ab7ff'),
           green=('#1a6b3c', '#6fce8f'),
           orange=('#9a4a0a', '#f0a868'), violet=('#6639a6', '#c3a6ff'))
FILL = dict(card=('#ffffff', '#161b22'), plain=('#f6f8fa', '#21262d'), blue=('#e3effc', '#16304d'),
            green=('#e2f4e8', '#153523'),
            orange=('#fdeedd', '#3d2610'), violet=('#f0e8fc', '#2d2047'))


def style(theme: int) -> str:
    """The rules of one theme: 0 light, 1 dark."""
    rules = [f'.{name} {{ fill: {colours[theme]} }}' for name, colours in INK.items()]
    rules += [f'.l-{name} {{ stroke: {colours[theme]}; fill: none; stroke-width: 2 }}' for name, colours in INK.items()]
    rules += [f'.d-{name} {{ fill: {colours[theme]} }}' for name, colours in [*INK.items(), ('card', FILL['card'])]]
    rules.append(f'.rule {{ stroke: {INK["muted"][theme]}; stroke-width: 1; opacity: 0.4 }}')
    for name, colours in FILL.items():
        edge = INK.get(name, INK['muted'])[theme]
        rules.append(f'.b-{name} {{ fill: {colours[theme]}; stroke: {edge}; stroke-width: '
                     f'{0.6 if name in ("card", "plain") else 1.2} }}')
    return '\n'.join(rules)


def width(text: str, size: float) -> float:
    """A cautious estimate of a line's width, which depends on no installed font."""
    def em(letter: str) -> float:
        if ord(letter) > 0x2e80:
            return 1.0
        return 0.3 if letter in " .,:;'|!ilj()" else 0.66 if letter.isupper() or letter.isdigit() else 0.58
    return size * sum(map(em, text))


def wrap(text: str, size: float, room: float) -> list[str]:
    """Lines no wider than `room`: broken at blanks, and between Chinese characters but not before their punctuation."""
    pieces, word = [], ''
    for letter in text:
        wide = ord(letter) > 0x2e80
        if (word
            and (word[-1] == ' ' or ((wide or ord(word[-1]) > 0x2e80) and letter not in '，。、；：）！？” '
                                     and word[-1] not in '（“'))):
            pieces.append(word)
            word = ''
        word += letter
    lines = ['']
    for piece in [*pieces, word]:
        if lines[-1] and width((lines[-1] + piece).rstrip(), size) > room:
            lines.append('')
        lines[-1] += piece
    return [line.strip() for line in lines]


class Figure:
    """One figure; calls draw from top to bottom and most give back the y below what they drew."""

    def __init__(self, title: str, desc: str):
        self.title, self.desc, self.parts = title, desc, []

    def text(self, x: float, y: float, content: str, size: float = SMALL, ink: str = 'ink', anchor: str = 'start',
             bold: bool = False) -> float:
        """One line whose baseline is y."""
        weight = ' font-weight="600"' if bold else ''
        self.parts.append(f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" class="{ink}" '
                          f'text-anchor="{anchor}"{weight}>{escape(content, quote=False)}</text>')
        return y + size * 1.35

    def paragraph(self, x: float, y: float, content: str, room: float, size: float = SMALL, ink: str = 'ink',
                  anchor: str = 'start', bold: bool = False) -> float:
        """Wrapped lines, the first with its baseline at y; returns the next baseline."""
        for line in wrap(content, size, room):
            y = self.text(x, y, line, size, ink, anchor, bold)
        return y

    def box(self, x: float, y: float, w: float, h: float, fill: str = 'plain', radius: float = 8) -> None:
        self.parts.append(f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="{radius:g}" class="b-{fill}"/>')

    def bar(self, x: float, y: float, w: float, h: float, ink: str) -> None:
        self.parts.append(f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="2" class="d-{ink}"/>')

    def dot(self, x: float, y: float, radius: float, ink: str) -> None:
        self.parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" class="d-{ink}"/>')

    def leaf(self, x: float, y: float, degrees: float, ink: str) -> None:
        self.parts.append(f'<ellipse cx="{x:g}" cy="{y:g}" rx="12" ry="5" class="d-{ink}" '
                          f'transform="rotate({degrees:g} {x:g} {y:g})"/>')

    def rule(self, x0: float, y0: float, x1: float, y1: float, under: bool = False) -> None:
        """A hairline; `under` lays it below everything drawn so far."""
        self.parts.insert(0 if under else len(self.parts), f'<path d="M{x0:g},{y0:g} L{x1:g},{y1:g}" class="rule"/>')

    def diamond(self, x: float, y: float, w: float, h: float, fill: str) -> None:
        """A question of a flow, centred on (x, y)."""
        points = f'{x:g},{y - h / 2:g} {x + w / 2:g},{y:g} {x:g},{y + h / 2:g} {x - w / 2:g},{y:g}'
        self.parts.append(f'<polygon points="{points}" class="b-{fill}"/>')

    def line(self, *points: tuple[float, float], ink: str = 'muted', arrow: bool = True) -> None:
        """A line through the points, with an arrowhead at its end."""
        path = 'M' + ' L'.join(f'{x:g},{y:g}' for x, y in points)
        self.parts.append(f'<path d="{path}" class="l-{ink}"/>')
        if arrow:
            (x0, y0), (x, y) = points[-2:]
            dx, dy = ((x > x0) - (x < x0)) * 9, ((y > y0) - (y < y0)) * 9
            corners = (f'{x:g},{y:g} {x - dx - dy * 0.55:g},{y - dy - dx * 0.55:g} '
                       f'{x - dx + dy * 0.55:g},{y - dy + dx * 0.55:g}')
            self.parts.append(f'<polygon points="{corners}" class="d-{ink}"/>')

    def head(self, zh: str, en: str) -> float:
        """The heading; returns the first baseline below it."""
        y = self.paragraph(MARGIN, 44, zh, WIDTH - 2 * MARGIN, 22, bold=True)
        return self.paragraph(MARGIN, y - 4, en, WIDTH - 2 * MARGIN, SMALL, 'muted') + 14

    def finish(self, y: float, source_zh: str, source_en: str) -> str:
        """The sources below everything, then the whole file."""
        y = self.paragraph(MARGIN, y + 14, f'来源：{source_zh}', WIDTH - 2 * MARGIN, SMALL, 'muted')
        y = self.paragraph(MARGIN, y, f'Source: {source_en}', WIDTH - 2 * MARGIN, SMALL, 'muted')
        height = round(y + 2)
        return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" \
height="{height}" role="img" aria-labelledby="t d">
<title id="t">{escape(self.title, quote=False)}</title>
<desc id="d">{escape(self.desc, quote=False)}</desc>
<style>
text {{ font-family: {FONT} }}
{style(0)}
@media (prefers-color-scheme: dark) {{
{style(1)}
}}
</style>
<rect x="1" y="1" width="{WIDTH - 2}" height="{height - 2}" rx="12" class="b-card"/>
{chr(10).join(self.parts)}
</svg>
"""


class Axes:
    """A field of a figure with ticks: `place` gives the point of a pair of values.

    Args:
        across, down: {'low', 'high', 'ticks': [{'value', 'text'}], 'zh', 'en'} each.
    """

    def __init__(self, figure: Figure, y: float, high: float, across: dict, down: dict):
        self.figure, self.across, self.down = figure, across, down
        y = figure.text(MARGIN, y, down['zh'], SMALL)
        y = figure.text(MARGIN, y - 2, down['en'], SMALL, 'muted') + 2
        self.left, self.right, self.top, self.bottom = MARGIN + 44, WIDTH - MARGIN - 8, y, y + high
        for tick in down['ticks']:
            _, at = self.place(across['low'], tick['value'])
            figure.rule(self.left, at, self.right, at)
            figure.text(self.left - 8, at + 5, tick['text'], SMALL, 'muted', 'end')
        for tick in across['ticks']:
            at, _ = self.place(tick['value'], down['low'])
            figure.rule(at, self.top, at, self.bottom)
            figure.text(at, self.bottom + 22, tick['text'], SMALL, 'muted', 'middle')
        figure.text(self.right, self.bottom + 44, f'{across["zh"]} {across["en"]}', SMALL, 'muted', 'end')

    def place(self, x: float, y: float) -> tuple[float, float]:
        share = (x - self.across['low']) / (self.across['high'] - self.across['low'])
        height = (y - self.down['low']) / (self.down['high'] - self.down['low'])
        return (round(self.left + (self.right - self.left) * share, 1),
                round(self.bottom - (self.bottom - self.top) * height, 1))

    def curve(self, f: Callable[[float], float], ink: str, steps: int = 140) -> None:
        """A function of x, where it lies within the field."""
        low, high = self.across['low'], self.across['high']
        values = [(x, f(x)) for x in (low + (high - low) * i / steps for i in range(steps + 1))]
        self.figure.line(*(self.place(x, y) for x, y in values if self.down['low'] <= y <= self.down['high']), ink=ink,
                         arrow=False)


def key(figure: Figure, y: float, lines: list[dict]) -> float:
    """What each colour means; returns the first baseline below it."""
    for line in lines:
        figure.bar(MARGIN, y - 13, 26, 14, line['ink'])
        figure.text(MARGIN + 38, y, line['zh'], SMALL)
        y = figure.paragraph(MARGIN + 38, y + 20, line['en'], WIDTH - 2 * MARGIN - 38, SMALL, 'muted') + 8
    return y


def legend(figure: Figure, y: float, lines: list[dict]) -> None:
    """What each colour means, in one row; y is its baseline."""
    x = MARGIN
    for line in lines:
        figure.dot(x + 7, y - 5, 7, line['ink'])
        figure.text(x + 20, y, line['name'], SMALL, 'muted')
        x += 40 + width(line['name'], SMALL)
