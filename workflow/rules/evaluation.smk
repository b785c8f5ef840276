"""Predictions to scores, one table a run and then one table of all."""


rule evaluate:
    input:
        posts="results/corpus/{corpus}/posts.jsonl",
        predictions=expand(
            f"results/predictions/{RUN}/{{split}}.jsonl", split=["dev", "test"], allow_missing=True
        ),
    output:
        scores=f"results/scores/{RUN}.csv",
    log:
        f"results/logs/evaluate/{RUN}.log",
    benchmark:
        f"results/benchmarks/evaluate/{RUN}.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(1000),
    params:
        source=source_digest("evaluation/evaluate"),
    shell:
        "python -m hamlearn evaluate --posts {input.posts:q} --corpus {wildcards.corpus}"
        " --detector {wildcards.detector} --variant {wildcards.variant} --seed {wildcards.seed}"
        " --out {output.scores:q} {input.predictions:q} > {log:q} 2>&1"


rule metrics:
    input:
        scores=runs(f"results/scores/{RUN}.csv"),
    output:
        report(
            "results/report/metrics.csv",
            caption="../report/metrics.rst",
            category="Scores",
            labels={"table": "every score of every run"},
        ),
    log:
        "results/logs/metrics.log",
    benchmark:
        "results/benchmarks/metrics.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(1000),
    params:
        source=source_digest("evaluation/evaluate"),
    shell:
        "python -m hamlearn metrics --out {output:q} {input.scores:q} > {log:q} 2>&1"
