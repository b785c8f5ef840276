"""The source of a stage as a param: Snakemake sees the command, and not the package behind it."""

import ast
import fnmatch
import functools
import hashlib

BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")  # where a tree has statements

# Settings reach a stage through params; what else these modules do changes no result.
SHARED = ["__init__", "__main__", "cli/*", "errors", "io", "settings", "systems"]


@functools.cache
def source_digest(*modules, without=(), files=()):
    """Digest of the modules of hamlearn and of all that they import, so that an edit reruns.

    `without` are patterns of modules that are neither followed nor counted, `files` patterns of
    further files of the package.
    """
    if not config["track_source"]:
        return "untracked"
    package = ROOT / "hamlearn"
    others = [path for pattern in files for path in package.glob(pattern) if path.is_file()]
    found = {path.relative_to(package).as_posix(): path.read_text("utf-8") for path in others}
    waiting = [path for name in modules for path in package.glob(f"{name}.py")]
    while waiting:
        path = waiting.pop()
        name = path.relative_to(package).with_suffix("").as_posix()
        if name in found or any(fnmatch.fnmatch(name, no) for no in (*SHARED, *without)):
            continue
        found[name], followed = read_module(path)
        waiting += followed
    digest = hashlib.sha256("".join(f"{n}\0{found[n]}\0" for n in sorted(found)).encode())
    return digest.hexdigest()[:12]


@functools.cache
def read_module(path):
    """A module's text, and the files of hamlearn that it imports, anywhere in it."""
    text = path.read_text(encoding="utf-8")
    names, waiting = [], [ast.parse(text)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        else:  # statements alone hold imports, and they are a small part of a tree
            waiting += (one for field in BLOCKS for one in getattr(node, field, ()))
    places = [ROOT.joinpath(*name.split(".")) for name in names if name.startswith("hamlearn.")]
    files = [file for at in places for file in (at.with_suffix(".py"), at / "__init__.py")]
    return text, tuple(filter(Path.is_file, files))


def source_of_objects(wildcards):
    """Digest of the extraction of objects by one detector, and no other."""
    return source_digest(
        "features/object_features",
        f"vision/detectors/{wildcards.detector}",
        without=("vision/detectors/__init__",),
    )
