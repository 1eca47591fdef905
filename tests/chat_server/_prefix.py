"""A prefix cache as inference servers keep one: whole blocks, least recently used first out."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

TOKEN_BYTES = 4


class PrefixCache:
    """Blocks of prompts that were computed; a block stands for itself and all that precedes it."""

    def __init__(self, block: int, capacity: int | None, least: int) -> None:
        self._block, self._capacity, self._least = block, capacity, least
        self._held: OrderedDict[bytes, None] = OrderedDict()

    def __len__(self) -> int:
        """Blocks held."""
        return len(self._held)

    def blocks(self, prompt: bytes) -> list[bytes]:
        """The chained hashes of the prompt's full blocks; none for a prompt that is too short."""
        size = self._block * TOKEN_BYTES
        if len(prompt) < self._least * TOKEN_BYTES:
            return []
        chain, before = [], b""
        for start in range(0, len(prompt) - size + 1, size):
            before = blake2b(before + prompt[start : start + size], digest_size=16).digest()
            chain.append(before)
        return chain

    def hit(self, prompt: bytes, blocks: list[bytes]) -> int:
        """Tokens of the longest cached prefix; the last token is always computed."""
        usable = (len(prompt) - 1) // (self._block * TOKEN_BYTES)
        count = 0
        for block in blocks[:usable]:
            if block not in self._held:
                break
            self._held.move_to_end(block)
            count += 1
        return count * self._block

    def add(self, blocks: list[bytes]) -> None:
        """Note that a prompt was computed."""
        for block in blocks:
            self._held[block] = None
            self._held.move_to_end(block)
        if self._capacity is not None:
            while len(self._held) > self._capacity:
                self._held.popitem(last=False)
