"""Subtitles of a live source: each is evidence as soon as it comes."""

from __future__ import annotations

from index.languages import language_tag
from index.schema import Evidence, Generation
from index.text import detect_language
from ingest.channels.speech import written_evidence
from ingest.cues import Cue
from ingest.media import SubtitlePacket
from ingest.subtitles import Track, packet_cue

CODE = 1
"""Raised when the same subtitles come out as other evidence."""

LATE_SECONDS = 2.0
"""Subtitles may come so much later than the pictures that they belong to."""


class LiveWords:
    """Subtitle packets in, evidence of the channel `speech` out.

    What a stream repeats while it is still shown (as packagers do at the borders of pieces) is
    said once.
    """

    def __init__(self, generation: Generation):
        self._generation = generation
        self._last: dict[int, Evidence] = {}
        self._watermark_seconds = generation.watermark_seconds

    def push(self, packet: SubtitlePacket) -> list[Evidence]:
        cue = packet_cue(packet)
        text = " ".join(cue.text.split("\n"))
        if not text:
            return []
        language = language_tag(packet.language) or detect_language(text)
        start = max(cue.start_seconds, self._watermark_seconds)
        cue = Cue(start, max(cue.end_seconds, start), text, cue.speaker)
        track = Track(language, f"stream {packet.stream_index}", ())
        said = written_evidence(self._generation, cue, track)
        last = self._last.get(packet.stream_index)
        if last is not None and last.text == text and start <= last.end_seconds:
            return []
        self._last[packet.stream_index] = said
        return [said]

    def watermark(self, at_seconds: float) -> float:
        """Given how far the pictures have come: nothing begins before it any more."""
        self._watermark_seconds = max(self._watermark_seconds, at_seconds - LATE_SECONDS)
        return self._watermark_seconds
