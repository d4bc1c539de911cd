"""The demo's chapters for PyTorch: a trained module saved whole, loaded without its class, and taken apart."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from modelarchive.errors import MissingDependencyError

if TYPE_CHECKING:
    from modelarchive.cli.demo_stage import Stage

#: What the second process runs: NumPy first, where nobody has imported PyTorch, then the same file as a module.
_REOPEN: Final = """
import sys, numpy as np, modelarchive as ma
archive, images, out = sys.argv[1:]
images = np.load(images)
np.save(out, ma.load_model(archive)(images))
in_numpy = "torch" not in sys.modules
net = ma.load_model(archive, backend="torch")
import torch
with torch.no_grad():
    np.save(out + ".torch.npy", net(torch.from_numpy(images)).numpy())
print(type(net).__name__, in_numpy, any(name.endswith("demo_torch") for name in sys.modules))
"""


def framework() -> Any:
    """PyTorch, which the person at the terminal asked for.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise MissingDependencyError(f"demo --torch needs PyTorch: {error}", extra="torch") from error


def network(torch: Any) -> Any:
    """The demo's LeNet as a user of PyTorch writes it: ``(batch, 1, 8, 8)`` to ``(batch, 10)``."""

    class LeNet(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.features = torch.nn.Sequential(
                torch.nn.Conv2d(1, 16, kernel_size=3, padding=1),
                torch.nn.BatchNorm2d(16),
                torch.nn.ReLU(),
                torch.nn.MaxPool2d(2),
                torch.nn.Conv2d(16, 32, kernel_size=3, padding=1),
                torch.nn.BatchNorm2d(32),
                torch.nn.ReLU(),
                torch.nn.MaxPool2d(2),
            )
            self.hidden = torch.nn.Linear(128, 64)
            self.dropout = torch.nn.Dropout(0.3)
            self.output = torch.nn.Linear(64, 10)

        def forward(self, x: Any) -> Any:
            x = torch.flatten(self.features(x), 1)
            return self.output(self.dropout(torch.relu(self.hidden(x))))

    return LeNet()


class TorchStory:
    """The chapters share the network and its file.

    Args:
        stage: What they share with the other chapters.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.torch = framework()
        self.file = stage.folder / "lenet-torch.h5"

    def run(self) -> None:
        """Run all chapters in order."""
        for chapter in (self.save, self.reopen, self.first_layers, self.ship, self.look):
            chapter()

    def save(self) -> None:
        """A trained module into one file."""
        import modelarchive as ma

        torch, stage = self.torch, self.stage
        stage.chapter(f"11. PyTorch: save_model({str(self.file)!r}, net, inputs=images), net a torch.nn.Module")
        self.net = network(torch)
        ma.load_parameters(stage.trained, self.net)
        self.images = torch.from_numpy(stage.images)
        self.net.train()
        notes = ma.save_model(self.file, self.net, inputs=self.images, metadata={"task": "handwritten digits, 8x8"})
        was_training = self.net.training
        with torch.no_grad():
            self.logits = self.net.eval()(self.images).numpy()
        accuracy = float((self.logits.argmax(axis=1) == stage.labels).mean())
        stage.tell(f"   accuracy of the module: {accuracy:.1%}")
        stage.tell(f"   saved in the middle of training, and in training it stayed: {stage.yes(was_training)}")
        for note in notes or ():
            stage.tell(f"   told: {note}")
        stage.figures |= {"torch_accuracy": accuracy, "torch_still_training": was_training}

    def reopen(self) -> None:
        """The model in a process that has no such class: in NumPy, and as a module."""
        stage = self.stage
        stage.chapter("12. load_model in a new process, without the class: in NumPy, then as a torch.nn.Module")
        out = stage.folder / "logits-torch.npy"
        kind, in_numpy, knew_the_class = stage.in_a_new_process(_REOPEN, self.file, out)
        found = [np.load(path) for path in (out, f"{out}.torch.npy")]
        error = max(float(np.abs(each - self.logits).max()) for each in found)
        stage.tell(f"   NumPy alone computed it, PyTorch was not imported: {stage.yes(in_numpy == 'True')}")
        stage.tell(f"   as a module it is a {kind}; largest difference from the original's logits: {error:.1e}")
        stage.figures |= {"torch_largest_error": error, "torch_not_needed": in_numpy == "True"}
        stage.figures["torch_knew_the_class"] = knew_the_class == "True"

    def first_layers(self) -> None:
        """The first layers in a new module: as a block, and by name into one that is there."""
        import modelarchive as ma

        nn, stage = self.torch.nn, self.stage
        stage.chapter("13. The first layers in a new module")
        features = ma.load_model(self.file, block="features", backend="torch")
        new = nn.Sequential(features, nn.Flatten(), nn.Linear(128, 2))
        stage.tell("   nn.Sequential(load_model(file, block='features', backend='torch'), Flatten, Linear(128, 2))")
        stage.tell(f"   runs on the images, output {tuple(new(self.images).shape)}")
        stage.tell("   transplant(file, other, select='features.*', freeze=True), into a module that is there:")
        other = nn.ModuleDict({"features": network(self.torch).features, "head": nn.Linear(128, 2)})
        report = ma.transplant(self.file, other, select="features.*", freeze=True)
        for line in str(report).splitlines():
            stage.tell(f"      {line}")
        is_equal = all(
            self.torch.equal(one, two)
            for one, two in zip(other["features"].parameters(), self.net.features.parameters(), strict=True)
        )
        stage.figures |= {"torch_transplanted": len(report.copied), "torch_layers_identical": is_equal}

    def ship(self) -> None:
        """The file for people without this package."""
        stage = self.stage
        stage.chapter("14. Ship it: h5py and safetensors read the same file")
        by_hdf5, by_safetensors, names = stage.read_elsewhere(self.file, "hidden.weight")
        is_equal = by_hdf5.tobytes() == by_safetensors.tobytes() == self.net.hidden.weight.detach().numpy().tobytes()
        stage.tell(f"   {len(names)} tensors, the bits of net.hidden.weight in both: {stage.yes(is_equal)}")
        stage.figures["torch_readers_agree"] = is_equal

    def look(self) -> None:
        """What is in the file."""
        self.stage.chapter(f"15. Look into it: modelarchive show {self.file}")
        self.stage.show(self.file)
