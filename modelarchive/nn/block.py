"""Blocks: networks built from blocks, whose attributes are their children and parameters."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from modelarchive import markup, names
from modelarchive.errors import ParameterError
from modelarchive.nn.calling import run
from modelarchive.nn.parameter import Parameter, as_dtype, dtype_name, shape_text, unify
from modelarchive.nn.recording import RECORDER
from modelarchive.nn.summary import table

Patterns = str | Iterable[str] | None
_REGISTRIES = ("_children", "_parameters")
#: What people ask a network for that only another framework's has -> the backend that gives one.
_ELSEWHERE: Final = dict.fromkeys(
    ("to", "eval", "train", "cuda", "cpu", "half", "float", "state_dict", "load_state_dict", "named_parameters"),
    "torch",
) | dict.fromkeys(("predict", "fit", "compile", "evaluate", "get_layer", "layers", "get_weights", "weights"), "keras")


class Block:
    """A part of a network: assign blocks and parameters to attributes, and write ``forward``.

    ::

        class MLP(nn.Block):
            def __init__(self):
                super().__init__()
                self.hidden = nn.Dense(256, activation="relu")
                self.output = nn.Dense(10)

            def forward(self, x):
                return self.output(self.hidden(x))

    Structural names follow the attributes: ``hidden.weight``.
    """

    _children: dict[str, Block]
    _parameters: dict[str, Parameter]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Make the registries first, so that a forgotten ``super().__init__()`` does no harm."""
        block = super().__new__(cls)
        block.__dict__.update(_children={}, _parameters={})
        return block

    def __init__(self) -> None:
        """Take no arguments."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Register blocks and parameters under their attribute's name."""
        recorder = RECORDER.get()
        if recorder is not None:
            recorder.changes(self, f"self.{name} = ...")
        if isinstance(value, (Block, Parameter)):
            self._register(name, value)
        elif name in self._children or name in self._parameters:
            self._children.pop(name, None)
            self._parameters.pop(name, None)
        object.__setattr__(self, name, value)

    if not TYPE_CHECKING:  # which would take every name for one that is there

        def __getattr__(self, name: str) -> Any:
            """Say of what PyTorch's and Keras' networks have, and these have not, which backend gives it."""
            backend = _ELSEWHERE.get(name)
            way = f": it computes in NumPy; load_model(path, backend={backend!r}) gives one that has" if backend else ""
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{way}", name=name, obj=self)

    def _register(self, name: str, value: Block | Parameter) -> None:
        problem = names.problem_with_part(name)
        if problem is not None:
            raise AttributeError(f"{type(self).__name__}: {problem}")
        if hasattr(Block, name) or name in _REGISTRIES:
            raise AttributeError(f"{type(self).__name__}: {name!r} is an attribute of every block, choose another")
        if isinstance(value, Block):
            if value is self:
                raise ValueError(f"{type(self).__name__}: a block cannot be its own child ({name!r})")
            self._parameters.pop(name, None)
            self._children[name] = value
            return
        present = self._parameters.get(name)
        if present is not None and present is not value:
            unify(name, present, value)
        value.name = value.name or name
        self._children.pop(name, None)
        self._parameters[name] = value

    def adopt(self, name: str, value: Block | Parameter) -> None:
        """Register under a name of an architecture, which need not make a good attribute ("forward", "0").

        It becomes an attribute too, unless that would hide one that the block needs.
        """
        taken = name in vars(self) and name not in self._children and name not in self._parameters
        if not taken and not hasattr(type(self), name):
            setattr(self, name, value)
        elif isinstance(value, Block):
            self._children[name] = value
        else:
            value.name = value.name or name
            self._parameters[name] = value

    def __delattr__(self, name: str) -> None:
        """Remove an attribute together with its registration."""
        recorder = RECORDER.get()
        if recorder is not None:
            recorder.changes(self, f"del self.{name}")
        self._children.pop(name, None)
        self._parameters.pop(name, None)
        object.__delattr__(self, name)

    @property
    def children(self) -> dict[str, Block]:
        """The direct children by attribute, in the order of their first assignment (a copy)."""
        return dict(self._children)

    @property
    def parameters(self) -> dict[str, Parameter]:
        """This block's own parameters by attribute (a copy)."""
        return dict(self._parameters)

    def named_blocks(self, prefix: str = "") -> Iterator[tuple[str, Block]]:
        """This block and all below it, each before its children, as (dotted path, block).

        A block that stands at several places comes once for each.

        Raises:
            ValueError: A block contains itself, or more than 64 are nested.
        """
        stack: list[tuple[str, Block, int]] = [(prefix, self, 1)]
        while stack:
            path, block, depth = stack.pop()
            if depth > names.MAX_PARTS:
                raise ValueError(f"{type(self).__name__}: blocks nest deeper than {names.MAX_PARTS} at {path[:80]}")
            yield path, block
            stack += [
                (f"{path}.{name}" if path else name, child, depth + 1)
                for name, child in reversed(block._children.items())
            ]

    def collect_params(self, select: Patterns = None) -> dict[str, Parameter]:
        """The parameters of this block and all below it, without constants of their forwards.

        Args:
            select: A pattern or several (``"features.*"``); None: all.

        Returns:
            Structural name -> parameter. A shared parameter appears under each of its names.

        Raises:
            ValueError: A list or dict attribute holds blocks that are registered nowhere, so that
                their parameters would be lost.
        """
        found = {name: each for name, each in self.collect_stored().items() if each.persistent}
        return found if select is None else {name: found[name] for name in names.select(found, select)}

    def collect_stored(self) -> dict[str, Parameter]:
        """All that is stored of this block and those below it: parameters, and constants of their forwards.

        Returns:
            As :meth:`collect_params`.

        Raises:
            ValueError: As :meth:`collect_params`.
        """
        found: dict[str, Parameter] = {}
        blocks = list(self.named_blocks())
        registered = {id(block) for _, block in blocks}
        for path, block in blocks:
            block._refuse_unregistered(path, registered)
            for name, parameter in block._parameters.items():
                found[f"{path}.{name}" if path else name] = parameter
        return found

    def _refuse_unregistered(self, path: str, registered: set[int]) -> None:
        for attribute, value in self.__dict__.items():
            if isinstance(value, (list, tuple, dict)) and attribute not in _REGISTRIES:
                for item in value.values() if isinstance(value, dict) else value:
                    if isinstance(item, Block) and id(item) not in registered:
                        place = f"{path}.{attribute}" if path else attribute
                        raise ValueError(
                            f"{type(self).__name__}: the {type(value).__name__} {place!r} holds blocks that are "
                            "no children; keep them in nn.Sequential or assign each to an attribute"
                        )

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Run the block: ``forward`` on arrays."""
        recorder = RECORDER.get()
        if recorder is not None:
            return recorder.call(self, inputs, named)
        return run(self, inputs, named)

    def execute(self, *inputs: Any, **named: Any) -> Any:
        """Run ``forward`` in NumPy, whoever records."""
        return self.forward(*inputs, **named)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Compute the outputs from the inputs; every block writes its own."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def apply(self, function: Callable[[Block], object]) -> Self:
        """Call `function` on every block below this one, then on this one."""
        for child in self._children.values():
            child.apply(function)
        function(self)
        return self

    def initialize(self, init: Any = None, *, seed: int | None = None, force_reinit: bool = False) -> None:
        """Give every parameter initial values, those of unknown shape as soon as it is known.

        Args:
            init: Initializer for parameters that have none of their own; None: the default.
            seed: With the same seed each parameter gets the same values, whatever the order in which
                shapes are learned: its random numbers come from the seed and its name.
            force_reinit: Replace values that are there already; otherwise they are kept.
        """
        seed = int.from_bytes(os.urandom(8)) if seed is None else seed
        done: set[int] = set()
        for name, parameter in self.collect_params().items():
            if id(parameter) not in done:
                done.add(id(parameter))
                rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
                parameter.initialize(init, rng, force_reinit=force_reinit)

    def cast(self, dtype: Any) -> None:
        """Convert all floating-point parameters to `dtype` ("float16", "bfloat16", ...)."""
        for parameter in {id(found): found for found in self.collect_stored().values()}.values():
            if parameter.dtype.kind not in "biuc":
                parameter.cast(dtype)
        for _, block in self.named_blocks():
            if "dtype" in getattr(block, "fields", ()):  # a layer that has one
                block.__dict__["dtype"] = dtype_name(as_dtype(dtype))

    def freeze(self, select: Patterns = None) -> list[str]:
        """Make the selected parameters not trainable; the archive keeps that.

        Returns:
            The names that were selected.

        Raises:
            ParameterError: The patterns select nothing.
        """
        return self._set_trainable(select, to=False)

    def unfreeze(self, select: Patterns = None) -> list[str]:
        """Make the selected parameters trainable again, except those born otherwise (running statistics).

        Returns:
            The names that were selected.

        Raises:
            ParameterError: The patterns select nothing.
        """
        return self._set_trainable(select, to=True)

    def _set_trainable(self, select: Patterns, *, to: bool) -> list[str]:
        selected = self.collect_params(select)
        if select is not None and not selected:
            known = list(self.collect_params())
            wanted = select if isinstance(select, str) else ", ".join(select)
            near = names.near(wanted, known)
            raise ParameterError(
                f"no parameter matches {wanted!r}",
                missing=[wanted],
                hint=f"did you mean {near!r}?" if near else f"the names are like {known[0]!r}" if known else None,
            )
        for parameter in selected.values():
            parameter.trainable = to and parameter.born_trainable
        return list(selected)

    def share_parameters(self, other: Mapping[str, Parameter]) -> Self:
        """Use the parameters of `other` in place of this block's own of the same names.

        Args:
            other: What :meth:`collect_params` of another block gave.

        Raises:
            ValueError: Shapes or dtypes do not agree.
        """
        for path, block in list(self.named_blocks()):
            for name in block.parameters:
                full = f"{path}.{name}" if path else name
                if full in other:
                    block.adopt(name, other[full])
        return self

    def save_parameters(self, path: str | os.PathLike[str], **options: Any) -> None:
        """Save all parameters, without the architecture; see :func:`modelarchive.archive.save_parameters`."""
        from modelarchive import archive  # the one door upwards: the roof imports this module

        archive.save_parameters(self, path, **options)

    def load_parameters(
        self,
        path: str | os.PathLike[str],
        *,
        allow_missing: bool = False,
        ignore_extra: bool = False,
        cast_dtype: bool = False,
        dtype_source: str = "current",
    ) -> None:
        """Load parameters by their structural names; shapes not known yet come from the file.

        Args:
            path: An archive.
            allow_missing: Leave alone the parameters that the file lacks.
            ignore_extra: Skip what the file has and this block lacks.
            cast_dtype: Convert instead of refusing a different dtype.
            dtype_source: Whose dtype wins then: "current" (the block's) or "saved" (the file's).

        Raises:
            ParameterError: With every missing, unexpected and mismatched name.
        """
        from modelarchive import archive

        options = {"allow_missing": allow_missing, "ignore_extra": ignore_extra, "cast_dtype": cast_dtype}
        archive.load_parameters(self, path, **options, dtype_source=dtype_source)

    def summary(self, *inputs: Any) -> str:
        """A table of blocks, output shapes and parameter counts for `inputs`: ``print(net.summary(x))``.

        Without inputs nothing runs, and the output shapes stay empty. A prompt shows the text as it is printed.
        """
        return table(self, *inputs)

    def extra_repr(self) -> str:
        """What stands in the parentheses in the printed tree."""
        return ", ".join(f"{name}={shape_text(found.shape)}" for name, found in self._parameters.items())

    def _repr_html_(self) -> str:
        """The tree of blocks and parameters, for a notebook."""
        found = {}
        for path, block in self.named_blocks():
            found[path] = type(block).__name__ if path else ""
            for name, each in block._parameters.items():
                found[names.joined(path, name)] = f"{dtype_name(each.dtype)} {shape_text(each.shape)}"
        return markup.tree(type(self).__name__, found)

    def __repr__(self) -> str:
        """The tree of blocks, indented."""
        lines = [f"  ({name}): " + repr(child).replace("\n", "\n  ") for name, child in self._children.items()]
        head = f"{type(self).__name__}({self.extra_repr()}"
        return "\n".join([head, *lines, ")"]) if lines else head + ")"
