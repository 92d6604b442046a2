"""Cuts as one HTML page that needs nothing but a browser: no network, no scripts, no other file.

Titles and texts come from strangers' files. The template escapes all of them, and the page's
content policy lets nothing in it run or load.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path

from rag.export.cuts import Cut
from rag.timestamp import time_span, timestamp


def html_page(cuts: Sequence[Cut], title: str, pictures: Sequence[bytes | None]) -> str:
    """A card a cut, in the order given: picture, time, what was said or read with what matched
    marked, and a link that opens the video there. pictures: a JPEG for each cut, or None."""
    import jinja2

    source = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    cards = [_card(cut, picture) for cut, picture in zip(cuts, pictures, strict=True)]
    videos = len({cut.moment.video_id for cut in cuts})
    return environment.from_string(source).render(title=title, cards=cards, videos=videos) + "\n"


def _card(cut: Cut, picture: bytes | None) -> dict[str, object]:
    moment, footage = cut.moment, cut.footage
    return {
        "title": moment.title,
        "span": time_span(cut.start_seconds, cut.end_seconds),
        "length": f"{timestamp(cut.end_seconds - cut.start_seconds)} long",
        "channels": list(dict.fromkeys((moment.channel, *(hit.channel for hit in moment.hits))))
        if moment.channel
        else [],
        "score": f"{moment.score:.2f}" if moment.channel else "",
        "pieces": list(pieces(moment.text, moment.highlights)),
        "place": str(footage.path or footage.name),
        "link": _link(cut) if footage.there else "",
        "picture": "data:image/jpeg;base64," + base64.b64encode(picture).decode()
        if picture
        else "",
    }


def _link(cut: Cut) -> str:
    """The file, from the start to the end of the cut: a media fragment, to the millisecond."""
    return f"{cut.footage.path.as_uri()}#t={cut.start_seconds:.3f},{cut.end_seconds:.3f}"


def pieces(text: str, ranges: Iterable[tuple[int, int]]) -> Iterable[tuple[str, bool]]:
    """(a piece of the text, whether it matched), without empty ones."""
    at = 0
    for start, end in sorted(ranges):
        start, end = max(start, at), min(end, len(text))
        if start < end:
            if at < start:
                yield text[at:start], False
            yield text[start:end], True
            at = end
    if at < len(text):
        yield text[at:], False
