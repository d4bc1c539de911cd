"""Programs of torch.export in files, of both layouts, and files that say other things than PyTorch writes."""

import io
import json
import zipfile
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")


class Net(torch.nn.Module):
    """Tied weights, statistics, buffers that are kept, that are not, and that change, a constant, nested outputs."""

    def __init__(self):
        super().__init__()
        self.one = torch.nn.Linear(4, 4)
        self.norm = torch.nn.BatchNorm1d(4)
        self.other = torch.nn.Linear(4, 4)
        self.other.weight = self.one.weight
        self.register_buffer("table", torch.randn(100, 4))
        self.register_buffer("shift", torch.randn(4), persistent=False)
        self.register_buffer("count", torch.zeros(()))
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x, y):
        h = self.other(self.norm(torch.relu(self.one(x)))) + self.shift
        h = h.reshape(x.shape[0], 4).masked_fill(h > 1, float("-inf"))
        self.count.add_(1)
        first, rest = torch.split(y, [1, 3], dim=1)
        return {"h": h, "more": (rest.sum(0), [torch.cat([h, self.table]), first + torch.tensor([2.0])])}


def exported(module, inputs, free=True):
    """A program; the first axis of each input is free."""
    axes = tuple({0: torch.export.Dim.AUTO} if free else None for _ in inputs)
    return torch.export.export(module.eval(), tuple(inputs), dynamic_shapes=axes, strict=False)


def saved(program, path, layout="now"):
    """A file of a program: as torch.export.save writes it, or as it did before PyTorch 2.8."""
    if layout == "now":
        torch.export.save(program, path)
        return path
    from torch._export.serde.serialize import serialize

    parts = serialize(program)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("version", "8.8")
        file.writestr("serialized_exported_program.json", parts.exported_program)
        file.writestr("serialized_state_dict.pt", parts.state_dict)
        file.writestr("serialized_constants.pt", parts.constants)
        file.writestr("serialized_example_inputs.pt", parts.example_inputs)
        if layout == "extra":
            file.writestr("extra_files/readme.txt", "read me")
    return path


def changed(path, change):
    """The same file with another program in it.

    Args:
        path: A file of torch.export.save.
        change: Is given the program as plain data, and changes it.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(content, "w") as new:
        for each in old.infolist():
            data = old.read(each)
            if each.filename.endswith("/models/model.json"):
                program = json.loads(data)
                change(program)
                data = json.dumps(program).encode()
            new.writestr(each.filename, data)
    Path(path).write_bytes(content.getvalue())
    return path
