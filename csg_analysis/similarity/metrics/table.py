"""Metrics of features beside the energy: the table of all, with their facts. A new one: its module, its line here."""

from csg_analysis.similarity.metrics.alignment import ALIGNMENT
from csg_analysis.similarity.metrics.cka import CKA
from csg_analysis.similarity.metrics.effective_rank import EFFECTIVE_RANK
from csg_analysis.similarity.metrics.metric import Metric
from csg_analysis.similarity.metrics.spread import SPREAD
from csg_analysis.similarity.metrics.uniformity import UNIFORMITY

__all__ = ["METRICS", "Metric"]

METRICS: dict[str, Metric] = {metric.name: metric for metric in (CKA, ALIGNMENT, UNIFORMITY, EFFECTIVE_RANK, SPREAD)}
