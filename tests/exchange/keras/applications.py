"""Keras Applications into archives and back; ``python -m tests.exchange.keras.applications`` writes the table.

Random weights, small images. Each model goes from Keras into an archive (:func:`modelarchive.save_model`), is run
in NumPy, and is built in Keras again. Figures of one run are kept beside those of others, in applications.json;
`--only MobileNet,VGG16` tries some, ``KERAS_BACKEND=jax`` those that PyTorch's backend does not have.
"""

from __future__ import annotations

import argparse
import inspect
import json
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

import modelarchive as ma
from modelarchive.exchange import keras as exchange
from tests.conftest import ROOT

MEASURED: Final = Path(__file__).with_name("applications.json")
DOCUMENT: Final = ROOT / "docs" / "exchange" / "keras.md"
BEGIN, END = "<!-- applications -->", "<!-- end of applications -->"
#: The smallest images that these take, where it is not 64.
SIZES: Final = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}


#: Where the image's last bits change more than this, rounding is compared with rounding.
CHAOTIC: Final = 1e-4


def names() -> list[str]:
    """All models of Keras Applications."""
    from keras import applications

    found = [name for name, each in vars(applications).items() if callable(each) and name[0].isupper()]
    return sorted(found)


def model_of(name: str, *, is_calm: bool = False) -> tuple[Any, np.ndarray]:
    """A model with random weights, and an image for it; its outputs are logits.

    Args:
        name: Its name in Keras Applications.
        is_calm: Whether its statistics are those of the image and of 15 others, which keep rounding small; else they
            are random.
    """
    import keras

    keras.utils.set_random_seed(0)
    make = getattr(keras.applications, name)
    size = SIZES.get(name, 64)
    more = {"classifier_activation": None} if "classifier_activation" in inspect.signature(make).parameters else {}
    model = make(weights=None, input_shape=(size, size, 3), classes=10, **more)
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if variable.name in ("moving_mean", "moving_variance"):
            low = 0.5 if variable.name == "moving_variance" else -0.2
            variable.assign(rng.uniform(low, low + 0.4, variable.shape).astype("float32"))
    image = rng.uniform(0, 255, (1, size, size, 3)).astype("float32")
    if is_calm:
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.0
        # Of one image alone the last layers see so few places that some hardly differ, and divide by almost nothing.
        others = rng.uniform(0, 255, (15, size, size, 3)).astype("float32")
        model(np.concatenate([image, others]), training=True)
    return model, image


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest, relative to the largest element."""
    return float(np.abs(np.asarray(found, np.float64) - wanted).max() / max(np.abs(wanted).max(), 1e-12))


def sorted_values(arrays: Any) -> np.ndarray:
    """All numbers of floating-point arrays, whatever their order."""
    return np.sort(np.concatenate([np.asarray(each).ravel() for each in arrays if np.asarray(each).dtype.kind == "f"]))


def tried(name: str, *, is_calm: bool = False) -> dict[str, Any]:
    """What becomes of a model; of one that is more rounding than anything else, with the statistics of the image.

    Returns:
        With "refused": why; else how many parameters it has, whether they are the same bits in the archive and in
        the model that is built from it, the largest differences of the outputs, and for comparison that of the
        model itself when every number of the image is the next one: how much of it is rounding.
    """
    import keras

    try:
        model, image = model_of(name, is_calm=is_calm)
    except ValueError as error:
        return {"not made": str(error).split(". ")[0]}
    numbers = keras.ops.convert_to_numpy
    wanted = numbers(model(image, training=False))
    nudged = difference(numbers(model(np.nextafter(image, image.dtype.type(np.inf)), training=False)), wanted)
    if nudged > CHAOTIC and not is_calm:
        return tried(name, is_calm=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.h5"
        try:
            ma.save_model(path, model, durable=False)
            with ma.open(path) as archive:
                live = exchange.read_model(model).parameters
                equal = all(live[key].tobytes() == each.tobytes() for key, each in archive.parameters.items())
                count = archive.parameter_count
                found = archive.build()(image)
                again = ma.load_model(path, backend="keras")
                stored = sorted_values(archive.parameters.values())
            kept = sorted_values(numbers(each) for each in again.weights)
            equal = equal and bool(np.isin(stored, kept).all()) and len(kept) >= len(stored)
            back = numbers(again(image, training=False))
        except ma.ConversionError as error:
            return {"refused": "; ".join(sorted({what for _, what in error.unsupported}))}
    return {
        "parameters": int(count),
        "equal": equal,
        "numpy": difference(found, wanted),
        "keras": difference(back, wanted),
        "nudged": nudged,
        "calm": is_calm,
        "backend": keras.backend.backend(),
        "version": keras.__version__,
    }


def table(measured: dict[str, Any]) -> str:
    """The figures in Markdown."""
    heads = "model | parameters | bit-equal | Keras → archive → NumPy | → Keras again | the image's last bits | backend"
    lines = [f"| {heads} |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for name, each in sorted(measured.items()):
        if "numpy" not in each:
            (how, why), *_ = each.items()
            lines.append(f"| {name} | | {how}: {why} | | | | |")
            continue
        figures = [f"{each[key]:.1e}" if each[key] else "0" for key in ("numpy", "keras", "nudged")]
        equal = "yes" if each["equal"] else "NO"
        where = each["backend"] + (", statistics of images" if each.get("calm") else "")
        lines.append(f"| {' | '.join([name, format(each['parameters'], ','), equal, *figures, where])} |")
    return "\n".join(lines)


def document(measured: dict[str, Any]) -> None:
    """Write the table into the document."""
    text = DOCUMENT.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table(measured)}\n{END}{after}", "utf-8")


def main() -> None:
    """Try models, keep the figures, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="names, with commas between")
    parser.add_argument("--missing", action="store_true", help="only those that have no figures yet")
    options = parser.parse_args()
    measured = json.loads(MEASURED.read_text("utf-8")) if MEASURED.exists() else {}
    wanted = options.only.split(",") if options.only else names()
    for name in wanted:
        if options.missing and "numpy" in measured.get(name, {}):
            continue
        begin = time.monotonic()
        measured[name] = tried(name)
        print(f"{name}: {measured[name]} in {time.monotonic() - begin:.0f} s", flush=True)
        MEASURED.write_text(json.dumps(measured, indent=1, sort_keys=True) + "\n", "utf-8")
        document(measured)


if __name__ == "__main__":
    main()
