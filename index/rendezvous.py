"""Where the processes that share a library meet: the owner's socket and its record.

The socket lies in a folder that only the user can enter, not in the library: the address of a Unix
socket has room for some hundred bytes, and the library may lie on a file system without sockets.
`owner.json` in the library says where, and who.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

RECORD = "owner.json"

_ADDRESS_LIMIT = 103
"""Bytes: Linux has room for 108 with the closing zero, macOS for 104."""


@dataclass(frozen=True, slots=True)
class Owner:
    """What the owner leaves in the library for others to find it. written_at: seconds since the
    epoch, set on reading."""

    pid: int
    address: str
    protocol: int
    version: str
    written_at: float = 0.0


def write_record(library: Path, owner: Owner) -> None:
    """Raises OSError (a full disk, say)."""
    temporary = library / f".{RECORD}.{os.getpid()}"
    fields = asdict(owner)
    del fields["written_at"]
    try:
        temporary.write_text(json.dumps(fields), encoding="utf-8")
        temporary.replace(library / RECORD)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read_record(library: Path) -> Owner | None:
    """None where there is none that can be read. The one it names may be dead."""
    try:
        found = json.loads((library / RECORD).read_bytes())
        return Owner(
            int(found["pid"]),
            str(found["address"]),
            int(found["protocol"]),
            str(found.get("version", "unknown")),
            (library / RECORD).stat().st_mtime,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def remove_record(library: Path) -> None:
    try:
        (library / RECORD).unlink(missing_ok=True)
    except OSError:
        pass  # A record that stays behind names a socket that is gone: it misleads nobody.


def socket_addresses(library: Path) -> Iterator[str]:
    """Where an owner of this library listens, best first.

    The name carries the folder's inode besides its path, so that two libraries seen under one
    path (containers that share a temporary folder) do not meet.
    """
    found = os.stat(library)
    key = os.fsencode(os.path.realpath(library)) + f"\0{found.st_dev}:{found.st_ino}".encode()
    name = hashlib.blake2b(key, digest_size=8).hexdigest() + ".sock"
    for folder in _runtime_folders():
        address = os.path.join(folder, name)
        if len(os.fsencode(address)) <= _ADDRESS_LIMIT and _private(folder):
            yield address


def _runtime_folders() -> Iterator[str]:
    # As platformdirs has it, less its warning where a system has no such folder.
    for parent in (os.environ.get("XDG_RUNTIME_DIR"), f"/run/user/{os.geteuid()}"):
        if parent and os.path.isdir(parent):
            yield os.path.join(parent, "longtake")
    for parent in dict.fromkeys((tempfile.gettempdir(), "/tmp")):
        yield os.path.join(parent, f"longtake-{os.geteuid()}")


def _private(folder: str) -> bool:
    """Makes the folder if need be. False where somebody else could be inside."""
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        found = os.lstat(folder)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            return False
        if stat.S_IMODE(found.st_mode) & 0o077:
            os.chmod(folder, 0o700)
        return os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        return False


def listen(address: str) -> socket.socket:
    """Listens at the address, with mode 0600, in place of whatever a dead owner left there. Only
    for the holder of the library's lock. Raises OSError."""
    try:
        os.unlink(address)
    except FileNotFoundError:
        pass
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(address)
        os.chmod(address, 0o600)
        listener.listen(64)
    except OSError:
        listener.close()
        raise
    return listener


def dial(address: str, timeout_seconds: float) -> socket.socket:
    """Raises OSError."""
    caller = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        caller.settimeout(timeout_seconds)
        caller.connect(address)
    except OSError:
        caller.close()
        raise
    return caller


def frame(connected: socket.socket, stall_seconds: float) -> Connection:
    """Framing over a socket, which stays open on its own (so that another thread can shut it
    down). Sending, and the receipt of what is left of a message, raise BlockingIOError where
    nothing moves for `stall_seconds`."""
    connected.setblocking(True)
    limit = struct.pack("@ll", int(stall_seconds), int(stall_seconds % 1 * 1e6))
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    return Connection(os.dup(connected.fileno()))


def peer_uid(connected: socket.socket) -> int | None:
    """The user at the other end; None where the system does not tell."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    data = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", data)[1]


def describe(pid: int | None, since: float | None = None) -> str:
    """The process for a message: "process 1234 (stopped)". "another process" where the pid says
    nothing: an owner that was killed leaves its record, and its pid goes to somebody else, who is
    younger than the record (`since`)."""
    import psutil

    if pid is None:
        return "another process"
    try:
        process = psutil.Process(pid)
        if since is not None and process.create_time() > since + 1:
            return "another process"
        stopped = process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    except psutil.Error:
        return "another process"
    return f"process {pid}" + (" (stopped)" if stopped else "")
