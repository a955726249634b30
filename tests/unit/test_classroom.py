"""The lab's run time without a kernel: comparison, planning, plots with and without Chinese, JupyterLab's command."""
import json
import re
import subprocess
import sys
import time
from types import SimpleNamespace
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from internlm_course import cli
from internlm_course.grading.compare import count, printed, same
from internlm_course.lab import jupyter, plots
from internlm_course.lab.answers import lab01 as planning
from internlm_course.marking import wilson
from internlm_course.model import sizes
from internlm_course.model.checkpoint import parameter_count

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12)


# --- comparison --------------------------------------------------------------------------------------------------------------------------------
@given(JSON)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
def test_what_is_printed_comes_back_and_agrees_with_itself(value):
    text = json.dumps(dict(check='x', values=value), ensure_ascii=False)
    if '\u2028' not in text and '\u2029' not in text and '\x85' not in text:  # splitlines knows more ends of line than JSON escapes
        assert same(printed(f'noise\n{text}\n')['x'], json.loads(json.dumps(value)))


@pytest.mark.parametrize('value, reference', [
    (1.0000005, 1.0), (2, 2.0), (2.0, 2), (1e-12, 0.0), ([1, {'a': 0.1 + 0.2}], [1, {'a': 0.3}]), (None, None), (True, True)])
def test_agrees(value, reference):
    assert same(value, reference)


@pytest.mark.parametrize('value, reference', [
    (1.00001, 1.0), (2.0000001, 2), (True, 1), (1, True), ('1', 1), (1, '1'), (None, 0), ([1], [1, 2]), ([1, 2], [1]), ({'a': 1}, {'a': 1, 'b': 2}),
    ({'a': 1, 'b': 2}, {'a': 1}), ({'error': 'x'}, 1.0), (float('nan'), 1.0), ('a ', 'a'), ([], {}), ({}, [])])
def test_differs(value, reference):
    assert not same(value, reference)


def test_count_and_lines_that_are_no_checks():
    assert count({'a': [1, 2, {'b': 3}], 'c': None}) == 4 and count([]) == 0
    assert printed('{"check": "a", "values": [1]}\n{"check": 3, "values": 1}\n{"values": 1}\n[1]\nNaN?\n{"check": "b"}') == {'a': [1]}


# --- planning ------------------------------------------------------------------------------------------------------------------------------------
def test_sizes_of_the_released_models():
    """Parameters and KV bytes a token of 1.8B, 7B, 20B: arithmetic on the report's table 3."""
    shapes = sizes.released()
    assert {name: parameter_count(config) for name, config in shapes.items()} == {'1_8b': 1_889_110_016, '7b': 7_737_708_544, '20b': 19_861_149_696}
    assert [sizes.kv_bytes(config, 1) for config in shapes.values()] == [98_304, 131_072, 196_608]
    for config in shapes.values():
        assert sizes.weight_bytes(config) == 2 * parameter_count(config) and sizes.adamw_bytes(config) == 12 * parameter_count(config)
        assert sizes.kv_bytes(config, 8, bits=8) * 2 == sizes.kv_bytes(config, 8)


def test_smallest_gpu_fits_and_no_smaller_one_would():
    names = [*planning.GPUS, None]
    for config in sizes.released().values():
        chosen = [names.index(planning.smallest_gpu(config, 4, tokens)) for tokens in (1, 10_000, 100_000, 1_000_000)]
        assert chosen == sorted(chosen)
        assert planning.smallest_gpu(config, 16, 10**9) is None


def test_interval_is_wilsons_and_better_needs_a_gap():
    assert planning.interval(0.5, 24) == wilson(12, 24)
    assert planning.better(0.9, 0.1, 100) == 'first' and planning.better(0.1, 0.9, 100) == 'second' and planning.better(0.5, 0.5, 9) == 'undecided'
    assert planning.steps(True, False, True) == ['choose', 'LoRA', 'agent', 'evaluate', 'deploy']


# --- plots -----------------------------------------------------------------------------------------------------------------------------------------
@pytest.fixture
def fresh_fonts():
    plots.chinese_font.cache_clear()
    yield
    plots.chinese_font.cache_clear()


def drawn(text: str) -> list[str]:
    """Warnings while a figure with this label is drawn: matplotlib warns of each glyph that becomes a box."""
    import warnings
    made, axes = plots.figure()
    axes.set_xlabel(text)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        assert plots.bundle(made, 'words')['image/png']
    return [str(w.message) for w in caught if 'Glyph' in str(w.message)]


def test_labels_are_never_boxes(fresh_fonts):
    assert drawn(plots.label('损失', 'loss')) == []


def test_without_a_chinese_font_labels_are_english(fresh_fonts, monkeypatch):
    import matplotlib
    monkeypatch.setattr(plots, 'CHINESE', ('No Such Font',))
    with matplotlib.rc_context({'font.family': ['DejaVu Sans']}):
        assert plots.label('损失', 'loss') == 'loss' and drawn(plots.label('损失', 'loss')) == [] and drawn('损失') != []


def test_loss_curve_redraws_in_place(monkeypatch):
    updates = []
    handle = SimpleNamespace(update=lambda data, raw: updates.append(data['text/plain']))
    monkeypatch.setattr('IPython.display.display', lambda data, raw, display_id: handle)
    curve = plots.LossCurve(expected=[[10, 3.0], [20, 2.0]])
    for step in (1, 2, 3):
        curve(dict(step=step, steps=3, tokens=10 * step, loss=4.0 - step, tokens_per_second=5.0))
    assert updates == ['Loss curve: 3.00, 2.00', 'Loss curve: 3.00, 2.00, 1.00']


# --- JupyterLab --------------------------------------------------------------------------------------------------------------------------------------
def test_jupyterlab_is_local_and_of_this_environment(tmp_path):
    line = jupyter.command(tmp_path, 8899, browser=False)
    assert line[:3] == [sys.executable, '-m', 'jupyterlab'] and '--ServerApp.ip=127.0.0.1' in line and '--no-browser' in line
    assert '--LabApp.default_url=/lab' in line and '--ServerApp.port=8899' in line
    assert jupyter.environment()['JUPYTER_PREFER_ENV_PATH'] == '1'


def test_jupyterlab_takes_our_settings():
    """JupyterLab itself reads them: every plugin and key exists in its schemas."""
    script = ('import json; from jupyter_server.services.config.manager import ConfigManager; from jupyterlab.commands import get_app_dir\n'
              'from pathlib import Path\n'
              'found = ConfigManager(config_dir_name="labconfig").get("default_setting_overrides")\n'
              'for plugin, settings in found.items():\n'
              '    name, part = plugin.split(":")\n'
              '    schema = json.loads((Path(get_app_dir()) / "schemas" / name / f"{part}.json").read_text("utf-8"))\n'
              '    assert set(settings) <= set(schema["properties"]), plugin\n'
              'print(len(found))')
    done = subprocess.run([sys.executable, '-c', script], env=jupyter.environment(), capture_output=True, text=True)
    settings = json.loads((jupyter.SETTINGS / 'labconfig' / 'default_setting_overrides.json').read_text('utf-8'))
    assert done.stdout.strip() == str(len(settings)), done.stderr


def test_nbgraders_buttons_are_not_in_the_students_jupyterlab(tmp_path):
    """The server itself: the page leaves out the extension in the browser, and none of its addresses answers."""
    from internlm_course.deploy.serve import free_port
    home, port = str(tmp_path), free_port()
    line = [*jupyter.command(tmp_path, port, browser=False), '--IdentityProvider.token=t', '--ServerApp.port_retries=0']
    server = subprocess.Popen(line, env=dict(jupyter.environment(), HOME=home, JUPYTER_CONFIG_DIR=home, JUPYTER_DATA_DIR=home),
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def status_and_text(address: str) -> tuple[int, str]:
        try:
            with urlopen(f'http://127.0.0.1:{port}/{address}?token=t', timeout=60) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, ''
    try:
        for _ in range(300):  # a minute, on a busy machine
            try:
                status, text = status_and_text('lab')
                break
            except URLError:
                assert server.poll() is None
                time.sleep(0.2)
        page = json.loads(re.search('id="jupyter-config-data"[^>]*>(.*?)</script>', text, re.S)[1])
        assert status == 200 and '@jupyter/nbgrader' in page['disabledExtensions']
        assert [status_and_text(address)[0] for address in ('api', 'formgrader', 'assignments', 'nbgrader_version')] == [200, 404, 404, 404]
    finally:
        server.terminate()
        server.wait(30)


def test_commands_refuse_what_is_not_there(capsys, tmp_path):
    assert cli.main(['lab', '--folder', str(tmp_path / 'none')]) == 2
    assert cli.main(['notebooks', '--folder', str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert 'There is no folder' in err and 'There are no labs' in err
