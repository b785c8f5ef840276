"""Where the workflow and the files that come with it are: in a checkout, or in an installed wheel.

Both have `workflow/`, `envs/`, `config/`, `examples/` and `resources/` in one folder.
"""

import subprocess
from pathlib import Path

PACKAGE = Path(__file__).parent


def root() -> Path:
    """Return the folder of the workflow and its files: the checkout, or `share` in the package."""
    share = PACKAGE / "share"
    return share if share.is_dir() else PACKAGE.parent


def snakefile() -> Path:
    """Return the workflow's Snakefile, for `snakemake -s` and `module: snakefile:`."""
    return root() / "workflow" / "Snakefile"


def located(path: str | Path) -> Path:
    """Return a path as given, or that of a file that comes with hamlearn.

    The working folder comes first: only a relative path that leads to nothing there is looked for
    among the files of hamlearn, such as the demo's weights.
    """
    shipped = root() / path
    return shipped if not Path(path).exists() and shipped.is_file() else Path(path)


def checkout_commit() -> str | None:
    """Return the commit of this checkout, with `-dirty` after changes; None outside a checkout."""
    if not (root() / ".git").exists():
        return None
    command = ["git", "--no-optional-locks", "-C", str(root()), "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(
            [*command, "--abbrev=12", "--exclude=*"], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):  # without git
        return None
    return found.stdout.strip() or None
