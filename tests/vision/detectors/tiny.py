"""Tiny untrained detectors of transformers, in folders as they are published."""

import json

import torch
import transformers as t

SIDE = 64
NAMES = {0: "cat", 1: "dog", 2: "bird"}
WORDS = ["cat", "dog", "bird", "house", "red"]
_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1]}
_SIZES = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "num_queries": 12,
}
_LEVELS = {"num_feature_levels": 3, "encoder_n_points": 2, "decoder_n_points": 2}
_TOWER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
_TOWER |= {"intermediate_size": 16}


def _resnet(*stages):
    return t.ResNetConfig(**_RESNET, out_features=[f"stage{stage}" for stage in stages])


def _rt(config, **more):
    backbone = t.RTDetrResNetConfig(**_RESNET, layer_type="basic", out_indices=[2, 3, 4])
    sizes = {
        "encoder_hidden_dim": 16,
        "encoder_in_channels": [12, 16, 20],
        "decoder_in_channels": [16, 16, 16],
        "d_model": 16,
        "num_queries": 12,
        "decoder_layers": 2,
        "decoder_attention_heads": 2,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
        "num_denoising": 0,
    }
    return config(backbone_config=backbone, id2label=NAMES, **sizes, **more)


def _lw(config, vit, **more):
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    backbone = vit(
        image_size=SIDE, patch_size=16, num_windows=4, out_indices=[1, 2], **sizes, **more
    )
    heads = {"decoder_self_attention_heads": 2, "decoder_cross_attention_heads": 2}
    sizes = {"decoder_layers": 2, "num_queries": 12, "d_model": 32, "decoder_ffn_dim": 16}
    return config(
        backbone_config=backbone,
        id2label=NAMES,
        group_detr=1,
        projector_scale_factors=[1.0],
        **sizes,
        **heads,
    )


CONFIGS = {
    "detr": lambda: t.DetrConfig(
        backbone_config=_resnet(4), use_timm_backbone=False, id2label=NAMES, **_SIZES
    ),
    "conditional_detr": lambda: t.ConditionalDetrConfig(
        backbone_config=_resnet(4), use_timm_backbone=False, id2label=NAMES, **_SIZES
    ),
    "table-transformer": lambda: t.TableTransformerConfig(
        backbone_config=_resnet(4), use_timm_backbone=False, id2label=NAMES, **_SIZES
    ),
    "dab-detr": lambda: t.DabDetrConfig(
        backbone_config=_resnet(4),
        use_timm_backbone=False,
        id2label=NAMES,
        **{"hidden_size" if key == "d_model" else key: each for key, each in _SIZES.items()},
    ),
    "deformable_detr": lambda: t.DeformableDetrConfig(
        backbone_config=_resnet(2, 3, 4),
        use_timm_backbone=False,
        id2label=NAMES,
        **_SIZES | {"d_model": 32},
        **_LEVELS,
    ),
    "rt_detr": lambda: _rt(t.RTDetrConfig),
    "rt_detr_v2": lambda: _rt(t.RTDetrV2Config),
    "d_fine": lambda: _rt(t.DFineConfig, hidden_expansion=1.0),
    "lw_detr": lambda: _lw(t.LwDetrConfig, t.LwDetrViTConfig),
    "rf_detr": lambda: _lw(t.RfDetrConfig, t.RfDetrDinov2Config),
    "yolos": lambda: t.YolosConfig(
        image_size=[SIDE, SIDE], patch_size=16, num_detection_tokens=12, id2label=NAMES, **_TOWER
    ),
}
PROCESSORS = {
    "detr": "DetrImageProcessor",
    "table-transformer": "DetrImageProcessor",
    "conditional_detr": "ConditionalDetrImageProcessor",
    "dab-detr": "ConditionalDetrImageProcessor",
    "deformable_detr": "DeformableDetrImageProcessor",
    "lw_detr": "DeformableDetrImageProcessor",
    "rf_detr": "RfDetrImageProcessor",
    "rt_detr": "RTDetrImageProcessor",
    "rt_detr_v2": "RTDetrImageProcessor",
    "d_fine": "RTDetrImageProcessor",
    "yolos": "YolosImageProcessor",
}


def save_detector(folder, name="detr", **changes):
    """Write a model and its processor, and return the model."""
    torch.manual_seed(0)
    config = CONFIGS[name]()
    for key, value in changes.items():
        setattr(config, key, value)
    model = t.AutoModelForObjectDetection.from_config(config).eval()
    _vary(model)
    model.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    if name in ("detr", "table-transformer", "conditional_detr", "dab-detr", "deformable_detr"):
        size = {"shortest_edge": SIDE, "longest_edge": 2 * SIDE}
    values = {"image_processor_type": PROCESSORS[name], "size": size, "do_resize": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    return model


@torch.no_grad()
def _vary(model):
    """Make the classes and boxes of an untrained model differ between queries."""
    for name, parameter in model.named_parameters():
        if any(part in name for part in ("bbox", "box_head")) and parameter.ndim > 1:
            parameter.normal_(std=0.1)
        elif "class" in name and "class_head" not in name and parameter.ndim > 1:
            parameter.normal_(std=0.7)
        elif "query" in name or "detection_tokens" in name or "position_embeddings" in name:
            parameter.normal_()


def save_zero_shot(folder, name):
    """Write a detector that finds what it is told, with its processors, and return it."""
    torch.manual_seed(0)
    is_owl = name.startswith("owl")
    model = (_owl if is_owl else _grounding)(name).eval()
    _vary(model)
    model.save_pretrained(folder)
    side = {"height": SIDE, "width": SIDE}
    kind = {"owlvit": "OwlViT", "owlv2": "Owlv2"}.get(name, "GroundingDino")
    size = side if is_owl else {"shortest_edge": SIDE, "longest_edge": 2 * SIDE}
    values = {"image_processor_type": f"{kind}ImageProcessor", "size": size}
    values |= {"processor_class": f"{kind}Processor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    (_clip_tokenizer if is_owl else _bert_tokenizer)(folder, f"{kind}Processor")
    return model


def _owl(name):
    text = _TOWER | {"vocab_size": 300, "max_position_embeddings": 16}
    text |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    vision = _TOWER | {"image_size": SIDE, "patch_size": 16}
    config, model = {
        "owlvit": (t.OwlViTConfig, t.OwlViTForObjectDetection),
        "owlv2": (t.Owlv2Config, t.Owlv2ForObjectDetection),
    }[name]
    owl = model(config(text_config=text, vision_config=vision, projection_dim=16))
    with torch.no_grad():  # so that no probability is 1
        owl.class_head.logit_scale.weight /= 20
    return owl


def _grounding(name):
    config, model = {
        "grounding-dino": (t.GroundingDinoConfig, t.GroundingDinoForObjectDetection),
        "mm-grounding-dino": (t.MMGroundingDinoConfig, t.MMGroundingDinoForObjectDetection),
    }[name]
    backbone = t.SwinConfig(
        image_size=SIDE,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=2,
        out_indices=[2, 3, 4],
    )
    text = _TOWER | {"vocab_size": len(_vocabulary()), "max_position_embeddings": 40}
    return model(
        config(
            backbone_config=backbone,
            text_config=text | {"model_type": "bert"},
            max_text_len=32,
            num_feature_levels=3,
            encoder_n_points=2,
            decoder_n_points=2,
            **_SIZES | {"d_model": 32},
        )
    )


def _vocabulary():
    """Return words whose special tokens have the numbers of BERT's, on which the network relies."""
    words = [f"[unused{number}]" for number in range(1030)]
    places = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: "."}
    for place, word in (places | {1029: "?"} | dict(enumerate(WORDS, 200))).items():
        words[place] = word
    return words


def _bert_tokenizer(folder, processor):
    (folder / "vocab.txt").write_text("\n".join(_vocabulary()))
    values = {"tokenizer_class": "BertTokenizer", "processor_class": processor}
    (folder / "tokenizer_config.json").write_text(json.dumps(values))


def _clip_tokenizer(folder, processor):
    letters = [chr(number) for number in range(97, 123)]
    words = ["!", "<|startoftext|>", "<|endoftext|>", *letters, *(f"{one}</w>" for one in letters)]
    numbers = {word: number for number, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(numbers))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    values = {"tokenizer_class": "CLIPTokenizer", "processor_class": processor, "pad_token": "!"}
    values["model_max_length"] = 16
    (folder / "tokenizer_config.json").write_text(json.dumps(values))
