"""The table of measures that need no real label. A new one: its function, its line here."""

from csg_analysis.choosing.agreement import agreement
from csg_analysis.choosing.confidence import (
    average_confidence,
    confidence,
    difference_of_confidences,
    held_out_accuracy,
    negative_entropy,
    nuclear_norm,
    share_above_threshold,
)
from csg_analysis.choosing.distances import frechet_distance, squared_mmd
from csg_analysis.choosing.measure import Measure
from csg_analysis.energy.energy import hyperspherical_energy
from csg_analysis.similarity.metrics.effective_rank import EFFECTIVE_RANK
from csg_train.runs.records import HELD_OUT

__all__ = ["MEASURES", "Measure"]

_ATC = (
    "share of real pictures with {} of t or more; t leaves below it as many held-out pictures as are wrong, of equal "
    "scores all or none"
)
_AGREEMENT = "share of real pictures to which another run gives the same class, mean over {}"

_ALL = (
    Measure(
        name=HELD_OUT,
        function=held_out_accuracy,
        takes=("held_right", "held_labels"),
        definition="mean-per-class accuracy on held-out synthetic pictures",
        source="training-domain validation, Gulrajani & Lopez-Paz, ICLR 2021",
        low=0.0,
        high=1.0,
        higher_is_better=True,
    ),
    Measure(
        name="E_0",
        function=lambda features_ND: hyperspherical_energy(features_ND, s=0).mhe[0].value,
        takes=("real_features",),
        definition="mean of -ln |u - v|^2 over all pairs of real pictures, unit vectors, equal ones left out (mhe)",
        source="Chen et al., ICLR 2021",
        low=-1.3862943611198906,  # -ln 4, one antipodal pair
        high=None,
        higher_is_better=False,
    ),
    Measure(
        name=EFFECTIVE_RANK.name,
        function=EFFECTIVE_RANK.function,
        takes=("real_features",),
        definition=f"{EFFECTIVE_RANK.definition}, of real pictures",
        source=EFFECTIVE_RANK.source,
        low=EFFECTIVE_RANK.low,
        high=None,
        higher_is_better=True,
    ),
    Measure(
        name="confidence",
        function=average_confidence,
        takes=("real_probabilities",),
        definition="mean of the largest probability of each real picture",
        source="Hendrycks & Gimpel, ICLR 2017",
        low=0.0,
        high=1.0,
        higher_is_better=True,
    ),
    Measure(
        name="ATC confidence",
        function=lambda held, right, real: share_above_threshold(confidence(held), right, confidence(real)),
        takes=("held_probabilities", "held_right", "real_probabilities"),
        definition=_ATC.format("a largest probability"),
        source="Garg et al., ICLR 2022",
        low=0.0,
        high=1.0,
        higher_is_better=True,
    ),
    Measure(
        name="ATC entropy",
        function=lambda held, right, real: share_above_threshold(negative_entropy(held), right, negative_entropy(real)),
        takes=("held_probabilities", "held_right", "real_probabilities"),
        definition=_ATC.format("a negative entropy"),
        source="Garg et al., ICLR 2022",
        low=0.0,
        high=1.0,
        higher_is_better=True,
    ),
    Measure(
        name="DoC",
        function=difference_of_confidences,
        takes=("held_probabilities", "held_right", "real_probabilities"),
        definition="accuracy on held-out pictures less the drop of the mean confidence from them to the real ones",
        source="Guillory et al., ICCV 2021",
        low=-1.0,
        high=2.0,
        higher_is_better=True,
    ),
    Measure(
        name="nuclear norm",
        function=nuclear_norm,
        takes=("real_probabilities",),
        definition="sum of the singular values of the probabilities of the N real pictures, over sqrt(N min(N, C))",
        source="Deng et al., ICML 2023",
        low=0.0,
        high=1.0,
        higher_is_better=True,
    ),
    Measure(
        name="seed agreement",
        function=agreement,
        takes=("real_predicted", "of_seeds"),
        definition=_AGREEMENT.format("the runs that differ in the seed alone"),
        source="Jiang et al., ICLR 2022",
        low=0.0,
        high=1.0,
        higher_is_better=True,
    ),
    Measure(
        name="run agreement",
        function=agreement,
        takes=("real_predicted", "of_runs"),
        definition=_AGREEMENT.format("all other runs"),
        source="Baek et al., NeurIPS 2022",
        low=0.0,
        high=1.0,
        higher_is_better=True,
    ),
    Measure(
        name="Frechet",
        function=frechet_distance,
        takes=("held_features", "real_features"),
        definition="|m - m'|^2 + tr(S + S' - 2 (S S')^(1/2)) of held-out and real pictures, unit vectors",
        source="Dowson & Landau, 1982; Deng & Zheng, CVPR 2021",
        low=0.0,
        high=4.0,
        higher_is_better=False,
    ),
    Measure(
        name="MMD^2",
        function=squared_mmd,
        takes=("held_features", "real_features"),
        definition=(
            "unbiased squared MMD of held-out and real pictures, unit vectors, kernel exp(-|u - v|^2 / w), w the mean "
            "of |u - v|^2 over all pairs"
        ),
        source="Gretton et al., JMLR 2012",
        low=-2.0,
        high=2.0,
        higher_is_better=False,
    ),
)

MEASURES: dict[str, Measure] = {measure.name: measure for measure in _ALL}
