"""Peak resident memory of one segmentation training step on the CPU, and its line through the batch sizes.

    python benchmarks/segmentation_memory.py                          # batches of 1 and 2, estimate for 6
    python benchmarks/segmentation_memory.py --batch 6                # measured outright: see the estimate first
    python benchmarks/segmentation_memory.py --head deeplab-v3 --batch 2 --batch 3
    python benchmarks/segmentation_memory.py --loss ce --out memory.json

Measured with ResNet-50 at stride 8, 512 x 512 and the paper's batch of 6 (x86_64, 1 thread, torch 2.14): 8.91 GiB with
deeplab-v2, 9.61 GiB with deeplab-v3. The line through small batches (1 and 2; 2 and 3) says 8.9 and 10.2.

The step is the engine's: forward, loss, backward, SGD with momentum, with the gradients of the step before still there
during the forward pass. ``csg`` adds the teacher, the key view and the dense contrast in 8 x 8 patches of layer3 and
layer4 against 65,536 keys each. Batches run in rising order in one process, so each peak is its own.
"""

import platform
import resource
from pathlib import Path

import click
import torch
from torch import optim

from csg_train.files import write_json
from csg_train.methods.csg_loss import CSGLoss
from csg_train.methods.pixels import pixel_cross_entropy
from csg_train.models.deeplab import HEADS, SegmentationNetwork

LAYERS = ("layer3", "layer4")
CLASSES, PATCHES, WEIGHT = 19, 8, 75
PAPER_BATCH = 6


def peak_gib() -> float:
    """Largest resident memory of this process so far (Linux gives KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


@click.command()
@click.option("--batch", "batches", type=int, multiple=True, default=(1, 2), show_default=True)
@click.option("--side", default=512, show_default=True, help="Side of the crop in pixels, a multiple of 64.")
@click.option("--backbone", default="resnet50", show_default=True)
@click.option("--head", type=click.Choice(sorted(HEADS)), default="deeplab-v2", show_default=True)
@click.option("--loss", type=click.Choice(["csg", "ce"]), default="csg", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write the figures as JSON.")
def main(batches: tuple[int, ...], side: int, backbone: str, head: str, loss: str, out: Path | None) -> None:
    torch.manual_seed(0)
    network = SegmentationNetwork(backbone, classes=CLASSES, head=head, seed=0)
    network.to(memory_format=torch.channels_last)
    widths = {name: network.backbone.widths[name] for name in LAYERS}
    contrast = CSGLoss(network.backbone, widths, patches=PATCHES) if loss == "csg" else None
    trained = [w for part in (network, contrast) if part for w in part.parameters() if w.requires_grad]
    optimizer = optim.SGD(trained, lr=1e-5, momentum=0.9, weight_decay=5e-4)

    def step(batch: int, pixels: int) -> None:
        images = torch.randint(0, 256, (batch, 3, pixels, pixels), dtype=torch.uint8)
        labels = torch.randint(0, CLASSES, (batch, pixels, pixels))
        network.set_training(batch_norm="frozen")
        output = network(images)
        total = pixel_cross_entropy(output.logits, labels)
        if contrast:
            total = total + WEIGHT * contrast(network.backbone, output.stages, images)
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()
        if contrast:
            contrast.after_step()

    step(2, 64)  # gradients and momentum are there from now on
    rows = [{"batch": 0, "peak_gib": peak_gib()}]
    click.echo(f"model, optimiser and a tiny step: {rows[0]['peak_gib']:.2f} GiB")
    for batch in sorted(set(batches)):
        step(batch, side)
        rows.append({"batch": batch, "peak_gib": peak_gib()})
        click.echo(f"batch {batch}: {rows[-1]['peak_gib']:.2f} GiB")
    slope = (rows[-1]["peak_gib"] - rows[-2]["peak_gib"]) / (rows[-1]["batch"] - rows[-2]["batch"])
    estimate = rows[-1]["peak_gib"] + slope * (PAPER_BATCH - rows[-1]["batch"])
    click.echo(f"{slope:.2f} GiB a picture; batch {PAPER_BATCH} by this line: {estimate:.1f} GiB")
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    click.echo(f"{backbone}, {head}, {loss}, {side} x {side}, {machine}")
    if out:
        setting = {"backbone": backbone, "head": head, "loss": loss, "side": side, "machine": machine}
        write_json(out, setting | {"peaks": rows, "gib_a_picture": slope, "estimate_gib": estimate})


if __name__ == "__main__":
    main()
