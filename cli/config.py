"""`longtake config`: the settings in effect and where each value comes from."""

from __future__ import annotations

from typing import Any

import msgspec
from pydantic import BaseModel, SecretStr

from cli.settings import Settings


def flatten(model: BaseModel, prefix: str = "") -> dict[str, Any]:
    """Dotted name -> value, secrets hidden."""
    flat: dict[str, Any] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = "********" if isinstance(value, SecretStr) else value
    return flat


def run_config(settings: Settings, origins: dict[str, str], as_json: bool) -> int:
    """Prints a line a setting: its value, and where it comes from."""
    from cli.render import data_line, print_json

    values = flatten(settings)
    width = max(len(name) for name in values)
    for name, value in values.items():
        origin = origins.get(name, "default")
        plain = msgspec.to_builtins(value, enc_hook=str)
        if as_json:
            print_json({"name": name, "value": plain, "origin": origin})
        else:
            shown = plain if isinstance(plain, str) else msgspec.json.encode(plain).decode()
            data_line(f"{name:<{width}}  {shown}  ({origin})")
    return 0
