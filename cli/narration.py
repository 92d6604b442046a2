"""`longtake watch --narrate`: puts a commentator together and takes pictures and news to it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from cli.compose import build_video_llm
from cli.senses import prompt_text
from cli.settings import Settings
from ingest.channel import Sample
from ingest.live.epoch_pass import LiveNews
from ingest.live.state import SourceState
from ingest.reducing import reduced_picture
from rag.narrate import Commentator, Describing, Narrator, Quoting, Remark, Remembering


class Narration:
    """With the model that answers (`ask.model`), where there is one: one on this machine remembers
    what it has seen. Close it. Raises ConfigError; ModelMissingError where a model's weights are
    not here."""

    def __init__(
        self,
        settings: Settings,
        tell: Callable[[str, Remark], None],
        say: Callable[[str], None],
    ):
        self._side = settings.ask.picture_side
        self._closing = ExitStack()
        self._narrator = Narrator(settings.narrate, self._commentators(settings), tell, say)

    def _commentators(self, settings: Settings) -> Callable[[], Commentator]:
        ask, given = settings.ask, settings.narrate
        if ask.model is None:
            return Quoting
        instructions = prompt_text("prompts/narrate.txt", given.prompt)
        model = build_video_llm(settings)
        model.load()
        self._closing.callback(model.close)
        Describing(model, instructions, given)  # the instructions, before anything is watched
        if model.remote:
            return lambda: Describing(model, instructions, given)

        def remembering() -> Commentator:
            session = self._closing.enter_context(model.session(ask.session))
            return Remembering(session.append_frames, session.ask, instructions, given)

        return remembering

    def look(self, source: str, sample: Sample) -> None:
        """A picture that was looked at."""
        image = reduced_picture(sample.image, self._side)
        self._narrator.look(source, sample.time_seconds, image)

    def hear(self, news: LiveNews) -> None:
        self._narrator.hear(news.video.title, news.evidence, news.at_seconds)

    def on_state(self, state: SourceState) -> None:
        """How far a source has come, where there was nothing new."""
        if state.at_seconds is not None:
            self._narrator.hear(state.source, (), state.at_seconds)

    def close(self, timeout_seconds: float, *, after_all: bool) -> None:
        """As `Narrator.close`. What hangs in a model for longer is left to the end of the
        process."""
        if self._narrator.close(timeout_seconds, after_all=after_all):
            self._closing.close()
