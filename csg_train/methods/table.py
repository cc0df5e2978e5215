"""Every method by name. To add one: its module, its line here, its row in ``tests/train/methods/cases.py``."""

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from csg_train.methods.base import Method

__all__ = ["METHODS", "PLACES"]

PLACES = {
    "oracle": "baseline:Oracle",
    "baseline": "baseline:Baseline",
    "ibn-net": "ibn_net:IBNNet",
    "domain-randomization": "domain_randomization:DomainRandomization",
    "weight-l2": "weight_l2:WeightL2",
    "ewc": "ewc:EWC",
    "si": "synaptic_intelligence:SynapticIntelligence",
    "feature-l2": "feature_l2:FeatureL2",
    "miro": "miro:MIRO",
    "gcisg": "gcisg:GCISG",
    "asg": "asg:ASG",
    "csg": "csg:CSG",
}
"""Module in this folder and class of each method, in the order of every list and table."""


class _Methods(Mapping[str, "type[Method]"]):
    """The classes by name, each imported when it is asked for: who lists or checks names does not wait for torch."""

    def __getitem__(self, name: str) -> "type[Method]":
        module, _, kind = PLACES[name].partition(":")
        return cast("type[Method]", getattr(importlib.import_module(f"csg_train.methods.{module}"), kind))

    def __contains__(self, name: object) -> bool:
        return name in PLACES

    def __iter__(self) -> Iterator[str]:
        return iter(PLACES)

    def __len__(self) -> int:
        return len(PLACES)


METHODS = _Methods()
