"""Networks in NumPy, in Gluon's manners: blocks, parameters and the layers of the vocabulary."""

from modelarchive.nn import init
from modelarchive.nn.activation import Activation, Dropout, Identity, LogSoftmax, PReLU, Softmax
from modelarchive.nn.attention import MultiHeadAttention
from modelarchive.nn.block import Block
from modelarchive.nn.convolution import Conv1D, Conv2D, Conv3D
from modelarchive.nn.dense import Dense, Embedding
from modelarchive.nn.graph import Graph, Node
from modelarchive.nn.kinds import KINDS
from modelarchive.nn.layer import Layer
from modelarchive.nn.normalisation import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
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
from modelarchive.nn.positions import PositionalEmbedding
from modelarchive.nn.recurrent import GRU, LSTM, RNN
from modelarchive.nn.resampling import AdaptiveAvgPool1D, AdaptiveAvgPool2D, Pad, Upsample
from modelarchive.nn.scan import Scan
from modelarchive.nn.sequential import Sequential
from modelarchive.nn.shape import Flatten, Permute, Reshape
from modelarchive.nn.transposed import Conv1DTranspose, Conv2DTranspose, Conv3DTranspose

__all__ = [
    "GRU",
    "KINDS",
    "LSTM",
    "RNN",
    "Activation",
    "AdaptiveAvgPool1D",
    "AdaptiveAvgPool2D",
    "AvgPool1D",
    "AvgPool2D",
    "AvgPool3D",
    "BatchNorm",
    "Block",
    "Conv1D",
    "Conv1DTranspose",
    "Conv2D",
    "Conv2DTranspose",
    "Conv3D",
    "Conv3DTranspose",
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
    "GroupNorm",
    "Identity",
    "InstanceNorm",
    "Layer",
    "LayerNorm",
    "LogSoftmax",
    "MaxPool1D",
    "MaxPool2D",
    "MaxPool3D",
    "MultiHeadAttention",
    "Node",
    "PReLU",
    "Pad",
    "Parameter",
    "Permute",
    "PositionalEmbedding",
    "RMSNorm",
    "Reshape",
    "Scan",
    "Sequential",
    "Softmax",
    "Upsample",
    "init",
]
