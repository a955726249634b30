"""LMDeploy's gates: the engine's configuration, its environment check and its server each insist on a GPU; here they
let a CPU through."""
import lmdeploy.messages as messages
import lmdeploy.pytorch.config as model_config
import lmdeploy.pytorch.engine.engine_checker as engine_checker

from internlm_course.deploy.serve import BLOCK_SIZE


def install(kv_blocks: int) -> None:
    """Every engine of this process runs on the CPU with a KV cache of `kv_blocks` blocks."""
    check = messages.PytorchEngineConfig.__post_init__

    def on_cpu(self):
        check(self)  # it asserts a GPU's device type, so ours comes after
        self.device_type, self.eager_mode, self.num_gpu_blocks, self.block_size = 'cpu', True, kv_blocks, BLOCK_SIZE

    messages.PytorchEngineConfig.__post_init__ = on_cpu
    model_config.is_bf16_supported = lambda device_type='cpu': True
    engine_checker.EngineChecker.handle = lambda self: None
    messages.PytorchEngineConfig.enable_mp_engine = property(lambda self: False, lambda self, value: None)
