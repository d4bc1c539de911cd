"""Where arrays lie: what is taken for one memory, of one shape and dtype, and what nobody tells of."""

from __future__ import annotations

import numpy as np
import pytest

from modelarchive import dtypes, tensors

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("name", [name for name in dtypes.DENSE if hasattr(torch, name)])
def test_a_tensor_lies_where_numpys_view_of_it_does(name: str) -> None:
    one, other = (torch.zeros(48, dtype=torch.uint8).view(getattr(torch, name)).reshape(-1, 1) for _ in range(2))
    view = tensors.asarray(one)
    place = tensors.place_of(one)
    assert place is not None
    assert place == tensors.place_of(view) == tensors.place_of(one.detach())
    assert tensors.block_of(one)[0] == tensors.block_of(view)[0]
    assert place not in [tensors.place_of(each) for each in (other, one[:1], one.reshape(-1), one.t())]


def test_nobody_tells_of_what_is_not_plain() -> None:
    class Own(torch.Tensor):
        pass

    plain = torch.arange(12.0).reshape(3, 4)
    several = [
        plain.t(),
        plain[:, ::2],
        torch.view_as_complex(plain.reshape(3, 2, 2)).conj(),
        torch.view_as_complex(plain.reshape(3, 2, 2)).conj().imag,
        plain.as_subclass(Own),
        plain.to("meta"),
        plain.to_sparse(),
        np.arange(3, dtype=">f4"),
        np.arange(12.0).reshape(3, 4).T,
        [1, 2],
        None,
    ]
    assert [tensors.place_of(each) for each in several] == [None] * len(several)
    for each in (plain.as_subclass(Own), plain.to("meta"), plain.to_sparse(), [1, 2], None):
        assert tensors.block_of(each) is None


def test_the_block_is_that_of_the_whole_memory() -> None:
    whole = torch.arange(12.0)
    assert tensors.block_of(whole[3:6]) == tensors.block_of(whole)
    assert tensors.block_of(whole)[1] == whole.nbytes
    array = np.arange(12.0)
    assert tensors.block_of(array.reshape(3, 4)[::-1, 1:]) == tensors.block_of(array)
    assert tensors.block_of(array)[1] == array.nbytes
    lent = np.frombuffer(bytearray(24), np.float64)
    assert tensors.block_of(lent[1:])[1] == 0
