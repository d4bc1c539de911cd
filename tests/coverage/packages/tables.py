"""Networks of packages for tables, series of numbers, operators and graphs."""

from __future__ import annotations

from pkgutil import resolve_name as named
from typing import Any

import torch

from tests.coverage.packages.giving import Networks, floats, ids


def _tsai(name: str, *given: Any, **more: Any) -> Any:
    return named(f"tsai.models.{name}")(*given, **more)


def _rtdl(name: str, **more: Any) -> Any:
    return named(f"rtdl_revisiting_models:{name}")(**more)


def _edges() -> torch.Tensor:
    return torch.tensor([[0, 1, 2, 3, 4, 0, 2], [1, 2, 3, 4, 0, 3, 0]])


def _graph(name: str, *given: Any, **more: Any) -> Any:
    return named(f"torch_geometric.nn:{name}")(*given, **more), floats(5, 4), _edges()


_SERIES = {
    "FCN": ("FCN:FCN", {}), "ResNet": ("ResNet:ResNet", {}), "ResCNN": ("ResCNN:ResCNN", {}),
    "InceptionTime": ("InceptionTime:InceptionTime", {"nf": 4, "depth": 2}),
    "XceptionTime": ("XceptionTime:XceptionTime", {"nf": 4}), "LSTM": ("RNN:LSTM", {"hidden_size": 8}),
    "GRU": ("RNN:GRU", {"hidden_size": 8, "bidirectional": True}), "TCN": ("TCN:TCN", {"layers": 2 * [4]}),
    "OmniScaleCNN": ("OmniScaleCNN:OmniScaleCNN", {"seq_len": 24, "layers": [8 * 8, 5 * 8]}),
    "TST": ("TST:TST", {"seq_len": 24, "d_model": 8, "n_heads": 2, "d_ff": 8, "n_layers": 1}),
    "TSiT": ("TSiTPlus:TSiTPlus", {"seq_len": 24, "d_model": 8, "n_heads": 2, "depth": 1}),
    "gMLP": ("gMLP:gMLP", {"seq_len": 24, "d_model": 8, "d_ffn": 8, "depth": 1}),
    "XCM": ("XCM:XCM", {"seq_len": 24, "nf": 4}), "MLP": ("MLP:MLP", {"seq_len": 24, "layers": [8, 8]}),
    "LSTM_FCN": ("RNN_FCN:LSTM_FCN", {"seq_len": 24, "hidden_size": 8, "conv_layers": [4, 4, 4]}),
    "mWDN": ("mWDN:mWDN", {"seq_len": 24, "levels": 2}), "xresnet1d": ("XResNet1d:xresnet1d18", {}),
    "TSSequencer": ("TSSequencerPlus:TSSequencerPlus", {"seq_len": 24, "d_model": 8, "depth": 1}),
    "ConvTran": ("ConvTranPlus:ConvTranPlus", {"seq_len": 24, "d_model": 8, "n_heads": 2, "dim_ff": 8}),
    "ROCKET": ("ROCKET_Pytorch:ROCKET", {"seq_len": 24, "n_kernels": 8}),
    "MINIROCKET": ("MINIROCKET_Pytorch:MiniRocketFeatures", {"seq_len": 24, "num_features": 84}),
}  # fmt: skip


def _serial(name: str, more: dict[str, Any]) -> Any:
    model = named(f"tsai.models.{name}")
    if "MiniRocket" in name:
        network = model(3, **more)
        network.fit(floats(4, 3, 24))
        return network
    return model(3, **more) if "ROCKET" in name else model(3, 2, **more)


NETWORKS: Networks = {
    "tsai": {
        name: lambda which=which, more=more: (_serial(which, more), floats(2, 3, 24))
        for name, (which, more) in _SERIES.items()
    } | {
        "PatchTST": lambda: (_tsai("PatchTST:PatchTST", 3, 2, 24, pred_dim=6, n_layers=1, n_heads=2, d_model=8, d_ff=8,
                                   patch_len=8, stride=4), floats(2, 3, 24)),
        "TabTransformer": lambda: (
            _tsai("TabTransformer:TabTransformer", {"a": range(3), "b": range(4)}, ["x", "y"], 2, d_model=8, n_layers=1,
                  n_heads=2), ids(2, 2, to=3), floats(2, 2)),
    },
    "rtdl-revisiting-models": {
        "MLP": lambda: (_rtdl("MLP", d_in=4, d_out=2, n_blocks=2, d_block=8, dropout=0.1), floats(3, 4)),
        "ResNet": lambda: (_rtdl("ResNet", d_in=4, d_out=2, n_blocks=2, d_block=8, d_hidden=None,
                                 d_hidden_multiplier=2.0, dropout1=0.1, dropout2=0.0), floats(3, 4)),
        "FTTransformer": lambda: (
            _rtdl("FTTransformer", n_cont_features=3, cat_cardinalities=[3, 4], d_out=2, n_blocks=2, d_block=8,
                  attention_n_heads=2, attention_dropout=0.1, ffn_d_hidden=None, ffn_d_hidden_multiplier=2.0,
                  ffn_dropout=0.1, residual_dropout=0.0), floats(3, 3), ids(3, 2, to=3)),
    },
    "tab-transformer-pytorch": {
        "TabTransformer": lambda: (named("tab_transformer_pytorch:TabTransformer")(
            categories=(3, 4), num_continuous=3, dim=8, dim_out=1, depth=1, heads=2), ids(3, 2, to=3), floats(3, 3)),
        "FTTransformer": lambda: (named("tab_transformer_pytorch:FTTransformer")(
            categories=(3, 4), num_continuous=3, dim=8, dim_out=1, depth=1, heads=2), ids(3, 2, to=3), floats(3, 3)),
    },
    "pytorch-tabnet": {
        "TabNet": lambda: (named("pytorch_tabnet.tab_network:TabNet")(
            4, 2, n_d=4, n_a=4, n_steps=2, cat_idxs=[1], cat_dims=[3], cat_emb_dim=[1],
            group_attention_matrix=torch.eye(4)), floats(3, 4).abs().round()),
        "TabNet, entmax": lambda: (named("pytorch_tabnet.tab_network:TabNetNoEmbeddings")(
            4, 2, n_d=4, n_a=4, n_steps=2, mask_type="entmax", virtual_batch_size=2,
            group_attention_matrix=torch.eye(4)), floats(3, 4)),
    },
    "deepctr-torch": {
        name: lambda name=name: (_clicks(name), torch.cat([ids(3, 2, to=3).float(), floats(3, 1)], 1))
        for name in ("DeepFM", "DCN", "AutoInt", "xDeepFM", "PNN", "AFM", "NFM", "FiBiNET", "WDL", "DIFM")
    },
    "pytorch-forecasting": {
        "N-BEATS, generic": lambda: (named("pytorch_forecasting.models.nbeats.sub_modules:NBEATSGenericBlock")(
            units=8, thetas_dim=4, backcast_length=12, forecast_length=4), floats(2, 12)),
        "N-BEATS, seasons": lambda: (named("pytorch_forecasting.models.nbeats.sub_modules:NBEATSSeasonalBlock")(
            units=8, backcast_length=12, forecast_length=4), floats(2, 12)),
        "N-BEATS, trend": lambda: (named("pytorch_forecasting.models.nbeats.sub_modules:NBEATSTrendBlock")(
            units=8, thetas_dim=3, backcast_length=12, forecast_length=4), floats(2, 12)),
        "gated residuals": lambda: (named(
            "pytorch_forecasting.models.temporal_fusion_transformer.sub_modules:GatedResidualNetwork")(
                8, 16, 8, context_size=4), floats(2, 6, 8), floats(2, 6, 4)),
        "interpretable attention": lambda: (named(
            "pytorch_forecasting.models.temporal_fusion_transformer.sub_modules:InterpretableMultiHeadAttention")(
                2, 8), floats(2, 6, 8), floats(2, 6, 8), floats(2, 6, 8)),
    },
    "neuraloperator": {
        "FNO": lambda: (named("neuralop.models:FNO")(
            n_modes=(4, 4), in_channels=1, out_channels=1, hidden_channels=8, n_layers=2), floats(2, 1, 16, 16)),
        "TFNO": lambda: (named("neuralop.models:TFNO")(
            n_modes=(4, 4), in_channels=1, out_channels=1, hidden_channels=8, n_layers=2, factorization="tucker",
            rank=0.5), floats(2, 1, 16, 16)),
        "UNO": lambda: (named("neuralop.models:UNO")(
            in_channels=1, out_channels=1, hidden_channels=8, n_layers=3, uno_out_channels=[8, 8, 8],
            uno_n_modes=[[4, 4]] * 3, uno_scalings=[[1.0, 1.0], [0.5, 0.5], [2.0, 2.0]], channel_mlp_skip="linear"),
            floats(2, 1, 16, 16)),
    },
    "pykan": {
        "KAN": lambda: (named("kan:KAN")(width=[3, 4, 1], grid=3, k=3, seed=0, auto_save=False, symbolic_enabled=False),
                        floats(3, 3) / 2),
    },
    "torch-geometric": {
        "GCN": lambda: _graph("GCN", 4, 8, 2, 3), "GAT": lambda: _graph("GAT", 4, 8, 2, 3, heads=2),
        "GATv2": lambda: _graph("GATv2Conv", 4, 3, heads=2), "GraphSAGE": lambda: _graph("GraphSAGE", 4, 8, 2, 3),
        "GIN": lambda: _graph("GIN", 4, 8, 2, 3), "PNA": lambda: (
            *_graph("PNAConv", 4, 4, aggregators=["mean", "max"], scalers=["identity"], deg=torch.tensor([0, 4, 1])),),
        "ChebConv": lambda: _graph("ChebConv", 4, 3, K=2),
        "TransformerConv": lambda: _graph("TransformerConv", 4, 3, 2),
        "EdgeConv": lambda: _graph("EdgeConv", torch.nn.Linear(8, 3)), "SGConv": lambda: _graph("SGConv", 4, 3, K=2),
        "APPNP": lambda: _graph("APPNP", 2, 0.1), "ARMAConv": lambda: _graph("ARMAConv", 4, 3),
        "GatedGraphConv": lambda: _graph("GatedGraphConv", 4, 2), "TAGConv": lambda: _graph("TAGConv", 4, 3),
        "DenseGCN": lambda: (named("torch_geometric.nn:DenseGCNConv")(4, 3), floats(2, 5, 4),
                             ids(2, 5, 5, to=2).float()),
        "pooling of graphs": lambda: (_Pooled(), floats(5, 4), torch.tensor([0, 0, 1, 1, 1])),
    },
}  # fmt: skip


class _Pooled(torch.nn.Module):
    """Two graphs, each as one vector."""

    def forward(self, x: Any, batch: Any) -> Any:
        """Means and largest."""
        return (
            named("torch_geometric.nn:global_mean_pool")(x, batch, 2),
            named("torch_geometric.nn:global_max_pool")(x, batch, 2),
        )


def _clicks(name: str) -> Any:
    inputs = named("deepctr_torch.inputs:SparseFeat"), named("deepctr_torch.inputs:DenseFeat")
    columns = [inputs[0]("a", 3, 4), inputs[0]("b", 4, 4), inputs[1]("x", 1)]
    model = named(f"deepctr_torch.models:{name}")
    if name == "PNN":
        return model(columns, dnn_hidden_units=(8,))
    more = {} if name in ("AFM",) else {"dnn_hidden_units": (8,)}
    return model(columns, columns, **more)
