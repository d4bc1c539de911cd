"""Archives in shards that transformers loads, what it does with a damaged byte, and the guard before it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.numpy

import modelarchive as ma
from modelarchive import maintenance, zoo
from modelarchive.errors import ConversionError, IntegrityError
from tests.exchange.huggingface.models import complaints, expected, inputs_of, model, several
from tests.zoo.comparison import error
from tests.zoo.conftest import transformers

__all__ = ["transformers"]  # the fixture
torch = pytest.importorskip("torch")

NAMES = ["LlamaForCausalLM, every option", "BertForMaskedLM", "BertModel", "Qwen2ForCausalLM"]


@pytest.fixture(params=NAMES)
def theirs(request, transformers, tmp_path):
    module = model(request.param, transformers, torch)
    module.save_pretrained(tmp_path / "theirs")
    return module


def loaded(module, folder):
    again, info = type(module).from_pretrained(folder, output_loading_info=True)
    assert not complaints(info)
    return again.eval()


def test_one_folder_is_both(theirs, tmp_path):
    assert ma.convert(tmp_path / "theirs", tmp_path / "both", max_shard_size="8KB", durable=False) == []
    assert len(list((tmp_path / "both").glob("model-*.safetensors"))) > 2
    again = loaded(theirs, tmp_path / "both")
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    with ma.open(tmp_path / "both") as archive:
        assert archive.verify().has_architecture
        inputs = inputs_of(archive.architecture)
        net = archive.build()
    for one, other in zip(several(net(*inputs.values())), expected(theirs, inputs, torch), strict=True):
        assert error(one, other) < 1e-5
    values = json.loads((tmp_path / "both" / "config.json").read_text())
    assert values == json.loads((tmp_path / "theirs" / "config.json").read_text())


@pytest.mark.parametrize("size", [None, "8KB"])
def test_a_plain_folder_holds_the_arrays_of_the_model_and_no_other(theirs, tmp_path, size):
    ma.convert(tmp_path / "theirs", tmp_path / "x.h5", durable=False)
    notes = ma.convert(tmp_path / "x.h5", f"{tmp_path / 'plain'}/", plain=True, max_shard_size=size, durable=False)
    assert not notes
    files = sorted((tmp_path / "plain").glob("*.safetensors"))
    assert (len(files) > 1) == (size is not None)
    names = {name for file in files for name in safetensors.numpy.load_file(file)}
    assert names <= theirs.state_dict().keys()
    again = loaded(theirs, tmp_path / "plain")
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_what_is_never_plain(tmp_path):
    ma.save(tmp_path / "x.h5", {"x": np.zeros(2)})
    with pytest.raises(ValueError, match="plain is for Hugging Face folders"):
        ma.convert(tmp_path / "x.h5", tmp_path / "x.safetensors", plain=True)


def test_a_network_saved_in_shards(theirs, tmp_path):
    ma.convert(tmp_path / "theirs", tmp_path / "x.h5", durable=False)
    with ma.open(tmp_path / "x.h5") as archive:
        net, metadata = archive.build(), archive.metadata
    for parameter in {id(each): each for each in net.collect_params().values()}.values():
        parameter.set_data(parameter.value() * np.float32(0.5))
    assert not ma.save_model(tmp_path / "half", net, metadata=metadata, max_shard_size="8KB", durable=False)
    again = loaded(theirs, tmp_path / "half")
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor / 2 if tensor.is_floating_point() else tensor)
    # Written anew it stays a folder of transformers; in one file it is an archive.
    maintenance.repack(tmp_path / "half", max_shard_size="1GB", durable=False)
    assert (tmp_path / "half" / "model.safetensors").is_file()
    loaded(theirs, tmp_path / "half")
    maintenance.repack(tmp_path / "half", tmp_path / "half.h5", durable=False)
    one, other = (ma.load(tmp_path / each) for each in ("half", "half.h5"))
    assert list(one) == list(other)
    assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_repacked_in_another_dtype_transformers_is_told_so(transformers, tmp_path, key):
    module = model("LlamaModel", transformers, torch)
    module.save_pretrained(tmp_path / "theirs")
    config = tmp_path / "theirs" / "config.json"
    values = json.loads(config.read_text())
    values.pop("dtype", None)
    config.write_text(json.dumps(values | {key: "float32"}))
    ma.convert(tmp_path / "theirs", tmp_path / "both", max_shard_size="8KB", durable=False)
    written = (tmp_path / "both" / "config.json").read_bytes()
    maintenance.repack(tmp_path / "both", tmp_path / "same", max_shard_size="1GB", durable=False)
    assert (tmp_path / "same" / "config.json").read_bytes() == written
    maintenance.repack(tmp_path / "both", dtype="bfloat16", max_shard_size="1GB", durable=False)
    ma.verify(tmp_path / "both")
    values = json.loads(written)
    assert json.loads((tmp_path / "both" / "config.json").read_bytes()) == values | {key: "bfloat16"}
    again = type(module).from_pretrained(tmp_path / "both")
    assert {each.dtype for each in again.parameters()} == {torch.bfloat16}


def test_a_damaged_byte_is_served_and_the_guard_names_it(transformers, tmp_path):
    module = model("LlamaModel", transformers, torch)
    module.save_pretrained(tmp_path / "theirs")
    ma.convert(tmp_path / "theirs", tmp_path / "both", max_shard_size="8KB", durable=False)
    ma.verify(tmp_path / "both")
    path = sorted((tmp_path / "both").glob("model-*"))[1]
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 0x40
    path.write_bytes(raw)
    again = loaded(module, tmp_path / "both")
    changed = [name for name, each in module.state_dict().items() if not torch.equal(each, again.state_dict()[name])]
    assert len(changed) == 1
    with pytest.raises(IntegrityError) as caught:
        ma.verify(tmp_path / "both")
    (named,) = caught.value.damaged
    assert named == f"{path.name}: {changed[0]}"


def test_what_lies_beside_is_checked(transformers, tmp_path):
    model("BertModel", transformers, torch).save_pretrained(tmp_path / "theirs")
    ma.convert(tmp_path / "theirs", f"{tmp_path}/both/", durable=False)
    config = tmp_path / "both" / "config.json"
    config.write_text(config.read_text().replace('"gelu"', '"relu"'))
    with pytest.raises(IntegrityError) as caught:
        ma.verify(tmp_path / "both")
    assert {*caught.value.damaged} == {"config.json"}
    config.unlink()
    with pytest.raises(IntegrityError, match=r"config\.json: expected .*, found no such file"):
        ma.verify(tmp_path / "both")


def test_what_transformers_has_otherwise(transformers, tmp_path):
    module = model("GPT2LMHeadModel, every option", transformers, torch)
    module.save_pretrained(tmp_path / "theirs")
    (note,) = ma.convert(tmp_path / "theirs", f"{tmp_path}/plain/", durable=False)
    assert note.where == "(archive)"
    assert "lies the other way" in note.what
    loaded(module, tmp_path / "plain")
    (note,) = ma.convert(tmp_path / "theirs", tmp_path / "shards", max_shard_size="8KB", durable=False)
    assert note.where == "config.json"
    assert "transformers does not load the folder" in note.what
    ma.verify(tmp_path / "shards")


def test_what_transformers_has_not(tmp_path):
    net = zoo.LeNet()
    net.initialize(seed=0)
    x = np.zeros((1, 1, 28, 28), np.float32)
    net(x)
    ma.save_model(tmp_path / "x.h5", net, inputs=x, durable=False)
    with pytest.raises(ConversionError, match=r'max_shard_size="5GB" makes an archive in shards of it'):
        ma.convert(tmp_path / "x.h5", f"{tmp_path}/folder/")
    assert not (tmp_path / "folder").exists()
    assert ma.convert(tmp_path / "x.h5", f"{tmp_path}/folder/", max_shard_size="100KB", durable=False) == []
    np.testing.assert_array_equal(ma.load_model(tmp_path / "folder", verify=True)(x), net(x))
    ma.convert(tmp_path / "folder", tmp_path / "y.safetensors.index.json", max_shard_size="100KB", durable=False)
    assert len(list(tmp_path.glob("y-*.safetensors"))) > 1
    for target, size in (("y.h5", "1MB"), ("y.onnx", "1MB"), ("y.h5/", "many")):
        with pytest.raises(ValueError, match=r"would be a|expected bytes such as"):
            ma.convert(tmp_path / "x.h5", f"{tmp_path}/{target}", max_shard_size=size)


def test_a_model_in_memory_becomes_a_folder_that_transformers_loads(theirs, tmp_path):
    inputs = inputs_of_module(theirs)
    random = torch.random.get_rng_state()
    ma.save_model(tmp_path / "live", theirs, inputs=inputs, max_shard_size="8KB", durable=False)
    assert torch.equal(torch.random.get_rng_state(), random)
    assert (tmp_path / "live" / "config.json").exists(), "of sizes that transformers has by default otherwise"
    again = loaded(theirs, tmp_path / "live")
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    with torch.no_grad():
        for one, other in zip(again(**inputs).values(), theirs(**inputs).values(), strict=True):
            assert not isinstance(one, torch.Tensor) or torch.equal(one, other)
    assert ma.verify(tmp_path / "live").has_architecture


def inputs_of_module(module):
    module.config.use_cache = False
    return {"input_ids": torch.tensor([[1, 5, 7, 3]]), "attention_mask": torch.ones((1, 4), dtype=torch.int64)}


def changed_activation(module):
    module.bert.encoder.layer[0].intermediate.intermediate_act_fn = torch.nn.Tanh()


def untied(module):
    decoder = module.cls.predictions.decoder
    decoder.weight = torch.nn.Parameter(decoder.weight.detach().clone())


def hooked(module):
    module.bert.register_forward_hook(lambda *_: None)


@pytest.mark.parametrize("change", [changed_activation, untied, hooked])
def test_what_is_not_as_its_configuration_says_is_no_folder_of_transformers(transformers, tmp_path, change):
    module = model("BertForMaskedLM", transformers, torch)
    change(module)
    inputs = inputs_of_module(module)
    notes = ma.save_model(tmp_path / "live", module, inputs=inputs, max_shard_size="8KB", durable=False)
    assert [note.where for note in notes if "transformers does not load" in note.what] == ["config.json"]
    assert not (tmp_path / "live" / "config.json").exists()
    assert ma.verify(tmp_path / "live").has_architecture
