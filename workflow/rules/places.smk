"""Where this workflow's code is, and which configuration is read."""

import os
import shlex
import sys
from pathlib import Path

from snakemake.sourcecache import LocalSourceFile


def literal(path):
    """Return a path with its braces doubled, where Snakemake would fill in wildcards."""
    return str(path).replace("{", "{{").replace("}", "}}")


# Rules may be read from a checkout, from an installed wheel, or from a repository by a `module`
# statement elsewhere. A checkout has its package next to it, else the installed one is used.
RULES = workflow.current_basedir
ARE_FILES = isinstance(RULES, LocalSourceFile)
if ARE_FILES and Path(RULES, "../../hamlearn").is_dir():
    sys.path.insert(0, str(Path(RULES).parents[1]))
try:
    from hamlearn import distribution
except ImportError:
    raise WorkflowError(
        "found no package hamlearn of this workflow's version, expected it: pip install hamlearn"
    )
ROOT = distribution.PACKAGE.parent  # what Python imports hamlearn from
CONFIG = "config.yaml"  # of the working folder, else the demo's
if not os.path.exists(CONFIG):
    CONFIG = str(distribution.root() / "config" / CONFIG)

# Snakemake unsets PYTHONPATH in conda jobs, so each shell command sets it: the environments hold
# third-party packages only, and `python -m hamlearn` runs the source of this workflow. The folder
# of an installed one holds other packages too; there, a link leads to hamlearn alone.
SOURCES = ROOT
if distribution.root() != ROOT:
    SOURCES = Path(".snakemake", "hamlearn").absolute()
    SOURCES.mkdir(parents=True, exist_ok=True)
    LINK = SOURCES / "hamlearn"
    if not LINK.exists() or not LINK.samefile(distribution.PACKAGE):
        LINK.unlink(missing_ok=True)
        LINK.symlink_to(distribution.PACKAGE)
if ":" in str(SOURCES):
    raise WorkflowError(
        f"{SOURCES}: found `:` in the path of the checkout, which separates entries of"
        " PYTHONPATH; expected a path without: move or rename the folder"
    )
shell.prefix(f"export PYTHONPATH={literal(shlex.quote(str(SOURCES)))}; ")

# The image of containers/hamlearn.def, or what HAMLEARN_IMAGE names (docker://...).
IMAGE = os.environ.get("HAMLEARN_IMAGE", "hamlearn.sif")
METHODS = {str(one) for one in workflow.deployment_settings.deployment_method}
if "apptainer" in METHODS and "://" not in IMAGE and not os.path.exists(IMAGE):
    raise WorkflowError(
        f"{IMAGE}: found no such image, expected that of `apptainer build hamlearn.sif"
        " containers/hamlearn.def`, or another one named by HAMLEARN_IMAGE"
    )
