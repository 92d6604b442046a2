"""The settings: one tree, put together from the layers' own models.

Where a value comes from, the strongest first: the command line (`--set`, `--library`), the
environment (`LONGTAKE_LIBRARY`, `LONGTAKE_INGEST__SAMPLING__INTERVAL_SECONDS=2`), the profile
(`--profile`, else `LONGTAKE_PROFILE`), the user's config.toml, the defaults in the models. An empty
variable counts as unset.
"""

from __future__ import annotations

import os
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

import configs
from index.errors import ConfigError
from index.settings import ServerSettings, StoreSettings, folder_given
from ingest.channels.settings import (
    CaptionSettings,
    FingerprintSettings,
    FrameSettings,
    ObjectSettings,
    RecognitionSettings,
    ScreenTextSettings,
    SoundSettings,
    TextSettings,
)
from ingest.live.settings import LiveSettings
from ingest.models.settings import ModelsSettings
from ingest.settings import IngestSettings
from rag.alerts.settings import AlertSettings
from rag.answer_settings import AskSettings
from rag.narrate_settings import NarrateSettings
from rag.settings import AnswerSettings, RetrieveSettings

PROFILES = Path(configs.__file__).parent

KNOWN_CHANNELS = (
    "speech",
    "sound",
    "screen_text",
    "fingerprint",
    "frame",
    "object",
    "caption",
    "text",
)
"""Channels that can be chosen, cheapest first; `text` is the meaning of what others find written
or said."""

WORDED = ("speech", "screen_text", "object", "caption")
"""Channels whose evidence has text, which the channel `text` works on."""


class ChannelSettings(BaseModel):
    """Which channels `index` runs, and each one's own settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: tuple[str, ...] = KNOWN_CHANNELS
    recognition: RecognitionSettings = Field(default_factory=RecognitionSettings)
    sound: SoundSettings = Field(default_factory=SoundSettings)
    screen_text: ScreenTextSettings = Field(default_factory=ScreenTextSettings)
    fingerprint: FingerprintSettings = Field(default_factory=FingerprintSettings)
    frame: FrameSettings = Field(default_factory=FrameSettings)
    object: ObjectSettings = Field(default_factory=ObjectSettings)
    caption: CaptionSettings = Field(default_factory=CaptionSettings)
    text: TextSettings = Field(default_factory=TextSettings)

    def wanted(self) -> tuple[str, ...]:
        """What the enabled channels are called in the library; one that has nothing to look for is
        not among them."""
        seen = [c for c in self.enabled if c != "object" or self.object.classes]
        meant = [f"text:{name}" for name in WORDED if name in seen and "text" in seen]
        return (*(name for name in seen if name != "text"), *meant)


class Settings(BaseSettings):
    """Everything that can be configured. Unknown names are refused."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix="LONGTAKE_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
    )

    library: Path = Field(
        default_factory=lambda: platformdirs.user_data_path("longtake", appauthor=False)
    )
    jobs: int = Field(1, ge=1)
    server: ServerSettings | None = None
    index: StoreSettings = Field(default_factory=StoreSettings)
    ingest: IngestSettings = Field(default_factory=IngestSettings)
    live: LiveSettings = Field(default_factory=LiveSettings)
    channels: ChannelSettings = Field(default_factory=ChannelSettings)
    models: ModelsSettings = Field(default_factory=ModelsSettings)
    retrieve: RetrieveSettings = Field(default_factory=RetrieveSettings)
    answer: AnswerSettings = Field(default_factory=AnswerSettings)
    ask: AskSettings = Field(default_factory=AskSettings)
    alert: AlertSettings = Field(default_factory=AlertSettings)
    narrate: NarrateSettings = Field(default_factory=NarrateSettings)

    @field_validator("library", mode="before")
    @classmethod
    def _folder(cls, given: Any) -> Any:
        return folder_given(given)


# Variables with the prefix that are no settings: they steer tests and the log.
NOT_SETTINGS = (
    "LONGTAKE_PROFILE",
    "LONGTAKE_LOG",
    "LONGTAKE_FAULT",
    "LONGTAKE_CONFIG",
    "LONGTAKE_TEST_",
)


def user_config_path() -> Path:
    """`LONGTAKE_CONFIG`, or config.toml in the user's configuration directory."""
    named = os.environ.get("LONGTAKE_CONFIG")
    if named:
        return Path(named)
    return platformdirs.user_config_path("longtake", appauthor=False) / "config.toml"


def user_config() -> PydanticBaseSettingsSource | None:
    """What the user's config.toml gives; None where there is none. Raises ConfigError where the
    file cannot be read, or `LONGTAKE_CONFIG` names one that is not there."""
    path = user_config_path()
    try:
        return toml_source(path)
    except FileNotFoundError as error:
        if os.environ.get("LONGTAKE_CONFIG"):
            raise ConfigError(
                f"There is no {path}, which LONGTAKE_CONFIG names. Correct or unset the variable."
            ) from error
        return None


def toml_source(path: Path) -> PydanticBaseSettingsSource:
    """Raises FileNotFoundError, and ConfigError for whatever else is wrong with the file."""
    try:
        given = tomllib.loads(path.read_bytes().decode())
    except ValueError as error:
        raise ConfigError(f"{path} is no valid TOML: {error}") from error
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    return InitSettingsSource(Settings, init_kwargs=given)


def profile_path(profile: str) -> Path:
    """The file of a profile given by name or path. Raises ConfigError that lists the known."""
    for path in (Path(profile), PROFILES / f"{profile}.toml"):
        if path.suffix == ".toml" and os.path.isfile(path):
            return path
    known = ", ".join(sorted(path.stem for path in PROFILES.glob("*.toml")))
    raise ConfigError(f"No profile “{profile}”. Known: {known}; or give the path of a TOML file.")


def sources(
    overrides: dict[str, Any], profile: str | None
) -> list[tuple[str, PydanticBaseSettingsSource]]:
    """(name, source) pairs, the strongest first."""
    found: list[tuple[str, PydanticBaseSettingsSource]] = [
        ("command line", InitSettingsSource(Settings, init_kwargs=overrides)),
        ("environment", EnvSettingsSource(Settings)),
    ]
    if profile is None:
        profile = os.environ.get("LONGTAKE_PROFILE") or None
    if profile is not None:
        path = profile_path(profile)
        found.append((str(path), toml_source(path)))
    config = user_config()
    if config is not None:
        found.append((str(user_config_path()), config))
    return found


def load(overrides: dict[str, Any], profile: str | None) -> tuple[Settings, dict[str, str]]:
    """The settings in effect and, for each dotted name that some source gives, where its value
    came from. Raises ConfigError that names the setting and its source."""
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, source in reversed(sources(overrides, profile)):
        try:
            given = source()
        except Exception as error:
            raise ConfigError(_unreadable(name, error)) from error
        for dotted in _merge(merged, given):
            origins[dotted] = name
    _refuse_unknown_variables()
    try:
        return Settings.model_validate(merged), origins
    except ValidationError as error:
        raise ConfigError(_explain(error, origins)) from error


def _unreadable(name: str, error: Exception) -> str:
    """What to say of a source that fails to read what it is given: the variable, where it is one.
    Its value may be a secret, so it is not shown."""
    for variable, text in os.environ.items():
        if name != "environment" or not variable.startswith("LONGTAKE_"):
            continue
        alone = EnvSettingsSource(Settings)
        alone.env_vars = {variable.lower(): text}
        try:
            alone()
        except Exception:
            return (
                f"The environment variable {variable} stands for a list or a group of settings, so "
                f"it must hold JSON, and does not. A single setting of a group is given as "
                f"{variable.partition('__')[0]}__NAME=VALUE; `longtake config` lists them all."
            )
    return f"The {name} gives a setting that cannot be read: {error}"


def _merge(target: dict[str, Any], given: dict[str, Any], prefix: str = "") -> list[str]:
    """Lays `given` over `target`; returns the dotted names that it set."""
    names: list[str] = []
    for key, value in given.items():
        if isinstance(value, dict):
            inner = target.setdefault(key, {})
            if not isinstance(inner, dict):
                inner = target[key] = {}
            names += _merge(inner, value, f"{prefix}{key}.")
        else:
            target[key] = value
            names.append(f"{prefix}{key}")
    return names


def _refuse_unknown_variables() -> None:
    known = {f"LONGTAKE_{name.upper()}" for name in Settings.model_fields}
    for name in os.environ:
        if not name.startswith("LONGTAKE_") or name.startswith(NOT_SETTINGS):
            continue
        if name.partition("__")[0] not in known:
            group = name.removeprefix("LONGTAKE_").partition("__")[0].lower()
            raise ConfigError(
                f"The environment variable {name} is no setting{_meant(Settings, group)}"
            )


def _explain(error: ValidationError, origins: dict[str, str]) -> str:
    lines = []
    for problem in error.errors():
        dotted = ".".join(str(part) for part in problem["loc"])
        origin = origins.get(dotted) or next(
            (origins[name] for name in origins if name.startswith(dotted)), "the defaults"
        )
        if problem["type"] == "extra_forbidden":
            *groups, name = map(str, problem["loc"])
            lines.append(f"{dotted} (from {origin}) is no setting{_meant(_group(groups), name)}")
        elif problem["type"] in ("model_type", "model_attributes_type"):
            lines.append(f"{dotted} (from {origin}) is a group of settings, as in {dotted}.NAME.")
        else:
            said = problem["msg"].removeprefix("Value error, ").rstrip(".")
            lines.append(f"{dotted} (from {origin}): {said}.")
    return " ".join(lines)


def _group(names: list[str]) -> type[BaseModel] | None:
    """The model that holds the settings under these names; None where there is no single one."""
    model: type[BaseModel] = Settings
    for name in names:
        kind = model.model_fields[name].annotation if name in model.model_fields else None
        kinds = [each for each in (kind, *get_args(kind)) if isinstance(each, type)]
        models = [each for each in kinds if issubclass(each, BaseModel)]
        if len(models) != 1:
            return None
        model = models[0]
    return model


def _meant(group: type[BaseModel] | None, name: str) -> str:
    """How a sentence ends that says that a name is none in that group: with the nearest there are,
    or with all. `longtake config`, which lists them, fails by the same mistake."""
    if group is None:
        return "."
    near = get_close_matches(name, group.model_fields, n=1)
    if near:
        return f"; did you mean “{near[0]}”?"
    return f". There are {', '.join(group.model_fields)}."
