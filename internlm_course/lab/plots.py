"""Plots of the labs: fonts that have Chinese, labels that fall back to English where there are none, and a loss curve
that grows while a model trains."""
import base64
import io
from collections.abc import Sequence
from functools import cache

CHINESE = ('Noto Sans CJK SC', 'Noto Sans CJK JP', 'Source Han Sans SC', 'WenQuanYi Micro Hei', 'WenQuanYi Zen Hei',
           'PingFang SC', 'Microsoft YaHei',
           'SimHei', 'Droid Sans Fallback', 'Noto Serif CJK SC', 'Arial Unicode MS')


@cache
def chinese_font() -> str | None:
    """A font with Chinese that matplotlib finds, made its fallback for every text; None where there is none."""
    import matplotlib
    from matplotlib import font_manager
    there = {font.name for font in font_manager.fontManager.ttflist}
    found = next((name for name in CHINESE if name in there), None)
    if found:
        # Glyph by glyph: what the first lacks comes from the second
        matplotlib.rcParams['font.family'] = ['DejaVu Sans', found]
    return found


def label(chinese: str, english: str) -> str:
    """Both languages where Chinese can be drawn, otherwise English: never boxes."""
    return f'{chinese} {english}' if chinese_font() else english


def figure(width: float = 7, height: float = 3):
    """A matplotlib figure and its axes, apart from pyplot, so that no backend matters."""
    from matplotlib.figure import Figure
    chinese_font()
    made = Figure(figsize=(width, height), layout='constrained')
    axes = made.add_subplot()
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(alpha=0.3)
    return made, axes


def heat_map(axes, shares: Sequence[Sequence[float]]) -> None:
    """Draws a table of shares in [0, 1]: dark blue to yellow, an order that every eye sees (cividis), and each share in
    its cell, in ink that stands out."""
    axes.imshow(shares, vmin=0, vmax=1, cmap='cividis', aspect='auto')
    for i, row in enumerate(shares):
        for j, share in enumerate(row):
            axes.text(j, i, f'{share:.0%}', ha='center', va='center', fontsize=8,
                      color='white' if share < 0.47 else 'black')


def bundle(made, text: str) -> dict[str, str]:
    """A figure as PNG for a notebook, with words for those who cannot see it."""
    stream = io.BytesIO()
    made.savefig(stream, format='png', dpi=90)
    return {'image/png': base64.b64encode(stream.getvalue()).decode(), 'text/plain': text}


def show(made, text: str) -> None:
    """Shows a figure below the cell."""
    from IPython.display import display
    display(bundle(made, text), raw=True)


class LossCurve:
    """A loss curve that redraws itself in place; give it to `pretrain` as on_step.

    Args:
        expected: [[tokens, loss], …] of the reference, drawn behind; None or empty draws nothing.
        band: [[tokens, lowest, mean, highest], …] over several seeds (staff/expected_curve.py), drawn
            behind as an area and its middle.
    """

    def __init__(self, expected: Sequence[Sequence[float]] | None = None,
                 band: Sequence[Sequence[float]] | None = None):
        self.expected, self.band, self.points, self.handle = expected or [], band or [], [], None
        if self.expected or self.band:  # before the first step there is what to expect
            self.draw(label('训练即将开始', 'about to begin'))

    def __call__(self, record: dict) -> None:
        self.points.append((record['tokens'], record['loss']))
        self.draw(f'{record["step"]}/{record["steps"]}, {record["tokens_per_second"]:,.0f} tok/s')

    def draw(self, title: str = '') -> None:
        """Draws what there is, over the plot before."""
        from IPython.display import display
        from matplotlib.ticker import LogLocator, NullLocator
        made, axes = figure()
        if self.band:
            tokens, lowest, mean, highest = zip(*self.band)
            axes.fill_between(tokens, lowest, highest, color='0.6', alpha=0.4, linewidth=0,
                              label=label('各随机种子', 'range over seeds'))
            axes.plot(tokens, mean, color='0.5', linewidth=1)
        if self.expected:
            axes.plot(*zip(*self.expected), color='0.6', linewidth=4, alpha=0.6, label=label('预期', 'expected'))
        if self.points:
            axes.plot(*zip(*self.points), color='C0', marker='.', label=label('这次', 'this run'))
            axes.legend(frameon=False)
        # Or the first fall hides the band
        axes.set(xlabel=label('词元', 'tokens'), ylabel=label('损失（奈特）', 'loss (nats)'), title=title, yscale='log')
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes.yaxis.set_major_formatter('{x:g}')
        axes.yaxis.set_minor_locator(NullLocator())
        words = f'Loss curve: {", ".join(f"{loss:.2f}" for _, loss in self.points)}'
        if self.handle is None:
            self.handle = display(bundle(made, words), raw=True, display_id=True)
        else:
            self.handle.update(bundle(made, words), raw=True)


class Curves:
    """Curves over the steps of a training that redraw themselves in place; give it to `grpo` as on_step.

    Args:
        names: what a record calls it -> what the legend says.
    """

    def __init__(self, names: dict[str, str]):
        self.names, self.records, self.handle = names, [], None

    def __call__(self, record: dict) -> None:
        self.records.append(record)
        self.draw()

    def draw(self, title: str = '') -> None:
        """Draws what there is, over the plot before."""
        from IPython.display import display
        made, axes = figure()
        steps = [record['step'] for record in self.records]
        for name, said in self.names.items():
            axes.plot(steps, [record[name] for record in self.records], marker='.', label=said)
        axes.set(xlabel=label('步', 'step'), title=title)
        axes.legend(frameon=False)
        words = '; '.join(f'{name}: {", ".join(f"{record[name]:.2f}" for record in self.records)}'
                          for name in self.names)
        if self.handle is None:
            self.handle = display(bundle(made, words), raw=True, display_id=True)
        else:
            self.handle.update(bundle(made, words), raw=True)
