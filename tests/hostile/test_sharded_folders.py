"""Hundreds of folders of shards in which something is changed: refused, or the model is the original's.

A seed makes the run repeatable; MODELARCHIVE_FUZZ=3000 makes it long. An index that was changed is signed anew in
half of the cases: then it is an attacker's, who may write any model, and other content is no fault.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from modelarchive.store.shards import INDEX
from tests.hostile.index_attacks import signed
from tests.hostile.readers.mutators import anywhere, ends, headed_json, json_tree

CASES = int(os.environ.get("MODELARCHIVE_FUZZ", "300"))
DESIGNED = (ma.FormatError, ma.UnsafeFileError, ma.IntegrityError, ma.SpecError, ma.ParameterError)


@pytest.fixture(autouse=True)
def here() -> Iterator[None]:
    """The guard's own rules, in this process and so in a tenth of the time."""
    with ma.trusted():
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A model whose parts an index names, and one whose arrays are divided, which the shards themselves tell."""
    folder = tmp_path_factory.mktemp("folders")
    net = nn.Sequential(nn.Dense(4, in_units=4), nn.Dense(4, in_units=4), nn.Dense(4, in_units=4))
    net[2].weight = net[0].weight
    net.initialize(seed=0)
    ma.save_model(f"{folder / 'mapped'}/", net, inputs={"shape": [None, 4]}, max_shard_size=80, durable=False)
    with ma.Checkpoints(folder / "run", incremental=True, random=False) as run:
        path = run.save(1, model=net, state={"seen": [1, "two", np.arange(3)]}).result()
    return [folder / "mapped", Path(path)]


def whole(folder: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    with ma.open(folder) as archive:
        found = archive.load(verify=True)
        parts = {name: archive.rows(name, 0, 1) for name, array in found.items() if array.ndim}
    for name, part in parts.items():
        assert np.array_equal(part, found[name][:1])
    return {name: (str(each.dtype), each.shape, each.tobytes()) for name, each in found.items()}


def changed(folder: Path, rng: random.Random) -> bool:
    """Change something in a folder; whether its index was signed anew."""
    names = sorted(each.name for each in folder.iterdir())
    shards = [name for name in names if name != INDEX]
    how = rng.random()
    if how < 0.1:
        one, other = rng.sample(shards, 2)
        (folder / one).rename(folder / "x")
        if rng.random() < 0.7:
            (folder / other).rename(folder / one)
        if rng.random() < 0.7:
            (folder / "x").rename(folder / other)
        return False
    name = INDEX if how < 0.7 else rng.choice(shards)
    data = (folder / name).read_bytes()
    ways = (json_tree, json_tree, json_tree, anywhere) if name == INDEX else (headed_json, anywhere, ends)
    new = rng.choice(ways)(data, [data], rng) or data[:-1]
    is_signed = name == INDEX and rng.random() < 0.5
    (folder / name).write_bytes(signed(new) if is_signed else new)
    return is_signed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::modelarchive.StaleIndexWarning")
def test_a_changed_folder_is_refused_or_the_same(folders: list[Path], tmp_path: Path) -> None:
    expected = [whole(each) for each in folders]
    outcomes: Counter[str] = Counter()
    for number in range(CASES):
        rng = random.Random(number)
        at = number % len(folders)
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folders[at], copy)
        is_signed = changed(copy, rng)
        for read in (whole, ma.verify):
            try:
                found = read(copy)
            except DESIGNED as error:
                is_named = str(copy) in str(error) or isinstance(error, ma.SpecError | ma.ParameterError)
                outcomes[type(error).__name__ if is_named else f"{number}: {error}"] += 1
                continue
            except FileNotFoundError:
                assert not (copy / INDEX).exists()
                continue
            outcomes["read"] += 1
            assert is_signed or read is ma.verify or found == expected[at], number
    assert outcomes.keys() <= {"read", *(each.__name__ for each in DESIGNED)}
    assert outcomes["FormatError"] > outcomes["read"] > CASES // 20
