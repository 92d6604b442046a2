"""Chapters as FFmetadata, the text file that FFmpeg, mkvmerge's users and many players read."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction

import av

from index.schema import Chapter, microseconds


def ffmetadata(chapters: Sequence[Chapter]) -> bytes:
    """The chapters in their order, to the microsecond."""
    titles = [
        # FFmpeg's reader takes the end of a line after a backslash, escaped or not, for escaped.
        f"{chapter.title} " if chapter.title.endswith("\\") else chapter.title
        for chapter in chapters
    ]
    file = io.BytesIO()
    with av.open(file, "w", format="ffmetadata") as made:
        made.set_chapters(
            [
                {
                    "id": number,
                    "start": microseconds(chapter.start_seconds),
                    "end": microseconds(chapter.end_seconds),
                    "time_base": Fraction(1, 1_000_000),
                    "metadata": {"title": title},
                }
                for number, (chapter, title) in enumerate(zip(chapters, titles, strict=True))
            ]
        )
        made.start_encoding()
    return file.getvalue()
