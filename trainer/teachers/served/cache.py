"""The served teacher's scores on disk, so that resumed and repeated runs don't pay for them twice.

One SQLite file that several runs may share. It is bounded: what was not used for longest goes first.
"""

import hashlib
import io
import json
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ...errors import UsageError
from ..tokens.token_scores import TokenScores

FILE_NAME = "scores.sqlite"
MAX_BYTES = 2**30
SHARE_KEPT = 0.9  # of `max_bytes`, after making room
SCHEMA = """
create table if not exists teachers (id integer primary key, name text not null, signature blob not null);
create table if not exists scores (key blob primary key, value blob not null, used real not null) without rowid;
create index if not exists by_use on scores (used);
"""


class ScoreCache:
    """Scores by what was asked of which teacher.

    Args:
        folder: Made if need be.
        name: Of the served model.
        signature_N: Log-probabilities that it gives a fixed text. Teachers of one name that differ in it by more than
            `tolerance` nats on average are kept apart.
        max_bytes: Size of all scores together.

    Raises:
        UsageError: the folder can't be written, or the file in it is no cache.
    """

    def __init__(self, folder: Path, name: str, signature_N: np.ndarray, tolerance: float, max_bytes: int = MAX_BYTES):
        self.path = folder / FILE_NAME
        self.max_bytes = max_bytes
        self._failed = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # The thread that opens it is not the one that asks.
            self._database = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
            self._database.executescript("pragma journal_mode=wal; pragma synchronous=normal;" + SCHEMA)
            self._teacher = self._number_of(name, signature_N.astype(np.float32), tolerance)
            self._bytes = self._size()
        except (OSError, sqlite3.Error) as error:
            raise UsageError(
                f"can't use the score cache {self.path}: {error}. Pass --teacher_cache FOLDER, or --teacher_cache off."
            ) from error

    def key(self, prompt_ids: Sequence[int], completion_ids: Sequence[int], top_k: int, with_texts: bool) -> bytes:
        """Of a question to this teacher."""
        asked = [self._teacher, top_k, with_texts, list(prompt_ids), list(completion_ids)]
        return hashlib.sha256(json.dumps(asked).encode()).digest()

    def get(self, key: bytes) -> TokenScores | None:
        """The scores, None where they are not known."""
        with self._optional():
            row = self._database.execute("select value from scores where key = ?", (key,)).fetchone()
            if row is not None:
                self._database.execute("update scores set used = ? where key = ?", (time.time(), key))
                return _unpacked(row[0])
        return None

    def put(self, key: bytes, scores: TokenScores) -> None:
        """Keep the scores, and make room where they are too many by now."""
        with self._optional():
            self._keep(key, scores)

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def _optional(self) -> Iterator[None]:
        """A disk that is full, say, costs the cache and not the run; it is said once."""
        try:
            yield
        except sqlite3.Error as error:
            if not self._failed:
                tqdm.write(f"the score cache {self.path} fails ({error}); going on without it", file=sys.stderr)
            self._failed = True

    def _keep(self, key: bytes, scores: TokenScores) -> None:
        value = _packed(scores)
        self._database.execute("insert or replace into scores values (?, ?, ?)", (key, value, time.time()))
        self._bytes += len(value)
        if self._bytes > self.max_bytes:
            self._make_room()

    def _size(self) -> int:
        return self._database.execute("select coalesce(sum(length(value)), 0) from scores").fetchone()[0]

    def _make_room(self) -> None:
        self._database.execute(
            "delete from scores where key in (select key from (select key, sum(length(value)) over "
            "(order by used desc, key) as kept from scores) where kept > ?)",
            (SHARE_KEPT * self.max_bytes,),
        )
        self._bytes = self._size()

    def _number_of(self, name: str, signature_N: np.ndarray, tolerance: float) -> int:
        known = self._database.execute("select id, signature from teachers where name = ?", (name,)).fetchall()
        for number, blob in known:
            other_N = np.frombuffer(blob, dtype=np.float32)
            if other_N.shape == signature_N.shape and float(np.abs(other_N - signature_N).mean()) <= tolerance:
                return number
        added = self._database.execute(
            "insert into teachers (name, signature) values (?, ?)", (name, signature_N.tobytes())
        )
        assert added.lastrowid is not None
        return added.lastrowid


def _packed(scores: TokenScores) -> bytes:
    buffer = io.BytesIO()
    np.savez(
        buffer,
        token_ids=scores.token_ids_NK.astype(np.int32),
        logps=scores.logps_NK,
        sampled=scores.sampled_logps_N,
        decoded=np.frombuffer(json.dumps(scores.decoded).encode(), dtype=np.uint8),
    )
    return buffer.getvalue()


def _unpacked(value: bytes) -> TokenScores:
    with np.load(io.BytesIO(value), allow_pickle=False) as arrays:
        decoded = json.loads(arrays["decoded"].tobytes())
        return TokenScores(
            token_ids_NK=arrays["token_ids"].astype(np.int64),
            logps_NK=arrays["logps"],
            sampled_logps_N=arrays["sampled"],
            decoded={int(token): text for token, text in decoded.items()},
        )
