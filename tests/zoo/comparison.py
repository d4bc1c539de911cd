"""How a network of the zoo is compared: the framework's module, random values in it, the same in ours."""

import numpy as np

from modelarchive import load_model, nn, save_model, transplant

#: Largest difference relative to the largest element of the reference in float64.
LIMITS = {"float64": 1e-11, "float32": 1e-5}


def randomised(module, torch, seed=0):
    """Random parameters and running statistics, of sizes that neither die out nor explode in deep networks."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor, scale):
        tensor.normal_(0, scale, generator=generator)

    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if not tensor.is_floating_point():
                continue
            if name.endswith("running_var") or (name.endswith("weight") and tensor.ndim == 1):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif tensor.ndim > 1:
                normal(tensor, (1.5 / tensor[0].numel()) ** 0.5)
            else:
                normal(tensor, 0.1)
    return module.eval()


def given(net, module, rename=None, arrays=None):
    """`net` with the module's values: every parameter of the one has its place in the other."""
    state = arrays or {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    state = {name: array for name, array in state.items() if not name.endswith("num_batches_tracked")}
    report = transplant(state, net, rename=rename)
    assert report.missing == []
    sources = {source for source, _ in report.copied.values()}
    assert set(state) == sources, sorted(set(state) - sources)[:5]
    return net


def error(found, expected):
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def results(value):
    return value if isinstance(value, tuple) else (value,)


def compared(net, module, torch, *inputs, call=None, limits=LIMITS):
    """Outputs of `net` against the module's in float64; returns those in float32."""
    call = call or (lambda module, *tensors: module(*tensors))
    with torch.no_grad():
        tensors = [torch.from_numpy(x) for x in inputs]
        doubles = [tensor.double() if tensor.is_floating_point() else tensor for tensor in tensors]
        expected = [each.numpy() for each in results(call(module.double(), *doubles))]
        module.float()
    found = results(net(*inputs))
    net.cast("float64")
    wide = results(net(*[x.astype(np.float64) if x.dtype.kind == "f" else x for x in inputs]))
    net.cast("float32")
    assert len(found) == len(wide) == len(expected)
    for dtype, ours in (("float32", found), ("float64", wide)):
        for one, other in zip(ours, expected, strict=True):
            assert one.dtype == dtype
            assert one.shape == other.shape
            assert np.abs(other).max() > 1e-3
            assert error(one, other) < limits[dtype]
    return found


def rebuilt(net, folder, *inputs, **options):
    """`net` from its archive: no class but the vocabulary's, the same hierarchy, the same bits.

    Where there is a BatchNorm outputs are as close as rounding: in a graph it is multiplied into the convolution before
    it, which a `forward` in Python leaves apart. What is returned takes words of any length.
    """
    path = folder / "model.h5"
    save_model(path, net, inputs=inputs, durable=False, **options)
    again = load_model(path)
    ours = dict(net.named_blocks())
    others = dict(again.named_blocks())
    assert {type(block).__module__.rpartition(".")[0] for block in others.values()} == {nn.__name__}
    assert set(ours) <= set(others)
    for name, block in ours.items():
        if isinstance(block, nn.Layer):
            assert block.config() == others[name].config()
    assert set(net.collect_params()) == set(again.collect_params())
    is_fused = any(isinstance(block, nn.BatchNorm) for block in ours.values())
    for one, other in zip(results(net(*inputs)), results(again(*inputs)), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(one).max() if is_fused else 0)
    if any(x.dtype.kind == "f" for x in inputs):
        return again
    # Axes of one size are one.
    return load_model(path, inputs=[{"shape": [f"axis_of_{size}" for size in x.shape]} for x in inputs])
