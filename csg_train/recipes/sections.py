"""What a recipe may say: its sections, their fields, and which of them go together; checked by pydantic."""

import contextlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    TypeAdapter,
    ValidationInfo,
    field_validator,
    model_validator,
)

from csg_train.errors import UserError
from csg_train.methods.base import Method
from csg_train.methods.table import METHODS
from csg_train.models.backbones import BACKBONES, own_size
from csg_train.recipes.domains import (
    Domain,
    HoldoutDomain,
    MaskedDomain,
    PicturesDomain,
    Target,
    Validation,
    fitting,
    own_path,
)
from csg_train.recipes.faults import shown
from csg_train.recipes.options import EMA, SWAD, Pasta, Settings, no_yes
from csg_train.splits import SELECTED_ON, SPLITS, Rule

__all__ = [
    "Data",
    "Evaluate",
    "Model",
    "Recipe",
    "Segmentation",
    "Train",
]


class Data(Settings):
    """Domains and how a picture becomes the model's input."""

    source: Domain
    """Synthetic pictures with labels: the only ones that training sees."""
    validation: Validation | None = None
    """Synthetic pictures held out (other styles or renderers, or ``{dataset: holdout, fraction: 0.1}`` of the source):
    the only ones that strengths may be chosen on."""
    target: Target
    """Real pictures: measured, never trained on, and selected on by ``evaluate.select: oracle`` alone. Those without
    labels are ``{dataset: pictures, root: FOLDER}``."""
    size: Annotated[int, Field(ge=16, le=1024)] = 224
    """Side of the square input in pixels; of a ``model.backbone`` off the table, where none is given, its own."""
    shorter_side: Annotated[int, Field(ge=16, le=4096)] | None = None
    """Pictures with a longer one are reduced to it as they are read, in every split, before all else; large renders are
    then augmented faster, and ``csg-train data cache`` keeps the reduced ones."""
    fit: Literal["crop", "pad"] = "crop"
    """``crop``: shorter side to ``size``, then a crop (CSG's code). ``pad``: the whole picture, squared with white."""
    background: Literal["plain", "varied"] | Annotated[Path, BeforeValidator(own_path)] = "plain"
    """What lies under transparent source pictures in training, drawn anew for each view: white, random smooth colours
    (``varied``), or a random part of a random photograph of this folder, which holds none of the target's."""
    sampling: Literal["uniform", "balanced"] = "uniform"
    """``uniform`` draws every source picture equally often, ``balanced`` every class."""
    augment: Literal["none", "randaugment", "pasta", "pasta+randaugment", "augmix", "paper"] = "randaugment"
    """Training augmentation, equal for all methods; ``randaugment`` is CSG's (n=1, m=6 of 30). Of these ``pasta``
    alone acts on the crops of a segmentation. ``paper`` gives ``randaugment`` to CSG and GCISG and
    ``none`` to the others, as the code of CSG and of ASG, which confounds the comparison."""
    augment_on: Literal["loader", "device"] = "loader"
    """Where views are made: one by one as pictures are loaded, or all of a batch at once on the GPU. The draws are the
    same, and pixels a level of 255 apart at most. ``device`` is for classification with ``augment`` none,
    ``randaugment`` or ``paper`` and a plain background."""
    pasta: Pasta | None = None
    """Strength of PASTA, where ``augment`` names it."""


def _weights(value: Any) -> Any:
    if not isinstance(value, str | Path):
        raise ValueError("it should be imagenet, none (random) or the path of a file")
    return value if value in ("imagenet", "none") else own_path(value)


class Model(Settings):
    """Network and its starting weights."""

    backbone: str = "resnet101"
    weights: Annotated[Literal["imagenet", "none"] | Path, BeforeValidator(_weights)] = "imagenet"
    """``imagenet``, ``none`` (random), or a state-dict file of the same architecture."""
    hidden: Annotated[int, Field(ge=0, le=65536)] = 512
    """Width of the task head's hidden layer (CSG's code: 512); 0 for a linear head, which the libraries' own networks
    have: what ``csg-train export`` writes for timm and torchvision is then one file."""
    batch_norm: Literal["frozen", "train"] = "frozen"
    """``frozen`` keeps ImageNet's statistics (CSG's code); scale and shift train in both cases (of a segmentation see
    ``segmentation.affine``)."""

    @field_validator("backbone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            own_size(value)
        except UserError as error:
            raise ValueError(str(error)) from error
        return value


class Train(Settings):
    """Optimiser and schedule: SGD or AdamW, warm-up and polynomial decay per step."""

    steps: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 32
    """Pictures of a step, of all processes together (`csg_train.distributed`)."""
    lr_head: Annotated[float, Field(gt=0)] = 1e-4
    """Learning rate of the task head and of a method's own heads."""
    lr_backbone: Annotated[float, Field(ge=0)] = 1e-5
    probe: Annotated[int, Field(ge=0)] = 0
    """LP-FT: so many of the first steps train the heads alone, on the backbone as it starts. The rest train all, with a
    new optimiser and a schedule of their own. The network between them is kept in ``along/STEP``."""
    frozen: tuple[str, ...] = ()
    """Stages of the backbone that are not trained, by name (``[layer1, layer2]``); the first includes the stem."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """``sgd`` is CSG's. ``adamw`` (weight decay decoupled) is what transformers are usually fine-tuned with; it wants
    learning rates of its own."""
    sgd: Literal["torch", "caffe"] = "torch"
    """Momentum buffer: ``torch`` applies the rate to the whole of it, ``caffe`` (the official code) to each gradient
    as it enters. Both are equal at a constant rate."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of AdamW beta_1; its beta_2 is 0.999."""
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    warmup: Annotated[int, Field(ge=0)] = 100
    """Steps of warm-up: factor min(0.01 + 0.99 (t / warmup)^2, 1)."""
    power: Annotated[float, Field(ge=0)] = 0.9
    """Decay: factor (1 - min(t / steps, decay_until))^power."""
    decay_until: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the run after which the decay stands still; 0.8 in ASG's public code, which ends at 0.2^0.9 = 0.235."""
    workers: Annotated[int, Field(ge=0, le=1024)] | Literal["auto"] = "auto"
    """Processes that decode and augment; they change the speed, never a number. ``auto``: 0 on a CPU, whose cores
    compute; with a GPU as many as keep up with it, measured in the first steps, and while a network is measured the
    cores there are but one."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """Of the networks' arithmetic while training; weights, losses and everything measured are float32 in any case.
    ``tf32`` rounds the factors of float32 convolutions and products to 11 bits, on a GPU alone."""
    no_grad_precision: Literal["same", "bfloat16"] = "same"
    """Of passes without gradients, which are those of teachers, csg's student on the key view, and LP-FT's backbone in
    its first stage: ``same`` as ``precision``, or ``bfloat16`` below a ``precision`` that is higher."""
    deterministic: bool = False
    """On a GPU, only algorithms that repeat their result bit for bit, so that a resumed run equals an uninterrupted one
    as it does on a CPU; slower."""
    compile: bool = False
    """``torch.compile`` the backbones: faster after minutes of compilation; needs a C++ compiler, on a GPU Triton."""
    cuda_graphs: bool = False
    """With ``compile``, capture the compiled blocks as CUDA graphs: the host launches each at once; more memory."""
    log_every: Annotated[int, Field(ge=1)] = 10
    save_every: Annotated[int, Field(ge=1)] = 500
    snapshots: Annotated[int, Field(ge=0, le=65536)] = 0
    """Checkpoints kept along the run in ``along/STEP``, evenly spaced, the last step included, and one of the start;
    csg-analyze measures them and the report draws the course. They hold the network alone and change no number."""


class Evaluate(Settings):
    """How predictions are made, and on which step."""

    flip: bool = True
    """Mean of the sigmoid of the logits over the picture and its mirror image (CSG's code)."""
    select: Rule = "last"
    """The step that is measured: the ``last``; the most accurate on ``data.validation`` (``source-val``); or the most
    accurate on the target (``oracle``: what the published numbers do, never fit for a comparison with other rules)."""
    select_every: Annotated[int, Field(ge=1)] = 500
    """Steps between the measurements of the two other rules; the last step is always measured."""


class Segmentation(Settings):
    """A class for every pixel: DeepLab's head, crops for training, whole pictures for the evaluation.

    ``data.size`` is the side of the training crop; ``fit``, ``background``, ``augment`` but for ``pasta``, and
    ``evaluate.flip`` do not apply.
    """

    head: Literal["deeplab-v2", "deeplab-v3"] = "deeplab-v3"
    """``deeplab-v2`` is what the paper names, ``deeplab-v3`` what its released code has."""
    output_stride: Literal[8, 14, 16] = 8
    """Pixels to a position of the last stages: 8 or 16 through dilation, 14 or 16 as the patches of a ViT."""
    affine: Literal["frozen", "trained"] = "frozen"
    """Scale and shift of the backbone's BatchNorm."""
    scale: tuple[Annotated[float, Field(gt=0, le=100)], Annotated[float, Field(gt=0, le=100)]] = (0.75, 1.25)
    """Range of the random scale before the crop."""
    jitter: Literal["crop", "picture"] = "crop"
    """What is jittered for csg's teacher: the ``crop``, or the whole scaled ``picture`` before the crop, in Pillow's
    arithmetic (the released code). Contrast turns about the mean of what is jittered; the whole costs more time."""
    padding: Literal["black", "mean"] = "black"
    """Around pictures smaller than the crop: ``black`` at the right and below, or the backbone's ``mean`` on all sides
    (the released code, to half a level of 255)."""
    longest_side: Annotated[int, Field(ge=16, le=65536)] | None = None
    """Cap on the longer side of a picture that is measured; none as published."""
    tile: Annotated[int, Field(ge=16, le=65536)] | None = None
    """Side in pixels of the tiles in which a picture goes through the backbone when masks are predicted: less memory,
    more time, the same numbers but for rounding (docs/scale.md). None for all of it at once."""

    @field_validator("scale")
    @classmethod
    def _in_order(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise ValueError(f"from {value[0]:g} to {value[1]:g} is no range; write the smaller factor first")
        return value


class Recipe(Settings):
    """Everything that determines a run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    seed: Annotated[int, Field(ge=0)] = 0
    data: Data
    model: Model = Model()
    method: dict[str, Any]
    """``name`` and the fields of that method's configuration (``csg-train methods``)."""
    train: Train
    average: Annotated[EMA | SWAD, Field(discriminator="rule")] | None = None
    """Average of the trained weights, written as ``average.pt`` after the last step and measured in its place."""
    evaluate: Evaluate = Evaluate()
    segmentation: Segmentation | None = None
    """Makes the recipe one of segmentation; none for classification."""
    for_scale: Annotated[str, Field(min_length=1)] | None = None
    """What a run is that stands beside the methods for scale (``trained on real pictures``): the report lists it apart,
    and compares it with nothing."""

    @model_validator(mode="before")
    @classmethod
    def _size_of_the_backbone(cls, value: Any) -> Any:
        """A backbone off the table was made for pictures of its own size, which a recipe without one takes."""
        match value:
            case {"data": {**data}, "model": {"backbone": str(name)}} if name not in BACKBONES and "size" not in data:
                with contextlib.suppress(UserError):  # said of model.backbone
                    return value | {"data": data | {"size": own_size(name)}}
        return value

    @field_validator("evaluate")
    @classmethod
    def _has_validation(cls, value: Evaluate, info: ValidationInfo) -> Evaluate:
        data = info.data.get("data")
        if value.select == "source-val" and data is not None and data.validation is None:
            raise ValueError(
                "source-val selects on data.validation, which this recipe lacks; add it, for instance "
                "{dataset: holdout, fraction: 0.1}, with a group where pictures show one model or sequence"
            )
        if value.select == "oracle" and data is not None and isinstance(data.target, PicturesDomain):
            raise ValueError(
                "oracle selects on the accuracy of data.target, and pictures without labels have none; use last or "
                "source-val"
            )
        return value

    @field_validator("method")
    @classmethod
    def _resolve_method(cls, value: dict[str, Any]) -> dict[str, Any]:
        fields = dict(value)
        if "name" not in fields:
            raise ValueError(f"name is missing; allowed: {', '.join(METHODS)}")
        name = fields.pop("name")
        if not isinstance(name, str) or name not in METHODS:
            raise ValueError(f"unknown method {shown(name)}; allowed: {', '.join(METHODS)}")
        config = METHODS[name].Config
        for field, given in fields.items():
            declared = config.__dataclass_fields__.get(field)
            if declared is not None and declared.type is not bool:
                no_yes(given, f"{field}: ")
        adapter = TypeAdapter(config)
        resolved = adapter.validate_python(fields)
        for field in fields:
            fitting(getattr(resolved, field), f"{field}: ")
        return {"name": name, **adapter.dump_python(resolved, mode="json")}

    @model_validator(mode="before")
    @classmethod
    def _pasta_of_the_task(cls, value: Any) -> Any:
        match value:
            case {"data": {"augment": "pasta" | "pasta+randaugment"} as data}:
                given = data.get("pasta") or {}
                published = {} if value.get("segmentation") is None else {"alpha": 3.0, "beta": 0.25, "k": 2.0}
                return value | {"data": data | {"pasta": published | given if isinstance(given, dict) else given}}
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> "Recipe":
        if self.data.pasta is not None and not self.data.augment.startswith("pasta"):
            raise ValueError(f"data.pasta: without use, since data.augment is {self.data.augment}; set that to pasta")
        if self.segmentation is not None and self.data.augment in ("pasta+randaugment", "augmix"):
            raise ValueError(f"data.augment: {self.data.augment} moves pixels away from their masks; use pasta or none")
        if self.data.augment_on == "device":
            self._require_for_device()
        if self.train.cuda_graphs and not self.train.compile:
            raise ValueError("train.cuda_graphs: captures compiled blocks; set train.compile to true as well")
        if self.train.probe >= self.train.steps:
            raise ValueError(f"train.probe: {self.train.probe} of {self.train.steps} steps leave none to train all")
        if self.train.probe and self.method["name"] == "oracle":
            raise ValueError("train.probe: method oracle trains the head alone in any case; set it to 0")
        if self.average is not None and self.evaluate.select != "last":
            raise ValueError("average: takes the place of a chosen step; set evaluate.select to last")
        if isinstance(self.average, SWAD) and self.data.validation is None:
            raise ValueError(
                "average: swad measures its loss on data.validation, which this recipe lacks; add held-out synthetic "
                "pictures, for instance {dataset: holdout, fraction: 0.1}, with a group where they show one model"
            )
        return self

    @model_validator(mode="after")
    def _optimizer_fits(self) -> "Recipe":
        if self.train.optimizer == "adamw":
            if self.train.sgd != "torch":
                raise ValueError(
                    f"train.sgd: {self.train.sgd} is a kind of SGD, and train.optimizer is adamw; leave it out"
                )
            if getattr(self.build_method().config, "update", None) == "proximal":
                raise ValueError(
                    f"train.optimizer: adamw has no rate for the proximal step of {self.method['name']}; set "
                    "method.update to gradient"
                )
        return self

    def _require_for_device(self) -> None:
        data = self.data
        if self.segmentation is not None:
            raise ValueError("data.augment_on: device makes views of pictures, not crops of masks; use loader")
        if data.augment not in ("none", "randaugment", "paper"):
            raise ValueError(f"data.augment_on: device has no {data.augment}; use loader, or augment: randaugment")
        if data.background != "plain":
            raise ValueError(f"data.augment_on: device has no background {data.background}; use loader, or plain")

    @model_validator(mode="after")
    def _one_task(self) -> "Recipe":
        if self.segmentation is not None and self.data.sampling == "balanced":
            raise ValueError("data.sampling: balanced draws by the class of a picture, which masks do not have")
        if self.segmentation is not None and self.data.shorter_side is not None:
            raise ValueError(
                "data.shorter_side: reduces pictures and no masks; a segmentation has segmentation.scale where it "
                "trains and segmentation.longest_side where it is measured and predicts"
            )
        if self.segmentation is not None and isinstance(self.data.background, Path):
            raise ValueError("data.background: photographs lie under pictures without masks; leave it out")
        for split in SPLITS:
            domain = getattr(self.data, split)
            if domain is None or isinstance(domain, PicturesDomain | HoldoutDomain):
                continue
            if isinstance(domain, MaskedDomain) == (self.segmentation is not None):
                continue
            if self.segmentation is None:
                raise ValueError(f"data.{split}: {domain.dataset} has masks; add a section segmentation: {{}}")
            raise ValueError(f"data.{split}: {domain.dataset} has no masks, and the recipe is one of segmentation")
        return self

    def build_method(self) -> Method:
        """The method that this recipe names, with its configuration."""
        fields = dict(self.method)
        kind = METHODS[fields.pop("name")]
        return kind(TypeAdapter(kind.Config).validate_python(fields))

    @property
    def chosen_on(self) -> str | None:
        """The split on which a rule chooses a step, or SWAD its window; None where nobody chooses."""
        return "validation" if isinstance(self.average, SWAD) else SELECTED_ON.get(self.evaluate.select)

    def as_dict(self) -> dict[str, Any]:
        """The resolved recipe in plain JSON types."""
        return self.model_dump(mode="json")

    def as_run(self) -> dict[str, Any]:
        """The same, less ``train.workers``, which changes no result: where loader processes died, others may go on."""
        return self.model_dump(mode="json", exclude={"train": {"workers"}})
