"""How the figures of an evaluation look on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cli.render import data_line, safe
from rag.evaluate.metrics import IOUS, MOST_OVERLAP, RANKS

_WIDTH = 34

_MEANS: Sequence[tuple[str, str, Sequence[Any]]] = (
    ("moment recall @1 @5 @10", "moment_recall", RANKS),
    ("the same at an IoU of .3", "iou_recall", RANKS),
    ("video recall @1 @5 @10", "video_recall", RANKS),
    ("mean reciprocal rank", "mrr", ()),
    ("first result at an IoU of .3 .5 .7", "r1_iou", IOUS),
    ("mean IoU of the first result", "miou", ()),
)
"""What a figure is called, its name in the report, and its keys there, if any."""

_SECONDS = (
    ("median span", "median_span_seconds"),
    ("median first span", "median_first_span_seconds"),
    ("longest span", "longest_span_seconds"),
)


def print_report(figures: Mapping[str, Any]) -> None:
    """Each figure with its 95% interval, then what was asked for besides."""
    _print_means(figures, figures["intervals"])
    for called, name in _SECONDS:
        if figures[name] is not None:
            _line(called, f"{figures[name]:.1f} s")
    over = figures["longer_than_seconds"]
    _line("longer than 60 s, than 300 s", f"{over['60']}, {over['300']}")
    _line(
        "most overlap of two results",
        f"{figures['most_overlap']:.0%} of the shorter; over {MOST_OVERLAP:.0%}: "
        f"{figures['overlapping_pairs']} pairs",
    )
    latency = figures["latency_ms"]
    _line("a search takes, p50 and p95", f"{latency['p50']:.1f} ms, {latency['p95']:.1f} ms")
    shown = figures["at_floor"]
    group = "moment_recall" if "moment_recall" in shown else "video_recall"
    recall = " / ".join(f"{shown[group][str(k)]:.3f}" for k in RANKS)
    _line(f"above the floor, {group.replace('_', ' ')}", recall)
    _line(
        "questions",
        f"{figures['queries']}, of which {shown['queries_without_results']} show nothing",
    )
    if "against" in figures:
        _print_comparison(figures["against"])
    for group, called in (("categories", ""), ("translations", "in ")):
        for name, own in figures.get(group, {}).items():
            where = f"{called}{safe(name) or 'no category'} ({own['queries']})"
            group_of = "moment_recall" if "moment_recall" in own else "video_recall"
            recall = " / ".join(f"{own[group_of][str(k)]:.3f}" for k in RANKS)
            shown = own.get("at_floor")
            silent = f"; {shown['queries_without_results']} show nothing" if shown else ""
            _line(where, f"{recall} {group_of.replace('_', ' ')}{silent}")
    if "unanswerable" in figures:
        _print_calibration(figures["unanswerable"])


def _line(called: str, text: str) -> None:
    data_line(f"{called:<{_WIDTH}}  {text}")


def _print_means(figures: Mapping[str, Any], intervals: Mapping[str, Any]) -> None:
    for called, name, keys in _MEANS:
        if name not in figures:
            continue
        means = [figures[name][str(key)] for key in keys] or [figures[name]]
        ends = [intervals[name][str(key)] for key in keys] or [intervals[name]]
        cells = [
            f"{mean:.3f} [{low:.3f}, {high:.3f}]"
            for mean, (low, high) in zip(means, ends, strict=True)
        ]
        _line(called, "  ".join(cells))


def _print_comparison(compared: Mapping[str, Any]) -> None:
    data_line()
    data_line(f"Better than before, by so much, on the {compared['queries']} questions of both:")
    if compared["queries"]:
        _print_means(compared["difference"], compared["intervals"])


def _print_calibration(sets: Mapping[str, Any]) -> None:
    data_line()
    answerable = sets["answerable"]
    _line(f"misses ({answerable['queries']} answerable)", f"{answerable['misses']:.1%}")
    for name, own in sets.items():
        if name != "answerable":
            called = "another collection" if name == "other" else f"{name} hidden"
            _line(
                f"{called} ({own['queries']})",
                f"ROC area {own['roc_area']:.3f}, false alarms {own['false_alarms']:.1%}",
            )
