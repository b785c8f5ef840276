"""The page that a reader sees."""


rule report:
    input:
        metrics="results/report/metrics.csv",
        facts=runs(f"results/models/{RUN}/run.json"),
        histories=runs(f"results/models/{RUN}/history.csv"),
        posts=expand("results/corpus/{corpus}/posts.jsonl", corpus=CORPORA),
        statistics=expand("results/corpus/{corpus}/statistics.csv", corpus=CORPORA),
        drawn=drawn_corpora,
        predictions=runs(f"results/predictions/{RUN}/test.jsonl"),
        failures=failures_of_report,
        found=objects_of_report,
        tables=tables_of_report,
    output:
        page=report(
            "results/report/index.html",
            caption="../report/index.rst",
            category="Scores",
            labels={"table": "the report"},
        ),
        figures=report(
            directory("results/report/figures"),
            patterns=["{figure}.svg"],
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
    log:
        "results/logs/report.log",
    benchmark:
        "results/benchmarks/report.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(1000),
    params:
        settings=settings_of_report,
        out=subpath(output.page, parent=True),
        results=subpath(output.page, ancestor=2),
        source=source_digest("report/*", files=("report/templates/*",)),
    shell:
        "python -m hamlearn report --settings {params.settings:q} --metrics {input.metrics:q}"
        " --out {params.out:q} --results {params.results:q} > {log:q} 2>&1"
