"""Exact best-fit-decreasing packing that walks over distinct lengths instead of samples.

Best fit decreasing takes the samples from the longest to the shortest and puts each into the
fullest pack that still has room for it. Two facts make that quick. A pack that is the fullest one
with room ``s`` for the length ``l`` stays it until it holds ``s // l`` samples of that length. And
packs with equal room and equal content fare alike, so they are one *group*: a number of packs and,
for every length in them, where their samples start in the sorted list. The walk is over groups and
does not grow with the number of samples, which are only sorted once and written once.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sft.blending import Ints, Keys


class Packs(NamedTuple):
    """Which samples share a sequence: pack i holds ``items[offsets[i]:offsets[i + 1]]``."""

    items: Ints
    """(n,): indices of the lengths, the longest of a pack first."""
    offsets: Ints
    """(n_packs + 1,)."""


class _Part(NamedTuple):
    """Samples of one length in a group.

    Pack i of the group holds ``copies`` of them, from ``start + i * copies`` on in the sorted list.
    """

    start: int
    copies: int


_Parts: TypeAlias = tuple[_Part, ...]


class _Group(NamedTuple):
    """Packs with equal content."""

    packs: int
    parts: _Parts


def pack(lengths: NDArray[np.integer], capacity: int, *, order: Keys | None = None) -> Packs:
    """Best fit decreasing over all lengths at once.

    ``lengths`` is (n,) in tokens, ``capacity`` the tokens of a pack. Samples of equal length are
    taken in the order of their keys in ``order`` (n,), then of their index; the keys decide which
    of them share a pack and with whom, not how many packs there are. Keys are compared by their
    leading bits, 28 at 2048 tokens and ten million samples.

    A pack gets samples of one length all at once, in a row of that order; so two that must not
    meet don't if at least ``capacity // length`` others lie between them.

    Raises ValueError for a length below 1 or above the capacity.
    """
    tokens: Ints = np.asarray(lengths, dtype=np.int64)
    if capacity < 1:
        raise ValueError(f"a capacity of {capacity} tokens; at least 1 is needed")
    if tokens.size and not 1 <= tokens.min() <= tokens.max() <= capacity:
        raise ValueError(
            f"lengths from {tokens.min()} to {tokens.max()}; a pack takes 1 to {capacity}"
        )
    counts = np.bincount(tokens, minlength=capacity + 1)
    return _written(_groups(counts, capacity), _longest_first(tokens, capacity, order))


def _longest_first(lengths: Ints, capacity: int, order: Keys | None) -> Ints:
    """The indices of the lengths from the longest to the shortest, equal ones by key.

    Length, key and index are put into one number each, whose plain sort is several times faster
    than an argsort, and which has no ties that sorting algorithms would break differently.
    """
    index_bits = max(1, (len(lengths) - 1).bit_length())
    length_bits = capacity.bit_length()
    key_bits = 64 - length_bits - index_bits
    if key_bits < 1:
        raise ValueError(f"{len(lengths)} samples are too many for packs of {capacity} tokens")
    places = (capacity - lengths).astype(np.uint64) << np.uint64(64 - length_bits)
    if order is not None:
        places |= (order >> np.uint64(64 - key_bits)) << np.uint64(index_bits)
    places |= np.arange(len(lengths), dtype=np.uint64)
    places.sort()
    return (places & np.uint64((1 << index_bits) - 1)).astype(np.int64)


class _Rooms:
    """The groups by the room that is left in their packs."""

    def __init__(self, capacity: int) -> None:
        self._groups: list[list[_Group]] = [[] for _ in range(capacity + 1)]
        self._some = 0
        """Bit r says whether there are packs with room r."""

    def put(self, room: int, group: _Group) -> None:
        if group.packs:
            self._groups[room].append(group)
            self._some |= 1 << room

    def fullest(self, length: int) -> tuple[int, _Group] | None:
        """Take out the packs with the least room that is enough, or one group of them."""
        enough = self._some >> length
        if not enough:
            return None
        room = length + (enough & -enough).bit_length() - 1
        group = self._groups[room].pop()
        if not self._groups[room]:
            self._some ^= 1 << room
        return room, group

    def all(self) -> list[_Group]:
        return [group for groups in self._groups for group in groups]


def _groups(counts: Ints, capacity: int) -> list[_Group]:
    """The packs that best fit decreasing makes of ``counts[l]`` samples of every length l."""
    rooms = _Rooms(capacity)
    start = 0
    for length in np.flatnonzero(counts)[::-1].tolist():
        left = int(counts[length])
        while left:
            found = rooms.fullest(length)
            room, group = found or (capacity, _Group(-(-left // (capacity // length)), ()))
            # As many as fit into each pack; the last samples of a length may not fill one.
            copies = min(room // length, left)
            fed, rest = _split(group, min(group.packs, left // copies))
            rooms.put(room - copies * length, _Group(fed.packs, (*fed.parts, _Part(start, copies))))
            rooms.put(room, rest)
            start += fed.packs * copies
            left -= fed.packs * copies
    return rooms.all()


def _split(group: _Group, at: int) -> tuple[_Group, _Group]:
    """The first packs of a group, and the others."""
    others = tuple(_Part(start + at * copies, copies) for start, copies in group.parts)
    return _Group(at, group.parts), _Group(group.packs - at, others)


def _written(groups: list[_Group], samples: Ints) -> Packs:
    """The content of all groups, pack by pack."""
    items = np.empty_like(samples)
    sizes = [sum(part.copies for part in group.parts) for group in groups]
    at = 0
    for group, size in zip(groups, sizes, strict=True):
        block = items[at : at + group.packs * size].reshape(group.packs, size)
        column = 0
        for start, copies in group.parts:
            rows = samples[start : start + group.packs * copies].reshape(group.packs, copies)
            block[:, column : column + copies] = rows
            column += copies
        at += group.packs * size
    per_pack = np.repeat(np.array(sizes, np.int64), [group.packs for group in groups])
    return Packs(items, np.concatenate([np.zeros(1, np.int64), np.cumsum(per_pack)]))
