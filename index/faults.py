"""Places where the tests can kill the process, so that what a kill leaves behind is known.

For tests only. With `LONGTAKE_FAULT="name"` in the environment the process kills itself (SIGKILL:
no handler, no flush) the first time it reaches the point of that name, with `"name:3"` the third
time. Without it a fault point is one comparison.
"""

from __future__ import annotations

import os
import signal

_name = os.environ.get("LONGTAKE_FAULT", "")
_left = 1
if (_parts := _name.rpartition(":"))[2].isdecimal():  # channels have colons in their names, too
    _name, _left = _parts[0], int(_parts[2])


def fault_point(name: str) -> None:
    """Dies here if the environment asks for it."""
    global _left
    if not _name or name != _name:
        return
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
