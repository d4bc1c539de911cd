"""Networks of torchvision and timm: one of each family, of random weights, the smallest that there is."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import torch

from tests.coverage.judging import Network

#: Words of small variants, the smallest first.
_SMALL = (
    *("test", "atto", "femto", "pico", "nano", "zepto", "xxt", "xxs", "xx_small", "micro", "tiny", "_xs", "x_small"),
    *("_s0", "_m0", "_b0", "_t_", "_t0", "mini", "small", "_s_", "18", "_050", "s12", "_s", "_t", "26", "_0"),
)


def _image(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


# ---------------------------------------------------------------------- torchvision

#: Model of torchvision -> shape of its input; one of each family.
_TORCHVISION = {
    "alexnet": (2, 3, 96, 96), "convnext_tiny": (2, 3, 64, 64), "deeplabv3_mobilenet_v3_large": (2, 3, 64, 64),
    "deeplabv3_resnet50": (2, 3, 64, 64), "densenet121": (2, 3, 64, 64), "efficientnet_b0": (2, 3, 64, 64),
    "efficientnet_v2_s": (2, 3, 64, 64), "fcn_resnet50": (2, 3, 64, 64), "googlenet": (2, 3, 64, 64),
    "inception_v3": (2, 3, 96, 96), "lraspp_mobilenet_v3_large": (2, 3, 64, 64), "maxvit_t": (2, 3, 224, 224),
    "mc3_18": (2, 3, 4, 32, 32), "mnasnet0_5": (2, 3, 64, 64), "mobilenet_v2": (2, 3, 64, 64),
    "mobilenet_v3_small": (2, 3, 64, 64), "mvit_v1_b": (1, 3, 16, 224, 224), "mvit_v2_s": (1, 3, 16, 224, 224),
    "r2plus1d_18": (2, 3, 4, 32, 32), "r3d_18": (2, 3, 4, 32, 32), "raft_small": (1, 3, 128, 128),
    "regnet_x_400mf": (2, 3, 64, 64), "regnet_y_400mf": (2, 3, 64, 64), "resnet18": (2, 3, 64, 64),
    "resnet50": (2, 3, 64, 64), "resnext50_32x4d": (2, 3, 64, 64), "s3d": (1, 3, 16, 224, 224),
    "shufflenet_v2_x0_5": (2, 3, 64, 64), "squeezenet1_0": (2, 3, 64, 64), "squeezenet1_1": (2, 3, 64, 64),
    "swin3d_t": (1, 3, 4, 64, 64), "swin_t": (2, 3, 64, 64), "swin_v2_t": (2, 3, 64, 64), "vgg11": (1, 3, 64, 64),
    "vgg11_bn": (1, 3, 64, 64), "vit_b_16": (1, 3, 224, 224), "wide_resnet50_2": (2, 3, 64, 64),
    "fasterrcnn_mobilenet_v3_large_320_fpn": (1, 3, 64, 64), "fcos_resnet50_fpn": (1, 3, 64, 64),
    "retinanet_resnet50_fpn": (1, 3, 64, 64), "ssd300_vgg16": (1, 3, 64, 64),
    "ssdlite320_mobilenet_v3_large": (1, 3, 64, 64), "keypointrcnn_resnet50_fpn": (1, 3, 64, 64),
    "maskrcnn_resnet50_fpn": (1, 3, 64, 64),
}  # fmt: skip


#: Those whose sums and activations are modules, for what quantises them.
_QUANTIZABLE = (
    *("googlenet", "inception_v3", "mobilenet_v2", "mobilenet_v3_large", "resnet18", "resnext101_32x8d"),
    "shufflenet_v2_x0_5",
)
#: Words of detectors, whose results are as many as values say.
_DETECTING = ("rcnn", "fcos", "retinanet", "ssd")
#: What the heads of regions are given: of each region a piece of the picture's features.
_REGIONS = {"box": (5, 256, 7, 7), "mask": (5, 256, 14, 14), "keypoint": (5, 256, 14, 14)}


def torchvision() -> Iterator[Network]:
    """One network of each family of torchvision; of detectors also all that has parameters."""
    from torchvision import models

    for name, shape in _TORCHVISION.items():

        def make(name: str = name, shape: Any = shape) -> Any:
            return _of_torchvision(name), (_image(*shape),) * (2 if name.startswith("raft") else 1)

        yield Network("torchvision", name, make)
        if any(word in name for word in _DETECTING):
            yield Network("torchvision", f"{name}, backbone and heads", lambda name=name: _parts(_of_torchvision(name)))
    for name in _QUANTIZABLE:
        yield Network(
            "torchvision",
            f"quantization.{name}",
            lambda name=name: (
                getattr(models.quantization, name)(weights=None, quantize=False),
                (_image(2, 3, 96, 96),),
            ),
        )


def _of_torchvision(name: str) -> torch.nn.Module:
    from torchvision import models

    takes = inspect.signature(models.get_model_builder(name)).parameters
    return models.get_model(name, weights=None, **({"weights_backbone": None} if "weights_backbone" in takes else {}))


class _Features(torch.nn.Module):
    """A detector of one stage without what sorts its results out."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.backbone, self.head = detector.backbone, detector.head

    def forward(self, images: torch.Tensor) -> Any:
        return self.head(list(self.backbone(images).values()))


class _Regions(torch.nn.Module):
    """A detector of two stages without what chooses regions, which it is given instead."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.backbone, self.rpn, self.roi_heads = detector.backbone, detector.rpn, detector.roi_heads

    def forward(self, images: torch.Tensor, *regions: torch.Tensor) -> Any:
        found = [self.rpn.head(list(self.backbone(images).values()))]
        for word, each in zip(_words(self.roi_heads), regions, strict=True):
            head, predictor = (getattr(self.roi_heads, f"{word}_{what}") for what in ("head", "predictor"))
            found.append(predictor(head(each)))
        return found


def _words(heads: Any) -> list[str]:
    return [word for word in _REGIONS if getattr(heads, f"{word}_head", None) is not None]


def _parts(detector: Any) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """All of a detector that has parameters, under their names, and what it is given."""
    if hasattr(detector, "head"):
        return _Features(detector), (
            _image(2, 3, *(300, 300) if "VGG" in type(detector.backbone).__name__ else (64, 64)),
        )
    return _Regions(detector), (_image(2, 3, 64, 64), *(_image(*_REGIONS[each]) for each in _words(detector.roi_heads)))


# ---------------------------------------------------------------------- timm


def timm() -> Iterator[Network]:
    """One network of each module of timm: the smallest by its name."""
    import timm as library

    for module in library.list_modules():
        names = library.list_models(module=module)
        if not names:
            continue
        name = min(names, key=lambda each: (_rank(each), len(each), each))

        def make(name: str = name) -> Any:
            network, side = _shallow(library.create_model, name)
            channels, *usual = network.default_cfg["input_size"]
            sides = usual
            if side is not None:
                sides = [side, side]
            elif not network.default_cfg.get("fixed_input_size") and _is_convolutional(network):
                sides = [96, 96]
            image = _image(2, channels, *sides)
            if sides != usual and not _takes(network, image):
                network, image = library.create_model(name, pretrained=False), _image(2, channels, *usual)
            return network, (image,)

        yield Network("timm", f"{module}: {name}", make)


def _shallow(create: Any, name: str) -> tuple[Any, int | None]:
    """A network of few layers and small images, where its function takes such; and the side of its images."""
    for options in ({"depth": 2, "img_size": 64}, {"depth": 2}, {"img_size": 96}, {}):
        try:
            network = create(name, pretrained=False, **options)
        except Exception:  # it takes no such, and says so in any way
            continue
        return network, options.get("img_size")
    return create(name, pretrained=False), None


def _takes(network: torch.nn.Module, image: torch.Tensor) -> bool:
    """Whether a network runs on images of this size, which is not its own."""
    try:
        with torch.no_grad():
            network.eval()(image)
    except Exception:  # whatever its functions raise
        return False
    return True


def _rank(name: str) -> int:
    return next((at for at, word in enumerate(_SMALL) if word in f"{name}_"), len(_SMALL))


def _is_convolutional(network: torch.nn.Module) -> bool:
    """Whether nothing in a network is of one size only, as tables of positions are."""
    return not any(
        "pos_embed" in name or "bias_table" in name or "attn" in name for name, _ in network.named_parameters()
    )
