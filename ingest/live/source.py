"""What `longtake watch` is given: where a live stream comes from, and what it is called."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from index.errors import UsageError
from index.schema import make_id, readable

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_LISTEN_SECONDS = "3600"
DEVICE_FORMATS = ("v4l2", "avfoundation", "dshow", "gdigrab", "x11grab", "lavfi")
"""FFmpeg's names of what captures; which of them there are depends on its build. The last makes its
own pictures, to try things with."""
_DEVICE_FILE = re.compile(r"/dev/video\d+")


@dataclass(frozen=True, slots=True)
class LiveSource:
    """Where a stream comes from.

    kind: "url" for whatever FFmpeg opens by an address; "file" is one that grows, "folder" one that
    a recorder drops pieces into. location: what is
    opened. shown: the same without a password, for people and for the library. waits: whether what
    is not read yet stays there until it is (a file, a pipe); else it comes when it comes.
    listens: whether we wait for the sender to call. format, options: for FFmpeg.
    """

    name: str
    kind: Literal["url", "stdin", "file", "folder", "device"]
    location: str
    shown: str
    listens: bool = False
    format: str | None = None
    options: dict[str, str] = field(default_factory=dict)

    @property
    def waits(self) -> bool:
        return self.kind in ("stdin", "file", "folder")

    @property
    def video_id(self) -> str:
        """Of the same name, the same video."""
        return make_id("live", self.name)


def parse_sources(given: Sequence[str], names: Sequence[str] = ()) -> list[LiveSource]:
    """names: of the sources, in their order; those without one are called after where they lie.

    Raises UsageError for what is no source, and for two of one name.
    """
    if len(names) > len(given):
        raise UsageError(f"{len(names)} names for {len(given)} sources: give each --name a source.")
    if any(not name.strip() for name in names):
        raise UsageError("--name needs a name.")
    sources = [
        parse_source(text, names[at] if at < len(names) else None) for at, text in enumerate(given)
    ]
    sources = [
        replace(source, name=readable(source.name), shown=readable(source.shown))
        for source in sources
    ]
    called = [source.name for source in sources]
    for name in called:
        if called.count(name) > 1:
            raise UsageError(f"Two sources are called “{name}”: tell them apart with --name.")
    return sources


def parse_source(text: str, name: str | None = None) -> LiveSource:
    """A URL, `-` for standard input, the path of a file that grows or of a capture device, or
    `FORMAT:DEVICE` as in `avfoundation:0`; devices take options for FFmpeg behind a question mark,
    as in `/dev/video0?framerate=30`. Raises UsageError."""
    if not text.strip():
        raise UsageError("An empty source means nothing: give a URL, a path, or - for a pipe.")
    if text == "-":
        return LiveSource(name or "stdin", "stdin", "-", "standard input")
    if _URL.match(text):
        return _url(text, name)
    form, colon, device = text.partition(":")
    if colon and form in DEVICE_FORMATS:
        return _device(form, device, text, name)
    if _DEVICE_FILE.fullmatch(text.partition("?")[0]):  # whether it is plugged in yet or not
        return _device("v4l2", text, text, name)
    path = os.path.abspath(text)
    if os.path.isdir(path):
        called = name or os.path.basename(path) or path
        return LiveSource(called, "folder", path, path)
    try:
        device_file = stat.S_ISCHR(os.stat(path).st_mode)
    except OSError:
        device_file = False
    if device_file:
        return _device("v4l2", path, path, name)
    called = name or os.path.splitext(os.path.basename(path))[0]
    if path.endswith((".m3u8", ".mpd")):  # FFmpeg reads these again by itself
        return LiveSource(called, "url", f"file:{path}", path)
    return LiveSource(called, "file", path, path)


def _device(form: str, given: str, shown: str, name: str | None) -> LiveSource:
    location, _, query = given.partition("?")
    called = name or (os.path.basename(location) if form == "v4l2" else location)
    options = dict(parse_qsl(query))
    return LiveSource(called, "device", location, shown, format=form, options=options)


def _url(text: str, name: str | None) -> LiveSource:
    parts = urlsplit(text)
    scheme = parts.scheme.lower()
    if scheme == "file":
        return parse_source(parts.path, name)
    try:
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{text} is no address: {error}.") from error
    host = parts.hostname or ""
    place = f"[{host}]" if ":" in host else host
    place += f":{port}" if port else ""
    shown = urlunsplit((scheme, place, parts.path, "", ""))
    options: dict[str, str] = {}
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    listens = query.get("listen", "0") not in ("0", "")
    if scheme in ("rtmp", "rtmps", "rtsp") and "listen" in query:  # of the address it is no part
        listen = query.pop("listen")
        if scheme != "rtsp":
            options["listen"] = listen
        text = urlunsplit((*parts[:3], urlencode(query), parts.fragment))
    if scheme in ("rtsp", "rtsps"):
        options["rtsp_flags"] = "prefer_tcp"
        if listens:  # without a time, FFmpeg gives TCP one that it does not take
            options |= {"rtsp_flags": "listen", "listen_timeout": _LISTEN_SECONDS}
    if scheme == "udp":
        options["overrun_nonfatal"] = "1"
    called = name or (place + parts.path).strip("/") or text
    return LiveSource(called, "url", text, shown, listens, options=options)
