"""The channels and their models, put together from the settings: a part of the composition root."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import configs
from cli.models import int8_loss, wanted_models
from cli.settings import KNOWN_CHANNELS, WORDED, Settings
from index.errors import ConfigError, ModelMissingError
from index.text import detect_language
from ingest.models.catalogue import KINDS
from ingest.models.depot import Depot
from ingest.models.device import check_device, likely_device

if TYPE_CHECKING:
    from ingest.channel import DerivedChannel, FileChannel, PictureChannel
    from ingest.models.encoders import PassageEncoder
    from ingest.models.files import ModelFiles
    from ingest.models.videollm import VideoLLM
    from ingest.plan import Channels

_PREPARATIONS = {
    "clip": "ingest.models.clip_onnx",
    "text": "ingest.models.text_onnx",
    "clap": "ingest.models.clap_onnx",
}
"""Kind -> the module whose `read_record` knows a model's preparation."""


def chosen_channels(settings: Settings, names: Sequence[str] | None) -> tuple[str, ...]:
    """The channels to run, cheapest first. Raises ConfigError for a name that is unknown."""
    wanted = settings.channels.enabled if names is None else tuple(names)
    for name in wanted:
        if name not in KNOWN_CHANNELS:
            raise ConfigError(f"No channel “{name}”. Known: {', '.join(KNOWN_CHANNELS)}.")
    if not wanted:
        raise ConfigError(f"No channels chosen. Known: {', '.join(KNOWN_CHANNELS)}.")
    return tuple(name for name in KNOWN_CHANNELS if name in wanted)


class Senses:
    """What one run perceives with. names: the channels; None is those that the settings enable."""

    def __init__(self, settings: Settings, names: Sequence[str] | None = None):
        self._settings = settings
        self._named = names is not None
        chosen = chosen_channels(settings, names)
        # What is found written or said is worth little to searches by meaning without it.
        follows = "text" in settings.channels.enabled and any(name in WORDED for name in chosen)
        self._text_alone = chosen == ("text",)
        self._follows = follows and "text" not in chosen
        self.chosen = (*chosen, "text") if self._follows else chosen
        self.depot = Depot(settings.models.dir, settings.models.packages)

    @cached_property
    def device(self) -> str:
        return likely_device(self._settings.models.device)

    # Models

    @cached_property
    def models(self) -> dict[str, tuple[str, str]]:
        """channel -> (kind, name) of the model that it needs on this machine."""
        wanted = wanted_models(self._settings, self.chosen)
        return {one.channel: (one.kind, one.name) for one in wanted}

    def check_models(self) -> None:
        """Raises one ModelMissingError about all that is missing; ConfigError where the settings
        ask for a GPU that is not there, or for a channel that has nothing to look for."""
        if self._named and "object" in self.chosen and not self._settings.channels.object.classes:
            raise ConfigError(
                "The channel object looks for the things that channels.object.classes names, and "
                'it names none. As in --set \'channels.object.classes=["person", "red car"]\'.'
            )
        if self.models:
            check_device(self._settings.models.device)
        try:
            self.depot.check_present(list(self.models.values()))
        except ModelMissingError as error:
            if self._follows and self.depot.missing([self.models["text"]]):
                own = [one for one in self._settings.channels.enabled if one != "text"]
                raise ModelMissingError(
                    f"{error} text, the vectors of words, comes with them as long as "
                    f"channels.enabled names it: --set 'channels.enabled={json.dumps(own)}'."
                ) from error
            raise

    def prepare_models(self, say: Callable[[str], None]) -> None:
        """Makes what queries and the CPU need of the models, where that has not been done yet."""
        for kind, name in dict.fromkeys(self.models.values()):
            export = KINDS[kind].export
            files = self.depot.files(kind, name)
            int8 = self._int8 and self.models.get("frame") == (kind, name)
            if export and not _is_prepared(kind, files, int8=int8):
                say(f"Preparing {files.name} for this machine, once.")
                facts = import_module(export).prepare(files, int8=int8)
                if lost := int8_loss(facts):
                    say(lost)

    @property
    def _int8(self) -> bool:
        return self._settings.channels.frame.int8

    def _files(self, channel: str) -> ModelFiles:
        return self.depot.files(*self.models[channel])

    # Channels

    def channels(self) -> Channels:
        """Raises ModelMissingError where a model is missing."""
        from ingest.plan import Channels, describe_analysis, describe_segments

        self.check_models()
        files, pictures = self._file_channels(), self._picture_channels()
        derived = self._derived_channels()
        models = {channel: self._called(*model) for channel, model in self.models.items()}
        models |= {f"text:{name}": models["text"] for name in WORDED if "text" in models}
        ingest = self._settings.ingest
        blind = self._named and not pictures and not any(d.sources[0] == "shot" for d in derived)
        return Channels(
            tuple(files),
            tuple(pictures),
            None if blind else describe_analysis(ingest),
            None if blind else describe_segments(ingest),
            tuple(derived),
            models,
            self._named,
        )

    def _called(self, kind: str, name: str) -> str:
        """What a search has to look for: a folder that is not in models.dir by its path."""
        return self.depot.place(kind, name).called

    def _file_channels(self) -> list[FileChannel]:
        channels: list[FileChannel] = []
        if "speech" in self.chosen:
            from ingest.channels.speech import SpeechChannel

            if "speech" in self.models:
                from ingest.recognition import Recognition

                heard = Recognition(self._files("speech"), self._settings.channels.recognition)
                channels.append(SpeechChannel(recognizer=heard))
            else:
                channels.append(SpeechChannel())
        if "sound" in self.chosen:
            from ingest.channels.sound import SoundChannel
            from ingest.models.clap import ClapEncoder, describe_clap

            files = self._files("sound")
            channels.append(
                SoundChannel(
                    self._settings.channels.sound,
                    _Once(lambda: ClapEncoder(files, device=self.device)),
                    describe_clap(files),
                )
            )
        return channels

    def _picture_channels(self) -> list[PictureChannel]:
        given = self._settings.channels
        channels: list[PictureChannel] = []
        if "screen_text" in self.chosen:
            from ingest.channels.screen_text import ScreenTextChannel, build_reader

            weights = self._files("screen_text") if "screen_text" in self.models else None
            reader = build_reader(given.screen_text, weights, device=self.device)
            channels.append(
                ScreenTextChannel(given.screen_text, reader=reader, detect_language=detect_language)
            )
        if "fingerprint" in self.chosen:
            from ingest.channels.fingerprint import FingerprintChannel

            channels.append(FingerprintChannel(given.fingerprint))
        if "frame" in self.chosen:
            from ingest.channels.frame import FrameChannel

            files = self._files("frame")
            channels.append(
                FrameChannel(
                    given.frame,
                    _Once(lambda: self._image_encoder(files)),
                    {"model": files.name, "digest": files.digest}
                    | ({"precision": "int8"} if self._int8 else {}),
                )
            )
        if "object" in self.chosen and given.object.classes:
            from ingest.channels.object import ObjectChannel
            from ingest.models.detector import OpenVocabularyDetector, describe_detector

            detector = self._files("object")
            channels.append(
                ObjectChannel(
                    given.object,
                    _Once(
                        lambda: OpenVocabularyDetector(
                            detector, device=self.device, overlap=given.object.overlap
                        )
                    ),
                    describe_detector(detector),
                )
            )
        return channels

    def _image_encoder(self, files: ModelFiles) -> Any:
        batch = self._settings.channels.frame.batch
        if self.device == "cpu" or self._int8:
            from ingest.models.clip_onnx import OnnxImageEncoder

            threads = self._settings.models.threads
            sized = {"batch": batch} if batch else {}
            return OnnxImageEncoder(files, int8=self._int8, threads=threads, **sized)
        from ingest.models.clip import OpenClipEncoder

        return OpenClipEncoder(files, device=self.device, batch=batch)

    def _derived_channels(self) -> list[DerivedChannel]:
        """Each after its sources."""
        channels: list[DerivedChannel] = []
        if "frame" in self.chosen:
            from ingest.channels.segment import SegmentChannel

            ingest = self._settings.ingest
            channels.append(SegmentChannel(ingest.stitch, ingest.segments))
        # Captions may be long in coming: what they do not concern goes before.
        vectors = self._passage_channels() if "text" in self.chosen else []
        channels += [channel for channel in vectors if channel.sources != ("caption",)]
        if "caption" in self.chosen:
            channels += self._captioners()
        channels += [channel for channel in vectors if channel.sources == ("caption",)]
        return channels

    def _captioners(self) -> list[DerivedChannel]:
        given = self._settings.channels.caption
        if given.backend is not None:
            from ingest.channels.caption import CaptionChannel

            return [
                CaptionChannel(
                    given,
                    self.video_llm(),
                    prompt=prompt_text("prompts/caption.txt", given.prompt),
                    detect_language=detect_language,
                )
            ]
        if "caption" not in self.models:
            return []
        from ingest.channels.tags import TagChannel, read_words
        from ingest.models.clip_onnx import OnnxTextEncoder
        from ingest.models.encoders import space_name

        files = self._files("caption")
        return [
            TagChannel(
                given,
                space_name("frame", files.name, files.digest, int8=self._int8),
                lambda: OnnxTextEncoder(files, threads=self._settings.models.threads),
                read_words(prompt_text("words/tags.txt", given.words)),
                language="en" if given.words is None else None,
            )
        ]

    def video_llm(self) -> VideoLLM:
        """The captioner's model. Raises ConfigError where the settings name none."""
        given = self._settings.channels.caption
        if given.backend == "openai":
            from ingest.models.videollm.openai import OpenAIVideoLLM

            if not given.model:
                raise ConfigError("channels.caption.model must name the server's model.")
            return OpenAIVideoLLM(
                given.model,
                base_url=given.base_url,
                key_variable=given.key_variable,
                retries=given.retries,
                timeout_seconds=given.timeout_seconds,
            )
        from ingest.models.videollm.transformers import TransformersVideoLLM

        return TransformersVideoLLM(
            self._files("caption"),
            device=given.device or self.device,
            dtype=given.dtype,
            four_bit=given.four_bit,
        )

    def _passage_channels(self) -> list[DerivedChannel]:
        from ingest.channels.text import PassageVectorChannel, describe_encoder

        files = self._files("text")
        sources = [name for name in WORDED if name in self.chosen or self._text_alone]
        describe = describe_encoder(files, self._settings.channels.text)
        encoder = _Once(lambda: self._passage_encoder(files))
        return [PassageVectorChannel(name, encoder, describe) for name in sources]

    def _passage_encoder(self, files: ModelFiles) -> PassageEncoder:
        given = self._settings.channels.text
        if self.device == "cpu":
            from ingest.models.text_onnx import OnnxTextEncoder

            return OnnxTextEncoder(
                files,
                passage_prefix=given.passage_prefix,
                max_tokens=given.max_tokens,
                threads=given.threads or self._settings.models.threads,
            )
        from ingest.models.text_encoder import TransformersTextEncoder

        return TransformersTextEncoder(
            files,
            device=self.device,
            passage_prefix=given.passage_prefix,
            max_tokens=given.max_tokens,
        )


def _is_prepared(kind: str, files: ModelFiles, *, int8: bool) -> bool:
    """Whether what this Longtake wants of the model has been made, and of these weights."""
    module = import_module(_PREPARATIONS[kind])
    try:
        module.read_record(files)
    except ModelMissingError:
        return False
    return not int8 or module.has_int8(files)


_LOADING = threading.RLock()
"""The libraries are imported where models are loaded, and some break where two threads import them
at once."""


class _Once:
    """Makes a thing when it is first asked for, and gives the same from then on. One at a time of
    all such things."""

    def __init__(self, make: Callable[[], Any]):
        self._make = make
        self._made: Any = None

    def __call__(self) -> Any:
        with _LOADING:
            if self._made is None:
                self._made = self._make()
            return self._made


def prompt_text(name: str, given: Path | None) -> str:
    """The packaged file of that name, or the user's own. Raises ConfigError."""
    path = given or Path(configs.__file__).parent / name
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from error
