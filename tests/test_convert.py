"""Records are read by several threads at once, the first time too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

READ = """
import sys, threading
from index.records import video_from, video_point
from index.schema import Video

sys.setswitchinterval(1e-6)
point = video_point(Video("v", "v"))
together = threading.Barrier(8)

def read():
    together.wait()
    for _ in range(20):
        assert video_from(point.payload) == Video("v", "v")

threads = [threading.Thread(target=read) for _ in range(8)]
for one in threads:
    one.start()
for one in threads:
    one.join()
"""


def test_the_first_reading_may_be_by_several_threads_at_once():
    """Without a lock three in ten of these processes end with a segmentation fault."""
    for _ in range(8):
        done = subprocess.run(
            [sys.executable, "-c", READ], cwd=Path(__file__).parents[1], capture_output=True
        )
        assert done.returncode == 0, done.stderr.decode()
