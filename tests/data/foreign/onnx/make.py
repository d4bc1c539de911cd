"""Makes the files here, as PyTorch and Keras export them; the outputs are those of ONNX Runtime.

Made with torch 2.13.0, onnxscript 0.7.2, Keras 3.15.1, onnx 1.23.2 and ONNX Runtime 1.31.1:
``KERAS_BACKEND=torch python make.py``. Each model has a .npz with its inputs and outputs by place, and the
parameters of the module that it was made of, by name.
"""

import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

HERE = Path(__file__).parent


class Image(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.BatchNorm2d(8), nn.ReLU())
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8, bias=False)
        self.norm = nn.GroupNorm(2, 8)
        self.up = nn.Upsample(scale_factor=2)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.features(x)
        y = nn.functional.hardswish(self.norm(self.depthwise(x)))
        y = nn.functional.max_pool2d(self.up(y), 2, ceil_mode=True)
        return self.head(nn.functional.adaptive_avg_pool2d(y, 1).flatten(1)).log_softmax(-1)


class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(30, 16)
        self.position = nn.Parameter(torch.randn(12, 16) / 4)
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))
        self.norm = nn.LayerNorm(16)
        self.inner, self.outer = nn.Linear(16, 24), nn.Linear(24, 16)

    def forward(self, words):
        batch, length = words.shape
        x = self.embedding(words) + self.position[:length]
        heads = [each(x).view(batch, length, 4, 4).transpose(1, 2) for each in (self.query, self.key, self.value)]
        scores = heads[0] @ heads[1].transpose(2, 3) / 2.0
        mask = torch.ones(length, length, dtype=torch.bool).tril()
        x = x + (scores.masked_fill(~mask, -1e9).softmax(-1) @ heads[2]).transpose(1, 2).reshape(batch, length, 16)
        x = x + self.outer(nn.functional.gelu(self.inner(self.norm(x))))
        return x @ self.embedding.weight.T


class Sound(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv1d(6, 8, 3)
        self.lstm = nn.LSTM(8, 5, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(10, 4, batch_first=True)

    def forward(self, x):
        x = torch.tanh(self.convolution(x)).transpose(1, 2)
        return self.gru(self.lstm(x)[0])[0][:, -1], x.mean(dim=(1, 2)), x.argmax(dim=1)


MODELS = {
    "image": (Image, torch.randn(2, 3, 15, 17), {0: "batch"}),
    "text": (Text, torch.randint(0, 30, (3, 9)), {0: "batch", 1: "length"}),
    "sound": (Sound, torch.randn(2, 6, 11), {0: "batch"}),
}


def main():
    torch.manual_seed(0)
    for name, (make, x, free) in MODELS.items():
        module = make().eval()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter) / 8)  # none is zeros, which exporters merge
            for buffer in module.buffers():
                if buffer.dtype.is_floating_point:
                    buffer.add_(torch.rand_like(buffer))
        old, new = HERE / f"torch-{name}-script.onnx", HERE / f"torch-{name}.onnx"
        training = torch.onnx.TrainingMode.PRESERVE if name == "image" else torch.onnx.TrainingMode.EVAL
        torch.onnx.export(
            module,
            (x,),
            old,
            dynamo=False,
            opset_version=17,
            input_names=["x"],
            dynamic_axes={"x": free},
            do_constant_folding=False,
            training=training,
        )
        dims = {axis: torch.export.Dim(each, min=2, max=12) for axis, each in free.items()}
        torch.onnx.export(
            module, (x,), new, dynamo=True, opset_version=20, dynamic_shapes=(dims,), external_data=name == "text"
        )
        state = {key: each.numpy() for key, each in module.state_dict().items()}
        for path in (old, new):
            record(path, [x.numpy()], state)
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, padding="same", activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(5, activation="softmax"),
        ]
    )
    path = HERE / "keras-image.onnx"
    network(np.zeros((1, 8, 8, 3), np.float32))
    network.export(path, format="onnx", verbose=False)
    record(path, [np.random.default_rng(0).random((1, 8, 8, 3), np.float32)], {})


def without_traces(path):
    """Leave out where in its own source PyTorch found each node: paths of the machine that it ran on."""
    model = onnx.load(path, load_external_data=False)
    for each in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del each.metadata_props[:]
        each.ClearField("doc_string")
    onnx.save(model, path)


def record(path, inputs, state):
    without_traces(path)
    session = onnxruntime.InferenceSession(path)
    outputs = session.run(None, dict(zip([each.name for each in session.get_inputs()], inputs, strict=True)))
    arrays = {f"input {at}": each for at, each in enumerate(inputs)}
    arrays |= {f"output {at}": each for at, each in enumerate(outputs)}
    np.savez_compressed(path.with_suffix(".npz"), **arrays, **{f"state {key}": each for key, each in state.items()})


if __name__ == "__main__":
    main()
