"""`modelarchive demo`: the whole story on a real network, with its files left to look at."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Final

import numpy as np

from modelarchive.cli import demo_run, demo_torch
from modelarchive.cli.arguments import Commands, add_command, on_disk
from modelarchive.cli.demo_stage import Stage
from modelarchive.cli.outcome import DONE
from modelarchive.cli.output import as_json, size

#: What the second process runs: it knows the file and the images, and no network class.
_REOPEN: Final = """
import sys, numpy as np, modelarchive as ma
archive, images, out = sys.argv[1:]
net = ma.load_model(archive)
np.save(out, net(np.load(images)))
print(type(net).__name__, any(name.endswith(".lenet") for name in sys.modules))
"""


def add(commands: Commands) -> None:
    """Add `demo`."""
    parser = add_command(
        commands,
        "demo",
        run,
        "Tell the whole story on a real network in under a minute",
        about="Save a trained LeNet, look into the file, rebuild it without its class, move its layers, "
        "damage a copy and find the damage, open it with HDF5 and safetensors. The files stay to look at.",
    )
    parser.add_argument("--folder", type=on_disk, default=Path("modelarchive-demo"), help="where to leave the files")
    parser.add_argument("--torch", action="store_true", help="go on with PyTorch: a torch.nn.Module saved, loaded, cut")


def run(chosen: argparse.Namespace) -> int:
    """Run all chapters in order.

    Raises:
        MissingDependencyError: PyTorch's chapters are asked for, and it is not installed.
    """
    if chosen.torch:
        demo_torch.framework()  # before the first chapter
    story = Story(chosen.folder, is_quiet=chosen.json)
    started = time.perf_counter()
    for chapter in (
        story.network,
        story.save,
        story.reopen,
        story.tree,
        story.one_block,
        story.new_network,
        story.verify,
        story.damage,
        story.other_readers,
        story.viewers,
    ):
        chapter()
    if chosen.torch:
        demo_torch.TorchStory(story).run()
        demo_run.chapter(story, 16)
    story.figures["seconds"] = round(time.perf_counter() - started, 1)
    story.tell(f"\nAll of this took {story.figures['seconds']} s. The files are in {chosen.folder}/.")
    if chosen.json:
        as_json(story.figures)
    return DONE


class Story(Stage):
    """The chapters share the network and the file."""

    def __init__(self, folder: Path, *, is_quiet: bool) -> None:
        super().__init__(folder, is_quiet=is_quiet)
        self.file = folder / "lenet.h5"

    def network(self) -> None:
        """The network in code, with the parameters that PyTorch trained."""
        from safetensors.numpy import load_file

        from modelarchive import transplant
        from modelarchive.cli.lenet import LeNet

        self.chapter("1. A network: LeNet, a subclass of nn.Block with its own forward, trained in PyTorch")
        self.net = LeNet()
        moved = transplant(load_file(self.trained), self.net)
        self.logits = self.net(self.images)
        accuracy = float((self.logits.argmax(axis=1) == self.labels).mean())
        self.tell(f"   {len(moved.copied)} arrays from {Path(self.trained).name}; not needed here: "
                  f"{', '.join(moved.unexpected)}")  # fmt: skip
        self.tell(f"   accuracy on {len(self.images)} held-back images of handwritten digits: {accuracy:.1%}")
        self.figures |= {"accuracy": accuracy, "images": len(self.images)}

    def save(self) -> None:
        """The whole model into one file."""
        from modelarchive import save_model

        self.chapter(f"2. save_model({str(self.file)!r}, net, inputs=images)")
        metadata = {"task": "handwritten digits, 8x8", "test accuracy": self.figures["accuracy"]}
        save_model(self.file, self.net, inputs=self.images, metadata=metadata)
        self.figures["bytes"] = self.file.stat().st_size
        self.tell(f"   {size(self.figures['bytes'])}: architecture as JSON, parameters, digests, metadata; no code")

    def reopen(self) -> None:
        """The model in a process that has no such class."""
        self.chapter("3. load_model in a new process that does not have the class LeNet")
        out = self.folder / "logits.npy"
        kind, knew_the_class = self.in_a_new_process(_REOPEN, self.file, out)
        logits = np.load(out)
        error = float(np.abs(logits - self.recorded).max())
        is_equal = logits.tobytes() == self.logits.tobytes()
        self.tell(f"   rebuilt as a {kind}; the class was imported: {'yes' if knew_the_class == 'True' else 'no'}")
        self.tell(f"   largest difference from PyTorch's own logits: {error:.1e}")
        self.tell(f"   bit for bit what the saving process computed: {self.yes(is_equal)}")
        self.figures |= {"largest_error": error, "bit_identical": is_equal, "knew_the_class": knew_the_class == "True"}

    def tree(self) -> None:
        """The tree of the file."""
        self.chapter(f"4. modelarchive show --tree {self.file}")
        self.show(self.file, "--tree")

    def one_block(self) -> None:
        """One block alone; only its bytes are read."""
        from modelarchive import load_model

        self.chapter("5. load_model(file, block='features'): one block alone")
        features = load_model(self.file, block="features")
        maps = features(self.images)
        is_equal = maps.tobytes() == self.net.features(self.images).tobytes()
        self.tell(f"   {len(features.collect_params())} parameters, output {maps.shape}, "
                  f"equal to the whole network's: {self.yes(is_equal)}")  # fmt: skip
        self.figures["block_identical"] = is_equal

    def new_network(self) -> None:
        """The first two layers in another architecture."""
        import modelarchive as ma
        from modelarchive import nn

        self.chapter("6. The first two layers in a network of another architecture")
        with ma.open(self.file) as archive:
            first = archive.build("features", slice(0, 2))
        net = nn.Sequential(*first, nn.Activation("tanh"), nn.GlobalAvgPool2D(), nn.Dense(2))  # type: ignore[misc]
        net.initialize(seed=0)
        say_shape = net(self.images).shape
        path = self.folder / "odd-or-even.h5"
        ma.save_model(path, net, inputs=self.images, metadata={"first two layers from": self.file.name})
        self.tell("   nn.Sequential(*archive.build('features', slice(0, 2)), Activation, GlobalAvgPool2D, Dense(2))")
        self.tell(f"   runs on the images, output {say_shape}; saved as {path.name}")
        self.tell("   the same by name, into a network that exists already (dry run):")
        target = nn.Sequential(nn.Conv2D(16, 3, padding=1), nn.BatchNorm(), nn.Activation("elu"), nn.Dense(2))
        report = ma.transplant(
            self.file, target, select=["features.0.*", "features.1.*"], rename={"features.*": "*"}, dry_run=True
        )
        for line in str(report).splitlines():
            self.tell(f"      {line}")
        self.figures["transplanted"] = len(report.copied)

    def verify(self) -> None:
        """Every digest."""
        import modelarchive as ma

        self.chapter(f"7. modelarchive verify {self.file}")
        with ma.open(self.file) as archive:
            self.tell(f"   {archive.verify()}")

    def damage(self) -> None:
        """One byte of a copy flipped."""
        import modelarchive as ma

        name = "hidden.weight"
        damaged = self.folder / "damaged.h5"
        with ma.open(self.file) as archive:
            offset = archive.reader.contents.entry(name).offset or 0
        data = bytearray(self.file.read_bytes())
        data[offset + 1000] ^= 1
        damaged.write_bytes(data)
        self.chapter(f"8. One bit of a copy flipped, somewhere in {name}: verify names it")
        try:
            with ma.open(damaged) as archive:
                archive.verify()
            found: list[str] = []
        except ma.IntegrityError as error:
            found = list(error.damaged)
            for line in str(error).splitlines():
                self.tell(f"   {line}")
        self.figures["damaged"] = found

    def other_readers(self) -> None:
        """The same bytes as HDF5 and as safetensors."""
        self.chapter("9. The same file, read by h5py and by safetensors")
        by_hdf5, by_safetensors, names = self.read_elsewhere(self.file, "hidden.weight")
        is_equal = by_hdf5.tobytes() == by_safetensors.tobytes() == self.net.hidden.weight.data().tobytes()
        self.tell(f"   h5py.File(file)['parameters/hidden/weight']: {by_hdf5.dtype} {by_hdf5.shape}")
        self.tell(f"   safetensors.safe_open(file): {len(names)} tensors")
        self.tell(f"   all three give the same bits: {self.yes(is_equal)}")
        self.figures["readers_agree"] = is_equal

    def viewers(self) -> None:
        """How to look at it."""
        self.chapter("10. Look at it in a viewer (docs/viewers.md)")
        for command, package in (
            (f"h5dump -d /architecture/data {self.file}", "Debian: hdf5-tools"),
            (f"silx view {self.file}", "pip install 'silx[full]'"),
            (f"h5glance {self.file}", "pip install h5glance"),
            ("jupyter lab    # then open the file", "pip install jupyterlab jupyterlab-h5web"),
            (f"vitables {self.file}", "pip install vitables PyQt6"),
        ):
            self.tell(f"   {command}")
            self.tell(f"      # {package}")
