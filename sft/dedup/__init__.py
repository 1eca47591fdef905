"""Duplicates within and across sources: the same text, or nearly the same.

`fingerprint` runs on every part by itself, `find_duplicates` brings the fingerprints together, and
`remove_duplicates` takes what was found out of a part.
"""

from __future__ import annotations

from sft.dedup._fingerprint import fingerprint
from sft.dedup._minhash import Bands, choose_bands, signatures
from sft.dedup._removal import remove_duplicates
from sft.dedup._search import DUPLICATES, find_duplicates
from sft.dedup._shingles import LEAST_TOKENS, Shingles, compared_turns, jaccard, shingles

__all__ = [
    "DUPLICATES",
    "LEAST_TOKENS",
    "Bands",
    "Shingles",
    "choose_bands",
    "compared_turns",
    "find_duplicates",
    "fingerprint",
    "jaccard",
    "remove_duplicates",
    "shingles",
    "signatures",
]
