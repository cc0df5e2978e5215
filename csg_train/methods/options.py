"""What any method may be combined with: rivals that are a way to train, to average or to augment, and no loss.

A combination is a recipe with several of these fields: ``csg`` with ``train.probe`` and ``average``, for instance.
"""

from dataclasses import dataclass

from csg_train.methods.info import MethodInfo

__all__ = ["OPTIONS", "OptionInfo"]


@dataclass(frozen=True, kw_only=True)
class OptionInfo(MethodInfo):
    """The words for an option; ``field`` is what asks for it."""

    field: str


OPTIONS = (
    OptionInfo(
        name="lp-ft",
        title="LP-FT (head first, then all)",
        summary="Trains the heads alone on the starting backbone for k steps, then all weights from those heads.",
        equation="t <= k: u <- opt(u), w = w0;   t > k: (w, u) <- opt'(w, u), optimiser and schedule anew",
        source="Kumar et al., ICLR 2022",
        deviation="head of two layers; the probe is trained on augmented pictures, for a number of steps",
        cost="less: no backward pass through the backbone for k steps",
        field="train.probe: k",
    ),
    OptionInfo(
        name="frozen",
        title="Partial freezing",
        summary="Keeps the weights and statistics of named stages of the backbone.",
        equation="w_l = w0_l for every stage l that is named; the first includes the stem",
        source="common practice",
        cost="less: no gradients, momentum or decay of those weights",
        field="train.frozen: [layer1, ...]",
    ),
    OptionInfo(
        name="ema",
        title="Exponential moving average",
        summary="Measures the moving average of the trained weights in place of the last ones.",
        equation="w <- m w + (1 - m) w_t after every step, from the start",
        source="Ruppert 1988; Polyak and Juditsky 1992",
        cost="a copy of the weights",
        field="average: {rule: ema}",
    ),
    OptionInfo(
        name="swad",
        title="SWAD",
        summary="Measures the mean of the weights over the valley of the loss on held-out source pictures.",
        equation="w = mean of w_t, t_s <= t <= t_e;  s lowest of Ns losses, e before Ne above (1 + r) their mean",
        source="Cha et al., NeurIPS 2021",
        deviation="the recipe's optimiser, in the released code Adam; the mean begins at t_s, there up to an interval "
        "earlier",
        cost="1 + max(Ns, Ne) copies of the weights; the held-out loss every few steps",
        field="average: {rule: swad}, with data.validation",
    ),
    OptionInfo(
        name="wise-ft",
        title="WiSE-FT",
        summary="A network between a start and an end that share a trained head: a probe and the run from it.",
        equation="w = (1 - alpha) w_0 + alpha w_1",
        source="Wortsman et al., CVPR 2022",
        deviation="the start is a probe in place of a zero-shot classifier",
        field="csg-train average START END --alpha A --out FOLDER",
    ),
    OptionInfo(
        name="soup",
        title="Uniform model soup",
        summary="One network from the weights of finished runs that share start and head.",
        equation="w = mean_i w_i",
        source="Wortsman et al., ICML 2022",
        cost="as many runs",
        field="csg-train average CHECKPOINTS... --out FOLDER",
    ),
    OptionInfo(
        name="pasta",
        title="PASTA",
        summary="Perturbs the amplitudes of each picture's frequencies, high ones more; alone or before RandAugment.",
        equation="x' = clip(Re F^-1(a |F(x)| exp(i arg F(x)))),  a ~ N(1, s^2),  s = (alpha r / r_max)^k + beta",
        source="Chattopadhyay et al., ICCV 2023",
        deviation="a grid that is exact, the released one is off by one (grid: released); on the picture before it is "
        "resized, of a segmentation on the crop",
        cost="a Fourier transform of each view",
        field="data.augment: pasta (or pasta+randaugment), data.pasta",
    ),
    OptionInfo(
        name="augmix",
        title="AugMix",
        summary="Mixes each picture with three chains of operations on it.",
        equation="x' = m x + (1 - m) sum_i w_i chain_i(x),  w ~ Dirichlet(1, 1, 1),  m ~ Beta(1, 1)",
        source="Hendrycks et al., ICLR 2020; torchvision's",
        deviation="the augmentation without the Jensen-Shannon term of three views; not for segmentation",
        cost="about six operations on each view",
        field="data.augment: augmix",
    ),
)
"""In the order of every list."""
