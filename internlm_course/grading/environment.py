"""What marks may depend on beside the submissions: Python, the system, and the packages that an answer may import."""
import hashlib
import platform
import re
from functools import cache
from importlib import metadata

TOOLS = ('nbval', 'jupyter_client', 'ipykernel', 'pyzmq', 'pytest', 'numpy')


@cache
def installed() -> dict[str, str]:
    """The version of every installed package by its name in PyPI's spelling, sorted; of two the first on the path."""
    found: dict[str, str] = {}
    for package in metadata.distributions():
        if name := package.metadata['Name']:
            found.setdefault(re.sub(r'[-_.]+', '-', name).lower(), package.version or '')
    return dict(sorted(found.items()))


def environment() -> dict[str, str]:
    """Python, the system, the versions of the tools that grade, and `hash`: sixteen digits for these and all
    packages."""
    about = dict(python=platform.python_version(), system=f'{platform.system()} {platform.machine()}')
    lines = [*about.values(), *(f'{name}=={version}' for name, version in installed().items())]
    tools = {name: installed().get(name.replace('_', '-'), '') for name in TOOLS}
    return dict(about, **tools, hash=hashlib.sha256('\n'.join(lines).encode()).hexdigest()[:16])
