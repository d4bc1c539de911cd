"""Loops over a size that is declared free become a Scan, in NumPy, in PyTorch and in ONNX Runtime as in the module."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.archive.saving import kinds_of

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")
WIDTH, STATE = 3, 4


class Base(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = torch.nn.GRUCell(WIDTH, STATE)
        self.out = torch.nn.Linear(STATE, WIDTH)


class Stacked(Base):
    """Outputs put together, the state after the last step, and a cell whose first state is made inside."""

    def forward(self, x):
        state, outputs = None, []
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
            outputs.append(self.out(state))
        return torch.stack(outputs, 1), state


class Written(Base):
    """Outputs written into an array, from the second on, and what was seen at the step before."""

    def forward(self, x):
        state, before = x.new_zeros(len(x), STATE), x[:, 0]
        outputs = torch.zeros(x.shape[0], x.shape[1], WIDTH)
        for step in range(1, x.size(1)):
            state = self.cell(before, state)
            outputs[:, step] = self.out(state)
            before = x[:, step]
        return outputs


class Backwards(Base):
    """Both directions, one of them put together backwards."""

    def steps(self, x, places):
        state, found = torch.zeros(x.shape[0], STATE), []
        for step in places:
            state = self.cell(x[:, step], state)
            found.append(state)
        return found

    def forward(self, x):
        forth = self.steps(x, range(x.size(1)))
        back = self.steps(x, reversed(range(x.size(1))))
        return torch.cat([torch.stack(forth, 1), torch.stack(back[::-1], 1)], -1)


class Parts(Base):
    """Parts along the axis, two arrays at a time, joined with an axis of size 1 each."""

    def forward(self, x, mask):
        state, found = torch.zeros(x.shape[0], STATE), []
        for part, keeps in zip(x.unbind(1), mask.unbind(1), strict=True):
            state = torch.where(keeps > 0, self.cell(part, state), state)
            found.append(state.unsqueeze(1))
        return torch.cat(found, dim=1)


class Pieces(Base):
    """Pieces of size 1 along the axis, and a first step that is another one."""

    def forward(self, x):
        found, state = [], self.out.bias
        for step, each in enumerate(torch.split(x, 1, dim=1)):
            state = torch.relu(state + each[:, 0]) if step == 0 else torch.tanh(state + each[:, 0])
            found.append(state.unsqueeze(1))
        return torch.cat(tensors=found, axis=1)


class Layers(Base):
    """Lists from layer to layer; what is added up; a number of the step; a row of a table."""

    def __init__(self) -> None:
        super().__init__()
        self.other = torch.nn.GRUCell(STATE, STATE)
        self.table = torch.nn.Parameter(torch.randn(128, STATE))

    def forward(self, x):
        several = [x[:, step] for step in range(x.shape[1])]
        for cell in (self.cell, self.other):
            state, found = torch.zeros(x.shape[0], STATE), []
            for step in range(x.shape[1]):
                state = cell(several[step], state)
                found.append(state + self.table[step])
            several = found
        total = torch.zeros(x.shape[0], STATE)
        for step, each in enumerate(torch.stack(several).unbind(0)):
            total += each * (step + 1)
        return total


class Attends(Base):
    """A decoder that feeds on what it gave, and looks at all of a memory."""

    def forward(self, x):
        state, token, found = x.mean(1) @ self.out.weight, x[:, 0], []
        for _ in range(x.shape[1]):
            weights = torch.softmax((x @ self.out(state).unsqueeze(-1)).squeeze(-1), -1)
            token = token + (weights.unsqueeze(-1) * x).sum(1)
            state = self.cell(token, state)
            token = torch.relu(self.out(state))
            found += [token]
        return torch.stack(found, dim=1)


class Images(torch.nn.Module):
    """A convolutional LSTM, with normalisation and pooling in the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = torch.nn.Conv2d(5, 12, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(12)

    def forward(self, x):
        state = memory = torch.zeros(x.shape[0], 3, *x.shape[3:])
        found = []
        for step in range(x.shape[1]):
            both = torch.cat([x[:, step], state], 1)
            i, f, o, g = self.norm(self.gates(both)).chunk(4, dim=1)
            memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
            state = o.sigmoid() * memory.tanh()
            found.append(torch.nn.functional.max_pool2d(state, 2))
        return torch.stack(found, 1)


class Filter(Base):
    """What was one and two steps ago, of the input and of the output, and both after the last step."""

    def forward(self, x):
        x1 = x2 = x.new_ones(len(x), WIDTH)
        state, before, found = self.out(x.new_zeros(len(x), STATE)), x2 * 2, []
        for step in range(x.shape[1]):
            given = x[:, step] + 0.5 * x1 - x2
            state, before = torch.tanh(given - 0.3 * state + 0.2 * before), state
            x1, x2 = x[:, step], x1
            found.append(state)
        return torch.stack(found, 1), state, before


class Windows(Base):
    """Several elements at a time, and the element before each, which for the first is the last."""

    def forward(self, x):
        wide, state, found = torch.nn.functional.pad(x, (0, 0, 2, 1)), x.new_zeros(len(x), STATE), []
        for step in range(x.shape[1]):
            state = self.cell(wide[:, step : step + 3].mean(1) - wide[:, step + 3] + x[:, step - 1], state)
            found.append(state)
        return torch.stack(found, 1)


class Lists(Base):
    """Lists of results that are gone through by themselves, forth and back, and lists of these."""

    def forward(self, x):
        state, forth, back = x.new_zeros(len(x), STATE), [], []
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
            forth.append(state)
        state = x.new_zeros(len(x), STATE)
        for each in reversed(forth):
            state = self.cell(self.out(each), state)
            back.insert(0, state)
        both = [self.out(one * other) for one, other in zip(forth, back, strict=True)]
        total, found = 0, []
        for place, each in enumerate(both):
            total = total + each * (place + 1)
            found.append(torch.tanh(each))
        return torch.stack(found, 1), total / len(both), forth[-1] + back[0]


SEQUENCE = ["batch", "length", WIDTH]
NETWORKS = {
    "stacked": (Stacked, [SEQUENCE]),
    "written": (Written, [SEQUENCE]),
    "backwards": (Backwards, [SEQUENCE]),
    "parts": (Parts, [SEQUENCE, ["batch", "length", 1]]),
    "pieces": (Pieces, [SEQUENCE]),
    "layers": (Layers, [SEQUENCE]),
    "attends": (Attends, [SEQUENCE]),
    "filter": (Filter, [SEQUENCE]),
    "windows": (Windows, [SEQUENCE]),
    "lists": (Lists, [SEQUENCE]),
    "images": (Images, [["batch", "length", 2, 4, 4]]),
}


def saved(module: torch.nn.Module, shapes: Sequence[Sequence[object]], path) -> None:
    declared = [{"name": f"x{at}", "shape": shape, "dtype": "float32"} for at, shape in enumerate(shapes)]
    ma.save_model(path, module, inputs=declared)


def kinds(path) -> set[str]:
    with ma.open(path) as archive:
        return set(kinds_of(archive.architecture).values())


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_loops_of_any_length(name: str, tmp_path) -> None:
    make, shapes = NETWORKS[name]
    torch.manual_seed(0)
    module = make().eval()
    path = tmp_path / "net.h5"
    saved(module, shapes, path)
    assert "Scan" in kinds(path)
    network, other = ma.load_model(path), ma.load_model(path, backend="torch")
    module.load_state_dict(other.state_dict(), strict=True)
    ma.convert(path, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    for batch, length in ((2, 7), (1, 1), (3, 2), (2, 30)):
        sizes = {"batch": batch, "length": length}
        given = [torch.randn([sizes.get(each, each) for each in shape]) for shape in shapes]
        with torch.no_grad():
            expected = module(*given)
            of_torch = other(*given)
        of_numpy = network(*(each.numpy() for each in given))
        named = {f"x{at}": each.numpy() for at, each in enumerate(given)}
        # ONNX Runtime refuses a Scan of no steps, which is left where the first stands before it.
        has_steps = length > 1 or name in ("backwards", "parts", "layers", "attends", "images", "filter")
        of_onnx = session.run(None, named) if has_steps else of_numpy if isinstance(of_numpy, tuple) else [of_numpy]
        several = [each if isinstance(each, tuple | list) else (each,) for each in (expected, of_torch, of_numpy)]
        for one, *others in zip(*several, of_onnx, strict=True):
            for each in others:
                assert tuple(each.shape) == tuple(one.shape)
                np.testing.assert_allclose(np.asarray(each), one.numpy(), rtol=1e-4, atol=1e-5)


class Sometimes(Base):
    """Does something else where no step of those that are looked at is."""

    def forward(self, x):
        state = x.new_zeros(len(x), STATE)
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
            if step > 20:
                state = state * 2
        return state


class Later(Base):
    """Does something else from a step on that no sequence is compared at."""

    def forward(self, x):
        state = x.new_zeros(len(x), STATE)
        for step, each in enumerate(x.unbind(1)):
            state = self.cell(each, state)
            if (step + 1) % 1000 == 0:
                state = state * 2
        return state


class Ends(Base):
    """Ends where no step of those that are looked at is, by a counter of its own."""

    def forward(self, x):
        state, left = x.new_zeros(len(x), STATE), 20
        for each in x.unbind(1):
            state = self.cell(each, state)
            left -= 1
            if not left:
                break
        return state


class Turns(Base):
    """Does something else at every other step."""

    def forward(self, x):
        state = x.new_zeros(len(x), STATE)
        for step in range(x.shape[1]):
            state = torch.tanh(self.cell(x[:, step], state)) if step % 2 else self.cell(x[:, step], state)
        return state


class Remembers(Base):
    """Looks at all that it gave before."""

    def forward(self, x):
        state, found = x.new_zeros(len(x), STATE), []
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
            found.append(state)
            state = torch.stack(found).mean(0)
        return state


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Sometimes, "decides by the number of its step, by 20"),
        (Later, "decides by the number of its step, by 1000"),
        (Ends, r"not all alike.*forward in test_loops.py, line \d+: for each in x.unbind"),
        (Turns, "steps of a loop of any length do different things"),
        (Remembers, "steps of a loop of any length do different things"),
    ],
)
def test_what_steps_do_differently_is_refused(make, message: str, tmp_path) -> None:
    with pytest.raises(ma.ConversionError, match=message):
        saved(make().eval(), [["batch", "length", WIDTH]], tmp_path / "net.h5")
    assert not (tmp_path / "net.h5").exists()


def test_of_the_length_of_an_example_all_steps_are_written_out(tmp_path) -> None:
    module = Stacked().eval()
    ma.save_model(tmp_path / "net.h5", module, inputs=torch.randn(2, 3, WIDTH))
    assert "Scan" not in kinds(tmp_path / "net.h5")
