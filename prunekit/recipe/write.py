"""Writing a recipe as YAML that reads back as an equal recipe."""

from __future__ import annotations

__all__ = ["dump_recipe", "to_mapping"]

import re

import yaml

from prunekit.recipe.reader import scalar_from_text
from prunekit.recipe.sections.whole import Recipe


def dump_recipe(recipe: Recipe) -> str:
    """Write a recipe with every default filled in; what is not given is left out."""
    return yaml.dump(
        to_mapping(recipe), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )


def to_mapping(recipe: Recipe) -> dict[str, object]:
    """Return a recipe as plain data without the keys that are not given."""
    plain: dict[str, object] = recipe.model_dump(mode="json")
    return {key: _given(part) for key, part in plain.items() if part is not None}


def _given(value: object) -> object:
    """Leave out keys that are null, but not among the arguments of a network."""
    match value:
        case dict():
            return {
                key: part if key == "arguments" else _given(part)
                for key, part in value.items()
                if part is not None
            }
        case list():
            return [_given(item) for item in value]
        case _:
            return value


class _Dumper(yaml.SafeDumper):
    """Puts text in quotes wherever YAML 1.2 would read something else than the text."""

    def ignore_aliases(self, _data: object) -> bool:
        """Write a value again rather than refer to it."""
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    plain = isinstance(scalar_from_text(text), str) and not re.search(r"[^\x20-\x7e]", text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _represent_text)
