"""A CPU device for LMDeploy's PyTorch engine, in force only inside the serving process that calls `install`.

LMDeploy 0.15 has no CPU inference, but its engine is pure torch around a table of ops, so a device is one more such
table.
One room per concern: `torch_cuda` (the CUDA-shaped API the engine calls on every device), `linear`, `attention` and
`norm` (the ops), `backend` (the table), `config` (the checks that refuse a CPU).
"""


def install(kv_blocks: int) -> None:
    """Gives this process's LMDeploy the CPU device; call before an engine is built.

    Args:
        kv_blocks: blocks of 64 tokens that the paged KV cache holds.
    """
    from internlm_course.deploy.cpu import backend, config, linear, torch_cuda
    torch_cuda.install()
    backend.install()
    linear.install()
    config.install(kv_blocks)
