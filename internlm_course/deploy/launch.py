"""`python -m internlm_course.deploy.launch --kv-blocks N serve api_server … [--and --kv-blocks N serve …]`: LMDeploy's
command line, with ours; on a CPU several of them start as one."""
import argparse
import gc
import os
import signal
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby

from internlm_course.errors import CourseError
from internlm_course.process import die_with_parent

TESTED = ('0.15.0',)
MODULE, AND = 'internlm_course.deploy.launch', '--and'  # which stands between two servers
SHARED = ('lmdeploy.serve.openai.api_server', 'internlm_course.deploy.api', 'internlm_course.deploy.isolate',
          'internlm_course.deploy.cpu.backend', 'internlm_course.deploy.cpu.linear')


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


def serve(command: list[str], gpu: bool) -> None:
    """Becomes the server that a command line of LMDeploy's, with ours before it, asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--kv-blocks', type=int, required=True, help='blocks of 64 tokens in the KV cache (CPU only)')
    options, arguments = parser.parse_known_args(command)
    if not gpu:
        from internlm_course.deploy import cpu, isolate
        cpu.install(options.kv_blocks)
        isolate.install()
    from internlm_course.deploy import api
    api.install()
    from lmdeploy.cli import run
    sys.argv[1:] = [*arguments, '--backend', 'turbomind' if gpu else 'pytorch']
    run()


def serve_all(commands: list[list[str]], gpu: bool) -> int:
    """Starts a server for each command, waits until any of them ends, ends the others and returns its exit code, 128
    and n after signal n. On a CPU they are forks of this process, and hold together what it has imported."""
    if not gpu:
        for module in SHARED:
            import_module(module)
        gc.collect()
        gc.freeze()  # else a collection would write to the pages that are shared
    servers, parent = {}, os.getpid()
    for command in commands:
        if gpu:  # CUDA does not survive a fork
            pid = os.posix_spawn(sys.executable, [sys.executable, '-m', MODULE, *command], os.environ)
        elif not (pid := os.fork()):
            die_with_parent()
            if os.getppid() == parent:  # else it died before that
                serve(command, gpu=False)
            os._exit(0)
        servers[pid] = command[command.index('api_server') + 1]

    def end(*_) -> None:
        for pid in servers:
            os.kill(pid, signal.SIGTERM)
    signal.signal(signal.SIGTERM, end)
    pid, status = os.wait()
    first, code = servers.pop(pid), os.waitstatus_to_exitcode(status)
    end()
    while servers:
        del servers[os.wait()[0]]
    code = code if code >= 0 else 128 - code
    if code not in (0, 128 + signal.SIGTERM):  # nobody asked it to end
        print(f'error: the server of {first} stopped with code {code}', flush=True)  # the log's last telling line
    return code


def main() -> None:
    die_with_parent()
    # Compiling the rotary embedding needs a C++ compiler, delays the first request, and wins nothing at these sizes.
    os.environ['TORCH_COMPILE_DISABLE'] = '1'
    import torch
    gpu, commands = torch.cuda.is_available(), [list(part) for more, part in groupby(sys.argv[1:], AND.__ne__) if more]
    if len(commands) > 1:
        sys.exit(serve_all(commands, gpu))
    serve(commands[0] if commands else [], gpu)


if __name__ == '__main__':
    main()
