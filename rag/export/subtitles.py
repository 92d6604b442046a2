"""Cuts of one video as subtitles, to be shown over it: SubRip and WebVTT."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Sequence
from typing import Literal

import pysubs2

from rag.export.cuts import Cut

_ARROW = "\u2192"  # what stands between times must not stand in a text


def subtitles(cuts: Sequence[Cut], format: Literal["srt", "vtt"]) -> str:
    """One cue a cut, in the order given, to the millisecond. A cut without words shows the title of
    its video."""
    file = pysubs2.SSAFile()
    for cut in cuts:
        text = _shown(cut.moment.text) or _shown(cut.moment.title)
        text = text.replace("-->", _ARROW)
        if format == "vtt":
            text = html.escape(text, quote=False)
        # pysubs2 takes `\N`, `\n` and `\h` for line breaks and a space; a joiner keeps them apart.
        text = text.replace("\\", "\\\u2060")
        file.append(
            pysubs2.SSAEvent(
                start=round(cut.start_seconds * 1000), end=round(cut.end_seconds * 1000), text=text
            )
        )
    return file.to_string(format, keep_ssa_tags=True)


def _shown(text: str) -> str:
    """Its lines, without empty ones (which end a cue) and without what steers a terminal."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    kept = ("".join(c for c in line if unicodedata.category(c) != "Cc") for line in lines)
    return "\n".join(filter(None, kept))
