"""Networks in NumPy, in Gluon's manners: blocks, parameters and the layers of the vocabulary."""

from modelarchive.nn import init
from modelarchive.nn.activation import Activation, Dropout, Identity
from modelarchive.nn.block import Block, Layer
from modelarchive.nn.convolution import Conv1D, Conv2D, Conv3D
from modelarchive.nn.dense import Dense, Embedding
from modelarchive.nn.graph import Graph, Node
from modelarchive.nn.kinds import KINDS
from modelarchive.nn.normalisation import BatchNorm, LayerNorm
from modelarchive.nn.parameter import Parameter
from modelarchive.nn.pooling import (
    AvgPool1D,
    AvgPool2D,
    AvgPool3D,
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    GlobalAvgPool3D,
    GlobalMaxPool1D,
    GlobalMaxPool2D,
    GlobalMaxPool3D,
    MaxPool1D,
    MaxPool2D,
    MaxPool3D,
)
from modelarchive.nn.sequential import Sequential
from modelarchive.nn.shape import Flatten

__all__ = [
    "KINDS",
    "Activation",
    "AvgPool1D",
    "AvgPool2D",
    "AvgPool3D",
    "BatchNorm",
    "Block",
    "Conv1D",
    "Conv2D",
    "Conv3D",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAvgPool1D",
    "GlobalAvgPool2D",
    "GlobalAvgPool3D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "GlobalMaxPool3D",
    "Graph",
    "Identity",
    "Layer",
    "LayerNorm",
    "MaxPool1D",
    "MaxPool2D",
    "MaxPool3D",
    "Node",
    "Parameter",
    "Sequential",
    "init",
]
