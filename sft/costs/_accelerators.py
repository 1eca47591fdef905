"""GPUs: how fast they multiply at best, and how much memory a program finds on them."""

from __future__ import annotations

import re
from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A model of GPU."""

    name: str
    peak_flops: float
    """FLOP/s of dense bf16 matrix products with fp32 sums, by the maker's data sheet (fp16 where
    there is no bf16); figures with sparsity are halved."""
    memory_bytes: int
    """What a program finds, within about 1 %; data sheets give a little more."""
    peak_dtype: str = "bf16"


def _known(
    pattern: str, name: str, tera: float, gib: float, dtype: str = "bf16"
) -> tuple[re.Pattern[str], Accelerator]:
    # Letters and digits next to a model's name make it another one: A10 and A100, B200 and GB200.
    whole = re.compile(rf"(?<![A-Z0-9])(?:{pattern})(?![A-Z0-9])", re.IGNORECASE)
    return whole, Accelerator(name, tera * 1e12, int(gib * GIB), dtype)


_KNOWN = (
    _known(r"GH200.*144 ?G.*", "GH200 144GB", 989.4, 140.0),
    _known(r"GH200", "GH200 96GB", 989.4, 94.5),
    _known(r"B200", "B200", 2250.0, 178.3),
    _known(r"H200[ -]NVL", "H200 NVL", 835.5, 139.8),
    _known(r"H200", "H200", 989.4, 139.8),
    _known(r"H100[ -]NVL", "H100 NVL", 835.5, 93.1),
    _known(r"H100[ -]PCI-?e", "H100 PCIe", 756.5, 79.1),
    _known(r"H100", "H100 SXM", 989.4, 79.1),
    _known(r"A100.*80 ?G?B?", "A100 80GB", 312.0, 79.2),
    _known(r"A100", "A100 40GB", 312.0, 39.4),
    _known(r"L40S", "L40S", 362.05, 44.4),
    _known(r"L4", "L4", 121.0, 22.0),
    _known(r"A10", "A10", 125.0, 22.1),
    _known(r"(?:RTX )?4090", "RTX 4090", 165.2, 23.5),
    _known(r"(?:RTX )?3090", "RTX 3090", 71.0, 23.6),
    _known(r"V100.*32 ?G?B?", "V100 32GB", 125.0, 31.7, "fp16"),
    _known(r"V100", "V100 16GB", 125.0, 15.8, "fp16"),
    _known(r"MI300X", "MI300X", 1307.4, 191.7),
)
"""The first that matches counts: the particular before the general."""

_OTHERS = re.compile(r"\b(MIG|Laptop|Mobile|Max-Q)\b|(4090 ?D|3090 ?Ti)\b", re.IGNORECASE)
"""Parts and siblings of the above with other figures."""


def accelerator(name: str) -> Accelerator | None:
    """The GPU of a name as drivers give it ("NVIDIA H100 80GB HBM3") or people ("h100 pcie").

    None for one that is not in the list, and for a part of one (MIG). Where a name leaves the
    memory open ("A100"), the smaller one is meant.
    """
    if _OTHERS.search(name):
        return None
    return next((found for pattern, found in _KNOWN if pattern.search(name)), None)


def known_accelerators() -> list[str]:
    """The names of all in the list."""
    return sorted(found.name for _, found in _KNOWN)
