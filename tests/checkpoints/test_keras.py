"""Keras goes on from a checkpoint as if nothing had happened: models, seeds, every optimizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.errors import ParameterError
from tests.checkpoints.training import digits

keras = pytest.importorskip("keras")

#: Those that go around another optimizer, or several.
AROUND = ("LossScaleOptimizer", "MultiOptimizer", "OptimizerMap", "Optimizer")
OPTIMIZERS = sorted(
    name
    for name, kind in vars(keras.optimizers).items()
    if isinstance(kind, type) and issubclass(kind, keras.optimizers.Optimizer) and name not in AROUND
)


def lenet(optimizer: Any) -> Any:
    layers = keras.layers
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(8, 3, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(10),
        ]
    )
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def trained(model: Any, start: int, stop: int) -> None:
    images, labels = digits()
    images = images.transpose(0, 2, 3, 1)
    for step in range(start, stop):
        chosen = slice(step * 16 % 320, step * 16 % 320 + 16)
        model.train_on_batch(images[chosen], labels[chosen])


def arrays(variables: Any) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(each).copy() for each in variables]


def same(left: Any, right: Any) -> bool:
    return all(np.array_equal(one, two) for one, two in zip(left, right, strict=True))


def goes_on(folder: Path, make: Any, steps: int) -> None:
    model = lenet(make())
    trained(model, 0, 3)
    with ma.Checkpoints(folder) as run:
        run.save(3, model=model, optimizer=model.optimizer)
    trained(model, 3, steps)
    other = lenet(make())
    trained(other, 0, 1)
    assert ma.Checkpoints(folder).restore(model=other, optimizer=other.optimizer) == 3
    trained(other, 3, steps)
    assert same(arrays(model.variables), arrays(other.variables))
    assert same(arrays(model.optimizer.variables), arrays(other.optimizer.variables))


@pytest.mark.slow
def test_a_run_on_digits(tmp_path: Path) -> None:
    schedule = keras.optimizers.schedules.CosineDecay
    goes_on(tmp_path, lambda: keras.optimizers.AdamW(schedule(0.01, 40)), 30)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_on(tmp_path: Path, name: str) -> None:
    goes_on(tmp_path, lambda: getattr(keras.optimizers, name)(learning_rate=0.01), 13)


def test_state_lies_under_the_names_of_parameters(tmp_path: Path) -> None:
    model = lenet(keras.optimizers.Adam())
    trained(model, 0, 1)
    with ma.Checkpoints(tmp_path) as run:
        run.save(1, model=model, optimizer=model.optimizer)
        with run.load(1) as archive:
            names = list(archive)
            training = archive.training
            archive.verify()
    assert set(training["optimizer"]["state"]) < set(names)
    assert set(training["optimizer"]["others"]) == {"iteration", "learning_rate"}
    assert training["optimizer"]["class"] == "Adam"


def test_an_optimizer_that_is_not_built_is_said_so(tmp_path: Path) -> None:
    model = lenet(keras.optimizers.Adam())
    trained(model, 0, 1)
    with ma.Checkpoints(tmp_path) as run:
        run.save(1, model=model, optimizer=model.optimizer)
    with pytest.raises(ParameterError, match=r"not built\n  hint: optimizer.build"):
        ma.Checkpoints(tmp_path).restore(model=lenet(keras.optimizers.Adam()), optimizer=keras.optimizers.Adam())
    with pytest.raises(ParameterError, match="the optimizer is SGD, the checkpoint has the state of Adam"):
        ma.Checkpoints(tmp_path).restore(model=model, optimizer=keras.optimizers.SGD())


def fitted(folder: Path, epochs: int, **options: Any) -> Any:
    from modelarchive.exchange.keras.callbacks import CheckpointCallback

    images, labels = digits()
    model = lenet(keras.optimizers.AdamW(0.01))
    with ma.Checkpoints(folder, **options) as run:
        callback = CheckpointCallback(run)
        model.fit(images[:64].transpose(0, 2, 3, 1), labels[:64], batch_size=16, epochs=epochs, verbose=0,
                  callbacks=[callback])  # fmt: skip
    return model


@pytest.mark.slow
def test_fit_goes_on_where_it_was_ended(tmp_path: Path) -> None:
    whole = fitted(tmp_path / "whole", 4)
    fitted(tmp_path / "run", 2)
    resumed = fitted(tmp_path / "run", 4, best=("loss", "min"))
    assert same(arrays(whole.variables), arrays(resumed.variables))
    assert same(arrays(whole.optimizer.variables), arrays(resumed.optimizer.variables))
    run = ma.Checkpoints(tmp_path / "run", best=("loss", "min"))
    assert run.steps() == [1, 2, 3, 4]
    assert run.metrics(4) == pytest.approx(ma.Checkpoints(tmp_path / "whole").metrics(4), rel=0)
    assert run.best() in (3, 4)


def test_a_callback_takes_epochs(tmp_path: Path) -> None:
    from modelarchive.exchange.keras.callbacks import CheckpointCallback

    with pytest.raises(ValueError, match="every is 0"):
        CheckpointCallback(ma.Checkpoints(tmp_path), every=0)


class Halving(keras.callbacks.Callback):  # type: ignore[misc]
    """One's own, which keeps more than plain values."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.seen: list[float] = []
        self.lambdas = [lambda: None]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seen.append(logs["loss"])
        if len(self.seen) % 2 == 0:
            self.model.optimizer.learning_rate = float(self.model.optimizer.learning_rate) * self.factor


#: What keeps something from epoch to epoch, and after how many epochs the first part of a run ends.
KEEPING = {
    "plateau": (lambda: [keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=10)], 2),
    "early": (lambda: [keras.callbacks.EarlyStopping("loss", patience=3, min_delta=10)], 2),
    "best": (
        lambda: [keras.callbacks.EarlyStopping("loss", patience=2, min_delta=10, restore_best_weights=True)],
        1,
    ),
    "averages": (lambda: [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)], 3),
    "own": (lambda: [Halving(0.5), keras.callbacks.EarlyStopping("loss", patience=9)], 3),
}


class Plug(keras.callbacks.Callback):  # type: ignore[misc]
    """Is pulled at the beginning of an epoch."""

    def __init__(self, epoch: int | None) -> None:
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == self.epoch:
            raise KeyboardInterrupt


def kept(folder: Path, name: str, epochs: int, *, pulled_at: int | None = None) -> tuple[Any, int]:
    from modelarchive.exchange.keras.callbacks import CheckpointCallback

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dropout(0.3)])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9, use_ema=name == "averages"), "mse")
    numbers = np.random.default_rng(0)
    callbacks = KEEPING[name][0]()
    with ma.Checkpoints(folder) as run:
        history = model.fit(
            numbers.normal(size=(16, 4)), numbers.normal(size=(16, 3)), batch_size=8, epochs=epochs, verbose=0,
            callbacks=[*callbacks, CheckpointCallback(run, callbacks=callbacks), Plug(pulled_at)],
        )  # fmt: skip
    return model, len(history.epoch)


@pytest.mark.slow
@pytest.mark.parametrize("name", KEEPING)
def test_what_callbacks_keep_goes_on(tmp_path: Path, name: str) -> None:
    whole, epochs = kept(tmp_path / "whole", name, 6)
    with pytest.raises(KeyboardInterrupt):
        kept(tmp_path / "run", name, 6, pulled_at=KEEPING[name][1])
    resumed, more = kept(tmp_path / "run", name, 6)
    assert KEEPING[name][1] + more == epochs
    assert same(arrays(whole.variables), arrays(resumed.variables))
    assert same(arrays(whole.optimizer.variables), arrays(resumed.optimizer.variables))
    # One that has ended does not go on, however often it is begun.
    again, more = kept(tmp_path / "run", name, 6)
    assert more == 0
    assert same(arrays(whole.variables), arrays(again.variables))


def test_callbacks_are_given_in_their_order(tmp_path: Path) -> None:
    from modelarchive.exchange.keras.callbacks import CheckpointCallback

    kept(tmp_path, "own", 2)
    with pytest.raises(ParameterError, match="it is of Halving: callbacks are given in the order"):
        ma.Checkpoints(tmp_path).restore(
            callbacks=CheckpointCallback(
                ma.Checkpoints(tmp_path), callbacks=[keras.callbacks.EarlyStopping(), Halving(0.5)]
            )._parts["callbacks"]
        )


class Held(keras.layers.Layer):
    """Layers in containers inside of containers, and variables of its own."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.inner = [[keras.layers.Dense(4), {"norm": keras.layers.BatchNormalization()}]]
        self.inner[0].append(self.inner)  # type: ignore[arg-type]  # people keep trees that lead back

    def build(self, shape: Any) -> None:
        self.inner[0][0].build(shape)
        self.inner[0][1]["norm"].build((*shape[:-1], 4))
        self.count = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False, name="count")

    def call(self, x: Any, training: bool = False) -> Any:
        return self.inner[0][1]["norm"](self.inner[0][0](x), training=training)


def _lora(model: Any) -> Any:
    model.layers[0].enable_lora(2)
    return model


def _lora_in_attention() -> Any:
    x = keras.Input((3, 4))
    attention = keras.layers.MultiHeadAttention(2, 2)
    model = keras.Model(x, keras.layers.Dense(1)(attention(x, x)))
    attention._query_dense.enable_lora(1)
    return model


def _of(*several: Any, shape: tuple[int, ...] = (4,)) -> Any:
    return keras.Sequential([keras.Input(shape), *several, keras.layers.Dense(1)])


#: Models whose variables are not all parameters of a vocabulary, one by one.
APART = {
    "LoRA": lambda: _lora(_of(keras.layers.Dense(4))),
    "LoRA of a convolution": lambda: _lora(_of(keras.layers.Conv1D(4, 2), shape=(3, 4))),
    "LoRA in attention": _lora_in_attention,
    "spectral": lambda: _of(keras.layers.SpectralNormalization(keras.layers.Dense(4))),
    "held": lambda: _of(Held()),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", APART)
def test_what_is_no_parameter_of_the_vocabulary_goes_on(tmp_path: Path, name: str) -> None:
    """Factors, vectors of power iterations, layers in nested containers: a variable that is left out begins anew."""

    def made() -> Any:
        model = APART[name]()
        model.compile(keras.optimizers.Adam(0.01), "mse")
        model.optimizer.build(model.trainable_variables)
        return model

    keras.utils.set_random_seed(0)
    model = made()
    x = np.random.default_rng(0).normal(size=(8, *model.input_shape[1:])).astype(np.float32)
    y = np.random.default_rng(1).normal(size=(8, *model.output_shape[1:])).astype(np.float32)
    model.train_on_batch(x, y)
    with ma.Checkpoints(tmp_path) as run:
        run.save(1, model=model, optimizer=model.optimizer)
    keras.utils.set_random_seed(1)
    other = made()
    ma.Checkpoints(tmp_path).restore(model=other, optimizer=other.optimizer)
    assert same(arrays(model.variables), arrays(other.variables))
    model.train_on_batch(x, y)
    other.train_on_batch(x, y)
    assert same(arrays(model.variables), arrays(other.variables))
    assert same(arrays(model.optimizer.variables), arrays(other.optimizer.variables))
