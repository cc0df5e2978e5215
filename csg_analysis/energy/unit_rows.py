"""Feature rows as float64 unit vectors, read in chunks: never a normalised copy of the whole array.

Shape suffixes: N rows, D features, K centres, B rows of a chunk, S rows of a sample, M of them in a cluster.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from csg_analysis.energy.scratch import row_array, spans, stable_order
from csg_analysis.energy.threads import in_order, one_core_each, thread_count
from csg_train.devices import usable_device
from csg_train.errors import UserError
from csg_train.seeds import generator_for

__all__ = ["COPY_DISTANCE", "Layout", "UnitRows", "arrange", "as_tensor", "offsets"]

COPY_DISTANCE = 2.5e-13  # rows this near to one leader are within 5e-13 of each other: coincident by any path
_CHUNK_NUMBERS, _ALL_NUMBERS = 2**17, 2**20  # 1 MB of float64, 8 MB of all threads: each keeps what it has freed
_CUDA_CHUNK_NUMBERS = 2**24  # there the number of launches counts
_SAMPLE_NUMBERS = 2**20
_SAMPLE_STRIP = 64  # rows
_MAX_CENTRES = 64


def as_tensor(features: Any) -> Tensor:
    """The rows as a tensor that shares their memory where it can; what is no array of real numbers is a named error."""
    if isinstance(features, np.ma.MaskedArray):
        raise UserError("features in a masked array; give the rows that count, features[~mask.any(axis=1)].data")
    if isinstance(features, np.ndarray):
        if features.dtype.kind != "f" or features.dtype.itemsize > 8:
            raise UserError(f"features of type {features.dtype}; give float16, float32 or float64")
        native = features if features.dtype.isnative and min(features.strides, default=0) >= 0 else features.copy()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # it is only read
            return torch.from_numpy(native.astype(native.dtype.newbyteorder("="), copy=False))
    if not isinstance(features, Tensor) or not features.is_floating_point():
        kind = features.dtype if isinstance(features, Tensor) else type(features).__name__
        raise UserError(f"features of type {kind}; give a NumPy array or a torch tensor of floating-point numbers")
    if features.layout != torch.strided or features.is_meta:
        kind = "on the meta device, which holds no numbers" if features.is_meta else f"of layout {features.layout}"
        raise UserError(f"features {kind}; give a dense tensor")
    return features.detach()


class UnitRows:
    """The rows of an (N, D) array, L2-normalised in float64 when they are read.

    Construction makes one pass over the array: it checks every row, keeps its norm, sums the unit vectors and
    projects them on one fixed direction (coincident rows have equal projections, which finds copies in N log N).

    Args:
        features: NumPy array (also memory-mapped) or tensor, shape (N, D), N >= 2, D >= 1, floating point.
        device: Where to compute; by default where the features are.

    Raises:
        UserError: Wrong type or shape, fewer than two rows, or a row that is zero, NaN or infinite (it is named).
    """

    def __init__(self, features: Any, device: torch.device | str | None = None) -> None:
        self.features = as_tensor(features)
        if self.features.ndim != 2 or self.features.shape[1] < 1:
            raise UserError(
                f"features of shape {tuple(self.features.shape)}; give (rows, features), a feature at least"
            )
        self.n, self.d = self.features.shape
        if self.n < 2:
            raise UserError(f"{self.n} feature rows; pairs need at least 2: give more pictures")
        self.device = self.features.device if device is None else usable_device(device)
        direction = torch.randn(self.d, generator=generator_for(0, "energy", "copies"), dtype=torch.float64)
        direction = (direction / direction.norm()).to(self.device)
        self.norm_N = row_array((self.n,), torch.float64, self.device)
        self.mean_D = torch.zeros(self.d, dtype=torch.float64, device=self.device)
        self.projection_N = row_array((self.n,), torch.float64, self.device)
        self.threads = thread_count(self.device)
        with one_core_each():
            for sum_D in in_order(lambda span: self._measure(*span, direction), self.chunks(0, self.n), self.threads):
                self.mean_D += sum_D
        self.mean_D /= self.n

    def _measure(self, start: int, stop: int, direction: Tensor) -> Tensor:
        """Check some rows and keep what is kept of each; the sum of their unit vectors, shape (D,)."""
        unit_BD = self._read(slice(start, stop))
        peak_B = unit_BD.abs().amax(1)
        self._check(peak_B, start)
        unit_BD /= peak_B[:, None]
        norm_B = torch.linalg.vector_norm(unit_BD, dim=1)
        unit_BD /= norm_B[:, None]
        norm_B *= peak_B
        if not bool(norm_B.isfinite().all()):
            row = start + int((~norm_B.isfinite()).nonzero()[0, 0])
            raise UserError(f"feature row {row} is too long for float64; divide the features by a constant")
        self.norm_N[start:stop] = norm_B
        self.projection_N[start:stop] = unit_BD @ direction
        return unit_BD.sum(0)

    @staticmethod
    def _check(peak_B: Tensor, start: int) -> None:
        bad_B = ~peak_B.isfinite() | (peak_B == 0)
        if bool(bad_B.any()):
            index = int(bad_B.nonzero()[0, 0])
            what = "is zero and has no direction" if float(peak_B[index]) == 0 else "has a NaN or infinite value"
            raise UserError(f"feature row {start + index} {what}; remove it or fix the features")

    def chunks(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Ranges of rows, a megabyte in float64 at most on the CPU, that cover ``start`` to ``stop``."""
        on_cpu = min(_CHUNK_NUMBERS, _ALL_NUMBERS // self.threads)
        numbers = _CUDA_CHUNK_NUMBERS if self.device.type == "cuda" else on_cpu
        step = max(1, numbers // max(self.d, _MAX_CENTRES))  # a row may get as many offsets
        for low in range(start, stop, step):
            yield low, min(low + step, stop)

    def _read(self, rows: slice | Tensor) -> Tensor:
        picked = self.features[rows if isinstance(rows, slice) else rows.to(self.features.device)]
        return picked.to(self.device).to(torch.float64, copy=True)  # numbers travel as they are, and no wider

    def take(self, rows: slice | Tensor) -> Tensor:
        """The unit vectors of a slice or an index tensor of rows: float64, shape (B, D), for the caller to change."""
        return self._read(rows).div_(self.norm_N[rows][:, None])

    def copy_groups(self) -> Tensor:
        """One number for each row, shape (N,): equal for rows within `COPY_DISTANCE` of one leading row.

        Rows with equal numbers coincide; rows with different numbers may still coincide and must be compared.
        """
        groups_N = row_array((self.n,), torch.int64, self.device)
        torch.arange(self.n, out=groups_N, device=self.device)
        order_N = stable_order(self.projection_N)
        last_1, leader_1 = self.projection_N[order_N[:1]] - 1, order_N[:1]
        for span in spans(self.n):
            row_B = order_N[span]
            projection_B = self.projection_N[row_B]
            starts_B = torch.cat([last_1, projection_B]).diff() > COPY_DISTANCE
            place_B = torch.where(starts_B, torch.arange(1, len(row_B) + 1, device=self.device), 0).cummax(0).values
            leader_B = torch.cat([leader_1, row_B])[place_B]
            self._join(groups_N, row_B[~starts_B], leader_B[~starts_B])
            last_1, leader_1 = projection_B[-1:], leader_B[-1:]
        return groups_N

    def _join(self, groups_N: Tensor, row_P: Tensor, leader_P: Tensor) -> None:
        for start, stop in self.chunks(0, len(row_P)):
            row_B, leader_B = row_P[start:stop], leader_P[start:stop]
            apart_BD = self.take(row_B).sub_(self.take(leader_B))
            same_B = torch.linalg.vector_norm(apart_BD, dim=1) <= COPY_DISTANCE
            groups_N[row_B[same_B]] = leader_B[same_B]


@dataclass(frozen=True, slots=True)
class Layout:
    """In which order and around which centres the pairs are computed.

    It decides speed, and accuracy only through rounding: near pairs are recomputed in any case.

    Attributes:
        order: The row at each position; None keeps the order of the array.
        bounds: First position of each centre's rows, and N: K + 1 numbers.
        centres: The centres a_k, float64, shape (K, D).
        gaps: Squared distances of the centres, float64, shape (K, K).
        single: Whether float32 products are enough; otherwise they are float64.
    """

    order: Tensor | None
    bounds: list[int]
    centres: Tensor
    gaps: Tensor
    single: bool

    def rows(self, start: int, stop: int) -> slice | Tensor:
        """The rows of the array at the positions from ``start`` to ``stop``."""
        return slice(start, stop) if self.order is None else self.order[start:stop]

    def arranged(self, value_N: Tensor) -> Tensor:
        """Values by row, as values by position."""
        if self.order is None:
            return value_N
        out_N = row_array((len(value_N),), value_N.dtype, value_N.device)
        return torch.index_select(value_N, 0, self.order, out=out_N)


def offsets(residual_BD: Tensor, centre: int | Tensor, centres_KD: Tensor, gaps_KK: Tensor) -> Tensor:
    """The part of a squared distance that belongs to one of its two rows, float64, shape (B, K).

    With u_i = a_k + r_i and u_j = a_l + r_j, the squared distance is o_i(l) + o_j(k) - 2 r_i . r_j, where
    o_i(l) = |r_i|^2 + 2 r_i . (a_k - a_l) + |a_k - a_l|^2 / 2: only the small residuals meet in the product.
    """
    product_BK = residual_BD @ centres_KD.T
    own_B1 = product_BK[torch.arange(len(residual_BD), device=residual_BD.device), centre].unsqueeze(1)
    return _squares(residual_BD) + 2 * (own_B1 - product_BK) + gaps_KK[centre] / 2


def _squares(residual_BD: Tensor) -> Tensor:
    """Squared lengths, shape (B, 1), in one pass and without an array of squares."""
    norm_B1: Tensor = torch.linalg.vector_norm(residual_BD, dim=1, keepdim=True)
    return norm_B1.square_()


def _gaps(centres_KD: Tensor) -> Tensor:
    return torch.stack([(centres_KD - centre_D).square_().sum(-1) for centre_D in centres_KD])


def _near(sample_SD: Tensor, offset_SK: Tensor, cluster_S: Tensor, share: float, threads: int) -> Tensor:
    """1 for pairs of a sample nearer than this share of their mean squared residual, else 0: float32, shape (S, S)."""
    near_SS = torch.empty(len(sample_SD), len(sample_SD), device=sample_SD.device)

    def fill(at: slice) -> None:
        sum_BS = offset_SK[at][:, cluster_S] + offset_SK[:, cluster_S[at]].T
        near_SS[at] = torch.addmm(sum_BS, sample_SD[at], sample_SD.T, alpha=-2) <= share / 2 * sum_BS

    strip = _SAMPLE_STRIP if sample_SD.device.type == "cpu" else len(sample_SD)
    for _ in in_order(fill, spans(len(sample_SD), strip), threads):
        pass
    return near_SS.fill_diagonal_(0)


def _clusters(sample_SD: Tensor, share: float, threads: int) -> tuple[list[Tensor], list[float]]:
    """Centres and radii of the tight clusters of a centred sample: greedily, the row with most near rows leads."""
    one_S = torch.zeros(len(sample_SD), dtype=torch.int64, device=sample_SD.device)
    near_SS = _near(sample_SD, _squares(sample_SD), one_S, share, threads)
    centres: list[Tensor] = []
    radii: list[float] = []
    if float(near_SS.sum()) * 2**12 < near_SS.numel():
        return centres, radii
    free_S = torch.ones(len(sample_SD), device=sample_SD.device)
    while len(centres) < _MAX_CENTRES - 1:
        count_S = (near_SS @ free_S) * free_S
        leader = int(count_S.argmax())
        if int(count_S[leader]) < max(2, len(sample_SD) // 512):
            break
        members_S = near_SS[leader] * free_S == 1
        members_S[leader] = True
        free_S[members_S] = 0
        members_MD = sample_SD[members_S]
        centres.append(members_MD.mean(0))
        radii.append(float(torch.linalg.vector_norm(members_MD.sub_(centres[-1]), dim=1).max()) ** 2)
    return centres, radii


def _nearest(residual_BD: Tensor, centres_KD: Tensor, reach_K: Tensor) -> Tensor:
    """The nearest centre of each row among those within reach, shape (B,); centre 0, the mean, reaches everywhere."""
    squared_BK = _squares(residual_BD) - 2 * (residual_BD @ centres_KD.T) + centres_KD.square().sum(1)
    return squared_BK.masked_fill_(squared_BK > reach_K, torch.inf).argmin(1)


def arrange(rows: UnitRows, labels_N: Tensor | None, near_single: float, near_double: float) -> Layout:
    """Choose centres so that few pairs are nearer to each other than to their centres.

    A sample of evenly spaced rows shows which pairs would cancel around the common mean. The row with most such
    neighbours leads a cluster, its members leave, and so on up to 63 clusters; every other row stays with the mean.
    Rows are then sorted by centre and label. Spread-out features without labels keep their order.

    Args:
        rows: The features.
        labels_N: Class numbers, or None; equal labels become neighbours.
        near_single: Pairs below this share of their mean squared residual are too near for float32 products.
        near_double: The same for float64 products, which small inputs (N <= 1024 or D <= 64) always get, and those
            where the clusters leave more than one pair in 256 too near for float32.
    """
    small = rows.n <= 1024 or rows.d <= 64
    size = min(rows.n, 1024, max(64, _SAMPLE_NUMBERS // rows.d))
    picked = torch.arange(size, device=rows.device) * rows.n // size
    sample_SD = rows.take(picked).sub_(rows.mean_D)
    found, radii = _clusters(sample_SD, near_double if small else near_single, rows.threads)
    local_KD = torch.stack([torch.zeros_like(rows.mean_D), *found])
    reach_K = torch.tensor([torch.inf, *(4 * radius for radius in radii)], dtype=torch.float64, device=rows.device)
    centres_KD, gaps_KK = local_KD + rows.mean_D, _gaps(local_KD)
    cluster_S = _nearest(sample_SD, local_KD, reach_K)
    sample_SD -= local_KD[cluster_S]
    offset_SK = offsets(sample_SD, cluster_S, local_KD, gaps_KK)
    left = float(_near(sample_SD, offset_SK, cluster_S, near_single, rows.threads).sum()) / size**2
    cluster_N = row_array((rows.n,), torch.int64, rows.device)

    def assign(chunk: tuple[int, int]) -> None:
        at = slice(*chunk)
        cluster_N[at] = _nearest(rows.take(at).sub_(rows.mean_D), local_KD, reach_K)

    if found:
        for _ in in_order(assign, rows.chunks(0, rows.n), rows.threads):
            pass
    order_N = None
    if found or labels_N is not None:
        key_N = row_array((rows.n,), torch.float64, rows.device)
        classes = 0 if labels_N is None else int(labels_N.max()) + 1
        for span in spans(rows.n):
            key_N[span] = cluster_N[span].double() if labels_N is None else cluster_N[span] * classes + labels_N[span]
        order_N = stable_order(key_N)
    counts_K = torch.stack([cluster_N[span].bincount(minlength=len(local_KD)) for span in spans(rows.n)]).sum(0)
    bounds = [0, *counts_K.cumsum(0).tolist()]
    return Layout(order_N, bounds, centres_KD, gaps_KK, single=not small and left * 256 < 1)
