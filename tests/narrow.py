"""ResNet with one block a stage and an eighth of the channels: 0.16 million weights make a test ten times shorter.

python -m tests.narrow run RECIPE ...  # csg-train in a process that knows the backbone "narrow"
"""

from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from csg_train.models.backbones import BACKBONES, BackboneSpec
from csg_train.models.torchvision_models import dilate

__all__ = ["Narrow"]


class Narrow(ResNet):
    def __init__(self) -> None:
        super().__init__(BasicBlock, [1, 1, 1, 1])
        self.fc = nn.Linear(64, 1000)

    def _make_layer(self, block: type, planes: int, *arguments: object, **options: object) -> nn.Sequential:
        return super()._make_layer(block, planes // 8, *arguments, **options)


BACKBONES["narrow"] = BackboneSpec(
    build=lambda output_stride=32: dilate(Narrow(), output_stride),
    imagenet=lambda: (Narrow().state_dict(), "none"),
    stages={f"layer{number}": (f"layer{number}", 4 << number) for number in (1, 2, 3, 4)},
    classifiers=("fc",),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)

if __name__ == "__main__":
    from csg_train.cli import main

    main()
