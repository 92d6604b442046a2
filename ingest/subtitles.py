"""Subtitles: what is said in files beside a video and inside its container.

SubStation Alpha is pysubs2's business. SubRip and WebVTT, which are little more than times and
lines, are read here: broken files are common, and pysubs2 takes a time that it does not understand
for text, a text that holds two times for a cue, and WebVTT's names, comments and styles for speech.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from index.errors import DamagedMediaError, MediaError, SubtitleError
from index.languages import language_tag
from ingest.cues import Cue, count, plain, reading_seconds, tidy
from ingest.sidecars import Sidecar, folded, is_forced

if TYPE_CHECKING:
    from ingest.media import SubtitlePacket

_ARROW = "-->"
_TIME = re.compile(r"(-)?(?:(\d+):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,3}))?")

_CODE_PAGES = {
    **dict.fromkeys(("ru", "uk", "bg", "be", "mk", "sr"), "cp1251"),
    **dict.fromkeys(("pl", "cs", "sk", "hu", "sl", "hr", "bs", "ro", "sq"), "cp1250"),
    **dict.fromkeys(("et", "lv", "lt"), "cp1257"),
    **dict.fromkeys(("ar", "fa", "ur"), "cp1256"),
    "el": "cp1253",
    "tr": "cp1254",
    "he": "cp1255",
    "vi": "cp1258",
    "th": "cp874",
    "zh": "gb18030",
    "ja": "cp932",
    "ko": "cp949",
}
"""What old subtitle files in a language are written in; others in cp1252."""


@dataclass(frozen=True, slots=True)
class Track:
    """One language's subtitles, from one place, in time order.

    language: BCP 47 primary tag; None where not even detection is sure. source: for people, such
    as "friday.vtt" or "stream 3". forced: only what is said in a foreign language. damaged: not
    all of it could be read.
    """

    language: str | None
    source: str
    cues: tuple[Cue, ...]
    forced: bool = False
    for_the_deaf: bool = False
    damaged: bool = False


# --- What is in a file ----------------------------------------------------------------------


def read_sidecar(
    sidecar: Sidecar, duration_seconds: float | None = None
) -> tuple[Track, list[str]]:
    """The track in a subtitle file, and notes on what had to be assumed or mended.

    Raises SubtitleError where it cannot be read, or holds no subtitles.
    """
    path = sidecar.path
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SubtitleError(
            f"{path}: cannot be read ({error.strerror}); check its permissions."
        ) from error
    text, notes = decode(data, path, sidecar.language)
    broken = 0
    if path.suffix.lower() in (".ass", ".ssa") or "[Script Info]" in text[:1000]:
        cues = list(_read_substation(text, path))
    else:
        cues, broken = _read_subrip(text)
        if broken:
            notes.append(
                f"{count(broken, 'cue')} with unreadable times left out; correct them in a text "
                "editor to have all"
            )
    if not cues and text.strip() and not text.lstrip().startswith(("WEBVTT", "[Script Info]")):
        raise SubtitleError(
            f"{path}: holds no subtitles that can be read; save it as SubRip (.srt) or WebVTT "
            "(.vtt) in UTF-8."
        )
    tidied, mended = tidy(cues, duration_seconds)
    language = sidecar.language or _detect(tidied)
    track = Track(
        language,
        path.name,
        tuple(tidied),
        forced=sidecar.forced,
        for_the_deaf=sidecar.for_the_deaf,
        damaged=bool(broken),
    )
    return track, [f"{path.name}: {note}" for note in notes + mended]


def decode(data: bytes, path: Path, language: str | None = None) -> tuple[str, list[str]]:
    """The text of a subtitle file, and a note where its encoding had to be guessed.

    A byte order mark decides, then UTF-8 and UTF-16 where they fit, then the code page that the
    language was written in, then charset-normalizer's guess. Raises SubtitleError.
    """
    for mark, name in (
        (b"\xef\xbb\xbf", "utf-8-sig"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if data.startswith(mark):
            return data.decode(name, errors="replace"), []
    if b"\0" in data:
        # No mark, but every other byte of the ASCII in it is zero.
        name = "utf-16-le" if data[1::2].count(0) > data[0::2].count(0) else "utf-16-be"
        text = _strictly(data, name)
        if text is not None and _looks_like_subtitles(text):
            return text, [f"assumed to be in {name.upper()}"]
        raise _undecodable(path)
    text = _strictly(data, "utf-8")
    if text is not None:
        return text, []
    guess = _CODE_PAGES.get(language, "cp1252") if language else None
    text = _strictly(data, guess) if guess else None
    if text is None:
        guess, text = _guessed(data)
    if text is None or guess is None or not _looks_like_subtitles(text):
        raise _undecodable(path)
    return text, [f"not in UTF-8; assumed to be in {guess} (save it as UTF-8 if it reads wrong)"]


def _guessed(data: bytes) -> tuple[str | None, str | None]:
    from charset_normalizer import from_bytes

    # Times and numbers say nothing about the encoding, and drown what does.
    telling = b"\n".join(line for line in data.splitlines() if any(byte > 127 for byte in line))
    best = from_bytes(telling).best()
    if best is None:
        return None, None
    return best.encoding, _strictly(data, best.encoding)


def _strictly(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None


def _looks_like_subtitles(text: str) -> bool:
    return _ARROW in text or "Dialogue:" in text


def _undecodable(path: Path) -> SubtitleError:
    return SubtitleError(
        f"{path}: its text encoding cannot be told; open it in an editor that shows it well and "
        "save it as UTF-8."
    )


def _read_subrip(text: str) -> tuple[list[Cue], int]:
    """Cues of SubRip or WebVTT, and how many had no readable times."""
    lines = text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if lines[0].startswith("WEBVTT"):
        lines = list(_webvtt_cues(lines))
    at = [number for number, line in enumerate(lines) if _ARROW in line]
    numbered = bool(at) and any(line.strip().isdigit() for line in lines[: at[0]])
    cues = []
    broken = 0
    for this, following in zip(at, [*at, None][1:], strict=True):
        span = _span(lines[this])
        body = lines[this + 1 : following]
        if numbered and following is not None and body and body[-1].strip().isdigit():
            body.pop()  # the next cue's number
        if span is None:
            broken += 1
        else:
            cues.append(Cue(*span, *plain("\n".join(body))))
    return cues, broken


def _webvtt_cues(lines: list[str]) -> Iterator[str]:
    """The lines of a WebVTT file without header, comments, styles and cue names."""
    in_cue = False
    for line in lines:
        if _ARROW in line:
            in_cue = True
        elif not line:
            in_cue = False
        if in_cue:
            yield line


def _span(line: str) -> tuple[float, float] | None:
    before, _, after = line.partition(_ARROW)
    start, end = _TIME.fullmatch(before.strip()), _TIME.match(after.strip())
    return (_seconds(start), _seconds(end)) if start and end else None


def _seconds(time: re.Match[str]) -> float:
    sign, hours, minutes, seconds, fraction = time.groups()
    whole = int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)
    value = whole + int((fraction or "0").ljust(3, "0")) / 1000
    return -value if sign else value


def _read_substation(text: str, path: Path) -> Iterator[Cue]:
    import pysubs2

    format_ = "ssa" if "[v4 styles]" in text.lower() else "ass"
    try:
        events = pysubs2.SSAFile.from_string(text, format_=format_)
    except (pysubs2.exceptions.Pysubs2Error, ValueError, TypeError, IndexError) as error:
        raise SubtitleError(
            f"{path}: is damaged ({error}); open it in a subtitle editor and save it anew."
        ) from error
    for event in events:
        yield _substation_cue(event, event.start / 1000, event.end / 1000)


def _substation_cue(event, start_seconds: float, end_seconds: float) -> Cue:
    drawn = event.is_comment or event.is_drawing
    said, _ = plain("" if drawn else event.plaintext)
    return Cue(start_seconds, end_seconds, said, event.name.strip() or None)


def _detect(cues: Iterable[Cue]) -> str | None:
    from index.text import detect_language

    return detect_language("\n".join(cue.text for cue in cues))


# --- What is in a container -----------------------------------------------------------------


def read_embedded(
    path: Path, duration_seconds: float | None = None
) -> tuple[list[Track], list[str]]:
    """The tracks of a container's text subtitle streams, by stream, and notes. A file that breaks
    off gives what comes before."""
    from ingest.media import iter_subtitle_packets

    by_stream: dict[int, list[Cue]] = {}
    about: dict[int, tuple[str | None, str]] = {}
    notes: list[str] = []
    damaged = False
    try:
        for packet in iter_subtitle_packets(path):
            cue = packet_cue(packet)
            by_stream.setdefault(packet.stream_index, []).append(cue)
            about[packet.stream_index] = (packet.language, folded(packet.title or ""))
    except DamagedMediaError as error:
        damaged = True
        notes.append(str(error))
    except MediaError as error:
        return [], [str(error)]
    tracks = []
    for stream, cues in sorted(by_stream.items()):
        tidied, mended = tidy(cues, duration_seconds)
        notes.extend(f"subtitle stream {stream}: {note}" for note in mended)
        tag, title = about[stream]
        words = set(re.split(r"\W+", title))
        tracks.append(
            Track(
                language_tag(tag) or _detect(tidied),
                f"stream {stream}",
                tuple(tidied),
                forced=is_forced(words) or {"signs", "songs"} <= words,
                for_the_deaf=bool(words & {"sdh", "cc"}),
                damaged=damaged,
            )
        )
    return tracks, notes


def packet_cue(packet: SubtitlePacket) -> Cue:
    """What a subtitle packet says, its lines apart; where the packet does not say for how long, as
    long as reading takes."""
    import pysubs2

    text = _strictly(packet.data, "utf-8")
    if text is None:
        text = packet.data.decode("cp1252", errors="replace")
    end = packet.end_seconds
    if packet.codec == "ass":
        fields = text.split(",", 8)
        name, body = (fields[3], fields[8]) if len(fields) == 9 else ("", text)
        event = pysubs2.SSAEvent(text=body, name=name)
        cue = _substation_cue(event, packet.start_seconds, 0.0)
    else:
        said, speaker = plain(text)
        cue = Cue(packet.start_seconds, 0.0, said, speaker)
    if end is None:
        end = packet.start_seconds + reading_seconds(cue.text)
    return Cue(cue.start_seconds, end, cue.text, cue.speaker)
