"""Bytes of weights, KV cache and AdamW's states, on the released shapes."""
from internlm_course.model import sizes
from internlm_course.model.checkpoint import parameter_count


def test_sizes_of_the_released_models():
    """Parameters and KV bytes a token of 1.8B, 7B, 20B: arithmetic on the report's table 3."""
    shapes = sizes.released()
    assert ({name: parameter_count(config) for name, config in shapes.items()}
            == {'1_8b': 1_889_110_016, '7b': 7_737_708_544, '20b': 19_861_149_696})
    assert [sizes.kv_bytes(config, 1) for config in shapes.values()] == [98_304, 131_072, 196_608]
    for config in shapes.values():
        assert sizes.weight_bytes(config) == 2 * parameter_count(config)
        assert sizes.adamw_bytes(config) == 12 * parameter_count(config)
        assert sizes.kv_bytes(config, 8, bits=8) * 2 == sizes.kv_bytes(config, 8)
