"""Every method by name. To add one: its module, its line here, its row in ``tests/train/method_cases.py``."""

from csg_train.methods.base import Batch, Method, MethodInfo, Setup
from csg_train.methods.baseline import Baseline, Oracle
from csg_train.methods.csg import CSG

__all__ = ["METHODS", "Batch", "Method", "MethodInfo", "Setup"]

METHODS: dict[str, type[Method]] = {method.info.name: method for method in (Oracle, Baseline, CSG)}
