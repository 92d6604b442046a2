"""The composition root: objects are put together here from the settings, and nowhere else; the
senses in cli/senses.py."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cli.settings import Settings
from index.errors import ConfigError, LibraryError
from index.library import Library
from index.store import Store, VectorSpace
from index.text import SPACES as TEXT_SPACES

if TYPE_CHECKING:
    from index.alerts import Alert, AlertEvent
    from index.schema import Space, Video
    from ingest.claims import Claims
    from ingest.models.encoders import ImageEncoder, TextEncoder
    from ingest.models.files import ModelFiles
    from ingest.models.videollm import VideoLLM
    from ingest.models.videollm.watching import WatchingModel
    from ingest.segment_frames import Media
    from ingest.thumbnails import Thumbnails
    from rag.alerts.watcher import AlertWatcher
    from rag.answer import Answerer
    from rag.answer_settings import AskSettings
    from rag.chat import Chat
    from rag.detected import Finder
    from rag.look import Onlooker
    from rag.planner import Planner
    from rag.prompt import PromptBuilder
    from rag.question_kind import Opinion
    from rag.rerank import Reranker
    from rag.retrieve import Retriever
    from rag.settings import LookSettings
    from rag.vectors import QueryEncoders

SPACES = (*TEXT_SPACES, VectorSpace("fingerprint", 256))


@contextmanager
def open_library(settings: Settings, *, must_exist: bool = True) -> Iterator[Library]:
    """The library, opened here or through the process that has it open.

    Raises LibraryError where there is none and `must_exist`.
    """
    store = open_store(settings, must_exist=must_exist)
    try:
        store.ensure_spaces(SPACES)
        yield Library(store)
    finally:
        store.close()


def open_store(settings: Settings, *, must_exist: bool = True) -> Store:
    if settings.server is not None:
        from index.server import ServerStore

        return ServerStore(settings.server)
    from index.access import open_store as open_shared
    from index.edge import EdgeStore

    if must_exist and not (settings.library / "manifest.json").exists():
        raise LibraryError(
            f"There is no library at {settings.library}. `longtake index FOLDER` makes one; "
            "--library PATH or LONGTAKE_LIBRARY names another."
        )
    return open_shared(
        settings.library,
        open_edge=lambda folder: EdgeStore(folder, settings=settings.index, spaces=SPACES),
    )


def build_claims(settings: Settings, library: Library) -> tuple[Library, Claims]:
    """What keeps two processes from working on one thing, and the library as it is under it."""
    if settings.server is None:
        from ingest.claims import FileClaims

        return library, FileClaims(settings.library / "claims")
    from index.fenced import FencedStore
    from index.leases import Leases

    leases = Leases(library.store, settings.server)
    return Library(FencedStore(library.store, leases.claims)), leases


def build_thumbnails(settings: Settings) -> Thumbnails:
    from ingest.thumbnails import Thumbnails

    return Thumbnails(settings.library / "thumbnails")


def build_retriever(settings: Settings, library: Library) -> Retriever:
    from rag.retrieve import Retriever

    # What was imported stays. Every ten searches the collector would look through all of it, which
    # takes as long as half of a search.
    gc.freeze()
    return Retriever(
        library,
        settings.retrieve,
        build_query_encoders(settings),
        build_planner(settings),
        build_rerankers(settings, library),
        wanted=settings.channels.wanted(),
    )


def build_query_encoders(settings: Settings) -> QueryEncoders:
    """Loads none."""
    from rag.vectors import QueryEncoders

    queries = _Queries(settings)
    return QueryEncoders(queries.text, queries.images)


def build_planner(settings: Settings) -> Planner | None:
    """None where no model is to take questions apart. Raises ConfigError."""
    given = settings.retrieve.planner
    if given.model is None:
        return None
    from cli.senses import prompt_text
    from ingest.models.videollm.openai import OpenAIVideoLLM
    from rag.planner import Planner

    model = OpenAIVideoLLM(
        given.model,
        base_url=given.base_url,
        key_variable=given.key_variable,
        retries=0,
        timeout_seconds=given.timeout_seconds,
    )
    return Planner(model, prompt_text("prompts/plan.txt", given.prompt), given)


def build_rerankers(settings: Settings, library: Library) -> list[Reranker]:
    """Those that are to judge results: a cross-encoder, then a Video-LLM. Loads nothing. Raises
    ConfigError."""
    rerankers: list[Reranker] = []
    if (read := settings.retrieve.rerank).model is not None:
        from cli.loading import load_reranker
        from rag.rerank import CrossEncoder

        rerankers.append(CrossEncoder(read.model, lambda: load_reranker(settings), read.depth))
    if settings.retrieve.look.model is not None:
        rerankers.append(build_onlooker(settings.retrieve.look, settings, library))
    return rerankers


def build_onlooker(look: LookSettings, settings: Settings, library: Library) -> Onlooker:
    """What asks the model of `look` about pictures. Loads nothing. Raises ConfigError."""
    from cli.senses import prompt_text
    from ingest.models.videollm.openai import OpenAIVideoLLM
    from rag.look import Onlooker

    model = OpenAIVideoLLM(
        look.model,
        base_url=look.base_url,
        key_variable=look.key_variable,
        retries=0,
        timeout_seconds=look.timeout_seconds,
    )
    prompt = prompt_text("prompts/look.txt", look.prompt)
    return Onlooker(look.model, model, prompt, media_of(settings, library), look)


def build_alert_watcher(
    settings: Settings, library: Library, tell: Callable[[Alert, AlertEvent, Video], None]
) -> AlertWatcher:
    """What holds live evidence against the standing questions. Loads nothing until there is one.
    Raises ConfigError."""
    from index.pieces import PieceBook
    from rag.alerts.clips import clip_finder
    from rag.alerts.watcher import AlertWatcher

    check = settings.alert.check
    return AlertWatcher(
        library,
        settings.alert,
        retrieve=settings.retrieve,
        encoders=build_query_encoders(settings),
        onlooker=None if check.model is None else build_onlooker(check, settings, library),
        clip_of=clip_finder(PieceBook(library.store), settings.library),
        tell=tell,
    )


class _Queries:
    """Encoders for the spaces that a library has, from what `longtake models prepare` has made:
    no query pays for torch."""

    def __init__(self, settings: Settings):
        self._settings = settings

    def text(self, space: Space) -> TextEncoder | None:
        """None where the space's model is not here. Raises ModelMissingError where it is not
        prepared."""
        files = self._files(space)
        threads = self._settings.models.threads
        if files is None:
            return None
        if space.channel == "frame":
            from ingest.models.clip_onnx import OnnxTextEncoder as ClipText

            return ClipText(files, threads=threads, once=True)
        if space.channel == "sound":
            from ingest.models.clap_onnx import OnnxClapText

            return OnnxClapText(files)
        from ingest.models.text_onnx import OnnxTextEncoder

        given = self._settings.channels.text
        return OnnxTextEncoder(
            files,
            query_prefix=given.query_prefix,
            max_tokens=given.max_tokens,
            threads=given.threads or threads,
            once=True,
        )

    def images(self, space: Space) -> ImageEncoder | None:
        files = self._files(space)
        if files is None:
            return None
        from ingest.models.clip_onnx import OnnxImageEncoder

        int8 = space.name.endswith(".int8")
        return OnnxImageEncoder(files, int8=int8, threads=self._settings.models.threads)

    def _files(self, space: Space) -> ModelFiles | None:
        """The weights that fill the space; other weights of the same name do not count."""
        from ingest.models.depot import Depot
        from ingest.models.encoders import space_name

        kind = {"frame": "clip", "sound": "clap", "text": "text"}[space.channel]
        models = self._settings.models
        files = Depot(models.dir, models.packages).find(kind, space.model)
        if files is None:
            return None
        names = (
            space_name(space.channel, files.name, files.digest, int8=int8) for int8 in (False, True)
        )
        return files if space.name in names else None


def build_chat(settings: Settings, library: Library, model: VideoLLM | None = None) -> Chat:
    """One model answers and writes follow-ups anew. Loads none. Raises ConfigError. model: the one
    that the settings name, where there is one already."""
    from rag.chat import Chat, Rewriter

    if settings.ask.model is None:
        return Chat(build_answerer(settings, library), library)
    from cli.senses import prompt_text

    model = model or build_video_llm(settings)
    instructions = prompt_text("prompts/rewrite.txt", settings.ask.rewrite_prompt)
    fits = build_prompt_builder(settings, library, "answer", model).fits
    rewriter = Rewriter(model, instructions, fits)
    return Chat(build_answerer(settings, library, model), library, rewriter)


def build_watching_model(settings: Settings) -> WatchingModel:
    """The model that answers, with a memory for a video. Loads nothing. Raises ConfigError where it
    is none of this machine's."""
    from ingest.models.videollm.watching import WatchingModel

    if settings.ask.model is None or settings.ask.backend != "transformers":
        raise ConfigError(
            'To watch takes a model on this machine: set ask.backend = "transformers" and '
            "ask.model; docs/answers.md says how."
        )
    return WatchingModel(build_video_llm(settings), settings.ask.session)


def build_answerer(settings: Settings, library: Library, model: VideoLLM | None = None) -> Answerer:
    """Without a language model: quotes of the best evidence. Loads no model. Raises ConfigError.
    model: the one that the settings name, where there is one already."""
    retriever = build_retriever(settings, library)
    if settings.ask.model is not None:
        model = model or build_video_llm(settings)
        return _model_answerer(settings, library, retriever, model)
    if settings.ask.context != "retrieved":
        raise ConfigError(
            f"The context “{settings.ask.context}” is for a language model, and none is named. Set "
            "ask.model and ask.base_url; docs/answers.md says how."
        )
    from rag.answer import ExtractiveAnswerer

    return ExtractiveAnswerer(retriever, settings.answer)


def _model_answerer(
    settings: Settings, library: Library, retriever: Retriever, model: VideoLLM
) -> Answerer:
    from cli.loading import build_finder
    from rag.generate import ModelAnswerer
    from rag.library_support import scorer_of

    ask = settings.ask
    finder = build_finder(settings) if ask.detect else None
    builder = build_prompt_builder(settings, library, "answer", model, finder)
    return ModelAnswerer(
        retriever,
        model,
        builder,
        ask,
        settings.answer,
        lambda: scorer_of(library, retriever.encoders, settings.retrieve, ask.check),
        build_prompt_builder(settings, library, "part", model, finder),
        _opinion(ask, model, builder),
    )


def _opinion(ask: AskSettings, model: VideoLLM, builder: PromptBuilder) -> Opinion | None:
    if ask.kind == "rules":
        return None
    from cli.senses import prompt_text
    from rag.question_kind import opinion_of

    return opinion_of(model, prompt_text("prompts/kind.txt", ask.kind_prompt), builder.fits)


def build_prompt_builder(
    settings: Settings,
    library: Library,
    name: str,
    model: VideoLLM | None = None,
    finder: Finder | None = None,
) -> PromptBuilder:
    """What makes prompts for the model that answers. name: of the instructions: "answer", "part",
    "chapter" or "choice". Raises ConfigError."""
    from cli.senses import prompt_text
    from ingest.models.videollm.watching import WatchingModel
    from rag.prompt import PromptBuilder
    from rag.tokens import ModelTokens, ServerTokens

    ask = settings.ask
    model = model or build_video_llm(settings)
    tokens = ServerTokens(ask.model, ask.picture_tokens) if model.remote else ModelTokens(model)
    given = ask.prompt if name == "answer" else getattr(ask, f"{name}_prompt")
    instructions = prompt_text(f"prompts/{name}.txt", given)
    watched = isinstance(model, WatchingModel)
    media = media_of(settings, library)
    return PromptBuilder(instructions, tokens, ask, media, watched=watched, finder=finder)


def build_video_llm(settings: Settings) -> VideoLLM:
    """The model that answers. Loads nothing."""
    ask = settings.ask
    if ask.backend == "openai":
        from ingest.models.videollm.openai import OpenAIVideoLLM

        return OpenAIVideoLLM(
            ask.model,
            base_url=ask.base_url,
            key_variable=ask.key_variable,
            retries=ask.retries,
            timeout_seconds=ask.timeout_seconds,
        )
    from ingest.models.depot import Depot
    from ingest.models.device import likely_device
    from ingest.models.videollm.transformers import TransformersVideoLLM

    models = settings.models
    files = Depot(models.dir, models.packages).files("videollm", ask.model)
    device = ask.device or likely_device(models.device)
    return TransformersVideoLLM(
        files, device=device, dtype=ask.dtype, four_bit=ask.four_bit, threads=models.threads
    )


def media_of(settings: Settings, library: Library) -> Callable[[str], Media | None]:
    """Where a video's pictures lie: in its file, or in the pieces that were recorded of it; None
    where there are none."""
    from index.pieces import PieceBook, recordings_folder
    from ingest.segment_frames import Recording

    book = PieceBook(library.store)

    def media_of(video_id: str) -> Media | None:
        video = library.video(video_id)
        if video is None or video.files:
            return Path(video.files[0].path) if video else None
        folder = recordings_folder(settings.library, video_id)
        parts = [
            (folder / piece.name, piece.start_seconds, piece.end_seconds)
            for piece in book.pieces(video_id)
        ]
        return Recording(tuple(parts)) if parts else None

    return media_of
