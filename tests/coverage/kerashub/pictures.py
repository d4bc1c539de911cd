"""Backbones of KerasHub that look at pictures, films and sounds, each in its smallest size, and heads on them."""

from __future__ import annotations

from typing import Any, Final

_SIDE: Final = (32, 32, 3)
_ViT: Final = {"image_shape": _SIDE, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16}
_RESNET: Final = {
    "input_conv_filters": [64], "input_conv_kernel_sizes": [7], "stackwise_num_filters": [64, 64, 64],
    "stackwise_num_blocks": [1, 1, 1], "stackwise_num_strides": [1, 2, 2], "block_type": "basic_block",
}  # fmt: skip
_HG: Final = {
    "embedding_size": 8, "stem_channels": [3, 8, 8], "hidden_act": "relu", "use_learnable_affine_block": True,
    "depths": [1, 1], "hidden_sizes": [16, 32], "apply_downsample": [False, True],
    "stackwise_stage_filters": [[8, 8, 16, 1, 1, 3], [16, 8, 32, 1, 1, 3]],
    "use_lightweight_conv_block": [False, True],
}  # fmt: skip
_MIT: Final = {
    "image_shape": _SIDE, "layerwise_depths": [1, 1], "num_layers": 2, "hidden_dims": [8, 16],
    "layerwise_num_heads": [1, 2], "layerwise_sr_ratios": [4, 2], "layerwise_patch_sizes": [7, 3],
    "layerwise_strides": [4, 2], "max_drop_path_rate": 0.1,
}  # fmt: skip
_MOBILE: Final = {
    "image_shape": _SIDE, "stackwise_expansion": [[16], [24, 24]], "stackwise_num_blocks": [1, 2],
    "stackwise_num_filters": [[8], [16, 16]], "stackwise_kernel_size": [[3], [5, 5]],
    "stackwise_num_strides": [[2], [2, 1]], "stackwise_se_ratio": [[None], [0.25, 0.25]],
    "stackwise_activation": [["relu"], ["hard_swish", "hard_swish"]], "stackwise_padding": [[1], [2, 2]],
    "output_num_filters": 32, "input_num_filters": 8, "depthwise_filters": 8, "depthwise_stride": 2,
    "depthwise_residual": False, "squeeze_and_excite": 0.5, "last_layer_filter": 16,
}  # fmt: skip
_MOBILE_5: Final = {
    "image_shape": _SIDE, "stem_size": 8, "use_msfa": False, "stackwise_block_types": [["er"], ["uir", "uir"]],
    "stackwise_num_blocks": [1, 2], "stackwise_num_filters": [[8], [16, 16]], "stackwise_strides": [[2], [2, 1]],
    "stackwise_act_layers": [["relu"], ["relu", "relu"]], "stackwise_exp_ratios": [[4.0], [6.0, 6.0]],
    "stackwise_se_ratios": [[0.0], [0.0, 0.0]], "stackwise_dw_kernel_sizes": [[0], [5, 5]],
    "stackwise_exp_kernel_sizes": [[3], [0, 0]], "stackwise_pw_kernel_sizes": [[1], [0, 0]],
    "stackwise_use_cpe": [[False], [False, False]],
    **{f"stackwise_{name}": [[0], [0, 0]] for name in ("dw_start_kernel_sizes", "dw_end_kernel_sizes", "num_heads",
                                                       "key_dims", "value_dims", "kv_strides")},
}  # fmt: skip
_EFFICIENT: Final = {
    "input_shape": _SIDE, "stackwise_kernel_sizes": [3, 3], "stackwise_num_repeats": [1, 2],
    "stackwise_input_filters": [8, 16], "stackwise_output_filters": [16, 24], "stackwise_expansion_ratios": [1, 4],
    "stackwise_squeeze_and_excite_ratios": [0.0, 0.25], "stackwise_strides": [1, 2],
    "stackwise_block_types": ["fused", "unfused"], "stackwise_force_input_filters": [0, 0],
    "stackwise_nores_option": [False, False], "stackwise_width_coefficients": [1.0, 1.0],
    "stackwise_depth_coefficients": [1.0, 1.0], "num_features": 32,
}  # fmt: skip
_DINO: Final = _ViT | {"intermediate_dim": 24}
_VISION: Final = {"patch_size": 8, "hidden_dim": 16, "num_layers": 2, "num_heads": 2, "intermediate_dim": 24,
                  "image_shape": _SIDE}  # fmt: skip
_TEXT: Final = {"vocabulary_size": 40, "embedding_dim": 16, "hidden_dim": 16, "num_layers": 2, "num_heads": 2,
                "intermediate_dim": 24, "max_sequence_length": 12}  # fmt: skip
_FILM: Final = {
    "image_shape": (16, 16, 3), "num_frames": 4, "patch_size": 4, "hidden_dim": 16, "intermediate_dim": 24,
    "num_heads": 2, "num_spatial_layers": 1, "num_temporal_layers": 1, "num_auxiliary_layers": 1,
}  # fmt: skip


class Made(tuple[str, dict[str, Any]]):
    """A class of KerasHub and its settings, that a setting of another one is made of."""


#: Name -> the class, and its settings.
BACKBONES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "CSPNet": ("CSPNetBackbone", {
        "stem_filters": 8, "stem_kernel_size": 3, "stem_strides": 1, "stackwise_strides": 2, "image_shape": _SIDE,
        "stackwise_depth": [1, 2], "stackwise_num_filters": [8, 16], "down_growth": True, "bottle_ratio": (0.5, 1.0),
        "block_ratio": (1.0, 0.5), "expand_ratio": (2.0, 1.0), "block_type": "dark_block", "stage_type": "csp",
        "stem_padding": "same"}),
    "DFine": ("DFineBackbone", {
        "backbone": Made(("HGNetV2Backbone", _HG | {"out_features": ["stage1", "stage2"]})),
        "decoder_in_channels": [16, 16], "encoder_hidden_dim": 16, "num_denoising": 4, "num_labels": 4,
        "hidden_dim": 16, "learn_initial_query": False, "num_queries": 6, "anchor_image_size": (32, 32),
        "feat_strides": [4, 8], "num_feature_levels": 2, "encoder_in_channels": [16, 32], "encode_proj_layers": [1],
        "num_attention_heads": 2, "encoder_ffn_dim": 24, "num_encoder_layers": 1, "hidden_expansion": 0.5,
        "depth_multiplier": 0.5, "eval_idx": -1, "num_decoder_layers": 2, "decoder_attention_heads": 2,
        "decoder_ffn_dim": 24, "decoder_n_points": [2, 2], "lqe_hidden_dim": 8, "num_lqe_layers": 2,
        "out_features": ["stage1", "stage2"], "image_shape": _SIDE, "seed": 0}),
    "DINOV2": ("DINOV2Backbone", _DINO | {"position_embedding_shape": (24, 24, 3), "num_register_tokens": 2}),
    "DINOV3": ("DINOV3Backbone", _DINO),
    "DeepLabV3": ("DeepLabV3Backbone", {
        "image_encoder": Made(("ResNetBackbone", _RESNET)), "low_level_feature_key": "P2", "upsampling_size": 4,
        "spatial_pyramid_pooling_key": "P4", "dilation_rates": [2, 3], "image_shape": (64, 64, 3)}),
    "DeiT": ("DeiTBackbone", _ViT | {"intermediate_dim": 24}),
    "DenseNet": ("DenseNetBackbone", {"stackwise_num_repeats": [1, 2], "image_shape": _SIDE, "growth_rate": 4}),
    "DepthAnything": ("DepthAnythingBackbone", {
        "image_encoder": Made(("DINOV2Backbone", _DINO | {
            "num_layers": 4, "apply_layernorm": True, "position_embedding_shape": _SIDE})),
        "reassemble_factors": [4, 2, 1, 0.5], "neck_hidden_dims": [8, 8, 8, 8], "fusion_hidden_dim": 8,
        "head_hidden_dim": 8, "head_in_index": -1, "feature_keys": ["stage1", "stage2", "stage3", "stage4"]}),
    "EfficientNet": ("EfficientNetBackbone", _EFFICIENT),
    "EfficientNet of any size": ("EfficientNetBackbone", _EFFICIENT | {"input_shape": (None, None, 3)}),
    "Flux": ("FluxBackbone", {
        "input_channels": 8, "hidden_size": 16, "mlp_ratio": 2.0, "num_heads": 2, "depth": 1,
        "depth_single_blocks": 1, "axes_dim": [2, 2, 4], "theta": 10_000, "use_bias": True, "guidance_embed": True,
        "image_shape": (6, 8), "text_shape": (5, 8), "image_ids_shape": (6, 3), "text_ids_shape": (5, 3),
        "y_shape": (8,)}),
    "HGNetV2": ("HGNetV2Backbone", _HG | {"image_shape": _SIDE}),
    "MiT": ("MiTBackbone", _MIT),
    "MobileNet": ("MobileNetBackbone", _MOBILE),
    "MobileNetV5": ("MobileNetV5Backbone", _MOBILE_5),
    "ResNet": ("ResNetBackbone", _RESNET | {"image_shape": _SIDE}),
    "ResNet of any size": ("ResNetBackbone", _RESNET),
    "ResNet V2 of bottlenecks": ("ResNetBackbone", _RESNET | {
        "image_shape": _SIDE, "block_type": "bottleneck_block", "use_pre_activation": True}),
    "RetinaNet": ("RetinaNetBackbone", {
        "image_encoder": Made(("ResNetBackbone", _RESNET | {
            "stackwise_num_filters": [64, 64, 64, 64], "stackwise_num_blocks": [1, 1, 1, 1],
            "stackwise_num_strides": [1, 2, 2, 2]})),
        "min_level": 3, "max_level": 6, "use_p5": True, "image_shape": (128, 128, 3)}),
    "SegFormer": ("SegFormerBackbone", {
        "image_encoder": Made(("MiTBackbone", _MIT)), "projection_filters": 8}),
    "SwinTransformer": ("SwinTransformerBackbone", {
        "image_shape": _SIDE, "embed_dim": 8, "depths": (2, 2), "num_heads": (2, 4), "window_size": 4}),
    "VGG": ("VGGBackbone", {
        "stackwise_num_repeats": [1, 2], "stackwise_num_filters": [4, 8], "image_shape": _SIDE}),
    "ViT": ("ViTBackbone", _ViT | {"mlp_dim": 24}),
    "ViTDet": ("ViTDetBackbone", {
        "image_shape": (16, 16, 3), "patch_size": 2, "hidden_size": 8, "num_layers": 2, "intermediate_dim": 16,
        "global_attention_layer_indices": [1], "num_heads": 2, "num_output_channels": 4, "window_size": 3}),
    "VideoPrism": ("VideoPrismBackbone", _FILM),
    "VideoPrism with texts": ("VideoPrismBackbone", _FILM | {"vocabulary_size": 40, "num_text_layers": 1}),
    "Xception": ("XceptionBackbone", {
        "image_shape": _SIDE, "stackwise_conv_filters": [[4, 8], [8, 8]], "stackwise_pooling": [True, False]}),
    "CLIP": ("CLIPBackbone", {
        "vision_encoder": Made(("CLIPVisionEncoder", _VISION)), "text_encoder": Made(("CLIPTextEncoder", _TEXT)),
        "projection_dim": 8}),
    "MetaCLIP2": ("MetaCLIP2Backbone", {
        "vision_encoder": Made(("MetaCLIP2VisionEncoder", _VISION)),
        "text_encoder": Made(("MetaCLIP2TextEncoder", _TEXT)), "projection_dim": 8}),
    "SigLIP": ("SigLIPBackbone", {
        "vision_encoder": Made(("SigLIPVisionEncoder", _VISION)),
        "text_encoder": Made(("SigLIPTextEncoder", _TEXT | {"max_sequence_length": 8}))}),
    "BASNet": ("BASNetBackbone", {
        "image_encoder": Made(("ResNetBackbone", _RESNET | {
            "stackwise_num_filters": [64, 64, 64, 64], "stackwise_num_blocks": [2, 2, 2, 2],
            "stackwise_num_strides": [1, 2, 2, 2]})),
        "num_classes": 1, "image_shape": (64, 64, 3), "projection_filters": 8}),
    "BLIP2": ("BLIP2Backbone", {
        "vision_encoder": Made(("BLIP2VisionEncoder", {
            "image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 8,
            "intermediate_dim": 16, "use_patch_bias": True, "use_class_token": True, "use_mha_bias": True,
            "use_mlp_bias": True, "dropout_rate": 0.0, "layer_norm_epsilon": 1e-6, "initializer_range": 0.02})),
        "qformer": Made(("BLIP2QFormer", {
            "num_query_tokens": 2, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16,
            "vision_dim": 8, "cross_attention_frequency": 1, "dropout": 0.0, "layer_norm_epsilon": 1e-6})),
        "language_model": Made(("BLIP2CustomOPT", {
            "vocabulary_size": 40, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16,
            "num_query_tokens": 2, "qformer_hidden_dim": 8, "max_sequence_length": 16, "dropout": 0.0}))}),
    "PARSeq": ("PARSeqBackbone", {
        "image_encoder": Made(("ViTBackbone", _ViT | {"mlp_dim": 24, "use_class_token": False})),
        "vocabulary_size": 40, "max_label_length": 8, "decoder_hidden_dim": 16, "num_decoder_layers": 1,
        "num_decoder_heads": 2, "decoder_mlp_dim": 24}),
    "PaliGemma": ("PaliGemmaBackbone", {
        "vocabulary_size": 40, "image_size": 16, "num_layers": 2, "num_query_heads": 2, "num_key_value_heads": 1,
        "hidden_dim": 16, "intermediate_dim": 24, "head_dim": 8, "vit_patch_size": 4, "vit_num_heads": 2,
        "vit_hidden_dim": 8, "vit_num_layers": 2, "vit_intermediate_dim": 16}),
    "Gemma 3 with pictures": ("Gemma3Backbone", {
        "vocabulary_size": 40, "image_size": 16, "num_layers": 2, "num_query_heads": 2, "num_key_value_heads": 1,
        "hidden_dim": 16, "intermediate_dim": 24, "head_dim": 8, "vision_encoder": Made(("Gemma3VisionEncoder", {
            "image_size": 16, "patch_size": 4, "num_heads": 2, "hidden_dim": 8, "num_layers": 2,
            "intermediate_dim": 16, "output_dim": 16, "pool_size": 2}))}),
    "Whisper": ("WhisperBackbone", {
        "vocabulary_size": 40, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 24,
        "num_mels": 8, "max_encoder_sequence_length": 32, "max_decoder_sequence_length": 16}),
    "Moonshine": ("MoonshineBackbone", {
        "vocabulary_size": 40, "filter_dim": 16, "encoder_num_layers": 1, "decoder_num_layers": 1, "hidden_dim": 16,
        "intermediate_dim": 24, "encoder_num_heads": 2, "decoder_num_heads": 2, "max_position_embeddings": 64}),
}  # fmt: skip

#: Class -> the backbone that it stands on, and its settings.
TASKS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "CSPNetImageClassifier": ("CSPNet", {"num_classes": 3}),
    "DeepLabV3ImageSegmenter": ("DeepLabV3", {"num_classes": 3}),
    "DenseNetImageClassifier": ("DenseNet", {"num_classes": 3}),
    "DepthAnythingDepthEstimator": ("DepthAnything", {"depth_estimation_type": "relative"}),
    "EfficientNetImageClassifier": ("EfficientNet", {"num_classes": 3}),
    "HGNetV2ImageClassifier": ("HGNetV2", {"num_classes": 3, "head_filters": 8}),
    "MobileNetImageClassifier": ("MobileNet", {"num_classes": 3}),
    "ResNetImageClassifier": ("ResNet", {"num_classes": 3}),
    "SegFormerImageSegmenter": ("SegFormer", {"num_classes": 3}),
    "SwinTransformerImageClassifier": ("SwinTransformer", {"num_classes": 3}),
    "VGGImageClassifier": ("VGG", {"num_classes": 3, "pooling": "avg"}),
    "ViTImageClassifier": ("ViT", {"num_classes": 3}),
    "XceptionImageClassifier": ("Xception", {"num_classes": 3}),
}
