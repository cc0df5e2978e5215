"""Accuracy on unlabelled pictures, estimated from how sure a network is there and on pictures with labels.

Shape suffixes: N real pictures, M held-out synthetic ones, C classes.
"""

import math

import numpy as np
from scipy.stats import entropy

__all__ = [
    "average_confidence",
    "confidence",
    "difference_of_confidences",
    "held_out_accuracy",
    "negative_entropy",
    "nuclear_norm",
    "share_above_threshold",
]


def confidence(probabilities_NC: np.ndarray) -> np.ndarray:
    """The largest probability of each picture, ``(N,)``, 1/C to 1."""
    return np.asarray(probabilities_NC.max(axis=1))


def negative_entropy(probabilities_NC: np.ndarray) -> np.ndarray:
    """``sum_c p_c ln p_c`` of each picture, ``(N,)``, -ln C (even) to 0 (certain)."""
    return -np.asarray(entropy(probabilities_NC, axis=1))


def average_confidence(probabilities_NC: np.ndarray) -> float:
    """Mean of `confidence` (Hendrycks & Gimpel, ICLR 2017): the accuracy, were the network calibrated there."""
    return float(confidence(probabilities_NC).mean())


def share_above_threshold(held_scores_M: np.ndarray, held_right_M: np.ndarray, scores_N: np.ndarray) -> float:
    """Average thresholded confidence, ATC (Garg et al., ICLR 2022, Eq 2 and 3).

    The threshold t leaves as many held-out pictures below it as are predicted wrong there; the estimate is the share
    of the others with a score of t or more. Of equal scores none can be told from another, and all lie on one side.

    Args:
        held_scores_M: Of pictures with labels, higher = surer.
        held_right_M: Whether each of them is predicted right.
        scores_N: Of the pictures without labels.

    Returns:
        0 to 1.
    """
    wrong = len(held_right_M) - int(np.count_nonzero(held_right_M))
    threshold = np.append(np.sort(held_scores_M), np.inf)[wrong]
    return float((scores_N >= threshold).mean())


def difference_of_confidences(held_NC: np.ndarray, held_right_M: np.ndarray, probabilities_NC: np.ndarray) -> float:
    """``accuracy - (AC held out - AC here)``, AC as in `average_confidence` (DoC: Guillory et al., ICCV 2021).

    Guillory et al. also fit a regression of the drop of accuracy on this difference, over many shifts with labels; with
    none the difference itself is taken for the drop, as Garg et al. (ICLR 2022) do.
    """
    return float(held_right_M.mean() - (average_confidence(held_NC) - average_confidence(probabilities_NC)))


def nuclear_norm(probabilities_NC: np.ndarray) -> float:
    """``|P|_* / sqrt(N min(N, C))``, the sum of the singular values of all probabilities (Deng et al., ICML 2023).

    It is high where predictions are both sure and spread over the classes.

    Returns:
        Above 0, to 1 (certain, and all classes alike).
    """
    count, classes = probabilities_NC.shape
    total = float(np.linalg.svd(probabilities_NC, compute_uv=False).sum())
    return min(total / math.sqrt(count * min(count, classes)), 1.0)


def held_out_accuracy(held_right_M: np.ndarray, held_labels_M: np.ndarray) -> float:
    """Unweighted mean over the classes of the share of right predictions, 0 to 1."""
    return float(np.mean([held_right_M[held_labels_M == label].mean() for label in np.unique(held_labels_M)]))
