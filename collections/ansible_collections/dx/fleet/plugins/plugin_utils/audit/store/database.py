# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SQLite among many processes and forks.

A connection is never carried over a fork: a child opens its own, and neither uses nor closes its parent's. No
thread uses one either, so that none can be inside SQLite at a fork.
"""

from __future__ import annotations

import errno
import os
import shlex
import sqlite3
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from ...domain.clock import SYSTEM_CLOCK, Clock
from ...domain.errors import AuditError

__all__ = ["Database"]

T = TypeVar("T")

PATIENCE_S = 5.0
RETRY_S = 0.002

# Connections of a parent. Closing them here, even by collecting them, would be a use.
_abandoned: list[sqlite3.Connection] = []

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class Database:
    """A database file in a directory of its own, both for this user alone.

    Args:
        path: The file; its directory is made.
        schema: Statements that make the tables, where they are missing.
        version: Of the schema.
        migrations: By an older version, the statements that lead to the one that follows it.
        patience_s: How long to wait for other processes.
        clock: The time.
    """

    def __init__(
        self,
        path: Path,
        schema: str,
        version: int,
        migrations: Mapping[int, str] | None = None,
        *,
        patience_s: float = PATIENCE_S,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.path = path
        self.clock = clock
        self._schema = schema
        self._version = version
        self._migrations = migrations or {}
        self._patience_s = patience_s
        self._connection: sqlite3.Connection | None = None
        self._pid = 0

    def write(
        self,
        work: Callable[[sqlite3.Connection], T],
        *,
        durable: bool = False,
        patience_s: float | None = None,
    ) -> T:
        """Do this in one transaction.

        Args:
            work: What to do with the connection.
            durable: Come back when it is on the disk and survives a loss of power (some milliseconds).
                Else it is with the operating system and survives the death of this process.
            patience_s: How long to wait for other processes, if not as long as ever.

        Raises:
            AuditError: ``outbox_busy``, ``outbox_corrupt``, ``outbox_read_only``, ``outbox_disk_full``,
                ``outbox_newer``, ``outbox_unusable``.
        """

        def transaction(connection: sqlite3.Connection) -> T:
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                found = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
            return found

        return self.read(transaction, patience_s)

    def read(self, work: Callable[[sqlite3.Connection], T], patience_s: float | None = None) -> T:
        """Do this with the connection.

        Raises:
            AuditError: See :meth:`write`.
        """
        give_up = self.clock.monotonic() + (self._patience_s if patience_s is None else patience_s)
        while True:
            try:
                return work(self._open())
            except (sqlite3.Error, OSError) as error:
                if not _is_busy(error) or self.clock.monotonic() >= give_up:
                    self._forget_broken(error)
                    raise self.error(error) from error
            self.clock.block(RETRY_S)

    def rows(self, statement: str, *values: object) -> Sequence[tuple[Any, ...]]:
        """What a query finds; raises as :meth:`write`."""
        return self.read(lambda connection: connection.execute(statement, values).fetchall())

    def row(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        """The first that a query finds; raises as :meth:`write`."""
        rows = self.rows(statement, *values)
        return rows[0] if rows else None

    def close(self) -> None:
        """Close this process' connection; the next use opens another."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._pid == os.getpid():
            connection.close()
        else:
            _abandoned.append(connection)

    def __del__(self) -> None:
        """Else a parent's connection would close itself in a child that collects it: that is a use."""
        if self._connection is not None and self._pid != os.getpid():
            _abandoned.append(self._connection)

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._pid == os.getpid():
            return self._connection
        self.close()
        _make_private(self.path)
        connection = sqlite3.connect(self.path, timeout=0, isolation_level=None)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection, self._pid = connection, os.getpid()
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found > self._version:
            raise AuditError(
                f"{self.path} was written by a newer dx.fleet",
                reason_code="outbox_newer",
                next_action="pip install --upgrade dx-fleet",
            )
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            connection.execute("PRAGMA journal_mode = WAL")
        if found < self._version:
            steps = "".join(self._migrations[older] for older in range(found or self._version, self._version))
            connection.executescript(
                f"BEGIN IMMEDIATE; {steps}; {self._schema}; PRAGMA user_version = {self._version}; COMMIT;"
            )

    def _forget_broken(self, error: Exception) -> None:
        """A file that was put in order, or replaced, is opened anew."""
        if isinstance(error, sqlite3.Error):
            self.close()

    def error(self, error: Exception) -> AuditError:
        """What SQLite or the system said, as a person can act on it."""
        path = shlex.quote(str(self.path))
        if isinstance(error, OSError):
            reason, what, action = _of_system(error, self.path)
        else:
            reason, what, action = _of_sqlite(error, path)
        return AuditError(f"{self.path}: {what}", reason_code=reason, next_action=action)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def _make_private(path: Path) -> None:
    """Make the directory and the file for this user alone.

    Raises:
        OSError: They can't be made, or belong to another user.
    """
    directory = path.parent
    with _named(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        found = directory.stat()
        if found.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "belongs to another user", str(directory))
        if stat.S_IMODE(found.st_mode) & 0o077:
            directory.chmod(0o700)
    with _named(path):
        if not path.exists():
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        elif stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)


def _is_busy(error: Exception) -> bool:
    return isinstance(error, sqlite3.Error) and _code(error) in _BUSY


def _code(error: sqlite3.Error) -> int:
    """The primary result code; Python's own errors have none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _of_sqlite(error: Exception, path: str) -> tuple[str, str, str]:
    code = _code(error) if isinstance(error, sqlite3.Error) else 0
    if code in _BUSY:
        return "outbox_busy", "other processes have been writing it for too long", "dx-fleet audit"
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return "outbox_corrupt", f"is no outbox, or a broken one ({error})", f"mv {path} {path}.broken"
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return "outbox_read_only", "can't be written", f"chmod u+w {path}, or set XDG_STATE_HOME"
    if code == sqlite3.SQLITE_FULL:
        return "outbox_disk_full", "the disk is full", "make room on the disk"
    return "outbox_unusable", f"can't be used ({error})", f"look at {path}, or set XDG_STATE_HOME"


def _of_system(error: OSError, path: Path) -> tuple[str, str, str]:
    words = error.strerror or str(error)
    where = f"{error.filename}: {words}" if error.filename and error.filename != str(path) else words
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "outbox_disk_full", where, "make room on the disk"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "outbox_read_only", where, "make it writable for this user, or set XDG_STATE_HOME"
    return "outbox_unusable", where, "set XDG_STATE_HOME to a directory of this user"
