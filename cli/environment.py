"""What may be wrong with the Python environment itself."""

from __future__ import annotations

import importlib
import importlib.metadata

_OPENCV_VARIANTS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
    "opencv-python-rolling",
    "opencv-python-headless-rolling",
)
"""Distributions that all install the one folder `cv2`."""


def opencv_problem() -> str | None:
    """Why OpenCV does not work here, and the way out; None where it does.

    Longtake needs opencv-python-headless. A package installed besides may bring in another variant,
    which overwrites it (and needs libGL, which servers lack); removing that one again takes files
    away that both had.
    """
    try:
        cv2 = importlib.import_module("cv2")
        # A `cv2` folder of which only scraps are left still imports, as an empty package.
        trouble = None if hasattr(cv2, "resize") else "its files are incomplete"
    except ImportError as error:
        trouble = str(error)
    except Exception as error:  # it fails in many ways when its numpy is another one
        trouble = f"{type(error).__name__}: {error}"
    if trouble is None:
        return None
    others = [name for name in _OPENCV_VARIANTS if _installed(name)]
    listed = " and ".join(others) or "none of its packages"
    strays = [name for name in others if name != "opencv-python-headless"]
    remove = f"`pip uninstall -y {' '.join(strays)}`, then " if strays else ""
    return (
        f"OpenCV does not work: {trouble.rstrip('.')} (installed: {listed}). Run {remove}"
        f"`pip install --force-reinstall --no-deps opencv-python-headless`."
    )


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
