"""What the rules of the user's own posts read and depend on."""

from hamlearn.outputs import atomic_write


def post_options(*names):
    """Return the command-line options for these keys of the section `predict`."""
    words = []
    for name in names:
        option, value = f"--{name.replace('_', '-')}", PREDICT[name]
        words += [option] if value is True else [option, value] if value else []
    return words


RESULT = f"{RESULTS}/posts/{POSTS}.jsonl"
SOURCE = Path(f"{RESULTS}/posts/{POSTS}.source")  # has the path of the posts that RESULT is made of


def check_source():
    """Refuse posts whose result would replace that of a file of the same name elsewhere."""
    earlier = SOURCE.read_text(encoding="utf-8") if SOURCE.is_file() else PREDICT["posts"]
    if Path(RESULT).exists() and Path(earlier).resolve() != Path(PREDICT["posts"]).resolve():
        raise WorkflowError(
            f"config: predict.posts: found {PREDICT['posts']}, expected a file of another name, since"
            f" {RESULT} has the entities of {earlier}: move that file away, or rename the posts"
        )


def write_source():
    """Write down of which posts the result will be, when a run starts."""
    if PREDICT["posts"]:
        with atomic_write(SOURCE) as part:
            part.write_text(PREDICT["posts"], encoding="utf-8")


def post_contents(wildcards):
    """Return a digest of the posts and of the model, by its manifest."""
    return DIGESTS.of([PREDICT["posts"], f"{PREDICT['model']}/manifest.json"])


@functools.cache
def image_folder_of_posts():
    return fingerprints.listing(PREDICT["images"]) if PREDICT["images"] else ""


def post_images(wildcards):
    return image_folder_of_posts()


if PREDICT["posts"]:
    check_source()
