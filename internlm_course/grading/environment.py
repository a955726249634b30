"""What marks may depend on beside the submissions: the machine's Python and the tools that run a notebook."""
import platform
from importlib import metadata

TOOLS = ('nbval', 'jupyter_client', 'ipykernel', 'pyzmq', 'pytest', 'numpy')


def environment() -> dict[str, str]:
    """What marks may depend on, beside the submission."""
    found = dict(python=platform.python_version(), system=f'{platform.system()} {platform.machine()}')
    for name in TOOLS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = ''
    return found
