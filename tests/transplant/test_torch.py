"""Transplants into and out of PyTorch's modules, against PyTorch's own ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma

torch = pytest.importorskip("torch")


def compiled(module: Any) -> Any:
    """A compiled module; the eager backend needs no compiler."""
    return torch.compile(module, backend="eager")


class Classifier(torch.nn.Module):
    """features: images to 4 numbers; fc: to classes."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.features = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3),
            torch.nn.BatchNorm2d(4),
            torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.Flatten(),
        )
        self.fc = torch.nn.Linear(4, classes)

    def forward(self, x: Any) -> Any:
        return self.fc(self.features(x))


@pytest.fixture
def donor() -> Any:
    torch.manual_seed(0)
    net = Classifier()
    with torch.no_grad():
        net.features[1].running_mean.normal_()
        net.features[1].running_var.uniform_(0.5, 2)
    return net.eval()


@pytest.fixture
def x() -> Any:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def sources(donor: Any, x: Any, folder: Path) -> dict[str, Any]:
    """The same network in everything that may be a source."""
    from safetensors.torch import save_file

    ma.save_model(folder / "whole.h5", donor, inputs=x)
    ma.save(folder / "state.h5", donor.state_dict())
    torch.save(donor.state_dict(), folder / "state.pt")
    torch.save({"epoch": 3, "state_dict": torch.nn.DataParallel(donor).state_dict()}, folder / "checkpoint.pt")
    save_file(donor.state_dict(), folder / "state.safetensors")
    ma.convert(folder / "whole.h5", folder / "whole.onnx")
    return {
        "archive": folder / "whole.h5",
        "archive of a state_dict": folder / "state.h5",
        "pt": str(folder / "state.pt"),
        "checkpoint of DataParallel": folder / "checkpoint.pt",
        "safetensors": folder / "state.safetensors",
        "module": donor,
        "compiled module": compiled(donor),
        "state_dict": donor.state_dict(),
        "exported program": torch.export.export(donor, (x,)),
        "Block": ma.load_model(folder / "whole.h5"),
    }


def test_every_source_gives_the_same(donor: Any, x: Any, tmp_path: Path) -> None:
    for title, source in sources(donor, x, tmp_path).items():
        target = Classifier(classes=2).eval()
        head = target.fc.weight.detach().clone()
        report = ma.transplant(source, target, select="features.*", freeze=True)
        assert torch.equal(target.features(x), donor.features(x)), title
        assert torch.equal(target.fc.weight, head), title
        frozen = [name for name, each in target.named_parameters() if not each.requires_grad]
        assert frozen == [name for name, _ in target.named_parameters() if name.startswith("features")], title
        assert set(report.frozen) == set(report.copied)
        assert not [name for name in report.missing if name.startswith("features") and "num_batches" not in name], title


def test_what_is_trained_on_is_the_same_tensor(donor: Any, x: Any, tmp_path: Path) -> None:
    """An optimizer made before still trains the parameters; nothing is put in their place."""
    ma.save_model(tmp_path / "donor.h5", donor, inputs=x)
    target = Classifier()
    optimizer = torch.optim.SGD(target.parameters(), lr=0.1)
    before = dict(target.named_parameters())
    ma.transplant(tmp_path / "donor.h5", target)
    assert all(each is before[name] for name, each in target.named_parameters())
    target.train()(x).sum().backward()
    optimizer.step()
    assert not torch.equal(target.fc.weight, donor.fc.weight)
    with ma.open(tmp_path / "donor.h5") as archive:
        archive.verify()


def test_all_or_nothing(donor: Any, x: Any) -> None:
    target = Classifier(classes=2)
    before = {name: each.clone() for name, each in target.state_dict().items()}
    with pytest.raises(ma.ParameterError, match=r"fc\.weight: expected shape \(2, 4\), found shape \(10, 4\)") as told:
        ma.transplant(donor, target)
    assert 'mismatch="skip"' in str(told.value.hint)
    assert all(torch.equal(each, before[name]) for name, each in target.state_dict().items())
    report = ma.transplant(donor, target, mismatch="skip")
    assert set(report.mismatched) == {"fc.weight", "fc.bias"}
    ma.transplant(donor, target, mismatch="overlap")
    assert torch.equal(target.fc.weight, donor.fc.weight[:2])


def test_a_dry_run_changes_nothing(donor: Any) -> None:
    target = Classifier()
    before = {name: each.clone() for name, each in target.state_dict().items()}
    report = ma.transplant(donor, target, dry_run=True, freeze=True)
    assert "would be copied" in str(report)
    assert all(torch.equal(each, before[name]) for name, each in target.state_dict().items())
    assert all(each.requires_grad for each in target.parameters())


def test_half_precision_into_single_and_back(donor: Any, tmp_path: Path) -> None:
    torch.save(Classifier().half().state_dict(), tmp_path / "half.pt")
    half = torch.load(tmp_path / "half.pt")
    target = Classifier()
    ma.transplant(tmp_path / "half.pt", target, cast_dtype=True)
    for name, each in target.state_dict().items():
        assert torch.equal(each, half[name].to(each.dtype))
    narrow = Classifier().bfloat16()
    ma.transplant(donor, narrow, cast_dtype=True)
    assert torch.equal(narrow.fc.weight, donor.fc.weight.bfloat16())


def test_tied_parameters_move_once(tmp_path: Path) -> None:
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(5, 3)
            self.output = torch.nn.Linear(3, 5, bias=False)
            self.output.weight = self.embedding.weight

    donor, target = Tied(), Tied()
    ma.save(tmp_path / "tied.h5", donor.state_dict())
    for source in (donor, donor.state_dict(), tmp_path / "tied.h5"):
        torch.nn.init.zeros_(target.embedding.weight)
        ma.transplant(source, target)
        assert target.output.weight is target.embedding.weight
        assert torch.equal(target.output.weight, donor.output.weight)
    only = {"output.weight": torch.ones(5, 3)}
    report = ma.transplant(only, target)
    assert report.missing == []
    assert torch.equal(target.embedding.weight, only["output.weight"])
    torn = {"output.weight": torch.ones(5, 3), "embedding.weight": torch.zeros(5, 3)}
    with pytest.raises(ma.ParameterError, match="shared with"):
        ma.transplant(torn, target)


@pytest.mark.parametrize("wrap", [compiled, torch.nn.DataParallel, torch.optim.swa_utils.AveragedModel])
def test_wrapped_targets(donor: Any, x: Any, wrap: Any) -> None:
    inner = Classifier()
    ma.transplant(donor, wrap(inner))
    inside = wrap(Classifier())
    ma.transplant(donor, inside)
    found = {name.split(".", 1)[1]: each for name, each in inside.state_dict().items() if "." in name}
    assert all(torch.equal(found[name], each) for name, each in donor.named_parameters())


def test_a_module_on_the_meta_device_is_given_memory(donor: Any, x: Any, tmp_path: Path) -> None:
    ma.save_model(tmp_path / "donor.h5", donor, inputs=x)
    with torch.device("meta"):
        target = Classifier(classes=2).eval()
        target.twin = target.features[0]
    report = ma.transplant(tmp_path / "donor.h5", target, select="features.*", freeze="features.0.*")
    assert torch.equal(target.features[:3](x), donor.features[:3](x))
    assert target.twin.weight is target.features[0].weight
    assert not target.features[0].weight.requires_grad
    assert target.features[1].weight.requires_grad
    assert "fc.weight" in report.missing
    assert target.fc.weight.is_meta


def test_a_lazy_module_learns_its_shapes() -> None:
    source = torch.nn.Linear(5, 3)
    target = torch.nn.Sequential(torch.nn.LazyLinear(3))
    ma.transplant({f"0.{name}": each for name, each in source.state_dict().items()}, target)
    x = torch.ones(1, 5)
    assert torch.equal(target(x), source(x))
    again = torch.nn.Sequential(torch.nn.LazyLinear(3))
    with pytest.raises(ma.ParameterError, match=r"not initialised.*call the network once"):
        ma.transplant({"0.weight": source.weight}, again)
    again(x)
    ma.transplant({"0.weight": source.weight}, again)
    assert torch.equal(again[0].weight, source.weight)


def test_rows_by_word(tmp_path: Path) -> None:
    table = torch.nn.Embedding(3, 2)
    target = torch.nn.ModuleDict({"words": torch.nn.Embedding(3, 2)})
    before = target["words"].weight.detach().clone()
    rows = {"words.weight": (["a", "b", "c"], ["c", "new", "a"])}
    ma.transplant({"words.weight": table.weight}, target, rows=rows)
    assert torch.equal(target["words"].weight[[0, 2]], table.weight[[2, 0]])
    assert torch.equal(target["words"].weight[1], before[1])


def test_positions_of_a_vision_transformer() -> None:
    class Vit(torch.nn.Module):
        def __init__(self, side: int) -> None:
            super().__init__()
            self.position_embeddings = torch.nn.Parameter(torch.randn(1, 1 + side * side, 8))

    donor, target = Vit(14), Vit(16)
    report = ma.transplant(donor, target, resize={"*position_embeddings*": "interpolate"})
    grid = donor.position_embeddings[:, 1:].reshape(1, 14, 14, 8).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(grid, (16, 16), mode="bicubic", align_corners=False)
    expected = expected.permute(0, 2, 3, 1).reshape(1, 256, 8)
    torch.testing.assert_close(target.position_embeddings[:, 1:], expected)
    assert torch.equal(target.position_embeddings[:, 0], donor.position_embeddings[:, 0])
    assert "bicubic 14 x 14 to 16 x 16" in report.copied["position_embeddings"][1]


def test_tensors_without_values_are_told_with_their_names() -> None:
    with torch.device("meta"):
        hollow = Classifier()
    with pytest.raises(ma.UnsupportedDataError, match=r"fc\.weight: a tensor on the meta device"):
        ma.transplant(hollow, Classifier())
    target = torch.nn.Module()
    target.register_buffer("table", torch.eye(3).to_sparse())
    target.bias = torch.nn.Parameter(torch.zeros(2))
    with pytest.raises(ma.ParameterError, match=r"table: expected a parameter that can be filled.*sparse"):
        ma.transplant({"table": np.eye(3, dtype="f4"), "bias": np.ones(2, "f4")}, target)
    assert not target.bias.any()


def test_only_what_is_selected_is_read(donor: Any, x: Any, tmp_path: Path, monkeypatch: Any) -> None:
    ma.save_model(tmp_path / "donor.h5", donor, inputs=x)
    seen: list[str] = []
    deferred = ma.Archive.deferred

    def watched(name: str, entry: ma.Deferred) -> ma.Deferred:
        return ma.Deferred(entry.shape, entry.dtype, lambda: seen.append(name) or entry.read())

    def recorded(archive: ma.Archive, stored: Any) -> dict[str, ma.Deferred]:
        return {name: watched(name, entry) for name, entry in deferred(archive, stored).items()}

    monkeypatch.setattr(ma.Archive, "deferred", recorded)
    target = Classifier()
    ma.transplant(tmp_path / "donor.h5", target, select="fc.*", dry_run=True)
    assert seen == []
    ma.transplant(tmp_path / "donor.h5", target, select="fc.*")
    assert sorted(seen) == ["fc.bias", "fc.weight"]
    assert torch.equal(target.fc.weight, donor.fc.weight)


class TestLoadParameters:
    def test_of_an_archive_that_has_no_counts_of_batches(self, donor: Any, x: Any, tmp_path: Path) -> None:
        ma.save_model(tmp_path / "donor.h5", donor, inputs=x)
        target = Classifier().eval()
        report = ma.load_parameters(tmp_path / "donor.h5", target)
        assert report.missing == ["features.1.num_batches_tracked"]
        assert torch.equal(target(x), donor(x))

    def test_every_misfit_is_listed_and_each_hint_works(self, donor: Any, tmp_path: Path) -> None:
        state = {name: each for name, each in donor.state_dict().items() if name != "fc.bias"}
        ma.save(tmp_path / "part.h5", {**state, "more": torch.ones(1)})
        target = Classifier()
        before = target.fc.weight.detach().clone()
        with pytest.raises(ma.ParameterError) as told:
            ma.load_parameters(tmp_path / "part.h5", target)
        assert (told.value.missing, told.value.unexpected) == (["fc.bias"], ["more"])
        assert told.value.file == str(tmp_path / "part.h5")
        assert torch.equal(target.fc.weight, before)
        assert "allow_missing=True" in str(told.value)
        assert "ignore_extra=True" in str(told.value)
        ma.load_parameters(tmp_path / "part.h5", target, allow_missing=True, ignore_extra=True)
        assert torch.equal(target.fc.weight, donor.fc.weight)

    def test_what_another_verb_takes_is_said_to_be_its(self, donor: Any) -> None:
        source = {**donor.state_dict(), "fc.weight": torch.ones(5, 4)}
        target = Classifier()
        with pytest.raises(ma.ParameterError) as told:
            ma.load_parameters(source, target)
        assert 'mismatch="skip"' in str(told.value.hint)
        assert "transplant() takes this" in str(told.value.hint)
        assert ma.transplant(source, target, mismatch="skip").mismatched
        assert torch.equal(target.fc.bias, donor.fc.bias)

    def test_dtypes(self, donor: Any) -> None:
        target = Classifier().double()
        with pytest.raises(ma.ParameterError, match="cast_dtype=True"):
            ma.load_parameters(donor, target)
        ma.load_parameters(donor, target, cast_dtype=True)
        assert torch.equal(target.fc.weight, donor.fc.weight.double())


def test_a_folder_of_transformers_into_its_own_modules(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    options = {"vocab_size": 40, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 20, "bos_token_id": 0}
    config = transformers.GPT2Config(**options, eos_token_id=0)
    donor, target = (transformers.GPT2LMHeadModel(config).eval() for _ in range(2))
    donor.save_pretrained(tmp_path / "gpt2")
    report = ma.transplant(tmp_path / "gpt2", target)
    assert not report.missing
    words = torch.arange(6).reshape(1, 6)
    with torch.no_grad():
        assert torch.equal(target(words).logits, donor(words).logits)
    built = ma.load_model(tmp_path / "gpt2", backend="torch")
    torch.nn.init.zeros_(next(built.parameters()))
    ma.transplant(tmp_path / "gpt2", built)
    with torch.no_grad():
        torch.testing.assert_close(built(words), donor(words).logits, atol=1e-4, rtol=1e-4)


def test_parameters_of_a_file_whose_architecture_is_refused(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    x = keras.Input((3,))
    keras.Model(x, keras.layers.Lambda(lambda x: x * 2)(keras.layers.Dense(2, name="a")(x))).save(
        tmp_path / "own.keras"
    )
    target = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 2)})
    with pytest.raises(ma.ParameterError) as told:
        ma.transplant(tmp_path / "own.keras", target, rename={"a.kernel": "a.weight"})
    assert "is transposed" in str(told.value.hint)
    report = ma.transplant(tmp_path / "own.keras", target, select="a.bias")
    assert any("(architecture)" in note for note in report.notes)


def test_freezing_does_not_stop_statistics_and_following_the_note_does(donor: Any) -> None:
    net = Classifier()
    report = ma.transplant(donor, net, select="features.*", freeze=True)
    (note,) = report.notes
    assert "statistics features.1.running_mean and 1 more: eval()" in note
    before = net.features[1].running_mean.clone()
    net.train()
    net.features.eval()
    net(torch.randn(2, 3, 8, 8))
    assert torch.equal(net.features[1].running_mean, before)
    assert ma.transplant(donor, Classifier(), select="fc.*", freeze=True).notes == []


def test_a_part_that_is_called_otherwise_is_noted_with_the_rule_that_brings_it(donor: Any) -> None:
    target = torch.nn.ModuleDict({"fc": torch.nn.Linear(4, 10), "body": Classifier().features})
    report = ma.transplant(donor, target)
    assert len(report.copied) == 2
    (note,) = report.notes
    assert 'rename={"features.*": "body.*"}' in note
    again = ma.transplant(donor, target, rename={"features.*": "body.*"})
    assert again.missing == []
    assert again.notes == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rename": "a.*"}, 'rename is str, expected a dict such as {"features'),
        ({"resize": "interpolate"}, 'resize is str, expected a dict such as {"\\*position'),
        ({"rows": ["a"]}, "rows is list, expected a dict"),
    ],
)
def test_options_that_are_dicts(donor: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        ma.transplant(donor, Classifier(), **options)


def test_what_is_given_for_a_target_by_mistake(donor: Any, tmp_path: Path) -> None:
    ma.save(tmp_path / "x.h5", donor.state_dict())
    with pytest.raises(TypeError, match=r"is a path .*: the source comes first, transplant\(source, target\)"):
        ma.transplant(donor, tmp_path / "x.h5")
    with pytest.raises(TypeError, match=r"is the class Linear.*: make one first, Linear\(\.\.\.\)"):
        ma.transplant(donor, torch.nn.Linear)
    with pytest.raises(TypeError, match=r"it comes first, as in save\(path, data\)"):
        ma.save(donor.state_dict(), "x.h5")
