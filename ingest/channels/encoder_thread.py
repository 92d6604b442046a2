"""Encodes in a thread, in batches, while whoever brings the pictures goes on decoding."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from ingest.models.encoders import ImageEncoder

_BATCH = 16
"""Where neither the settings nor the encoder say."""

_AHEAD_BYTES = 256 * 2**20
"""Of pictures that wait, whatever the batch; one picture may always wait."""

_LINGER_SECONDS = 0.25
"""A batch that is not full goes when nothing has come for so long: a live stream has nothing to
fill it with."""


class EncoderThread:
    """Pictures in, their vectors out, in the same order, encoded elsewhere meanwhile.

    At most a batch waits while another is in work. An encoder that has `start_images` (see
    ingest.models.clip) is given the next batch before the last one's vectors are asked for, so
    that a GPU does not wait for pictures to be made ready. One that has `fit` has each picture cut
    to its size as it comes, on all cores, so that hundreds of large ones can wait for its batch.

    encoder: called from the thread alone. batch: pictures at once; 0 is the encoder's own `batch`.
    """

    def __init__(self, encoder: ImageEncoder, batch: int = 0):
        self._batch = batch or getattr(encoder, "batch", 0) or _BATCH
        self._start_images = getattr(encoder, "start_images", None) or _in_one_step(encoder)
        self._fit: Callable[[np.ndarray], np.ndarray] | None = getattr(encoder, "fit", None)
        self._fitters = None if self._fit is None else ThreadPoolExecutor(thread_name_prefix="fit")
        self._changed = threading.Condition()
        # All below is guarded by it.
        self._waiting: deque[Future[np.ndarray]] = deque()
        self._waiting_bytes = 0
        self._fitting = 0  # pictures that will take less once they are cut to size
        self._wanted: np.ndarray | None = None  # a picture that would like to wait
        self._draining = self._stopped = False
        self._unfinished = 0  # pictures put whose vectors are not there yet
        self._vectors: list[np.ndarray] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="encode-frames", daemon=True)
        self._thread.start()

    def put(self, image: np.ndarray) -> None:
        """Waits while the queue is full. Raises what the encoder raised."""
        with self._changed:
            self._wanted = image
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._has_room(image) or self._error or self._stopped)
            self._wanted = None
            self._raise()
            if self._stopped:
                return
            self._waiting.append(self._fitted(image))
            self._waiting_bytes += image.nbytes
            self._unfinished += 1
            self._changed.notify_all()

    def _fitted(self, image: np.ndarray) -> Future[np.ndarray]:
        if self._fitters is None:
            ready: Future[np.ndarray] = Future()
            ready.set_result(image)
            return ready
        self._fitting += 1
        return self._fitters.submit(self._cut_to_size, image)

    def _cut_to_size(self, image: np.ndarray) -> np.ndarray:
        fitted = image
        try:
            fitted = self._fit(image)
        finally:
            with self._changed:
                self._fitting -= 1
                self._waiting_bytes += fitted.nbytes - image.nbytes
                self._changed.notify_all()
        return fitted

    def take(self) -> list[np.ndarray]:
        """The vectors that have come since: float32 of shape (size,) each. Does not wait. Raises
        what the encoder raised."""
        with self._changed:
            self._raise()
            vectors, self._vectors = self._vectors, []
            return vectors

    def drain(self) -> list[np.ndarray]:
        """All that is left; waits for it. Raises what the encoder raised."""
        with self._changed:
            self._draining = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._unfinished or self._error or self._stopped)
            self._draining = False
        return self.take()

    def stop(self) -> None:
        """The thread ends after the batch in work; does not wait for it."""
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._changed.notify_all()
        if self._fitters is not None:
            self._fitters.shutdown(wait=False, cancel_futures=True)

    def join(self) -> None:
        self._thread.join()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _has_room(self, image: np.ndarray) -> bool:
        return not self._waiting or (
            len(self._waiting) < self._batch and self._waiting_bytes + image.nbytes <= _AHEAD_BYTES
        )

    def _run(self) -> None:
        started: Callable[[], np.ndarray] | None = None
        try:
            while True:
                images = self._next(wait=started is None)
                if images is None:
                    return
                begun = self._start_images(images) if images else None
                if started is not None:
                    self._deliver(started())
                started = begun
        except BaseException as error:  # whatever it is, it belongs to whoever pushes
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _next(self, *, wait: bool) -> list[np.ndarray] | None:
        """The next batch; empty where `wait` is not wanted and none is due; None to end."""
        with self._changed:
            while not self._stopped and not self._due():
                if not wait:
                    return []
                before = self._unfinished
                came = self._changed.wait(_LINGER_SECONDS if self._waiting else None)
                if not came and self._waiting and self._unfinished == before:
                    break
            if self._stopped:
                return None
            due = [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
        images = [each.result() for each in due]
        with self._changed:
            self._waiting_bytes -= sum(image.nbytes for image in images)
            self._changed.notify_all()
        return images

    def _due(self) -> bool:
        """Whether to encode now what waits: a batch is full, or will not get fuller."""
        wanted = self._wanted
        held_up = wanted is not None and not self._fitting and not self._has_room(wanted)
        return len(self._waiting) >= self._batch or bool(
            self._waiting and (held_up or self._draining)
        )

    def _deliver(self, vectors: np.ndarray) -> None:
        with self._changed:
            self._vectors.extend(vectors)
            self._unfinished -= len(vectors)
            self._changed.notify_all()


def _in_one_step(encoder: ImageEncoder) -> Callable[[Sequence[np.ndarray]], Callable]:
    def start_images(images: Sequence[np.ndarray]) -> Callable[[], np.ndarray]:
        vectors = encoder.encode_images(images)
        return lambda: vectors

    return start_images
