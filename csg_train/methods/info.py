"""What ``csg-train methods``, the report and the docs say about a method."""

from dataclasses import dataclass

__all__ = ["MethodInfo"]


@dataclass(frozen=True, kw_only=True)
class MethodInfo:
    """What ``csg-train methods`` and the report say about a method."""

    name: str
    title: str
    summary: str
    equation: str
    source: str
