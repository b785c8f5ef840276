import json
import re
from dataclasses import replace

import pandas as pd
import pytest

from hamlearn.corpus.posts import CorpusPost
from hamlearn.errors import HamlearnError
from hamlearn.evaluation.evaluate import (
    COLUMNS,
    Prediction,
    evaluate,
    gather,
    read_predictions,
    read_scores,
)
from hamlearn.evaluation.tables import write_table

RUN = {"corpus": "demo", "detector": "none", "variant": "text_only", "seed": 3}


def post(name, split, labels, *cues):
    labels = tuple(labels.split(" "))
    words = tuple(f"{name}{i}" for i in range(len(labels)))
    return CorpusPost(name, split, name, None, words, labels, cues)


POSTS = [
    post("a", "train", "B-ORG"),
    post("b", "dev", "B-PER I-PER O", "scene"),
    post("c", "dev", "O B-LOC O", "text"),
    post("d", "test", "I-PER O", "scene"),
]
DEV = {"b": "B-PER I-PER O", "c": "B-LOC B-MISC O"}


def entry(post, predicted):
    labels = predicted.split(" ")
    return {"id": post.id, "words": list(post.words), "gold": ["O"], "predicted": labels}


def write(folder, split, predicted, posts=POSTS):
    path = folder / f"{split}.jsonl"
    by_id = {post.id: post for post in posts}
    lines = [json.dumps(entry(by_id[name], labels)) for name, labels in predicted.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


def numbers(frame, **where):
    where = {"control": "none", "has_picture": "all"} | where
    for name, value in where.items():
        frame = frame[frame[name] == value]
    (row,) = frame.to_dict("records")
    return row["precision"], row["recall"], row["f1"], row["support"], row["predicted"]


def test_scores_by_hand(tmp_path):
    paths = [write(tmp_path, "dev", DEV), write(tmp_path, "test", {"d": "B-PER O"})]
    frame = evaluate(paths, POSTS, **RUN)
    assert tuple(frame.columns) == COLUMNS
    assert (frame["corpus"].unique(), frame["seed"].unique()) == (["demo"], [3])
    dev = {"split": "dev", "scheme": "lenient"}
    third, half = pytest.approx(1 / 3), pytest.approx(0.5)
    assert numbers(frame, **dev, type="all", cue="all") == (third, half, pytest.approx(0.4), 2, 3)
    assert numbers(frame, **dev, type="PER", cue="all") == (1, 1, 1, 1, 1)
    assert numbers(frame, **dev, type="LOC", cue="all") == (0, 0, 0, 1, 1)
    assert numbers(frame, **dev, type="MISC", cue="all") == (0, 0, 0, 0, 1)
    assert numbers(frame, **dev, type="all", cue="scene") == (1, 1, 1, 1, 1)
    assert numbers(frame, **dev, type="all", cue="text") == (0, 0, 0, 1, 2)
    test = {"split": "test", "type": "all", "cue": "all"}
    assert numbers(frame, **test, scheme="lenient") == (1, 1, 1, 1, 1)
    assert numbers(frame, **test, scheme="strict") == (0, 0, 0, 0, 1)


def test_gold_is_never_taken_from_the_predictions(tmp_path):
    path = write(tmp_path, "dev", {"b": "O O O", "c": "O O O"})
    assert '"gold": ["O"]' in path.read_text()
    frame = evaluate([path], POSTS, **RUN)
    assert numbers(frame, scheme="strict", type="all", cue="all") == (0, 0, 0, 2, 0)


def test_the_order_of_the_predictions_does_not_matter(tmp_path):
    one = evaluate([write(tmp_path, "dev", DEV)], POSTS, **RUN)
    other = evaluate([write(tmp_path, "dev", dict(reversed(DEV.items())))], POSTS, **RUN)
    pd.testing.assert_frame_equal(one, other)


def test_no_cues_give_no_rows_of_cues(tmp_path):
    posts = [post("x", "test", "B-PER O")]
    frame = evaluate([write(tmp_path, "test", {"x": "B-PER O"}, posts)], posts, **RUN)
    assert list(frame["cue"].unique()) == ["all"]


@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        ({"b": "O O O"}, "1 of 2 posts are not predicted, first 'c'"),
        ({**DEV, "a": "O"}, "dev.jsonl:3: 'a' is not the id of a post of this split"),
        ({**DEV, "c": "O O"}, "dev.jsonl:2: post 'c' has 2 predicted labels; expected 3"),
        ({**DEV, "c": "O O [SEP]"}, "dev.jsonl:2: label '[SEP]'; expected O"),
    ],
)
def test_predictions_that_do_not_fit_are_errors(tmp_path, predicted, message):
    with pytest.raises(HamlearnError) as caught:
        evaluate([write(tmp_path, "dev", predicted)], POSTS, **RUN)
    assert message in str(caught.value)


def test_a_post_predicted_twice_is_an_error(tmp_path):
    path = write(tmp_path, "dev", DEV)
    path.write_text(path.read_text() * 2)
    with pytest.raises(HamlearnError, match=r"dev\.jsonl:3: the post 'b' is predicted a second"):
        evaluate([path], POSTS, **RUN)


def test_words_of_another_corpus_are_an_error(tmp_path):
    path = write(tmp_path, "dev", DEV)
    path.write_text(path.read_text().replace("b0", "w0"))
    with pytest.raises(HamlearnError, match=r"dev\.jsonl:1: the words are not those of"):
        evaluate([path], POSTS, **RUN)


@pytest.mark.parametrize("line", ["{", "[]", '{"id": "b"}', '{"id":1,"words":[],"predicted":"O"}'])
def test_a_malformed_prediction_is_an_error(tmp_path, line):
    path = tmp_path / "dev.jsonl"
    path.write_text(line)
    with pytest.raises(HamlearnError, match=r"dev\.jsonl:1: "):
        evaluate([path], POSTS, **RUN)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"relevance": 0.5}, "relevance 0.5; expected a number by view"),
        ({"relevance": "high"}, "relevance 'high'; expected"),
        ({"relevance": {"semantic": "high"}}, "relevance {'semantic': 'high'}; expected"),
        ({"cut": "2"}, "cut '2'; expected a number of words"),
    ],
)
def test_relevance_and_cut_are_checked(tmp_path, more, message):
    path = tmp_path / "test.jsonl"
    path.write_text(json.dumps({**entry(POSTS[3], "O O"), **more}))
    with pytest.raises(HamlearnError, match=re.escape(f"test.jsonl:1: {message}")):
        read_predictions(path, POSTS[3:])


def test_relevance_and_cut_are_optional(tmp_path):
    path = tmp_path / "test.jsonl"
    path.write_text(json.dumps(entry(POSTS[3], "O O")))
    assert read_predictions(path, POSTS[3:]) == [Prediction(("O", "O"))]
    more = {"relevance": {"semantic": 0.25}, "cut": 1}
    path.write_text(json.dumps({**entry(POSTS[3], "O O"), **more}))
    assert read_predictions(path, POSTS[3:]) == [Prediction(("O", "O"), {"semantic": 0.25}, 1)]


def test_a_file_must_be_there_and_be_named_by_its_split(tmp_path):
    with pytest.raises(HamlearnError, match="no such file"):
        evaluate([tmp_path / "dev.jsonl"], POSTS, **RUN)
    with pytest.raises(HamlearnError, match="named by its split"):
        evaluate([tmp_path / "valid.jsonl"], POSTS, **RUN)


def test_the_word_all_is_taken(tmp_path):
    for posts in ([post("x", "test", "B-all")], [post("x", "test", "B-PER", "all")]):
        with pytest.raises(HamlearnError, match="is called 'all'"):
            evaluate([write(tmp_path, "test", {"x": "O"}, posts)], posts, **RUN)


def test_gathered_scores_are_those_of_the_runs(tmp_path):
    frames = []
    for seed in (0, 1):
        run = {**RUN, "seed": seed}
        frames.append(evaluate([write(tmp_path, "dev", DEV)], POSTS, **run))
        write_table(tmp_path / f"seed{seed}.csv", frames[-1])
    out = tmp_path / "metrics.csv"
    write_table(out, gather([tmp_path / "seed0.csv", tmp_path / "seed1.csv"]))
    expected = pd.concat(frames, ignore_index=True)
    pd.testing.assert_frame_equal(read_scores(out), expected, atol=1e-6, check_dtype=False)
    assert out.read_text().splitlines()[0] == ",".join(COLUMNS)
    assert list(read_scores(out)["detector"].unique()) == ["none"]


@pytest.mark.parametrize(
    ("variant", "seen", "count"),
    [
        ("full", [True, False], 1),
        ("full-L2", [False, False], 2),
        ("mine", [True, True], 0),
        ("full", [True, None], None),
        ("text_only", [None, None], None),
    ],
)
def test_posts_without_an_image_are_counted(tmp_path, variant, seen, count):
    dev = [post for post in POSTS if post.split == "dev"]
    lines = [{**entry(one, DEV[one.id]), "has_image": x} for one, x in zip(dev, seen, strict=True)]
    path = tmp_path / "dev.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_table(tmp_path / "scores.csv", evaluate([path], POSTS, **{**RUN, "variant": variant}))
    table = gather([tmp_path / "scores.csv"])
    found = set(table["posts_without_image"].astype(object).where(table["f1"] >= 0))
    assert {None if x is pd.NA else x for x in found} == {count}
    write_table(tmp_path / "metrics.csv", table)
    header, *rows = (tmp_path / "metrics.csv").read_text().splitlines()
    assert header.endswith(",posts_without_image")
    assert {row.rsplit(",", 1)[1] for row in rows} == {"" if count is None else str(count)}


@pytest.mark.parametrize("name", ["has_image", "has_text"])
def test_flags_are_true_or_false(tmp_path, name):
    path = tmp_path / "test.jsonl"
    path.write_text(json.dumps({**entry(POSTS[3], "O O"), name: "yes"}) + "\n")
    with pytest.raises(HamlearnError, match=f"test.jsonl:1: {name} 'yes'; expected true or false"):
        read_predictions(path, POSTS[3:])


def test_the_same_run_twice_is_an_error(tmp_path):
    path = tmp_path / "seed3.csv"
    write_table(path, evaluate([write(tmp_path, "dev", DEV)], POSTS, **RUN))
    with pytest.raises(HamlearnError, match="scores of demo/none/text_only/3, which"):
        gather([path, path])


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", '"', ",".join(COLUMNS) + "\n" + "0," * 15 + "x\n"]
)
def test_a_malformed_table_of_scores_is_an_error(tmp_path, text):
    (tmp_path / "seed0.csv").write_text(text)
    with pytest.raises(HamlearnError, match=r"seed0\.csv: "):
        gather([tmp_path / "seed0.csv"])


def test_nothing_to_gather_is_an_error(tmp_path):
    with pytest.raises(HamlearnError, match="found no file, expected at least one"):
        gather([])
    with pytest.raises(HamlearnError, match="no such file"):
        gather([tmp_path / "absent.csv"])


def with_images(path, has_image):
    """Add to the predictions of a file whether each post has an image."""
    lines = [
        json.loads(line) | {"has_image": one}
        for line, one in zip(path.read_text().splitlines(), has_image, strict=True)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_scores_of_posts_with_and_without_an_image_by_hand(tmp_path):
    run = RUN | {"variant": "full", "detector": "demo"}
    dev = with_images(write(tmp_path, "dev", DEV), [True, False])
    frame = evaluate([dev], POSTS, **run)
    assert list(frame["has_picture"].unique()) == ["all", "yes", "no"]
    micro = {"scheme": "lenient", "type": "all", "cue": "all"}
    assert numbers(frame, **micro, has_picture="yes") == (1, 1, 1, 1, 1)
    assert numbers(frame, **micro, has_picture="no") == (0, 0, 0, 1, 2)
    assert numbers(frame, **micro | {"cue": "text"}, has_picture="no") == (0, 0, 0, 1, 2)
    assert frame[(frame["cue"] == "text") & (frame["has_picture"] == "yes")]["support"].sum() == 0
    assert set(frame["posts_without_image"]) == {1}


def test_a_run_that_reads_no_images_is_split_by_the_image_files(tmp_path):
    posts = [replace(one, image_path="c.jpg" if one.id == "c" else None) for one in POSTS]
    dev = with_images(write(tmp_path, "dev", DEV), [False, False])
    frame = evaluate([dev], posts, **RUN)
    micro = {"scheme": "lenient", "type": "all", "cue": "all"}
    assert numbers(frame, **micro, has_picture="yes") == (0, 0, 0, 1, 2)
    assert numbers(frame, **micro, has_picture="no") == (1, 1, 1, 1, 1)


def test_controls_have_rows_of_their_own_and_draws_are_averaged(tmp_path):
    run = RUN | {"variant": "full", "detector": "demo"}
    files = [
        with_images(
            write(tmp_path, "dev.shuffled-0", {"b": "O O O", "c": "O B-LOC O"}), [True, True]
        ),
        with_images(write(tmp_path, "dev", DEV), [True, False]),
        with_images(write(tmp_path, "dev.shuffled-1", DEV), [True, True]),
        with_images(write(tmp_path, "dev.removed", {"b": "O O O", "c": "O O O"}), [False, False]),
    ]
    frame = evaluate(files, POSTS, **run)
    assert list(frame["control"].unique()) == ["none", "shuffled", "removed"]
    micro = {"scheme": "lenient", "type": "all", "cue": "all"}
    assert numbers(frame, **micro) == numbers(evaluate([files[1]], POSTS, **run), **micro)
    precision, recall, f1, support, predicted = numbers(frame, **micro, control="shuffled")
    assert (precision, recall) == (pytest.approx((1 + 1 / 3) / 2), pytest.approx(0.5))
    assert f1 == pytest.approx((2 / 3 + 0.4) / 2)
    assert (support, predicted) == (2, 2)
    assert numbers(frame, **micro, control="removed") == (0, 0, 0, 2, 0)
    # Posts are split by the images of the run itself, whatever a control did to them.
    yes = numbers(frame, **micro, control="removed", has_picture="yes")
    assert yes == (0, 0, 0, 1, 0)
    misc = numbers(frame, scheme="lenient", type="MISC", cue="all", control="shuffled")
    assert misc == (0, 0, 0, 0, 0)  # a type predicted in one draw of two, half an entity
    assert (
        evaluate(files, POSTS, **run, control="trained_shuffled")["control"].tolist().count("none")
        == 0
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["dev.removed"], "dev.jsonl: found none, expected one file"),
        (["dev", "dev.exchanged"], "dev.exchanged.jsonl: expected a file named by its split"),
    ],
)
def test_names_of_predictions_under_controls_are_checked(tmp_path, names, message):
    files = [write(tmp_path, name, DEV) for name in names]
    with pytest.raises(HamlearnError, match=message):
        evaluate(files, POSTS, **RUN)
