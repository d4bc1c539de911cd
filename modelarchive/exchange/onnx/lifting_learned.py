"""How the operators of ai.onnx.ml are lifted that prepare numbers, and those of linear models and kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from modelarchive.exchange.bundle import few
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting

_ML: Final = "ai.onnx.ml::"


class Learned:
    """What the operators have in common: features, learned numbers, scores and labels."""

    @staticmethod
    def floats(context: Context, index: int = 0) -> Ref:
        """An input as float32, as these operators compute."""
        return context.as_dtype(context.ref(index), "float32")

    @staticmethod
    def numbers(context: Context, name: str, default: Any = None) -> np.ndarray | None:
        """A list of floats of the file; None where it is left out."""
        found = context.node.numbers(name, default)
        if found is None or not len(found):
            return None
        array = np.asarray(found, np.float32)
        context.make(array.size)
        return array

    @staticmethod
    def transformed(context: Context, scores: Ref) -> Ref:
        """Scores (batch, classes) as the file has them: as they are, or as probabilities."""
        style = context.node.text("post_transform", "NONE")
        if style == "NONE":
            return scores
        if style == "LOGISTIC":
            return context.activation("sigmoid", scores)
        if style == "SOFTMAX":
            return context.op("softmax", scores, axis=-1)
        raise Refusal(f"post_transform = {style!r} is not supported")

    @staticmethod
    def labels_of(context: Context, *names: str) -> np.ndarray | None:
        """The whole numbers that classes are called by; None where they are called by texts."""
        for name in names:
            found = context.node.integers(name, None)
            if found:
                context.make(len(found))
                return np.asarray(found, np.int64)
        return None

    @staticmethod
    def labelled(context: Context, places: Ref, labels: np.ndarray | None) -> Ref | None:
        """The labels of classes by their places."""
        if labels is None:
            if context.used(0):
                raise Refusal(f"labels of {context.node.op} that are texts are not supported: its scores are")
            return None
        if np.array_equal(labels, np.arange(labels.size)):
            return places
        return context.op("take", context.fixed(labels), places, axis=0)


def _linear(context: Context, count: int) -> Ref:
    """Rows of features times learned rows, and what is added."""
    weights, added = Learned.numbers(context, "coefficients"), Learned.numbers(context, "intercepts")
    width = context.shape(0)[-1]
    if weights is None or width is None or count < 1 or weights.size != count * width or context.rank(0) != 2:
        raise Refusal(f"{context.node.op} of {count} rows over {width} features is not supported")
    found = context.op("matmul", Learned.floats(context), context.fixed(weights.reshape(count, width).T.copy()))
    return found if added is None else context.op("add", found, context.fixed(added.reshape(1, -1)))


def _linear_classifier(context: Context) -> tuple[Any, ...]:
    node = context.node
    labels, texts = Learned.labels_of(context, "classlabels_ints"), node.texts("classlabels_strings", [])
    node.integer("multi_class", 0)
    count = len(texts) if labels is None else labels.size
    if count < 2:
        raise Refusal(f"LinearClassifier of {count} classes is not supported")
    scores = _linear(context, count)
    places = context.op("argmax", scores, axis=1, keepdims=False)
    return Learned.labelled(context, places, labels), Learned.transformed(context, scores)


def _linear_regressor(context: Context) -> Ref:
    return Learned.transformed(context, _linear(context, context.node.integer("targets", 1)))


def _scaler(context: Context) -> Ref:
    offset, scale = Learned.numbers(context, "offset"), Learned.numbers(context, "scale")
    x = Learned.floats(context)
    x = x if offset is None else context.op("subtract", x, context.fixed(offset))
    return x if scale is None else context.op("multiply", x, context.fixed(scale))


def _normalizer(context: Context) -> Ref:
    """Each row by its largest element, its sum, or its length; a row of zeros stays."""
    style, x = context.node.text("norm", "MAX"), Learned.floats(context)
    if style == "L1":
        size = context.op("sum", context.op("abs", x), axis=[-1], keepdims=True)
    elif style == "L2":
        size = context.op("sqrt", context.op("sum", context.op("multiply", x, x), axis=[-1], keepdims=True))
    elif style == "MAX":
        size = context.op("max", x, axis=[-1], keepdims=True)
    else:
        raise Refusal(f"norm = {style!r} is not supported")
    empty = context.op("equal", size, context.literal(0, "float32"))
    return context.op("divide", x, context.op("where", empty, context.literal(1, "float32"), size))


def _binarizer(context: Context) -> Ref:
    dtype = context.dtype(0)
    limit = context.literal(context.node.number("threshold", 0.0), dtype)
    return context.as_dtype(context.op("greater", context.ref(0), limit), dtype)


def _imputer(context: Context) -> Ref:
    """What is missing, by what was learned for its column."""
    dtype = context.dtype(0)
    if dtype[0] == "f":
        values, missing = (
            Learned.numbers(context, "imputed_value_floats"),
            context.node.get("replaced_value_float", "f", 0.0),
        )
    else:
        whole = context.node.integers("imputed_value_int64s", None)
        values, missing = None if whole is None else np.asarray(whole), context.node.integer("replaced_value_int64", 0)
    if values is None:
        raise Refusal(f"Imputer of {dtype} without values is not supported")
    x = context.ref(0)
    if missing != missing:
        lost = context.op("equal", context.op("equal", x, x), context.literal(False, "bool"))
    else:
        lost = context.op("equal", x, context.literal(missing, dtype))
    return context.op("where", lost, context.as_dtype(context.fixed(values), dtype), x)


def _features(context: Context) -> Ref:
    """Columns side by side."""
    sizes = list(context.node.integers("inputdimensions"))
    parts = [Learned.floats(context, index) for index in range(len(context))]
    found = [context.known_of(part).declared for part in parts]
    if any(len(shape) != 2 or shape[1] != size for shape, size in zip(found, sizes, strict=False)):
        raise Refusal(f"FeatureVectorizer of columns {sizes} from the shapes {found} is not supported")
    return context.op("concatenate", *parts, axis=1)


def _columns(context: Context) -> Ref:
    """Some of the last axis."""
    x, places = context.ref(0), context.op("reshape", context.as_dtype(context.ref(1), "int64"), shape=[-1])
    if context.rank(0) == 1:
        x = context.op("reshape", x, shape=[1, -1])
    return context.op("take", x, places, axis=-1)


def _one_hot(context: Context) -> Ref:
    kinds = Learned.labels_of(context, "cats_int64s")
    if kinds is None or not context.node.flag("zeros", default=True):
        raise Refusal("OneHotEncoder of texts, or that fails on what it does not know, is not supported")
    x = context.op("expand_dims", context.as_dtype(context.ref(0), "int64"), axis=[-1])
    return context.as_dtype(context.op("equal", x, context.fixed(kinds)), "float32")


def _encoder(context: Context) -> Ref:
    """Numbers by numbers, what is not known by another one."""
    node = context.node
    keys, values = _side(context, "keys"), _side(context, "values")
    if keys.shape != values.shape or not keys.size:
        raise Refusal(f"LabelEncoder from {keys.size} keys to {values.size} values is not supported")
    if values.dtype == np.int64:
        default: Any = node.integer("default_int64", -1)
    else:
        default = node.get("default_float", "f", -0.0)
    node.get("default_string", "s", b"")
    if (tensor := node.tensor("default_tensor")) is not None:
        default = tensor.read().reshape(-1)[0].item()
    dtype = str(values.dtype)
    x = context.op("expand_dims", context.as_dtype(context.ref(0), str(keys.dtype)), axis=[-1])
    same = context.op("equal", x, context.fixed(keys))
    # NaN equals nothing, and is a key like others to ONNX Runtime since version 4.
    if context.opset >= 4 and keys.dtype.kind == "f" and np.isnan(keys).any():
        missing = context.op("equal", context.op("equal", x, x), context.literal(False, "bool"))
        same = context.op("maximum", same, context.op("multiply", missing, context.fixed(np.isnan(keys))))
    place = context.op("argmax", context.as_dtype(same, "int32"), axis=-1, keepdims=False)
    known = context.op("max", context.as_dtype(same, "int32"), axis=[-1], keepdims=False)
    found = context.op("take", context.fixed(values), place, axis=0)
    missing = context.op("equal", known, context.literal(0, "int32"))
    return context.op("where", missing, context.literal(default, dtype), found)


def _side(context: Context, name: str) -> np.ndarray:
    node = context.node
    if (tensor := node.tensor(f"{name}_tensor")) is not None:
        context.make(int(np.prod(tensor.shape)))
        return tensor.read().reshape(-1)
    if (whole := node.integers(f"{name}_int64s", None)) is not None:
        return np.asarray(whole, np.int64)
    if (real := node.numbers(f"{name}_floats", None)) is not None:
        return np.asarray(real, np.float32)
    raise Refusal("LabelEncoder of texts is not supported")


def _zip_map(context: Context) -> Ref:
    """The array itself: its columns stand for the labels."""
    labels: Sequence[Any] = context.node.integers("classlabels_int64s", None) or context.node.texts(
        "classlabels_strings", []
    )
    names = few({str(each): None for each in labels})
    context.note(f"is an array, not one map for each row: its columns are the classes {names}")
    return context.ref(0)


def _support_vectors(context: Context) -> Ref:
    """SVMRegressor: kernels of each row with the support vectors, weighed."""
    node = context.node
    vectors, weights = Learned.numbers(context, "support_vectors"), Learned.numbers(context, "coefficients")
    rho, count, width = Learned.numbers(context, "rho"), node.integer("n_supports", 0), context.shape(0)[-1]
    node.expect("one_class", "i", 0)
    if vectors is None or weights is None or rho is None or count < 1 or width is None:
        raise Refusal("SVMRegressor without support vectors is not supported")
    if vectors.size != count * width or weights.size != count:
        raise Refusal(f"SVMRegressor of {count} vectors of {width} features is not supported")
    found = context.op("matmul", _kernel(context, vectors.reshape(count, width)), context.fixed(weights.reshape(-1, 1)))
    return Learned.transformed(context, context.op("add", found, context.fixed(rho.reshape(1, -1)[:, :1])))


def _kernel(context: Context, rows: np.ndarray) -> Ref:
    """How alike each row of the input and each support vector are: (batch, vectors)."""
    kernel, numbers = context.node.text("kernel_type", "LINEAR"), list(context.node.numbers("kernel_params", []))
    if len(numbers) not in (0, 3) or context.rank(0) != 2:
        raise Refusal(f"{context.node.op} with {len(numbers)} numbers of a kernel is not supported")
    x = Learned.floats(context)
    gamma, more, degree = (context.literal(each, "float32") for each in numbers or [1.0, 0.0, 3.0])
    if kernel == "RBF":
        apart = context.op("subtract", context.op("expand_dims", x, axis=[1]), context.fixed(rows))
        square = context.op("sum", context.op("multiply", apart, apart), axis=[-1], keepdims=False)
        found = context.op("exp", context.op("negative", context.op("multiply", gamma, square)))
    else:
        found = context.op("matmul", x, context.fixed(rows.T.copy()))
        if kernel != "LINEAR":
            found = context.op("add", context.op("multiply", gamma, found), more)
        if kernel == "POLY":
            found = context.op("power", found, degree)
        elif kernel == "SIGMOID":
            found = context.activation("tanh", found)
        elif kernel != "LINEAR":
            raise Refusal(f"kernel_type = {kernel!r} is not supported")
    return found


def _support_classes(context: Context) -> tuple[Any, ...]:
    """SVMClassifier: each two classes are told apart, and each pair votes for one of its two.

    The scores are those of the pairs; of two classes for both of them.
    """
    node = context.node
    labels, texts = Learned.labels_of(context, "classlabels_ints"), node.texts("classlabels_strings", [])
    counts = [int(each) for each in node.integers("vectors_per_class", [])]
    classes, total, width = len(texts) if labels is None else labels.size, sum(counts), context.shape(0)[-1]
    vectors, weights, rho = (Learned.numbers(context, name) for name in ("support_vectors", "coefficients", "rho"))
    if node.numbers("prob_a", []) or node.numbers("prob_b", []):
        raise Refusal("SVMClassifier with probabilities is not supported: runtimes iterate until they are near enough")
    if not 2 <= classes == len(counts) <= 128 or min(counts) < 0 or vectors is None or weights is None or rho is None:
        raise Refusal(
            f"SVMClassifier of {classes} classes with {len(counts)} groups of support vectors is not supported"
        )
    pairs = [(one, two) for one in range(classes) for two in range(one + 1, classes)]
    if width is None or not total or (vectors.size, weights.size, rho.size) != (
        total * width, (classes - 1) * total, len(pairs)
    ):  # fmt: skip
        raise Refusal(f"SVMClassifier of {total} vectors of {width} features for {classes} classes is not supported")
    context.make(len(pairs) * (total + classes))
    table, votes = np.zeros((total, len(pairs)), np.float32), np.zeros((2, len(pairs), classes), np.float32)
    rows, starts = weights.reshape(classes - 1, total), np.cumsum([0, *counts])
    for place, (one, two) in enumerate(pairs):
        for own, row in ((one, two - 1), (two, one)):
            part = slice(starts[own], starts[own + 1])
            table[part, place] = rows[row, part]
        votes[0, place, one] = votes[1, place, two] = 1
    scores = context.op("matmul", _kernel(context, vectors.reshape(total, width)), context.fixed(table))
    scores = context.op("add", scores, context.fixed(rho.reshape(1, -1)))
    first = context.as_dtype(context.op("greater", scores, context.literal(0, "float32")), "float32")
    # A vote for the second of a pair is one for the first taken away.
    counted = context.op("matmul", first, context.fixed(votes[0] - votes[1]))
    counted = context.op("add", counted, context.fixed(votes[1].sum(axis=0, keepdims=True)))
    places = context.op("argmax", counted, axis=1, keepdims=False)
    if classes > 2:
        return Learned.labelled(context, places, labels), Learned.transformed(context, scores)
    if node.text("post_transform", "NONE") != "NONE":
        raise Refusal("SVMClassifier of two classes whose scores are changed is not supported")
    both = context.op("concatenate", context.op("negative", scores), scores, axis=1)
    return Learned.labelled(context, places, labels), both


_TEXTS: Final = "no texts"

ROWS: Final[list[Lifting]] = [
    Lifting(f"{_ML}Scaler", "subtract, multiply", _scaler),
    Lifting(f"{_ML}Normalizer", "abs, sum, divide", _normalizer),
    Lifting(f"{_ML}Binarizer", "greater, cast", _binarizer),
    Lifting(f"{_ML}Imputer", "where", _imputer),
    Lifting(f"{_ML}FeatureVectorizer", "concatenate", _features),
    Lifting(f"{_ML}ArrayFeatureExtractor", "take", _columns),
    Lifting(f"{_ML}OneHotEncoder", "equal, cast", _one_hot, _TEXTS),
    Lifting(f"{_ML}LabelEncoder", "equal, argmax, take, where", _encoder, _TEXTS),
    Lifting(f"{_ML}LinearClassifier", "matmul, add, argmax", _linear_classifier, "no labels that are texts"),
    Lifting(f"{_ML}LinearRegressor", "matmul, add", _linear_regressor),
    Lifting(f"{_ML}SVMRegressor", "matmul, exp, power", _support_vectors),
    Lifting(
        f"{_ML}SVMClassifier",
        "matmul, exp, power, argmax",
        _support_classes,
        "no probabilities, no labels that are texts",
    ),
    Lifting(f"{_ML}ZipMap", "(the input)", _zip_map, "an array, not one map for each row"),
]
