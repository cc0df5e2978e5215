"""Every method by name. To add one: its module, its line here, its row in ``tests/train/method_cases.py``."""

from csg_train.methods.asg import ASG
from csg_train.methods.base import Batch, Method, MethodInfo, Setup
from csg_train.methods.baseline import Baseline, Oracle
from csg_train.methods.csg import CSG
from csg_train.methods.domain_randomization import DomainRandomization
from csg_train.methods.ewc import EWC
from csg_train.methods.feature_l2 import FeatureL2
from csg_train.methods.ibn_net import IBNNet
from csg_train.methods.synaptic_intelligence import SynapticIntelligence
from csg_train.methods.weight_l2 import WeightL2

__all__ = ["METHODS", "Batch", "Method", "MethodInfo", "Setup"]

METHODS: dict[str, type[Method]] = {
    method.info.name: method
    for method in (
        Oracle,
        Baseline,
        IBNNet,
        DomainRandomization,
        WeightL2,
        EWC,
        SynapticIntelligence,
        FeatureL2,
        ASG,
        CSG,
    )
}
