"""Many processes as one: the world that torchrun starts, FSDP2 over it, and checkpoints that a world of any other size
goes on from.

A process that torchrun did not start is a world of its own: nothing is split or sent, and the same calls do the same
things.
"""
import json
import os
import shutil
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist

from internlm_course.model import InternLM2ForCausalLM

RECORD = 'record.json'


@dataclass
class World:
    """The processes that train one model together. Made by `World.open`."""
    device: torch.device
    rank: int = 0
    size: int = 1
    mesh: dist.DeviceMesh | None = None
    """All ranks in one dimension; None for a process alone."""
    group: dist.ProcessGroup | None = None
    """Carries the checkpoints' messages beside the training's own."""
    _writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, 'checkpoint'))
    _pending: Future | None = None

    @classmethod
    def open(cls, device: str | None = None) -> 'World':
        """Joins the processes that torchrun started, on NCCL or gloo; without torchrun, this process alone."""
        device = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        if not dist.is_available() or not dist.is_torchelastic_launched() or int(os.environ['WORLD_SIZE']) == 1:
            return cls(device)
        if device.type == 'cuda':
            device = torch.device('cuda', int(os.environ['LOCAL_RANK']))
            torch.cuda.set_device(device)
        if not dist.is_initialized():
            dist.init_process_group('cpu:gloo,cuda:nccl' if device.type == 'cuda' else 'gloo')
        mesh = dist.init_device_mesh(device.type, (dist.get_world_size(),))
        return cls(device, dist.get_rank(), dist.get_world_size(), mesh, dist.new_group(backend='gloo'))

    def shard(self, model: InternLM2ForCausalLM) -> InternLM2ForCausalLM:
        """Moves the model to the device; among many, each keeps 1/size of every matrix (FSDP2), and rank 0 gives out
        the values.

        The other ranks may bring a model on the meta device. On a GPU, weights and activations travel as bf16 and
        gradients as fp32.
        """
        if self.size == 1:
            return model.to(self.device)
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
        weights = model.state_dict() if self.rank == 0 else {}
        model = model.to('meta')
        policy = (MixedPrecisionPolicy(torch.bfloat16, torch.float32) if self.device.type == 'cuda'
                  else MixedPrecisionPolicy())
        for layer in model.model.layers:
            fully_shard(layer, mesh=self.mesh, mp_policy=policy)
        fully_shard(model, mesh=self.mesh, mp_policy=policy)
        model.to_empty(device=self.device)
        set_model_state_dict(model, weights, options=StateDictOptions(full_state_dict=True, broadcast_from_rank0=True))
        return model

    def gather(self, model: InternLM2ForCausalLM) -> InternLM2ForCausalLM | None:
        """The whole model on rank 0, None on the others."""
        if self.size == 1:
            return model
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
        weights = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
        if self.rank:
            return None
        with torch.device('meta'):
            whole = InternLM2ForCausalLM(model.config)
        whole.load_state_dict(weights, assign=True)
        return whole

    def share(self, rows: torch.Tensor) -> torch.Tensor:
        """This rank's part of a step's rows [rows, …]."""
        return rows[self.rank::self.size]

    def mean(self, value: torch.Tensor | float) -> float:
        """The mean of a number over the ranks, the same on each."""
        if self.size == 1:
            return float(value)
        value = torch.as_tensor(value, dtype=torch.float32, device=self.device).clone()
        dist.all_reduce(value)
        return value.item() / self.size

    def barrier(self) -> None:
        """Waits until every rank is here."""
        if self.size > 1:
            dist.barrier(self.group)

    def save(self, folder: Path, step: int, model: torch.nn.Module, optimizer: torch.optim.Optimizer,
             record: dict) -> None:
        """Copies the state aside and writes it while the training goes on; the one before must be on disk first.

        It appears as `folder/state-<step>` by a rename, whole or not at all, with `record` as JSON in it; then older
        ones are removed.
        """
        self.wait()
        import torch.distributed.checkpoint as dcp
        from torch.distributed.checkpoint.state_dict import get_state_dict
        weights, moments = get_state_dict(model, optimizer)
        final = folder / f'state-{step:09d}'
        partial = final.with_suffix('.partial')
        _hush()
        written = dcp.async_save(dict(model=weights, optimizer=moments), checkpoint_id=partial,
                                 process_group=self.group)

        def publish() -> None:
            written.result()
            if self.rank == 0:
                (partial / RECORD).write_text(json.dumps(record), 'utf-8')
                os.replace(partial, final)
                for older in folder.glob('state-*'):
                    if older != final:
                        shutil.rmtree(older)
        self._pending = self._writer.submit(publish)

    def wait(self) -> None:
        """Waits until the last checkpoint is on disk.

        Raises:
            OSError: it could not be written.
        """
        pending, self._pending = self._pending, None
        if pending is None:
            return
        from torch.distributed.checkpoint import CheckpointException
        try:
            pending.result()
        except CheckpointException as error:
            raise next(iter(error.failures.values()))[0] from None

    def load(self, folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict | None:
        """Takes over the last whole state in `folder`, written by a world of any size; returns its record, None where
        there is none."""
        if self.rank == 0:
            for partial in folder.glob('state-*.partial'):
                shutil.rmtree(partial)
        self.barrier()
        states = sorted(folder.glob('state-*'))
        if not states:
            return None
        import torch.distributed.checkpoint as dcp
        from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
        weights, moments = get_state_dict(model, optimizer)
        _hush()
        dcp.load(dict(model=weights, optimizer=moments), checkpoint_id=states[-1], process_group=self.group)
        set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=moments)
        return json.loads((states[-1] / RECORD).read_text('utf-8'))

    def clear(self, folder: Path) -> None:
        """Removes the states of a phase that is done."""
        self.wait()
        self.barrier()
        if self.rank == 0:
            for state in folder.glob('state-*'):
                shutil.rmtree(state)


def _hush() -> None:
    """Silences what torch's checkpoints say of a process alone and of themselves, from now on: they say it in threads
    of their own."""
    for message in ('torch.distributed is disabled', 'TypedStorage is deprecated'):
        warnings.filterwarnings('ignore', message)
