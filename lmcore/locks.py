"""Locks on folders, so that two processes never write to the same one.

The operating system holds a lock and releases it when its process ends, even when it is killed.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from lmcore.files import naming, read_json, write_json


class LockedError(ValueError):
    """Another process writes to a folder; the message says which."""


@contextlib.contextmanager
def locked(folder: Path, wait: bool = False, again: bool = False) -> Iterator[None]:
    """Hold the lock of folder during the block.

    The lock file lies next to folder, so it survives when folder is deleted. With again, this
    thread may hold it already.

    Raises:
        LockedError: another process or thread holds it, and wait is False.
    """
    folder = Path(os.path.abspath(folder))
    path = folder.with_name(f".{folder.name}.lock")
    # A process that tries to lock a file empties it, so the holder's facts need another file.
    holder = folder.with_name(f".{folder.name}.holder.json")
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()  # complains where filelock would try for ever
        lock = FileLock(path, is_singleton=again)
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            raise LockedError(
                f"{folder} is being written by {_described(holder)}: "
                "wait for it to end, or stop it and run this again"
            ) from None
    try:
        since = datetime.now().astimezone().isoformat(timespec="seconds")
        write_json(holder, {"pid": os.getpid(), "host": socket.gethostname(), "since": since})
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def remove_leftovers(folder: Path) -> None:
    """Delete what killed processes left of unfinished files in folder, whose lock is held.

    Its checkpoints are included.
    """
    for pattern in (".*.[0-9]*.part", "checkpoints/.*.[0-9]*.part"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def _described(holder: Path) -> str:
    try:
        facts = read_json(holder)
        return f"process {facts['pid']} on {facts['host']} since {facts['since']}"
    except (ValueError, KeyError, TypeError):  # it has the lock, but has not written its facts yet
        return "another process"
