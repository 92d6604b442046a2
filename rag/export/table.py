"""Cuts as rows: CSV for spreadsheets, JSON lines for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

import msgspec

from rag.export.cuts import Cut

COLUMNS = (
    "rank",
    "title",
    "start",
    "end",
    "start_seconds",
    "end_seconds",
    "start_frame",
    "end_frame",
    "frame_rate",
    "score",
    "channel",
    "text",
    "path",
    "video_id",
)


def csv_table(cuts: Sequence[Cut]) -> str:
    """One row a cut, in the order given, under COLUMNS. start, end: `h:mm:ss.mmm`. The frames are
    counted from the start of the file, the end is the first one that is not in it."""
    file = io.StringIO(newline="")
    rows = csv.writer(file)
    rows.writerow(COLUMNS)
    for rank, cut in enumerate(cuts, 1):
        moment, (first, last) = cut.moment, cut.frames
        rows.writerow(
            (
                rank,
                moment.title,
                clock(cut.start_seconds),
                clock(cut.end_seconds),
                f"{cut.start_seconds:.6f}",
                f"{cut.end_seconds:.6f}",
                first,
                last,
                f"{float(cut.footage.frame_rate):.6g}",
                f"{moment.score:.4f}" if moment.channel else "",
                moment.channel,
                moment.text,
                moment.path or "",
                moment.video_id,
            )
        )
    return file.getvalue()


def json_lines(cuts: Sequence[Cut]) -> str:
    """One moment a line, as `longtake search --json` prints them; `longtake export` reads them."""
    return "".join(_json_line(cut) + "\n" for cut in cuts)


def _json_line(cut: Cut) -> str:
    try:
        return msgspec.json.encode(cut.moment).decode()
    except UnicodeEncodeError:  # a file's name that is valid in no encoding
        return json.dumps(msgspec.to_builtins(cut.moment))


def clock(seconds: float) -> str:
    """`0:01:02.033`."""
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}.{thousandths:03}"
