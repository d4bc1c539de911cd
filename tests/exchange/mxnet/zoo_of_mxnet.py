"""Run by a Python that has MXNet: exports networks of Gluon's model zoo with random weights, inputs and outputs."""

import sys

import mxnet as mx  # type: ignore[import-not-found]
import numpy as np
from mxnet.gluon.model_zoo import vision  # type: ignore[import-not-found]

folder = sys.argv[1]
for name in sys.argv[2:]:
    mx.random.seed(1)
    np.random.seed(1)
    network = vision.get_model(name, classes=10)
    network.initialize(mx.init.Xavier())
    # These end in a pooling or a dense layer of a fixed size.
    size = 299 if name.startswith("inception") else 224 if not name.startswith("resnet") else 64
    x = mx.nd.random.uniform(shape=(1, 3, size, size))
    network(x)
    for key, parameter in network.collect_params().items():
        if "running_mean" in key:
            parameter.set_data(mx.nd.random.normal(shape=parameter.shape) * 0.1)
        if "running_var" in key:
            parameter.set_data(mx.nd.random.uniform(0.5, 1.5, shape=parameter.shape))
    network.hybridize()
    y = network(x)
    network.export(f"{folder}/{name}")
    np.savez(f"{folder}/{name}-inputs.npz", x0=x.asnumpy())
    np.savez(f"{folder}/{name}-expected.npz", y=y.asnumpy())
