"""Labels with and without Chinese, the loss curve, and a heat map that the colour-blind can read."""
import warnings
from types import SimpleNamespace

import pytest

from internlm_course.lab import plots

SHARES = [[i / 50 for i in range(j, j + 10)] for j in range(0, 50, 10)] + [[1.0] * 10]


def luminance(colour) -> float:
    """Relative luminance of an sRGB colour, as WCAG 2 defines it."""
    parts = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3])
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), parts))


@pytest.fixture(scope='module')
def drawn():
    _, axes = plots.figure()
    plots.heat_map(axes, SHARES)
    return axes


def test_a_greater_share_is_lighter(drawn):
    [image] = drawn.images
    light = [luminance(image.cmap(image.norm(share))) for share in sum(SHARES, [])]
    assert all(a < b for a, b in zip(light[:50], light[1:51])) and light[50] - light[0] > 0.7


def test_each_cell_says_its_share_with_a_contrast_for_small_print(drawn):
    [image], flat = drawn.images, sum(SHARES, [])
    assert [text.get_text() for text in drawn.texts] == [f'{share:.0%}' for share in flat]
    for text, share in zip(drawn.texts, flat):
        dark, light = sorted((luminance(image.cmap(image.norm(share))), dict(white=1.0, black=0.0)[text.get_color()]))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, share  # WCAG 2, level AA


@pytest.fixture
def fresh_fonts():
    plots.chinese_font.cache_clear()
    yield
    plots.chinese_font.cache_clear()


def warnings_of(text: str) -> list[str]:
    """Warnings while a figure with this label is drawn: matplotlib warns of each glyph that becomes a box."""
    made, axes = plots.figure()
    axes.set_xlabel(text)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        assert plots.bundle(made, 'words')['image/png']
    return [str(w.message) for w in caught if 'Glyph' in str(w.message)]


def test_labels_are_never_boxes(fresh_fonts):
    assert warnings_of(plots.label('损失', 'loss')) == []


def test_without_a_chinese_font_labels_are_english(fresh_fonts, monkeypatch):
    import matplotlib
    monkeypatch.setattr(plots, 'CHINESE', ('No Such Font',))
    with matplotlib.rc_context({'font.family': ['DejaVu Sans']}):
        assert plots.label('损失', 'loss') == 'loss' and warnings_of(plots.label('损失', 'loss')) == []
        assert warnings_of('损失') != []


def test_loss_curve_redraws_in_place(monkeypatch):
    updates, first = [], []
    handle = SimpleNamespace(update=lambda data, raw: updates.append(data['text/plain']))
    monkeypatch.setattr('IPython.display.display', lambda data, raw, display_id: first.append(data) or handle)
    curve = plots.LossCurve(expected=[[10, 3.0], [20, 2.0]])
    assert len(first) == 1, 'what to expect stands there before the first step'
    for step in (1, 2, 3):
        curve(dict(step=step, steps=3, tokens=10 * step, loss=4.0 - step, tokens_per_second=5.0))
    assert updates == ['Loss curve: 3.00', 'Loss curve: 3.00, 2.00', 'Loss curve: 3.00, 2.00, 1.00'] and len(first) == 1


def test_curves_redraw_in_place(monkeypatch):
    updates, first = [], []
    handle = SimpleNamespace(update=lambda data, raw: updates.append(data['text/plain']))
    monkeypatch.setattr('IPython.display.display', lambda data, raw, display_id: first.append(data) or handle)
    curves = plots.Curves(dict(reward='reward', kl='KL'))
    for step in (1, 2):
        curves(dict(step=step, reward=step / 2, kl=step / 4, length=9))
    assert first[0]['text/plain'] == 'reward: 0.50; kl: 0.25' and updates == ['reward: 0.50, 1.00; kl: 0.25, 0.50']
