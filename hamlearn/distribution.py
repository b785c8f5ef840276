"""Where the workflow and the files that come with it are: in a checkout, or in an installed wheel.

Both have `workflow/`, `envs/`, `config/`, `examples/` and `resources/` in one folder.
"""

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
