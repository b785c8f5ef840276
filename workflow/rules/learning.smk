"""Training and prediction: a run for each corpus, detector, variant and seed."""


rule vocabulary:
    input:
        posts="<results>/corpus/{corpus}/posts{fold}.jsonl",
    output:
        encoder=directory("<results>/encoder/{corpus}{key}{fold}"),
    log:
        "<results>/logs/vocabulary/{corpus}{key}{fold}.log",
    benchmark:
        "<results>/benchmarks/vocabulary/{corpus}{key}{fold}.tsv"
    conda:
        "../../envs/learning.yaml"
    params:
        settings=made_encoder,
        source=source_digest("training/scratch_encoder"),
    shell:
        "python -m hamlearn vocabulary --settings {params.settings:q}"
        " --posts {input.posts:q} --out {output.encoder:q} > {log:q} 2>&1"


rule encode:
    input:
        unpack(encoding_inputs),
        posts="<results>/corpus/{corpus}/posts.jsonl",
        encoder=encoding_files,
    output:
        encoded="<results>/encoded/{corpus}/{detector}/{encoding}.h5",
    log:
        "<results>/logs/encode/{corpus}/{detector}/{encoding}.log",
    benchmark:
        "<results>/benchmarks/encode/{corpus}/{detector}/{encoding}.tsv"
    conda:
        "../../envs/learning.yaml"
    threads: ALL_CORES
    resources:
        gpu=GPU,
        mem_mb=encoding_memory,
    params:
        settings=encoding_settings,
        inputs=input_options,
        reads=encoding_options,
        contents=contents(encoding_inputs, encoding_files, encoder_snapshot),
        source=source_digest("training/encoding"),
    shell:
        "python -m hamlearn encode --settings {params.settings:q} --posts {input.posts:q}"
        " {params.inputs:q} {params.reads} --out {output.encoded:q} --threads {threads} > {log:q} 2>&1"


rule train:
    input:
        unpack(run_inputs),
        posts="<results>/corpus/{corpus}/posts{fold}.jsonl",
        encoder=encoder_files,
        vectors=word_vectors,
    output:
        model=kept(f"<results>/models/{FOLD}/model.safetensors"),
        facts=kept(f"<results>/models/{FOLD}/run.json"),
        history=kept(f"<results>/models/{FOLD}/history.csv"),
        manifest=kept(f"<results>/models/{FOLD}/manifest.json"),
    log:
        f"<results>/logs/train/{FOLD}.log",
    benchmark:
        f"<results>/benchmarks/train/{FOLD}.tsv"
    conda:
        "../../envs/learning.yaml"
    # Two trainings of one thread each are faster than one after the other with two threads.
    threads: devices
    resources:
        devices=devices,
        gpu=gpus,
        mem_mb=training_memory,
        # Like the number of devices not among the parameters, since they change no result.
        loggers=loggers,
    params:
        settings=lambda wildcards: experiments.run_settings(SETTINGS, wildcards.variant),
        system=system_of,
        inputs=input_options,
        contents=contents(run_inputs, encoder_files, encoder_snapshot, word_vectors),
        encoder=encoder_option,
        out=subpath(output.model, parent=True),
        logs=f"{RESULTS}/logs/train/{FOLD}",
        source=model_source("training/run"),
    shell:
        "python -m hamlearn train --settings {params.settings:q} --variant {params.system}"
        " --seed {wildcards.seed} --posts {input.posts:q} {params.inputs:q} {params.encoder:q}"
        " --out {params.out:q} --devices {resources.devices} --threads {threads}"
        " {resources.loggers} --logs {params.logs:q}"
        " > {log:q} 2>&1"


rule predict:
    input:
        unpack(run_inputs),
        posts="<results>/corpus/{corpus}/posts{fold}.jsonl",
        model=f"<results>/models/{FOLD}/manifest.json",  # has a digest of every file of the model
    output:
        multiext(f"<results>/predictions/{FOLD}/", *PREDICTED),
    log:
        f"<results>/logs/predict/{FOLD}.log",
    benchmark:
        f"<results>/benchmarks/predict/{FOLD}.tsv"
    conda:
        "../../envs/learning.yaml"
    resources:
        gpu=GPU,
        mem_mb=encoding_memory,
        # Not among the parameters, since a control less changes no result.
        controls=control_options,
    params:
        inputs=input_options,
        contents=contents(run_inputs),
        run=subpath(input.model, parent=True),
        splits=split_options,
        out=subpath(output[0], parent=True),
        system=system_options,
        source=model_source("inference/prediction"),
    shell:
        "python -m hamlearn predict-split --run {params.run:q} --posts {input.posts:q}"
        " {params.splits} {params.inputs:q} {params.system:q} --out {params.out:q}"
        " {resources.controls} --threads {threads} > {log:q} 2>&1"


if CONTROLLED:

    # With its images removed, exchanged or blank, too.
    use rule predict as predict_controlled with:
        output:
            multiext(
                f"<results>/predictions/{FOLD}/",
                *PREDICTED,
                *(f"test.{name}.jsonl" for name in CONTROLS),
            ),
        log:
            f"<results>/logs/predict_controlled/{FOLD}.log",
        benchmark:
            f"<results>/benchmarks/predict_controlled/{FOLD}.tsv"
        wildcard_constraints:
            variant="|".join(map(re.escape, CONTROLLED)),

    ruleorder: predict_controlled > predict


if FOLDED:

    rule join_folds:
        input:
            parts=parts_of_run,
            posts="<results>/corpus/{corpus}/posts.jsonl",
        output:
            jsonl=f"<results>/predictions/{RUN}/{{part}}.jsonl",
            conll=f"<results>/predictions/{RUN}/{{part}}.conll",
        log:
            f"<results>/logs/join_folds/{RUN}/{{part}}.log",
        benchmark:
            f"<results>/benchmarks/join_folds/{RUN}/{{part}}.tsv"
        wildcard_constraints:
            corpus="|".join(FOLDED),
        conda:
            "../../envs/corpus.yaml"
        params:
            source=source_digest("inference/folds"),
        shell:
            "python -m hamlearn join-folds --posts {input.posts:q} --jsonl {output.jsonl:q}"
            " --conll {output.conll:q} {input.parts:q} > {log:q} 2>&1"

    ruleorder: join_folds > predict

    if CONTROLLED:

        ruleorder: join_folds > predict_controlled


use rule predict as transfer with:
    input:
        unpack(run_inputs),
        posts="<results>/corpus/{tested}/posts.jsonl",
        model=f"<results>/models/{RUN}/manifest.json",  # has a digest of every file of the model
    output:
        multiext(f"{TRANSFER}/test", ".jsonl", ".conll"),
    log:
        f"<results>/logs/transfer/{RUN}/{{tested}}.log",
    benchmark:
        f"<results>/benchmarks/transfer/{RUN}/{{tested}}.tsv"
