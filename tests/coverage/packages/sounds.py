"""Networks of packages that hear: speech, music, what codes them, and what makes them."""

from __future__ import annotations

from pkgutil import resolve_name as named
from typing import Any

import torch

from tests.coverage.packages.giving import Called, Networks, floats, ids


def _audio(name: str, *given: Any, **more: Any) -> Any:
    return named(f"torchaudio.models:{name}")(*given, **more)


def _transform(name: str, **more: Any) -> Any:
    return named(f"torchaudio.transforms:{name}")(**more)


def _brain(name: str, *given: Any, **more: Any) -> Any:
    return named(f"speechbrain.{name}")(*given, **more)


def _full(*sizes: int) -> torch.Tensor:
    """Lengths."""
    return torch.tensor(sizes)


_WAV2VEC: dict[str, Any] = {
    "extractor_mode": "group_norm", "extractor_conv_layer_config": [(8, 10, 5), (8, 3, 2)],
    "extractor_conv_bias": False, "encoder_embed_dim": 16, "encoder_projection_dropout": 0.0,
    "encoder_pos_conv_kernel": 8, "encoder_pos_conv_groups": 4, "encoder_num_layers": 2, "encoder_num_heads": 2,
    "encoder_attention_dropout": 0.0, "encoder_ff_interm_features": 32, "encoder_ff_interm_dropout": 0.0,
    "encoder_dropout": 0.0, "encoder_layer_norm_first": False, "encoder_layer_drop": 0.0, "aux_num_out": 5,
}  # fmt: skip

NETWORKS: Networks = {
    "torchaudio": {
        "Conformer": lambda: (_audio("Conformer", 16, 2, 32, 2, 7), floats(2, 12, 16), _full(12, 9)),
        "Conformer, GroupNorm": lambda: (
            _audio("Conformer", 16, 2, 32, 1, 7, use_group_norm=True, convolution_first=True),
            floats(2, 12, 16), _full(12, 9)),
        "Wav2Letter": lambda: (_audio("Wav2Letter", 10, "mfcc", 13), floats(2, 13, 60)),
        "DeepSpeech": lambda: (_audio("DeepSpeech", 16, 8, 5), floats(2, 1, 12, 16)),
        "ConvTasNet": lambda: (
            _audio("ConvTasNet", enc_num_feats=16, msk_num_feats=8, msk_num_hidden_feats=8, msk_num_layers=2,
                   msk_num_stacks=1), floats(2, 1, 160)),
        "Emformer": lambda: (_audio("Emformer", 16, 2, 32, 2, 4, right_context_length=1), floats(2, 13, 16),
                             _full(12, 9)),
        "Emformer with a memory": lambda: (
            _audio("Emformer", 16, 2, 32, 2, 4, left_context_length=4, right_context_length=2, max_memory_size=2),
            floats(2, 14, 16), _full(12, 12)),
        "wav2vec2": lambda: (_audio("wav2vec2_model", **_WAV2VEC), floats(2, 400)),
        "wav2vec2 with lengths": lambda: (_audio("wav2vec2_model", **_WAV2VEC), floats(2, 400), _full(400, 300)),
        "wavlm": lambda: (_audio("wavlm_model", **(_WAV2VEC | {"encoder_num_buckets": 8, "encoder_max_distance": 16})),
                          floats(2, 400)),
        "WaveRNN": lambda: (
            _audio("WaveRNN", [2, 2, 2], 16, 8, n_res_block=1, n_rnn=16, n_fc=16, n_freq=8, n_hidden=8, n_output=8),
            floats(2, 1, 48), floats(2, 1, 8, 10)),
        "HDemucs": lambda: (
            _audio(
                "HDemucs", ["a", "b"], audio_channels=1, channels=8, nfft=1024, depth=4, dconv_depth=1),
            floats(2, 1, 4096)),
        "SquimObjective": lambda: (
            _audio("squim_objective_model", 16, 2, 16, 8, 8, 1, 4), floats(2, 2000)),
        "Tacotron2": lambda: (
            _audio("Tacotron2", n_mels=8, n_symbol=20, symbol_embedding_dim=16, encoder_embedding_dim=16,
                   decoder_rnn_dim=16, attention_rnn_dim=16, attention_hidden_dim=8, prenet_dim=8,
                   postnet_embedding_dim=8, decoder_dropout=0.0, attention_dropout=0.0),
            ids(2, 6, to=20), _full(6, 5), floats(2, 8, 4), _full(4, 3)),
        "RNNT": lambda: (_Rnnt(), floats(2, 8, 80), _full(8, 8), ids(2, 3), _full(3, 2)),
        "MelSpectrogram": lambda: (_transform("MelSpectrogram", n_fft=64, n_mels=8), floats(2, 640)),
        "MFCC": lambda: (_transform("MFCC", n_mfcc=6, melkwargs={"n_fft": 64, "n_mels": 8}), floats(2, 640)),
        "LFCC": lambda: (_transform("LFCC", n_filter=8, n_lfcc=6, speckwargs={"n_fft": 64}), floats(2, 640)),
        "GriffinLim": lambda: (_transform("GriffinLim", n_fft=64, n_iter=2, rand_init=False),
                               floats(2, 33, 8).abs()),
        "Resample": lambda: (_transform("Resample", orig_freq=16, new_freq=10), floats(2, 320)),
        "AmplitudeToDB and deltas": lambda: (
            torch.nn.Sequential(_transform("Spectrogram", n_fft=64), _transform("AmplitudeToDB", top_db=80.0),
                                _transform("ComputeDeltas")), floats(2, 640)),
        "SlidingWindowCmn": lambda: (_transform("SlidingWindowCmn", cmn_window=6, center=True), floats(2, 10, 4)),
        "PitchShift": lambda: (_transform("PitchShift", sample_rate=1600, n_steps=2, n_fft=64), floats(2, 640)),
        "SpectralCentroid": lambda: (_transform("SpectralCentroid", sample_rate=1600, n_fft=64), floats(2, 640)),
        "Vad-less Loudness": lambda: (_transform("Loudness", sample_rate=16000), floats(2, 1, 16000)),
        "lowpass": lambda: (_Lowpass(), floats(2, 200)),
    },
    "speechbrain": {
        "ECAPA-TDNN": lambda: (
            _brain("lobes.models.ECAPA_TDNN:ECAPA_TDNN", 8, lin_neurons=8, channels=[16] * 5, attention_channels=8,
                   res2net_scale=4, se_channels=8), floats(2, 20, 8)),
        "ECAPA-TDNN with lengths": lambda: (
            _brain("lobes.models.ECAPA_TDNN:ECAPA_TDNN", 8, lin_neurons=8, channels=[16] * 5, attention_channels=8,
                   res2net_scale=4, se_channels=8), floats(2, 20, 8), torch.tensor([1.0, 0.5])),
        "x-vector": lambda: (
            _brain("lobes.models.Xvector:Xvector", tdnn_channels=[8] * 4 + [16], lin_neurons=8, in_channels=8),
            floats(2, 20, 8)),
        "CRDNN": lambda: (
            _brain("lobes.models.CRDNN:CRDNN", input_size=8, cnn_channels=[4, 4], rnn_layers=1, rnn_neurons=8,
                   dnn_neurons=8, rnn_class=named("speechbrain.nnet.RNN:LSTM")), floats(2, 16, 8)),
        "CRDNN of LiGRU": lambda: (
            _brain("lobes.models.CRDNN:CRDNN", input_size=8, cnn_channels=[4, 4], rnn_layers=1, rnn_neurons=8,
                   dnn_neurons=8), floats(2, 16, 8)),
        "ContextNet": lambda: (
            _brain("lobes.models.ContextNet:ContextNet", (2, 16, 8), out_channels=8, conv_channels=[8, 8],
                   strides=[1, 2], num_blocks=2, num_layers=2, residuals=[True, True]), floats(2, 16, 8)),
        "HiFi-GAN": lambda: (
            _brain("lobes.models.HifiGAN:HifiganGenerator", 8, 1, "1", [[1, 3]], [3], [4, 4], 16, [2, 2]),
            floats(2, 8, 10)),
        "SepFormer": lambda: (_sepformer(), floats(2, 8, 40)),
        "RE-SepFormer": lambda: (
            _brain("lobes.models.resepformer:ResourceEfficientSeparationPipeline", 8, 8, 8, num_blocks=1,
                   segment_size=4, mem_type="av",
                   seg_model=_brain("lobes.models.dual_path:SBTransformerBlock", 1, 8, 2, d_ffn=16),
                   mem_model=_brain("lobes.models.dual_path:SBTransformerBlock", 1, 8, 2, d_ffn=16)),
            floats(2, 20, 8)),
        "CNN14": lambda: (_brain("lobes.models.Cnn14:Cnn14", 64, 16), floats(1, 64, 64)),
        "DiffWave": lambda: (_brain("lobes.models.DiffWave:DiffWave", 80, 2, 8, 2, 20), floats(2, 1, 512),
                             ids(2, to=20), floats(2, 80, 2)),
        "Conformer": lambda: (
            _Positioned(_brain("lobes.models.transformer.Conformer:ConformerEncoder", 2, 16, 32, 2, kernel_size=7)),
            floats(2, 12, 16)),
        "Branchformer": lambda: (
            _Positioned(_brain("lobes.models.transformer.Branchformer:BranchformerEncoder", 1, 16, 2, kernel_size=7,
                               csgu_linear_units=32)), floats(2, 12, 16)),
        "TransformerASR": lambda: (
            _brain("lobes.models.transformer.TransformerASR:TransformerASR", 20, 8, d_model=16, nhead=2,
                   num_encoder_layers=1, num_decoder_layers=1, d_ffn=32, max_length=50), floats(2, 12, 8),
            ids(2, 5, to=20)),
        "MetricGAN": lambda: (
            Called(_brain("lobes.models.MetricGAN:EnhancementGenerator", 9, 8, 1), lengths=torch.ones(2)),
            floats(2, 12, 9)),
        "Fbank": lambda: (_brain("lobes.features:Fbank", n_mels=8, deltas=True, context=True), floats(2, 1600)),
        "MFCC": lambda: (_brain("lobes.features:MFCC", n_mels=8, n_mfcc=6), floats(2, 1600)),
        "front end": lambda: (
            _brain("lobes.models.convolution:ConvolutionFrontEnd", (2, 16, 8), num_blocks=2, num_layers_per_block=1,
                   out_channels=[4, 8], kernel_sizes=[3, 3], strides=[2, 2], dilations=[1, 1],
                   residuals=[False, False]), floats(2, 16, 8)),
        "SincConv": lambda: (_brain("nnet.CNN:SincConv", in_channels=1, out_channels=4, kernel_size=11),
                             floats(2, 100)),
        "QuasiRNN": lambda: (_brain("nnet.RNN:QuasiRNN", 8, (2, 6, 4)),
                             floats(2, 6, 4)),
        "GRU, both ways": lambda: (_brain("nnet.RNN:GRU", 8, (2, 6, 4), bidirectional=True), floats(2, 6, 4)),
        "attention RNN": lambda: (_brain("nnet.attention:ContentBasedAttention", 8, 8, 8, 4), floats(2, 6, 8),
                                  torch.tensor([6, 5]), floats(2, 8)),
    },
    "encodec": {
        "SEANetEncoder": lambda: (named("encodec.modules:SEANetEncoder")(dimension=8, n_filters=4, ratios=[4, 2]),
                                  floats(2, 1, 320)),
        "SEANetDecoder": lambda: (named("encodec.modules:SEANetDecoder")(dimension=8, n_filters=4, ratios=[4, 2]),
                                  floats(2, 8, 20)),
        "SEANetEncoder, plain": lambda: (
            named("encodec.modules:SEANetEncoder")(dimension=8, n_filters=4, ratios=[4, 2], norm="time_group_norm",
                                                   lstm=0, causal=True), floats(2, 1, 320)),
        "quantiser": lambda: (_Codes(), floats(2, 8, 6)),
    },
    "vocos": {
        "Vocos": lambda: (
            torch.nn.Sequential(named("vocos.models:VocosBackbone")(8, 16, 32, 2),
                                named("vocos.heads:ISTFTHead")(16, 32, 8, padding="center")), floats(2, 8, 10)),
        "Vocos, same": lambda: (
            torch.nn.Sequential(named("vocos.models:VocosBackbone")(8, 16, 32, 2),
                                named("vocos.heads:ISTFTHead")(16, 32, 8)), floats(2, 8, 10)),
        "features": lambda: (named("vocos.feature_extractors:MelSpectrogramFeatures")(n_fft=64, hop_length=16,
                                                                                      n_mels=8), floats(2, 640)),
    },
    "openunmix": {
        "OpenUnmix": lambda: (named("openunmix.model:OpenUnmix")(17, 1, 8, 1), floats(2, 1, 17, 6).abs()),
        "Separator": lambda: (_Stft(), floats(2, 1, 640)),
    },
    "conformer": {
        "Conformer": lambda: (named("conformer:Conformer")(16, depth=1, dim_head=8, heads=2, conv_kernel_size=7),
                              floats(2, 12, 16)),
    },
    "asteroid-filterbanks": {
        "free filterbank": lambda: (_Filters("FreeFB"), floats(2, 1, 160)),
        "parametrised sincs": lambda: (_Filters("ParamSincFB"), floats(2, 1, 160)),
        "analytic filterbank": lambda: (_Filters("AnalyticFreeFB"), floats(2, 1, 160)),
    },
}  # fmt: skip


def _sepformer() -> Any:
    def block() -> Any:
        return _brain("lobes.models.dual_path:SBTransformerBlock", 1, 8, 2, d_ffn=16, use_positional_encoding=True)

    return _brain("lobes.models.dual_path:Dual_Path_Model", 8, 8, block(), block(), num_layers=1, K=8, num_spks=2)


class _Rnnt(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = _audio(
            "emformer_rnnt_model", input_dim=80, encoding_dim=16, num_symbols=16, segment_length=4,
            right_context_length=0, time_reduction_input_dim=8, time_reduction_stride=4,
            transformer_num_heads=2, transformer_ffn_dim=16, transformer_num_layers=1, transformer_dropout=0.0,
            transformer_activation="gelu", transformer_left_context_length=4, transformer_max_memory_size=0,
            transformer_weight_init_scale_strategy="depthwise", transformer_tanh_on_mem=True,
            symbol_embedding_dim=8, num_lstm_layers=1, lstm_layer_norm=True, lstm_layer_norm_epsilon=1e-3,
            lstm_dropout=0.0,
        )  # fmt: skip

    def forward(self, sound: Any, lengths: Any, words: Any, word_lengths: Any) -> Any:
        """Its scores."""
        return self.network(sound, lengths, words, word_lengths)[0]


class _Lowpass(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        """Slower waves only."""
        return named("torchaudio.functional:lowpass_biquad")(x, 16000, 2000.0)


class _Positioned(torch.nn.Module):
    def __init__(self, encoder: torch.nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.positions = named("speechbrain.nnet.attention:RelPosEncXL")(16)

    def forward(self, x: Any) -> Any:
        """With positions between each two."""
        return self.encoder(x, pos_embs=self.positions(x))[0]


class _Codes(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.codes = named("encodec.quantization:ResidualVectorQuantizer")(dimension=8, n_q=2, bins=16)
        for each in self.codes.vq.layers:
            each._codebook.embed.normal_()
            each._codebook.inited.fill_(1)

    def forward(self, x: Any) -> Any:
        """Codes and what they stand for."""
        codes = self.codes.encode(x, 50)
        return codes, self.codes.decode(codes)


class _Stft(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode, _ = named("openunmix.transforms:make_filterbanks")(n_fft=32, n_hop=8)
        self.norm = named("openunmix.transforms:ComplexNorm")(mono=True)

    def forward(self, x: Any) -> Any:
        """How loud each frequency is."""
        return self.norm(self.encode(x))


class _Filters(torch.nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        bank = named(f"asteroid_filterbanks:{name}")
        self.encode = named("asteroid_filterbanks:Encoder")(bank(8, 16, stride=8))
        self.decode = named("asteroid_filterbanks:Decoder")(bank(8, 16, stride=8))

    def forward(self, x: Any) -> Any:
        """There and back."""
        return self.decode(self.encode(x).relu())
