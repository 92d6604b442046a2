"""Cuts, one after the other, as a timeline that editing programs open: OpenTimelineIO, CMX3600 EDL.

The only file that touches OpenTimelineIO. Frames are counted from the start of the file, on from
the timecode of its first frame where it has one. An EDL has one frame rate: that of most of its
cuts. It is drop-frame where that is 29.97 or 59.94, unless the footage's own timecode is not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import opentimelineio as otio
from opentimelineio.opentime import RationalTime, TimeRange
from otio_cmx3600_adapter import cmx_3600

from rag.export.cuts import STANDARD_RATES, Cut, Footage

_REEL_LETTERS = 8
_COMMENT_LETTERS = 200
_DROPS = (Fraction(30_000, 1001), Fraction(60_000, 1001))
_TIMECODE = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.,])(\d\d)")


def otio_json(cuts: Sequence[Cut], title: str) -> str:
    """A timeline with a track of pictures and one of sound, as JSON. Each clip keeps its moment in
    its metadata, under `longtake`."""
    return _timeline(cuts, title).to_json_string(indent=2)


def _timeline(cuts: Sequence[Cut], title: str) -> otio.schema.Timeline:
    timeline = otio.schema.Timeline(name=title)
    for name, kind in (("V1", otio.schema.TrackKind.Video), ("A1", otio.schema.TrackKind.Audio)):
        pictures = kind == otio.schema.TrackKind.Video
        held = [cut.footage.has_pictures if pictures else cut.footage.has_sound for cut in cuts]
        if not any(held):
            continue
        track = otio.schema.Track(name=name, kind=kind)
        for cut, here in zip(cuts, held, strict=True):
            rate = float(cut.footage.frame_rate)
            first, last = cut.frames
            origin = _first_frame(cut.footage)
            span = TimeRange(RationalTime(origin + first, rate), RationalTime(last - first, rate))
            track.append(
                _clip(cut, span, rate)
                if here
                else otio.schema.Gap(source_range=TimeRange(RationalTime(0, rate), span.duration))
            )
        timeline.tracks.append(track)
    return timeline


def _clip(cut: Cut, span: TimeRange, rate: float) -> otio.schema.Clip:
    footage, moment = cut.footage, cut.moment
    reference = otio.schema.MissingReference()
    if footage.path is not None:
        reference = otio.schema.ExternalReference(target_url=footage.path.absolute().as_uri())
    reference.name = footage.name
    if footage.duration_seconds:
        frames = footage.frame(footage.duration_seconds)
        reference.available_range = TimeRange(
            RationalTime(_first_frame(footage), rate), RationalTime(frames, rate)
        )
    return otio.schema.Clip(
        name=footage.name,
        source_range=span,
        media_reference=reference,
        metadata={
            "longtake": {
                "video_id": moment.video_id,
                "title": moment.title,
                "start_seconds": moment.start_seconds,
                "end_seconds": moment.end_seconds,
                "score": moment.score,
                "channel": moment.channel,
                "text": moment.text,
            }
        },
    )


def _first_frame(footage: Footage) -> int:
    """The number that the footage's own timecode gives its first frame; 0 without one."""
    found = _TIMECODE.fullmatch((footage.timecode or "").strip())
    if found is None:
        return 0
    hours, minutes, seconds, mark, frames = found.groups()
    nominal = round(footage.frame_rate)
    minute = int(hours) * 60 + int(minutes)
    number = (minute * 60 + int(seconds)) * nominal + int(frames)
    if mark != ":" and footage.frame_rate in _DROPS:
        number -= (minute - minute // 10) * (nominal // 15)
    return number


def edl(cuts: Sequence[Cut], title: str) -> str:
    """A CMX3600 list: an event a cut, recorded one after the other from 00:00:00:00. Times of
    footage of another frame rate are moved to the list's nearest frame."""
    rate, drop = edl_rate(cuts)
    # Timecode without dropped numbers counts 30 frames a second in 29.97 too.
    counted = float(rate if drop else round(rate))
    track = otio.schema.Track(name="V", kind=otio.schema.TrackKind.Video)
    reels = _reels(cuts)
    for cut in cuts:
        footage = cut.footage
        scale = rate / footage.frame_rate
        origin = round(_first_frame(footage) * scale)
        first, last = (round(frame * scale) for frame in cut.frames)
        last = max(last, first + 1)
        clip = otio.schema.Clip(
            name=_one_line(footage.name),
            source_range=TimeRange(
                RationalTime(origin + first, counted), RationalTime(last - first, counted)
            ),
            metadata={"cmx_3600": {"reel": reels[cut.reel]}},
        )
        if footage.path is not None:
            place = _one_line(str(footage.path))
            clip.media_reference = otio.schema.ExternalReference(target_url=place)
        if cut.text:
            comment = f"COMMENT: {_one_line(cut.text)[:_COMMENT_LETTERS]}"
            clip.metadata["cmx_3600"]["comments"] = [comment]
        track.append(clip)
    timeline = otio.schema.Timeline(name=_one_line(title))
    timeline.tracks.append(track)
    text = cmx_3600.write_to_string(timeline, rate=counted)
    return _completed(text, cuts, drop)


def edl_rate(cuts: Sequence[Cut]) -> tuple[Fraction, bool]:
    """The frame rate of a list of these cuts, and whether its timecode drops numbers."""
    by_rate = Counter(_listed_rate(cut.footage.frame_rate) for cut in cuts)
    rate = by_rate.most_common(1)[0][0]
    marks = Counter(
        _TIMECODE.fullmatch(cut.footage.timecode.strip())[4]
        for cut in cuts
        if _listed_rate(cut.footage.frame_rate) == rate
        and _TIMECODE.fullmatch((cut.footage.timecode or "").strip())
    )
    kept = not marks or marks.most_common(1)[0][0] != ":"
    return rate, rate in _DROPS and kept


def timeline_notes(cuts: Sequence[Cut], format: str) -> list[str]:
    """What an editor should know of the times in a timeline of these cuts, in sentences."""
    notes = []
    footages = {cut.reel: cut.footage for cut in cuts}.values()
    for footage in footages:
        if not footage.constant:
            notes.append(
                f"{footage.name}: its frame rate varies; its times are the nearest of "
                f"{float(footage.frame_rate):.5g} frames a second."
            )
    if format == "edl" and len({_listed_rate(footage.frame_rate) for footage in footages}) > 1:
        rate, _ = edl_rate(cuts)
        notes.append(
            f"An EDL has one frame rate, here {float(rate):.5g} a second; the times of videos with "
            "another one are moved to the nearest frame. OpenTimelineIO (.otio) keeps each."
        )
    return notes


def _listed_rate(rate: Fraction) -> Fraction:
    """The standard rate that a frame rate is, or the least that it divides, or the next one."""
    whole = [known for known in STANDARD_RATES if (known / rate).denominator == 1]
    return whole[0] if whole else min(STANDARD_RATES, key=lambda known: abs(known - rate))


def _completed(text: str, cuts: Sequence[Cut], drop: bool) -> str:
    """With what the adapter leaves out: how frames are counted, and the sound."""
    lines = text.splitlines()
    lines.insert(1, f"FCM: {'DROP FRAME' if drop else 'NON-DROP FRAME'}")
    footage = iter(cut.footage for cut in cuts)
    for at, line in enumerate(lines):
        if line[:1].isdigit():
            lines[at] = line.replace(" V     C ", f" {_channels(next(footage)):<5} C ", 1)
    return "\n".join(lines) + "\n"


def _channels(footage: Footage) -> str:
    return {(True, True): "AA/V", (True, False): "V", (False, True): "AA"}.get(
        (footage.has_pictures, footage.has_sound), "V"
    )


def _reels(cuts: Sequence[Cut]) -> dict[str, str]:
    """`Cut.reel` -> its name: eight letters and digits that no other has."""
    reels: dict[str, str] = {}
    for cut in cuts:
        if cut.reel in reels:
            continue
        stem = cut.footage.name.rpartition(".")[0] or cut.footage.name
        letters = re.sub(r"[^A-Z0-9]", "", stem.upper()) or "REEL"
        reel, number = letters[:_REEL_LETTERS], 1
        while reel in reels.values() or reel in ("AX", "BL"):
            number += 1
            reel = f"{letters[: _REEL_LETTERS - len(str(number))]}{number}"
        reels[cut.reel] = reel
    return reels


def _one_line(text: str) -> str:
    """Text that cannot be taken for another line of the list."""
    return "".join(filter(str.isprintable, " ".join(text.split())))
