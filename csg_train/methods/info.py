"""What ``csg-train methods``, the report and the docs say about a method, or about an option that any method takes."""

from dataclasses import dataclass

__all__ = ["MethodInfo"]


@dataclass(frozen=True, kw_only=True)
class MethodInfo:
    """What ``csg-train methods`` and the report say about a method.

    Attributes:
        name: Of a method, as ``method.name`` has it; of an option, as the docs do.
        title: For tables.
        summary: One sentence.
        equation: What it adds to the loss, or does to the weights or pictures.
        source: The paper.
        deviation: Where this is not what the paper or its released code does.
        cost: Beyond a forward and a backward pass of one network on one view.
    """

    name: str
    title: str
    summary: str
    equation: str
    source: str
    deviation: str = "none"
    cost: str = "none"
