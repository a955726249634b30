"""The heat map can be read by the colour-blind: its colours are ordered by lightness, and each cell's number stands out from its colour."""
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
