"""Packed sequences while a module is exported: recurrences go over padded ones, and know how long each is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import torch
from torch.nn.modules.rnn import RNNBase

from modelarchive.exchange.refusal import Refusal

_BY_VALUES: Final = (
    "pad_packed_sequence gives as many steps as the longest sequence has, which depends on values: give it "
    "total_length, x.shape[1] say"
)


class _Lengths:
    """Stands where PyTorch has how many sequences each step has.

    Args:
        lengths: The length of each sequence.
        padded: The sequences ``(steps, batch, features)``.
        data: The same, packed.
    """

    device = torch.device("cpu")

    def __init__(self, lengths: torch.Tensor, padded: torch.Tensor, data: torch.Tensor) -> None:
        self.lengths = lengths
        self._known = [(data, padded)]

    def __getitem__(self, place: int) -> Any:
        return self._known[0][1].shape[1]

    def size(self, axis: int) -> int:
        """How many steps the longest has: nobody knows."""
        return -1

    def padded(self, data: torch.Tensor) -> torch.Tensor:
        """The sequences, padded.

        Raises:
            Refusal: Somebody has computed with what is packed.
        """
        for packed, padded in self._known:
            if packed is data:
                return padded
        raise Refusal("computes with the data of packed sequences: do so before they are packed, or behind unpacking")

    def packed(self, padded: torch.Tensor) -> torch.Tensor:
        """The steps that are there, one after the other."""
        self._known.append((_there(padded, self.lengths), padded))
        return self._known[-1][0]


def _steps(x: torch.Tensor) -> torch.Tensor:
    return torch.arange(x.shape[0], device=x.device)[:, None]


def _there(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    return x[_steps(x) < lengths]


def _pack(x: torch.Tensor, lengths: torch.Tensor, batch_first: bool) -> tuple[torch.Tensor, _Lengths]:
    padded = x.transpose(0, 1) if batch_first else x
    lengths = lengths.to(x.device)
    data = _there(padded, lengths)
    return data, _Lengths(lengths, padded, data)


def _pad(data: torch.Tensor, known: _Lengths, batch_first: bool, value: float, total: int) -> Any:
    padded = known.padded(data)
    if isinstance(total, int) and total < 0:
        found = torch.ops.modelarchive.as_long_as_the_longest(padded)
        return found.transpose(0, 1) if batch_first else found, known.lengths
    if total > padded.shape[0]:  # what is behind the end of a sequence is not seen
        steps = torch.arange(total, device=padded.device)
        padded = padded.index_select(0, torch.minimum(steps, known.lengths.max() - 1))
    found = torch.where((_steps(padded) < known.lengths)[..., None], padded, value)
    return found.transpose(0, 1) if batch_first else found, known.lengths


def _recurrence(plain: Callable[..., Any], states: int) -> Callable[..., Any]:
    """A function of ``torch._VF`` that takes packed sequences too."""

    def run(*given: Any) -> Any:
        if not isinstance(given[1], _Lengths):
            return plain(*given)
        data, known, hx, weights, has_biases, layers, _, _, both = given
        x, lengths = known.padded(data), known.lengths
        each = len(weights) // (layers * (2 if both else 1))
        before = list(hx) if states == 2 else [hx]
        last: list[list[torch.Tensor]] = [[] for _ in range(states)]
        for layer in range(layers):
            outputs = []
            for way in range(2 if both else 1):
                at = layer * (2 if both else 1) + way
                own = [each_state[at : at + 1] for each_state in before]
                mine = weights[at * each : (at + 1) * each]
                given_x = _turned(x, lengths) if way else x
                found = plain(
                    given_x, tuple(own) if states == 2 else own[0], mine, has_biases, 1, 0.0, False, False, False
                )
                outputs.append(_turned(found[0], lengths) if way else found[0])
                for number, state in enumerate(_ends(found, lengths)):
                    last[number].append(state)
            x = torch.cat(outputs, -1) if both else outputs[0]
        return known.packed(x), *(torch.cat(each_state) for each_state in last)

    return run


def _turned(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Each sequence from its end to its beginning; what is behind the end stays."""
    steps = _steps(x)
    places = torch.where(steps < lengths, lengths - 1 - steps, steps)
    return x.gather(0, places[..., None].expand(x.shape))


def _ends(found: Sequence[torch.Tensor], lengths: torch.Tensor) -> list[torch.Tensor]:
    """The states at the end of each sequence, ``(1, batch, features)``: outputs; of cells nothing is known there."""
    output, _, *cells = found
    places = (lengths - 1)[None, :, None].expand(1, output.shape[1], output.shape[2])
    return [output.gather(0, places), *(torch.ops.modelarchive.cells_at_the_end(each) for each in cells)]


def cells_at_the_end(context: Any, x: Any, **ignored: Any) -> Any:
    """The row of what stands for cells that are not known.

    Raises:
        Refusal: Always: something uses them.
    """
    raise Refusal(
        "the cells of an LSTM at the end of packed sequences: use its outputs or its state h, or a GRU, or sequences "
        "of one length"
    )


def as_long_as_the_longest(context: Any, x: Any, **ignored: Any) -> Any:
    """What stands for sequences of as many steps as the longest has.

    Raises:
        Refusal: Always: something uses them.
    """
    raise Refusal(_BY_VALUES)


_LIBRARY: Final = torch.library.Library("modelarchive", "FRAGMENT")
for _name in ("cells_at_the_end", "as_long_as_the_longest"):
    _LIBRARY.define(f"{_name}(Tensor x) -> Tensor")
    _LIBRARY.impl(_name, torch.Tensor.clone, "CompositeExplicitAutograd")

_WITH_STATES: Final = {"lstm": 2, "gru": 1, "rnn_tanh": 1, "rnn_relu": 1}


@contextlib.contextmanager
def padded_sequences() -> Iterator[None]:
    """Packing gives what is padded, with its lengths, and recurrences and unpacking take it."""
    functions: Any = torch._VF
    replaced: dict[str, Any] = {"_pack_padded_sequence": _pack, "_pad_packed_sequence": _pad}
    replaced |= {name: _recurrence(getattr(functions, name), states) for name, states in _WITH_STATES.items()}
    expected = RNNBase.get_expected_hidden_size

    def size(self: Any, x: torch.Tensor, batch_sizes: Any) -> Any:
        if not isinstance(batch_sizes, _Lengths):
            return expected(self, x, batch_sizes)
        ways = 2 if self.bidirectional else 1
        return self.num_layers * ways, batch_sizes[0], self.proj_size or self.hidden_size

    before = dict(vars(functions))
    try:
        vars(functions).update(replaced)
        RNNBase.get_expected_hidden_size = size
        yield
    finally:
        RNNBase.get_expected_hidden_size = expected
        for name in replaced:
            vars(functions).pop(name)
        vars(functions).update(before)
