"""How results look: styled on a terminal, plain lines in a pipe, JSON lines where asked for.

Data goes to stdout through `data_line` and `print_json`, messages to stderr through `say`,
`say_error` and the console that `messages` returns. Titles and texts come from strangers' files,
so all of them pass `safe`, and none is read as markup.
"""

from __future__ import annotations

import json
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from index.schema import CHANNELS, ClipPart, Moment
from rag.timestamp import place_in_time, time_span, timestamp

if TYPE_CHECKING:
    from rich.console import Console

Part = str | tuple[str, str]
"""A piece of a line: text, or text and its style."""

MATCH = "bold yellow"
_KEPT = "\u200c\u200d\ufe0f"  # joiners that scripts and emoji need
_INDENT = 2


def safe(text: str) -> str:
    """Text that a terminal shows and does not obey: what controls it, or turns the direction of
    what follows, as an escape; tabs and odd spaces as spaces."""
    return text if text.isprintable() else "".join(map(_shown, text))


@lru_cache(maxsize=4096)
def _shown(character: str) -> str:
    category = unicodedata.category(character)
    if character == "\t" or category == "Zs":
        return " "
    if category in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _KEPT:
        return repr(character)[1:-1]
    return character


def print_json(record: Any) -> None:
    """One JSON line. Takes what msgspec does: dataclasses, dicts, lists, ..."""
    try:
        line = msgspec.json.encode(record).decode()
    except UnicodeEncodeError:  # a file's name that is valid in no encoding
        line = json.dumps(msgspec.to_builtins(record))
    sys.stdout.write(f"{line}\n")  # in one piece, so that Ctrl-C leaves no half of it


def data_line(*parts: Part, indent: int = 0) -> None:
    """One line of data on stdout. A pipe gets it in one piece and plain; on a terminal it is
    styled and wrapped at words, with what is wrapped indented."""
    if not sys.stdout.isatty() or not parts:
        print(" " * indent + "".join(_plain(part) for part in parts))
        return
    from rich.padding import Padding

    _console(sys.stdout).print(Padding(_styled(parts), (0, 0, 0, indent), expand=False))


def say(*parts: Part) -> None:
    """A message on stderr."""
    if not sys.stderr.isatty():
        print("".join(_plain(part) for part in parts), file=sys.stderr)
        return
    messages().print(_styled(parts))


def say_error(text: str) -> None:
    """An error on stderr, in red where there is colour."""
    say((f"longtake: {safe(text)}", "red"))


def messages() -> Console:
    """A console on stderr."""
    return _console(sys.stderr)


def terminal_width() -> int:
    """Columns of the terminal (or COLUMNS), 80 where there is none."""
    return max(shutil.get_terminal_size((80, 24)).columns, 20)


def _console(file: TextIO) -> Console:
    from rich.console import Console

    return Console(file=file, highlight=False, emoji=False)


def _plain(part: Part) -> str:
    return part if isinstance(part, str) else part[0]


def _styled(parts: Sequence[Part]):
    from rich.text import Text

    return Text.assemble(*parts)


def highlighted(text: str, ranges: Iterable[tuple[int, int]]) -> Iterator[Part]:
    """The text on one line, made safe, with the half-open character ranges styled. Lines of a
    screen are set apart by slashes."""
    at = 0
    for start, end in sorted(ranges):
        if start >= at:
            yield _one_line(text[at:start])
            yield _one_line(text[start:end]), MATCH
            at = end
    yield _one_line(text[at:])


def _one_line(text: str) -> str:
    return safe(text.replace("\n", " / "))


def telling_titles(videos: Iterable[tuple[str, str, str | None]]) -> dict[str, str]:
    """Video id -> title, and behind it, where several videos have the same, as much of the path's
    end as tells them apart (or the id). videos: (id, title, path)."""
    known = {id: (title, path) for id, title, path in videos}
    alike: dict[str, dict[str, tuple[str, ...]]] = {}
    for id, (title, path) in known.items():
        alike.setdefault(title, {})[id] = Path(path).parts if path else (id[:8],)
    return {
        id: f"{title} ({_telling_end(alike[title], id)})" if len(alike[title]) > 1 else title
        for id, (title, _) in known.items()
    }


def _telling_end(places: Mapping[str, tuple[str, ...]], id: str) -> Path:
    """The shortest end of the path of `id` that no other path has."""
    own = places[id]
    others = [place for other, place in places.items() if other != id]
    for length in range(1, len(own) + 1):
        if all(other[-length:] != own[-length:] for other in others):
            return Path(*own[-length:])
    return Path(*own)


def write_moment(moment: Moment, title: str | None = None, indent: int = 0) -> None:
    """A line that says where, and a line that says what. title: None where the video was named
    above."""
    channels = "+".join(dict.fromkeys((moment.channel, *(hit.channel for hit in moment.hits))))
    video = () if title is None else ((safe(title), "bold"), "  ")
    data_line(
        *video,
        (place_in_time(moment), "cyan"),
        f"  {moment.score:.2f}  ",
        (f"[{channels}]", "green"),
        ("" if title is None else so_far(moment.coverage), "yellow"),
        indent=indent,
    )
    if moment.clip:
        data_line((_of_the_clip(moment.clip), "cyan"), indent=_INDENT)
    if moment.text:
        said = moment.text_start_seconds
        at = () if said - moment.start_seconds < 1.0 else ((f"{timestamp(said)} ", "cyan"),)
        data_line(*at, *highlighted(*_shortened(moment)), indent=indent + _INDENT)


def _of_the_clip(part: ClipPart) -> str:
    """`0:00–0:10 of the clip, at 1.25 times the speed, mirrored`."""
    span = time_span(part.start_seconds, part.end_seconds)
    speed = part.speed
    told = "" if speed is None or abs(speed - 1) < 0.005 else f", at {speed:.2f} times the speed"
    return f"{span} of the clip{told}{', mirrored' if part.mirrored else ''}"


def so_far(coverage: Mapping[str, float]) -> str:
    """`  (so far: speech 100%, frame 40%, caption 0%)` of a video that is still being indexed; ""
    of others."""
    going_on = any(0.0 < share < 1.0 for share in coverage.values())
    return f"  (so far: {shares_text(coverage)})" if going_on else ""


def in_order(shares: Mapping[str, float]) -> dict[str, float]:
    """By the channels' usual order."""
    known = {name: at for at, name in enumerate(CHANNELS)}
    return dict(sorted(shares.items(), key=lambda item: known.get(item[0], len(known))))


def shares_text(coverage: Mapping[str, float]) -> str:
    """`speech, screen_text 100%, frame 40%`. Shots and segments are left out where there is
    anything else: nobody searches them."""
    unseen = ("shot", "segment")
    shown = {name: share for name, share in coverage.items() if name not in unseen} or coverage
    by_share: dict[str, list[str]] = {}
    for name, share in sorted(in_order(shown).items(), key=lambda item: -item[1]):
        by_share.setdefault(percent(share), []).append(name)
    return ", ".join(f"{', '.join(names)} {share}" for share, names in by_share.items())


def _shortened(moment: Moment) -> tuple[str, tuple[tuple[int, int], ...]]:
    """On a terminal, about three lines of whole sentences around the match."""
    text, ranges = moment.text, moment.highlights
    longest = 3 * (terminal_width() - _INDENT)
    if not sys.stdout.isatty() or len(text) <= longest:
        return text, ranges
    from rag.sentences import sentences_around

    start, end = sentences_around(text, ranges, longest - 2)
    before, after = "…" if start else "", "…" if end < len(text) else ""
    inside = tuple(
        (a - start + len(before), b - start + len(before))
        for a, b in ranges
        if start <= a and b <= end
    )
    return before + text[start:end] + after, inside


def bar(share: float, width: int = 20) -> str:
    """A share of 0..1 as a bar. Full only when it is all."""
    full = width if share >= 1.0 else min(int(share * width), width - 1)
    on, off = ("█", "░") if speaks_unicode() else ("#", ".")
    return on * full + off * (width - full)


def percent(share: float) -> str:
    """Rounded down, so that 100% means all."""
    return f"{int(share * 100 + 1e-9)}%"


def speaks_unicode() -> bool:
    """Whether stdout can show more than ASCII."""
    return (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "").startswith("utf")


def cells(text: str) -> int:
    """Columns that the text takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def fitted(text: str, width: int) -> str:
    """Cut to so many columns of a terminal, with an ellipsis where something is missing."""
    if cells(text) <= width:
        return text
    kept = ""
    for character in text:
        if cells(kept + character) > width - 1:
            break
        kept += character
    return kept + "…"
