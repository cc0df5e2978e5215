"""Hyperspherical energy as a torchmetrics ``Metric``: rows come batch by batch, from one process or several.

Pairs cross batches, so no sum of batches gives the energy: all rows are kept, and `hyperspherical_energy` takes them at
the end. Needs ``csg-toolkit[metrics]``.
"""

from numbers import Real
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from csg_analysis.energy.energy import hyperspherical_energy
from csg_analysis.energy.estimates import Coincident, Convention, uniform_energy
from csg_train.distributed import process_count
from csg_train.errors import UserError

try:
    from torchmetrics import Metric
    from torchmetrics.utilities import dim_zero_cat
    from torchmetrics.utilities.distributed import gather_all_tensors
except ImportError as error:
    raise ImportError("HypersphericalEnergy needs torchmetrics; pip install 'csg-toolkit[metrics]'") from error

__all__ = ["HypersphericalEnergy"]

_SAME = 0.01
"""Distance of two unit vectors up to which they may be of one picture: two batches round differently, in half precision
by about 0.001."""


class HypersphericalEnergy(Metric):
    """The energy of all rows that `update` was given, mean over pairs; lower is more diverse.

    A ``DistributedSampler`` repeats pictures so that all processes have as many. Such copies would add pairs at
    distance 0 and count their picture twice; ``index`` names each row's picture, and a picture counts once.

    Args:
        s: The order, finite and >= 0.
        convention: ``paper`` (Eq 1) or ``mhe`` (as Table 1 was computed), which differ for s = 0.
        coincident: Rule for pairs of different pictures at one point, see `Energy`.
        options: Of every ``Metric``, for instance ``compute_on_cpu=True``, which keeps the rows off the GPU.

    Raises:
        UserError: An order, convention or rule that is not known.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    features: list[Tensor]
    index: list[Tensor]

    def __init__(
        self,
        *,
        s: float = 0,
        convention: Convention = "mhe",
        coincident: Coincident = "exclude",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        given: Any = s
        if not isinstance(given, Real):
            raise UserError(f"energy order s={s!r}; give one finite number >= 0")
        uniform_energy(2, s, convention=convention)  # these refuse what they do not know, before an epoch is over
        hyperspherical_energy(torch.eye(2), s=s, coincident=coincident)
        self.s, self.convention, self.coincident = s, convention, coincident
        self.add_state("features", default=[], dist_reduce_fx="cat")
        self.add_state("index", default=[], dist_reduce_fx="cat")

    def update(self, features_ND: Tensor, index_N: Tensor | None = None) -> None:
        """Take the rows of a batch.

        Args:
            features_ND: ``(N, D)`` floating point, of any length but zero.
            index_N: Which picture of the data set each row is of, >= 0. Without it every row is a picture of its own,
                which of several processes nobody knows.

        Raises:
            UserError: Other shapes, or several processes and no index.
        """
        if not isinstance(features_ND, Tensor):
            raise UserError(f"features in a {type(features_ND).__name__}; give a tensor (N, D) of floats")
        if features_ND.ndim != 2 or not features_ND.is_floating_point():
            raise UserError(f"features of shape {tuple(features_ND.shape)}, {features_ND.dtype}; give floats (N, D)")
        if self.features and features_ND.shape[1] != self.features[0].shape[1]:
            raise UserError(f"{features_ND.shape[1]} features a row after {self.features[0].shape[1]}; give as many")
        if self.features and features_ND.dtype != self.features[0].dtype:
            raise UserError(f"{features_ND.dtype} after {self.features[0].dtype}; give one type")
        if index_N is None:
            if process_count() > 1:
                raise UserError(
                    "no index, and of several processes a sampler repeats pictures; give each row's in the data set"
                )
            index_N = torch.full((len(features_ND),), -1, device=features_ND.device)
        elif not isinstance(index_N, Tensor):
            raise UserError(f"index in a {type(index_N).__name__}; give a tensor (N,) of whole numbers")
        elif index_N.shape != features_ND.shape[:1] or index_N.is_floating_point() or bool((index_N < 0).any()):
            raise UserError(
                f"index of shape {tuple(index_N.shape)}, {index_N.dtype} for {len(features_ND)} rows; give one whole "
                "number >= 0 for each"
            )
        self.features.append(features_ND.detach())
        self.index.append(index_N.detach().to(features_ND.device, torch.int64))

    def compute(self) -> Tensor:
        """The energy, a float64 scalar.

        Raises:
            UserError: As `hyperspherical_energy`, or two rows of one index that are not of one picture.
        """
        rows_ND = _without_copies(dim_zero_cat(self.features), dim_zero_cat(self.index))
        energy = hyperspherical_energy(rows_ND, s=self.s, coincident=self.coincident)
        values = energy.mhe if self.convention == "mhe" else energy.paper
        return torch.tensor(values[self.s].value, dtype=torch.float64, device=self.device)

    def _sync_dist(self, dist_sync_fn: Any = gather_all_tensors, process_group: Any = None) -> None:
        """As every ``Metric``; one without rows, which would give another type and width, gives none of theirs."""
        if not dist.is_initialized():  # processes of somebody's own
            super()._sync_dist(dist_sync_fn, process_group)
            return
        group = process_group or self.process_group
        kinds: list[Any] = [None] * dist.get_world_size(group)
        own = (self.features[0].shape[1], self.features[0].dtype) if self.features else None
        dist.all_gather_object(kinds, own, group)
        found = dict.fromkeys(kind for kind in kinds if kind is not None)
        if not found:
            raise UserError("no process has rows; give some to update first")
        if len(found) > 1:
            said = " and ".join(f"{dtype} of {width} features" for width, dtype in found)
            raise UserError(f"the processes have rows of {said}; give all the same")
        if own is None:
            ((width, dtype),) = found
            device = "cpu" if self.compute_on_cpu else self.device
            self.features.append(torch.empty(0, width, dtype=dtype, device=device))
            self.index.append(torch.empty(0, dtype=torch.int64, device=device))
        super()._sync_dist(dist_sync_fn, process_group)


def _without_copies(features_ND: Tensor, index_N: Tensor) -> Tensor:
    """The first row of each index."""
    order_N = index_N.argsort(stable=True)
    before_M, after_M = order_N[:-1], order_N[1:]
    copies_M = (index_N[before_M] == index_N[after_M]) & (index_N[after_M] >= 0)
    before_C, after_C = before_M[copies_M], after_M[copies_M]
    apart_C = (F.normalize(features_ND[before_C]) - F.normalize(features_ND[after_C])).norm(dim=1)
    if bool((apart_C > _SAME).any()):
        wrong = int(index_N[after_C[apart_C.argmax()]])
        raise UserError(f"index {wrong}: two rows that differ; give each picture its own index in the whole data set")
    kept_N = torch.ones_like(index_N, dtype=torch.bool)
    kept_N[after_C] = False
    return features_ND if bool(kept_N.all()) else features_ND[kept_N]
