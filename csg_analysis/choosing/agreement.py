"""How often networks that were trained apart say the same.

Shape suffixes: N pictures, R other runs.
"""

import numpy as np

from csg_train.errors import UserError

__all__ = ["agreement"]


def agreement(predicted_N: np.ndarray, others_RN: np.ndarray) -> float:
    """Share of pictures to which another run gives the same class, mean over the other runs, 0 to 1.

    Over runs that differ in the seed alone it estimates the accuracy where such runs, as an ensemble, are calibrated
    (Jiang et al., ICLR 2022); over different ones accuracy and agreement often lie on one line (Baek et al., NeurIPS
    2022).

    Raises:
        UserError: There is no other run.
    """
    if not len(others_RN):
        raise UserError("no other run to agree with")
    return float((others_RN == predicted_N).mean())
