"""YAML and JSON text of settings, read within bounds: a text is data and may be hostile."""

from typing import Any

import yaml

from hamlearn.errors import HamlearnError

LONGEST = 1 << 20  # bytes of a text
DEEPEST = 50  # collections in collections
DIGITS = 100  # letters of a whole number
MOST = 10_000  # values, those behind aliases counted each time

# What PyYAML raises on values that its own syntax allows: `2001-99-99`, `!!bool x`, `!!int ""`.
_BROKEN = (
    yaml.YAMLError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Safe):
    """A safe loader that refuses a key that comes twice, where YAML would keep the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping."""
        seen = set()
        for key, _ in getattr(node, "value", ()):
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r:.80} comes twice", key.start_mark
                )
            seen.add((key.tag, str(key.value)) if isinstance(key, yaml.ScalarNode) else id(key))
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping

    def construct_whole(self, node: Any) -> Any:
        """Return a whole number, of which YAML 1.1 would multiply out any length, as in `59:59`."""
        if len(getattr(node, "value", "")) > DIGITS:
            raise yaml.constructor.ConstructorError(
                None, None, f"a number of {len(node.value)} letters", node.start_mark
            )
        return self.construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_whole)


def parse(text: str, name: str) -> Any:
    """Return the value of a YAML text, which JSON is too.

    Args:
        text: what to parse.
        name: of its file, for messages.

    Raises:
        HamlearnError: it is not YAML, has a key twice, or is larger than a configuration can be,
            which a short text becomes by aliases of aliases.
    """
    if len(text) > LONGEST:
        raise HamlearnError(f"{name}: found {len(text)} letters, expected {LONGEST} at most")
    try:
        _measure(text)
        return yaml.load(text, _Loader)
    except _BROKEN as error:
        raise HamlearnError(f"{name}: not YAML: {str(error) or type(error).__name__}") from error


def _measure(text: str) -> None:
    """Go through a text without making anything of it; one that is too deep or large is refused."""
    sizes: dict[str, int] = {}  # of what each anchor stands for
    within: list[tuple[str | None, int]] = [(None, 0)]  # anchor and size of what is open
    for event in yaml.parse(text, _Safe):
        anchor, size = getattr(event, "anchor", None), 1
        if isinstance(event, yaml.CollectionStartEvent):
            within.append((anchor, size))
            if len(within) > DEEPEST:
                raise yaml.YAMLError(f"found more than {DEEPEST} collections in each other")
            continue
        if isinstance(event, yaml.AliasEvent):
            if anchor not in sizes:
                raise yaml.YAMLError(f"the alias {anchor!r:.80} stands for nothing before it")
            size, anchor = sizes[anchor], None
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = within.pop()
        elif not isinstance(event, yaml.ScalarEvent):
            continue
        if anchor is not None:
            sizes[anchor] = size
        within[-1] = (within[-1][0], within[-1][1] + size)
        if within[-1][1] > MOST:
            raise yaml.YAMLError(f"found more than {MOST} values, those behind aliases counted")
