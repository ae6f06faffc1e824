from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from ddpm_bench.data import LAWS, NAMES, SYNTHETIC_COUNT, Dataset, Law, best_loss, load
from ddpm_bench.errors import ConfigError, ShapeError
from ddpm_bench.images import from_uint8, to_uint8
from ddpm_bench.schedule import make_schedule


def pixels(height: int, width: int, *, channels: int = 3) -> NDArray[np.uint8]:
    """Noise in the shape Pillow wants."""
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(height * width).integers(256, size=shape, dtype=np.uint8)


def test_digits_are_all_the_scans_on_17_levels() -> None:
    digits = load("digits")
    assert (digits.images.shape, digits.levels) == ((1797, 1, 8, 8), 17)
    assert digits.images.dtype == np.float32
    assert np.array_equal((digits.images[:, 0] + 1) * 8, load_digits().images)
    assert (digits.images.min(), digits.images.max()) == (-1, 1)
    assert digits.labels is not None
    assert np.array_equal(digits.labels, load_digits().target)


def test_mnist_is_every_class_alike_on_256_levels() -> None:
    mnist = load("mnist")
    assert (mnist.images.shape, mnist.levels) == ((5000, 1, 28, 28), 256)
    assert mnist.images.dtype == np.float32
    assert mnist.labels is not None
    assert np.bincount(mnist.labels).tolist() == [500] * 10
    assert np.array_equal(from_uint8(to_uint8(mnist.images)), mnist.images)
    assert (mnist.images.min(), mnist.images.max()) == (-1, 1)


@pytest.mark.parametrize("name", LAWS)
def test_synthetic_data_follow_their_stated_law(name: str) -> None:
    """Mean and variance of each component's numbers, which are independent.

    n is at least 900·64: the mean of one component is within 5.5 standard errors of its law with probability
    1 − 4e-8, and so is the variance, whose standard error is the variance times sqrt(2/n). A variance 5 % off, or a
    mean off by 0.02, is more than 8 of them away.
    """
    data = load(name)
    law = data.law
    assert law is not None
    assert data.labels is not None
    assert data.levels is None
    assert data.images.shape == (SYNTHETIC_COUNT, 1, 8, 8)
    for k, (mean, variance) in enumerate(zip(law.means, law.variances, strict=True)):
        numbers = data.images[data.labels == k].astype(np.float64)
        assert numbers.size > 900 * 64
        assert abs(numbers.mean() - mean) < 5.5 * np.sqrt(variance / numbers.size)
        assert abs(numbers.var() - variance) < 5.5 * variance * np.sqrt(2 / numbers.size)


def test_mixture_components_come_with_their_weights() -> None:
    """A binomial count is within 5.5 standard deviations of its mean but for 4e-8; weights swapped are 70 away."""
    data = load("mixture")
    assert data.labels is not None
    weight = LAWS["mixture"].weights[0]
    deviation = np.sqrt(SYNTHETIC_COUNT * weight * (1 - weight))
    assert abs((data.labels == 0).sum() - SYNTHETIC_COUNT * weight) < 5.5 * deviation


def test_synthetic_data_take_size_channels_and_seed() -> None:
    data = load("gaussian", image_size=4, channels=3, seed=1)
    assert data.images.shape[1:] == (3, 4, 4)
    assert np.array_equal(data.images, load("gaussian", image_size=4, channels=3, seed=1).images)
    assert not np.array_equal(data.images, load("gaussian", image_size=4, channels=3, seed=2).images)


def test_best_loss_is_the_closed_form_of_the_linear_schedule() -> None:
    """0.1730534: the published figure for s² = 0.25, T = 1000, given to seven digits, so half of the last one."""
    alpha_bar = make_schedule("linear", 1000).alpha_bar
    assert best_loss(LAWS["gaussian"], alpha_bar) == pytest.approx(0.1730534, abs=5e-8)


def test_best_loss_of_a_mixture_is_refused() -> None:
    with pytest.raises(ConfigError, match="not for a mixture"):
        best_loss(LAWS["mixture"], np.array([0.5]))


def test_folder_is_read_in_order_at_any_depth_and_other_files_are_passed_over(tmp_path: Path) -> None:
    """Nine images whose grey is their place in the alphabet: by chance in order once in 362 880 folders."""
    (tmp_path / "e").mkdir()
    for place in (5, 2, 8, 0, 7, 3, 6, 1, 4):
        name = f"{'abcdefghi'[place]}{('.png', '.PNG', '.bmp')[place % 3]}"
        folder = tmp_path / "e" if place == 4 else tmp_path
        Image.new("L", (4, 4), 20 * place).save(folder / name)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "folder.png").mkdir()
    data = load(tmp_path, image_size=2, channels=1)
    assert to_uint8(data.images)[:, 0, 0, 0].tolist() == [20 * place for place in range(9)]
    assert data.images.shape == (9, 1, 2, 2)
    assert (data.labels, data.levels) == (None, 256)


def test_folder_images_of_the_right_size_are_not_changed(tmp_path: Path) -> None:
    original = pixels(6, 6)
    Image.fromarray(original).save(tmp_path / "a.png")
    data = load(tmp_path, image_size=6, channels=3)
    assert np.array_equal(to_uint8(data.images[0]).transpose(1, 2, 0), original)


def test_folder_images_are_cropped_to_the_centre(tmp_path: Path) -> None:
    wide = np.zeros((4, 12), np.uint8)
    wide[:, 4:8] = 200
    Image.fromarray(wide).save(tmp_path / "a.png")
    assert np.array_equal(to_uint8(load(tmp_path, image_size=4, channels=1).images[0, 0]), np.full((4, 4), 200))


def test_folder_is_named_by_its_whole_path_to_be_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    assert load(".").name == str(tmp_path.resolve())


def test_folder_is_32_in_colour_by_default(tmp_path: Path) -> None:
    Image.fromarray(pixels(50, 40, channels=1)).save(tmp_path / "a.jpg")
    assert load(tmp_path).images.shape == (1, 3, 32, 32)


def test_colour_becomes_grey_for_one_channel(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (0, 255, 0)).save(tmp_path / "a.png")
    assert (to_uint8(load(tmp_path, image_size=4, channels=1).images) == 150).all()  # Rec. 601: 0.587 · 255 = 149.7


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    sideways = Image.fromarray(np.array([[0, 0], [255, 255]], np.uint8))
    exif = sideways.getexif()
    exif[0x0112] = 3  # the camera was upside down
    sideways.save(tmp_path / "a.png", exif=exif)
    assert to_uint8(load(tmp_path, image_size=2, channels=1).images[0, 0]).tolist() == [[255, 255], [0, 0]]


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparent_parts_are_paper(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (2, 2), 0).save(tmp_path / "a.png")  # black, and wholly transparent
    assert (load(tmp_path, image_size=2, channels=1).images == 1).all()


def test_sixteen_bit_grey_keeps_its_shades(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 257], [128 * 257, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert to_uint8(load(tmp_path, image_size=2, channels=1).images[0, 0]).tolist() == [[0, 1], [128, 255]]


def test_floating_point_image_with_nan_is_refused_by_name(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, np.nan]], np.float32)).save(tmp_path / "bad.tiff")
    with pytest.raises(ConfigError, match=r"bad\.tiff holds 1 NaN pixels"):
        load(tmp_path)


def test_floating_point_image_is_refused_because_its_range_is_unknown(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 2), np.float32)).save(tmp_path / "bad.tiff")
    with pytest.raises(ConfigError, match=r"bad\.tiff holds floating-point pixels"):
        load(tmp_path)


@pytest.mark.parametrize("keep", [0, 30, 0.5])
def test_broken_image_is_named(tmp_path: Path, keep: float) -> None:
    Image.fromarray(pixels(20, 20)).save(tmp_path / "good.png")
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "bad.png").write_bytes(whole[: int(keep if keep >= 1 else keep * len(whole))])
    with pytest.raises(ConfigError, match=r"bad\.png cannot be read as an image .*: repair or remove it"):
        load(tmp_path)


def test_image_of_another_kind_under_the_wrong_name_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_text("<html>404</html>")
    with pytest.raises(ConfigError, match=r"bad\.jpg cannot be read as an image"):
        load(tmp_path)


def test_folder_without_images_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigError, match=r"holds no images: expected files ending in \.bmp"):
        load(tmp_path)


def test_missing_folder_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no folder .*nowhere: expected a folder of images or one of digits"):
        load(tmp_path / "nowhere")


def test_file_in_place_of_a_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.zip").touch()
    with pytest.raises(ConfigError, match=r"a\.zip is a file, expected a folder of images"):
        load(tmp_path / "a.zip")


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown data 'digit': did you mean digits"):
        load("digit")


@pytest.mark.parametrize(("name", "wanted"), [("digits", {"image_size": 32}), ("mnist", {"channels": 3})])
def test_real_data_of_another_shape_is_a_sentence(name: str, wanted: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"choose the preset {name}"):
        load(name, **wanted)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_gives_finite_images_and_its_own_name(name: str) -> None:
    data = load(name)
    assert data.name == name
    assert np.isfinite(data.images).all()
    assert len(data) == len(data.images)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_images_that_are_not_finite_are_refused(bad: float) -> None:
    images = np.zeros((3, 1, 2, 2), np.float32)
    images[1, 0, 1, 1] = bad
    with pytest.raises(ConfigError, match=r"mine: 1 of 3 images hold pixels that are NaN.*the first is number 1"):
        Dataset("mine", images)


def test_no_images_are_refused() -> None:
    with pytest.raises(ConfigError, match="holds no images"):
        Dataset("mine", np.zeros((0, 1, 2, 2), np.float32))


@pytest.mark.parametrize("images", [np.zeros((3, 2, 2), np.float32), np.zeros((3, 1, 2, 2))])
def test_images_of_another_shape_or_dtype_are_refused(images: NDArray[np.float32]) -> None:
    with pytest.raises(ShapeError, match=r"expected \(N, C, H, W\) float32"):
        Dataset("mine", images)


def test_digest_tells_images_apart_by_bits_and_by_shape() -> None:
    images = np.zeros((2, 1, 2, 2), np.float32)
    other = images.copy()
    other[0, 0, 0, 0] = -0.0
    digests = {Dataset("mine", x).digest for x in (images, images.copy(), other, images.reshape(2, 1, 1, 4))}
    assert len(digests) == 3


def test_law_has_as_many_weights_as_components() -> None:
    for law in LAWS.values():
        assert isinstance(law, Law)
        assert len(law.weights) == len(law.means) == len(law.variances)
        assert sum(law.weights) == 1
