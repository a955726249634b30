"""Draws report.png, what the READMEs show of a run: `python images/src/report_png.py runs/tiny/report.json`.

It is the report's page itself in headless Chromium, without the tables: the tiles, the scores' intervals, the loss
curve.
"""
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

from internlm_course import report

# In CSS pixels: the width of a README's column; image pixels for each; below the last section
WIDTH, SHARPNESS, MARGIN = 880, 2, 24
SHOWN = ('<style>main > :not(h1, .tiles, #scores, #training), table { display: none } main { padding: 1.5rem } '
         '.plots { margin: 0; grid-template-columns: repeat(3, 1fr) }</style>')


def draw(card: dict, out: Path, browser: str) -> None:
    """Writes the picture of a report card as PNG.

    Args:
        card: what report.json holds.
        browser: a Chromium.
    """
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, 'page.html')
        page.write_text(report.render(card).replace('</head>', f'{SHOWN}</head>'), 'utf-8')
        subprocess.run([browser, '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run',
                        '--disable-background-networking',
                        '--hide-scrollbars', f'--user-data-dir={folder}/profile',
                        f'--force-device-scale-factor={SHARPNESS}',
                        f'--window-size={WIDTH},2400', f'--screenshot={folder}/page.png', page.as_uri()], check=True,
                       capture_output=True, timeout=60)
        shot = Image.open(f'{folder}/page.png').convert('RGB')
    ground = Image.new('RGB', shot.size, shot.getpixel((0, 0)))
    _, _, _, bottom = ImageChops.difference(shot, ground).getbbox()
    shot.crop((0, 0, shot.width, bottom + MARGIN * SHARPNESS)).save(out, optimize=True)


if __name__ == '__main__':
    chromium = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    if len(sys.argv) != 2 or not chromium:
        sys.exit(__doc__ if chromium else 'Chromium is missing: sudo apt install chromium fonts-noto-cjk')
    draw(json.loads(Path(sys.argv[1]).read_text('utf-8')), Path(__file__).parents[1] / 'report.png', chromium)
