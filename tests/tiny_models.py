"""A small network of each family, by a name that timm knows: its own test models, and ours where it has none.

Importing this registers the latter, as a user's own module would.
"""

from typing import Any

import timm.models
from timm.models import RegNet, SwinTransformer, VisionTransformer, build_model_with_cfg, generate_default_cfgs
from timm.models.regnet import RegNetCfg

__all__: list[str] = ["FAMILIES"]

FAMILIES = {
    "resnet": "timm/test_resnet",
    "regnet": "timm/tiny_regnet",
    "efficientnet": "timm/test_efficientnet",
    "convnext": "timm/test_convnext",
    "swin": "timm/tiny_swin",
    "vit": "timm/test_vit",
    "dinov2": "timm/tiny_dinov2",
    "clip": "timm/tiny_clip",
}
"""Family -> name. The DINOv2 tower has four registers and no classifier, the CLIP tower projects to 24 numbers."""

_COMMON = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4), "pool_size": None}
default_cfgs = generate_default_cfgs(
    {
        "tiny_regnet": _COMMON | {"num_classes": 1000, "input_size": (3, 96, 96), "classifier": "head.fc"},
        "tiny_swin": _COMMON
        | {"num_classes": 1000, "input_size": (3, 64, 64), "classifier": "head.fc", "fixed_input_size": True},
        "tiny_dinov2": _COMMON
        | {"num_classes": 0, "input_size": (3, 56, 56), "classifier": "head", "fixed_input_size": True},
        "tiny_patch14": _COMMON
        | {"num_classes": 0, "input_size": (3, 56, 56), "classifier": "head", "fixed_input_size": True},
        "tiny_clip": _COMMON
        | {"num_classes": 24, "input_size": (3, 64, 64), "classifier": "head", "fixed_input_size": True},
    }
)


@timm.models.register_model
def tiny_regnet(pretrained: bool = False, **options: Any) -> RegNet:
    config = RegNetCfg(w0=8, wa=8, wm=2, depth=6, group_size=8, se_ratio=0.25, stem_width=8)
    return build_model_with_cfg(RegNet, "tiny_regnet", pretrained, model_cfg=config, **options)


@timm.models.register_model
def tiny_swin(pretrained: bool = False, **options: Any) -> SwinTransformer:
    own = {"patch_size": 4, "window_size": 4, "embed_dim": 16, "depths": (2, 1, 1, 1), "num_heads": (1, 2, 2, 4)}
    return build_model_with_cfg(SwinTransformer, "tiny_swin", pretrained, **own | options)


@timm.models.register_model
def tiny_dinov2(pretrained: bool = False, **options: Any) -> VisionTransformer:
    own = {"patch_size": 8, "embed_dim": 32, "depth": 4, "num_heads": 2, "init_values": 1e-5, "reg_tokens": 4}
    return build_model_with_cfg(VisionTransformer, "tiny_dinov2", pretrained, no_embed_class=True, **own | options)


@timm.models.register_model
def tiny_patch14(pretrained: bool = False, **options: Any) -> VisionTransformer:
    """With the patches of the real DINOv2."""
    own = {"patch_size": 14, "embed_dim": 32, "depth": 4, "num_heads": 2, "reg_tokens": 4}
    return build_model_with_cfg(VisionTransformer, "tiny_patch14", pretrained, no_embed_class=True, **own | options)


@timm.models.register_model
def tiny_clip(pretrained: bool = False, **options: Any) -> VisionTransformer:
    own = {"patch_size": 16, "embed_dim": 32, "depth": 4, "num_heads": 2, "pre_norm": True}
    return build_model_with_cfg(VisionTransformer, "tiny_clip", pretrained, **own | options)


@timm.models.register_model
def tiny_bare(pretrained: bool = False, **options: Any) -> VisionTransformer:
    own = {"patch_size": 16, "embed_dim": 32, "depth": 4, "num_heads": 2}
    return build_model_with_cfg(VisionTransformer, "tiny_bare", pretrained, **own | options)
