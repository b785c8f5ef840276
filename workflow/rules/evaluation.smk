"""Scores, the paper's tables, and the report."""


rule evaluate:
    input:
        posts=scored_posts,
        predictions=predictions,
    output:
        scores=f"<results>/scores/{RUN}.csv",
        outcomes=f"<results>/outcomes/{RUN}.csv",
    log:
        f"<results>/logs/evaluate/{RUN}.log",
    benchmark:
        f"<results>/benchmarks/evaluate/{RUN}.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        corpus=scored_corpus,
        variant=scored_variant,
        source=source_digest("evaluation/evaluate", "evaluation/outcomes"),
    shell:
        "python -m hamlearn evaluate --posts {input.posts:q} --corpus {params.corpus}"
        " --detector {wildcards.detector} {params.variant} --seed {wildcards.seed}"
        " --out {output.scores:q} --outcomes {output.outcomes:q} {input.predictions:q} > {log:q} 2>&1"


use rule evaluate as evaluate_transfer with:
    input:
        posts="<results>/corpus/{tested}/posts.jsonl",
        predictions=f"{TRANSFER}/test.jsonl",
    output:
        scores=f"{TRANSFER}/scores.csv",
        outcomes=f"{TRANSFER}/outcomes.csv",
    log:
        f"<results>/logs/evaluate_transfer/{RUN}/{{tested}}.log",
    benchmark:
        f"<results>/benchmarks/evaluate_transfer/{RUN}/{{tested}}.tsv"


rule metrics:
    input:
        scores=[f"<results>/scores/{run.path}.csv" for run in RUNS],
    output:
        **forms_in_report(f"{TABLES}/systems", "metrics", "means of every system"),
        metrics=in_report(
            "<results>/report/metrics.csv", "metrics", table="every score of every run"
        ),
    log:
        "<results>/logs/metrics.log",
    benchmark:
        "<results>/benchmarks/metrics.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        source=source_digest("evaluation/evaluate", "evaluation/means"),
    shell:
        "python -m hamlearn metrics --out {output.metrics:q} --means {output.csv:q}"
        " {input.scores:q} > {log:q} 2>&1"


rule paper_table:
    input:
        published=literal(PUBLISHED),
        ours=lambda wildcards: experiments.table_inputs(SETTINGS, wildcards.table),
    output:
        **forms_in_report(f"{TABLES}/{{table}}", "table", "{table}"),
    log:
        "<results>/logs/paper_table/{table}.log",
    benchmark:
        "<results>/benchmarks/paper_table/{table}.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        settings=table_settings,
        contents=lambda wildcards: DIGESTS.of([PUBLISHED]),
        source=source_digest("evaluation/paper", "evaluation/evaluate"),
    shell:
        "python -m hamlearn paper table {wildcards.table} --settings {params.settings:q}"
        " --csv {output.csv:q} {input.ours:q} > {log:q} 2>&1"


rule grid:
    input:
        metrics="<results>/report/metrics.csv",
    output:
        **forms_in_report(f"{TABLES}/grid", "grid", "settings by dev"),
    log:
        "<results>/logs/grid.log",
    benchmark:
        "<results>/benchmarks/grid.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        settings=report_settings,
        source=source_digest("evaluation/grid"),
    shell:
        "python -m hamlearn grid {input.metrics:q} --settings {params.settings:q}"
        " --csv {output.csv:q} > {log:q} 2>&1"


rule pairs:
    input:
        posts=all_scored_posts,
        predictions=[f"<results>/predictions/{run.path}/test.jsonl" for run in RUNS],
    output:
        **forms_in_report(f"{TABLES}/pairs", "pairs", "every pair of systems"),
    log:
        "<results>/logs/pairs.log",
    benchmark:
        "<results>/benchmarks/pairs.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        posts=pair_posts,
        source=source_digest("evaluation/compare"),
    shell:
        "python -m hamlearn paper pairs {params.posts:q} --csv {output.csv:q}"
        " {input.predictions:q} > {log:q} 2>&1"


rule controls:
    input:
        posts=all_scored_posts,
        predictions=[
            path for run in RUNS for path in experiments.predictions(SETTINGS, run, ["test"])
        ],
    output:
        effects=in_report("<results>/report/controls.csv", "controls", table="controls of images"),
        relevance=in_report("<results>/report/relevance.csv", "controls", table="relevance"),
        readable=multiext("<results>/report/controls", ".md", ".tex"),
        relevance_readable=multiext("<results>/report/relevance", ".md", ".tex"),
    log:
        "<results>/logs/controls.log",
    benchmark:
        "<results>/benchmarks/controls.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        posts=pair_posts,
        source=source_digest("evaluation/controls"),
    shell:
        "python -m hamlearn controls {params.posts:q} --effects {output.effects:q}"
        " --relevance {output.relevance:q} {input.predictions:q} > {log:q} 2>&1"


rule report:
    input:
        metrics="<results>/report/metrics.csv",
        facts=[path for run in RUNS for path in experiments.model_files(SETTINGS, run, "run.json")],
        histories=[
            path for run in RUNS for path in experiments.model_files(SETTINGS, run, "history.csv")
        ],
        posts=all_scored_posts,
        statistics=expand("<results>/corpus/{corpus}/statistics.csv", corpus=CORPORA),
        generated=generated_corpora,
        predictions=[f"<results>/predictions/{run.path}/test.jsonl" for run in RUNS],
        failures=[path for one in CORPORA for path in experiments.failure_lists(SETTINGS, one)],
        objects=report_objects,
        tables=report_tables,
        effects="<results>/report/controls.csv",
        relevance="<results>/report/relevance.csv",
    output:
        page=in_report("<results>/report/index.html", "index", table="the report"),
        figures=report(
            directory("<results>/report/figures"),
            patterns=["{figure}.svg"],
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
    log:
        "<results>/logs/report.log",
    benchmark:
        "<results>/benchmarks/report.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        settings=report_settings,
        images=report_images,
        out=subpath(output.page, parent=True),
        results=subpath(output.page, ancestor=2),
        source=source_digest("report/*", files=("report/templates/*",)),
    shell:
        "python -m hamlearn report --settings {params.settings:q} --metrics {input.metrics:q}"
        " --out {params.out:q} --results {params.results:q} > {log:q} 2>&1"
