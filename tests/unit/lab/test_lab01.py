"""What the course does in lab 1 where a student has not yet: the smallest GPU, the interval, the way to an
application."""
from internlm_course.lab.answers import lab01 as planning
from internlm_course.marking import wilson
from internlm_course.model import sizes


def test_smallest_gpu_fits_and_no_smaller_one_would():
    names = [*planning.GPUS, None]
    for config in sizes.released().values():
        chosen = [names.index(planning.smallest_gpu(config, 4, tokens)) for tokens in (1, 10_000, 100_000, 1_000_000)]
        assert chosen == sorted(chosen)
        assert planning.smallest_gpu(config, 16, 10**9) is None


def test_interval_is_wilsons_and_better_needs_a_gap():
    assert planning.interval(0.5, 24) == wilson(12, 24)
    assert planning.better(0.9, 0.1, 100) == 'first' and planning.better(0.1, 0.9, 100) == 'second'
    assert planning.better(0.5, 0.5, 9) == 'undecided'
    assert planning.steps(True, False, True) == ['choose', 'LoRA', 'agent', 'evaluate', 'deploy']
