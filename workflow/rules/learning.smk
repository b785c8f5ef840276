"""Training and prediction, a run for each corpus, detector, variant and seed."""

if SCRATCH:

    rule vocabulary:
        input:
            posts="results/corpus/{corpus}/posts.jsonl",
        output:
            encoder=directory("results/encoder/{corpus}"),
        log:
            "results/logs/vocabulary/{corpus}.log",
        benchmark:
            "results/benchmarks/vocabulary/{corpus}.tsv"
        conda:
            "../../envs/learning.yaml"
        threads: 1
        resources:
            gpu=0,
            mem_mb=growing(1000),
        params:
            settings=as_json(text={"encoder": "scratch", "scratch": config["text"]["scratch"]}),
            source=source_digest("training/scratch_encoder"),
        shell:
            "python -m hamlearn vocabulary --settings {params.settings:q}"
            " --posts {input.posts:q} --out {output.encoder:q} > {log:q} 2>&1"


if config["text"]["freeze"]:

    rule encode:
        input:
            unpack(texts_beside),
            posts="results/corpus/{corpus}/posts.jsonl",
            encoder=encoder_of_run,
        output:
            encoded="results/encoded/{corpus}/{detector}/words{beside}.h5",
        log:
            "results/logs/encode/{corpus}/{detector}/words{beside}.log",
        benchmark:
            "results/benchmarks/encode/{corpus}/{detector}/words{beside}.tsv"
        conda:
            "../../envs/learning.yaml"
        threads: 1
        resources:
            gpu=GPU,
            mem_mb=growing(2000),
        params:
            settings=settings_of_encoder(),
            texts=picture_arguments,
            source=source_digest("training/encoding"),
        shell:
            "python -m hamlearn encode --settings {params.settings:q} --posts {input.posts:q}"
            " {params.texts:q} --out {output.encoded:q} --threads {threads} > {log:q} 2>&1"


rule train:
    input:
        unpack(pictures_of_run),
        posts="results/corpus/{corpus}/posts.jsonl",
        encoder=encoder_of_run,
        vectors=vectors_of_run,
    output:
        model=f"results/models/{RUN}/model.safetensors",
        facts=f"results/models/{RUN}/run.json",
        history=f"results/models/{RUN}/history.csv",
        encoder=directory(f"results/models/{RUN}/encoder"),
    log:
        f"results/logs/train/{RUN}.log",
    benchmark:
        f"results/benchmarks/train/{RUN}.tsv"
    conda:
        "../../envs/learning.yaml"
    # Two trainings of one thread side by side are quicker than one after the other with two.
    threads: config["training"]["devices"]
    resources:
        devices=config["training"]["devices"],
        gpu=GPU * config["training"]["devices"],
        mem_mb=growing(2000 * config["training"]["devices"]),
    params:
        settings=settings_of_run,
        variant=variant_to_train,
        pictures=picture_arguments,
        encoder=encoder_arguments,
        out=subpath(output.model, parent=True),
        source=source_of_stage("training/run"),
    shell:
        "python -m hamlearn train --settings {params.settings:q} --variant {params.variant}"
        " --seed {wildcards.seed} --posts {input.posts:q} {params.pictures:q} {params.encoder:q}"
        " --out {params.out:q} --devices {resources.devices} --threads {threads}"
        " > {log:q} 2>&1"


rule predict:
    input:
        unpack(pictures_of_run),
        posts="results/corpus/{corpus}/posts.jsonl",
        model=f"results/models/{RUN}/model.safetensors",
        facts=f"results/models/{RUN}/run.json",
        encoder=f"results/models/{RUN}/encoder",
    output:
        jsonl=f"results/predictions/{RUN}/{{split}}.jsonl",
        conll=f"results/predictions/{RUN}/{{split}}.conll",
    log:
        f"results/logs/predict/{RUN}/{{split}}.log",
    benchmark:
        f"results/benchmarks/predict/{RUN}/{{split}}.tsv"
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
        " --posts {input.posts:q} --split {wildcards.split} {params.pictures:q}"
        " --jsonl {output.jsonl:q} --conll {output.conll:q} --threads {threads} > {log:q} 2>&1"
