"""Computing in half precision: which types a device has, found out by trying; results and weights stay float32."""

from __future__ import annotations

from typing import Final

import mindspore as ms
import numpy as np
from mindspore import Tensor

from ddpm_bench import unet_blocks
from ddpm_bench.unet import UNet

DTYPES: Final = {"float32": ms.float32, "float16": ms.float16, "bfloat16": ms.bfloat16}
"""What the network's layers may compute in."""


def lowered(network: UNet, dtype: str) -> UNet:
    """The `network` itself, its layers but for the embedding of t now computing in `dtype`, one of `DTYPES`.

    Weights stay float32 and are rounded when they are used, eps_hat is float32 again. The phases of the embedding go up
    to 1000, which half precision knows to the nearest half: they stay float32. To be called before compiling.
    """
    if dtype != "float32":
        for layer in (network.conv_in, network.down, network.middle, network.up, network.norm_out, network.conv_out):
            layer.to_float(DTYPES[dtype])
    return network


def missing(dtype: str) -> str | None:
    """Why the current device and mode have no network in `dtype`; None if they have one.

    Tried with a convolution, a normalisation and a SiLU of four numbers.
    """
    if dtype == "float32":
        return None
    try:
        layer = unet_blocks.conv(1, 1).to_float(DTYPES[dtype])
        layer(Tensor(np.ones((1, 1, 2, 2), np.float32))).asnumpy()
    except (RuntimeError, TypeError, ValueError) as error:
        said = next((line.strip() for line in str(error).splitlines() if line.strip().strip("-")), "nothing")
        return f"unavailable: this device computes no convolution in {dtype} ({type(error).__name__}: {said})"
    return None
