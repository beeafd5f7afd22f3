"""Counts near duplicates in time that grows with the text: MinHash with bands.

Over character 5-grams (Broder 1997; Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, chapter 3).
"""

from __future__ import annotations

import re
import unicodedata

import numpy as np

_GRAM = 5  # characters
_HASHES, _ROWS = (
    32,
    4,
)  # eight bands of four: of texts that share 0.8 of their grams, 98 % meet in a band
_ALIKE = 0.8  # of the grams, as 32 hashes estimate it (standard error 0.07)
_MOST = 20_000  # characters of a conversation that are compared
_SEED = 20_250_101
_OTHER = re.compile(r"[\W_]+")


def plain(text: str) -> str:
    """Without case, width, punctuation and more than one space: texts that differ in these alone are the same to a reader."""
    return _OTHER.sub(" ", unicodedata.normalize("NFKC", text[:_MOST]).casefold()).strip()


class NearDuplicates:
    """Texts as they come; ``count`` are those of which a similar one came before."""

    def __init__(self) -> None:
        random = np.random.default_rng(_SEED)
        self._factors = random.integers(1, 2**63, _HASHES, dtype=np.uint64) | np.uint64(1)
        self._powers = np.array([257**at for at in range(_GRAM)], dtype=np.uint64)
        self._first: dict[bytes, int] = {}
        self._signatures = bytearray()
        self.count = 0

    def add(self, text: str) -> None:
        """One more text, as ``plain`` makes it."""
        signature = self._signature(text[:_MOST])
        number = len(self._signatures) // signature.nbytes
        near = False
        for band in range(0, _HASHES, _ROWS):
            key = bytes([band]) + signature[band : band + _ROWS].tobytes()
            other = self._first.setdefault(key, number)
            near = near or (other != number and self._alike(signature, other))
        self._signatures += signature.tobytes()
        self.count += near

    def _alike(self, signature: np.ndarray, other: int) -> bool:
        size = signature.nbytes
        kept = np.frombuffer(self._signatures, np.uint32, _HASHES, other * size)
        alike = float((kept == signature).mean())
        del kept  # the bytes cannot grow while they are looked at
        return alike >= _ALIKE

    def _signature(self, text: str) -> np.ndarray:
        letters = np.frombuffer(text.ljust(_GRAM).encode("utf-32-le"), np.uint32).astype(np.uint64)
        grams = np.zeros(len(letters) - _GRAM + 1, np.uint64)
        for at in range(_GRAM):
            grams += letters[at : len(letters) - _GRAM + 1 + at] * self._powers[at]
        grams ^= grams >> np.uint64(29)
        hashes = grams[None, :] * self._factors[:, None]
        return (hashes >> np.uint64(32)).min(axis=1).astype(np.uint32)
