"""Names of the classes that a detector knows."""

from pathlib import Path

from hamlearn.errors import HamlearnError

VISUAL_GENOME = 1600  # classes of the bottom-up-attention detector, which files give by number


def numbered() -> list[str]:
    """Return names for the classes of Visual Genome where no file tells them."""
    return [f"vg_{number:04}" for number in range(VISUAL_GENOME)]


def class_names(path: str | Path, count: int | None = None) -> list[str]:
    """Read class names, one a line; of several with commas between them the first counts.

    Args:
        path: of a text file.
        count: how many there must be.

    Raises:
        HamlearnError: the file is absent or not UTF-8, has another number of lines, or a line is
            empty or comes again.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().split("\n")
    except FileNotFoundError as error:
        raise HamlearnError(f"{path}: no such file, expected class names, one a line") from error
    except UnicodeDecodeError as error:
        raise HamlearnError(f"{path}: not UTF-8 text ({error}), expected class names") from error
    if count is not None and len(lines) != count:
        raise HamlearnError(f"{path}: found {len(lines)} lines, expected {count} class names")
    names: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        name = line.split(",")[0].strip()
        if not name or name in names:
            again = name and f"{name!r:.80} is the class of line {names[name]} too"
            found = again or "found no name"
            raise HamlearnError(f"{path}:{number}: {found}, expected a name of its own")
        names[name] = number
    return list(names)
