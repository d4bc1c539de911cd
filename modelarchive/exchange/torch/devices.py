"""Devices that tensors go to: which one is meant, whether it is there, and what one thread copies to it through."""

from __future__ import annotations

from typing import Any, Final

import torch

#: Bytes of a buffer that a part of a file is read into before it is copied.
BUFFER: Final = 4 << 20


def device_of(device: Any) -> torch.device:
    """The device that is meant.

    Raises:
        ValueError: PyTorch has no word for it, or it is not there.
    """
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        here = [kind for kind in ("cuda", "xpu", "mps") if _is_there(kind)]
        what = f"{', '.join(here)} and cpu are" if here else "only the CPU is"
        raise ValueError(f"device is {device!r}, and PyTorch finds none of that name here: {what}") from error
    return found


def _is_there(kind: str) -> bool:
    module = getattr(torch, kind, None)
    return module is not None and bool(module.is_available())


def is_elsewhere(device: Any) -> bool:
    """Whether tensors on a device have memory of their own there, which bytes are to be copied to.

    Raises:
        ValueError: As :func:`device_of`.
    """
    return device is not None and device_of(device).type not in ("cpu", "meta")


class Lane:
    """What one thread copies through: two buffers, of which one is filled while the other one is copied.

    Args:
        device: Where the bytes go.
        behind: What is to be over on the device before the first of them comes, see :func:`work_on`.
    """

    def __init__(self, device: torch.device, behind: Any = None) -> None:
        self.device = device
        self._buffers = [self.allocate() for _ in range(2)]
        self._turn = 0

    def allocate(self) -> torch.Tensor:
        """A buffer of :data:`BUFFER` bytes in host memory."""
        return torch.empty(BUFFER, dtype=torch.uint8)

    def buffer(self) -> torch.Tensor:
        """The buffer whose turn it is, once nothing is copied from it any more."""
        self._turn = 1 - self._turn
        self.wait(self._turn)
        return self._buffers[self._turn]

    def copy(self, target: torch.Tensor, part: torch.Tensor) -> None:
        """Begin to copy a part of the buffer whose turn it is."""
        target.copy_(part)

    def copied(self) -> None:
        """All that is to be copied from the buffer whose turn it is was begun."""

    def wait(self, turn: int) -> None:
        """Wait until nothing is copied from one of the buffers any more."""

    def close(self) -> None:
        """Wait for all copies."""
        for turn in range(len(self._buffers)):
            self.wait(turn)


class _CudaLane(Lane):
    """The same through page-locked memory, on a stream of its own."""

    def __init__(self, device: torch.device, behind: Any) -> None:
        super().__init__(device, behind)
        self._stream: Any = torch.cuda.Stream(device)
        # The tensors' memory may have belonged to others, whose work on it may not be done.
        self._stream.wait_stream(behind)
        self._events: list[Any] = [None, None]

    def allocate(self) -> torch.Tensor:
        """A buffer that the device reads by itself."""
        return torch.empty(BUFFER, dtype=torch.uint8, pin_memory=True)

    def copy(self, target: torch.Tensor, part: torch.Tensor) -> None:
        """Begin to copy; the thread goes on meanwhile."""
        with torch.cuda.stream(self._stream):
            target.copy_(part, non_blocking=True)

    def copied(self) -> None:
        """Remember where on the stream this buffer is free again."""
        self._events[self._turn] = self._stream.record_event()

    def wait(self, turn: int) -> None:
        """Wait until the stream has come there."""
        event = self._events[turn]
        if event is not None:
            event.synchronize()


def work_on(device: torch.device) -> Any:
    """The stream that the calling thread has its work on a device in, which other threads do not see; None: none."""
    return torch.cuda.current_stream(device) if device.type == "cuda" else None


def lane_to(device: torch.device, behind: Any) -> Lane:
    """What a thread copies through to a device, behind the work of the thread that has asked for it."""
    return _CudaLane(device, behind) if device.type == "cuda" else Lane(device, behind)
