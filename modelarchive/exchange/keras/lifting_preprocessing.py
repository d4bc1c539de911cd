"""How Keras' preprocessing layers are lifted: classes told apart, images cut; what draws does nothing in inference."""

from __future__ import annotations

from typing import Any, Final

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.config import numbers
from modelarchive.exchange.keras.formulas import Term
from modelarchive.exchange.keras.lifting_context import Context, Lift
from modelarchive.exchange.keras.lifting_ordering import digitized, known_size, one_hot
from modelarchive.exchange.keras.lifting_padding import layout, spatial
from modelarchive.exchange.keras.model import Call
from modelarchive.exchange.keras.row import Lifting
from modelarchive.exchange.keras.weights import same
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short

#: Layers of random images that leave them as they are in inference.
RANDOM: Final = (
    "AugMix", "CutMix", "MixUp", "RandAugment", "RandomBrightness", "RandomColorDegeneration", "RandomColorJitter",
    "RandomContrast", "RandomElasticTransform", "RandomErasing", "RandomFlip", "RandomGaussianBlur", "RandomGrayscale",
    "RandomHue", "RandomInvert", "RandomPerspective", "RandomPosterization", "RandomRotation", "RandomSaturation",
    "RandomSharpness", "RandomShear", "RandomTranslation", "RandomZoom", "Solarization",
)  # fmt: skip


def _discretization(context: Context) -> Ref:
    """Discretization: how many boundaries lie at or below each number, as a class."""
    config = context.config
    bounds = numbers(config.value("bin_boundaries", None) or [], "float32").reshape(-1)
    config.value("num_bins", None), config.value("epsilon", None)
    if not bounds.size:
        raise Refusal("has no boundaries: it was never adapted")
    x = context.as_float(context.x)
    found = digitized(context, x, context.constant(bounds, "float32"))
    return _encoded(context, found, bounds.size + 1, config.text("output_mode", "int"))


def _category_encoding(context: Context) -> Ref:
    """CategoryEncoding: classes as ones among zeros, or counted."""
    config = context.config
    weights = context.tensor("count_weights", 1)
    mode = config.text("output_mode", "multi_hot")
    return _encoded(context, context.x, config.integer("num_tokens"), mode, weights)


def _encoded(context: Context, x: Ref, classes: int, mode: str, weights: Ref | None = None) -> Ref:
    """Classes as Keras' ``encode_categorical_inputs`` writes them down."""
    config = context.config
    config.expect("sparse", False)
    if mode == "int":
        return context.op("cast", x, dtype="int64") if context.is_keras2 else x
    if mode == "one_hot":
        rank = context.rank(x)
        x = context.op("squeeze", x, axis=[-1]) if rank > 1 and context.dims(x)[-1] == 1 else x
        return one_hot(context, x, classes, -1, context.computed)
    if mode not in ("multi_hot", "count"):
        raise Refusal(f"output_mode = {short(mode)} is not supported")
    found = one_hot(context, x, classes, -1, context.computed)
    if weights is not None:
        found = context.op("multiply", found, context.op("expand_dims", weights, axis=-1))
    axis = 1 if context.rank(x) > 1 else 0
    return context.op("sum" if mode == "count" else "max", found, axis=[axis], keepdims=False)


def _random_crop(context: Context) -> Ref:
    """RandomCrop, of which ``predict`` leaves images as they are."""
    context.note(f"{context.layer.kind} does nothing in inference, and is left out")
    context.config.used.update(context.config.values)
    return context.plain("Identity", context.as_float(context.x))


def _auto_contrast(context: Context) -> Ref:
    """AutoContrast: the darkest place of each image and colour becomes black, the brightest white."""
    low, high = numbers(context.config.value("value_range", [0, 255]), "float64").reshape(-1).tolist()
    context.config.value("data_format", None)
    x = context.as_float(context.x)
    if context.rank(x) != 4:
        raise Refusal(f"takes 4 axes, its input has {context.rank(x)}")
    given = Term(context, x)
    scaled = given if (low, high) == (0, 255) else (given - low) / (high - low) * 255.0
    ends = [scaled.op(name, axis=[1, 2], keepdims=True) for name in ("min", "max")]
    scale = 255.0 / (ends[1] - ends[0])
    found = (scaled * scale - ends[0] * scale).op("clip", low=0.0, high=255.0)
    found = found if (low, high) == (0, 255) else found / 255.0 * (high - low) + low
    return found.is_number.where(found, given).ref


def _pipeline(context: Context) -> list[Ref]:
    """Pipeline: layers one after the other."""
    several = context.config.value("layers")
    if not isinstance(several, list):
        raise Refusal(f"layers = {short(several)}, expected a list of layers")
    found: list[Ref] = [context.x]
    for child in context.children(several, "layers"):
        child.name = f"{context.layer.name}_{child.name}"
        found = context.importer.call(context.builder, child, Call([found[0]], {}))
    return found


def _adaptive_max(rank: int) -> Lift:
    """AdaptiveMaxPooling1D to 3D, and the mean of three axes: windows that share an axis, of known sizes."""

    def lift(context: Context) -> Ref:
        order, x = layout(context, rank), context.x
        sizes = context.config.sizes("output_size", rank)
        name = "max" if "Max" in context.layer.kind else "mean"
        first = 1 if order[-1] == "C" else 2
        spatial(context, x, order)
        for at, wanted in enumerate(sizes):
            x = _pooled(context, x, first + at, wanted, name)
        return x

    return lift


def _pooled(context: Context, x: Ref, axis: int, wanted: int, name: str) -> Ref:
    """One axis as so many windows, from the floor of where each begins to the ceiling of where it ends."""
    size = known_size(context, x, axis)
    if not 1 <= wanted <= 1024:
        raise Refusal(f"output_size = {wanted} is not supported, from 1 to 1024")
    whole: list[Any] = [[None, None, None]] * axis
    parts = []
    for at in range(wanted):
        begin, end = at * size // wanted, -(-(at + 1) * size // wanted)
        part = context.op("slice", x, index=[*whole, [begin, end, None]])
        parts.append(context.op(name, part, axis=[axis], keepdims=True))
    return parts[0] if wanted == 1 else context.op("concatenate", *parts, axis=axis)


def _spectral(context: Context) -> list[Ref]:
    """SpectralNormalization: in inference the layer inside, whose kernel was normalised when it was trained."""
    child = context.child(context.config.value("layer"), "layer")
    context.config.value("power_iterations", 1)
    context.note("SpectralNormalization is its layer here: training would normalise the kernel, inference does not")
    child.name = context.layer.name
    for path in context.importer.storage.arrays:
        if path.startswith(f"{context.layer.place}/vars/"):
            context.importer.storage.used.add(path)
    if not context.is_trainable():
        child.config.values["trainable"] = False
    return context.importer.call(context.builder, child, Call([context.x], {}))


#: Layers that are read as others.
LAYERS: Final[tuple[Lifting, ...]] = (
    *(
        Lifting(f"AdaptiveMaxPooling{rank}D", "max", _adaptive_max(rank), "of known sizes", masks="drop")
        for rank in (1, 2, 3)
    ),
    Lifting("AdaptiveAveragePooling3D", "mean", _adaptive_max(3), "of known sizes", masks="drop"),
    Lifting("RandomCrop", "Identity", _random_crop, "does nothing in `predict`, and is left out", masks="drop"),
    Lifting("Discretization", "less, sum", _discretization, masks="drop"),
    Lifting("CategoryEncoding", "equal, sum", _category_encoding, masks="drop"),
    Lifting("AutoContrast", "min, max, clip", _auto_contrast, masks="drop"),
    Lifting("Pipeline", "the layers inside", _pipeline, masks="drop"),
    Lifting(
        "SpectralNormalization",
        "the layer inside",
        _spectral,
        "not normalised in training",
        weights=(same("kernel", "kernel"), same("vector_u", "vector_u")),
    ),
)
