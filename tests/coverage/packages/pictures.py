"""Networks of packages that look at pictures, find things in them, and make them larger."""

from __future__ import annotations

from pkgutil import resolve_name as named
from typing import Any

import torch

from tests.coverage.packages.giving import Called, Networks, floats, ids


def _smp(name: str, encoder: str = "resnet18", **more: Any) -> Any:
    return named(f"segmentation_models_pytorch:{name}")(encoder_name=encoder, encoder_weights=None, classes=2, **more)


def _of_yaml(name: str) -> Any:
    """A network of Ultralytics: its heads give all places, as they are before anything is chosen among them."""
    kind = next((each for each in ("seg", "pose", "obb", "cls") if f"-{each}" in name), "")
    classes = {"seg": "Segmentation", "pose": "Pose", "obb": "OBB", "cls": "Classification", "": "Detection"}
    kind = "RTDETRDetection" if "rtdetr" in name else classes[kind]
    return named(f"ultralytics.nn.tasks:{kind}Model")(name, verbose=False)


def _vit(name: str, **more: Any) -> Any:
    usual = {"image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 16, "depth": 2, "heads": 2, "mlp_dim": 32}
    return named(f"vit_pytorch.{name}")(**(usual | more))


def _super(name: str, *given: Any, **more: Any) -> Any:
    return named(f"spandrel.architectures.{name}")(*given, **more)


_IMAGE = (2, 3, 32, 32)

NETWORKS: Networks = {
    "segmentation-models-pytorch": {
        "Unet": lambda: (_smp("Unet", "mobilenet_v2", decoder_attention_type="scse"), floats(2, 3, 64, 64)),
        "UnetPlusPlus": lambda: (_smp("UnetPlusPlus"), floats(2, 3, 64, 64)),
        "MAnet": lambda: (_smp("MAnet", "timm-efficientnet-b0"), floats(2, 3, 64, 64)),
        "Linknet": lambda: (_smp("Linknet", "densenet121"), floats(2, 3, 64, 64)),
        "FPN": lambda: (_smp("FPN", "se_resnet50"), floats(2, 3, 64, 64)),
        "PSPNet": lambda: (_smp("PSPNet"), floats(2, 3, 64, 64)),
        "PAN": lambda: (_smp("PAN"), floats(2, 3, 128, 128)),
        "DeepLabV3": lambda: (_smp("DeepLabV3", "mobilenet_v2"), floats(2, 3, 64, 64)),
        "DeepLabV3Plus": lambda: (_smp("DeepLabV3Plus"), floats(2, 3, 64, 64)),
        "UPerNet": lambda: (_smp("UPerNet", "mit_b0"), floats(2, 3, 64, 64)),
        "Segformer": lambda: (_smp("Segformer", "mit_b0"), floats(2, 3, 64, 64)),
        "DPT": lambda: (_smp("DPT", "tu-vit_tiny_patch16_224"), floats(2, 3, 224, 224)),
        "Unet and a class": lambda: (_smp("Unet", aux_params={"classes": 3}), floats(2, 3, 64, 64)),
    },
    "ultralytics": {
        name: lambda name=name: (_of_yaml(f"{name}.yaml"), floats(2, 3, 64, 64))
        for name in ("yolov8n", "yolov8n-seg", "yolov8n-pose", "yolov8n-obb", "yolov8n-cls", "yolov3-tiny", "yolov5n",
                     "yolov6n", "yolov9t", "yolov10n", "yolo11n", "yolo12n", "yolo26n", "yolov8-ghost", "yolov8n-p2",
                     "yolov8-rtdetr")
    } | {"rtdetr-l": lambda: (_of_yaml("rtdetr-l.yaml"), floats(2, 3, 64, 64)),
         "RepConv fused": lambda: (_of_yaml("yolov9t.yaml").eval().fuse(verbose=False), floats(2, 3, 64, 64))},
    "vit-pytorch": {
        "ViT": lambda: (_vit("vit:ViT"), floats(*_IMAGE)),
        "SimpleViT": lambda: (_vit("simple_vit:SimpleViT"), floats(*_IMAGE)),
        "ViT of series": lambda: (named("vit_pytorch.vit_1d:ViT")(
                                      seq_len=32, patch_size=8, num_classes=5, dim=16, depth=2, heads=2, mlp_dim=32),
                                  floats(2, 3, 32)),
        "ViT of volumes": lambda: (named("vit_pytorch.vit_3d:ViT")(
                                            image_size=32, image_patch_size=8, frames=4, frame_patch_size=2,
                                            num_classes=5, dim=16, depth=2, heads=2, mlp_dim=32),
                                   floats(2, 3, 4, 32, 32)),
        "CaiT": lambda: (_vit("cait:CaiT", cls_depth=1), floats(*_IMAGE)),
        "DeepViT": lambda: (_vit("deepvit:DeepViT"), floats(*_IMAGE)),
        "CCT": lambda: (named("vit_pytorch.cct:CCT")(img_size=32, embedding_dim=16, n_conv_layers=1, num_layers=2,
                                                     num_heads=2, mlp_ratio=2, num_classes=5), floats(*_IMAGE)),
        "CrossViT": lambda: (named("vit_pytorch.cross_vit:CrossViT")(
            image_size=32, num_classes=5, sm_dim=8, lg_dim=16, sm_patch_size=4, lg_patch_size=8, sm_enc_depth=1,
            lg_enc_depth=1, sm_enc_heads=2, lg_enc_heads=2, cross_attn_depth=1, cross_attn_heads=2, depth=1),
            floats(*_IMAGE)),
        "CrossFormer": lambda: (named("vit_pytorch.crossformer:CrossFormer")(
            dim=(8, 8, 8, 8), depth=(1, 1, 1, 1), global_window_size=(4, 2, 2, 1), local_window_size=2,
            num_classes=5), floats(2, 3, 64, 64)),
        "CvT": lambda: (named("vit_pytorch.cvt:CvT")(
            num_classes=5, s1_emb_dim=8, s2_emb_dim=8, s2_heads=1, s3_emb_dim=8, s3_heads=1, s3_depth=1),
            floats(2, 3, 64, 64)),
        "LeViT": lambda: (named("vit_pytorch.levit:LeViT")(
            image_size=64, num_classes=5, stages=2, dim=(16, 16), depth=1, heads=(2, 2), mlp_mult=2, dim_key=8,
            dim_value=8), floats(2, 3, 64, 64)),
        "LocalViT": lambda: (_vit("local_vit:LocalViT"), floats(*_IMAGE)),
        "MaxViT": lambda: (named("vit_pytorch.max_vit:MaxViT")(
            num_classes=5, dim=8, depth=(1, 1), dim_head=4, window_size=4), floats(*_IMAGE)),
        "MobileViT": lambda: (named("vit_pytorch.mobile_vit:MobileViT")(
            (64, 64), dims=[16, 16, 16], channels=[8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 16], num_classes=5),
            floats(2, 3, 64, 64)),
        "NesT": lambda: (named("vit_pytorch.nest:NesT")(
            image_size=32, patch_size=4, dim=8, heads=2, num_hierarchies=2, block_repeats=(1, 1), num_classes=5),
            floats(*_IMAGE)),
        "Normalized ViT": lambda: (_vit("normalized_vit:nViT", dim_head=8), floats(*_IMAGE)),
        "PiT": lambda: (_vit("pit:PiT", depth=(1, 1), image_size=32, patch_size=8), floats(*_IMAGE)),
        "RegionViT": lambda: (named("vit_pytorch.regionvit:RegionViT")(
            dim=(8, 8, 8, 8), depth=(1, 1, 1, 1), window_size=2, num_classes=5), floats(2, 3, 64, 64)),
        "RvT": lambda: (_vit("rvt:RvT"), floats(*_IMAGE)),
        "ScalableViT": lambda: (named("vit_pytorch.scalable_vit:ScalableViT")(
            num_classes=5, dim=8, heads=(1, 2), depth=(1, 1), ssa_dim_key=(4, 4), reduction_factor=(2, 1),
            window_size=(4, None)), floats(2, 3, 64, 64)),
        "SepViT": lambda: (named("vit_pytorch.sep_vit:SepViT")(
            num_classes=5, dim=8, dim_head=4, heads=(1, 2), depth=(1, 1), window_size=4), floats(2, 3, 64, 64)),
        "T2TViT": lambda: (named("vit_pytorch.t2t:T2TViT")(
            dim=16, image_size=32, depth=1, heads=2, mlp_dim=32, num_classes=5, t2t_layers=((7, 4), (3, 2))),
            floats(*_IMAGE)),
        "TwinsSVT": lambda: (named("vit_pytorch.twins_svt:TwinsSVT")(
            num_classes=5, **{f"s{at}_{name}": value for at in (1, 2, 3, 4) for name, value in
                              {"emb_dim": 8, "depth": 1, "local_patch_size": 1, "global_k": 1}.items()}),
            floats(2, 3, 64, 64)),
        "ViViT": lambda: (named("vit_pytorch.vivit:ViT")(
            image_size=32, frames=4, image_patch_size=8, frame_patch_size=2, num_classes=5, dim=16, spatial_depth=1,
            temporal_depth=1, heads=2, mlp_dim=32), floats(2, 3, 4, 32, 32)),
        "XCiT": lambda: (_vit("xcit:XCiT", cls_depth=1), floats(*_IMAGE)),
        "ATS ViT": lambda: (_vit("ats_vit:ViT", max_tokens_per_depth=(8, 4)), floats(*_IMAGE)),
        "patch merger": lambda: (_vit("vit_with_patch_merger:ViT", patch_merge_layer=1, patch_merge_num_tokens=4),
                                 floats(*_IMAGE)),
        "FFT": lambda: (_vit("simple_vit_with_fft:SimpleViT", freq_patch_size=8), floats(*_IMAGE)),
        "rotary positions": lambda: (named("vit_pytorch.vit_nd_rotary:ViTND")(
            ndim=2, input_shape=32, patch_size=8, num_classes=5, dim=16, depth=1, heads=2, mlp_dim=32, dim_head=8),
            floats(*_IMAGE)),
        "parallel ViT": lambda: (_vit("parallel_vit:ViT"), floats(*_IMAGE)),
        "hyper connections": lambda: (_vit("simple_vit_with_hyper_connections:SimpleViT", num_residual_streams=2),
                                      floats(*_IMAGE)),
        "value residual": lambda: (_vit("simple_vit_with_value_residual:SimpleViT"), floats(*_IMAGE)),
    },
    "spandrel": {
        "ESRGAN": lambda: (_super("ESRGAN:ESRGAN", num_filters=8, num_blocks=1, scale=2, shuffle_factor=2),
                           floats(2, 3, 16, 16)),
        "SRVGGNetCompact": lambda: (_super("Compact:SRVGGNetCompact", num_feat=8, num_conv=2), floats(2, 3, 16, 16)),
        "SwinIR": lambda: (_super("SwinIR:SwinIR", img_size=16, window_size=8, depths=[2], embed_dim=12, num_heads=[2],
                                  upscale=2, upsampler="pixelshuffledirect"), floats(2, 3, 16, 16)),
        "Swin2SR": lambda: (_super("Swin2SR:Swin2SR", img_size=16, window_size=8, depths=[2], embed_dim=12,
                                   num_heads=[2], upscale=2, upsampler="pixelshuffledirect"), floats(2, 3, 16, 16)),
        "HAT": lambda: (_super("HAT:HAT", img_size=16, window_size=8, depths=(2,), embed_dim=12, num_heads=(2,),
                               upscale=2, upsampler="pixelshuffle", num_feat=8), floats(2, 3, 16, 16)),
        "DAT": lambda: (_super("DAT:DAT", img_size=16, split_size=[4, 8], depth=[2], embed_dim=12, num_heads=[2],
                               upscale=2, upsampler="pixelshuffledirect"), floats(2, 3, 16, 16)),
        "OmniSR": lambda: (_super("OmniSR:OmniSR", num_feat=8, block_num=1, res_num=1, up_scale=2, window_size=8),
                           floats(2, 3, 16, 16)),
        "SAFMN": lambda: (_super("SAFMN:SAFMN", dim=8, n_blocks=1, upscaling_factor=2), floats(2, 3, 16, 16)),
        "SPAN": lambda: (_super("SPAN:SPAN", num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=2),
                         floats(2, 3, 16, 16)),
        "NAFNet": lambda: (_super("NAFNet:NAFNet", width=8, middle_blk_num=1, enc_blk_nums=[1], dec_blk_nums=[1]),
                           floats(2, 3, 16, 16)),
        "SCUNet": lambda: (_super("SCUNet:SCUNet", config=[2, 2, 2, 2, 2, 2, 2], dim=32), floats(1, 3, 64, 64)),
        "FBCNN": lambda: (_super("FBCNN:FBCNN", nc=[8, 8, 8, 8], nb=1), floats(2, 3, 16, 16)),
        "DRUNet": lambda: (_super("DRUNet:DRUNet", in_nc=3, out_nc=3, nc=[8, 8, 8, 8], nb=1), floats(2, 3, 16, 16)),
        "Uformer": lambda: (_super("Uformer:Uformer", img_size=128, embed_dim=8, depths=[1] * 9, win_size=8),
                            floats(1, 3, 128, 128)),
        "RealPLKSR": lambda: (_super("PLKSR:RealPLKSR", dim=8, n_blocks=1, upscaling_factor=2), floats(2, 3, 16, 16)),
        "GRL": lambda: (_super("GRL:GRL", img_size=16, embed_dim=12, depths=[2], num_heads_window=[1],
                               num_heads_stripe=[1], upscale=2, upsampler="pixelshuffledirect", window_size=8,
                               stripe_size=[8, None], stripe_groups=[None, 4]), floats(1, 3, 16, 16)),
    },
    "kornia": {
        "HardNet": lambda: (named("kornia.feature:HardNet")(False), floats(2, 1, 32, 32)),
        "TFeat": lambda: (named("kornia.feature:TFeat")(False), floats(2, 1, 32, 32)),
        "SOSNet": lambda: (named("kornia.feature:SOSNet")(False), floats(2, 1, 32, 32)),
        "Sobel and blur": lambda: (
            torch.nn.Sequential(named("kornia.filters:GaussianBlur2d")((5, 5), (1.5, 1.5)),
                                named("kornia.filters:Sobel")()), floats(2, 3, 16, 16)),
        "RgbToLab": lambda: (named("kornia.color:RgbToLab")(), floats(2, 3, 8, 8).sigmoid()),
        "Canny": lambda: (named("kornia.filters:Canny")(), floats(2, 3, 16, 16).sigmoid()),
        "BlurPool": lambda: (named("kornia.filters:MaxBlurPool2D")(3), floats(2, 3, 16, 16)),
        "VisionTransformer": lambda: (named("kornia.models.vit:VisionTransformer")(
            image_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2), floats(*_IMAGE)),
        "SSIM": lambda: (named("kornia.metrics:SSIM")(5), floats(2, 3, 16, 16), floats(2, 3, 16, 16) / 2),
    },
    "facenet-pytorch": {
        "InceptionResnetV1": lambda: (named("facenet_pytorch:InceptionResnetV1")(), floats(2, 3, 160, 160)),
        "PNet": lambda: (named("facenet_pytorch.models.mtcnn:PNet")(pretrained=False), floats(2, 3, 24, 24)),
        "ONet": lambda: (named("facenet_pytorch.models.mtcnn:ONet")(pretrained=False), floats(2, 3, 48, 48)),
    },
    "efficientnet-pytorch": {
        "efficientnet-b0": lambda: (named("efficientnet_pytorch:EfficientNet").from_name("efficientnet-b0"),
                                    floats(2, 3, 64, 64)),
        "efficientnet-b0, features": lambda: (
            Called(named("efficientnet_pytorch:EfficientNet").from_name("efficientnet-b0"),
                   method="extract_endpoints"), floats(2, 3, 64, 64)),
    },
    "pretrainedmodels": {
        name: lambda name=name, side=side: (named(f"pretrainedmodels:{name}")(num_classes=1000, pretrained=None),
                                            floats(1, 3, side, side))
        for name, side in {"bninception": 224, "dpn68": 224, "nasnetamobile": 224, "inceptionv4": 299,
                           "se_resnext50_32x4d": 224, "vggm": 221, "xception": 96}.items()
    },
    "torchxrayvision": {
        "DenseNet": lambda: (named("torchxrayvision.models:DenseNet")(num_classes=3), floats(2, 1, 64, 64)),
    },
    "open-clip-torch": {
        "CLIP": lambda: (named("open_clip.model:CLIP")(
            16, {"image_size": 32, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8},
            {"context_length": 8, "vocab_size": 32, "width": 16, "heads": 2, "layers": 2}),
            floats(*_IMAGE), ids(2, 8, to=32)),
        "CLIP of ResNet": lambda: (named("open_clip.model:CLIP")(
            16, {"image_size": 64, "layers": (1, 1, 1, 1), "width": 8, "head_width": 8},
            {"context_length": 8, "vocab_size": 32, "width": 16, "heads": 2, "layers": 2}),
            floats(2, 3, 64, 64), ids(2, 8, to=32)),
        "CoCa": lambda: (named("open_clip.coca_model:CoCa")(
            16, {"context_length": 6, "vocab_size": 32, "width": 16, "heads": 2, "layers": 1},
            {"context_length": 8, "vocab_size": 32, "width": 16, "heads": 2, "layers": 2, "embed_cls": True,
             "output_tokens": True},
            {"image_size": 32, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8, "attentional_pool": True,
             "attn_pooler_heads": 2, "output_tokens": True}),
            floats(*_IMAGE), ids(2, 8, to=32)),
    },
    "lpips": {
        name: lambda name=name: (named("lpips:LPIPS")(net=name, pretrained=False, pnet_rand=True, verbose=False),
                                 floats(2, 3, 64, 64), floats(2, 3, 64, 64) / 2)
        for name in ("alex", "squeeze")
    },
    "segment-anything": {
        "image encoder": lambda: (named("segment_anything.modeling:ImageEncoderViT")(
            img_size=64, patch_size=8, embed_dim=16, depth=2, num_heads=2, out_chans=8, window_size=3,
            use_rel_pos=True, global_attn_indexes=(1,)), floats(2, 3, 64, 64)),
        "mask decoder": lambda: (_masks(), floats(2, 32, 8, 8), floats(32, 8, 8)[None], floats(2, 3, 32),
                                 floats(2, 32, 8, 8) / 2),
        "prompt encoder": lambda: (_Prompts(), floats(2, 3, 2).abs() * 10, ids(2, 3, to=2)),
    },
    "lightly": {
        "SimCLR head": lambda: (named("lightly.models.modules:SimCLRProjectionHead")(16, 16, 8), floats(2, 16)),
        "DINO head": lambda: (named("lightly.models.modules:DINOProjectionHead")(16, 16, 8, 12), floats(2, 16)),
        "SwaV prototypes": lambda: (named("lightly.models.modules:SwaVPrototypes")(16, 12), floats(2, 16)),
        "ResNet": lambda: (named("lightly.models:ResNetGenerator")("resnet-9", 0.25), floats(2, 3, 32, 32)),
    },
    "linformer": {
        "Linformer": lambda: (named("linformer:Linformer")(16, 12, 2, k=4, heads=2), floats(2, 12, 16)),
        "LinformerLM": lambda: (named("linformer:LinformerLM")(32, 16, 12, 2, k=4, heads=2), ids(2, 12, to=32)),
    },
}  # fmt: skip


def _masks() -> Any:
    part = "segment_anything.modeling:"
    transformer = named(f"{part}TwoWayTransformer")(depth=2, embedding_dim=32, mlp_dim=16, num_heads=2)
    decoder = named(f"{part}MaskDecoder")(transformer_dim=32, transformer=transformer)
    return Called(
        decoder, "image_embeddings image_pe sparse_prompt_embeddings dense_prompt_embeddings", "predict_masks"
    )


class _Prompts(torch.nn.Module):
    """What SAM makes of points."""

    def __init__(self) -> None:
        super().__init__()
        self.prompts = named("segment_anything.modeling:PromptEncoder")(8, (4, 4), (64, 64), 4)

    def forward(self, places: torch.Tensor, labels: torch.Tensor) -> Any:
        """Of points."""
        return self.prompts((places, labels), None, None)
