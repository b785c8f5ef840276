"""Which runs each table of the paper inputs, beside the main ones."""

from hamlearn.systems import ABLATIONS, full_with_rounds, transfer_name

TABLES = "results/report/tables"
TRANSFER = f"results/transfer/{RUN}/{{tested}}"


def runs_of_table(pattern, table):
    """The pattern of one run's file, for every run that a table of the paper inputs."""
    variants, detectors = config["variants"], DETECTORS[:1]
    if table == "table3":
        variants = [name for name in variants if name in ABLATIONS]
    elif table == "table4":
        chosen = config["model"]["rounds"]
        variants = [full_with_rounds(rounds, chosen) for rounds in EXPERIMENTS["rounds"]]
    elif table == "table5":
        variants = EXPERIMENTS["transfer"]
    elif table == "table6":
        variants, detectors = ["full"], EVERY_DETECTOR
    return runs(pattern, variants, detectors)


def inputs_of_table(wildcards):
    """The scores that a table is made from; Table 1 is made from counts."""
    table = wildcards.table
    if table == "table1":
        return expand("results/corpus/{corpus}/statistics.csv", corpus=CORPORA)
    if table != "table5":
        return runs_of_table(f"results/scores/{RUN}.csv", table)
    return [
        f"{run}/{tested}/scores.csv"
        for tested in CORPORA
        for run in runs_of_table(f"results/transfer/{RUN}", table)
        if Path(run).parts[2] != tested
    ]


def settings_of_table(wildcards):
    """The settings that say which rows a table has."""
    rounds = {"rounds": config["model"]["rounds"]}
    named = {name: config[name] for name in ("corpus", "corpora", "detector", "variants")}
    return as_json(model=rounds, experiments=EXPERIMENTS, **named)


def tables_of_report(wildcards):
    """The tables that are asked for, and with any of them the comparison of every pair."""
    tables = [f"{TABLES}/{table}.csv" for table in EXPERIMENTS["tables"]]
    return [*tables, f"{TABLES}/pairs.csv"] if tables else []


def direction_of_transfer(wildcards):
    """What stands for the corpus in the scores of a run on another corpus."""
    return transfer_name(wildcards.corpus, wildcards.tested)


def posts_of_pairs(wildcards, input):
    """The command line's part for the posts of each corpus."""
    return [word for pair in zip(CORPORA, input.posts) for word in ("--posts", "=".join(pair))]
