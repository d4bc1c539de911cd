"""nginx, as people run it: what it counts is what was promised; a sparse file of 100 GB among it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import modelarchive as ma
from tests.remote.nginx import PROGRAM, Nginx, serving
from tests.remote.sparse import BLOCK, SIDE, WIDTH, sparse_model

SLACK = 64 << 10


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    pytest.importorskip("aiohttp")
    if PROGRAM is None:
        pytest.skip("nginx is not installed")
    with serving(tmp_path) as found:
        yield found


def test_a_block_of_a_model_of_100_gb(nginx: Nginx) -> None:
    """As much as the block: the arrays of others are holes, which no digest of theirs fits."""
    path = nginx.folder / "big.h5"
    front = sparse_model(path, nbytes=100 << 30)
    assert path.stat().st_size > 100 << 30
    with ma.open(nginx.url + "/big.h5") as archive:
        assert [each["name"] for each in archive.architecture["model"]["children"]] == ["body", "neck", "head"]
        assert [each.status for each in nginx.requests(1)] == [206]
        head = archive.build("head")
    assert float(head.weight.value()[3, 5]) == SIDE * 3 + 5
    requests = nginx.requests(2)
    assert [each.status for each in requests] == [206, 206]
    assert sum(each.nbytes for each in requests) <= max(front, 1 << 18) + BLOCK + SLACK
    with ma.open(nginx.url + "/big.h5") as archive:
        assert archive.rows("body.0.weight", 7, 8).tolist() == [[0.0] * WIDTH]
        with pytest.raises(ma.IntegrityError, match=r"body\.0\.bias"):
            archive["body.0.bias"]


def test_without_ranges(nginx: Nginx) -> None:
    sparse_model(nginx.folder / "big.h5", nbytes=1 << 30)
    with pytest.raises(ma.RemoteError, match="ignores ranges"):
        ma.open(nginx.url + "/without/big.h5")


def test_a_limited_rate_and_no_file(nginx: Nginx) -> None:
    with pytest.raises(ma.RemoteError) as caught:
        ma.open(nginx.url + "/nothing.h5")
    assert caught.value.status == 404
    sparse_model(nginx.folder / "big.h5", nbytes=1 << 20)
    with ma.open(nginx.url + "/slow/big.h5") as archive:
        assert float(archive.build("head").weight.value()[3, 5]) == SIDE * 3 + 5


def test_a_file_that_is_replaced(nginx: Nginx) -> None:
    path = nginx.folder / "big.h5"
    sparse_model(path, nbytes=1 << 30)
    with ma.open(nginx.url + "/big.h5") as archive:
        sparse_model(path, nbytes=2 << 30)
        with pytest.raises(ma.RemoteError, match="was replaced by another file"):
            archive.build("head")
