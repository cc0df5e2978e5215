"""Joint crops against scaling the whole picture; looks of one crop; restyling in closed form."""

import colorsys
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from csg_train.data.views.pasta import Pasta
from csg_train.data.views.restyle import Styles, match_colour_moments, swap_low_amplitude
from csg_train.data.views.segmentation_views import (
    colour_jitter,
    random_crop,
    segmentation_evaluation_view,
    segmentation_views,
)
from csg_train.data.views.transforms import perturbed
from csg_train.seeds import random_for
from tests.train.data.test_transforms import picture

SCALE = (0.75, 1.25)


def coded(height: int, width: int) -> tuple[Image.Image, np.ndarray]:
    """A picture of flat 8x8 blocks whose colour tells the mask: block class k has the colour (40 k + 20) everywhere."""
    blocks = np.random.default_rng(3).integers(0, 5, (height // 8 + 1, width // 8 + 1))
    mask_HW = np.kron(blocks, np.ones((8, 8), dtype=int))[:height, :width].astype(np.uint8)
    return Image.fromarray(np.repeat((40 * mask_HW + 20)[..., None], 3, axis=2).astype(np.uint8)), mask_HW


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def cropped(
    image: Image.Image, mask_HW: np.ndarray, *, seed: int, size: int, scale: tuple[float, float] = SCALE, **fill: object
) -> tuple[Image.Image, np.ndarray]:
    crop = random_crop(image.size, size=size, scale=scale, rng=random.Random(seed), **fill)  # type: ignore[arg-type]
    return crop.of(image), crop.of_mask(mask_HW)


@pytest.mark.parametrize("seed", range(8))
def test_crop_equals_scaling_everything_and_cropping(seed: int) -> None:
    image, mask_HW = Image.fromarray(noise(60, 90)), noise(60, 90, 1)[..., 0]
    picture, labels_HW = cropped(image, mask_HW, size=40, seed=seed)
    rng = random.Random(seed)
    mirrored, factor = rng.random() < 0.5, rng.uniform(*SCALE)
    width, height = round(90 * factor), round(60 * factor)
    left, top = rng.randint(0, width - 40), rng.randint(0, height - 40)
    whole = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else image
    truth = torch.from_numpy(mask_HW[:, ::-1].copy() if mirrored else mask_HW)[None, None].float()
    box = (left, top, left + 40, top + 40)
    expected = np.array(whole.resize((width, height), Image.Resampling.BILINEAR).crop(box)).astype(int)
    assert np.abs(np.array(picture).astype(int) - expected).max() <= 1
    scaled = torch.nn.functional.interpolate(truth.double(), (height, width), mode="nearest-exact")[0, 0].numpy()
    sure = [  # a centre on the border of two pixels: floating point may take either
        (2 * np.arange(start, start + 40) + 1) * length % (2 * all_of_it) != 0
        for start, length, all_of_it in ((top, 60, height), (left, 90, width))
    ]
    same = labels_HW == scaled[top : top + 40, left : left + 40]
    assert same[np.ix_(*sure)].all()


@pytest.mark.parametrize("seed", range(8))
def test_picture_and_mask_stay_together(seed: int) -> None:
    image, mask_HW = coded(72, 96)
    picture, labels_HW = cropped(image, mask_HW, size=48, seed=seed)
    shade = np.array(picture)[..., 0].astype(int)
    inside = np.ones_like(shade, dtype=bool)  # away from block borders, where bilinear scaling mixes
    for shift in np.ndindex(5, 5):
        inside &= np.roll(labels_HW, (shift[0] - 2, shift[1] - 2), (0, 1)) == labels_HW
    inside[[0, 1, -1, -2]] = inside[:, [0, 1, -1, -2]] = False
    assert inside.mean() > 0.15
    assert np.abs(shade - (40 * labels_HW.astype(int) + 20))[inside].max() <= 2


def test_small_pictures_are_filled_with_black_that_is_ignored() -> None:
    image, mask_HW = Image.new("RGB", (20, 10), (9, 9, 9)), np.full((10, 20), 3, dtype=np.uint8)
    picture, labels_HW = cropped(image, mask_HW, size=32, scale=(1.0, 1.0), seed=0)
    pixels = np.array(picture)
    assert (pixels[:10, :20] == 9).all()
    assert (labels_HW[:10, :20] == 3).all()
    assert pixels.sum() == 9 * 3 * 200
    assert (labels_HW == 255).sum() == 32 * 32 - 200


def test_the_mean_fills_up_all_sides_alike() -> None:
    """As OpenCV's border of ``pad // 2`` before and the rest behind; 21 of 32 columns, 10 of 32 rows."""
    image, mask_HW = Image.new("RGB", (21, 10), (9, 9, 9)), np.full((10, 21), 3, dtype=np.uint8)
    picture, labels_HW = cropped(image, mask_HW, size=32, scale=(1.0, 1.0), seed=0, fill=(124, 116, 104))
    expected, truth_HW = np.full((32, 32, 3), (124, 116, 104)), np.full((32, 32), 255)
    expected[11:21, 5:26], truth_HW[11:21, 5:26] = 9, 3
    assert (np.array(picture) == expected).all()
    assert (labels_HW == truth_HW).all()


def test_mirroring_happens_half_of_the_time_and_moves_both() -> None:
    pixels, mask_HW = np.zeros((8, 8, 3), dtype=np.uint8), np.zeros((8, 8), dtype=np.uint8)
    pixels[:, :4], mask_HW[:, :4] = 200, 1
    seen, draws = [], 2000
    for seed in range(draws):
        picture, labels_HW = cropped(Image.fromarray(pixels), mask_HW, size=8, scale=(1.0, 1.0), seed=seed)
        assert ((np.array(picture)[..., 0] == 200) == (labels_HW == 1)).all()
        seen.append(int(labels_HW[0, 0]))
    assert abs(sum(seen) / draws - 0.5) < 4 * 0.5 / draws**0.5  # four standard deviations


def views_of(*names: str, seed: int = 5, **options: object) -> tuple[list[torch.Tensor], torch.Tensor]:
    image, mask_HW = coded(64, 64)
    return segmentation_views(
        image,
        mask_HW,
        size=32,
        scale=SCALE,
        views=names,
        rng=random.Random(seed),
        **options,  # type: ignore[arg-type]
    )


def test_views_show_one_crop_and_do_not_depend_on_each_other(tmp_path: Path) -> None:
    Image.fromarray(noise(20, 30)).save(tmp_path / "style.png")
    styles = Styles((tmp_path / "style.png",))
    (student,), labels_HW = views_of("student")
    assert (student.dtype, student.shape, labels_HW.dtype) == (torch.uint8, (3, 32, 32), torch.uint8)
    many, other_labels_HW = views_of("styled", "teacher", "student", "styled2", styles=styles)
    assert torch.equal(labels_HW, other_labels_HW)
    assert torch.equal(many[2], student)
    assert torch.equal(many[1], views_of("student", "teacher")[0][1])
    assert not torch.equal(many[1], student)
    crop, _ = cropped(*coded(64, 64), size=32, seed=5)
    assert torch.equal(student, torch.from_numpy(np.array(crop)).permute(2, 0, 1))
    assert not torch.equal(views_of("student", seed=6)[0][0], student)


def test_a_styled_look_has_pastas_noise_before_its_style(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels[1]).save(tmp_path / "style.png")
    styles = Styles(files=[tmp_path / "style.png"], kind="moments")
    settings, image = Pasta(alpha=10, beta=0.5, k=1, grid="exact"), Image.fromarray(pixels[0])
    crop = {"size": 24, "scale": (1.0, 1.0)}
    shared = {"rng": random.Random(2), "styles": styles, "settings": settings}
    ((found,), _) = segmentation_views(image, pixels[0, ..., 0], views=("styled2",), **shared, **crop)
    rng = random.Random(2)
    square, key = random_crop(image.size, rng=rng, **crop).of(image), rng.getrandbits(63)
    noisy = perturbed(square, settings, random_for(key, "styled2", "pasta"))
    expected = styles.apply(np.array(noisy), random_for(key, "styled2"))
    assert np.array_equal(found.permute(1, 2, 0).numpy(), expected)


def test_views_leave_global_generators_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state(), random.getstate()
    views_of("student", "teacher")
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()


def test_unknown_view_and_missing_styles_are_our_mistake() -> None:
    with pytest.raises(AssertionError, match="no such view: blurred"):
        views_of("blurred")
    with pytest.raises(AssertionError, match="needs styles"):
        views_of("styled")


def test_jitter_draws_the_ranges_and_every_order_of_torchvisions() -> None:
    grey = torch.full((3, 4, 4), 100, dtype=torch.uint8)
    levels = [int(colour_jitter(grey, random.Random(seed))[0, 0, 0]) for seed in range(300)]
    assert 59 <= min(levels) < 66, "on a grey picture only brightness acts: 100 x (0.6 to 1.4)"
    assert 134 < max(levels) <= 140
    assert 96 < np.mean(levels) < 104
    image = torch.from_numpy(noise(16, 16)).permute(2, 0, 1)
    assert torch.equal(colour_jitter(image, random.Random(0), strength=0.0), v2.ColorJitter(0, 0, 0, 0)(image))
    assert len({tuple(colour_jitter(image, random.Random(seed)).flatten().tolist()) for seed in range(20)}) == 20


def hue_of_pillow(pixels_HW3: np.ndarray, shift: float) -> np.ndarray:
    """Hue, saturation and value in 0 to 255, the shift in whole steps of the circle's 256, and back; pixel by pixel."""
    out = np.empty(pixels_HW3.shape)
    for place in np.ndindex(pixels_HW3.shape[:2]):
        hue, saturation, value = (int(255 * part + 1e-4) for part in colorsys.rgb_to_hsv(*(pixels_HW3[place] / 255)))
        turned = (hue + int(shift * 255)) % 256
        out[place] = [255 * part for part in colorsys.hsv_to_rgb(turned / 255, saturation / 255, value / 255)]
    return np.rint(out)


def as_published(image: Image.Image, size: int, fill: tuple[int, int, int], seed: int) -> np.ndarray:
    """The released code's key view by its formulas in float64: mirror, scale, jitter all of it, crop, pad centrally."""
    rng = random.Random(seed)
    mirrored, factor = rng.random() < 0.5, rng.uniform(*SCALE)
    width, height = (round(length * factor) for length in image.size)
    left, top = (rng.randint(0, max(0, length - size)) for length in (width, height))
    if mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels = np.array(image.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float64)
    rng = random_for(rng.getrandbits(63), "teacher")
    steps = [(name, rng.uniform(0.6, 1.4)) for name in ("brightness", "contrast", "saturation")]
    steps.append(("hue", rng.uniform(-0.4, 0.4)))
    rng.shuffle(steps)
    for name, amount in steps:
        grey = np.floor(pixels @ [0.299, 0.587, 0.114] + 0.5)[..., None]
        if name == "hue":
            pixels = hue_of_pillow(pixels, amount)
        else:
            other = {"brightness": 0.0, "contrast": np.floor(grey.mean() + 0.5), "saturation": grey}[name]
            pixels = np.clip(np.trunc(other + amount * (pixels - other)), 0, 255)
    crop = pixels[top : top + size, left : left + size]
    out = np.full((size, size, 3), fill, dtype=np.float64)
    above, before = (size - crop.shape[0]) // 2, (size - crop.shape[1]) // 2
    out[above : above + crop.shape[0], before : before + crop.shape[1]] = crop
    return out


@pytest.mark.parametrize("seed", range(6))
def test_the_teachers_view_as_published(seed: int) -> None:
    """A level that single precision truncates the other way may move the hue by a step: one of 1,000 numbers."""
    fill = (124, 116, 104)
    soft = Image.fromarray(noise(5, 9, seed)).resize((44, 26), Image.Resampling.BICUBIC)
    views = {
        jitter: segmentation_views(
            soft,
            np.zeros((26, 44), dtype=np.uint8),
            size=24,
            scale=SCALE,
            views=("student", "teacher"),
            rng=random.Random(seed),
            jitter=jitter,  # type: ignore[arg-type]
            fill=fill,
        )[0]
        for jitter in ("picture", "crop")
    }
    apart = np.abs(views["picture"][1].permute(1, 2, 0).numpy() - as_published(soft, 24, fill, seed))
    assert (apart > 1).mean() < 0.005
    assert apart.max() < 10
    assert torch.equal(views["picture"][0], views["crop"][0]), "the student's crop does not depend on it"


def test_evaluation_view_shrinks_only_what_is_too_long() -> None:
    pixels = noise(30, 60)
    image = Image.fromarray(pixels)
    assert (segmentation_evaluation_view(image, longest_side=None).permute(1, 2, 0).numpy() == pixels).all()
    assert (segmentation_evaluation_view(image, longest_side=60).permute(1, 2, 0).numpy() == pixels).all()
    assert segmentation_evaluation_view(image, longest_side=40).shape == (3, 20, 40)
    assert segmentation_evaluation_view(image, longest_side=40, multiple=14).shape == (3, 14, 42)
    assert segmentation_evaluation_view(image.transpose(Image.Transpose.ROTATE_90), longest_side=40).shape[1:] == (
        40,
        20,
    )


@pytest.mark.parametrize(("height", "width", "beta"), [(16, 24, 0.1), (15, 9, 0.2), (8, 8, 0.0)])
def test_fourier_swaps_low_amplitudes_and_keeps_the_phase(height: int, width: int, beta: float) -> None:
    content, style = noise(height, width).astype(float), noise(height, width, 1).astype(float)
    swapped = swap_low_amplitude(content, style, beta=beta)
    for channel in range(3):
        got, was, look = (np.fft.fft2(picture[..., channel]) for picture in (swapped, content, style))
        for row in range(height):
            for column in range(width):
                # signed frequencies of this bin, by definition of the transform
                v = min(row, height - row) / height
                u = min(column, width - column) / width
                wanted = abs(look[row, column]) if max(u, v) <= beta else abs(was[row, column])
                assert abs(got[row, column]) == pytest.approx(wanted, rel=1e-9, abs=1e-6)
                if wanted > 1e-6:
                    assert np.exp(1j * (np.angle(got[row, column]) - np.angle(was[row, column]))) == pytest.approx(1)


def test_fourier_limits() -> None:
    content, style = noise(12, 12).astype(float), noise(12, 12, 1).astype(float)
    assert np.allclose(swap_low_amplitude(content, content, beta=0.3), content)
    mean_only = swap_low_amplitude(content, style, beta=0.0)
    assert np.allclose(mean_only, content - content.mean((0, 1)) + style.mean((0, 1)))
    assert np.allclose(
        np.abs(np.fft.fft2(swap_low_amplitude(content, style, beta=0.5)[..., 1])), np.abs(np.fft.fft2(style[..., 1]))
    )


def test_moments_are_the_styles() -> None:
    content, style = noise(10, 14) // 3, noise(7, 5, 1)
    matched = match_colour_moments(content, style)
    assert np.allclose(matched.mean((0, 1)), style.mean((0, 1)))
    assert np.allclose(matched.std((0, 1)), style.std((0, 1)))
    assert np.allclose(match_colour_moments(matched, content), content), "and back"
    flat = np.full((4, 4, 3), 7, dtype=np.uint8)
    assert np.allclose(match_colour_moments(flat, style), np.broadcast_to(style.mean((0, 1)), (4, 4, 3)))


def test_styles_take_the_look_of_their_files(tmp_path: Path) -> None:
    for name, colour in (("a", (200, 10, 10)), ("b", (10, 10, 200))):
        Image.new("RGB", (5, 5), colour).save(tmp_path / f"{name}.png")
    files = (tmp_path / "a.png", tmp_path / "b.png")
    content = noise(16, 16) // 8 + 100
    chosen = set()
    for seed in range(20):
        styled = Styles(files, kind="moments").apply(content, random.Random(seed))
        assert (styled == styled[0, 0]).all(), "a flat style has no spread"
        chosen.add(tuple(styled[0, 0].tolist()))
    assert chosen == {(200, 10, 10), (10, 10, 200)}
    fourier = Styles(files[:1], beta=0.0).apply(content, random.Random(0))
    assert np.abs(fourier.mean((0, 1)) - (200, 10, 10)).max() < 6, "clipped at 0"


def test_styles_swap_as_many_frequencies_as_they_say(tmp_path):
    content, style = np.array(picture(30, 20)), picture(50, 40)
    style.save(tmp_path / "style.png")
    found = Styles([tmp_path / "style.png"], beta=0.2).apply(content, random.Random(0))
    shown = np.array(style.resize((30, 20), Image.Resampling.BILINEAR))
    expected = np.clip(np.rint(swap_low_amplitude(content, shown, beta=0.2)), 0, 255)
    assert np.array_equal(found, expected)
    assert not np.array_equal(found, Styles([tmp_path / "style.png"], beta=0.01).apply(content, random.Random(0)))
