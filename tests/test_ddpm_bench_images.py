from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ddpm_bench.errors import ConfigError, ShapeError
from ddpm_bench.images import BACKGROUND, from_uint8, grid, to_uint8, write_grid, write_images, write_loss_curve

ALL_PIXELS = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_all_256_values_survive_the_round_trip(dtype: type) -> None:
    assert np.array_equal(to_uint8(from_uint8(ALL_PIXELS, dtype=dtype)), ALL_PIXELS)


def test_pixels_are_scaled_by_255_and_reach_both_ends() -> None:
    numbers = from_uint8(ALL_PIXELS, dtype=np.float64)
    assert numbers[0] == -1
    assert numbers[255] == 1
    assert numbers[1] == 1 * 2 / 255 - 1


def test_numbers_are_float32_unless_asked_otherwise() -> None:
    assert from_uint8(ALL_PIXELS).dtype == np.float32


def test_minus_one_zero_and_one_become_0_128_and_255() -> None:
    assert to_uint8(np.array([-1.0, 0.0, 1.0])).tolist() == [0, 128, 255]


def test_values_outside_saturate() -> None:
    assert to_uint8(np.array([-np.inf, -1.5, 1.004, 9e9, np.inf])).tolist() == [0, 0, 255, 255, 255]


def test_nan_has_no_colour() -> None:
    with pytest.raises(ConfigError, match="1 of 2 pixels are NaN"):
        to_uint8(np.array([0.0, np.nan]))


def test_only_uint8_are_pixels() -> None:
    with pytest.raises(ShapeError, match="expected uint8"):
        from_uint8(np.array([300]))


def three_images() -> NDArray[np.float32]:
    """(3, 1, 2, 2): all black, all white, and one of four different values."""
    images = np.stack([np.full((1, 2, 2), -1.0), np.ones((1, 2, 2)), np.array([[[-1.0, 1.0], [0.0, -1.0]]])])
    result: NDArray[np.float32] = images.astype(np.float32)
    return result


def test_grid_puts_images_row_by_row_with_a_line_between() -> None:
    g = BACKGROUND
    assert grid(three_images(), columns=2)[..., 0].tolist() == [
        [g, g, g, g, g, g, g],
        [g, 0, 0, g, 255, 255, g],
        [g, 0, 0, g, 255, 255, g],
        [g, g, g, g, g, g, g],
        [g, 0, 255, g, g, g, g],
        [g, 128, 0, g, g, g, g],
        [g, g, g, g, g, g, g],
    ]


def test_grid_keeps_red_red() -> None:
    red = np.array([1.0, -1.0, -1.0], np.float32).reshape(1, 3, 1, 1)
    assert grid(red)[1, 1].tolist() == [255, 0, 0]


def test_grid_is_a_square_by_default_and_never_wider_than_its_images() -> None:
    images = np.zeros((10, 3, 4, 4), np.float32)
    assert grid(images).shape == (3 * 5 + 1, 4 * 5 + 1, 3)
    assert grid(images[:2], columns=8).shape == (6, 11, 3)


@pytest.mark.parametrize("shape", [(4, 8, 8), (2, 2, 8, 8), (0, 1, 8, 8)])
def test_grid_refuses_what_are_not_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="expected"):
        grid(np.zeros(shape, np.float32))


def test_written_grid_is_the_grid_enlarged(tmp_path: Path) -> None:
    path = write_grid(tmp_path / "grid.png", three_images(), columns=3, scale=2)
    with Image.open(path) as picture:
        assert picture.mode == "L"
        assert np.array_equal(np.asarray(picture)[::2, ::2], grid(three_images(), columns=3)[..., 0])


def test_small_images_are_enlarged_to_be_seen(tmp_path: Path) -> None:
    with Image.open(write_grid(tmp_path / "grid.png", np.zeros((1, 3, 8, 8)))) as picture:
        assert picture.size == (40, 40)


def test_written_images_hold_the_pixels_in_order(tmp_path: Path) -> None:
    colours = np.zeros((2, 3, 2, 2), np.float32)
    colours[1, 0] = 1  # the red channel
    paths = write_images(tmp_path / "new", colours)
    assert [path.name for path in paths] == ["00000.png", "00001.png"]
    with Image.open(paths[1]) as picture:
        assert picture.mode == "RGB"
        assert picture.getpixel((0, 0)) == (255, 128, 128)


def test_loss_curve_shows_the_losses(tmp_path: Path) -> None:
    """Short runs have one line, of every step; long ones also their running mean."""
    pictures = []
    for number, losses in enumerate(([1.0, 0.5, 0.1], [1.0, 0.6, 0.1], [1 / (1 + step) for step in range(1000)])):
        with Image.open(write_loss_curve(tmp_path / f"{number}.png", losses)) as picture:
            assert picture.size == (770, 440)
            pictures.append(np.asarray(picture.convert("RGB")))
    assert (pictures[0] != pictures[1]).any()
    blue = [(picture[..., 2].astype(int) - picture[..., 0] > 50).sum() for picture in pictures]
    assert blue[0] == blue[1] == 0 < blue[2]
