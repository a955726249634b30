"""What is wrong with this machine, and the remedy: one table, before a long run instead of in the middle of it.

`python3 -m internlm_course.doctor` looks before anything is installed, with Python's standard library alone.
"""
from __future__ import annotations  # that Python may be an old one

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

LOCK = Path(__file__).resolve().parent.parent / 'requirements.lock'
MEMORY_GB, DISK_GB, PORT = 5, 4, 23333  # scale tiny's peak, a run's folder with room to spare, LMDeploy's default
INSTALL_GB = 11  # the environment and a run
READY = """可以开始 ready:
  make lab  打开实验 opens the labs in your browser
  make run  训练你自己的模型 trains a model of your own, a quarter of an hour to an hour"""
NOT_INSTALLED = """可以安装 ready to install，还没有安装任何东西 nothing is installed yet:
  make lab  先安装，再打开实验 installs, then opens the labs
  make run  先安装，再训练模型 installs, then trains a model"""
REINSTALL = 'rm .venv/.ready && make lab'
IMPORTS = {'torch': 'torch', 'transformers': 'transformers', 'datatrove': 'datatrove', 'xtuner': 'xtuner.tools.train',
           'lmdeploy': 'lmdeploy', 'opencompass': 'opencompass.cli.main', 'lagent': 'lagent', 'nbval': 'nbval'}
PACKAGES = (*IMPORTS, 'tokenizers', 'peft', 'bitsandbytes', 'numpy', 'openai', 'trafilatura')


@dataclass(frozen=True)
class Check:
    """One line of the table: what was looked at, whether it is as it should be, what was found, what to do; only
    `required` ones fail."""
    name: str
    ok: bool
    found: str
    remedy: str = ''
    required: bool = True


def locked_versions(lock: Path = LOCK) -> dict[str, str]:
    """Package -> version in the lock file, for this Python and machine; empty where no lock stands beside the
    package."""
    from packaging.requirements import Requirement
    if not lock.exists():
        return {}
    requirements = [Requirement(line) for line in lock.read_text('utf-8').splitlines() if line.strip()]
    return {each.name: str(each.specifier)[2:]
            for each in requirements if each.marker is None or each.marker.evaluate()}


def check_python() -> Check:
    """Python 3.10 to 3.13: datatrove wants 3.10; on 3.14 nothing was tried."""
    return Check('Python', (3, 10) <= sys.version_info[:2] < (3, 14), platform.python_version(),
                 'Install Python 3.11, then: ' + REINSTALL)


def check_system() -> Check:
    """LMDeploy has builds for Linux on x86-64 only."""
    found = f'{platform.system()} {platform.machine()}'
    return Check('系统 system', found == 'Linux x86_64', found, 'Use Linux on x86-64; on Windows, WSL2; or Binder.')


def check_packages(lock: Path = LOCK) -> list[Check]:
    """Each key package: the installed version against the lock's."""
    locked, checks = locked_versions(lock), []
    for name in PACKAGES:
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            checks.append(Check(name, False, '缺 missing', REINSTALL))
            continue
        want = locked.get(name, found)
        same = found.partition('+')[0] == want  # 2.10.0+cpu is the CPU build of 2.10.0
        checks.append(Check(name, same, found if same else f'{found} ≠ {want}', REINSTALL, required=False))
    return checks


def check_imports(modules: dict[str, str] = IMPORTS) -> list[Check]:
    """Imports each tool in a process of its own, two at a time, and times it."""
    def load(item: tuple[str, str]) -> Check:
        name, module = item
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as empty:  # nothing in the caller's folder may shadow a package
            done = subprocess.run([sys.executable, '-c', f'import {module}'], cwd=empty, stdin=subprocess.DEVNULL,
                                  capture_output=True, encoding='utf-8', errors='replace')
        last = (done.stderr.strip().splitlines() or ['?'])[-1][:60]
        found = last if done.returncode else f'{time.monotonic() - start:.1f} s'
        return Check(f'import {name}', not done.returncode, found, REINSTALL)
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(load, modules.items()))


def cpu_flags(cpuinfo: Path = Path('/proc/cpuinfo')) -> set[str]:
    """The CPU's feature flags as Linux names them."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return {flag for line in lines[:60] if line.startswith(('flags', 'Features'))
            for flag in line.partition(':')[2].split()}


def check_cpu() -> list[Check]:
    """Cores and vector features."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    features = [name for name in ('avx2', 'avx512f', 'avx512_bf16', 'amx_bf16') if name in cpu_flags()]
    return [Check('CPU 核 cores', cores >= 2, str(cores), 'One core works, at half the speed.', required=False),
            Check('CPU', bool(features), ' '.join(features) or '?', 'Without AVX2 everything is several times slower.',
                  required=False)]


def check_dtype() -> Check:
    """The number format that the course computes in."""
    from internlm_course.machine import cpu_dtype
    try:
        dtype = cpu_dtype()
    except ImportError:
        dtype = 'torch 缺 missing'
    fast = '快 fast' if dtype == 'bfloat16' else '慢 slow'
    return Check('CPU 精度 dtype', True, f'{dtype} (bf16 {fast})')


def check_gpu() -> Check:
    """A GPU is used where there is one; scale tiny needs none."""
    try:
        import torch
        devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    except (ImportError, RuntimeError) as error:
        return Check('GPU', False, str(error)[:60], 'Scale tiny runs without; see the driver with nvidia-smi.',
                     required=False)
    found = ', '.join(f'{each.name} {each.total_memory / 2**30:.0f} GB' for each in devices)
    return Check('GPU', True, found or '无，tiny 不需要 none, tiny needs none', required=False)


def available_memory(cgroup: Path = Path('/sys/fs/cgroup')) -> int:
    """Bytes that a run may still take: the machine's available memory, or what is left under the container's limit if
    that is less."""
    meminfo = Path('/proc/meminfo')
    found = re.search(r'MemAvailable: +(\d+) kB', meminfo.read_text() if meminfo.exists() else '')
    free = int(found[1]) * 1024 if found else os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    limit, used = cgroup / 'memory.max', cgroup / 'memory.current'
    if limit.exists() and used.exists() and (text := limit.read_text().strip()) != 'max':
        free = min(free, int(text) - int(used.read_text()))
    return free


def check_memory() -> Check:
    """Free memory against scale tiny's peak."""
    free = available_memory() / 2**30
    return Check('内存 memory', free >= MEMORY_GB, f'{free:.1f} GB 可用 free',
                 f'Close programs: a run at scale tiny needs {MEMORY_GB} GB.')


def check_folder(folder: Path, gigabytes: int = DISK_GB) -> list[Check]:
    """Whether the folder can be written, and how much room its disk has."""
    home = folder.absolute()
    while not home.exists():
        home = home.parent
    try:
        with tempfile.TemporaryFile(dir=home):
            writeable = Check('可写 writeable', True, str(folder))
    except OSError as error:
        writeable = Check('可写 writeable', False, f'{folder}: {error.strerror}',
                          'Choose a folder of your own, or: chmod u+w ' + str(home))
    free = shutil.disk_usage(home).free / 2**30
    return [writeable, Check('磁盘 disk', free >= gigabytes, f'{free:.1f} GB 可用 free',
                             f'Free some space: {gigabytes} GB are needed'
                             f'{", far fewer with TORCH=cpu" if gigabytes == INSTALL_GB else ""}.')]


def check_port(port: int = PORT) -> Check:
    """Whether LMDeploy's default port is free; the course takes another by itself, `serve` by hand does not."""
    from internlm_course import process  # it wants a newer Python than the look before the installation
    fault = process.port_fault(port)
    return Check(f'端口 port {port}', not fault, '占用 taken' if fault else '空闲 free',
                 f'Use another: make serve ARGS="--port {port + 1}"', required=False)


def check_compiler() -> Check:
    """torch.compile on a CPU needs a C++ compiler and Python's headers."""
    compiler = os.environ.get('CXX') or shutil.which('g++') or shutil.which('clang++')
    header = Path(sysconfig.get_path('include'), 'Python.h').exists()
    missing = [name for name, there in (('g++', compiler), ('Python.h', header)) if not there]
    found = '缺 no ' + ', '.join(missing) if missing else f'{Path(compiler).name}, Python.h'
    remedy = 'sudo apt install g++ python3-dev: torch.compile needs them, training is slower without.'
    return Check('编译器 compiler', not missing, found, remedy, required=False)


def check_fonts() -> Check:
    """A font with Chinese characters, for the curves that matplotlib draws; report.html takes the browser's own."""
    names = ('cjk', 'wqy', 'simhei', 'simsun', 'msyh', 'sourcehan', 'droidsansfallback', 'uming', 'ukai', 'pingfang')
    folders = [Path('/usr/share/fonts'), Path('/usr/local/share/fonts'), Path.home() / '.fonts',
               Path.home() / '.local/share/fonts']
    files = sorted(path for folder in folders
                   for path in folder.rglob('*') if path.suffix.lower() in ('.ttf', '.ttc', '.otf'))
    fonts = [path for path in files if any(name in path.name.lower() for name in names)]
    found = fonts[0].name if fonts else '无 none'
    return Check('中文字体 font', bool(fonts), found, 'sudo apt install fonts-noto-cjk', required=False)


def check_installer() -> Check:
    """What `.ci/setup` installs with: uv, or a Python that can bring it; uv brings a Python where this one does not
    fit."""
    uv = shutil.which('uv') or shutil.which('uv', path=os.pathsep.join((str(Path.home() / '.local/bin'), '.uv/bin')))
    means = [name for name in ('ensurepip', 'pip') if find_spec(name)]
    return Check('安装 installer', bool(uv or means), 'uv' if uv else means[0] if means else '缺 missing',
                 'sudo apt install python3-venv, or install uv: https://docs.astral.sh/uv/')


def before_install(folder: Path = Path()) -> list[Check]:
    """What can be known of the machine before anything is installed."""
    return [check_system(), check_installer(), *check_cpu(), check_memory(), *check_folder(folder, INSTALL_GB),
            check_fonts()]


def diagnose(folder: Path = Path('runs'), imports: bool = False) -> list[Check]:
    """Every check, quick ones first; with `imports`, the tools are loaded too (a minute)."""
    checks = [check_python(), check_system(), *check_packages(), *check_cpu(), check_dtype(), check_gpu(),
              check_memory(), *check_folder(folder), check_port(), check_compiler(), check_fonts()]
    return checks + check_imports() if imports else checks


def _pad(text: str, width: int) -> str:
    """Pads to a width in terminal columns, where a Chinese character takes two."""
    return text + ' ' * (width - sum(2 if unicodedata.east_asian_width(each) in 'WF' else 1 for each in text))


def table(checks: list[Check], ready: str = READY) -> str:
    """The table as text, then one line that sums it up, or `ready` where all is well."""
    lines = []
    for each in checks:
        mark = '✓' if each.ok else '✗' if each.required else '!'
        lines.append(
            f'{mark} {_pad(each.name, 20)}{_pad(each.found, 34)}{"" if each.ok else " → " + each.remedy}'.rstrip())
    bad = sum(not each.ok and each.required for each in checks)
    lines.append(ready if not bad else f'{bad} 项须先处理 to mend first')
    return '\n'.join(lines)


def main(folder: Path = Path('runs'), imports: bool = False) -> int:
    """Prints the table; returns the exit code, 1 if something required is wrong."""
    return _show(diagnose(folder, imports), READY)


def _show(checks: list[Check], ready: str) -> int:
    print(table(checks, ready))
    return int(any(not each.ok and each.required for each in checks))


if __name__ == '__main__':
    sys.exit(_show(before_install(), NOT_INSTALLED))
