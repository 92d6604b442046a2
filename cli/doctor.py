"""`longtake doctor`: is everything here that Longtake needs, and is the library healthy?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cli.finding import Finding, Status
from cli.render import data_line, print_json, safe, speaks_unicode

if TYPE_CHECKING:
    from cli.settings import Settings

_MARKS: dict[Status, tuple[str, str, str]] = {
    "ok": ("✓", "+", "green"),
    "info": ("·", "-", "dim"),
    "warning": ("!", "!", "yellow"),
    "broken": ("✗", "x", "red"),
}
"""Mark, the same in ASCII, and its colour."""

_AREA_WIDTH = 9


def run_doctor(settings: Settings, as_json: bool) -> int:
    """Prints what it finds as it finds it. Returns the exit status: 1 where something is broken."""
    broken = 0
    last_area = ""
    for finding in examine(settings):
        if as_json:
            print_json(finding)
        else:
            _write(finding, "" if finding.area == last_area else finding.area)
        sys.stdout.flush()
        broken += finding.status == "broken"
        last_area = finding.area
    if not as_json:
        things = f"{broken} thing{'s are' if broken > 1 else ' is'} broken."
        data_line()
        data_line((things, "bold red") if broken else ("Nothing is broken.", "bold green"))
    return 1 if broken else 0


def examine(settings: Settings) -> Iterator[Finding]:
    """Everything there is to say, the machine first."""
    from cli.checkup import examine_library
    from cli.machine import examine_machine

    yield from examine_machine(settings)
    yield from examine_library(settings)


def _write(finding: Finding, area: str) -> None:
    """One row: mark, area, what was found, and below it the way out."""
    mark, in_ascii, colour = _MARKS[finding.status]
    arrow = "→" if speaks_unicode() else "->"
    mark = mark if speaks_unicode() else in_ascii
    lines = [safe(finding.text)] + ([f"{arrow} {safe(finding.remedy)}"] if finding.remedy else [])
    if not sys.stdout.isatty():
        for number, line in enumerate(lines):
            left = f"{mark} {area:<{_AREA_WIDTH}}" if number == 0 else " " * (_AREA_WIDTH + 2)
            data_line(f"{left} {line}")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    row = Table.grid(padding=(0, 1))
    row.add_column(width=1)
    row.add_column(width=_AREA_WIDTH)
    row.add_column(overflow="fold")
    row.add_row(Text(mark, colour), Text(area, "bold"), Text("\n".join(lines)))
    Console(highlight=False, emoji=False).print(row)
