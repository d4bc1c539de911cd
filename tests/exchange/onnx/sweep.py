"""Generated models of one operator each, read here and compared with ONNX Runtime.

``python -m tests.exchange.onnx.sweep --count 3000`` tells how many were equal, refused and wrong.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from modelarchive.errors import ConversionError
from modelarchive.exchange import onnx as exchange

#: Ends of ranges, and beyond.
FAR = [-(2**62), 2**62, -(2**31), 2**31 - 1]
SAME = ["SAME_UPPER", "SAME_LOWER", "VALID"]


@dataclass
class Case:
    """One operator: what it takes when it runs, what is stored, and its attributes."""

    op: str
    inputs: dict[str, np.ndarray]
    stored: dict[str, np.ndarray] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    #: Names in the order in which the operator takes them, "" for one that is left out.
    order: tuple[str, ...] | None = None
    outputs: int = 1


class Generator:
    """Makes cases, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.pick = random.Random(seed)
        self.rng = np.random.default_rng(seed)

    def floats(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape).astype(np.float32)

    def sizes(self, count: int, low: int, high: int) -> list[int]:
        return [self.pick.randint(low, high) for _ in range(count)]

    def shape(self) -> list[int]:
        return self.sizes(self.pick.randint(2, 4), 1, 5)

    def pooling(self) -> Case:
        op, rank = self.pick.choice(["MaxPool", "AveragePool"]), self.pick.randint(1, 3)
        kernel = self.sizes(rank, 1, 4)
        attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": self.sizes(rank, 1, 3)}
        attributes["ceil_mode"] = self.pick.randint(0, 1)
        if self.pick.random() < 0.6:
            attributes["pads"] = [self.pick.randint(0, size - 1) for size in kernel * 2]
        elif self.pick.random() < 0.7:
            attributes["auto_pad"] = self.pick.choice(SAME)
        if op == "AveragePool":
            attributes["count_include_pad"] = self.pick.randint(0, 1)
        return Case(op, {"x": self.floats(2, 3, *self.sizes(rank, 5, 9))}, attributes=attributes)

    def convolution(self) -> Case:
        op, rank = self.pick.choice(["Conv", "ConvTranspose"]), self.pick.randint(1, 2)
        kernel, groups = self.sizes(rank, 1, 3), self.pick.randint(1, 2)
        attributes: dict[str, Any] = {"strides": self.sizes(rank, 1, 3), "dilations": self.sizes(rank, 1, 2)}
        attributes["group"] = groups
        if self.pick.random() < 0.5:
            attributes["pads"] = self.sizes(2 * rank, 0, 2)
        elif self.pick.random() < 0.6:
            attributes["auto_pad"] = self.pick.choice(SAME)
        if op == "ConvTranspose" and self.pick.random() < 0.4:
            attributes["output_padding"] = [self.pick.randint(0, max(each - 1, 0)) for each in attributes["strides"]]
        channels = (6, 4 // groups) if op == "Conv" else (4, 6 // groups)
        stored = {"w": self.floats(*channels, *kernel)}
        if self.pick.random() < 0.5:
            stored["b"] = self.floats(6)
        return Case(op, {"x": self.floats(2, 4, *self.sizes(rank, 6, 9))}, stored, attributes)

    def resizing(self) -> Case:
        rank = self.pick.randint(1, 2)
        places = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric"]
        attributes: dict[str, Any] = {"mode": self.pick.choice(["nearest", "linear", "cubic"])}
        attributes["coordinate_transformation_mode"] = self.pick.choice(places)
        if attributes["mode"] == "nearest":
            attributes["nearest_mode"] = self.pick.choice(["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
        if attributes["mode"] == "cubic":
            attributes["cubic_coeff_a"] = self.pick.choice([-0.5, -0.75])
            attributes["exclude_outside"] = self.pick.randint(0, 1)
            rank = 2
        x = {"x": self.floats(2, 3, *self.sizes(rank, 3, 7))}
        if self.pick.random() < 0.5:
            scales = [1.0, 1.0] + [self.pick.choice([1, 2, 3, 4, 0.5, 1.5]) for _ in range(rank)]
            return Case("Resize", x, {"s": np.array(scales, np.float32)}, attributes, ("x", "", "s"))
        sizes = np.array([2, 3, *self.sizes(rank, 1, 14)])
        return Case("Resize", x, {"s": sizes}, attributes, ("x", "", "", "s"))

    def slicing(self) -> Case:
        shape = self.sizes(self.pick.randint(1, 4), 1, 7)
        axes = self.pick.sample(range(len(shape)), self.pick.randint(1, len(shape)))
        ends = [[self.pick.choice([*self.sizes(8, -9, 9), *FAR]) for _ in axes] for _ in range(2)]
        steps = [self.pick.choice([1, 1, 1, 2, -1, -2]) for _ in axes]
        stored = {"starts": ends[0], "ends": ends[1], "axes": axes, "steps": steps}
        return Case("Slice", {"x": self.floats(*shape)}, {name: np.array(each) for name, each in stored.items()})

    def padding(self) -> Case:
        shape, mode = (
            self.sizes(self.pick.randint(1, 4), 2, 6),
            self.pick.choice(["constant", "reflect", "edge", "wrap"]),
        )
        low, high = (-1, 3) if mode == "constant" else (0, 1)
        stored = {"pads": np.array(self.sizes(2 * len(shape), low, high)), "value": np.array(1.5, np.float32)}
        return Case("Pad", {"x": self.floats(*shape)}, stored, {"mode": mode})

    def reduction(self) -> Case:
        names = ["Sum", "Mean", "Max", "Min", "L1", "L2", "LogSumExp", "SumSquare"]
        shape = self.sizes(self.pick.randint(1, 4), 1, 4)
        axes = self.pick.sample(range(len(shape)), self.pick.randint(0, len(shape)))
        attributes = {"keepdims": self.pick.randint(0, 1), "noop_with_empty_axes": self.pick.randint(0, 1)}
        stored = {"axes": np.array(axes, np.int64)} if axes or self.pick.random() < 0.5 else {}
        return Case(f"Reduce{self.pick.choice(names)}", {"x": self.floats(*shape)}, stored, attributes)

    def along_an_axis(self) -> Case:
        shape = self.shape()
        axis = self.pick.randint(-len(shape), len(shape) - 1)
        op = self.pick.choice(["Softmax", "LogSoftmax", "Hardmax", "Flatten", "ArgMax", "ArgMin", "CumSum", "Trilu"])
        flags = {name: self.pick.randint(0, 1) for name in ("exclusive", "reverse", "keepdims", "select_last_index")}
        x = {"x": self.floats(*shape)}
        if op == "CumSum":
            own = {name: flags[name] for name in ("exclusive", "reverse")}
            return Case(op, x, {"axis": np.array(axis)}, own)
        if op == "Trilu":
            return Case(op, x, {"k": np.array(self.pick.randint(-4, 4))}, {"upper": flags["reverse"]})
        if op.startswith("Arg"):
            own = {name: flags[name] for name in ("keepdims", "select_last_index")}
            return Case(op, {"x": np.round(x["x"])}, {}, {"axis": axis, **own})
        return Case(op, x, {}, {"axis": axis})

    def choosing(self) -> Case:
        shape = self.shape()
        axis, x = self.pick.randint(-len(shape), len(shape) - 1), {"x": self.floats(*shape)}
        op = self.pick.choice(["Gather", "GatherElements", "OneHot", "Expand", "Tile"])
        if op == "Expand":
            x = {"x": self.floats(*(self.pick.choice([1, size]) for size in shape))}
            return Case(op, x, {"shape": np.array(shape[self.pick.randint(0, len(shape) - 1) :])})
        if op == "Tile":
            return Case(op, x, {"repeats": np.array(self.sizes(len(shape), 1, 3))})
        if op == "OneHot":
            stored = {"depth": np.array(4), "values": np.array([0.5, 2], np.float32)}
            axis = self.pick.randint(-len(shape) - 1, len(shape))
            return Case(op, {"i": self.rng.integers(-4, 4, shape)}, stored, {"axis": axis})
        found = self.sizes(self.pick.randint(0, 2), 1, 3) if op == "Gather" else [*shape]
        if op == "GatherElements":
            found[axis] = 2
        return Case(op, x, {"i": self.rng.integers(-shape[axis], shape[axis], found)}, {"axis": axis})

    def normalising(self) -> Case:
        shape = self.shape()
        axis = self.pick.randint(-len(shape), -1)
        stored = {"scale": self.floats(*shape[axis:]), "bias": self.floats(*shape[axis:])}
        return Case("LayerNormalization", {"x": self.floats(*shape)}, stored, {"axis": axis})

    def product(self) -> Case:
        flips = self.pick.randint(0, 1), self.pick.randint(0, 1)
        shapes = [(5,), (1, 5), (3, 5), (3, 1), (1,)]
        stored = {"b": self.floats(*((5, 4) if flips[1] else (4, 5))), "c": self.floats(*self.pick.choice(shapes))}
        attributes = {"transA": flips[0], "transB": flips[1]}
        attributes |= {"alpha": self.pick.choice([1.0, 0.5]), "beta": self.pick.choice([1.0, 0.3])}
        return Case("Gemm", {"a": self.floats(*((4, 3) if flips[0] else (3, 4)))}, stored, attributes)

    def recurrence(self) -> Case:
        op, direction = (
            self.pick.choice(["LSTM", "GRU", "RNN"]),
            self.pick.choice(["forward", "reverse", "bidirectional"]),
        )
        rows, directions = {"LSTM": 12, "GRU": 9, "RNN": 3}[op], 2 if direction == "bidirectional" else 1
        attributes: dict[str, Any] = {"hidden_size": 3, "direction": direction}
        if op == "GRU":
            attributes["linear_before_reset"] = self.pick.randint(0, 1)
        stored = {"w": self.floats(directions, rows, 4), "r": self.floats(directions, rows, 3)}
        order = ["x", "w", "r", ""]
        if self.pick.random() < 0.6:
            stored["b"], order[3] = self.floats(directions, 2 * rows), "b"
        if self.pick.random() < 0.5:
            states = ["h", "c"] if op == "LSTM" else ["h"]
            stored |= {name: self.floats(directions, 2, 3) for name in states}
            order += ["", *states]
        return Case(op, {"x": self.floats(5, 2, 4)}, stored, attributes, tuple(order), 3 if op == "LSTM" else 2)

    def case(self) -> Case:
        makers: list[Callable[[], Case]] = [self.pooling, self.convolution, self.resizing, self.slicing, self.padding]
        makers += [self.reduction, self.along_an_axis, self.choosing, self.normalising, self.product, self.recurrence]
        return self.pick.choice(makers)()


def outcomes(count: int, seed: int = 0) -> Iterator[tuple[str, str, Any]]:
    """Operator, verdict ("equal", "refused", "wrong"), and the case; what ONNX Runtime refuses is left out."""
    generator = Generator(seed)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(count):
            case = generator.case()
            path = Path(folder) / "m.onnx"
            wanted = in_runtime(case, path)
            if wanted is None:
                continue
            try:
                found = exchange.read(path).build()(*case.inputs.values())
            except ConversionError:
                yield case.op, "refused", case
                continue
            several = found if isinstance(found, tuple) else (found,)
            same = len(several) == len(wanted) and all(map(_equal, several, wanted))
            yield case.op, "equal" if same else "wrong", case


def _equal(one: np.ndarray, two: np.ndarray) -> bool:
    alike = one.shape == two.shape and one.dtype == two.dtype
    return alike and np.allclose(one, two, rtol=1e-4, atol=1e-5, equal_nan=True)


def in_runtime(case: Case, path: Path) -> list[np.ndarray] | None:
    """What ONNX Runtime gives for a case, whose model is written; None: it does not run it."""
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

    order = case.order or (*case.inputs, *case.stored)
    outputs = [f"y{place}" for place in range(case.outputs)]
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in case.inputs.items()
    ]
    graph = helper.make_graph(
        [helper.make_node(case.op, order, outputs, **case.attributes)],
        "g",
        values,
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in case.stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    path.write_bytes(onnx.shape_inference.infer_shapes(model).SerializeToString())
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    try:
        return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"]).run(None, case.inputs)
    except Exception:  # pads larger than the image, and the like: the model is none
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    total: Counter[str] = Counter()
    for _, verdict, case in outcomes(options.count, options.seed):
        total[verdict] += 1
        if verdict == "wrong":
            print(case)
    print(", ".join(f"{total[verdict]:,} {verdict}" for verdict in ("equal", "refused", "wrong")))


if __name__ == "__main__":
    main()
