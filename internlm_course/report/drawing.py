"""What the report's page is drawn of: numbers in words, labels in two languages, bars, curves and intervals, as HTML
and SVG."""
import math
from collections.abc import Iterable
from html import escape

from internlm_course.names import Name


def duration(seconds: float) -> str:
    """'4.2 s', '18 min 05 s', '2 h 03 min'."""
    if seconds < 59.95:
        return f'{seconds:.1f} s'
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes} min {rest:02d} s' if minutes < 60 else f'{minutes // 60} h {minutes % 60:02d} min'


def size(count: float) -> str:
    """Bytes in decimal units, three digits: '812 B', '6.71 MB', '3.20 GB'."""
    unit = 0
    while count >= 999.5 and unit < 4:
        count, unit = count / 1000, unit + 1
    return (f'{count:.0f} B' if not unit
            else f'{count:.{max(0, 2 - len(str(int(count))) + 1)}f} {("B", "kB", "MB", "GB", "TB")[unit]}')


def percent(fraction: float) -> str:
    """'97%', '0.4%': whole points, one more digit at the ends where it tells."""
    points = 100 * fraction
    return f'{points:.1f}%' if 0 < points < 1 or 99 < points < 100 else f'{points:.0f}%'


def two(zh: str, en: str) -> str:
    """A text in both languages, as HTML."""
    return f'{escape(zh)} <span class="en" lang="en">{escape(en)}</span>'


def named(key: str, names: dict[str, Name]) -> str:
    """A thing by its Chinese name and by the one that it has in the card."""
    return two(names[key].zh if key in names else '', key)


def bar(part: float, colour: str) -> str:
    """A track of which a fraction is filled."""
    return f'<div class="bar"><i style="width:{100 * part:.1f}%;--c:{colour}"></i></div>'


def bars(rows: Iterable[tuple[str, float, str, str]]) -> str:
    """Rows of (label as HTML, length, text at the end as HTML, colour); the longest fills its track."""
    rows = list(rows)
    if not rows:
        return ''
    top = max(row[1] for row in rows) or 1
    return '<div class="rows">' + ''.join(
        f'<div>{label}</div>{bar(length / top, colour)}<div class="value">{text}</div>'
        for label, length, text, colour in rows) + '</div>'


def dot(colour: str) -> str:
    """The mark of a colour in a legend."""
    return f'<i class="dot" style="--c:{colour}"></i>'


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round values inside [low, high]."""
    step = 10 ** math.floor(math.log10((high - low) / count))
    step = next(step * k for k in (1, 2, 5, 10) if (high - low) / (step * k) <= count + 1)
    return [step * i for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Values of 1, 2 and 5 times a power of ten inside [low, high], 0 < low."""
    powers = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    return [value for power in powers for k in (1, 2, 5) if low <= (value := k * 10.0 ** power) <= high]


def losses(lines: list[tuple[str, list[tuple[float, float]]]]) -> str:
    """Training loss over tokens.

    Args:
        lines: (label as HTML, points (tokens, loss > 0)) of each phase, all on one axis of tokens. The axis of losses
            is logarithmic: half of a fall comes within the first steps, and all that is learned later would be one flat
            line.
    """
    last, ys = lines[-1][1][-1][0], [y for _, points in lines for _, y in points]
    low, high = min(ys) / 1.15, max(ys) * 1.15

    def height(y: float) -> float:
        return 100 * math.log(high / y) / math.log(high / low)
    parts, curves = '', ''
    for y in log_ticks(low, high):
        at = f'{height(y):.2f}%'
        parts += (f'<line class="grid" x1="0" x2="100%" y1="{at}" y2="{at}"/>'
                  f'<text x="-6" y="{at}" dy="4" text-anchor="end">{y:g}</text>')
    for x in ticks(0, last):
        label = f'{x / 1e6:g} M' if last >= 1e6 else f'{x / 1e3:g} k' if last >= 1e3 else f'{x:g}'
        parts += f'<text x="{100 * x / last:.2f}%" y="100%" dy="18" text-anchor="middle">{label if x else 0}</text>'
    for i, (_, points) in enumerate(lines):
        path = ' '.join(f'{100 * x / last:.3f},{height(y):.3f}' for x, y in points)
        curves += f'<polyline class="curve" stroke="var(--m{i % 7})" points="{path}"/>'
    legend = ''.join(f'<span>{dot(f"var(--m{i % 7})")}{label}</span>' for i, (label, _) in enumerate(lines))
    return (f'<div class="plot"><svg height="190" role="img" aria-label="training loss">{parts}'
            '<svg viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" '
            f'height="100%">{curves}</svg></svg></div>'
            f'<div class="legend">{legend}</div>')


def intervals(given: list[tuple[str, dict, str]]) -> str:
    """One dimension on an axis from 0 to 100: for each (model, score, colour) a dot on its interval, its name before
    it, and the line of chance."""
    marks, bottom, chance = '', 18 * len(given) + 6, 100 * given[0][1]['chance']
    for i, (name, each, colour) in enumerate(given):
        y, low, score, high = 12 + 18 * i, 100 * each['low'], 100 * each['score'], 100 * each['high']
        marks += (f'<g><title>{escape(name)} {percent(each["score"])}</title><line class="grid" x1="0" x2="100%" '
                  f'y1="{y}" y2="{y}"/>'
                  f'<text x="-10" y="{y}" dy="4" text-anchor="end">{escape(name)}</text>'
                  f'<line class="band" x1="{low:.1f}%" x2="{high:.1f}%" y1="{y}" y2="{y}" stroke="{colour}"/>'
                  f'<circle cx="{score:.1f}%" cy="{y}" r="5" fill="{colour}"/></g>')
    ends = ((0, 'start'), (50, 'middle'), (100, 'end'))
    axis = ''.join(f'<text x="{x}%" y="{bottom + 12}" text-anchor="{anchor}">{x}</text>' for x, anchor in ends)
    line = f'<line class="chance" x1="{chance:.1f}%" x2="{chance:.1f}%" y1="0" y2="{bottom}"/>'
    return (f'<div class="named"><svg height="{bottom + 16}" role="img" aria-label="scores with intervals">'
            f'{line}{marks}{axis}</svg></div>')
