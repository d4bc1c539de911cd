"""Every network of the zoo, small, with inputs: what frameworks have to give the same outputs for."""

from unittest import mock

import numpy as np

from modelarchive import nn, zoo


def images(*shape):
    return lambda rng: (rng.standard_normal((2, *shape), np.float32),)


def words(*lengths, limit=30):
    return lambda rng: tuple(rng.integers(0, limit, (2, length)) for length in lengths)


def masked(*lengths, dtype, limit=30):
    def make(rng):
        ids = words(*lengths, limit=limit)(rng)
        return (*ids, (np.arange(lengths[0]) < [[lengths[0]], [lengths[0] - 3]]).astype(dtype))

    return make


def narrow(make, by=8):
    """A network of images as it is made, with an eighth of the channels of its convolutions: the same blocks."""

    def less(channels):
        return channels if channels % by else channels // by

    def convolution(channels, *sizes, groups=1, **options):
        return original(less(channels), *sizes, groups=less(groups), **options)

    def made():
        with mock.patch.object(nn, "Conv2D", convolution):
            return make()

    original = nn.Conv2D
    return made


LLAMA3 = {
    "type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position": 16.0,
}
#: Name -> how the network and its inputs are made.
NETWORKS = {
    "LeNet": (zoo.LeNet, images(1, 28, 28)),
    "AlexNet": (narrow(lambda: zoo.AlexNet(10, 32)), images(3, 95, 67)),
    "VGG-11": (narrow(lambda: zoo.VGG11(10, 16)), images(3, 32, 45)),
    "NiN": (narrow(lambda: zoo.NiN(10)), images(3, 95, 67)),
    "GoogLeNet": (narrow(lambda: zoo.GoogLeNet(10)), images(3, 61, 64)),
    "ResNet-18": (narrow(lambda: zoo.resnet18(10)), images(3, 33, 64)),
    "ResNet-50": (narrow(lambda: zoo.resnet50(10)), images(3, 64, 33)),
    "DenseNet-121": (narrow(lambda: zoo.densenet121(10)), images(3, 33, 64)),
    "U-Net": (lambda: zoo.UNet(3, 8), images(3, 48, 32)),
    "U-Net, bilinear": (lambda: zoo.UNet(3, 8, bilinear=True), images(3, 48, 32)),
    "MobileNetV2": (narrow(lambda: zoo.MobileNetV2(10)), images(3, 45, 64)),
    "ViT": (lambda: zoo.ViT(5, 24, 8, 24, 2, 4, 40), images(3, 24, 24)),
    "BERT": (lambda: zoo.BERT(50, 24, 2, 4, 40, 16), masked(9, dtype=np.int64)),
    "GPT-2": (lambda: zoo.GPT2(50, 24, 2, 4, 16), words(9)),
    "Llama": (lambda: zoo.Llama(50, 32, 3, 8, 2, 48), words(9)),
    "Llama 3": (lambda: zoo.Llama(50, 32, 2, 8, 2, 48, scaling=LLAMA3), words(9)),
    "Transformer": (lambda: zoo.Transformer(30, 40, 2, 24, 4, 36), masked(9, 7, dtype=bool)),
    "LSTM": (lambda: zoo.LSTMClassifier(50, 3, 12, 10, 2), words(7)),
    "GRU": (lambda: zoo.GRUClassifier(50, 3, 12, 10, 2), words(7)),
}


def network(name):
    """A network of :data:`NETWORKS` with random parameters that neither die out nor explode, and its inputs."""
    make, inputs = NETWORKS[name]
    net = make()
    given = inputs(np.random.default_rng(1))
    net.initialize("xavier", seed=0)
    net(*given)
    rng = np.random.default_rng(2)
    for _, block in net.named_blocks():
        if isinstance(block, nn.BatchNorm):
            size = block.running_mean.known_shape
            block.running_mean.set_data(rng.normal(0, 0.1, size).astype(np.float32))
            block.running_var.set_data(rng.uniform(0.5, 1.5, size).astype(np.float32))
    return net, given
