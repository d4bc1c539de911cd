#!/usr/bin/env bash
# torch 2.13.0
# ExportedProgram.run_decompositions({}) is given a table without a single decomposition, and still takes operators
# apart: batch_norm becomes _native_batch_norm_legit_no_training and a choice of its three results, dropout in
# evaluation becomes a clone; conv2d and linear stay whole. What happens comes of dispatching the program once more,
# not of the table. One would have guessed what the docstring says, that nothing is decomposed with an empty table.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'torch==2.13.0' 'numpy==2.4.6'
"$folder/environment/bin/python" -W ignore - <<'PYTHON'
import torch


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution, self.norm = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)
        self.dropout, self.linear = torch.nn.Dropout(), torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.linear(self.dropout(self.norm(self.convolution(x))).mean((2, 3)))


def operators(program):
    return [str(node.target) for node in program.graph.nodes if node.op == "call_function"]


program = torch.export.export(Network().eval(), (torch.randn(2, 3, 8, 8),))
before, after = operators(program), operators(program.run_decompositions({}))
print("exported:       ", before)
print("an empty table: ", after)
assert {"aten.batch_norm.default", "aten.dropout.default"} <= set(before)
assert not {"aten.batch_norm.default", "aten.dropout.default"} & set(after)
assert {"aten.conv2d.default", "aten.linear.default"} <= set(after)
PYTHON
