import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hamlearn.cli import app
from hamlearn.data.sources import InputFiles
from hamlearn.errors import HamlearnError
from hamlearn.inference import part_file
from hamlearn.inference import predict_file as predicting
from hamlearn.inference.posts import Entity, Tagged
from hamlearn.inference.predict_file import in_order, join, line_of, predict_file
from hamlearn.inference.tagger import WINDOW
from hamlearn.io import file_lock
from tests.inference.conftest import WEIGHTS

FIELDS = ["id", "text", "words", "entities", "relevance", "has_image", "note", "error"]


def lines_of(path):
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def write(path, values):
    path.write_text("".join(json.dumps(one) + "\n" for one in values))
    return path


@pytest.fixture
def posts(made, tmp_path):
    """Posts of the test split as JSON lines, with one bad line and one path that leaves."""
    values = [
        {"id": post.id, "words": post.words, "image": f"{post.image_id}.jpg"} for post in made.posts
    ]
    values[2:2] = [{"id": "leaves", "text": "hi", "image": "../a.jpg"}, ["no object"]]
    return write(tmp_path / "posts.jsonl", values)


def test_every_post_has_its_line_in_order(made, posts, tmp_path, caplog):
    caplog.set_level("INFO")
    out = tmp_path / "out" / "entities.jsonl"
    counts = predict_file(
        made.exported["full"], posts, out, images=made.images, weights=WEIGHTS, device="cpu"
    )
    lines = lines_of(out)
    ids = [post.id for post in made.posts]
    assert [line["id"] for line in lines] == [*ids[:2], "leaves", "4", *ids[2:]]
    assert all(list(line) == FIELDS for line in lines)
    assert "leaves the folder" in lines[2]["error"]
    assert lines[3]["error"].startswith("posts.jsonl:4: found list")
    assert (lines[2]["entities"], lines[3]["text"]) == ([], None)
    good = [line for line in lines if line["error"] is None]
    for line, predicted in zip(good, made.predicted("full"), strict=True):
        assert line["relevance"] == pytest.approx(predicted["relevance"], abs=1e-4)
        for entity in line["entities"]:
            assert line["text"][entity["start"] : entity["end"]] == entity["text"]
    assert counts.posts == len(lines) == len(ids) + 2
    assert counts.errors == 2
    assert counts.entities == sum(len(line["entities"]) for line in lines) > 0
    count = len(ids) + 2
    assert f"{count} posts in, {count} lines out" in caplog.text
    assert "2 posts with an error, 0 without an image" in caplog.text
    assert [path.name for path in out.parent.iterdir()] == ["entities.jsonl"]


def test_links_are_followed_and_a_fifo_is_written_to(made, posts, tmp_path):
    model, given = made.exported["text_only"], {"no_images": True, "device": "cpu"}
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to("far/entities.jsonl")
    predict_file(model, posts, tmp_path / "link", **given)
    assert (tmp_path / "link").is_symlink()
    expected = (tmp_path / "far" / "entities.jsonl").read_bytes()
    assert len(expected.splitlines()) == len(made.posts) + 2
    os.mkfifo(tmp_path / "fifo")
    with ThreadPoolExecutor() as pool:
        read = pool.submit((tmp_path / "fifo").read_bytes)
        predict_file(model, posts, tmp_path / "fifo", **given)
        assert read.result(10) == expected
    assert (tmp_path / "fifo").is_fifo()
    predict_file(model, posts, "/dev/null", **given)
    assert Path("/dev/null").is_char_device()
    left = {path.name for path in tmp_path.rglob("*")}
    assert left == {"posts.jsonl", "far", "link", "entities.jsonl", "fifo"}


def test_feature_files_or_no_pictures_can_stand_in_for_the_folder(made, posts, tmp_path):
    model, names = made.exported["full"], {"device": "cpu"}
    with pytest.raises(HamlearnError, match="names an image, but no place of images"):
        predict_file(model, posts, tmp_path / "a", **names)
    files = made.features
    predict_file(model, posts, tmp_path / "a", features=files, **names)
    good = [line for line in lines_of(tmp_path / "a") if line["relevance"]]
    assert len(good) == len(made.posts)
    counts = predict_file(model, posts, tmp_path / "b", no_images=True, **names)
    assert not any(line["has_image"] for line in lines_of(tmp_path / "b"))
    assert counts.without_image == len(made.posts) + 1  # a name that leaves is not looked up


def test_images_of_which_none_is_there_end_the_run_before_the_first_post(made, tmp_path):
    values = [{"text": "hi"}, {"text": "ho", "image": "../x"}, {"text": "he", "image": "7_1.jpg"}]
    posts, names = write(tmp_path / "posts.jsonl", values), {"device": "cpu", "weights": WEIGHTS}
    message = r"found {} for none of {} images: expected names such as '{}', found such as '"
    with pytest.raises(HamlearnError, match=message.format("an image file", 1, "7_1.jpg")):
        predict_file(made.exported["full"], posts, tmp_path / "a", images=made.images, **names)
    with pytest.raises(HamlearnError, match=message.format("features", 2, r"\.\./x")):
        predict_file(made.exported["full"], posts, tmp_path / "a", features=made.features, **names)
    assert [path.name for path in tmp_path.iterdir()] == ["posts.jsonl"]
    values.append({"text": "ha", "image": f"{made.posts[0].image_id}.webp"})  # another extension
    write(posts, values)
    for given in ({"images": made.images}, {"features": made.features}):
        counts = predict_file(made.exported["full"], posts, tmp_path / "a", **given, **names)
        assert [line["has_image"] for line in lines_of(tmp_path / "a")] == [False] * 3 + [True]
        assert counts.without_image in (2, 3)  # `../x` is an error with a folder alone


def test_posts_come_from_standard_input_too(made, posts, tmp_path):
    model, out = str(made.exported["text_only"]), tmp_path / "out.jsonl"
    predict_file(model, posts, tmp_path / "expected.jsonl", no_images=True, device="cpu")
    arguments = ["predict", model, "-", "--out", str(out), "--no-images", "--device", "cpu"]
    given = posts.read_bytes()
    done = CliRunner().invoke(app, [*arguments, "--format", "jsonl"], input=given)
    assert done.exit_code == 0, done.output
    assert [line["id"] for line in lines_of(out)] == [
        line["id"] for line in lines_of(tmp_path / "expected.jsonl")
    ]
    assert lines_of(out)[3]["error"].startswith("stdin:4: found list")
    out.unlink()
    arguments[4] = "-"
    program = [sys.executable, "-m", "hamlearn", *arguments, "--format", "jsonl"]
    done = subprocess.run(program, input=given, capture_output=True, check=True)
    assert done.stdout == (tmp_path / "expected.jsonl").read_bytes().replace(
        b"posts.jsonl:", b"stdin:"
    )
    failed = CliRunner().invoke(app, arguments, input=given)
    assert "found `-`, standard input, expected `--format`" in str(failed.exception)
    assert not out.exists()


def test_posts_that_change_while_they_are_read_are_an_error(made, posts, tmp_path, monkeypatch):
    read = predicting.read_posts
    counted = iter([posts.with_name("more.jsonl"), posts])
    posts.with_name("more.jsonl").write_bytes(posts.read_bytes() + b'{"text": "one more"}\n')
    monkeypatch.setattr(predicting, "read_posts", lambda path, *more: read(next(counted), *more))
    out = tmp_path / "out.jsonl"
    with pytest.raises(HamlearnError, match=r"found \d+ posts at first and \d+ when they were"):
        predict_file(made.exported["text_only"], posts, out, no_images=True, device="cpu")
    assert not out.exists()


def test_shards_one_after_the_other_are_the_whole(made, posts, tmp_path):
    model = made.exported["text_only"]
    predict_file(model, posts, tmp_path / "whole", device="cpu")
    parts = [tmp_path / f"part{number}" for number in (1, 2, 3)]
    for number, part in enumerate(parts, start=1):
        predict_file(model, posts, part, shard=(number, 3), device="cpu")
    joined = [line for part in parts for line in lines_of(part)]
    whole = lines_of(tmp_path / "whole")
    assert [line["id"] for line in joined] == [line["id"] for line in whole]
    for one, other in zip(joined, whole, strict=True):
        assert [(e["text"], e["type"]) for e in one["entities"]] == [
            (e["text"], e["type"]) for e in other["entities"]
        ]
    with pytest.raises(HamlearnError, match="shard 4 of 3"):
        predict_file(model, posts, tmp_path / "x", shard=(4, 3))
    empty = write(tmp_path / "empty.jsonl", [])
    assert predict_file(model, empty, tmp_path / "none", device="cpu").posts == 0
    assert (tmp_path / "none").read_bytes() == b""


@pytest.fixture(scope="module")
def many(made, tmp_path_factory):
    """Eight windows of posts, and the output of an undisturbed run."""
    folder = tmp_path_factory.mktemp("many")
    values = [
        {"id": number, "words": made.posts[number % len(made.posts)].words * 2}
        for number in range(8 * WINDOW - 9)
    ]
    posts = write(folder / "posts.jsonl", values)
    predict_file(made.exported["text_only"], posts, folder / "whole", device="cpu", threads=1)
    return posts, (folder / "whole").read_bytes()


def test_a_killed_run_goes_on_to_the_same_bytes(made, many, tmp_path, caplog):
    caplog.set_level("INFO")
    posts, expected = many
    model, out = made.exported["text_only"], tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "hamlearn", "predict", model, posts, "--out", out]
    with subprocess.Popen(
        [*map(str, command), "--threads", "1", "--device", "cpu"], stderr=subprocess.DEVNULL
    ) as process:
        state = tmp_path / "out.jsonl.part.json"
        until = time.monotonic() + 240
        while not state.is_file() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()
    part = tmp_path / "out.jsonl.part"
    with part.open("ab") as file:  # as if the kill had come in the middle of a line
        file.write(b'{"id": 5, "te')
    done = json.loads(state.read_text())["posts"]
    assert 0 < done < len(expected.splitlines())
    counts = predict_file(model, posts, out, device="cpu", threads=1)
    assert counts.before == done
    assert f"resuming after {done} posts" in caplog.text
    assert out.read_bytes() == expected
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_full_disk_is_one_error_and_the_run_goes_on_after_it(made, many, tmp_path, monkeypatch):
    posts, expected = many
    model, out = made.exported["text_only"], tmp_path / "out.jsonl"
    real, calls = os.fsync, []

    def fills(number):
        calls.append(number)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(number)

    with monkeypatch.context() as patch:
        patch.setattr(part_file.os, "fsync", fills)
        with pytest.raises(HamlearnError, match=r"out.jsonl.part: could not be written: No space"):
            predict_file(model, posts, out, device="cpu", threads=1)
    assert not out.exists()
    assert predict_file(model, posts, out, device="cpu", threads=1).before > 0
    assert out.read_bytes() == expected


def broken_off(monkeypatch, model, posts, out, **options):
    """Run until the second window, and die there."""
    real, calls = part_file.PartFile.append, []

    def dies(self, *arguments):
        if calls:
            raise KeyboardInterrupt
        calls.append(1)
        real(self, *arguments)

    monkeypatch.setattr(part_file.PartFile, "append", dies)
    with pytest.raises(KeyboardInterrupt):
        predict_file(model, posts, out, device="cpu", threads=1, **options)
    monkeypatch.setattr(part_file.PartFile, "append", real)
    assert not out.exists()


@pytest.mark.parametrize("change", ["posts", "option", "state", "shorter"])
def test_another_input_begins_anew_and_says_so(made, many, tmp_path, monkeypatch, caplog, change):
    caplog.set_level("INFO")
    model, out = made.exported["text_only"], tmp_path / "out"
    posts = tmp_path / "posts.jsonl"
    posts.write_text("".join(many[0].read_text().splitlines(keepends=True)[: WINDOW + 3]))
    broken_off(monkeypatch, model, posts, out)
    options = {}
    if change == "posts":
        posts.write_text(posts.read_text() + '{"text": "one more"}\n')
    elif change == "option":
        options = {"no_images": True}
    elif change == "state":
        (tmp_path / "out.part.json").write_text('{"posts": "many"')
    else:
        os.truncate(tmp_path / "out.part", 10)
    counts = predict_file(model, posts, out, device="cpu", threads=1, **options)
    assert counts.before == 0
    assert counts.posts == len(lines_of(out)) == WINDOW + 3 + (change == "posts")
    assert "starting again" in caplog.text


@pytest.mark.parametrize("change", ["model", "features", "graphs", "image", "later", None])
def test_lines_of_other_models_features_and_images_are_never_mixed(
    made, tmp_path, monkeypatch, caplog, change
):
    caplog.set_level("INFO")
    window = 4  # of lines; the tagger has read more posts than that
    monkeypatch.setattr("hamlearn.inference.predict_file.WINDOW", window)
    out, model, posts = tmp_path / "out", tmp_path / "model", tmp_path / "posts.jsonl"
    shutil.copytree(made.exported["full"], model)
    shutil.copytree(made.images, tmp_path / "images")
    files = {
        name: shutil.copy(path, tmp_path / f"{name}.h5")
        for name, path in asdict(made.features).items()
        if path  # no texts
    }
    names = [f"{post.image_id}.jpg" for post in made.posts]
    values = [
        {"id": number, "words": made.posts[0].words, "image": names[number % 2]}
        for number in range(window + 3)
    ]
    values[-1]["image"] = names[2]  # of no line that the interrupted run wrote
    write(posts, values)
    options = {"images": tmp_path / "images", "weights": WEIGHTS}
    if change in ("features", "graphs"):
        options = {"features": InputFiles(**files)}
    broken_off(monkeypatch, model, posts, out, **options)
    if change == "model":
        manifest = json.loads((model / "manifest.json").read_text())
        (model / "manifest.json").write_text(json.dumps(manifest))
    elif change in ("features", "graphs"):
        path = files["objects" if change == "features" else "graphs"]
        os.replace(shutil.copy2(path, tmp_path / "copy"), path)  # of the same content and time
    elif change is not None:
        other = (tmp_path / "images" / names[3]).read_bytes()
        (tmp_path / "images" / names[{"image": 1, "later": 2}[change]]).write_bytes(other)
    caplog.clear()
    counts = predict_file(model, posts, out, device="cpu", threads=1, **options)
    begins_anew = change in ("model", "features", "graphs", "image")
    assert counts.before == (0 if begins_anew else window)
    said = {"model": "model", "image": "images of posts"}.get(str(change), "features")
    assert (f"out.part: {said} changed: starting again" in caplog.text) == begins_anew
    predict_file(model, posts, tmp_path / "whole", device="cpu", threads=1, **options)
    assert out.read_bytes() == (tmp_path / "whole").read_bytes()


def test_posts_that_change_while_they_are_read_are_one_error(made, posts, tmp_path, monkeypatch):
    model, append = made.exported["text_only"], part_file.PartFile.append

    def changing(self, *arguments):
        append(self, *arguments)
        posts.write_text(posts.read_text().replace("now", "new"))

    monkeypatch.setattr(part_file.PartFile, "append", changing)
    with pytest.raises(HamlearnError, match=r"posts\.jsonl: was changed while it was read"):
        predict_file(model, posts, tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_two_runs_never_write_one_output(made, posts, tmp_path):
    with (
        file_lock(tmp_path / "out.part.lock"),
        pytest.raises(HamlearnError, match=r"out\.part\.lock: locked by another process"),
    ):
        predict_file(made.exported["text_only"], posts, tmp_path / "out", device="cpu")
    with pytest.raises(HamlearnError, match="found a folder, expected the name of a file"):
        predict_file(made.exported["text_only"], posts, tmp_path)


def test_a_line_holds_nothing_that_a_terminal_obeys():
    entity = Entity(0, 2, "\x9b2J\u2028", "PER", 0.12345678)
    line = line_of(Tagged("\ud83d\x1b", "\x7fa", ("a",), (entity,), {"semantic": 1 / 3}))
    assert line.isascii()
    assert line.endswith(b"}\n")
    assert not any(code < 32 or code == 127 for code in line[:-1])
    read = json.loads(line)
    assert read["entities"][0] == {
        "start": 0, "end": 2, "text": "\x9b2J\u2028", "type": "PER", "score": 0.123457
    }  # fmt: skip
    assert (read["id"], read["relevance"]) == ("\ud83d\x1b", {"semantic": 0.333333})


def test_the_commands_refuse_what_does_not_go_together(made, posts, tmp_path):
    def refused(*words):
        return str(CliRunner().invoke(app, [str(word) for word in words]).exception)

    model = made.exported["text_only"]
    predict = ("predict", model, posts, "--out", tmp_path / "out")
    assert "more than one of" in refused(*predict, "--images", tmp_path, "--no-images")
    assert "expected for example 2-of-4" in refused(*predict, "--shard", "2")
    said = refused("export", tmp_path / "absent", tmp_path / "model")
    assert "expected a folder written by" in said
    done = CliRunner().invoke(app, [*map(str, predict), "--device", "cpu"])
    assert done.exit_code == 0, done.exception
    assert len(lines_of(tmp_path / "out")) == len(made.posts) + 2


IDS = ["a", "2", 3, "\ud83d", "c\u2028d", "6", "c"]


@pytest.fixture
def few_posts(tmp_path):
    """Seven posts; the second and the sixth have no id, and the sixth no text either."""
    values = [{"id": name, "text": "hi"} for name in IDS]
    del values[1]["id"], values[5]["id"], values[5]["text"]
    path = tmp_path / "posts.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in values))
    return path


def parts_of(folder, *parts):
    folder.mkdir(exist_ok=True)
    paths = []
    for number, ids in enumerate(parts, start=1):
        path = folder / f"{number}-of-{len(parts)}.jsonl"
        path.write_bytes(b"".join(line_of(Tagged(name, "hi")) for name in ids))
        paths.append(path)
    return paths


def test_parts_become_one_file_in_the_order_of_the_posts(few_posts, tmp_path):
    parts = parts_of(tmp_path / "parts", IDS[:2], [], IDS[2:])
    out = tmp_path / "new" / "all.jsonl"
    assert join(few_posts, parts[::-1], out) == 7
    assert out.read_bytes() == b"".join(part.read_bytes() for part in parts)
    assert [json.loads(line)["id"] for line in out.read_bytes().split(b"\n")[:-1]] == IDS


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ((IDS[:3], IDS[4:]), r"2-of-2\.jsonl:1: found the post .*, expected .*, number 4 of"),
        ((IDS[:3], IDS[3:6]), "found more posts than lines after 6"),
        ((IDS[:3], [*IDS[3:], "c"]), "found more lines than posts after 7"),
        (([*IDS[:2], "3"], IDS[3:]), "found the post '3', expected 3"),
    ],
)
def test_a_post_without_its_line_is_named_and_nothing_is_written(few_posts, tmp_path, parts, said):
    with pytest.raises(HamlearnError, match=said):
        join(few_posts, parts_of(tmp_path / "parts", *parts), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "posts.jsonl"]


@pytest.mark.parametrize("text", [b"[1]\n", b"{", b"\xff\n", b'{"text": ""}\n', b'{"id": "a"}'])
def test_a_line_of_another_kind_is_named(few_posts, tmp_path, text):
    part = tmp_path / "part"
    part.write_bytes(text)
    with pytest.raises(HamlearnError, match=r"part:1: (not a line that|truncated)"):
        join(few_posts, [part], tmp_path / "out")


def test_shards_are_put_in_order_by_their_names():
    names = [f"{number}-of-11.jsonl" for number in range(1, 12)]
    assert [path.name for path in in_order(sorted(names))] == names
    assert [path.name for path in in_order(["b", "a"])] == ["b", "a"]
    with pytest.raises(HamlearnError, match="expected each of N shards once"):
        in_order(["1-of-2.jsonl", "1-of-2.jsonl"])
    with pytest.raises(HamlearnError, match="expected each of N shards once"):
        in_order(["1-of-3.jsonl", "2-of-3.jsonl"])


STATUS = Path("/proc/self/status")
FEW, MANY = 400, 4000  # more than a window, and ten times as many
BLANK = 5000  # characters of nine posts of ten, that the network need not read
GROWTH = 8000  # kB; to hold the texts of MANY posts alone would take 18,000
PROGRAM = """
import re, sys
from hamlearn.inference.predict_file import predict_file

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

model, *files = sys.argv[1:]
for posts in files:
    predict_file(model, posts, posts + ".out", device="cpu", threads=1)
    print(peak())
"""


@pytest.mark.skipif(not STATUS.is_file(), reason="/proc says how much memory was used; absent")
def test_ten_times_the_posts_take_no_more_memory(made, tmp_path):
    files = []
    for count in (FEW, MANY):
        texts = (
            " " * BLANK if number % 10 else f"post {number} of Mira" for number in range(count)
        )
        lines = (json.dumps({"id": f"{count} {n}", "text": text}) for n, text in enumerate(texts))
        files.append(tmp_path / f"{count}.jsonl")
        files[-1].write_text("\n".join(lines))
    command = [sys.executable, "-c", PROGRAM, made.exported["text_only"], *files]
    said = subprocess.run(
        list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True, timeout=300
    )
    few, many = map(int, said.stdout.split())
    print(f"peak of {FEW} posts {few} kB, of {MANY} posts {many} kB")
    assert many - few < GROWTH, (few, many)
    assert sum(1 for _ in files[1].with_name(f"{MANY}.jsonl.out").open()) == MANY
