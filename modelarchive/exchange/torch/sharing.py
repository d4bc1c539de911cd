"""What several processes share: a group to agree in, and the parts of distributed tensors that each of them has."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
import torch.distributed as dist

from modelarchive.errors import UnsupportedDataError
from modelarchive.store.contents import Piece


class Group:
    """The processes of a run, which agree over the CPU and apart from what training exchanges.

    Args:
        group: A process group of PyTorch's; True: all processes.

    Attributes:
        rank: The number of this process.
        size: How many there are.
    """

    def __init__(self, group: Any) -> None:
        ranks = None if group is True else dist.get_process_group_ranks(group)
        self._group = dist.new_group(ranks, backend="gloo")
        self.rank = dist.get_rank(self._group)
        self.size = dist.get_world_size(self._group)

    def gathered(self, value: Any) -> list[Any]:
        """What each process gives, by rank: all of them have come to this point."""
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value, group=self._group)
        return found

    def told(self, value: Any) -> Any:
        """What the first process gives."""
        return self.gathered(value)[0]


class _Local(NamedTuple):
    """The part of a tensor that this process has.

    Attributes:
        tensor: The part.
        piece: Its place in the whole; None: it is the whole.
        is_own: Whether this process is the one that saves it: others may have the same.
        is_everywhere: Whether all processes are in the tensor's mesh. Where they are not, those of another mesh may
            have the same and save it, too.
    """

    tensor: torch.Tensor
    piece: Piece | None
    is_own: bool
    is_everywhere: bool


def local(tensor: torch.Tensor) -> _Local | None:
    """The part of a distributed tensor; None of a tensor of any other kind."""
    from torch.distributed.tensor import DTensor
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    if not isinstance(tensor, DTensor):
        return None
    part = tensor.detach().to_local()
    mesh, placements = tensor.device_mesh, tensor.placements
    _, offsets = compute_local_shape_and_global_offset(tensor.shape, mesh, placements)
    coordinate = mesh.get_coordinate()
    if any(each.is_partial() for each in placements):
        what = "holds a part of a sum on each process; redistribute() it first"
        raise UnsupportedDataError([(f"a DTensor of shape {tuple(tensor.shape)}", what)], hint="nothing was written")
    # Not is_shard(), which knows nothing of shards in turns (FSDP2 over tensor parallelism).
    is_own = coordinate is not None and all(
        at == 0 or not each.is_replicate() for at, each in zip(coordinate, placements, strict=True)
    )
    is_everywhere = mesh.size() == dist.get_world_size()
    shape = tuple(tensor.shape)
    if tuple(part.shape) == shape:
        return _Local(part, None, is_own, is_everywhere)
    # A part without elements may say that it begins behind the end.
    begins = tuple(min(at, size) for at, size in zip(offsets, shape, strict=True))
    return _Local(part, Piece(begins, shape), is_own, is_everywhere)


def shared(part: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A distributed tensor of a part, divided as another one is."""
    from torch.distributed.tensor import DTensor

    whole = cast("DTensor", like)
    mesh, placements = whole.device_mesh, whole.placements
    return DTensor.from_local(part, mesh, placements, run_check=False, shape=like.shape, stride=like.stride())
