"""How operations are lifted that take tensors apart."""

from __future__ import annotations

from typing import Final

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.lifting_context import Context, Lift
from modelarchive.exchange.keras.lifting_ops import one
from modelarchive.exchange.keras.lifting_ordering import known_size
from modelarchive.exchange.keras.row import Lifting, operation
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short


def _apart(axis: int | None, *, evenly: bool) -> Lift:
    """Hsplit, Vsplit, Dsplit along an axis of theirs, and ArraySplit, whose parts may differ by one."""

    def lift(context: Context) -> list[Ref]:
        x, wanted = one(context), context.config.value("indices_or_sections")
        along = context.config.integer("axis", 0) if axis is None else axis
        along = 0 if axis == 1 and context.rank(x) == 1 else along
        if type(wanted) is int and evenly:
            return context.ops("split", x, sizes=wanted, axis=along)
        if type(wanted) is int:
            size = known_size(context, x, along)
            if not 1 <= wanted <= size:
                raise Refusal(f"{wanted} parts of {size} elements are not supported")
            long = size % wanted
            sizes = [size // wanted + (at < long) for at in range(wanted)]
            return context.ops("split", x, sizes=sizes, axis=along)
        if not isinstance(wanted, list) or any(type(place) is not int or place < 0 for place in wanted):
            raise Refusal(f"indices_or_sections = {short(wanted)} are no places")
        sizes = [end - begin for begin, end in zip([0, *wanted], wanted, strict=False)]
        return context.ops("split", x, sizes=[*sizes, -1], axis=along)

    return lift


#: Operations that take apart.
ROWS: Final[tuple[Lifting, ...]] = (
    operation("ArraySplit", "split", _apart(None, evenly=False), "of known sizes"),
    operation("Hsplit", "split", _apart(1, evenly=True)),
    operation("Vsplit", "split", _apart(0, evenly=True)),
    operation("Dsplit", "split", _apart(2, evenly=True)),
)
