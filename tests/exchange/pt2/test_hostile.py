"""Files that say other things than PyTorch writes: each is refused, or read as what it says; nothing of it runs."""

import contextlib
import json
import random
import zipfile

import pytest

import modelarchive as ma
from modelarchive.errors import ModelArchiveError
from modelarchive.exchange.pt2 import read
from modelarchive.exchange.pt2.sizes import computed, symbols_of
from tests.exchange.pt2.programs import changed, exported, saved

torch = pytest.importorskip("torch")


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)

    def forward(self, x):
        one, other = torch.split(self.linear(x), [1, 3], dim=1)
        return {"one": one.reshape(x.shape[0], 1), "other": [torch.softmax(other, -1)]}


@pytest.fixture
def path(tmp_path):
    return saved(exported(Small(), (torch.randn(3, 4),)), tmp_path / "net.pt2")


def nodes(program):
    return program["graph_module"]["graph"]["nodes"]


@pytest.mark.parametrize(
    "text", ["__import__('os').system('true')", "s0.__class__", "(lambda: 1)()", "[1 for _ in 'a']"]
)
def test_sizes_are_computed_and_not_run(text, path):
    with pytest.raises(ma.FormatError, match="no expression"):
        computed(text, {"s0": 3})

    def change(program):
        for meta in program["graph_module"]["graph"]["tensor_values"].values():
            for size in meta["sizes"]:
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = text

    with contextlib.suppress(ModelArchiveError):  # what nothing needs is not looked at
        read(changed(path, change))


def test_sizes_as_sympy_writes_them():
    for text, wanted in {
        "s0": 3,
        "2*s0 + 1": 7,
        "Add(Mul(Integer(2), Symbol('s0', positive=True, integer=True)), Integer(1))": 7,
        "(s0//2)": 1,
        "Max(s0, Mod(s0, 2))": 3,
        "s0**2": 9,
    }.items():
        assert computed(text, {"s0": 3}) == wanted
        assert symbols_of(text) == {"s0"}
    for text in ("s0**s0**s0**s0", "9" * 100, "s1", "(" * 500 + "s0" + ")" * 500, "s0/2"):
        with pytest.raises(ma.FormatError):
            computed(text, {"s0": 30 if "**" in text else 3})


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.from_file.default",
        "torch.load",
        "_operator.attrgetter",
        "math.__loader__",
        "torch.ops.aten.__class__.mro",
    ],
)
def test_what_is_not_known_is_not_looked_up(target, path):
    def change(program):
        nodes(program)[0]["target"] = target

    with pytest.raises(ma.ConversionError, match="is not supported"):
        read(changed(path, change))


def test_names_never_become_code(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = 'x"); open("ran", "w"); ("'

    def change(program):
        text = json.dumps(program).replace('"x"', json.dumps(name)).replace("linear.weight", json.dumps(name)[1:-1])
        program.clear()
        program.update(json.loads(text))

    with pytest.raises(ModelArchiveError):
        read(changed(path, change))
    assert not (tmp_path / "ran").exists()


def test_a_pickle_beside_the_program_is_not_run(path, tmp_path):
    ran = tmp_path / "ran"

    class Bomb:
        def __reduce__(self):
            return open, (str(ran), "w")

    torch.save({"linear.weight": Bomb()}, tmp_path / "bomb.pt")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "other.pt2", "w") as new:
        for each in old.infolist():
            if "weights" not in each.filename:
                new.writestr(each.filename, old.read(each))
        root = old.infolist()[0].filename.partition("/")[0]
        new.write(tmp_path / "bomb.pt", f"{root}/data/weights/model.pt")
    with pytest.raises(ModelArchiveError):
        ma.convert(tmp_path / "other.pt2", tmp_path / "net.h5")
    assert not ran.exists()


def places(value, at=()):
    yield at
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in pairs:
        yield from places(each, (*at, key))


VALUES = [
    None,
    True,
    -1,
    0,
    2**70,
    1e300,
    "",
    "a" * 5000,
    [],
    {},
    [[]] * 3,
    "torch.ops.aten.expand.default",
    "as_int",
    7,
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(25))
def test_changed_programs_are_read_or_refused(seed, path):
    rng = random.Random(seed)

    def change(program):
        found = [each for each in places(program) if each and "metadata" not in each]
        *where, last = rng.choice(found)
        owner = program
        for key in where:
            owner = owner[key]
        if rng.random() < 0.2:
            del owner[last]
        else:
            owner[last] = rng.choice(VALUES)

    with contextlib.suppress(ModelArchiveError):  # any other error is a fault
        assert read(changed(path, change)).architecture


class Wide(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)

    def forward(self, x):
        x = self.linear(x).unsqueeze(-1)
        return torch.relu(x.expand(-1, 4, 7)).sum(), x.repeat(1, 1, 7).sum()


def test_sizes_that_take_more_than_the_file_has(tmp_path):
    """A file of some kilobytes may name a size of any memory, and any time."""
    path = saved(exported(Wide(), (torch.randn(3, 4),)), tmp_path / "net.pt2")

    def enlarge(operator, name, size):
        def change(program):
            (node,) = [each for each in nodes(program) if f".{operator}." in each["target"]]
            (given,) = [each for each in node["inputs"] if each["name"] == name]
            sizes = given["arg"]["as_ints"]
            sizes[-1] = size

        return changed(path, change)

    assert not [each for each in read(path).notes if "not compared" in each.what]
    bundle = read(enlarge("expand", "size", 2**28))
    (note,) = [each.what for each in bundle.notes if each.where == "(model)"]
    assert "was not compared with the program" in note
    assert bundle.architecture is not None
    with pytest.raises(ma.UnsafeFileError, match="repeated 4,194,304 times"):
        read(enlarge("repeat", "repeats", 2**22))
