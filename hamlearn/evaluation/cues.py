"""What determines the type of each entity: the labels of one cue, to be scored on their own."""

from collections.abc import Sequence

from hamlearn.corpus.labels import OUTSIDE, Entity, entities
from hamlearn.corpus.posts import CorpusPost
from hamlearn.errors import HamlearnError


def cues_of(post: CorpusPost) -> dict[Entity, str]:
    """Return the cue of each gold entity, in order; empty where none are known.

    Raises:
        HamlearnError: the post has cues, but not one for each gold entity.
    """
    gold = entities(post.labels)
    if post.cues and len(post.cues) != len(gold):
        raise HamlearnError(
            f"post {post.id!r} has {len(post.cues)} cues; expected one for each of its"
            f" {len(gold)} entities, or none"
        )
    return dict(zip(gold, post.cues, strict=False))


def of_cue(post: CorpusPost, labels: Sequence[str], cue: str) -> tuple[str, ...]:
    """Return labels with only the entities of one cue; other words are `O`.

    A gold entity has its own cue. A predicted entity counts for the cue of the gold entity with
    which it shares most words, the leftmost of equals; one that meets no gold entity counts for the
    post's first cue. So a wrong type or border is an error of the intended entity, and the counts
    of all cues sum to those of the posts that have cues. A prediction in a post without cues counts
    for none.
    """
    gold = cues_of(post)
    kept = [OUTSIDE] * len(labels)
    for entity in entities(labels) if gold else ():
        nearest = max(gold, key=lambda other: _shared_words(entity, other))
        if (gold[nearest] if _shared_words(entity, nearest) else post.cues[0]) == cue:
            kept[entity.start : entity.end] = labels[entity.start : entity.end]
    return tuple(kept)


def _shared_words(one: Entity, other: Entity) -> int:
    return max(0, min(one.end, other.end) - max(one.start, other.start))
