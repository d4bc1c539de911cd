"""How recurrences are lifted that no kind says: step by step, of which there have to be a known number."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from modelarchive.exchange import budget
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.refusal import Refusal

#: Steps that are written out.
_MAX_STEPS: Final = 512

#: Rows times a matrix; of the recurrent one, times some of its gates: the first one, and the one behind the last.
Product: TypeAlias = Callable[[Ref], Ref]
Recurrent: TypeAlias = Callable[[Ref, int, int], Ref]

#: Activations of ONNX that are one of the vocabulary's.
_PLAIN: Final = {"sigmoid": "sigmoid", "tanh": "tanh", "relu": "relu", "softsign": "softsign", "softplus": "softplus"}
#: Those that take numbers -> alpha and beta where the file does not say: nan: it has to; None: it takes no such.
_WITH_NUMBERS: Final[dict[str, tuple[float, float | None]]] = {
    "affine": (math.nan, math.nan),
    "scaledtanh": (math.nan, math.nan),
    "hardsigmoid": (0.2, 0.5),
    "leakyrelu": (0.01, None),
    "thresholdedrelu": (math.nan, None),
    "elu": (1.0, None),
}
#: The gates of each recurrence, and its activations where the file does not say.
_KINDS: Final = {
    "RNN": (1, ("Tanh",)),
    "GRU": (3, ("Sigmoid", "Tanh")),
    "LSTM": (4, ("Sigmoid", "Tanh", "Tanh")),
}


@dataclass(frozen=True)
class _Cell:
    """One direction of a recurrence.

    Attributes:
        context: The operator.
        recurrent: The product with the states.
        functions: Its activations.
        biases: What is added to the recurrent products of each gate; None: nothing.
        peepholes: What the cell is multiplied with for the gates i, o and f; none: they do not see it.
    """

    context: Context
    recurrent: Recurrent
    functions: Sequence[Callable[[Ref], Ref]]
    biases: Sequence[Ref] | None
    peepholes: Sequence[Ref]

    def add(self, *refs: Ref) -> Ref:
        return self.context.all_of("add", refs)

    def times(self, one: Ref, two: Ref) -> Ref:
        return self.context.op("multiply", one, two)

    def rest(self, ref: Ref) -> Ref:
        """1 less a gate."""
        one = self.context.literal(1, str(self.context.known_of(ref).array_dtype))
        return self.context.op("subtract", one, ref)

    def rnn(self, now: Ref, h: Ref) -> tuple[Ref, ...]:
        bias = () if self.biases is None else (self.biases[0],)
        return (self.functions[0](self.add(now, self.recurrent(h, 0, 1), *bias)),)

    def gru(self, now: Ref, h: Ref) -> tuple[Ref, ...]:
        """Update, reset and new gate."""
        z, r, n = self.context.op("split", now, sizes=3, axis=1).parts(3)
        both = self.context.op("split", self.recurrent(h, 0, 2), sizes=2, axis=1).parts(2)
        z, r = (self.add(gate, part) for gate, part in zip((z, r), both, strict=True))
        last = () if self.biases is None else (self.biases[2],)
        if self.biases is not None:
            z, r = self.add(z, self.biases[0]), self.add(r, self.biases[1])
        z, r = self.functions[0](z), self.functions[0](r)
        if self.context.node.flag("linear_before_reset", default=False):
            inner = self.times(r, self.add(self.recurrent(h, 2, 3), *last))
        else:
            inner = self.add(self.recurrent(self.times(r, h), 2, 3), *last)
        new = self.functions[1](self.add(n, inner))
        return (self.add(self.times(self.rest(z), new), self.times(z, h)),)

    def lstm(self, now: Ref, h: Ref, c: Ref) -> tuple[Ref, ...]:
        """Input, output, forget and cell gate."""
        now = self.add(now, self.recurrent(h, 0, 4))
        if self.biases is not None:
            now = self.add(now, self.context.op("concatenate", *self.biases, axis=0))
        i, o, f, g = self.context.op("split", now, sizes=4, axis=1).parts(4)
        if self.peepholes:
            i, f = self.add(i, self.times(self.peepholes[0], c)), self.add(f, self.times(self.peepholes[2], c))
        i = self.functions[0](i)
        coupled = self.context.node.flag("input_forget", default=False)
        f = self.rest(i) if coupled else self.functions[0](f)
        c = self.add(self.times(f, c), self.times(i, self.functions[1](g)))
        if self.peepholes:
            o = self.add(o, self.times(self.peepholes[1], c))
        # The cell itself is not held down: as ONNX Runtime does.
        return self.times(self.functions[0](o), self.functions[2](c)), c


def by_steps(context: Context, kind: str, products: Callable[[int], tuple[Product, Recurrent]]) -> tuple[Ref, ...]:
    """The results of an operator: all states, the last one, and of an LSTM the last cell.

    Args:
        context: The operator, whose inputs are in the order of ONNX's LSTM.
        kind: "RNN", "GRU" or "LSTM".
        products: Makes the products of one direction, with the input and with the states.
    """
    node, (gates, _) = context.node, _KINDS[kind]
    direction, is_last = node.text("direction", "forward"), node.flag("layout", default=False)
    if direction not in ("forward", "reverse", "bidirectional") or context.rank(0) != 3:
        raise Refusal(f"direction = {direction!r} over {context.rank(0)} axes is not supported")
    count = 2 if direction == "bidirectional" else 1
    steps, hidden = context.shape(0)[1 if is_last else 0], node.integer("hidden_size")
    if steps is None or not 1 <= steps <= _MAX_STEPS or hidden < 1:
        raise Refusal(
            f"{node.op} over {steps or 'a free number of'} steps is not supported, only over 1 to {_MAX_STEPS}, fixed, "
            f"which are written out: pass inputs="
        )
    x = context.op("transpose", context.ref(0), axes=[1, 0, 2]) if is_last else context.ref(0)
    functions = _functions(context, kind, count)
    runs = []
    for place in range(count):
        of_input, recurrent = products(place)
        now, biases = of_input(x), None
        if context.has(3):
            parts = context.op("split", _of(context, 3, place), sizes=2 * gates, axis=0).parts(2 * gates)
            own = parts[0] if gates == 1 else context.op("concatenate", *parts[:gates], axis=0)
            now, biases = context.op("add", now, own), parts[gates:]
        peepholes = context.op("split", _of(context, 7, place), sizes=3, axis=0).parts(3) if context.has(7) else ()
        cell = _Cell(context, recurrent, functions[place], biases, peepholes)
        states = _first(context, x, place, hidden, 2 if kind == "LSTM" else 1, is_last=is_last)
        backwards = direction == "reverse" or place == 1
        runs.append(_run(cell, getattr(cell, kind.lower()), now, states, steps, backwards=backwards))
    results = [context.op("stack", *(run[0] for run in runs), axis=1)]
    results += [context.op("stack", *each, axis=0) for each in zip(*(run[1:] for run in runs), strict=True)]
    if is_last:
        turned = [[2, 0, 1, 3], *[[1, 0, 2]] * (len(results) - 1)]
        results = [context.op("transpose", ref, axes=axes) for ref, axes in zip(results, turned, strict=True)]
    return tuple(results)


def _of(context: Context, index: int, place: int) -> Ref:
    """What an input has for one direction."""
    return context.op("slice", context.ref(index), index=[place])


def _first(context: Context, x: Ref, place: int, hidden: int, count: int, *, is_last: bool) -> list[Ref]:
    """The states before the first step: given, or zeros."""
    row, dtype = context.op("slice", x, index=[0]), context.dtype(0)
    found = []
    for index in range(5, 5 + count):
        if context.has(index):
            at: list[Any] = [[None, None, None], place] if is_last else [place]
            found.append(context.op("slice", context.ref(index), index=at))
        else:
            found.append(context.op("broadcast_to", context.literal(0, dtype), row, shape=[None, hidden]))
    return found


def _run(
    cell: _Cell, step: Callable[..., tuple[Ref, ...]], now: Ref, states: list[Ref], count: int, *, backwards: bool
) -> tuple[Ref, ...]:
    """All states of one direction, (steps, batch, hidden), and the last ones."""
    context, kept = cell.context, []
    lengths = context.as_dtype(context.ref(4), "int64") if context.has(4) else None
    zero = context.literal(0, context.dtype(0))
    for at in reversed(range(count)) if backwards else range(count):
        budget.spend(f"{context.node.op} {context.name!r}", steps=8)
        new = list(step(context.op("slice", now, index=[at]), *states))
        shown = new[0]
        if lengths is not None:
            # A sequence that is shorter keeps its state, and shows zeros; backwards it begins at its own end.
            inside = context.op("less", context.literal(at, "int64"), lengths)
            inside = context.op("expand_dims", inside, axis=[1])
            shown = context.op("where", inside, shown, zero)
            new = [context.op("where", inside, one, two) for one, two in zip(new, states, strict=True)]
        states = new
        kept.append(shown)
    return context.op("stack", *(kept[::-1] if backwards else kept), axis=0), *states


def _functions(context: Context, kind: str, count: int) -> list[list[Callable[[Ref], Ref]]]:
    """The activations of each direction; alpha and beta go to those that take them, in their order."""
    node, default = context.node, _KINDS[kind][1]
    names = node.texts("activations", list(default) * count)
    clip = node.number("clip", None)
    numbers = [iter(list(node.numbers(f"activation_{each}", None) or ())) for each in ("alpha", "beta")]
    if len(names) != len(default) * count:
        raise Refusal(f"{node.op} with {len(names)} activations in {count} directions is not supported")
    size = len(default)
    # The cell is not held down.
    clips = ([clip] * size if kind != "LSTM" else [clip, clip, None]) * count
    found = [_function(context, name, numbers, own) for name, own in zip(names, clips, strict=True)]
    return [found[size * place : size * (place + 1)] for place in range(count)]


def _function(
    context: Context, name: str, numbers: Sequence[Iterator[float]], clip: float | None
) -> Callable[[Ref], Ref]:
    plain, dtype = name.lower(), context.dtype(0)
    if plain in _WITH_NUMBERS:
        alpha, beta = (
            None if own is None else float(next(given, own))
            for own, given in zip(_WITH_NUMBERS[plain], numbers, strict=True)
        )
        if alpha != alpha or beta != beta:
            raise Refusal(f"{context.node.op} with the activation {name!r} without its numbers is not supported")
    elif plain not in _PLAIN:
        raise Refusal(f"{context.node.op} with the activation {name!r} is not supported")

    def applied(ref: Ref) -> Ref:
        if clip is not None:
            ref = context.op("clip", ref, low=-clip, high=clip)
        if plain in _PLAIN:
            return context.activation(_PLAIN[plain], ref)
        if plain in ("leakyrelu", "elu"):
            return context.activation("leaky_relu" if plain == "leakyrelu" else "elu", ref, alpha)
        if plain == "thresholdedrelu":
            over = context.op("greater", ref, context.literal(alpha, dtype))
            return context.op("where", over, ref, context.literal(0, dtype))
        if plain == "scaledtanh":
            inner = context.activation("tanh", context.op("multiply", context.literal(beta, dtype), ref))
            return context.op("multiply", context.literal(alpha, dtype), inner)
        scaled = context.op("multiply", context.literal(alpha, dtype), ref)
        scaled = context.op("add", scaled, context.literal(beta, dtype))
        return scaled if plain == "affine" else context.op("clip", scaled, low=0, high=1)

    return applied
