"""The CPU's table of ops: LMDeploy's default backend is pure torch already, so only what is slow, missing or rounded
otherwise is here."""
from lmdeploy.pytorch.backends import selector
from lmdeploy.pytorch.backends.base import OpType
from lmdeploy.pytorch.backends.default.op_backend import DefaultOpsBackend

from internlm_course.deploy.cpu.attention import CpuAttentionBuilder, CpuAttentionMetadata
from internlm_course.deploy.cpu.linear import (
    CpuLinearBuilder,
    CpuLinearW4A16Builder,
    CpuLinearW8A8Builder,
    CpuRMSNormW8A8Builder,
)
from internlm_course.deploy.cpu.norm import CpuRMSNormBuilder
from internlm_course.deploy.cpu.sampling import CpuMultinomialSamplingBuilder

OPS = {OpType.PagedAttention: CpuAttentionBuilder, OpType.Linear: CpuLinearBuilder,
       OpType.LinearW4A16: CpuLinearW4A16Builder,
       OpType.LinearW8A8: CpuLinearW8A8Builder, OpType.RMSNorm: CpuRMSNormBuilder,
       OpType.RMSNormW8A8: CpuRMSNormW8A8Builder, OpType.MultinomialSampling: CpuMultinomialSamplingBuilder}


class CpuOpsBackend(DefaultOpsBackend):
    """One more room beside LMDeploy's cuda, ascend, maca and camb."""

    @staticmethod
    def get_name() -> str:
        return 'cpu'

    @classmethod
    def get_layer_impl_builder(cls, layer_type: OpType):
        return OPS.get(layer_type) or super().get_layer_impl_builder(layer_type)

    @staticmethod
    def get_attention_metadata_cls():
        return CpuAttentionMetadata

    @classmethod
    def update_step_context(cls, step_context):
        step = step_context
        step.attn_metadata = CpuAttentionMetadata(step.is_decoding, step.block_offsets, q_start_loc=step.q_start_loc,
                                                  q_seqlens=step.q_seqlens, kv_seqlens=step.kv_seqlens,
                                                  quant_policy=step.kv_quant_policy)
        return step

    @staticmethod
    def ccl_backend() -> str:
        return 'gloo'

    @staticmethod
    def device_count() -> int:
        return 1


def install() -> None:
    """Makes LMDeploy find this backend for device type 'cpu'."""
    known = selector._get_backend

    def with_cpu():
        from lmdeploy.pytorch.devices import get_device_manager
        return CpuOpsBackend if get_device_manager().current_context().device_type == 'cpu' else known()

    selector._get_backend = with_cpu
