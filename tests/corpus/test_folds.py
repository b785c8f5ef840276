"""Folds against a slow reference: every pair of posts compared, and the greedy rule spelled out."""

import hashlib
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamlearn.corpus.folds import divide, groups, with_splits, write_fold
from hamlearn.corpus.posts import CorpusPost, read_posts, write_posts
from hamlearn.errors import HamlearnError


def post(number, image, words, split="train"):
    return CorpusPost(str(number), split, image, None, tuple(words), ("O",) * len(words))


def words_of(post):
    """Return the set of words that count, by the description of `groups`."""
    lower = [word.casefold() for word in post.words]
    starts = ("@", "http://", "https://", "www.")
    return {w for w in lower if not w.startswith(starts) and any(c.isalnum() for c in w)}


def slow_groups(posts):
    """Return the first post of each post's group by merging all pairs until nothing changes."""
    first = list(range(len(posts)))
    for _ in posts:
        for a, b in combinations(range(len(posts)), 2):
            one, other = words_of(posts[a]), words_of(posts[b])
            alike = bool(one and other) and len(one & other) >= 0.9 * len(one | other)
            if alike or posts[a].image_id == posts[b].image_id:
                first[a] = first[b] = min(first[a], first[b])
    return first


def slow_parts(posts, folds, seed):
    group_of = slow_groups(posts)
    members = {}
    for place, group in enumerate(group_of):
        members.setdefault(group, []).append(place)

    def order(group):
        text = f"{seed}:{posts[group].image_id}"
        return -len(members[group]), hashlib.sha256(text.encode()).digest()

    parts = [[] for _ in range(folds)]
    for group in sorted(members, key=order):
        min(parts, key=len).extend(members[group])
    return [next(n for n, part in enumerate(parts) if place in part) for place in range(len(posts))]


WORDS = ["a", "B", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "@x", "http://y", "!"]
SOME = st.lists(
    st.tuples(st.integers(0, 25), st.lists(st.sampled_from(WORDS), min_size=1, max_size=14)),
    min_size=3,
    max_size=40,
)


@given(SOME, st.integers(2, 6), st.floats(0.01, 0.9), st.integers(0, 3))
def test_folds_are_those_of_the_slow_reference(given_posts, folds, share, seed):
    posts = [post(n, f"p{image}", words) for n, (image, words) in enumerate(given_posts)]
    group_of = groups(posts)
    assert group_of == slow_groups(posts)
    count = len(set(group_of))
    if count < max(folds, 3):
        with pytest.raises(HamlearnError, match=f"folds: found {folds} for {len(posts)} posts in"):
            divide(posts, group_of, folds, seed)
        return
    part_of = divide(posts, group_of, folds, seed)
    assert part_of == slow_parts(posts, folds, seed)
    for fold in range(folds):
        rest = {group for group, part in zip(group_of, part_of, strict=True) if part != fold}
        if len(rest) < 2:
            with pytest.raises(HamlearnError, match=f"besides fold {fold}"):
                with_splits(posts, group_of, part_of, fold, share, seed)
            continue
        made = with_splits(posts, group_of, part_of, fold, share, seed)
        assert [one.id for one in made] == [one.id for one in posts]
        of = {}  # splits of each group
        for one, group, part in zip(made, group_of, part_of, strict=True):
            assert (one.split == "test") == (part == fold)
            of.setdefault(group, set()).add(one.split)
        assert all(len(splits) == 1 for splits in of.values())
        sizes = Counter(one.split for one in made)
        assert min(sizes["train"], sizes["dev"]) > 0
        wanted = max(1, round(share * (len(posts) - sizes["test"])))
        smallest = min(Counter(g for g in group_of if g in rest).values())
        assert sizes["dev"] <= max(wanted, smallest)


def test_retweets_stay_together_and_other_seeds_divide_differently():
    text = ["so", "proud", "of", "this", "team", "for", "the", "win", "at", "last", "in", "June"]
    posts = [
        post(0, "a", [*text, "http://t.co/1"]),
        post(1, "b", ["RT", "@fan", *text, "http://t.co/2"]),
        *(post(n, f"x{n}", [f"word{n}", "and", f"other{n}"]) for n in range(2, 40)),
    ]
    group_of = groups(posts)
    assert group_of[:2] == [0, 0]
    assert len(set(group_of)) == 39
    found = [divide(posts, group_of, 5, seed) for seed in range(3)]
    assert all(one[0] == one[1] for one in found)
    assert found[0] != found[1] != found[2]
    assert all(sorted(Counter(one).values()) == [8] * 5 for one in found)


def test_what_is_scored_has_every_post_once_and_the_dev_of_each_fold(tmp_path):
    splits = ["train"] * 20 + ["dev"] * 5 + ["test"] * 5
    posts = [post(n, f"i{n}", [f"w{n}"], split) for n, split in enumerate(splits)]
    write_posts(tmp_path / "posts.jsonl", posts)
    write_fold(tmp_path / "posts.jsonl", tmp_path / "all.jsonl", 3, None, 0.2, 7)
    scored = read_posts(tmp_path / "all.jsonl")
    assert [one.id for one in scored[:30]] == [one.id for one in posts]
    assert {one.split for one in scored[:30]} == {"test"}
    dev = []
    tested = Counter()
    for fold in range(3):
        write_fold(tmp_path / "posts.jsonl", tmp_path / "fold.jsonl", 3, fold, 0.2, 7)
        own = read_posts(tmp_path / "fold.jsonl")
        dev += [one.id for one in own if one.split == "dev"]
        tested.update(one.id for one in own if one.split == "test")
        assert Counter(one.split for one in own) == {"test": 10, "dev": 4, "train": 16}
    assert tested == Counter(one.id for one in posts)
    assert [(one.id, one.split) for one in scored[30:]] == [(name, "dev") for name in dev]


def test_errors_name_the_file_and_what_was_found(tmp_path):
    posts = [post(n, "same", ["a"]) for n in range(9)]
    write_posts(tmp_path / "posts.jsonl", posts)
    with pytest.raises(HamlearnError) as caught:
        write_fold(tmp_path / "posts.jsonl", tmp_path / "out.jsonl", 2, 0)
    assert str(caught.value) == (
        f"{tmp_path / 'posts.jsonl'}: folds: found 2 for 9 posts in 1 groups of one image or nearly"
        " the same words, expected at least 3 groups"
    )
    with pytest.raises(HamlearnError, match="fold: found 2, expected 0 to 1"):
        write_fold(tmp_path / "posts.jsonl", tmp_path / "out.jsonl", 2, 2)
    assert not (tmp_path / "out.jsonl").exists()
