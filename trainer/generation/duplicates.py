"""Exact and near duplicates among the texts of a data set.

Two texts are near duplicates if the sets of their word trigrams have a Jaccard similarity of at least a threshold.
MinHash with banding (Broder 1997; Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", chapter 3) finds
candidates, their similarity itself decides.
"""

import hashlib
import re
import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from operator import itemgetter

import numpy as np
from datasketch import MinHash

# Shape suffixes: W words of a text, S its different trigrams, B bands of its MinHash.

PERMUTATIONS = 128
RECALL = 0.95  # share of the pairs right at the threshold that become candidates
SHORT = 20  # trigrams; in a shorter text a replaced word makes another task
PUNCTUATION = ".,;:!?…\"'`*_#“”‘’«»()[]{}。，；：！？、（）「」"
WITHOUT_SPACES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
PART_END = re.compile(r"\n+|(?<=[.!?:;])\s+|(?<=[。！？；：])")  # of a line or a sentence
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplying loses nothing


@dataclass(frozen=True)
class Sketch:
    """What is compared of a text.

    Attributes:
        words_W: uint32, hashes of the words.
        trigrams_S: uint64, sorted hashes of the different trigrams; of all its words where a text has fewer than three.
    """

    words_W: np.ndarray
    trigrams_S: np.ndarray


class Duplicates:
    """The kept texts, and whether a further one is one of them again.

    The same texts in the same order give the same verdicts in every process.

    Args:
        near: Jaccard similarity of the sets of word trigrams from which on two texts are near duplicates, over 0, up
            to 1; None: only exact ones. Texts of fewer than 20 trigrams must moreover differ by left out or added
            words alone: "What is 12 plus 13?" and "What is 12 plus 14?" are two tasks.

    Raises:
        ValueError: `near` is no such similarity.
    """

    def __init__(self, near: float | None):
        if near is not None and not 0 < near <= 1:
            raise ValueError(f"found a similarity of {near}; expected over 0, up to 1.")
        self.near = near
        self._keys: dict[bytes, str] = {}
        self._texts: list[tuple[str, np.ndarray]] = []  # key, and hashes of the words
        self._index = BandIndex(*bands(near)) if near is not None else None

    def of(self, text: str, compared: str | None = None) -> tuple[str, str] | None:
        """Which kept text this one repeats.

        Args:
            compared: The part of the text by which near duplicates are told; None: all of it.

        Returns:
            "duplicate" or "near_duplicate", and the key of the kept text: of near ones the most similar, the first of
            equals. None: it is new.
        """
        exact = fingerprint(text)
        if exact in self._keys:
            return "duplicate", self._keys[exact]
        if self.near is None or self._index is None:
            return None
        sketch, minhash = sketch_of(text if compared is None else compared)
        similar = [self._texts[number] for number in self._index.like(minhash)]
        kept = [(key, sketch_of_words(words_W)) for key, words_W in similar]
        found = [(jaccard(sketch, other), key, other) for key, other in kept]
        near = [(share, key) for share, key, other in found if share >= self.near and same_task(sketch, other)]
        return ("near_duplicate", max(near, key=itemgetter(0))[1]) if near else None

    def add(self, key: str, text: str, compared: str | None = None) -> None:
        """Keep a text under a key, see `of`; of equal texts the first one's key stays."""
        exact = fingerprint(text)
        if exact in self._keys:
            return
        self._keys[exact] = key
        if self._index is not None:
            sketch, minhash = sketch_of(text if compared is None else compared)
            self._index.add(len(self._texts), minhash)
            self._texts.append((key, sketch.words_W))


class BandIndex:
    """Numbers of texts by the bands of their MinHash.

    SQLite holds them in memory, in a tenth of what datasketch's index needs: a Python set for every band.

    Args:
        bands: How many bands a MinHash is cut into.
        rows: How many permutations a band has.
    """

    def __init__(self, bands: int, rows: int):
        self._shape = bands, rows
        self._database = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        table = "texts (band INTEGER, number INTEGER, PRIMARY KEY (band, number)) WITHOUT ROWID"
        self._database.execute(f"CREATE TABLE {table}")

    def add(self, number: int, minhash: MinHash) -> None:
        """Keep a text's number under its bands."""
        rows = [(band, number) for band in self._bands_B(minhash)]
        self._database.executemany("INSERT OR IGNORE INTO texts VALUES (?, ?)", rows)

    def like(self, minhash: MinHash) -> list[int]:
        """The numbers of the texts that share a band with this one, in ascending order."""
        bands_B = self._bands_B(minhash)
        places = ", ".join("?" * len(bands_B))
        asked = f"SELECT DISTINCT number FROM texts WHERE band IN ({places}) ORDER BY number"
        return [number for (number,) in self._database.execute(asked, bands_B)]

    def _bands_B(self, minhash: MinHash) -> list[int]:
        """A number for each band: its place and values, hashed to 8 bytes."""
        bands, rows = self._shape
        values = minhash.hashvalues[: bands * rows].reshape(bands, rows)
        hashes = (hashlib.blake2b(bytes([place]) + band.tobytes(), digest_size=8) for place, band in enumerate(values))
        return [int.from_bytes(hash.digest(), "little", signed=True) for hash in hashes]


def without_shared_parts(texts: Sequence[str]) -> list[str]:
    """Each text without the sentences and lines that all of them have; one that has no others stays whole.

    So requests that stand in the same page of instructions or documentation are told apart by what they ask.
    """
    parts = [PART_END.split(text) for text in texts]
    shared = set.intersection(*map(set, parts)) if len(texts) > 1 else set[str]()
    own = (" ".join(part for part in mine if part not in shared) for mine in parts)
    return [rest if rest.strip() else text for rest, text in zip(own, texts, strict=True)]


@lru_cache(maxsize=256)
def fingerprint(text: str) -> bytes:
    """The same for texts of the same words, whatever their case and whitespace."""
    words = " ".join(text.casefold().split())
    return hashlib.blake2b(words.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def words_of(text: str) -> list[str]:
    """The words in lower case without punctuation around them; a letter each in scripts without spaces."""
    folded = text.casefold()
    if not folded.isascii():
        folded = WITHOUT_SPACES.sub(r" \g<0> ", folded)
    return [word for word in (part.strip(PUNCTUATION) for part in folded.split()) if word]


@lru_cache(maxsize=256)  # a text is looked up, then kept; others come between
def sketch_of(text: str) -> tuple[Sketch, MinHash]:
    """What is compared of a text, and the MinHash of its trigrams by which candidates are found."""
    words = words_of(text)
    words_W = np.fromiter((zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words), np.uint32, len(words))
    sketch = sketch_of_words(words_W)
    minhash = _empty_minhash().copy()
    minhash.update_batch((sketch.trigrams_S >> np.uint64(32)).tolist())
    return sketch, minhash


def sketch_of_words(words_W: np.ndarray) -> Sketch:
    """What is compared of a text, from the hashes of its words."""
    return Sketch(words_W, np.unique(_trigrams(words_W.astype(np.uint64))))


def _trigrams(hashes_W: np.ndarray) -> np.ndarray:
    """A hash of each three words in a row; of all words where there are fewer."""
    size = len(hashes_W)
    count = max(size - 2, min(size, 1))
    mixed = np.zeros(count, np.uint64)
    for place in range(min(size, 3)):
        mixed = (mixed ^ hashes_W[place : place + count]) * MULTIPLIER
        mixed ^= mixed >> np.uint64(29)
    return mixed * MULTIPLIER


@cache
def _empty_minhash() -> MinHash:
    return MinHash(PERMUTATIONS, hashfunc=_as_it_is)


def _as_it_is(value: int) -> int:
    return value


def jaccard(one: Sketch, other: Sketch) -> float:
    """Size of the intersection of the two sets of trigrams, divided by that of their union; 0 for empty sets."""
    sizes = len(one.trigrams_S) + len(other.trigrams_S)
    common = np.intersect1d(one.trigrams_S, other.trigrams_S, assume_unique=True).size
    return common / (sizes - common) if sizes else 0.0


def same_task(one: Sketch, other: Sketch) -> bool:
    """Whether similar texts ask for the same: long ones do, short ones if one is the other with words left out."""
    if min(len(one.trigrams_S), len(other.trigrams_S)) >= SHORT:
        return True
    fewer, more = sorted((one.words_W.tolist(), other.words_W.tolist()), key=len)
    rest = iter(more)
    return all(word in rest for word in fewer)  # each is looked for after the one before it


def bands(near: float) -> tuple[int, int]:
    """How the permutations are cut into bands: their number, and the rows of each.

    The most rows (fewest false candidates) with which a pair of similarity `near` shares a band with a probability of
    at least `RECALL`: `1 - (1 - near ** rows) ** bands`.
    """
    fit = [rows for rows in range(1, PERMUTATIONS // 2 + 1) if 1 - (1 - near**rows) ** (PERMUTATIONS // rows) >= RECALL]
    rows = max(fit, default=1)
    return PERMUTATIONS // rows, rows
