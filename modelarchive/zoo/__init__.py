"""Networks that people know, as blocks: examples to read, and receivers of their published parameters."""

from modelarchive.zoo.alexnet import AlexNet
from modelarchive.zoo.bert import BERT, SentenceEncoder, minilm_l6
from modelarchive.zoo.densenet import DenseNet, densenet121
from modelarchive.zoo.googlenet import GoogLeNet
from modelarchive.zoo.gpt2 import GPT2
from modelarchive.zoo.lenet import LeNet
from modelarchive.zoo.llama import Llama
from modelarchive.zoo.mobilenet import MobileNetV2
from modelarchive.zoo.nin import NiN
from modelarchive.zoo.recurrent import GRUClassifier, LSTMClassifier
from modelarchive.zoo.resnet import ResNet, resnet18, resnet50
from modelarchive.zoo.transformer import Transformer, TransformerDecoder, TransformerEncoder
from modelarchive.zoo.unet import UNet
from modelarchive.zoo.vgg import VGG11
from modelarchive.zoo.vit import ViT

__all__ = [
    "BERT",
    "GPT2",
    "VGG11",
    "AlexNet",
    "DenseNet",
    "GRUClassifier",
    "GoogLeNet",
    "LSTMClassifier",
    "LeNet",
    "Llama",
    "MobileNetV2",
    "NiN",
    "ResNet",
    "SentenceEncoder",
    "Transformer",
    "TransformerDecoder",
    "TransformerEncoder",
    "UNet",
    "ViT",
    "densenet121",
    "minilm_l6",
    "resnet18",
    "resnet50",
]
