"""One section of params.yaml, validated: frozen, no defaults, unknown keys refused with the nearest right name."""

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError


class Section(BaseModel):
    """Settings of one step. Every value stands in params.yaml; there is no second default in code."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SettingsError(ValueError):
    """A setting is missing, unknown or of the wrong kind. The text names the file, the setting and the remedy."""


AnySection = TypeVar("AnySection", bound=BaseModel)


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds. Raises SettingsError where there is no file, or no mapping in it."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{file}: there is no such file; `darkroom init DIR` writes one") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{file}: expected sections with settings, found {type(content).__name__}")
    return content


def read_section(file: Path, name: str, kind: type[AnySection]) -> AnySection:
    """Section `name` of a params file. Raises SettingsError."""
    content = read_yaml(file)
    if name not in content:
        raise SettingsError(f"{file}: the section `{name}` is missing{_nearest(name, content)}")
    return validated(kind, content[name], file, name)


def validated(kind: type[AnySection], content: Any, file: Path, *path: str) -> AnySection:
    """`content` as a `kind`, or SettingsError with every fault, one a line, each with its exact path."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        faults = [_fault(item, kind, path) for item in error.errors(include_url=False)]
        raise SettingsError("\n".join(f"{file}: {fault}" for fault in faults)) from None


def _fault(item: Any, kind: type[BaseModel], path: tuple[str, ...]) -> str:
    location = [str(part) for part in item["loc"]]
    where = ".".join([*path, *location])
    if item["type"] == "extra_forbidden":
        return f"`{where}` is not a setting{_nearest(location[-1], _names_at(kind, location[:-1]))}"
    if item["type"] == "missing":
        return f"`{where}` is missing"
    return f"`{where}`: {item['msg'][0].lower()}{item['msg'][1:]} (it is {item['input']!r})"


def _names_at(kind: type[BaseModel], inside: list[str]) -> list[str]:
    """Names of the settings that may stand at a place: the location of pydantic's error, walked down the models."""
    models = [kind]
    for part in inside:
        below = [model for outer in models for model in _models_in(outer, part)]
        models = below or models
    return [name for model in models for name in model.model_fields]


def _models_in(outer: type[BaseModel], part: str) -> Iterator[type[BaseModel]]:
    """Models under field `part`; or `outer` itself where `part` is the tag or list index that pydantic puts in."""
    if part not in outer.model_fields:
        if part == str(outer.model_fields["kind"].default) if "kind" in outer.model_fields else False:
            yield outer
        return
    waiting = [outer.model_fields[part].annotation]
    while waiting:
        annotation = waiting.pop()
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield annotation
        waiting.extend(getattr(annotation, "__args__", ()))


def _nearest(name: str, right: Any) -> str:
    found = get_close_matches(name, [str(item) for item in right], n=1, cutoff=0.6)
    return f"; did you mean `{found[0]}`?" if found else f"; known here: {', '.join(sorted(map(str, right)))}"
