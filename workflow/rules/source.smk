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


def source_of_images(wildcards):
    """Digest of the extraction of whole pictures by one backbone, and no other."""
    network = config["image_features"]["backbones"][wildcards.backbone]
    return source_of_network("features/image_features", network)


def source_of_objects(wildcards):
    """Digest of the extraction of objects by one detector, and no other."""
    if wildcards.detector == GIVEN:
        return source_digest("features/object_features")
    network = config["object_features"]["detectors"][wildcards.detector]
    return source_of_network(
        "features/object_features", network, without=("features/precomputed/*",)
    )


def source_of_network(stage, network, **options):
    """Digest of a stage with the module that loads a network.

    A module outside the package is looked for where the job runs, and counted alone.
    """
    path = Path(*network["source"].partition(":")[0].split("."))
    if path.parts[0] == "hamlearn":
        return source_digest(stage, path.relative_to("hamlearn").as_posix(), **options)
    file = path.with_suffix(".py")
    if not config["track_source"] or not file.is_file():
        return source_digest(stage, **options)
    own = hashlib.sha256(file.read_bytes()).hexdigest()
    return f"{source_digest(stage, **options)} {own[:12]}"
