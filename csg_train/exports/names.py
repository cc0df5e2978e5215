"""The formats by name; apart, for the command line asks for no more."""

__all__ = ["FORMATS"]

FORMATS = ("safetensors", "timm", "torchvision", "onnx", "torch-export")
