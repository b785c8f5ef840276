"""What scores, tables and the report are made of, and how they appear in Snakemake's report."""

from hamlearn.systems import transfer_name


def scored_corpus(wildcards):
    """Return the corpus column of a run's scores; of a transfer, both corpora."""
    tested = wildcards.get("tested")
    return transfer_name(wildcards.corpus, tested) if tested else wildcards.corpus


def predictions(wildcards):
    """Return the predictions that the scores of a run are computed from."""
    run = experiments.RunId(*(wildcards[name] for name in experiments.RunId._fields))
    return experiments.predictions(SETTINGS, run)


def scored_variant(wildcards):
    """Return the command-line options that name the system of a run, and its control if any."""
    if wildcards.variant in shuffled_labels(SETTINGS):
        return ["--variant", system_of(wildcards), "--control", "trained_shuffled"]
    return ["--variant", wildcards.variant]


def pair_posts(wildcards, input):
    """Return the command-line options for the posts of each corpus."""
    return [word for pair in zip(CORPORA, input.posts) for word in ("--posts", "=".join(pair))]


def table_settings(wildcards):
    """Return the settings that decide which rows a table has, and what they are compared with."""
    named = ["corpus", "corpora", "systems", "variants", "text"]
    named += ["backbone", "image_features", "detector", "object_features"]
    if wildcards.table == "table4":  # a run with so many rounds may have another name
        return sections(*dict.fromkeys([*named, "experiments", "runs", *RUN_SECTIONS]))
    asked = {key: value for key, value in config["experiments"].items() if key != "grid"}
    return as_json(experiments=asked, **{name: config[name] for name in named})


def report_tables(wildcards):
    """Return the requested tables, with them the comparison of all pairs, and that of runs."""
    tables = [f"{TABLES}/{table}.csv" for table in config["experiments"]["tables"]]
    several = [f"{TABLES}/grid.csv"] if experiments.has_runs(SETTINGS) else []
    return [*tables, *([f"{TABLES}/pairs.csv"] if tables else []), *several]


def report_settings(wildcards):
    """Return all settings but `predict`; in a plain string, Snakemake would expand the braces."""
    return sections(*sorted(config.keys() - {"predict"}))


def in_report(path, caption, **labels):
    """Return an output that `snakemake --report` includes."""
    category = "Tables of the paper" if caption in ("table", "pairs") else "Scores"
    return report(path, caption=f"../report/{caption}.rst", category=category, labels=labels)


def forms_in_report(stem, caption, table):
    """Return a table as CSV, Markdown and LaTeX, outputs that `snakemake --report` includes."""
    forms = {"csv": "CSV", "md": "Markdown", "tex": "LaTeX"}
    return {
        form: in_report(f"{stem}.{form}", caption, table=table, form=name)
        for form, name in forms.items()
    }


def generated_corpora(wildcards):
    """Return the folders of generated corpora, which know what text alone can reach."""
    return [generated_folder(SETTINGS, name) for name in CORPORA if is_generated(name)]


def report_objects(wildcards):
    """Return the objects and graphs of every detector."""
    if not any("objects" in SETTINGS.system(name).inputs.files for name in config["variants"]):
        return []
    objects = "<results>/features/{corpus}/objects/{detector}.h5"
    graphs = ["<results>/graphs/{corpus}/{detector}.h5"] if config["report"]["pictures"] else []
    return expand([objects, *graphs], corpus=CORPORA, detector=DETECTORS)
