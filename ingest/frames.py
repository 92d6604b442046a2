"""Decoded frames as pictures: as people see them, or small for analysis.

With ingest/media.py and ingest/decode.py the only place that touches PyAV.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter

_PLANAR = {
    **dict.fromkeys(("yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuv410p"), 8),
    **dict.fromkeys(("yuvj420p", "yuvj422p", "yuvj444p", "yuvj440p"), 8),
    **dict.fromkeys(("yuv420p10le", "yuv422p10le", "yuv444p10le"), 10),
    **dict.fromkeys(("yuv420p12le", "yuv422p12le", "yuv444p12le"), 12),
}
_RANGE_IS_FULL = 2  # AVCOL_RANGE_JPEG


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A decoded picture, still as the decoder left it; see picture and small_bgr.

    time_seconds: when it is shown; strictly increasing. index: from 0 for the first one yielded.
    pixel_aspect: width over height of one pixel.
    """

    time_seconds: float
    index: int
    frame: av.VideoFrame
    pixel_aspect: Fraction = Fraction(1)


def pixel_aspect(stream: av.VideoStream) -> Fraction:
    """Width over height of one pixel of a stream; 1 where what it says makes no sense."""
    aspect = stream.sample_aspect_ratio
    usable = aspect and Fraction(1, 10) <= aspect <= 10
    return Fraction(aspect) if usable else Fraction(1)


_local = threading.local()


def picture(decoded: DecodedFrame) -> np.ndarray:
    """The picture as people see it: uint8 of shape (height, width, 3), RGB, upright, with square
    pixels (the shorter side of oblong pixels is stretched, so nothing is lost)."""
    frame = decoded.frame
    if not hasattr(_local, "reformatter"):
        _local.reformatter = VideoReformatter()
    untagged = frame.colorspace in (2, 3)
    image = _local.reformatter.reformat(
        frame,
        format="rgb24",
        # Players take large pictures that do not say for BT.709; FFmpeg for BT.601.
        src_colorspace=Colorspace.ITU709 if untagged and frame.height > 576 else None,
        threads=1,
    ).to_ndarray()
    aspect = decoded.pixel_aspect
    if aspect != 1:
        height, width = image.shape[:2]
        size = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
        image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(_upright(image, frame))


def small_bgr(frame: av.VideoFrame, width: int) -> np.ndarray:
    """A small copy for analysis: uint8 of shape (h, w, 3), BGR, upright, `width` wide (or as wide
    as the frame, if less).

    The planes are reduced before their colours are converted: that is what keeps it cheap.
    """
    quarter = clockwise_degrees(frame) % 180 == 90
    factor = max(1.0, (frame.height if quarter else frame.width) / width)
    size = (max(1, round(frame.width / factor)), max(1, round(frame.height / factor)))
    depth = _PLANAR.get(frame.format.name)
    if depth is None or any(plane.line_size <= 0 for plane in frame.planes):
        image = frame.reformat(*size, format="bgr24", threads=1).to_ndarray()
        return np.ascontiguousarray(_upright(image, frame))
    full = frame.format.name.startswith("yuvj") or frame.color_range == _RANGE_IS_FULL
    luma = _resized(frame.planes[0], size, depth, cv2.INTER_LINEAR)
    # FFmpeg's converter repeats the coarser colour samples, so taking the nearest one is equal.
    blue = _resized(frame.planes[1], size, depth, cv2.INTER_NEAREST_EXACT)
    red = _resized(frame.planes[2], size, depth, cv2.INTER_NEAREST_EXACT)
    image = _bgr(luma, blue, red, _FULL_RANGE if full else _LIMITED_RANGE)
    return _upright(image, frame)


def clockwise_degrees(frame: av.VideoFrame) -> int:
    """How far the picture is turned clockwise to stand upright: 0, 90, 180 or 270."""
    return round(-frame.rotation / 90) % 4 * 90


def _resized(
    plane: av.video.plane.VideoPlane, size: tuple[int, int], depth: int, interpolation: int
) -> np.ndarray:
    if depth == 8:
        image = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    else:
        image = np.frombuffer(plane, np.uint16).reshape(-1, plane.line_size // 2)
    image = image[: plane.height, : plane.width]
    if (plane.width, plane.height) != size:
        image = cv2.resize(image, size, interpolation=interpolation)
    return image if depth == 8 else (image >> (depth - 8)).astype(np.uint8)


class _Colours(NamedTuple):
    """BT.601 to RGB in 16-bit arithmetic: a factor f is (whole, m, s), f = whole + m / 2**s."""

    black: int
    luma: tuple[int, int, int]
    blue: tuple[int, int, int]
    green_of_blue: tuple[int, int, int]
    green_of_red: tuple[int, int, int]
    red: tuple[int, int, int]


_LIMITED_RANGE_COLOURS = _Colours(
    16, (1, 84, 9), (2, 141, 13), (0, -201, 9), (0, -208, 8), (1, 153, 8)
)
_FULL_RANGE_COLOURS = _Colours(0, (1, 0, 0), (1, 198, 8), (0, -176, 9), (0, -183, 8), (1, 103, 8))


def _times(plane: np.ndarray, factor: tuple[int, int, int]) -> np.ndarray:
    whole, numerator, shift = factor
    if not numerator:
        return plane * np.int16(whole)
    product = plane * np.int16(numerator)
    product >>= shift
    for _ in range(whole):
        product += plane
    return product


class _Tables:
    """What each value of a plane adds to each colour: int16 of shape (256,)."""

    def __init__(self, colours: _Colours):
        values = np.arange(256, dtype=np.int16)
        self.luma = _times(values - colours.black, colours.luma)
        self.blue = _times(values - 128, colours.blue)
        self.green_of_blue = _times(values - 128, colours.green_of_blue)
        self.green_of_red = _times(values - 128, colours.green_of_red)
        self.red = _times(values - 128, colours.red)


_LIMITED_RANGE = _Tables(_LIMITED_RANGE_COLOURS)
_FULL_RANGE = _Tables(_FULL_RANGE_COLOURS)


def _bgr(luma: np.ndarray, blue: np.ndarray, red: np.ndarray, tables: _Tables) -> np.ndarray:
    """Three planes, uint8 of one size, to uint8 (h, w, 3), BGR.

    Each term is rounded down by itself, as in FFmpeg's fast converter, whose pictures
    PySceneDetect looks at: in pictures that are nearly black, one level more or less is the whole
    saturation, and cuts hang on it.
    """
    base = cv2.LUT(luma, tables.luma)
    green = cv2.LUT(blue, tables.green_of_blue)
    green += cv2.LUT(red, tables.green_of_red)
    planes = (cv2.LUT(blue, tables.blue), green, cv2.LUT(red, tables.red))
    image = cv2.merge([base + plane for plane in planes])
    return cv2.add(image, (0, 0, 0, 0), dtype=cv2.CV_8U)  # saturates


def _upright(image: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Turns and mirrors as the display matrix says; a view where that is enough."""
    if not frame.rotation and not len(frame.side_data):
        return image
    for side in frame.side_data:
        if side.type.name == "DISPLAYMATRIX":
            right, down, left_down, below = np.frombuffer(side, np.int32)[[0, 1, 3, 4]]
            break
    else:
        return image
    # x' = a x + c y and y' = b x + d y with (a, b, c, d) as below.
    a, b, c, d = int(right), int(down), int(left_down), int(below)
    if abs(b) > abs(a):
        image = image.transpose(1, 0, 2)
        flip_x, flip_y = c < 0, b < 0
    else:
        flip_x, flip_y = a < 0, d < 0
    return image[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
