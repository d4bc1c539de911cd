"""Networks of packages that act: policies, values and models of worlds."""

from __future__ import annotations

from pkgutil import resolve_name as named
from typing import Any

import numpy as np

from tests.coverage.packages.giving import Called, Networks, floats, ids


def _policy(kind: str, space: Any, action: Any, method: str = "forward", **more: Any) -> Any:
    policy = named(f"stable_baselines3.{kind}")(space, action, lambda _: 1e-3, **more)
    return Called(policy, method=method, **({"deterministic": True} if method in ("forward", "_predict") else {}))


def _box(*shape: int) -> Any:
    return named("gymnasium.spaces:Box")(-1, 1, shape, np.float32)


def _discrete(number: int) -> Any:
    return named("gymnasium.spaces:Discrete")(number)


def _pixels() -> Any:
    return named("gymnasium.spaces:Box")(0, 255, (3, 40, 40), np.uint8)


def _rl(name: str, *given: Any, **more: Any) -> Any:
    return named(f"torchrl.modules:{name}")(*given, **more)


NETWORKS: Networks = {
    "stable-baselines3": {
        "A2C/PPO of numbers": lambda: (_policy("ppo:MlpPolicy", _box(4), _box(2)), floats(3, 4)),
        "PPO of choices": lambda: (_policy("ppo:MlpPolicy", _box(4), _discrete(3)), floats(3, 4)),
        "PPO of pixels": lambda: (_policy("ppo:CnnPolicy", _pixels(), _discrete(3)), ids(3, 3, 40, 40, to=255).byte()),
        "PPO with states' noise": lambda: (_policy("ppo:MlpPolicy", _box(4), _box(2), use_sde=True), floats(3, 4)),
        "SAC": lambda: (_policy("sac:MlpPolicy", _box(4), _box(2), "_predict"), floats(3, 4)),
        "TD3": lambda: (_policy("td3:MlpPolicy", _box(4), _box(2), "_predict"), floats(3, 4)),
        "DQN": lambda: (_policy("dqn:MlpPolicy", _box(4), _discrete(3), "_predict"), floats(3, 4)),
        "SAC's critics": lambda: (
            named("stable_baselines3.sac:MlpPolicy")(_box(4), _box(2), lambda _: 1e-3).critic, floats(3, 4),
            floats(3, 2)),
    },
    "torchrl": {
        "MLP": lambda: (_rl("MLP", in_features=4, out_features=2, num_cells=[8]), floats(3, 4)),
        "MLP of several": lambda: (_rl("MLP", in_features=6, out_features=2, num_cells=[8]), floats(3, 4),
                                   floats(3, 2)),
        "ConvNet": lambda: (_rl("ConvNet", in_features=3, num_cells=[4, 8], strides=2), floats(2, 3, 32, 32)),
        "DuelingCnnDQNet": lambda: (
            _built(_rl("DuelingCnnDQNet", 3, cnn_kwargs={"num_cells": [4], "kernel_sizes": 3, "strides": 2},
                       mlp_kwargs={"num_cells": [8]}), floats(2, 3, 16, 16)), floats(2, 3, 16, 16)),
        "MultiAgentMLP": lambda: (_rl("MultiAgentMLP", 4, 2, 3, centralized=False, share_params=False, depth=1,
                                      num_cells=8), floats(2, 3, 4)),
        "MultiAgentMLP, shared": lambda: (_rl("MultiAgentMLP", 4, 2, 3, centralized=True, share_params=True, depth=1,
                                              num_cells=8), floats(2, 3, 4)),
        "QMixer": lambda: (_rl("QMixer", (4,), 8, 3, "cpu"), floats(2, 3, 1), floats(2, 4)),
        "NoisyLinear": lambda: (_rl("NoisyLinear", 4, 2), floats(3, 4)),
        "DTActor": lambda: (
            _rl("DTActor", 4, 2, transformer_config={"n_embd": 16, "n_layer": 1, "n_head": 2, "n_inner": 16,
                                                    "n_positions": 64}),
            floats(2, 3, 4), floats(2, 3, 2), floats(2, 3, 1)),
        "NormalParamExtractor": lambda: (_rl("NormalParamExtractor"), floats(3, 4)),
        "BatchRenorm": lambda: (_rl("BatchRenorm1d", 4), floats(3, 4)),
        "LSTM": lambda: (_rl("LSTM", 4, 8, batch_first=True), floats(2, 5, 4)),
        "GRUCell": lambda: (_rl("GRUCell", 4, 8), floats(2, 4), floats(2, 8)),
    },
}  # fmt: skip


def _built(network: Any, example: Any) -> Any:
    """A network whose lazy layers have seen an example."""
    network(example)
    return network
