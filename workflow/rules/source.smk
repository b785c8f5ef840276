"""Digests of the package's source as params: an edited module reruns the stages that import it."""

import fnmatch
import functools
import hashlib

from hamlearn.sources import module_file, parse_source

# `from hamlearn.a import (b, c)` and `import hamlearn.a`, as the formatter writes them.
IMPORT = re.compile(
    r"^\s*(?:from|import) (hamlearn[\w.]*)(?: import (\([^)]*\)|.*))?", re.MULTILINE
)

# Not followed: settings reach a stage through params, and the rest changes no result.
IGNORED = [
    *("__init__", "__main__", "cli/*", "errors", "io"),
    *(
        "distribution",
        "sections",
        "networks",
        "settings",
        "corpus_settings",
        "experiment_settings",
        "systems",
        "templates",
        "variants",
    ),
]


@functools.cache
def source_digest(*modules, without=(), files=()):
    """Return a digest of these modules of hamlearn and of all that they import.

    Args:
        modules: paths below hamlearn without `.py`; patterns are allowed.
        without: patterns of modules that are not followed.
        files: patterns of other files of the package.
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
        if name in found or any(fnmatch.fnmatch(name, no) for no in (*IGNORED, *without)):
            continue
        found[name], imported = read_module(path)
        waiting += imported
    text = "".join(f"{name}\0{found[name]}\0" for name in sorted(found))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@functools.cache
def read_module(path):
    """Return a module's text, and the files of hamlearn that it imports anywhere."""
    text = path.read_text(encoding="utf-8")
    names = []
    for module, members in IMPORT.findall(text):
        names += [module, *(f"{module}.{name}" for name in re.findall(r"\w+", members))]
    places = [ROOT.joinpath(*name.split(".")) for name in names]
    files = [file for at in places for file in (at.with_suffix(".py"), at / "__init__.py")]
    return text, tuple(filter(Path.is_file, files))


def as_path(module):
    """Return the path of a module of hamlearn as `source_digest` names it."""
    return module.removeprefix("hamlearn.").replace(".", "/")


def model_source(stage):
    """Return a params function: a stage and the model of the run's system, but no other system.

    Of a system of one's own, the file counts, and every layer of hamlearn that it may use.
    """

    def digest(wildcards):
        system = SETTINGS.system(system_of(wildcards))
        if not system.is_own:
            return source_digest(stage, as_path(system.module))
        file = module_file(system.module)
        tracked = config["track_source"] and file is not None and file.is_file()
        own = hashlib.sha256(file.read_bytes() if tracked else b"").hexdigest()[:12]
        return source_digest(stage, "model/*") + own

    return digest


def network_source(wildcards):
    """Return the digest of the extraction of features by one network, but no other network.

    Of a module outside the package, the imports are not followed.
    """
    if wildcards.get("backbone", wildcards.get("detector")) == PRECOMPUTED:
        return source_digest("features/extraction")
    if "backbone" in wildcards.keys():
        network = config["image_features"]["backbones"][wildcards.backbone]
    else:
        network = config["object_features"]["detectors"][wildcards.detector]
    source = parse_source(network["source"])
    modules = ["features/extraction", f"vision/loaders/from_{source.kind}"]
    readers = ("precomputed", "precomputed_images", "object_files", "tsv_objects")
    without = tuple(f"features/{name}" for name in readers)
    if source.kind == "python" and source.module.startswith("hamlearn."):
        own = as_path(source.module)
        return source_digest(*modules, own, without=without)
    digest = source_digest(*modules, without=without)
    if source.kind == "python" and config["track_source"]:
        file = module_file(source.module)
        digest += DIGESTS.of([file] if file else [])[:12]
    return digest
