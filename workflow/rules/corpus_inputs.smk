"""What the rules of corpora read and depend on."""


def corpus_settings(wildcards):
    """Return the settings that preparing one corpus depends on."""
    name = wildcards.corpus
    others = ("texts", "folds")
    corpus = {key: value for key, value in config["corpora"][name].items() if key not in others}
    if name in FOLDED and not is_generated(name):
        names = [Path(path).name for path in corpus_files(wildcards)]
        if "test.txt" not in names or {"valid.txt", "dev.txt"}.isdisjoint(names):
            corpus["folds"] = 2  # no dev is drawn here, and none of test required, whatever K is
    return as_json(corpus=name, corpora={name: corpus})


def fold_settings(wildcards):
    """Return the settings that the posts of the folds of one corpus depend on."""
    keys = ("path", "generator", "folds", "dev_share", "dev_seed")
    corpus = {key: config["corpora"][wildcards.corpus][key] for key in keys}
    return as_json(corpus=wildcards.corpus, corpora={wildcards.corpus: corpus})


def fold_option(wildcards):
    """Return the command-line option for the number of a fold, none for all of them."""
    return f"--number {wildcards.fold.removeprefix('.fold')}" if wildcards.fold != ".folds" else ""


def parts_of_run(wildcards):
    """Return the predictions of each fold."""
    folds = experiments.folds(SETTINGS, wildcards.corpus)
    return expand(f"<results>/predictions/{FOLD}/{{part}}.jsonl", **wildcards, fold=folds)


def scored_posts(wildcards):
    return experiments.scored_posts(SETTINGS, wildcards.corpus)


def all_scored_posts(wildcards):
    return [experiments.scored_posts(SETTINGS, name) for name in CORPORA]


def corpus_files(wildcards):
    """Return the generated folder, or the text files of a real corpus without its many images."""
    if is_generated(wildcards.corpus):
        return generated_folder(SETTINGS, wildcards.corpus)
    folder = Path(config["corpora"][wildcards.corpus]["path"])
    optional = ["valid.txt", "dev.txt", "manifest.jsonl"]  # dev may be drawn from train
    optional += ["test.txt"] if wildcards.corpus in FOLDED else []
    present = [name for name in optional if (folder / name).exists()]
    names = ["train.txt", *present, *([] if "test.txt" in optional else ["test.txt"])]
    return [folder / name for name in names]


def corpus_folder(wildcards, input):
    """Return the folder of these files where the job sees them (a storage may have copied them)."""
    return input[0] if is_generated(wildcards.corpus) else str(Path(input[0]).parent)
