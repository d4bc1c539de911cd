#!/usr/bin/env bash
# torch 2.13.0
# A layer is split along its rows by tensor parallelism, and what is left by fully_shard, as both are used together. Each
# process has a quarter of the weight; asked for its placements, one answers is_shard() with False, and is_replicate() and
# is_partial() too. Whoever asks is_shard() for what is split takes the parts of two processes for one. One would have
# guessed that what a process has only a part of is a shard, or that one of the three questions is answered with yes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'torch==2.13.0' 'numpy==2.4.6'
"$folder/environment/bin/python" -W ignore - <<'PYTHON'
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module
from torch.testing._internal.distributed.fake_pg import FakeStore

dist.init_process_group("fake", rank=0, world_size=4, store=FakeStore())
mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tensor"))
layer = torch.nn.Linear(8, 8)
parallelize_module(layer, mesh["tensor"], ColwiseParallel())
fully_shard(layer, mesh=mesh["data"])
weight = layer.weight
print(f"{tuple(weight.shape)}, of which this process has {tuple(weight.to_local().shape)}")
for each in weight.placements:
    said = {"is_shard": each.is_shard(), "is_replicate": each.is_replicate(), "is_partial": each.is_partial()}
    print(f"{type(each).__name__}: {said}")
first, second = weight.placements
assert weight.to_local().shape == (2, 8)
assert not (first.is_shard() or first.is_replicate() or first.is_partial())
assert second.is_shard()
dist.destroy_process_group()
PYTHON
