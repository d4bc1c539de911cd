"""Networks of MONAI: pictures and volumes of medicine."""

from __future__ import annotations

from pkgutil import resolve_name as named
from typing import Any

from tests.coverage.packages.giving import Called, Networks, floats, ids


def _net(name: str, *given: Any, **more: Any) -> Any:
    return named(f"monai.networks.nets:{name}")(*given, **more)


_FLAT = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2}
_STEPS = {"channels": (4, 8, 16), "strides": (2, 2)}

NETWORKS: Networks = {
    "monai": {
        "UNet": lambda: (_net("UNet", **_FLAT, **_STEPS, num_res_units=1), floats(2, 1, 32, 32)),
        "UNet of volumes": lambda: (_net("UNet", 3, 1, 2, **_STEPS), floats(2, 1, 16, 16, 16)),
        "AttentionUnet": lambda: (_net("AttentionUnet", **_FLAT, **_STEPS), floats(2, 1, 32, 32)),
        "BasicUNet": lambda: (_net("BasicUNet", **_FLAT, features=(4, 4, 8, 8, 8, 4)), floats(2, 1, 32, 32)),
        "BasicUNetPlusPlus": lambda: (
            _net("BasicUNetPlusPlus", **_FLAT, features=(4, 4, 8, 8, 8, 4)), floats(2, 1, 32, 32)),
        "FlexibleUNet": lambda: (
            _net("FlexibleUNet", 3, 2, "efficientnet-b0", decoder_channels=(16, 8, 8, 8, 4)), floats(2, 3, 64, 64)),
        "DynUNet": lambda: (
            _net("DynUNet", **_FLAT, kernel_size=[3, 3, 3], strides=[1, 2, 2], upsample_kernel_size=[2, 2],
                 filters=[4, 8, 16], deep_supervision=True, res_block=True),
            floats(2, 1, 32, 32)),
        "SegResNet": lambda: (_net("SegResNet", init_filters=8, blocks_down=(1, 1, 1), blocks_up=(1, 1)),
                              floats(2, 1, 16, 16, 16)),
        "SegResNetDS": lambda: (_net("SegResNetDS", init_filters=8, blocks_down=(1, 1, 1), dsdepth=2),
                                floats(2, 1, 16, 16, 16)),
        "SwinUNETR": lambda: (
            _net("SwinUNETR", 1, 2, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), window_size=4, feature_size=12),
            floats(1, 1, 32, 32, 32)),
        "SwinUNETR, flat": lambda: (
            _net("SwinUNETR", 1, 2, depths=(2, 2, 1, 1), num_heads=(1, 1, 2, 2), window_size=4, feature_size=12,
                 spatial_dims=2, use_v2=True),
            floats(2, 1, 64, 64)),
        "UNETR": lambda: (_net("UNETR", 1, 2, 32, 8, 16, 32, 2), floats(2, 1, 32, 32, 32)),
        "VNet": lambda: (_net("VNet", 2, 1, 2), floats(2, 1, 32, 32)),
        "MedNeXt": lambda: (
            _net("MedNeXt", 2, 4, 1, 2, kernel_size=3, blocks_down=(1, 1), blocks_bottleneck=1, blocks_up=(1, 1),
                 deep_supervision=True, use_residual_connection=True, global_resp_norm=True),
            floats(2, 1, 32, 32)),
        "Restormer": lambda: (
            _net("Restormer", dim=8, num_blocks=(1, 1), heads=(1, 2), num_refinement_blocks=1), floats(2, 3, 16, 16)),
        "HighResNet": lambda: (_net("HighResNet", 2, 1, 2), floats(2, 1, 16, 16)),
        "Quicknat": lambda: (_net("Quicknat", 3, 1, 8, se_block="CSSE"), floats(2, 1, 32, 32)),
        "HoVerNet": lambda: (_net("HoVerNet", out_classes=3, decoder_padding=True), floats(1, 3, 256, 256)),
        "VoxelMorph": lambda: (_net("VoxelMorph", spatial_dims=2, backbone=_net(
            "VoxelMorphUNet", 2, 2, 8, (4, 4, 8, 8, 8, 8), (8, 8))), floats(2, 1, 32, 32), floats(2, 1, 32, 32) / 2),
        "DenseNet": lambda: (
            _net("DenseNet", 3, 1, 3, init_features=8, growth_rate=4, block_config=(2, 2)), floats(2, 1, 16, 16, 16)),
        "SENet154": lambda: (_net("SEResNet50", spatial_dims=2, in_channels=3, num_classes=4), floats(2, 3, 64, 64)),
        "EfficientNetBN": lambda: (
            _net("EfficientNetBN", "efficientnet-b0", pretrained=False, spatial_dims=3, in_channels=1),
            floats(1, 1, 32, 32, 32)),
        "ResNet of volumes": lambda: (_net("resnet10", spatial_dims=3, n_input_channels=1, num_classes=3),
                                      floats(2, 1, 32, 32, 32)),
        "ViT of volumes": lambda: (
            _net("ViT", 1, (16, 16, 16), (8, 8, 8), 24, 48, 2, 2, classification=True), floats(2, 1, 16, 16, 16)),
        "ViTAutoEnc": lambda: (_net("ViTAutoEnc", 1, (16, 16, 16), (4, 4, 4), 1, 3, 12, 24, 2, 2),
                               floats(2, 1, 16, 16, 16)),
        "AutoencoderKL": lambda: (
            _net("AutoencoderKL", **_FLAT, num_res_blocks=(1, 1), channels=(8, 8), attention_levels=(False, True),
                 norm_num_groups=4),
            floats(2, 1, 16, 16)),
        "DiffusionModelUNet": lambda: (
            _net("DiffusionModelUNet", **_FLAT, num_res_blocks=(1, 1), channels=(8, 8), attention_levels=(False, True),
                 norm_num_groups=4, num_head_channels=4, with_conditioning=True, cross_attention_dim=6),
            floats(2, 1, 16, 16), ids(2, to=100), floats(2, 3, 6)),
        "VQVAE": lambda: (_net("VQVAE", 2, 1, 1, channels=(8, 8), num_res_layers=1, num_res_channels=(8, 8),
                               downsample_parameters=((2, 4, 1, 1),) * 2, upsample_parameters=((2, 4, 1, 1, 0),) * 2,
                               num_embeddings=8, embedding_dim=4), floats(2, 1, 16, 16)),
        "DecoderOnlyTransformer": lambda: (_net("DecoderOnlyTransformer", 16, 12, 16, 2, 2), ids(2, 12)),
        "Regressor": lambda: (_net("Regressor", (1, 16, 16), (2, 2), (4, 8), (2, 2)), floats(2, 1, 16, 16)),
        "VarAutoEncoder": lambda: (
            _net("VarAutoEncoder", 2, (1, 16, 16), 1, 4, (4, 8), (2, 2)), floats(2, 1, 16, 16)),
        "MILModel": lambda: (_net("MILModel", 3, "att_trans", pretrained=False, backbone="resnet18", trans_blocks=1),
                             floats(2, 2, 3, 64, 64)),
        "Generator": lambda: (_net("Generator", (6,), (4, 4, 4), (4, 1), (2, 2)), floats(2, 6)),
        "MultiScalePatchDiscriminator": lambda: (
            _net("MultiScalePatchDiscriminator", num_d=2, num_layers_d=2, spatial_dims=2, channels=4, in_channels=1),
            floats(2, 1, 64, 64)),
        "SPADENet": lambda: (
            Called(_net("SPADENet", 2, 1, 1, 3, (16, 16), (4, 8), z_dim=8, is_vae=False)), floats(2, 3, 16, 16)),
        "GlobalNet": lambda: (_net("GlobalNet", (16, 16), 2, 2, 4, 2), floats(2, 2, 16, 16)),
        "LocalNet": lambda: (_net("LocalNet", 2, 2, 4, (0, 1, 2), out_activation=None, out_channels=2),
                             floats(2, 2, 16, 16)),
    },
}  # fmt: skip
