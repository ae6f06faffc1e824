"""Before any test imports MindSpore: the convolution remedy, or on some CPUs a test takes minutes."""

from __future__ import annotations

from ddpm_bench import remedy

remedy.apply()
