"""The command that says how many networks come in whole: what it runs, and that it finds what is wrong."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.coverage import drawn  # noqa: E402
from tests.coverage.__main__ import main, table  # noqa: E402 - they import PyTorch
from tests.coverage.archives import judge  # noqa: E402
from tests.coverage.blocks import BLOCKS, blocks  # noqa: E402
from tests.coverage.constructs import FLAT, MODULES, constructs  # noqa: E402
from tests.coverage.drawn import judge as drawn_judge  # noqa: E402
from tests.coverage.judging import Network, Verdict, difference, judged, tensors  # noqa: E402
from tests.coverage.networks import NETWORKS, networks  # noqa: E402
from tests.coverage.recording import DOCUMENT, document, recorded  # noqa: E402
from tests.coverage.semantics import LINES, PARTS, semantics  # noqa: E402
from tests.sampling import some  # noqa: E402

#: Constructs of which each was read wrongly once, or not at all.
ONCE_WRONG = [
    "divide by numpy.sqrt", "numpy.float64 on the left", "in place by numpy.sqrt", "tensor of float64 without axes",
    "where of two numbers", "where of two integers", "autocast", "isinstance of a tensor", "assign a part",
    "in place through a view", "a subclass of Linear", "same padding", "normalisation and activation in one",
    "a cache", "a counter in a buffer", "a decorator", "a forward hook", "tied weights", "weight_norm",
    "attention to nothing", "weights of MultiheadAttention", "a buffer of float64 without axes",
    "a scalar time step", "a temperature", "one block in two ways", "LayerNorm of channels",
]  # fmt: skip


#: One of each kind of row: rounding, bits, order, places, scans, norms, complex numbers, windows, sizes, weights.
OF_EACH_KIND = [
    "uint8 and a negative number", "floor division of negatives", "remainder of floats", "fmod of integers",
    "division of large integers", "floor of infinity", "bits xor", "shift right", "argmin of ties", "cummax",
    "logcumsumexp", "norm of order 3", "variance with correction 2", "pdist", "asin", "fmax with nan",
    "rfft and irfft", "filter of frequencies", "rotary positions", "add_ of a view of a view", "index_copy_",
    "scatter_reduce", "index_put_ that adds", "index apart", "masked_scatter", "diagonal beside", "roll of all",
    "vmap", "checkpoint", "weights of each image", "weights normalised by batch_norm",
    "a transposed convolution in groups", "a convolution without a batch", "LayerNorm of computed weights",
    "GroupNorm of computed weights", "batch_norm of the batch", "max pooling with dilation that rounds up",
    "places of max pooling", "average pooling by a number", "adaptive pooling to many",
    "adaptive max pooling of volumes", "nearest-exact", "bicubic without ripples", "area", "trilinear",
    "grid_sample that reflects", "fold with dilation", "windows of Swin", "EmbeddingBag, mean", "a running total",
]  # fmt: skip
#: What is refused -> words of the reason.
REFUSED = {
    "nonzero": "size depends on values", "unique": "size depends on values", "random numbers": "draw them outside",
    "dropout that drops": "dropout that drops", "packed sequences": "give it total_length",
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", OF_EACH_KIND)
def test_what_is_said_in_ops_comes_in_right(name):
    (network,) = [each for each in semantics() if each.name == name]
    found = judged(network)
    assert found.verdict in ("whole", "fixed"), found.why


#: Blocks of which each was refused once, or had a batch that was not free, though nothing in it asks for that.
ONCE_REFUSED = [
    "linear attention", "einsum of three", "square roots of covariance", "a Fourier operator",
    "a Fourier operator of complex weights", "a log-mel picture", "a dataclass", "quantisation stubs",
    "weights rounded on the way", "an invertible flow", "an ensemble", "EmbeddingBag with offsets",
    "EmbeddingBag with a mask", "a packed tagger", "last states of what is packed", "an empty parameter",
    "an empty buffer that nothing uses", "a prompt of no words", "adaptive softmax",
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ONCE_REFUSED)
def test_blocks_that_people_write_come_in_whole(name):
    (network,) = [each for each in blocks() if each.name == name]
    found = judged(network)
    assert found.verdict == "whole", found.why


#: Networks of which each was refused once.
ONCE_MISSING = [
    "a flow of splines", "a Gaussian process", "a series taken apart", "orthogonal by an exponential",
    "orthogonal by Cayley", "weight norm of one layer twice", "kernels mixed by the picture",
    "elements that are written", "an LSTM with projections in layers", "buffers that a forward updates",
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ONCE_MISSING)
def test_networks_that_papers_publish_travel(name):
    (network,) = [each for each in networks() if each.name == name]
    found = judged(network, judge=judge)
    assert found.verdict == "whole", found.why


#: Some of the networks drawn at random.
DRAWN = ["length 2", "length 13", "length 17", "length 21", "sides 13", "sides 21", "sides 53", "batch 7", "batch 11"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", some(DRAWN))
def test_networks_drawn_at_random_come_in_whole(name):
    seed = int(name.partition(" ")[2])
    (network,) = [each for each in drawn.drawn(seed, 1) if each.name == name]
    found = judged(network, judge=drawn_judge.judge)
    assert (found.verdict, found.strict) == ("whole", True), found.why


def test_what_is_drawn_is_the_same_each_time():
    one, other = drawn.draw("sides", 3), drawn.draw("sides", 3)
    x = torch.randn(2, 4, 9, 9)
    assert one.words == other.words
    assert one.words != drawn.draw("sides", 4).words
    assert all(map(torch.equal, tensors(one(x)), tensors(other(x))))


def test_what_is_wrong_in_what_is_drawn_is_found(monkeypatch):
    network = next(each for each in drawn.drawn(2, 1) if each.name == "length 2")
    found = judged(network, judge=drawn_judge.judge)
    assert found.verdict == "whole"
    monkeypatch.setattr(drawn_judge, "array_of", lambda x: np.asarray(x) + 1)
    assert judged(network, judge=drawn_judge.judge).verdict == "wrong"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_why(name):
    (network,) = [each for each in semantics() if each.name == name]
    found = judged(network)
    assert found.verdict == "refused"
    assert REFUSED[name] in found.why


def test_the_page_is_what_is_recorded():
    known = recorded()
    assert DOCUMENT.read_text("utf-8") == document(known)
    for name, each in known.items():
        assert not [key for key, every in each["networks"].items() if every["verdict"] == "wrong"], name
    assert known["semantics"]["networks"].keys() == {*LINES, *PARTS}
    assert known["blocks"]["networks"].keys() == {*BLOCKS}
    assert known["networks"]["networks"].keys() == {*NETWORKS}
    assert known["constructs"]["networks"].keys() == {*FLAT, *MODULES}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ONCE_WRONG)
def test_what_was_read_wrongly_comes_in_whole(name):
    (network,) = [each for each in constructs() if each.name == name]
    found = judged(network)
    assert (found.verdict, found.strict) == ("whole", True), found.why


def test_nothing_is_wrong_in_a_part_of_the_constructs(capsys, tmp_path):
    assert main(["constructs", "--every", "12", "--record", str(tmp_path / "found.json")]) == 0
    assert "| constructs |" in capsys.readouterr().out
    assert "verdict" in (tmp_path / "found.json").read_text()


def test_what_is_wrong_is_found(monkeypatch):
    network = next(each for each in constructs() if each.name == "log1p")
    from modelarchive.exchange.torch import lifting

    monkeypatch.setitem(lifting.ROWS, "log1p", lambda context, x: x)
    found = judged(network)
    assert found.verdict == "refused"
    assert "differs from the module's" in found.why


def test_what_does_not_run_is_no_verdict():
    class Broken(torch.nn.Module):
        def forward(self, x):
            return x @ x

    found = judged(Network("constructs", "broken", lambda: (Broken(), (torch.ones(2, 3),))))
    assert found.verdict == "failed"


def test_differences_are_told():
    one = torch.ones(3)
    assert difference(one, one) == ""
    assert "float64" in difference(one.double(), one)
    assert "differs by 1" in difference(one * 2, one)


def test_the_table_counts():
    found = [Verdict("a", "x", "whole"), Verdict("a", "y", "wrong"), Verdict("a", "z", "failed")]
    assert "| a | 2 | 1 | 0 | 0 | 1 | 1 |" in table(found)
    assert len(FLAT) + len(MODULES) > 200


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["FNet", "DenseNet"])
def test_networks_of_kerashub_come_in_whole(name):
    pytest.importorskip("keras_hub")
    from tests.coverage import kerashub

    networks_ = list(kerashub.kerashub())
    assert len({each.name for each in networks_}) == len(networks_)
    (network,) = [each for each in networks_ if each.name == name]
    found = judged(network, judge=kerashub.judge)
    assert (found.verdict, found.strict) == ("whole", True), found.why
