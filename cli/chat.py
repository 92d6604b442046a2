"""`longtake chat`: questions from a terminal or a pipe, one after another."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cli.ask import INTERRUPTED, show_sources, stream_answer
from cli.chat_watch import watched
from cli.compose import build_chat, media_of, open_library
from cli.render import data_line, safe, say, say_error
from cli.settings import Settings
from index.errors import LongtakeError, UsageError
from index.schema import Moment
from rag.chat import Chat
from rag.timestamp import time_span

if TYPE_CHECKING:
    from ingest.segment_frames import Media

HELP = """\
Ask in any language; a question may lean on the one before it.
/video NAME   look only in this video (id, path, file name or title); /video all: everywhere again
/video        say where it looks, and list the videos
/sources      all sources of the last answer, also those that it does not cite
/play N       open source N of the last answer in a player
/new          forget the conversation
/quit         end (or Ctrl-D); Ctrl-C ends an answer"""

PROMPT = "> "
HISTORY_LINES = 1000


def run_chat(settings: Settings, *, video: str | None, watch: bool, strict: bool) -> int:
    """Returns the exit status: of a terminal's chat 0, of a pipe's 1 where a line of it failed.
    Ctrl-C ends an answer, and a pipe's chat with it."""
    if watch and video is None:
        raise UsageError("Watch what? --video says it.")
    if strict:
        settings = settings.model_copy(
            update={"ask": settings.ask.model_copy(update={"strict": True})}
        )
    with ExitStack() as closing_last:
        library = closing_last.enter_context(open_library(settings))
        if watch:
            model = closing_last.enter_context(watched(settings, library, video))
            chat = build_chat(settings, library, model)
        else:
            chat = build_chat(settings, library)
        if video is not None:
            chat.focus(video)
        talk = _Talk(chat, media_of(settings, library), stays=watch)
        if not sys.stdin.isatty():
            for line in sys.stdin:
                if not talk.hear(line):
                    break
                if talk.interrupted:
                    return INTERRUPTED
            return int(talk.failed)
        say(("/help says what there is besides questions.", "dim"))
        with _history(history_path(settings)):
            for line in _typed():
                if not talk.hear(line):
                    break
        return 0


def history_path(settings: Settings) -> Path:
    """In an embedded library's folder; of one on a server, in the user's state directory."""
    if settings.server is None:
        return settings.library / "chat_history"
    import hashlib

    import platformdirs

    name = hashlib.sha256(repr(settings.server).encode()).hexdigest()[:16]
    return platformdirs.user_state_path("longtake", appauthor=False) / f"chat_history-{name}"


def _typed() -> Iterator[str]:
    """Lines as they are typed. Ctrl-C takes back what was typed, Ctrl-D ends."""
    while True:
        try:
            yield input(PROMPT)
        except KeyboardInterrupt:
            say(("\nCtrl-D ends the chat.", "dim"))
        except EOFError:
            print()
            return


@contextmanager
def _history(path: Path) -> Iterator[None]:
    """Line editing where the Python here has it, with what was typed before. A history that cannot
    be read or written costs itself only."""
    try:
        import readline
    except ImportError:  # some builds of Python have none
        yield
        return
    readline.clear_history()
    readline.set_history_length(HISTORY_LINES)
    readline.set_auto_history(True)
    try:
        readline.read_history_file(path)
    except OSError:
        pass
    try:
        yield
    finally:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            readline.write_history_file(path)
        except OSError as error:
            say((safe(f"What was typed is not kept ({error.strerror}): {path}"), "yellow"))


class _Talk:
    """What lines do. failed: one of them came to nothing. interrupted: one was, by Ctrl-C."""

    def __init__(self, chat: Chat, media_of: Callable[[str], Media | None], *, stays: bool = False):
        """media_of: where a video lies. stays: with the video that it was begun with."""
        self._chat = chat
        self._media_of = media_of
        self._stays = stays
        self.failed = self.interrupted = False

    def hear(self, line: str) -> bool:
        """False where the chat is to end."""
        line = line.strip()
        if not line:
            return True
        name, _, rest = line.partition(" ")
        commands = {
            "/help": self._help,
            "/video": self._video,
            "/sources": self._sources,
            "/play": self._play,
            "/new": self._new,
        }
        try:
            if name in ("/quit", "/exit"):
                return False
            if name in commands:
                commands[name](rest.strip())
            elif name.startswith("/") and "/" not in name[1:]:
                known = ", ".join((*commands, "/quit"))
                raise UsageError(f"There is no {name}. Known: {known}.")
            else:
                self._ask(line)
        except LongtakeError as error:
            self.failed = True
            say_error(str(error) or type(error).__name__)
        except KeyboardInterrupt:  # before the answer began, or between its events
            self.interrupted = True
            sys.stdout.write("\n")
            say(("Interrupted.", "yellow"))
        return True

    def _ask(self, question: str) -> None:
        events = self._chat.ask(question, lambda text: say((safe(text), "dim")))
        with closing(events):
            status = stream_answer(events)
        self.interrupted = self.interrupted or status == INTERRUPTED
        self.failed = self.failed or status not in (0, INTERRUPTED)
        data_line()

    def _help(self, _rest: str) -> None:
        for line in HELP.splitlines():
            data_line(line)

    def _video(self, name: str) -> None:
        library = self._chat.library
        if name and self._stays:
            title = library.find(self._chat.video).title
            raise UsageError(
                f"The model has watched “{title}” alone; begin a chat without --watch."
            )
        if name in ("all", "-", "off", "*"):
            self._chat.focus(None)
        elif name:
            self._chat.focus(name)
        video = self._chat.video
        if video is None:
            data_line("Looks in all videos.")
        else:
            data_line("Looks in ", (safe(library.find(video).title), "bold"), ".")
        if not name:
            for each in library.videos():
                data_line(f"{each.id[:8]}  {safe(each.title)}", indent=2)

    def _sources(self, _rest: str) -> None:
        if not self._chat.sources:
            raise UsageError("There was no answer with sources yet.")
        show_sources(self._chat.sources)

    def _play(self, number: str) -> None:
        known = {source.number: source for source in self._chat.sources}
        if not known:
            raise UsageError("There is nothing to play yet: ask something first.")
        if not number.strip("[]").isdigit() or int(number.strip("[]")) not in known:
            raise UsageError(f"/play takes the number of a source: {_numbers(list(known))}.")
        from cli.player import play

        moment = known[int(number.strip("[]"))].moment
        path, start = self._place(moment)
        if path is None:
            raise UsageError(f"Where “{moment.title}” lies is not known.")
        seeks = play(path, start)
        span = time_span(moment.start_seconds, moment.end_seconds)
        say(
            safe(f"{moment.title}, {span}")
            if seeks
            else safe(f"It begins at the start; go to {span} in {moment.title}.")
        )

    def _place(self, moment: Moment) -> tuple[Path | None, float]:
        """The file that holds the beginning of a moment, and when that is by its clock."""
        if moment.path is not None:
            return Path(moment.path), moment.start_seconds
        from ingest.segment_frames import Recording

        media = self._media_of(moment.video_id)
        for path, start, end in media.parts if isinstance(media, Recording) else ():
            if start <= moment.start_seconds and (end is None or moment.start_seconds < end):
                return path, moment.start_seconds - start
        return None, 0.0

    def _new(self, _rest: str) -> None:
        self._chat.forget()
        data_line("Forgotten.")


def _numbers(numbers: list[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
