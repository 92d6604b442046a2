"""Which parts of the sound are speech, in chunks of bounded length that end at pauses.

Decided stretch by stretch. A stretch begins with all decisions dropped and ends in silence, or,
where somebody talks on for as long as a chunk may last, in the best pause there is. So a run that
is resumed at the end of any stretch finds the same chunks, provided that it sees the same
probabilities. The network is recurrent, and its memory long: started afresh it takes half a minute
until it does not take music for speech any more. So every three minutes of the clock it is replaced
by one that was started afresh a minute earlier: what is said about a window then depends on nothing
but the sound since the minute before the three that it is in.

Silero's network takes singing for speech, though seldom with confidence: of a French song of 183 s,
59 s reach its usual threshold of .5, but 1.5 s reach .9; of talks it is a third to nine tenths of
what reaches .5. So a phrase counts when it is sure in itself (some windows of .9), or stands in a
stretch where a fair share of the windows are sure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ingest.models.silero import SAMPLE_RATE, WINDOW, VoiceState, fresh_state

if TYPE_CHECKING:
    from ingest.audio import AudioBlock

VOICE_VERSION = 1
"""Raised when a change in this file moves chunks or what counts as speech in them."""

_CELL = 5625  # windows; three minutes to the sample
_WARM_UP = 1875  # one minute
_BATCH = 75  # 2.4 s; divides both
_SPEECH = 0.5
_SILENCE = 0.35
_SURE = 0.9
_SURE_WINDOWS = 3
_SURE_SHARE = 0.1
_GAP_WINDOWS = 6  # shorter gaps are within a phrase
_BLIP_WINDOWS = 3  # phrases that are not longer are none
_PAD = 9  # around a phrase: what begins and ends it softly
_MARGIN = 31  # of sound around a chunk, as far as its length allows
_PAUSE_WINDOWS = 4
_GOOD_PAUSE_WINDOWS = 16
_SILENCE_WINDOWS = 157  # 5 s: they end a stretch
_QUIET_WINDOWS = 313  # 10 s without speech are a stretch


class Voice(Protocol):
    """What tells speech; ingest.models.silero.SileroVoice is the real one."""

    name: str

    def probabilities(
        self, samples: np.ndarray, state: VoiceState
    ) -> tuple[np.ndarray, VoiceState]: ...


@dataclass(frozen=True, slots=True)
class Chunk:
    """Sound for a recogniser.

    samples: float32 of shape (samples,), mono, 16 kHz. speech: where in it somebody speaks,
    half-open spans on the video's clock, in order, each a little longer than the voice is heard.
    """

    start_seconds: float
    samples: np.ndarray
    speech: tuple[tuple[float, float], ...]

    @property
    def end_seconds(self) -> float:
        return self.start_seconds + len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Stretch:
    """The chunks (none, as a rule one) up to `end_seconds`, where all state is dropped."""

    chunks: tuple[Chunk, ...]
    end_seconds: float


Span = tuple[int, int]
"""Half-open, in windows."""


def first_sound_seconds(from_seconds: float) -> float:
    """Where the sound must begin that `stretches` is given for `from_seconds`."""
    cell = _window(from_seconds) // _CELL
    return max(0, cell * _CELL - _WARM_UP) * WINDOW / SAMPLE_RATE


def stretches(
    voice: Voice,
    sound: Iterator[AudioBlock],
    from_seconds: float = 0.0,
    *,
    chunk_seconds: float = 30.0,
) -> Iterator[Stretch]:
    """Stretches from `from_seconds` to the end of the sound, one after the other.

    sound: 16 kHz, from `first_sound_seconds(from_seconds)` on. from_seconds: 0, or the end of a
    stretch. chunk_seconds: no chunk is longer. Keeps about that much sound in memory.
    """
    longest = int(chunk_seconds * SAMPLE_RATE) // WINDOW - 2 * _PAD
    begin = _window(from_seconds)
    tape = _Tape(sound, round(first_sound_seconds(from_seconds) * SAMPLE_RATE))
    heard = _Heard(voice, tape, begin)
    while True:
        end, phrases = _listen(heard, longest)
        spans = _padded(_counted(heard.probabilities, phrases), end)
        groups = _groups(spans, longest + 2 * _PAD)
        chunks = tuple(_chunk(tape, begin, end, longest + 2 * _PAD, group) for group in groups)
        if heard.ended and end >= len(heard.probabilities):
            yield Stretch(chunks, tape.end / SAMPLE_RATE)
            return
        begin += end
        yield Stretch(chunks, begin * WINDOW / SAMPLE_RATE)
        heard.advance(end)


def _window(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE) // WINDOW


class _Tape:
    """The sound that is still needed, by sample number."""

    def __init__(self, sound: Iterator[AudioBlock], first: int):
        self._sound = sound
        self._first = first
        self._blocks: list[np.ndarray] = []
        self.end = first

    def reach(self, end: int) -> bool:
        """Whether there is sound up to the sample number `end`."""
        while self.end < end:
            block = next(self._sound, None)
            if block is None:
                return False
            self._blocks.append(block.samples)
            self.end += len(block.samples)
        return True

    def samples(self, start: int, end: int) -> np.ndarray:
        """Those samples; what lies beyond the end of the sound is left out."""
        found, at = [], self._first
        for block in self._blocks:
            if at < end and at + len(block) > start:
                found.append(block[max(0, start - at) : end - at])
            at += len(block)
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def forget(self, before: int) -> None:
        while self._blocks and self._first + len(self._blocks[0]) <= before:
            self._first += len(self._blocks.pop(0))


class _Heard:
    """Probabilities from window `begin` on, as far as they are known. ended: all are."""

    def __init__(self, voice: Voice, tape: _Tape, begin: int):
        self._voice, self._tape = voice, tape
        self._next = tape.end // WINDOW
        self._begin = begin
        self._state = self._warming = fresh_state()
        self.probabilities = np.zeros(0, np.float32)
        self.ended = False
        while self._next < begin and not self.ended:
            self.more()

    def more(self) -> None:
        """Hears the next batch."""
        first, end = self._next, self._next + _BATCH
        if first % _CELL == 0:
            self._state, self._warming = self._warming, fresh_state()
        self.ended = not self._tape.reach(end * WINDOW)
        samples = self._tape.samples(first * WINDOW, end * WINDOW)
        self._next = end
        if not len(samples):
            return
        if len(samples) % WINDOW:
            samples = np.pad(samples, (0, -len(samples) % WINDOW))
        found, self._state = self._voice.probabilities(samples, self._state)
        if first % _CELL >= _CELL - _WARM_UP:
            _, self._warming = self._voice.probabilities(samples, self._warming)
        known = found[max(0, self._begin - first) :]
        self.probabilities = np.concatenate([self.probabilities, known])
        self._tape.forget(min(end, self._begin) * WINDOW)

    def advance(self, windows: int) -> None:
        """Forgets what lies before the beginning moved on by so many windows."""
        self._begin += windows
        self.probabilities = self.probabilities[windows:]
        self._tape.forget(self._begin * WINDOW)


def _listen(heard: _Heard, longest: int) -> tuple[int, list[Span]]:
    """Where the stretch ends, in windows from its beginning, and the phrases up to there."""
    while True:
        found = heard.probabilities
        phrases = _phrases(found)
        ended = _end_of_stretch(found, phrases, longest)
        if ended is not None:
            end, count = ended
            return end, [(a, min(b, end)) for a, b in phrases[:count]]
        if heard.ended:
            return len(found), phrases
        heard.more()


def _end_of_stretch(found: np.ndarray, phrases: list[Span], longest: int) -> tuple[int, int] | None:
    """The end, and how many phrases begin before it; None where more must be heard. What lies
    further ahead never changes the answer: a resumed run knows less of it."""
    begin = phrases[0][0] if phrases else len(found)
    if begin >= _QUIET_WINDOWS - _PAD and len(found) >= _QUIET_WINDOWS:
        return _QUIET_WINDOWS - _PAD, 0
    if not phrases:
        return None
    following = [start for start, _ in phrases[1:]] + [len(found)]
    for count, ((_, end), next_start) in enumerate(zip(phrases, following, strict=True), 1):
        if end - begin > longest:
            cut = _cut(found, begin, longest)
            return cut, sum(start < cut for start, _ in phrases)
        if next_start - end >= _SILENCE_WINDOWS:
            return end + _SILENCE_WINDOWS // 2, count
    return None


def _phrases(probabilities: np.ndarray) -> list[Span]:
    """Runs of windows with a voice in them: from one that reaches the threshold to the last before
    a gap, with hysteresis."""
    spans: list[Span] = []
    voiced = np.flatnonzero(probabilities >= _SILENCE)
    for run in np.split(voiced, np.flatnonzero(np.diff(voiced) > _GAP_WINDOWS) + 1):
        speech = run[probabilities[run] >= _SPEECH]
        if len(speech) and run[-1] + 1 - speech[0] > _BLIP_WINDOWS:
            spans.append((int(speech[0]), int(run[-1]) + 1))
    return spans


def _cut(probabilities: np.ndarray, begin: int, longest: int) -> int:
    """Where to cut speech that goes on for too long: in the middle of the last good pause of its
    second half; else of the longest pause there; else, as it must, where speech is least likely."""
    first, last = begin + longest // 2, begin + longest
    quiet = np.flatnonzero(probabilities[first:last] < _SILENCE) + first
    runs = [
        run
        for run in np.split(quiet, np.flatnonzero(np.diff(quiet) > 1) + 1)
        if len(run) >= _PAUSE_WINDOWS
    ]
    good = [run for run in runs if len(run) >= _GOOD_PAUSE_WINDOWS]
    if good:
        best = good[-1]
    elif runs:
        best = max(runs, key=len)
    else:
        return first + int(np.argmin(probabilities[first:last]))
    return int(best[0] + len(best) // 2)


def _counted(probabilities: np.ndarray, phrases: list[Span]) -> list[Span]:
    """The phrases that are speech; see the module."""
    if not phrases:
        return []
    within = np.concatenate([probabilities[a:b] for a, b in phrases])
    share = (within >= _SURE).sum() / max(1, (within >= _SPEECH).sum())
    if share >= _SURE_SHARE:
        return phrases
    return [(a, b) for a, b in phrases if (probabilities[a:b] >= _SURE).sum() >= _SURE_WINDOWS]


def _padded(phrases: list[Span], end: int) -> list[Span]:
    spans: list[Span] = []
    for a, b in phrases:
        a, b = max(0, a - _PAD), min(end, b + _PAD)
        if spans and a <= spans[-1][1]:
            spans[-1] = (spans[-1][0], b)
        else:
            spans.append((a, b))
    return spans


def _groups(spans: list[Span], longest: int) -> list[list[Span]]:
    """Spans that go into one chunk: those with less than a long silence between them."""
    groups: list[list[Span]] = []
    for span in spans:
        near = groups and span[0] - groups[-1][-1][1] < _SILENCE_WINDOWS
        if near and span[1] - groups[-1][0][0] <= longest:
            groups[-1].append(span)
        else:
            groups.append([span])
    return groups


def _chunk(tape: _Tape, begin: int, end: int, longest: int, spans: list[Span]) -> Chunk:
    """spans, end: in windows from `begin`, between which the stretch lies."""
    first, last = spans[0][0], spans[-1][1]
    first -= min(_MARGIN, first, longest - (last - first))
    last += min(_MARGIN, end - last, longest - (last - first))
    samples = tape.samples((begin + first) * WINDOW, (begin + last) * WINDOW)
    start_seconds = (begin + first) * WINDOW / SAMPLE_RATE
    end_seconds = start_seconds + len(samples) / SAMPLE_RATE
    speech = (
        ((begin + a) * WINDOW / SAMPLE_RATE, min(end_seconds, (begin + b) * WINDOW / SAMPLE_RATE))
        for a, b in spans
    )
    return Chunk(start_seconds, samples, tuple(speech))
