"""What a picture looks like, in 256 bits: Facebook's PDQ perceptual hash.

The paper is "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm" (2019). The
package of that name has no wheels for Linux, and an install that needs a compiler would be too dear
for these few lines; on 279 of 280 pictures they gave the package's own bits and quality (the other
was flat gray, whose bits are rounding noise), the bits in reverse order.

Measured by benchmarks/fingerprint.py, 147 frames of an animated film at 640x360 (bits of 256, and
the share of copies within the two distances below):

    copy                  median   95%    same    near
    jpeg quality 30            2    12   1.000   1.000
    jpeg quality 10            6    22    .973   1.000
    half size                  0     2   1.000   1.000
    quarter size               2     6   1.000   1.000
    brighter by 30             6    14   1.000   1.000
    2% cut off                20    30    .952   1.000
    5% cut off                44    58    .095    .993
    10% cut off               80   102    .000    .102
    logo added                14    72    .837    .932
    subtitle added            16    59    .857    .959
    black bars of 10%         88   112    .000    .027

Of 8,665 pairs of different frames, over a minute apart, the nearest differ in 94 bits. Bars,
mirrored pictures and larger cuts are beyond this hash.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BITS = 256
SIDE = 64
"""Pixels. Pictures are squeezed to a square of this side first, which is what PDQ's cosine
transform takes. Its authors squeeze to 512 and blur from there; straight to 64 costs 0.6 ms instead
of 7.6 for a 640x360 picture, and copies of another size come out nearer: half size 2 bits instead
of 10, a quarter 6 instead of 17 (95th percentiles over 150 frames). So these bits are near to, but
not the same as, those of other PDQ programs."""

SAME_PICTURE_DISTANCE = 31
"""Bits in which copies of one picture differ at most: recompressed, scaled, brightened, stretched.
It is also what PDQ's authors advise."""
NEAR_PICTURE_DISTANCE = 64
"""Bits for nearly the same picture: a logo or a subtitle added, 5% cut off."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """bits: bool of shape (256,). quality: 0..100, how much there is to tell the picture by."""

    bits: np.ndarray
    quality: int

    @property
    def hex(self) -> str:
        """The bits as 64 hexadecimal digits, the first bit first."""
        return np.packbits(self.bits).tobytes().hex()


_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_FREQUENCIES = np.arange(1, 17)[:, None]
_PLACES = 2 * np.arange(SIDE)[None] + 1
_COSINES = np.float32(np.sqrt(2 / SIDE)) * np.cos(
    np.pi / 2 / SIDE * _FREQUENCIES * _PLACES, dtype=np.float64
).astype(np.float32)
"""(16, SIDE): the lowest frequencies of a cosine transform, the constant left out."""

_GRADIENT_SUM_OF_FULL_QUALITY = 90


def fingerprint(image: np.ndarray) -> Fingerprint:
    """image: uint8 of shape (height, width, 3), RGB, of any size."""
    import cv2

    small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    luma = small.astype(np.float32) @ _LUMA
    transformed = (_COSINES @ luma @ _COSINES.T).ravel()
    median = np.partition(transformed, BITS // 2 - 1)[BITS // 2 - 1]
    steps = (np.trunc(np.diff(luma, axis=axis) * 100 / 255) for axis in (0, 1))
    gradients = sum(float(np.abs(step).sum()) for step in steps)
    return Fingerprint(
        transformed > median, min(100, int(gradients / _GRADIENT_SUM_OF_FULL_QUALITY))
    )


MIRRORED = np.where(np.arange(BITS) % 2, np.float32(1), np.float32(-1))
"""Times the vector of a picture, about that of the picture mirrored left to right, which turns the
sign of every other frequency: on 233 frames of five films half were within 6 bits of it, 99% within
21."""


def to_vector(bits: np.ndarray) -> np.ndarray:
    """float32 of shape (256,), each -1 or +1: the cosine of two is 1 - 2 * hamming / 256."""
    return np.where(bits, np.float32(1), np.float32(-1))


def hamming(a: np.ndarray, b: np.ndarray) -> int:
    """The number of bits, 0..256, in which two fingerprints differ."""
    return int(np.count_nonzero(a != b))


def cosine(distance: float) -> float:
    """The cosine of the vectors of two pictures at this Hamming distance."""
    return 1 - 2 * distance / BITS
