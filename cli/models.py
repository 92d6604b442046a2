"""`longtake models`: which models there are, and getting, preparing, checking and removing them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cli.render import cells, data_line, messages, print_json, safe, say, say_error
from cli.settings import Settings
from index.disk import human_bytes
from index.errors import LongtakeError, ModelMissingError, UsageError
from ingest.models.catalogue import KINDS
from ingest.models.depot import Depot, Entry, Place
from ingest.models.device import likely_device
from ingest.models.files import INSTALL_MODELS, ModelFiles

_STATES = {
    "here": "green",
    "prepared": "green",
    "partly pulled": "yellow",
    "damaged": "bold red",
    "missing": "dim",
}

# Channel -> kind of its model, and the group of settings under `channels` that names it.
MODEL_OF = {
    "frame": ("clip", "frame"),
    "speech": ("whisper", "recognition"),
    "sound": ("clap", "sound"),
    "object": ("detector", "object"),
    "text": ("text", "text"),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model that a channel needs under the settings in effect."""

    channel: str
    kind: str
    name: str


def wanted_models(settings: Settings, channels: Sequence[str] | None = None) -> list[Wanted]:
    """What the channels (by default those that are enabled) need, cheapest channel first. A channel
    whose settings ask for no model (captions by a server, no classes of objects) needs none."""
    device = likely_device(settings.models.device)
    enabled = settings.channels.enabled if channels is None else channels
    found = []

    def want(channel: str, kind: str, name: str | None) -> None:
        found.append(Wanted(channel, kind, name or Depot.default(kind, device)))

    for channel in enabled:
        if channel in MODEL_OF:
            kind, group = MODEL_OF[channel]
            asked = getattr(settings.channels, group, None)
            if getattr(asked, "enabled", True) and getattr(asked, "classes", True):
                want(channel, kind, asked.model)
        elif channel == "screen_text" and settings.channels.screen_text.engine == "easyocr":
            from ingest.models.easyocr import recogniser_for

            want(
                channel,
                "easyocr",
                recogniser_for(settings.channels.screen_text.languages or ("en",)),
            )
        elif channel == "caption":
            asked = getattr(settings.channels, "caption", None)
            frame = getattr(settings.channels, "frame", None)
            if asked is not None and asked.backend == "transformers":
                want(channel, "videollm", asked.model)
            elif asked is not None and asked.backend is None and frame is not None:
                want(channel, "clip", frame.model)
    reranker = settings.retrieve.rerank.model
    if channels is None and reranker is not None:  # no channel needs it, but searches do
        want("search", "reranker", reranker)
    if channels is None and settings.ask.backend == "transformers" and settings.ask.model:
        want("ask", "videollm", settings.ask.model)
    if channels is None and settings.ask.detect and settings.ask.model:
        want("ask", "detector", settings.channels.object.model)
    return found


def run_ls(settings: Settings, *, every: bool, as_json: bool) -> int:
    """Lists what is here and what the settings want; with `every`, the whole catalogue."""
    depot = Depot(settings.models.dir, settings.models.packages)
    wanted = wanted_models(settings)
    entries = depot.listing()
    listed = {(entry.kind, entry.name) for entry in entries}
    for one in wanted:
        place = depot.place(one.kind, one.name)
        if (place.kind, place.name) not in listed:
            entries.append(depot.entry(place))
            listed.add((place.kind, place.name))
    by = {
        (entry.kind, entry.name): [
            one.channel
            for one in wanted
            if (place := depot.place(one.kind, one.name)).kind == entry.kind
            and place.name == entry.name
        ]
        for entry in entries
    }
    if as_json:
        for entry in entries:
            print_json(_as_record(entry, by[entry.kind, entry.name]))
        return 0
    shown = [
        entry
        for entry in entries
        if every
        or entry.state != "missing"
        or by[entry.kind, entry.name]
        or (entry.default_for and entry.kind != "easyocr")
    ]
    _print_table(shown, by)
    hidden = len(entries) - len(shown)
    here = sum(entry.size or 0 for entry in entries if entry.state in ("here", "prepared"))
    more = f"; {hidden} more are known, --all lists them" if hidden else ""
    say((f"{human_bytes(here)} in {safe(str(depot.folder))}{more}", "dim"))
    return 0


def _as_record(entry: Entry, channels: list[str]) -> dict[str, Any]:
    return {
        "name": entry.name,
        "kind": entry.kind,
        "state": entry.state,
        "size_bytes": entry.size,
        "revision": entry.revision,
        "pinned": entry.pinned,
        "origin": entry.origin,
        "default_for": list(entry.default_for),
        "wanted_by": channels,
        "license": entry.license,
        "folder": None if entry.folder is None else str(entry.folder),
        "problem": entry.problem,
    }


def _print_table(entries: list[Entry], by: dict[tuple[str, str], list[str]]) -> None:
    """Kind, name, state, size, revision, pinned by, default for, wanted by."""
    rows = []
    for entry in entries:
        revision = (entry.revision or "")[:8] or "-"
        if entry.pinned == "first use":
            revision += " (first use)"
        notes = [f"default: {'+'.join(entry.default_for)}"] if entry.default_for else []
        channels = by[entry.kind, entry.name]
        notes += [f"wanted: {', '.join(channels)}"] if channels else []
        size = "?" if entry.size is None else human_bytes(entry.size)
        rows.append((entry.kind, safe(entry.name), entry.state, size, revision, "; ".join(notes)))
    widths = [max((cells(row[at]) for row in rows), default=0) for at in range(5)]
    for row, entry in zip(rows, entries, strict=True):
        padded = [
            text + " " * (width - cells(text)) for text, width in zip(row, widths, strict=False)
        ]
        padded[3] = " " * (widths[3] - cells(row[3])) + row[3]
        data_line(
            (padded[0], "dim"), "  ", (padded[1], "bold"), "  ", (padded[2], _STATES[entry.state]),
            "  ", padded[3], "  ", (padded[4], "dim"), "  ", row[5],
        )  # fmt: skip
        if entry.problem:
            data_line((safe(entry.problem), "red"), indent=4)


def run_pull(settings: Settings, names: list[str], *, kind: str | None, as_json: bool) -> int:
    """Pulls the models named, or all that the enabled channels want. One that fails does not keep
    the others; returns 1 where one did."""
    from ingest.models.pull import pull

    depot = Depot(settings.models.dir, settings.models.packages)
    places = _places(settings, depot, names, kind) if names else _wanted_places(settings, depot)
    if not places:
        say("The enabled channels want no model. `longtake models ls --all` lists what there is.")
        return 0
    failed = 0
    for place in places:
        try:
            with _progress_bar(place.name) as progress:
                fetched = pull(depot, place, endpoint=settings.models.endpoint, progress=progress)
        except LongtakeError as error:
            failed += 1
            say_error(str(error))
            if as_json:
                print_json({"name": place.name, "kind": place.kind, "error": str(error)})
            continue
        entry = depot.entry(place)
        if as_json:
            print_json(_as_record(entry, []) | {"fetched": fetched})
            continue
        size = human_bytes(entry.size or 0)
        if not fetched:
            say(f"{safe(place.name)} is here already ({size}).")
            continue
        pinned = f", commit {entry.revision[:8]}" if entry.revision else ""
        if entry.pinned == "first use":
            pinned += ", which is kept to from now on"
        say(f"Pulled {safe(place.name)} ({size}{pinned}) into {safe(str(place.folder))}.")
    return 1 if failed else 0


def _wanted_places(settings: Settings, depot: Depot) -> list[Place]:
    return list(dict.fromkeys(depot.place(one.kind, one.name) for one in wanted_models(settings)))


def _places(
    settings: Settings, depot: Depot, names: Sequence[str], kind: str | None
) -> list[Place]:
    """What the names mean. The kind of one that the catalogue does not know comes from --kind, from
    the folder that it lies in, or from the channel that wants it."""
    if kind is not None and kind not in KINDS:
        raise UsageError(f"No kind of model “{kind}”. Known: {', '.join(KINDS)}.")
    places = []
    for name in names:
        if kind is not None:
            places.append(depot.place(kind, name))
            continue
        found = depot.places(name)
        found = found or [
            depot.place(one.kind, name) for one in wanted_models(settings) if one.name == name
        ]
        if not found:
            known = ", ".join(KINDS)
            raise UsageError(
                f"“{name}” is not in the catalogue (`longtake models ls --all`). For another repo "
                f"of the hub, owner/name, or a folder, say its kind too: --kind, one of {known}."
            )
        if len(found) > 1:
            kinds = " or ".join(place.kind for place in found)
            raise UsageError(f"There is more than one “{name}”: say --kind {kinds}.")
        places += found
    return list(dict.fromkeys(places))


@contextmanager
def _progress_bar(name: str) -> Iterator[Callable[[int, int | None], None] | None]:
    """A bar on a terminal's stderr; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=messages(), transient=True) as bar:
        task = bar.add_task(safe(name), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def run_prepare(
    settings: Settings, names: list[str], *, kind: str | None, int8: bool, as_json: bool
) -> int:
    """Makes ONNX copies that run without torch: of the models named, or of all that are wanted.
    The one that the channel `frame` runs with 8-bit weights is made so unasked. One that fails does
    not keep the others; returns 1 where one did."""
    depot = Depot(settings.models.dir, settings.models.packages)
    frames = [depot.place(w.kind, w.name) for w in wanted_models(settings) if w.channel == "frame"]
    places = _places(settings, depot, names, kind) if names else _wanted_places(settings, depot)
    if not places:
        say("The enabled channels want no model that could be prepared.")
    failed = 0
    for place in places:
        module = KINDS[place.kind].export
        if module is None:
            say(f"{safe(place.name)}: nothing to prepare ({place.kind} runs as it is).")
            continue
        rounded = int8 or (settings.channels.frame.int8 and place in frames)
        try:
            _prepare(depot.files(place.kind, place.called), place, module, rounded, as_json)
        except LongtakeError as error:
            failed += 1
            say_error(str(error))
            if as_json:
                print_json({"name": place.name, "kind": place.kind, "error": str(error)})
    return 1 if failed else 0


def _prepare(files: ModelFiles, place: Place, module: str, int8: bool, as_json: bool) -> None:
    try:
        prepare = importlib.import_module(module).prepare
    except ImportError as error:
        raise ModelMissingError(
            f"Preparing needs {error.name or error}, which is not installed: {INSTALL_MODELS}."
        ) from error
    facts = prepare(files, int8=int8, progress=lambda step: say((safe(str(step)), "dim")))
    made = _bytes_in(files.prepared)
    if as_json:
        record = {"name": place.name, "kind": place.kind, "prepared": str(files.prepared)}
        print_json(record | {"size_bytes": made, "facts": facts})
        return
    say(f"Prepared {safe(place.name)} ({human_bytes(made)} in {safe(str(files.prepared))}).")
    if lost := int8_loss(facts):
        say(lost)


def int8_loss(facts: Mapping[str, Any]) -> str:
    """What 8-bit weights cost a model's vectors; "" where none were made. facts: what the module
    that prepared it returned."""
    if (check := facts.get("checks", {}).get("image_int8")) is not None:
        return (
            f"With 8-bit weights its picture vectors have a cosine of {check['mean']:.4f} with "
            f"those of the whole weights, {check['least']:.4f} at least (of {check['of']} pictures "
            "made for the check). channels.frame.int8 = true takes them."
        )
    if facts.get("int8") and "cosine" in facts:
        return (
            "With 8-bit weights its vectors have a cosine of at least "
            f"{facts['cosine']:.4f} with those of the whole weights, over texts made for the check."
        )
    return ""


def _bytes_in(folder: Any) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def run_verify(settings: Settings, names: list[str], *, kind: str | None, as_json: bool) -> int:
    """Hashes every file of the models named, or of all that are here. Returns 1 where one is not
    what it should be."""
    depot = Depot(settings.models.dir, settings.models.packages)
    if names:
        places = _places(settings, depot, names, kind)
    else:
        places = [
            depot.place(entry.kind, entry.name)
            for entry in depot.listing()
            if entry.state != "missing" and entry.state != "partly pulled"
        ]
        if not places:
            say(f"There is no model in {safe(str(depot.folder))} yet.")
    wrong = 0
    for place in places:
        try:
            for path, problem in depot.verify(place):
                wrong += bool(problem)
                if as_json:
                    record = {"name": place.name, "kind": place.kind, "path": path}
                    print_json(record | {"ok": not problem, "problem": problem})
                elif problem:
                    data_line((f"{safe(place.name)}  {safe(path)}  {problem}", "bold red"))
                else:
                    data_line(f"{safe(place.name)}  {safe(path)}  ", ("ok", "green"))
        except ModelMissingError as error:
            wrong += 1
            say_error(str(error))
            if as_json:
                print_json({"name": place.name, "kind": place.kind, "ok": False,
                            "problem": str(error)})  # fmt: skip
    if wrong:
        say("`longtake models pull NAME` fetches anew what is damaged.")
    return 1 if wrong else 0


def run_rm(settings: Settings, names: list[str], *, kind: str | None, as_json: bool) -> int:
    """Removes models from models.dir; says how many bytes that freed."""
    depot = Depot(settings.models.dir, settings.models.packages)
    for place in _places(settings, depot, names, kind):
        freed = depot.remove(place)
        if as_json:
            print_json({"name": place.name, "kind": place.kind, "freed_bytes": freed})
        elif freed:
            say(f"Removed {safe(place.name)}: {human_bytes(freed)} freed.")
        else:
            say(f"{safe(place.name)} was not here.")
    return 0
