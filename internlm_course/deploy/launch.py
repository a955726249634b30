"""`python -m internlm_course.deploy.launch --kv-blocks N serve api_server …`: LMDeploy's command line, with ours."""
import argparse
import os
import sys
from importlib.metadata import PackageNotFoundError, version

from internlm_course.errors import CourseError
from internlm_course.process import die_with_parent

TESTED = ('0.15.0',)


def check_version() -> None:
    """
    Raises:
        CourseError: LMDeploy is missing, or of a version whose inside these patches were not tested with.
    """
    try:
        found = version('lmdeploy')
    except PackageNotFoundError:
        found = 'no version'
    if found not in TESTED:
        raise CourseError(f'Serving and quantising were tested with LMDeploy {" and ".join(TESTED)}, and {found} is '
                          'installed.',
                          f'Install lmdeploy=={TESTED[-1]}.')


def main() -> None:
    die_with_parent()
    parser = argparse.ArgumentParser()
    parser.add_argument('--kv-blocks', type=int, required=True, help='blocks of 64 tokens in the KV cache (CPU only)')
    options, arguments = parser.parse_known_args()
    # Compiling the rotary embedding needs a C++ compiler, delays the first request, and wins nothing at these sizes.
    os.environ['TORCH_COMPILE_DISABLE'] = '1'
    import torch
    gpu = torch.cuda.is_available()
    if not gpu:
        from internlm_course.deploy import cpu, isolate
        cpu.install(options.kv_blocks)
        isolate.install()
    from internlm_course.deploy import api
    api.install()
    from lmdeploy.cli import run
    sys.argv[1:] = [*arguments, '--backend', 'turbomind' if gpu else 'pytorch']
    run()


if __name__ == '__main__':
    main()
