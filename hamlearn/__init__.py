"""HamLearning: hierarchical aligned multimodal learning for NER on tweet posts."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hamlearn.inference.hub_models import push_to_hub
    from hamlearn.inference.posts import Entity, Post, Tagged
    from hamlearn.inference.tagger import Tagger

    load = Tagger.load

__version__ = "0.1.0"
__all__ = ["Entity", "Post", "Tagged", "Tagger", "load", "push_to_hub"]

_PLACES = {"Entity": "posts", "Post": "posts", "Tagged": "posts", "Tagger": "tagger"}
_PLACES["push_to_hub"] = "hub_models"


def __getattr__(name: str) -> Any:
    """Return a public name, importing what is behind it when it is first used."""
    if name == "load":
        return __getattr__("Tagger").load
    if name in _PLACES:
        return getattr(import_module(f"hamlearn.inference.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
