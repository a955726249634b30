"""LMDeploy's gates: the engine's configuration, its environment check and its server each insist on a GPU; here they let a CPU through."""
import lmdeploy.messages as messages
import lmdeploy.pytorch.config as model_config
import lmdeploy.pytorch.engine.engine_checker as engine_checker

BLOCK_SIZE = 64  # LMDeploy's default: tokens in one block of the paged KV cache


def install(kv_blocks: int) -> None:
    """Every engine of this process runs on the CPU with a KV cache of `kv_blocks` blocks."""
    check = messages.PytorchEngineConfig.__post_init__

    def on_cpu(self):
        check(self)  # it asserts a GPU's device type, so ours comes after
        self.device_type, self.eager_mode, self.num_gpu_blocks, self.block_size = 'cpu', True, kv_blocks, BLOCK_SIZE

    messages.PytorchEngineConfig.__post_init__ = on_cpu
    # Of a device that it does not know LMDeploy says that it has no bf16, and serves a bf16 checkpoint as fp16, which most CPUs multiply slowest of all.
    model_config.is_bf16_supported = lambda device_type='cpu': True
    # The checker looks for CUDA and triton.
    engine_checker.EngineChecker.handle = lambda self: None
    # api_server forces the engine into a second process, which would hold a second gigabyte of imports and lack this device.
    messages.PytorchEngineConfig.enable_mp_engine = property(lambda self: False, lambda self, value: None)
