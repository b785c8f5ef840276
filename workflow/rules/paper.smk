"""The paper's experiments: other values of L, other corpora, other detectors, and its tables."""


rule transfer:
    input:
        unpack(pictures_of_transfer),
        posts="results/corpus/{tested}/posts.jsonl",
        model=f"results/models/{RUN}/model.safetensors",
        facts=f"results/models/{RUN}/run.json",
        encoder=f"results/models/{RUN}/encoder",
    output:
        jsonl=f"{TRANSFER}/test.jsonl",
        conll=f"{TRANSFER}/test.conll",
    log:
        f"results/logs/transfer/{RUN}/{{tested}}.log",
    benchmark:
        f"results/benchmarks/transfer/{RUN}/{{tested}}.tsv"
    conda:
        "../../envs/learning.yaml"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=growing(2000),
    params:
        pictures=picture_arguments,
        run=subpath(input.model, parent=True),
        source=source_of_stage("inference/prediction"),
    shell:
        "python -m hamlearn predict-split --run {params.run:q}"
        " --posts {input.posts:q} --split test {params.pictures:q}"
        " --jsonl {output.jsonl:q} --conll {output.conll:q} --threads {threads} > {log:q} 2>&1"


rule evaluate_transfer:
    input:
        posts="results/corpus/{tested}/posts.jsonl",
        predictions=f"{TRANSFER}/test.jsonl",
    output:
        scores=f"{TRANSFER}/scores.csv",
    log:
        f"results/logs/evaluate_transfer/{RUN}/{{tested}}.log",
    benchmark:
        f"results/benchmarks/evaluate_transfer/{RUN}/{{tested}}.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(1000),
    params:
        direction=direction_of_transfer,
        source=source_digest("evaluation/evaluate"),
    shell:
        "python -m hamlearn evaluate --posts {input.posts:q} --corpus {params.direction}"
        " --detector {wildcards.detector} --variant {wildcards.variant} --seed {wildcards.seed}"
        " --out {output.scores:q} {input.predictions:q} > {log:q} 2>&1"


rule paper_table:
    input:
        published=ROOT / "resources" / "published.yaml",
        ours=inputs_of_table,
    output:
        csv=report(
            f"{TABLES}/{{table}}.csv",
            caption="../report/table.rst",
            category="Tables of the paper",
            labels={"table": "{table}", "form": "CSV"},
        ),
        markdown=report(
            f"{TABLES}/{{table}}.md",
            caption="../report/table.rst",
            category="Tables of the paper",
            labels={"table": "{table}", "form": "Markdown"},
        ),
    log:
        "results/logs/paper_table/{table}.log",
    benchmark:
        "results/benchmarks/paper_table/{table}.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(1000),
    params:
        settings=settings_of_table,
        source=source_digest("evaluation/paper", "evaluation/evaluate"),
    shell:
        "python -m hamlearn paper table {wildcards.table} --settings {params.settings:q}"
        " --csv {output.csv:q} --markdown {output.markdown:q} {input.ours:q} > {log:q} 2>&1"


rule pairs:
    input:
        posts=expand("results/corpus/{corpus}/posts.jsonl", corpus=CORPORA),
        predictions=runs(f"results/predictions/{RUN}/test.jsonl"),
    output:
        report(
            f"{TABLES}/pairs.csv",
            caption="../report/pairs.rst",
            category="Tables of the paper",
            labels={"table": "every pair of systems", "form": "CSV"},
        ),
    log:
        "results/logs/pairs.log",
    benchmark:
        "results/benchmarks/pairs.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(1000),
    params:
        posts=posts_of_pairs,
        source=source_digest("evaluation/compare"),
    shell:
        "python -m hamlearn paper pairs {params.posts:q} --out {output:q}"
        " {input.predictions:q} > {log:q} 2>&1"
