"""Corpora: generated or found, then prepared for every later stage."""


rule draw_corpus:
    output:
        folder=directory("<results>/corpus/{corpus}/drawn"),
    log:
        "<results>/logs/draw_corpus/{corpus}.log",
    benchmark:
        "<results>/benchmarks/draw_corpus/{corpus}.tsv"
    conda:
        "../../envs/corpus.yaml"
    params:
        seed=lookup("corpora/{corpus}/generator/seed", within=config),
        posts=lookup("corpora/{corpus}/generator/posts", within=config),
        pictures=lookup("corpora/{corpus}/generator/pictures", within=config),
        source=source_digest("demo/corpus", files=("demo/*.json",)),
    shell:
        "python -m hamlearn demo corpus --out {output.folder:q} --seed {params.seed}"
        " --posts {params.posts} --pictures {params.pictures} > {log:q} 2>&1"


rule prepare_corpus:
    input:
        corpus_files,
    output:
        posts="<results>/corpus/{corpus}/posts.jsonl",
        labels="<results>/corpus/{corpus}/labels.json",
        statistics="<results>/corpus/{corpus}/statistics.csv",
    log:
        "<results>/logs/prepare_corpus/{corpus}.log",
    benchmark:
        "<results>/benchmarks/prepare_corpus/{corpus}.tsv"
    conda:
        "../../envs/corpus.yaml"
    params:
        settings=corpus_settings,
        contents=contents(corpus_files),
        images=images,
        folder=corpus_folder,
        out=subpath(output.posts, parent=True),
        source=source_digest("corpus/prepare"),
    shell:
        "python -m hamlearn corpus prepare --settings {params.settings:q}"
        " --corpus {wildcards.corpus} --source {params.folder:q} --out {params.out:q}"
        " > {log:q} 2>&1"


if FOLDED:

    rule fold:
        input:
            "<results>/corpus/{corpus}/posts.jsonl",
        output:
            "<results>/corpus/{corpus}/posts{fold}.jsonl",
        log:
            "<results>/logs/fold/{corpus}{fold}.log",
        benchmark:
            "<results>/benchmarks/fold/{corpus}{fold}.tsv"
        wildcard_constraints:
            corpus="|".join(FOLDED),
            fold=r"\.fold(\d+|s)",  # `.folds`: what all of them predict
        conda:
            "../../envs/corpus.yaml"
        params:
            settings=fold_settings,
            number=fold_option,
            source=source_digest("corpus/folds"),
        shell:
            "python -m hamlearn corpus fold --settings {params.settings:q}"
            " --corpus {wildcards.corpus} --posts {input:q} {params.number} --out {output:q}"
            " > {log:q} 2>&1"
