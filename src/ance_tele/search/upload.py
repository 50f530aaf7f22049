"""Vectors on their way to a device: through small pinned buffers to a GPU, on a stream of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

PIECE = 1 << 22  # Numbers copied at a time through a buffer: 16 MiB.


@dataclass(frozen=True)
class _Buffer:
    """A buffer of the host, pinned for a GPU, and the event after which it may be written again."""

    numbers: Tensor
    copied: torch.cuda.Event | None


class Upload:
    """Copy arrays to a device.

    A GPU copies asynchronously only from pinned memory, at several times the speed. Pinning takes longer than copying,
    so that two small buffers take turns: one is filled by all threads of the host while the other is on its way.

    Args:
        device: Where to.
        staged: Whether to go through buffers; by default on CUDA devices.
    """

    def __init__(self, device: torch.device, staged: bool | None = None) -> None:
        cuda = device.type == "cuda"
        self.device, self.stream = device, torch.cuda.Stream(device) if cuda else None
        self.buffers = [
            _Buffer(torch.empty(PIECE, pin_memory=cuda), torch.cuda.Event() if cuda else None)
            for _ in range(2 if (cuda if staged is None else staged) else 0)
        ]

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Run what is called in the block on the GPU's stream of the copies."""
        with torch.cuda.stream(self.stream):  # nothing if there is no stream
            yield

    def copy(self, array: np.ndarray) -> Tensor:
        """Return a copy of a float32 array on the device, made on the present stream; by one thread at a time.

        On a CPU without buffers the result shares the array's memory.
        """
        source = torch.from_numpy(np.ascontiguousarray(array))
        if not self.buffers:
            return source.to(self.device)
        target = torch.empty(source.shape, device=self.device)
        pieces = zip(source.reshape(-1).split(PIECE), target.view(-1).split(PIECE), strict=True)
        for number, (piece, there) in enumerate(pieces):
            buffer = self.buffers[number % len(self.buffers)]
            if buffer.copied is not None:
                buffer.copied.synchronize()
            here = buffer.numbers[: len(piece)]
            here.copy_(piece)
            there.copy_(here, non_blocking=True)
            if buffer.copied is not None:
                buffer.copied.record(torch.cuda.current_stream(self.device))
        return target
