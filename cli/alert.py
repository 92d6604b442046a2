"""`longtake alert`: standing questions, what they reported, and what they would have."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from cli.browse import being_watched
from cli.compose import build_query_encoders, open_library
from cli.render import data_line, print_json, safe, say
from cli.settings import Settings
from index.alerts import Alert, AlertBook, AlertEvent, Delivery, of_events
from index.errors import UsageError, VideoNotFoundError
from index.library import Library
from index.schema import readable
from index.settings import folder_given
from rag.alerts.backtest import Backtest, KindReport, backtest
from rag.alerts.delivery import shown
from rag.alerts.gate import Gate
from rag.alerts.settings import KINDS
from rag.alerts.states import state_of
from rag.alerts.watcher import is_for
from rag.images import LOW_QUALITY
from rag.query import typed
from rag.timestamp import time_span, timestamp


def run_add(
    settings: Settings,
    words: Sequence[str],
    *,
    source: str | None,
    image: str | None,
    webhook: str | None,
    command: str | None,
    thresholds: Sequence[str],
    as_json: bool,
) -> int:
    """Keeps a question; returns the exit status."""
    asked = _alert(words, image, thresholds, webhook, command)
    with open_library(settings, must_exist=False) as library:
        book = AlertBook(library.store)
        source, known = _source(source, library)
        alert = replace(asked, source=source)
        gate = _gate(alert, settings, library)
        before = {one.id: one for one in book.alerts()}.get(alert.id)
        book.put(alert)
    for note in gate.notes:
        say((safe(note), "yellow"))
    if not known:
        say((f"No source “{safe(source)}” is watched yet; the question waits for it.", "yellow"))
    if before is not None:
        say("That question was there already; it now tells as was said here.")
    if as_json:
        print_json(_record(alert))
    else:
        data_line((alert.id[:8], "dim"), "  ", (safe(alert.name), "bold"), f"  {_tells(alert)}")
    return 0


def run_ls(settings: Settings, *, as_json: bool) -> int:
    with open_library(settings) as library:
        book = AlertBook(library.store)
        alerts = book.alerts()
        by_alert: dict[str, list[AlertEvent]] = {alert.id: [] for alert in alerts}
        for event in book.events():
            by_alert.setdefault(event.alert_id, []).append(event)
        watched = [video for video in library.videos() if being_watched(video)]
    now = time.time()
    for alert in alerts:
        events = by_alert[alert.id]
        state = state_of(
            events,
            watched=any(is_for(alert, video) for video in watched),
            now=now,
            settings=settings.alert,
        )
        if as_json:
            latest = events[-1].noticed_at if events else None
            own = {"state": state, "events": len(events), "latest_noticed_at": latest}
            print_json(_record(alert) | own)
            continue
        times = f"{len(events)} time{'' if len(events) == 1 else 's'}"
        last = f", last {_local(events[-1].noticed_at)}" if events else ""
        only = f" (of {safe(alert.source)})" if alert.source else ""
        data_line(
            (alert.id[:8], "dim"),
            "  ",
            (f"{state:<12}", "green" if state != "pending" else "yellow"),
            "  ",
            (safe(alert.name), "bold"),
            f"{only}  {_tells(alert)}  ",
            (f"{times}{last}", "dim"),
        )
    if not alerts:
        say('No alerts. `longtake alert add "exit sign blocked"` asks one.')
    return 0


def run_rm(settings: Settings, name: str, *, as_json: bool) -> int:
    with open_library(settings) as library:
        book = AlertBook(library.store)
        alert = book.find(name)
        book.remove(alert.id)
    if as_json:
        print_json({"alert_id": alert.id, "removed": True})
    else:
        say(f"Removed “{safe(alert.name)}” and its history.")
    return 0


def run_history(settings: Settings, name: str | None, *, limit: int, as_json: bool) -> int:
    with open_library(settings) as library:
        book = AlertBook(library.store)
        alert_id = None if name is None else book.find(name).id
        events = book.events(alert_id=alert_id)
        deliveries = of_events(book.deliveries())
        titles = {id: v.title for id, v in library.some_videos(_videos_of(events)).items()}
    for event in events[-limit:]:
        sent = deliveries.get(event.id, [])
        title = titles.get(event.video_id, event.video_id)
        if as_json:
            print_json({"event": event, "source": title, "deliveries": sent})
            continue
        data_line(
            (_local(event.wall_clock_start or event.noticed_at), "cyan"),
            "  ",
            (safe(event.question), "bold"),
            "  ",
            (safe(title), "green"),
            f"  {time_span(event.start_seconds, event.end_seconds)}  {event.score:.2f}",
            *(() if event.checked is None else (f"  checked {event.checked:.2f}",)),
            *(part for one in sent for part in ("  ", _sent(one))),
        )
        if event.text:
            data_line(f"[{event.channel}] {safe(' '.join(event.text.split()))}", indent=2)
    if not events:
        say("Nothing was reported yet.")
    elif len(events) > limit:
        say((f"{len(events) - limit} earlier ones; --limit shows them.", "dim"))
    return 0


def run_test(
    settings: Settings,
    words: Sequence[str],
    *,
    image: str | None,
    on: str | None,
    videos: Sequence[str],
    thresholds: Sequence[str],
    as_json: bool,
) -> int:
    """Reports what a question would have reported; returns the exit status."""
    if on is not None:
        settings = settings.model_copy(update={"library": Path(folder_given(on)), "server": None})
    alert = _alert(words, image, thresholds)
    with open_library(settings) as library:
        gate = _gate(alert, settings, library)
        known = library.videos()
        chosen = [library.find(name, among=known) for name in videos] if videos else known
        found = backtest(alert, gate, library, chosen, settings.alert)
    for note in gate.notes:
        say((safe(note), "yellow"))
    (_print_test_json if as_json else _print_test)(found)
    return 0


def _print_test_json(found: Backtest) -> None:
    for video, event in found.events:
        print_json(
            {
                "video_id": video.id,
                "title": video.title,
                "start_seconds": event.start_seconds,
                "end_seconds": event.end_seconds,
                "score": round(event.score, 4),
                "channel": event.channel,
                "text": event.text,
            }
        )
    print_json(
        {
            "events": len(found.events),
            "videos": found.videos,
            "hours": round(found.seconds / 3600, 4),
            "kinds": [
                {
                    "kind": one.kind,
                    "threshold": one.threshold,
                    "counts": {f"{at:g}": count for at, count in one.counts.items()},
                    "suggested": one.suggested,
                }
                for one in found.kinds
            ],
        }
    )


def _print_test(found: Backtest) -> None:
    for video, event in found.events:
        span = time_span(event.start_seconds, event.end_seconds)
        score = f"  {event.score:.2f}  [{event.channel}]"
        data_line((safe(video.title), "bold"), "  ", (span, "cyan"), score)
        if event.text:
            data_line(safe(" ".join(event.text.split())), indent=2)
    hours = found.seconds / 3600
    count = len(found.events)
    times = f"{count} time{'' if count == 1 else 's'}"
    rate = f", {count / hours:.2g} an hour" if hours >= 1 else ""
    videos = f"{found.videos} video{'' if found.videos == 1 else 's'}"
    length = timestamp(round(found.seconds))
    say(f"It would have spoken up {times} in {length} of {videos}{rate}.")
    for one in found.kinds:
        told = ", ".join(f"{at:g}: {count}" for at, count in one.counts.items())
        say(f"{one.kind}, by threshold: {told} (now {one.threshold:g})")
        say(_suggestion(one))
    if not found.kinds:
        say("Nothing in it can be judged by this question.")


def _suggestion(one: KindReport) -> str:
    if one.suggested is None:
        return f"Its scores show no gap that tells some from others: {one.threshold:g} stays."
    return (
        f"Suggested: --threshold {one.kind}={one.suggested:g}, in the middle of the widest gap "
        "between scores."
    )


def _alert(
    words: Sequence[str],
    image: str | None,
    thresholds: Sequence[str],
    webhook: str | None = None,
    command: str | None = None,
) -> Alert:
    """Raises UsageError for what cannot be asked or told, MediaError for the picture."""
    text = readable(typed(words)).strip()
    if not text and image is None:
        raise UsageError('What to look for? `longtake alert add "exit sign blocked"`.')
    picture = path = None
    if image is not None:
        from ingest.media import decode_image
        from ingest.models.pdq import fingerprint

        found = fingerprint(decode_image(Path(image)))
        if found.quality < LOW_QUALITY:
            raise UsageError(f"{image}: too little in this picture to tell it from others.")
        picture, path = found.hex, readable(str(Path(image).resolve()))
    return Alert(
        text,
        time.time(),
        picture=picture,
        picture_path=path,
        webhook=_webhook(webhook),
        command=_command(command),
        thresholds=_thresholds(thresholds),
    )


def _webhook(url: str | None) -> str | None:
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        sound = sound and url == readable(url)
    except ValueError:
        sound = False
    if not sound:
        raise UsageError(f"--webhook takes an address as in https://host/path, not “{url}”.")
    return url


def _command(given: str | None) -> tuple[str, ...]:
    """The program by its whole path, since the watching process may look elsewhere for it."""
    if given is None:
        return ()
    try:
        words = shlex.split(given)
    except ValueError as error:
        raise UsageError(f"--exec “{given}” cannot be taken apart: {error}.") from error
    if not words:
        raise UsageError("--exec names no program.")
    program = shutil.which(words[0])
    if program is None:
        raise UsageError(f"--exec: there is no program “{words[0]}” to be run.")
    command = (str(Path(program).absolute()), *words[1:])
    if any(word != readable(word) for word in command):
        raise UsageError(f"--exec “{given}” holds bytes that are no text, which cannot be kept.")
    return command


def _thresholds(given: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in given:
        kind, equals, number = text.rpartition("=")
        if equals and kind not in KINDS:
            raise UsageError(f"--threshold knows no “{kind}”: {', '.join(KINDS)}.")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0 < value <= 1:
            raise UsageError(f"--threshold takes a score above 0 and up to 1, not “{number}”.")
        found |= dict.fromkeys([kind] if equals else KINDS, value)
    return found


def _source(name: str | None, library: Library) -> tuple[str | None, bool]:
    """What the source is called, and whether it is known: by its name, as before it is watched, so
    that asking twice is asking once. Raises UsageError for a file."""
    if name is None:
        return None, True
    try:
        video = library.find(name)
    except VideoNotFoundError:
        return readable(name), False
    if not video.source:
        raise UsageError(
            f"“{name}” is {video.title}, which is no live source. A question about what is indexed "
            "is `longtake search`, and `longtake alert test` tries an alert on it."
        )
    return video.title, True


def _gate(alert: Alert, settings: Settings, library: Library) -> Gate:
    return Gate(
        alert,
        settings.alert,
        retrieve=settings.retrieve,
        encoders=build_query_encoders(settings),
        spaces=library.spaces(),
    )


def _record(alert: Alert) -> dict:
    return {
        "alert_id": alert.id,
        "text": alert.text,
        "source": alert.source,
        "picture": alert.picture_path,
        "webhook": alert.webhook,
        "exec": list(alert.command),
        "thresholds": dict(alert.thresholds),
        "created_at": alert.created_at,
    }


def _tells(alert: Alert) -> str:
    ways = [safe(shown(alert.webhook))] if alert.webhook else []
    ways += [safe(shlex.join(alert.command))] if alert.command else []
    return f"→ {', '.join(ways)}" if ways else "(history only)"


def _sent(delivery: Delivery) -> tuple[str, str]:
    if delivery.state == "delivered":
        return f"{delivery.way} delivered", "green"
    if delivery.state == "withheld":
        return f"{delivery.way} withheld", "yellow"
    if delivery.state == "failed":
        tried = f"{delivery.attempts} attempt{'' if delivery.attempts == 1 else 's'}"
        return f"{delivery.way} failed after {tried}: {safe(delivery.error)}", "red"
    return f"{delivery.way} on its way", "yellow"


def _videos_of(events: Sequence[AlertEvent]) -> set[str]:
    return {event.video_id for event in events}


def _local(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
