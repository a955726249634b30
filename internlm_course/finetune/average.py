"""The mean of a run's last weights, for XTuner."""
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner


class AverageLastWeights(Hook):
    """Leaves the model with the mean of the trained weights over its last steps (stochastic weight averaging,
    arXiv:1803.05407): a step of few sequences ends somewhere beside the point that it is drawn to, their mean nearer to
    it.

    mmengine's EMAHook keeps a copy of the whole model, and cannot save one whose state holds adapters alone.

    Args:
        begin: the iteration whose weights are the first of the mean.
    """
    priority = 'NORMAL'  # before CheckpointHook, which is VERY_LOW

    def __init__(self, begin: int):
        self.begin, self.count = begin, 0
        self.mean: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: object = None):
        if runner.iter < self.begin:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.count += 1
        for name, weight in trained.items():
            self.mean.setdefault(name, torch.zeros_like(weight)).lerp_(weight, 1 / self.count)
        if runner.iter == runner.max_iters - 1:
            for name, weight in trained.items():
                weight.copy_(self.mean[name])

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """A killed run goes on with the mean so far."""
        checkpoint['average'] = dict(count=self.count, mean=self.mean)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if saved := checkpoint.get('average'):
            self.count, self.mean = saved['count'], saved['mean']
