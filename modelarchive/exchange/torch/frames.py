"""The calls of a program as a tree of frames, one for each call of a module, and what goes in and out of each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch.fx import Node

from modelarchive.exchange.torch.capturing import Program, calls
from modelarchive.exchange.torch.lifting import CHECKS, word

#: Constants with more elements are arrays of their own.
MAX_LITERAL: Final = 64


@dataclass(eq=False)
class Frame:
    """One call of a module.

    Attributes:
        path: Where the module stands; "" for the network.
        key: What tells this call from others.
        kind: The module's class, in words.
        items: Calls of operators, and frames, in their order.
        externals: Arrays that come from outside, in the order in which they are used.
        results: Arrays that are used outside.
    """

    path: str
    key: str
    kind: str = ""
    items: list[Node | Frame] = field(default_factory=list)
    parent: Frame | None = None
    externals: list[Node] = field(default_factory=list)
    results: list[Node] = field(default_factory=list)

    def frames(self) -> Iterator[Frame]:
        """The frames inside, and this one first."""
        yield self
        for item in self.items:
            if isinstance(item, Frame):
                yield from item.frames()

    def nodes(self) -> Iterator[Node]:
        """The calls of operators inside, in order."""
        for item in self.items:
            if isinstance(item, Frame):
                yield from item.nodes()
            else:
                yield item

    def own(self) -> list[Node]:
        """The calls of operators that stand in no frame inside."""
        return [item for item in self.items if not isinstance(item, Frame)]

    def above(self) -> Iterator[Frame]:
        """This frame and those around it."""
        frame: Frame | None = self
        while frame is not None:
            yield frame
            frame = frame.parent


def fingerprint(value: torch.Tensor) -> str:
    """What tells a constant from others: its dtype, its shape, and its elements or a hash of these."""
    if value.numel() <= MAX_LITERAL:
        return f"{value.dtype} {value.tolist()}"
    elements = value.detach().resolve_conj().resolve_neg().contiguous().view(torch.uint8).numpy()
    return f"{value.dtype} {list(value.shape)} {hashlib.sha256(elements).hexdigest()}"


def is_array(node: Any) -> bool:
    """Whether a call gives an array, or several."""
    value = node.meta.get("val") if isinstance(node, Node) else None
    return isinstance(value, torch.Tensor | tuple | list)


def resolve(program: Program) -> None:
    """Let what works in place take the place of what it changes, for all that comes later."""
    order = {node: at for at, node in enumerate(program.graph.nodes)}
    for node in list(program.graph.nodes):
        if node.op == "call_function" and _changes(node):
            first = node.args[0]
            first.replace_all_uses_with(node, delete_user_cb=lambda user, at=order[node]: order[user] > at)
            program.outputs = [node if each is first else each for each in program.outputs]


def needed(program: Program) -> list[Node]:
    """The calls that the outputs need, in order."""
    wanted: set[Node] = {each for each in program.outputs if isinstance(each, Node)}
    found = []
    for node in reversed(list(program.graph.nodes)):
        if node in wanted and node.op == "call_function":
            found.append(node)
            wanted.update(node.all_input_nodes)
    return found[::-1]


def _changes(node: Node) -> bool:
    target = node.target
    return (
        isinstance(target, torch._ops.OpOverload)
        and target._schema.is_mutable
        and bool(target._schema.arguments[0].alias_info and target._schema.arguments[0].alias_info.is_write)
    )


def framed(nodes: list[Node], root: str) -> Frame:
    """The tree of frames; sizes stand in none.

    Args:
        nodes: The calls in order.
        root: The path of the network in the exported module.
    """
    top = Frame("", "")
    here = [top]
    for node in nodes:
        if not is_array(node) or word(node).startswith(CHECKS):
            continue
        stack = [each for each in calls(node) if each.path != root]
        keys = [each.key for each in stack]
        same = 0
        while same < min(len(keys), len(here) - 1) and here[same + 1].key == keys[same]:
            same += 1
        del here[same + 1 :]
        for each in stack[same:]:
            path = each.path.removeprefix(f"{root}.") if root else each.path
            frame = Frame(path, each.key, each.kind, parent=here[-1])
            here[-1].items.append(frame)
            here.append(frame)
        here[-1].items.append(node)
    return top


def dissolve(frame: Frame) -> None:
    """Put what is in a frame into the one around it."""
    parent = frame.parent
    if parent is None:
        return  # the network itself
    at = parent.items.index(frame)
    parent.items[at : at + 1] = frame.items
    for item in frame.items:
        if isinstance(item, Frame):
            item.parent = parent


def dissolve_foreign(top: Frame, is_part: Callable[[Frame, Frame], bool]) -> None:
    """Let calls of modules that are no parts of the module that calls them be steps of that one.

    A bias that each layer of attention is given, say, or what no module has as a part.

    Args:
        top: The network.
        is_part: Whether the module of a frame is the one of the frame around, or below it.
    """
    for frame in list(top.frames()):
        if frame.parent is not None and not is_part(frame.parent, frame):
            dissolve(frame)


def wire(
    top: Frame,
    outputs: list[Any],
    inputs_of: Callable[[Node], list[Node]],
    is_own: Callable[[Frame, Node], bool],
) -> None:
    """Find what goes in and out of each frame.

    Args:
        top: The network.
        outputs: What it returns.
        inputs_of: What a call needs.
        is_own: Whether a frame has a value by itself: a parameter below its module, a small constant, ...
    """
    home: dict[Node, Frame] = {}
    for frame in top.frames():
        for node in frame.own():
            home[node] = frame
    around = {frame: set(frame.above()) for frame in top.frames()}
    wanted: dict[Frame, dict[Node, None]] = {frame: {} for frame in top.frames()}
    given: dict[Frame, dict[Node, None]] = {frame: {} for frame in top.frames()}

    def used(node: Node, user: Frame) -> None:
        """A value is used in a frame: it goes into all frames around that do not have it."""
        at = home.get(node)
        for each in user.above():
            if (at is not None and each in around[at]) or is_own(each, node):
                break
            wanted[each].setdefault(node)
        for each in at.above() if at is not None else ():
            if each in around[user]:
                break
            given[each].setdefault(node)

    for frame in top.frames():
        for node in frame.own():
            for each in inputs_of(node):
                if is_array(each):
                    used(each, frame)
    for each in outputs:
        if isinstance(each, Node):
            used(each, top)
    for frame in top.frames():
        frame.externals = list(wanted[frame]) if frame is not top else []
        frame.results = list(given[frame])


def signature(frame: Frame, given: Callable[[Node], Any], describe: Callable[[Any], Any]) -> str:
    """What a frame computes, as text that is the same for two frames that compute the same.

    Args:
        frame: The frame, wired.
        given: What a call is given.
        describe: What an argument is that comes from no node of the frame.
    """
    numbers: dict[Node, str] = {node: f"in{at}" for at, node in enumerate(frame.externals)}
    lines = []

    def of(value: Any) -> Any:
        if isinstance(value, Node):
            return numbers.get(value) or describe(value)
        if isinstance(value, tuple | list):
            return [of(item) for item in value]
        if isinstance(value, slice):
            return [of(value.start), of(value.stop), of(value.step)]
        return str(value)

    for at, node in enumerate(frame.nodes()):
        numbers[node] = f"n{at}"
        path = ".".join(each.path for each in calls(node))
        lines.append(f"{path} {node.target} {of(given(node))}")
    lines.append(str([numbers[node] for node in frame.results]))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
