"""Networks of packages that make pictures and sounds out of noise, and what codes these before."""

from __future__ import annotations

from pkgutil import resolve_name as named
from typing import Any

import torch

from tests.coverage.packages.giving import Called, Networks, floats, ids

_PLAIN: dict[str, Any] = {"return_dict": False}
_DOWN, _UP = ("DownBlock2D", "AttnDownBlock2D"), ("AttnUpBlock2D", "UpBlock2D")
_CROSS = {"down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
          "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")}  # fmt: skip
_SMALL = {"block_out_channels": (16, 32), "norm_num_groups": 8, "layers_per_block": 1}


def _diffusers(name: str, **given: Any) -> Any:
    return named(f"diffusers:{name}")(**given)


def _step(size: int = 2) -> torch.Tensor:
    return torch.tensor([10, 500, 3][:size])


NETWORKS: Networks = {
    "diffusers": {
        "UNet2DModel": lambda: (
            Called(_diffusers("UNet2DModel", sample_size=16, down_block_types=_DOWN, up_block_types=_UP,
                              attention_head_dim=8, **_SMALL), **_PLAIN),
            floats(2, 3, 16, 16), _step(),
        ),
        "UNet2DModel, resampled by ResNets": lambda: (
            Called(_diffusers("UNet2DModel", sample_size=16, resnet_time_scale_shift="scale_shift",
                              down_block_types=("ResnetDownsampleBlock2D", "DownBlock2D"), num_class_embeds=5,
                              up_block_types=("UpBlock2D", "ResnetUpsampleBlock2D"), **_SMALL), **_PLAIN),
            floats(2, 3, 16, 16), _step(), ids(2, to=5),
        ),
        "UNet2DConditionModel": lambda: (
            Called(_diffusers("UNet2DConditionModel", sample_size=16, cross_attention_dim=12, attention_head_dim=4,
                              **_CROSS, **_SMALL), **_PLAIN),
            floats(2, 4, 16, 16), _step(), floats(2, 5, 12),
        ),
        "UNet2DConditionModel of SDXL": lambda: (
            _Sdxl(_diffusers("UNet2DConditionModel", sample_size=16, cross_attention_dim=12, attention_head_dim=(2, 4),
                             use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=8,
                             transformer_layers_per_block=(1, 2), projection_class_embeddings_input_dim=60,
                             **_CROSS, **_SMALL)),
            floats(2, 4, 16, 16), _step(), floats(2, 5, 12), floats(2, 12), ids(2, 6, to=64).float(),
        ),
        "UNet1DModel": lambda: (
            Called(_diffusers("UNet1DModel", sample_size=64, in_channels=2, out_channels=2, extra_in_channels=64,
                              block_out_channels=(32, 32, 64)), **_PLAIN),
            floats(2, 2, 64), _step(),
        ),
        "UNet3DConditionModel": lambda: (
            Called(_diffusers("UNet3DConditionModel", sample_size=16, cross_attention_dim=12, attention_head_dim=8,
                              down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
                              up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"), **_SMALL), **_PLAIN),
            floats(2, 4, 3, 16, 16), _step(), floats(2, 5, 12),
        ),
        "ControlNetModel": lambda: (
            Called(_diffusers("ControlNetModel", cross_attention_dim=12, attention_head_dim=4,
                              down_block_types=_CROSS["down_block_types"],
                              conditioning_embedding_out_channels=(8, 16), **_SMALL), **_PLAIN),
            floats(2, 4, 16, 16), _step(), floats(2, 5, 12), floats(2, 3, 32, 32),
        ),
        "AutoencoderKL": lambda: (
            Called(_diffusers("AutoencoderKL", down_block_types=("DownEncoderBlock2D",) * 2,
                              up_block_types=("UpDecoderBlock2D",) * 2, sample_size=32, **_SMALL), **_PLAIN),
            floats(2, 3, 32, 32),
        ),
        "AutoencoderKL, decoding": lambda: (
            Called(_diffusers("AutoencoderKL", down_block_types=("DownEncoderBlock2D",) * 2,
                              up_block_types=("UpDecoderBlock2D",) * 2, sample_size=32, **_SMALL),
                   method="decode", **_PLAIN),
            floats(2, 4, 8, 8),
        ),
        "AutoencoderTiny": lambda: (
            Called(_diffusers("AutoencoderTiny", encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
                              num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1)), **_PLAIN),
            floats(2, 3, 32, 32),
        ),
        "AutoencoderDC": lambda: (
            Called(_diffusers("AutoencoderDC", latent_channels=4, attention_head_dim=8,
                              encoder_block_types=("ResBlock", "EfficientViTBlock"),
                              decoder_block_types=("ResBlock", "EfficientViTBlock"),
                              encoder_block_out_channels=(16, 16), decoder_block_out_channels=(16, 16),
                              encoder_layers_per_block=(1, 1), decoder_layers_per_block=(1, 1),
                              encoder_qkv_multiscales=((), (5,)), decoder_qkv_multiscales=((), (5,))), **_PLAIN),
            floats(2, 3, 16, 16),
        ),
        "VQModel": lambda: (
            Called(_diffusers("VQModel", num_vq_embeddings=32, down_block_types=("DownEncoderBlock2D",) * 2,
                              up_block_types=("UpDecoderBlock2D",) * 2, **_SMALL), **_PLAIN),
            floats(2, 3, 16, 16),
        ),
        "AutoencoderOobleck, decoding": lambda: (
            Called(_diffusers("AutoencoderOobleck", encoder_hidden_size=8, decoder_channels=8, decoder_input_channels=4,
                              downsampling_ratios=[2, 4], channel_multiples=[1, 2]), method="decode", **_PLAIN),
            floats(2, 4, 12),
        ),
        "AutoencoderKLTemporalDecoder": lambda: (
            Called(_diffusers("AutoencoderKLTemporalDecoder", block_out_channels=(32,), layers_per_block=1),
                   method="decode", num_frames=2, **_PLAIN),
            floats(2, 4, 8, 8),
        ),
        "AutoencoderKLWan, decoding": lambda: (
            Called(_diffusers("AutoencoderKLWan", base_dim=4, z_dim=4, dim_mult=[1, 1], num_res_blocks=1,
                              temperal_downsample=[True]), method="decode", **_PLAIN),
            floats(1, 4, 2, 4, 4),
        ),
        "DiTTransformer2DModel": lambda: (
            Called(_diffusers("DiTTransformer2DModel", num_attention_heads=2, attention_head_dim=8, num_layers=2,
                              sample_size=8, num_embeds_ada_norm=10), **_PLAIN),
            floats(2, 4, 8, 8), _step() % 10, ids(2, to=10),
        ),
        "PixArtTransformer2DModel": lambda: (
            Called(_diffusers("PixArtTransformer2DModel", num_attention_heads=2, attention_head_dim=8, num_layers=2,
                              sample_size=8, cross_attention_dim=16, caption_channels=12, norm_num_groups=4),
                   "hidden_states encoder_hidden_states timestep",
                   added_cond_kwargs={"resolution": None, "aspect_ratio": None}, **_PLAIN),
            floats(2, 4, 8, 8), floats(2, 5, 12), _step(),
        ),
        "SD3Transformer2DModel": lambda: (
            Called(_diffusers("SD3Transformer2DModel", sample_size=8, in_channels=4, out_channels=4, num_layers=2,
                              attention_head_dim=8, num_attention_heads=2, joint_attention_dim=12,
                              caption_projection_dim=16, pooled_projection_dim=10, pos_embed_max_size=8,
                              qk_norm="rms_norm"), **_PLAIN),
            floats(2, 4, 8, 8), floats(2, 5, 12), floats(2, 10), _step(),
        ),
        "FluxTransformer2DModel": lambda: (
            Called(_diffusers("FluxTransformer2DModel", in_channels=4, num_layers=1, num_single_layers=1,
                              attention_head_dim=16, num_attention_heads=2, joint_attention_dim=12,
                              pooled_projection_dim=10, axes_dims_rope=(4, 4, 8), guidance_embeds=True),
                   "hidden_states encoder_hidden_states pooled_projections timestep img_ids txt_ids guidance",
                   **_PLAIN),
            floats(2, 16, 4), floats(2, 5, 12), floats(2, 10), floats(2).abs(), ids(16, 3).float(), ids(5, 3).float(),
            floats(2),
        ),
        "SanaTransformer2DModel": lambda: (
            Called(_diffusers("SanaTransformer2DModel", in_channels=4, out_channels=4, num_attention_heads=2,
                              attention_head_dim=8, num_layers=2, num_cross_attention_heads=2,
                              cross_attention_head_dim=8, cross_attention_dim=16, caption_channels=12, sample_size=8),
                   **_PLAIN),
            floats(2, 4, 8, 8), floats(2, 5, 12), _step(),
        ),
        "WanTransformer3DModel": lambda: (
            Called(_diffusers("WanTransformer3DModel", num_attention_heads=2, attention_head_dim=12, in_channels=4,
                              out_channels=4, text_dim=10, freq_dim=16, ffn_dim=24, num_layers=2, rope_max_seq_len=32),
                   **_PLAIN),
            floats(2, 4, 2, 8, 8), _step(), floats(2, 5, 10),
        ),
        "LTXVideoTransformer3DModel": lambda: (
            Called(_diffusers("LTXVideoTransformer3DModel", in_channels=4, out_channels=4, num_attention_heads=2,
                              attention_head_dim=12, cross_attention_dim=24, num_layers=2, caption_channels=10),
                   num_frames=2, height=4, width=4, **_PLAIN),
            floats(2, 32, 4), floats(2, 5, 10), _step(), torch.ones(2, 5),
        ),
        "PriorTransformer": lambda: (
            Called(_diffusers("PriorTransformer", num_attention_heads=2, attention_head_dim=8, num_layers=2,
                              embedding_dim=12, num_embeddings=5), **_PLAIN),
            floats(2, 12), _step(), floats(2, 12), floats(2, 5, 12),
        ),
        "T2IAdapter": lambda: (
            _diffusers("T2IAdapter", channels=[8, 16], num_res_blocks=1, downscale_factor=4), floats(2, 3, 32, 32),
        ),
    },
    "denoising-diffusion-pytorch": {
        "Unet": lambda: (named("denoising_diffusion_pytorch:Unet")(16, dim_mults=(1, 2), flash_attn=False),
                         floats(2, 3, 16, 16), _step()),
        "Unet, self-conditioned, learned sines": lambda: (
            named("denoising_diffusion_pytorch:Unet")(16, dim_mults=(1, 2), self_condition=True,
                                                      learned_sinusoidal_cond=True),
            floats(2, 3, 16, 16), _step().float(), floats(2, 3, 16, 16)),
        "Unet1D": lambda: (named("denoising_diffusion_pytorch:Unet1D")(16, dim_mults=(1, 2), channels=4),
                           floats(2, 4, 32), _step()),
        "KarrasUnet": lambda: (
            named("denoising_diffusion_pytorch:KarrasUnet")(
                image_size=16, dim=16, dim_max=32, num_downsamples=2, num_blocks_per_stage=1, attn_res=(8,),
                attn_dim_head=8, fourier_dim=16),
            floats(2, 4, 16, 16), floats(2)),
    },
    "torchdiffeq": {
        "odeint, midpoint": lambda: (_Flow("midpoint"), floats(2, 4)),
        "odeint, rk4": lambda: (_Flow("rk4"), floats(2, 4)),
    },
}  # fmt: skip


class _Sdxl(torch.nn.Module):
    """A UNet that takes its further conditions in a dict."""

    def __init__(self, unet: torch.nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, sample: Any, timestep: Any, words: Any, text: Any, times: Any) -> Any:
        """Its noise."""
        more = {"text_embeds": text, "time_ids": times}
        return self.unet(sample, timestep, words, added_cond_kwargs=more, return_dict=False)


class _Flow(torch.nn.Module):
    """An equation that is solved in steps."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.method = method
        self.field = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4))

    def forward(self, x: torch.Tensor) -> Any:
        """Where it ends."""
        solve = named("torchdiffeq:odeint")
        return solve(lambda t, y: self.field(y), x, torch.linspace(0, 1, 4), method=self.method)[-1]
