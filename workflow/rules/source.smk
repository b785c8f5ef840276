"""The source of a stage as a param: Snakemake sees the command, and not the package behind it."""

import ast
import fnmatch
import functools
import hashlib

# Settings reach a stage through params; what else these modules do changes no result.
SHARED = ["__init__", "__main__", "cli", "errors", "files", "settings", "variants"]


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
        text = path.read_text(encoding="utf-8")
        found[name] = text
        waiting += imported(text)
    digest = hashlib.sha256("".join(f"{n}\0{found[n]}\0" for n in sorted(found)).encode())
    return digest.hexdigest()[:12]


def imported(text):
    """The files of hamlearn that a module imports, anywhere in its text."""
    names = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    for name in names:
        if name.startswith("hamlearn."):
            place = ROOT / name.replace(".", "/")
            yield from filter(Path.is_file, (place.with_suffix(".py"), place / "__init__.py"))


def source_of_objects(wildcards):
    """Digest of the extraction of objects by one detector, and no other."""
    return source_digest(
        "vision/object_features",
        f"vision/detectors/{wildcards.detector}",
        without=("vision/detectors/__init__",),
    )
