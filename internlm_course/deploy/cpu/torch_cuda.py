"""CUDA-shaped stand-ins: LMDeploy's engine asks for streams, events and device='cuda' on every device, so on a CPU they
must answer.

On a CPU work is done when the call returns: a stream orders nothing and an event has always happened.
"""
import contextlib
import functools
from types import SimpleNamespace

import psutil
import torch

FACTORIES = ['empty', 'zeros', 'ones', 'full', 'arange', 'tensor', 'rand', 'randn', 'randint', 'as_tensor',
             'empty_like', 'zeros_like', 'ones_like', 'full_like', 'linspace', 'eye']


class Event:
    """A `torch.cuda.Event` that has already happened."""

    def __init__(self, *args, **kwargs): pass
    def record(self, stream=None): pass
    def wait(self, stream=None): pass
    def query(self) -> bool: return True
    def synchronize(self): pass
    def elapsed_time(self, other) -> float: return 0.0


class Stream:
    """A `torch.cuda.Stream` on which everything is done in order already."""

    def __init__(self, *args, **kwargs): pass
    def wait_event(self, event): pass
    def wait_stream(self, stream): pass
    def query(self) -> bool: return True
    def synchronize(self): pass
    def record_event(self, event=None): return event or Event()
    def __enter__(self): return self
    def __exit__(self, *exc): return False


def on_cpu(device):
    """The CPU where a CUDA device is named, else the device as it is."""
    if isinstance(device, str) and device.startswith('cuda'):
        return 'cpu'
    if isinstance(device, torch.device) and device.type == 'cuda':
        return torch.device('cpu')
    return device


def free_memory(device=None) -> tuple[int, int]:
    """(available, total) bytes of the computer's memory, as `torch.cuda.mem_get_info` says it of a GPU's."""
    memory = psutil.virtual_memory()
    return memory.available, memory.total


def redirect(function):
    """The same tensor function, which takes `device='cuda'` and `pin_memory=True` to mean plain memory."""
    @functools.wraps(function)
    def call(*args, **kwargs):
        if 'device' in kwargs:
            kwargs['device'] = on_cpu(kwargs['device'])
        if kwargs.get('pin_memory'):
            kwargs['pin_memory'] = False
        return function(*args, **kwargs)
    return call


def move(to):
    """`Tensor.to` and `Module.to`, whose device may also be positional."""
    @functools.wraps(to)
    def call(self, *args, **kwargs):
        if 'device' in kwargs:
            kwargs['device'] = on_cpu(kwargs['device'])
        return to(self, *map(on_cpu, args), **kwargs)
    return call


def install() -> None:
    """Puts the stand-ins into torch, for every thread of this process (a TorchFunctionMode would cover one thread
    only)."""
    default = Stream()
    stand_ins = SimpleNamespace(
        Stream=Stream, Event=Event, current_stream=lambda *a, **k: default,
        stream=lambda stream: contextlib.nullcontext(),
        synchronize=lambda *a, **k: None, empty_cache=lambda: None, current_device=lambda: 'cpu',
        device_count=lambda: 1, set_device=lambda *a: None, mem_get_info=free_memory)
    for name, value in vars(stand_ins).items():
        setattr(torch.cuda, name, value)
    torch.Tensor.cuda = lambda self, *a, **k: self
    torch.Tensor.record_stream = lambda self, stream: None
    torch.Tensor.pin_memory = lambda self, *a, **k: self
    torch.Tensor.to, torch.nn.Module.to = move(torch.Tensor.to), move(torch.nn.Module.to)
    for name in FACTORIES:
        setattr(torch, name, redirect(getattr(torch, name)))
