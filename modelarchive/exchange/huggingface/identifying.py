"""A model with its configuration, once what that means was compared with its architecture."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from modelarchive.architecture.constants import constants_of
from modelarchive.errors import ConversionError, FormatError
from modelarchive.exchange.bundle import Bundle, Note, deferred
from modelarchive.exchange.huggingface import through
from modelarchive.exchange.huggingface.alone import KEY
from modelarchive.exchange.huggingface.config import Config
from modelarchive.exchange.huggingface.families import FAMILIES
from modelarchive.exchange.huggingface.family import Family
from modelarchive.exchange.huggingface.folder import CONFIG, MAX_CONFIG_BYTES, Kept
from modelarchive.exchange.huggingface.pooling import MODULES, POOLING, pooling_of
from modelarchive.exchange.huggingface.reading import described, family_of, float_dtype
from modelarchive.exchange.huggingface.recognising import configurations
from modelarchive.exchange.huggingface.sentences import POOLINGS, Pooling
from modelarchive.exchange.huggingface.traits import Traits
from modelarchive.exchange.huggingface.words import TEXTS
from modelarchive.store.deferred import Deferred
from modelarchive.store.strict import short

#: As MiniLM and its like are pooled.
_MEAN: Final = Pooling(("pooling_mode_mean_tokens",), is_normalised=True)
#: Differences of architectures that are listed.
_MOST: Final = 20


@dataclass(frozen=True)
class Model:
    """What is written: a bundle, and what transformers calls it.

    Attributes:
        bundle: The model.
        family: Its family.
        traits: Its class, and how it is laid out.
        config: What config.json says.
        texts: The tokenizer's files.
    """

    bundle: Bundle
    family: Family
    traits: Traits
    config: dict[str, Any]
    texts: dict[str, str]

    @property
    def embedding(self) -> str:
        """The parameter whose rows are words."""
        return self.family.embedding if self.traits.is_flat else self.family.embedding_of(self.traits.head)


def known(bundle: Bundle, given: Mapping[str, Any] | None) -> tuple[Model, list[Note]]:
    """The model of a family, or of any class of transformers that builds the same network again.

    Raises:
        ConversionError: It is neither, or what config.json shall say is no JSON.
    """
    try:
        json.dumps(given, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConversionError([("config", f"is no JSON: {error}")], hint="nothing was written") from error
    try:
        return recognised(bundle, given)
    except ConversionError as error:
        kept = bundle.metadata.get(KEY)
        values = dict(given) if given is not None else kept.get("config") if isinstance(kept, dict) else None
        if bundle.architecture is None or not isinstance(values, dict) or not through.may_read(values, error):
            raise
        return _built_again(bundle, values)


def _built_again(bundle: Bundle, values: dict[str, Any]) -> tuple[Model, list[Note]]:
    """A network that transformers built, and which it builds again from what would be written.

    Raises:
        ConversionError: It builds another one.
    """
    architecture = bundle.architecture or {}
    inputs = [str(each["name"]) for each in architecture["inputs"]]
    constants = constants_of(architecture)
    arrays: dict[int, tuple[str, Deferred]] = {}
    for name, entry in deferred(bundle.parameters).items():
        if name not in constants:
            arrays.setdefault(id(entry), (name, entry))
    again = through.assembled(values, dict(arrays.values()), inputs)
    if again.architecture != architecture:
        what = f"is another network than transformers builds of {CONFIG}"
        raise ConversionError([("(architecture)", what)], hint="nothing was written")
    kept = bundle.metadata.get(KEY)
    texts, problems = _kept_texts(kept.get("files") if isinstance(kept, dict) else None)
    if problems:
        raise ConversionError(problems)
    values, notes = _with_dtype(values, float_dtype(deferred(bundle.parameters)))
    family = Family(str(values["model_type"]), "", "", (), lambda *_: None, tuple(inputs), "")
    return Model(bundle, family, Traits("", tuple(inputs)), values, texts), notes


def recognised(bundle: Bundle, given: Mapping[str, Any] | None) -> tuple[Model, list[Note]]:
    """The model with its configuration, once what that means was compared with the architecture.

    Raises:
        ConversionError: There is no configuration, or it means another network; lists the differences.
    """
    if bundle.architecture is None:
        hint = "nothing was written: a folder holds a whole model"
        raise ConversionError([("(architecture)", bundle.reason or "there is none")], hint=hint)
    kept = bundle.metadata.get(KEY)
    kept = kept if isinstance(kept, dict) else {}
    values = dict(given) if given is not None else kept.get("config")
    is_guess = not isinstance(values, dict)
    candidates = [values] if isinstance(values, dict) else list(configurations(bundle.architecture))
    if not candidates:
        problem = f"it looks like none of {', '.join(FAMILIES)}, and metadata[{KEY!r}] has no config"
        raise ConversionError([("(architecture)", problem)], hint=f"pass config=, what {CONFIG} shall say")
    if len(json.dumps(candidates[0])) > MAX_CONFIG_BYTES:
        raise ConversionError([(f"metadata[{KEY!r}]", f"its config has more than {MAX_CONFIG_BYTES:,} bytes")])
    texts, problems = _kept_texts(kept.get("files"))
    if problems:
        raise ConversionError(problems)
    first: list[tuple[str, str]] = []
    for candidate in candidates:
        found = _compared(bundle, candidate, texts, is_guess=is_guess)
        if isinstance(found, Model):
            return _settled(found)
        first = first or found
    where = f"{CONFIG} means" if not is_guess else "the configuration that looks most like it means"
    raise ConversionError(
        first, hint=f"{where} another network, or an unknown one; pass config=, what {CONFIG} shall say"
    )


def _kept_texts(files: Any) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """The tokenizer's texts out of metadata, and what is wrong with them."""
    files = files if isinstance(files, dict) else {}
    # Names from a file are no paths: these and no others.
    texts = {name: files[name] for name in TEXTS if isinstance(files.get(name), str)}
    where = f"metadata[{KEY!r}]"
    bad = [name for name, text in texts.items() if any("\ud800" <= sign <= "\udfff" for sign in text)]
    return texts, [(where, f"{name} is no Unicode text") for name in bad]


def _compared(
    bundle: Bundle, values: dict[str, Any], texts: dict[str, str], *, is_guess: bool
) -> Model | list[tuple[str, str]]:
    """The model, if the configuration means its architecture; else where they differ."""
    config = Config(values)
    family, head = family_of(config)
    if family is None or head is None:
        return config.problems
    try:
        pooling = pooling_of(Kept(texts), config)
    except FormatError as error:
        return [(MODULES, str(error))]
    if config.problems:
        return config.problems
    ways: list[tuple[str, Pooling | None]] = [(head, None)]
    if pooling is not None:
        ways.insert(0, (family.of_sentences, pooling))
    elif is_guess and head == "Model":
        ways.append((head, _MEAN))
    first: list[tuple[str, str]] = []
    for head, each in ways:
        traits = _traits(bundle, family, head, each)
        found = differences(bundle, config, family, traits)
        if not found:
            return Model(bundle, family, traits, values, _with_pooling(texts, each, pooling))
        first = first or found
    return first


def _traits(bundle: Bundle, family: Family, head: str, pooling: Pooling | None) -> Traits:
    """What an archive says of a network beside its configuration."""
    count = len((bundle.architecture or {})["inputs"])
    is_flat = (
        bool(family.prefix)
        and head != "Model"
        and not any(name.startswith(f"{family.prefix}.") for name in bundle.parameters)
    )
    return Traits(
        head,
        next((each for each in family.takes(head) if len(each) == count), ()),
        has_pooler="pooler.dense.weight" in bundle.parameters,
        is_tied=_ties(bundle, family, head, is_flat=is_flat),
        pooling=pooling,
        is_flat=is_flat,
    )


def _with_pooling(texts: dict[str, str], actual: Pooling | None, said: Pooling | None) -> dict[str, str]:
    """The texts, with what says how places are pooled if they are, and without if they are not."""
    if actual == said:
        return texts
    if actual is None:
        return {name: text for name, text in texts.items() if name not in (MODULES, POOLING) and "_Dense/" not in name}
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (kind, path) in enumerate(kinds[: 2 + actual.is_normalised])
    ]
    return texts | {
        MODULES: json.dumps(modules, indent=2) + "\n",
        POOLING: json.dumps({mode: mode in actual.modes for mode in POOLINGS}, indent=2) + "\n",
    }


def _settled(model: Model) -> tuple[Model, list[Note]]:
    """With a configuration that says of tied weights and of the dtype what is so."""
    notes = []
    values, family = model.config, model.family
    ties = model.traits.is_tied
    if ties is not None and not family.always_tied and ties is not family.ties(values):
        if "tie_word_embeddings" in values:
            notes.append(Note("tie_word_embeddings", f"is written as {str(ties).lower()}, as the parameters are"))
        values = values | {"tie_word_embeddings": ties}
    values, told = _with_dtype(values, float_dtype(deferred(model.bundle.parameters)))
    return replace(model, config=values), notes + told


def _ties(bundle: Bundle, family: Family, head: str, *, is_flat: bool) -> bool | None:
    """Whether the layer that guesses words shares the embedding's weight; None: there is no such layer."""
    if head not in family.guesses:
        return None
    entries = deferred(bundle.parameters)
    own, embedding = (
        entries.get(f"{family.guesses[head]}.weight"),
        entries.get(family.embedding if is_flat else family.embedding_of(head)),
    )
    return own is embedding


def _with_dtype(values: dict[str, Any], dtype: str) -> tuple[dict[str, Any], list[Note]]:
    """The configuration with the dtype that the parameters have."""
    key = "torch_dtype" if "torch_dtype" in values else "dtype"
    said = values.get(key)
    if said == dtype or (said is None and dtype == "float32"):
        return values, []
    notes = [] if said is None else [Note(key, f"is written as {dtype}, which the parameters are")]
    return values | {key: dtype}, notes


def differences(bundle: Bundle, config: Config, family: Family, traits: Traits) -> list[tuple[str, str]]:
    """Where the architecture is another one than the configuration says."""
    found = bundle.architecture or {}
    if not traits.inputs:
        declared = ", ".join(str(each["name"]) for each in found["inputs"])
        expected = " or ".join(", ".join(each) for each in family.takes(traits.head))
        return [("inputs", f"are {declared or 'not declared'}, expected {expected}")]
    network = family.make(config, traits, len(bundle.parameters))
    if network is None:
        return config.problems
    network.cast(float_dtype(deferred(bundle.parameters)))  # some numbers are rounded to it
    meant = described(network, traits.inputs, config).architecture
    # Of which size the example was that the network was recorded on, does not matter.
    one, other = (_with_numbered_inputs(each["model"]) for each in (meant, found))
    return list(itertools.islice(_unlike(one, other, "/model"), _MOST))


def _with_numbered_inputs(model: dict[str, Any]) -> dict[str, Any]:
    """A Graph whose inputs are called by their places: what they are called decides nothing."""
    new = {name: f"input {at}" for at, name in enumerate(model.get("inputs", ()))}

    def renamed(refs: Any) -> Any:
        if isinstance(refs, list):
            return [renamed(ref) for ref in refs]
        return new.get(refs, refs) if isinstance(refs, str) else refs

    nodes = [
        node | {"inputs": renamed(node["inputs"])} if "inputs" in node else node for node in model.get("nodes", ())
    ]
    return model | {"inputs": list(new.values()), "nodes": nodes, "outputs": renamed(model.get("outputs"))}


def _unlike(expected: Any, found: Any, where: str) -> Iterator[tuple[str, str]]:
    """JSON pointers of what differs; which parameters are frozen, and dtypes, which a file decides, do not."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in [*expected, *(key for key in found if key not in expected)]:
            if key not in ("dtype", "frozen", "dropout"):
                yield from _unlike(expected.get(key), found.get(key), f"{where}/{key}")
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for at, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from _unlike(one, other, f"{where}/{at}")
    elif expected != found:
        yield where, f"is {short(found)}, {CONFIG} makes it {short(expected)}"
