"""Which pictures of a demo's domain are kept: no two of equal pixels, none that a table drops."""

from collections import Counter
from collections.abc import Mapping, Sequence

__all__ = ["Kept"]


class Kept:
    """Pictures kept so far in one domain: refuses equal pixels, counts classes, remembers what it refused.

    Args:
        classes: Counted, pictures or none.
        drops: Files that are refused, and why.
    """

    def __init__(self, classes: Sequence[str], drops: Mapping[str, str] | None = None) -> None:
        self.drops = drops or {}
        self.counts: Counter[str] = Counter(dict.fromkeys(classes, 0))
        self.dropped: list[dict[str, str]] = []
        self._seen: dict[str, str] = {}

    def admit(self, file: str, label: str, pixels: str) -> bool:
        """Whether to keep a picture, named as in the drop tables, of a class and pixel hash."""
        reason = self.drops.get(file)
        if reason is None and pixels in self._seen:
            reason = f"same pixels as {self._seen[pixels]}"
        if reason is not None:
            self.dropped.append({"file": file, "reason": reason})
            return False
        self._seen[pixels] = file
        self.counts[label] += 1
        return True
