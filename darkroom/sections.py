"""One section of params.yaml, validated: frozen, no defaults, unknown keys refused with the nearest right name."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

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
        found = "nothing" if content is None else f"a {type(content).__name__}"
        raise SettingsError(f"{file}: expected sections with settings, found {found}")
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
        found = error.errors(include_url=False)
        lines = [f"{file}: {_fault(item, kind, path)}" for item in found]
        if all(item["type"] == "missing" for item in found):  # written for an older version, and not misspelt
            lines.append("the params.yaml of a new workspace (`darkroom init DIR`) shows what they may be")
        raise SettingsError("\n".join(lines)) from None


def _fault(item: Any, kind: type[BaseModel], path: tuple[str, ...]) -> str:
    location = [str(part) for part in item["loc"]]
    where, found, facts = ".".join([*path, *location]), item["input"], item.get("ctx", {})
    match item["type"]:
        case "extra_forbidden":
            return f"`{where}` is not a setting{_nearest(location[-1], _names_at(kind, location[:-1]))}"
        case "missing":
            return f"`{where}` is missing"
        case "union_tag_not_found":
            return f"`{where}.kind` is missing"
        case "union_tag_invalid":
            kinds = facts["expected_tags"].replace("'", "").split(", ")
            return f"`{where}.kind` is `{facts['tag']}`{_nearest(facts['tag'], kinds)}"
        case "model_type" | "model_attributes_type":
            return f"`{where}`: expected settings below it, found {'nothing' if found is None else repr(found)}"
        case "value_error":
            return f"`{where}`: {facts['error']}"
    return f"`{where}` {item['msg'].removeprefix('Input ')} (it is {found!r})"


def _names_at(kind: type[BaseModel], inside: list[str]) -> list[str]:
    """Names of the settings that may stand at a place: the location of pydantic's error, walked down the models.

    A part of the location is a field, the tag of a union's member, or an index into a list (which leads to no other model).
    """
    models = [kind]
    for part in inside:
        tagged = [
            model for model in models if "kind" in model.model_fields and part in get_args(model.model_fields["kind"].annotation)
        ]
        fields = [field for model in models for name, field in model.model_fields.items() if part in (name, field.alias)]
        models = tagged or [model for field in fields for model in _models_in(field.annotation)] or models
    return [field.alias or name for model in models for name, field in model.model_fields.items()]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that a type is made of, such as the members of a union or the items of a list."""
    if get_args(annotation):
        return [model for part in get_args(annotation) for model in _models_in(part)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []


def _nearest(name: str, right: Any) -> str:
    found = get_close_matches(name, [str(item) for item in right], n=1, cutoff=0.6)
    return f"; did you mean `{found[0]}`?" if found else f"; known here: {', '.join(sorted(map(str, right)))}"
