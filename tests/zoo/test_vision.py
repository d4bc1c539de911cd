"""Networks for images: outputs of PyTorch's modules with the same parameters, and of the rebuilt archive."""

import subprocess
import sys

import numpy as np
import pytest

from modelarchive import save_model, zoo
from tests.conftest import ROOT
from tests.zoo.comparison import compared, given, randomised, rebuilt

#: Network -> ours, PyTorch's, (channels, height, width) of the input, names that differ.
NETWORKS = {
    "LeNet": (lambda: zoo.LeNet(), lambda theirs: theirs.lenet(), (1, 28, 28), None),
    "AlexNet": (lambda: zoo.AlexNet(10, 32), lambda theirs: theirs.alexnet(10, 32), (3, 95, 67), None),
    "VGG-11": (lambda: zoo.VGG11(10, 16), lambda theirs: theirs.vgg11(10, 16), (3, 32, 45), None),
    "NiN": (lambda: zoo.NiN(10), lambda theirs: theirs.nin(10), (3, 95, 67), {"*.layer.*": "*.*"}),
    "GoogLeNet": (lambda: zoo.GoogLeNet(10), lambda theirs: theirs.GoogLeNet(10), (3, 61, 64), None),
    "ResNet-18": (
        lambda: zoo.resnet18(10),
        lambda theirs: theirs.ResNet(theirs.BasicBlock, [2, 2, 2, 2], 10),
        (3, 61, 64),
        None,
    ),
    "ResNet-50": (
        lambda: zoo.resnet50(),
        lambda theirs: theirs.ResNet(theirs.Bottleneck, [3, 4, 6, 3]),
        (3, 64, 64),
        None,
    ),
    "DenseNet-121": (
        lambda: zoo.densenet121(10),
        lambda theirs: theirs.DenseNet([6, 12, 24, 16], classes=10),
        (3, 64, 64),
        None,
    ),
    "U-Net": (lambda: zoo.UNet(3, 8), lambda theirs: theirs.UNet(3, 3, 8), (3, 48, 32), None),
    "U-Net, bilinear": (
        lambda: zoo.UNet(3, 8, bilinear=True),
        lambda theirs: theirs.UNet(3, 3, 8, bilinear=True),
        (3, 48, 32),
        None,
    ),
    "MobileNetV2": (lambda: zoo.MobileNetV2(10), lambda theirs: theirs.MobileNetV2(10), (3, 45, 64), None),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_pytorch_s_and_survive_the_archive(name, torch, tmp_path, request):
    from tests.zoo import vision_references

    ours, theirs, shape, rename = NETWORKS[name]
    module = randomised(theirs(vision_references), torch)
    net = given(ours(), module, rename)
    if shape[0] == 3 and request.config.getoption("--full-size"):
        shape = (3, 224, 224)
    x = np.random.default_rng(1).standard_normal((2, *shape), np.float32)
    compared(net, module, torch, x)
    rebuilt(net, tmp_path, x)


@pytest.mark.slow
def test_a_model_is_rebuilt_by_a_process_that_lacks_its_code(tmp_path):
    net = zoo.resnet18(4)
    net.initialize(seed=0)
    x = np.random.default_rng(0).standard_normal((1, 3, 40, 40), np.float32)
    expected = net(x)
    save_model(tmp_path / "net.h5", net, inputs=x)
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, numpy\n"
        "sys.modules['modelarchive.zoo'] = None\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "import modelarchive\n"
        "numpy.save('y.npy', modelarchive.load_model('net.h5')(numpy.load('x.npy')))\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=300)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)


def test_the_hierarchy_is_kept(tmp_path):
    net = zoo.resnet18(4)
    net.initialize(seed=0)
    again = rebuilt(net, tmp_path, np.zeros((1, 3, 32, 32), np.float32))
    assert list(again.children)[4:8] == ["layer1", "layer2", "layer3", "layer4"]
    assert set(again.layer2[0].children) >= {"conv1", "bn1", "conv2", "bn2", "downsample"}


def test_vit_is_transformers_vit(torch, transformers, tmp_path):
    config = transformers.ViTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=40,
        image_size=24,
        patch_size=8,
        num_labels=5,
    )
    module = randomised(transformers.ViTForImageClassification(config), torch)
    names = {
        "vit.embeddings.patch_embeddings.*": "embeddings.*",
        "vit.*.o_proj.*": "*.out_proj.*",
        "vit.*": "*",
    }
    net = given(zoo.ViT(5, 24, 8, 24, 2, 4, 40), module, names)
    x = np.random.default_rng(1).standard_normal((2, 3, 24, 24), np.float32)
    compared(net, module, torch, x, call=lambda module, x: module(x).logits)
    rebuilt(net, tmp_path, x)
