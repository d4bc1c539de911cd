"""Networks of default size have as many parameters as is published; nothing is allocated to find out."""

import math

import pytest

from modelarchive import build, describe, zoo
from tests.sampling import some

IMAGE = [{"shape": [None, 3, 224, 224]}]
WORDS = [{"shape": [None, 128], "dtype": "int64"}]
MASKED = [*WORDS, *WORDS]

#: Network -> how it is made, its inputs, its trainable parameters as torchvision, Hugging Face and papers say.
PUBLISHED = {
    "LeNet-5": (zoo.LeNet, [{"shape": [None, 1, 28, 28]}], 61_706),
    "AlexNet": (zoo.AlexNet, IMAGE, 61_100_840),
    "VGG-11": (zoo.VGG11, IMAGE, 132_863_336),
    "GoogLeNet": (zoo.GoogLeNet, IMAGE, 6_624_904),
    "ResNet-18": (zoo.resnet18, IMAGE, 11_689_512),
    "ResNet-50": (zoo.resnet50, IMAGE, 25_557_032),
    "DenseNet-121": (zoo.densenet121, IMAGE, 7_978_856),
    "MobileNetV2": (zoo.MobileNetV2, IMAGE, 3_504_872),
    "U-Net": (zoo.UNet, IMAGE, 31_037_698),
    "BERT base": (zoo.BERT, MASKED, 109_482_240),
    "MiniLM": (zoo.minilm_l6, MASKED, 22_713_216),
    "GPT-2 small": (zoo.GPT2, WORDS, 124_439_808),
    "Llama 2 7B": (zoo.Llama, WORDS, 6_738_415_616),
    "ViT-B/16": (zoo.ViT, IMAGE, 86_567_656),
}


@pytest.mark.parametrize("name", some(PUBLISHED))
def test_the_defaults_have_the_published_size(name):
    make, inputs, published = PUBLISHED[name]
    architecture = describe(make(), inputs)
    parameters = {id(each): each for each in build(architecture).collect_params().values()}.values()
    assert not any(each.is_initialized for each in parameters)
    assert sum(math.prod(each.known_shape) for each in parameters if each.trainable) == published
