"""What PyTorch exports, into an archive and back: ``python -m tests.exchange.onnx.exports [NAME...]``.

Seventeen networks, each exported with both of PyTorch's exporters: the newer one with opset 18, 20, 21, 22 and 23, the
older one with opset 18 and 20. A line says what came of each, as `there_and_back` says it; the exit status is 1 where
one did not come back within 1e-5. What PyTorch itself does not export is counted apart.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.exchange.onnx.there_and_back import there_and_back

#: Which exporter, and with which opset.
EXPORTERS = [*((True, opset) for opset in (18, 20, 21, 22, 23)), (False, 18), (False, 20)]


class Of(nn.Module):
    """A function over layers.

    Args:
        forward: From the module and the inputs to the outputs.
        layers: The layers, by name.
    """

    def __init__(self, forward: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.function = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(self, *inputs)


def _attended(m: Any, x: torch.Tensor) -> torch.Tensor:
    h = m.norm(m.table(x))
    mask = torch.triu(torch.full((x.shape[1], x.shape[1]), float("-inf")), 1)
    return m.attention(h, h, h, attn_mask=mask)[0]


def _rotary(m: Any, x: torch.Tensor) -> torch.Tensor:
    batch, length, size = x.shape
    places = torch.arange(length, device=x.device).float()[:, None]
    angles = places * 10000 ** (-torch.arange(0, 4).float() / 4)
    cos, sin = torch.cat([angles.cos()] * 2, -1), torch.cat([angles.sin()] * 2, -1)
    q, k, v = (each.reshape(batch, length, 2, 8).transpose(1, 2) for each in m.qkv(m.norm(x)).chunk(3, -1))
    q, k = (each * cos + torch.cat((-each[..., 4:], each[..., :4]), -1) * sin for each in (q, k))
    found = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    return x + m.out(found.transpose(1, 2).reshape(batch, length, size))


def _many(m: Any, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    y = m.dense(x)
    f = nn.functional
    return (
        f.gelu(y, approximate="tanh"), f.celu(y), f.hardswish(y), f.softplus(y), torch.logsumexp(y, -1), y.var(-1),
        y.norm(dim=-1), y.prod(-1), torch.roll(y, 1, 1), y.flip(1), y.clamp(-0.1, 0.2), torch.sign(y), torch.erf(y),
        y.sinh(), torch.log1p(y.abs()), torch.expm1(y), f.one_hot((y[:, :, 0] > 0).long(), 3),
        y.masked_fill(y > 0, 0.0), torch.tril(y), torch.nan_to_num(y), torch.where(y > 0, y, y.floor()), y % 0.7,
    )  # fmt: skip


def _chosen(m: Any, x: torch.Tensor, i: torch.Tensor) -> tuple[torch.Tensor, ...]:
    y = m.dense(x)
    return (
        *torch.topk(y, 3, 1), torch.sort(y, 1)[1], torch.gather(y, 1, i), y.scatter_add(1, i, y),
        torch.einsum("bi,bj->bij", y, y), y[i[:, 0] % 2], torch.cumsum(y, 1), torch.bucketize(y, torch.arange(-2.0, 3)),
        y.index_select(1, torch.tensor([1, 0])), torch.stack(y.unbind(1)[:3], 1), y.argmax(1), torch.cdist(y, y),
    )  # fmt: skip


def _sampled(m: Any, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    grid = nn.functional.affine_grid(m.rows.weight.reshape(2, 2, 3), [2, 3, 8, 8], align_corners=False)
    found = nn.functional.grid_sample(x, grid, align_corners=False)
    return found, nn.functional.pixel_shuffle(x.repeat(1, 4, 1, 1), 2)


def _windows(m: Any, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    columns = m.drop(nn.functional.unfold(x, 3, padding=1))
    return nn.functional.fold(columns, (16, 16), 3, padding=1), nn.functional.avg_pool2d(x, 3, 2, ceil_mode=True)


def networks() -> Iterator[tuple[str, nn.Module, tuple[torch.Tensor, ...], list[dict[int, str]] | None]]:
    """A name, a network, its inputs and the names of its free axes."""
    images, words, rows = torch.randn(2, 3, 16, 16), torch.randint(0, 20, (2, 6)), torch.randn(2, 6, 16)
    batch, text = [{0: "batch"}], [{0: "batch", 1: "length"}]
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    early = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True, activation="gelu")
    conv = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, groups=8),
        nn.SiLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4),
    )  # fmt: skip
    yield "convolutions", conv, (images,), batch
    yield "encoder", nn.Sequential(layer, nn.Linear(16, 3)), (rows,), text
    yield "norm first", early, (rows,), batch
    yield "decoder", nn.TransformerDecoderLayer(16, 2, 32, batch_first=True), (rows, torch.randn(2, 5, 16)), None
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    yield (
        "masked attention",
        Of(_attended, table=nn.Embedding(20, 8), norm=nn.LayerNorm(8), attention=attention),
        (words,),
        text,
    )
    yield "rotary", Of(_rotary, norm=nn.RMSNorm(16), qkv=nn.Linear(16, 48), out=nn.Linear(16, 16)), (rows,), text
    lstm, gru = nn.LSTM(16, 7, 2, batch_first=True, bidirectional=True), nn.GRU(16, 6, batch_first=True)
    yield "lstm", Of(lambda m, x: m.rnn(x)[0], rnn=lstm), (rows,), batch
    yield "gru", Of(lambda m, x: m.norm(m.rnn(x)[0].transpose(1, 2)), rnn=gru, norm=nn.GroupNorm(2, 6)), (rows,), batch
    yield "rnn", Of(lambda m, x: m.rnn(x), rnn=nn.RNN(16, 5, batch_first=True)), (rows,), None
    edges = nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")
    yield "upsampling", Of(lambda m, x: nn.functional.interpolate(m.conv(x), scale_factor=2, mode="bilinear"),
                           conv=edges), (images,), batch  # fmt: skip
    larger = nn.ConvTranspose2d(3, 4, 3, stride=2, output_padding=1)
    yield "transposed", nn.Sequential(larger, nn.InstanceNorm2d(4, affine=True), nn.PReLU(4)), (images,), batch
    yield "sampling", Of(_sampled, rows=nn.Linear(6, 2)), (images,), None
    conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(16, 6, 3))
    yield "weight norm", Of(lambda m, x: m.conv(x.transpose(1, 2)), conv=conv), (rows,), batch
    yield "functions", Of(_many, dense=nn.Linear(16, 16)), (rows,), None
    yield "places", Of(_chosen, dense=nn.Linear(8, 8)), (torch.randn(2, 8), torch.randint(0, 8, (2, 8))), None
    volume = nn.Sequential(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.MaxPool3d(2))
    yield "three axes", volume, (torch.randn(1, 1, 8, 8, 8),), None
    yield "windows", Of(_windows, drop=nn.Dropout(0.1)), (images,), batch


def main(arguments: list[str] | None = None) -> int:
    """Export, convert there and back, compare; all networks, or those that are named."""
    chosen = sys.argv[1:] if arguments is None else arguments
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    good = bad = not_exported = 0
    for name, network, inputs, free in networks():
        if chosen and name not in chosen:
            continue
        for newer, opset in EXPORTERS:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "net.onnx"
                where = f"{name}, {'newer' if newer else 'older'} exporter, opset {opset}"
                try:
                    _export(network.eval(), inputs, free, path, newer=newer, opset=opset)
                except Exception as error:  # whatever PyTorch does not export is not ours
                    print(f"{where}: PyTorch itself: {error}".partition("\n")[0][:200], flush=True)
                    not_exported += 1
                    continue
                found = there_and_back(path)
            print(f"{where}: {found}", flush=True)
            good, bad = good + found.is_close, bad + (not found.is_close)
    print(f"{good} of {good + bad} within 1e-5; PyTorch did not export {not_exported}")
    return 1 if bad else 0


def _export(
    network: nn.Module, inputs: tuple[torch.Tensor, ...], free: list[dict[int, str]] | None, path: Path, *,
    newer: bool, opset: int,
) -> None:  # fmt: skip
    if newer:
        shapes = None if free is None else (tuple(free),) if isinstance(network, Of) else free
        torch.onnx.export(network, inputs, path, opset_version=opset, dynamo=True, verbose=False, dynamic_shapes=shapes)
        return
    names = [f"input_{place}" for place in range(len(inputs))]
    torch.onnx.export(
        network, inputs, path, opset_version=opset, dynamo=False, input_names=names,
        dynamic_axes=None if free is None else dict(zip(names, free, strict=True)),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
