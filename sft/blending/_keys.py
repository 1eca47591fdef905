"""Pseudo-random keys that depend on names alone: the source of every order in blends and packs.

Generators of libraries may change their streams between versions, and what they give depends on how
often they were asked before. A key here is a hash of what it stands for, so sorting by keys is a
shuffle that is the same for ever, on any machine, in whatever order the samples come.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from judge.canonical import canonical
from sft.words import mixed as finalised

Ints: TypeAlias = NDArray[np.int64]
Keys: TypeAlias = NDArray[np.uint64]

_KEY_BYTES = 8


def text_keys(texts: list[str]) -> Keys:
    """BLAKE2b-64 of every text, (n,): about a second for a million."""
    digests = b"".join(blake2b(text.encode(), digest_size=_KEY_BYTES).digest() for text in texts)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def salt(*parts: str | int) -> int:
    """A 64-bit number that stands for its parts, such as a seed, a source and a pass."""
    digest = blake2b(canonical(list(parts)), digest_size=_KEY_BYTES).digest()
    return int.from_bytes(digest, "little")


def mixed(keys: Keys, with_salt: int) -> Keys:
    """Keys of another draw, (n,): a bijection of 64-bit numbers that the salt chooses.

    The mixer is SplitMix64's finaliser (Steele et al. 2014, "Fast splittable pseudorandom number
    generators"), applied twice so that related salts give unrelated orders.
    """
    number = np.uint64(with_salt)
    return _finalised(_finalised(keys ^ number) + number)


def _finalised(keys: Keys) -> Keys:
    return finalised(keys + np.uint64(0x9E3779B97F4A7C15))
