"""The source of a network: the library that it comes from, and its name there.

| source | the name is |
|---|---|
| `torchvision:resnet152` | that of a model of torchvision |
| `timm:vit_base_patch16_clip_224.openai` | that of a model of timm |
| `transformers:openai/clip-vit-base-patch32` | an id of the Hugging Face hub, or a folder |
| `python:package.module:function` | that of a function that loads the network |

No library is imported here, so that a configuration is read in any environment.
"""

import re
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator

from hamlearn.sections import guess, wrong

Kind = Literal["torchvision", "timm", "transformers", "python"]

_FORMS: dict[Kind, tuple[str, str]] = {  # the pattern of the names of each kind, and an example
    "torchvision": (r"\w+", "torchvision:NAME, as in torchvision:resnet152"),
    "timm": (r"\w[\w.-]*", "timm:NAME, as in timm:vit_base_patch16_clip_224.openai"),
    "transformers": (r"[^\s:](.*\S)?", "transformers:ID-or-folder, with an id of the hub"),
    "python": (r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*", "python:package.module:function"),
}


class Source(NamedTuple):
    """The library of a network, and the network's name there."""

    kind: Kind
    name: str

    @property
    def module(self) -> str:
        """The module of a `python:` source."""
        return self.name.partition(":")[0]

    @property
    def function(self) -> str:
        """The function of a `python:` source."""
        return self.name.partition(":")[2]


def parse_source(text: str) -> Source:
    """Return the library and the name that a source states.

    Raises:
        PydanticCustomError: the text has none of the forms.
    """
    kind, colon, name = text.partition(":")
    for known, (pattern, form) in _FORMS.items():
        if kind == known and colon:
            if re.fullmatch(pattern, name):
                return Source(known, name)
            raise wrong("", text, form)
    forms = ", ".join(f"{known}:..." for known in _FORMS)
    hint = guess(kind, _FORMS) if colon else ""
    if not hint and re.fullmatch(_FORMS["python"][0], text):
        hint = f"; did you mean python:{text}?"
    raise wrong("", text, f"one of {forms}{hint}")


def module_file(name: str) -> Path | None:
    """Return the source file of a module, without importing it or its packages.

    It is looked for as `python -m` does: in the working directory first, then on `sys.path`.
    """
    places, file = [str(Path.cwd()), *sys.path], None
    for part in name.split("."):
        spec = PathFinder.find_spec(part, places)
        if spec is None:
            return None
        places, file = [*(spec.submodule_search_locations or ())], spec.origin
    return Path(file) if file else None


def _checked(text: str) -> str:
    parse_source(text)
    return text


SourceName = Annotated[str, AfterValidator(_checked)]
