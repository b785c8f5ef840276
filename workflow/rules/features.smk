"""Pixels to features: whole pictures and objects, by shards that are merged into one file."""

# Without a GPU, shards of one thread side by side are quicker than one after the other with two.
EXTRACTION_THREADS = 4 if GPU else 1


rule extract_images_shard:
    input:
        posts="results/corpus/{corpus}/posts.jsonl",
        pictures=drawn_pictures,
        weights=weights_of("image_features", "backbones"),
    output:
        temp("results/features/{corpus}/images/{backbone}{grid}.shards/{scatteritem}.h5"),
    log:
        "results/logs/extract_images/{corpus}/{backbone}{grid}/{scatteritem}.log",
    benchmark:
        "results/benchmarks/extract_images/{corpus}/{backbone}{grid}/{scatteritem}.tsv"
    conda:
        "../../envs/vision.yaml"
    threads: EXTRACTION_THREADS
    resources:
        gpu=GPU,
        mem_mb=growing(2000),
    params:
        settings=settings_of_images,
        source=source_of_images,
    shell:
        "python -m hamlearn features images --settings {params.settings:q}"
        " --backbone {wildcards.backbone} --posts {input.posts:q} --shard {wildcards.scatteritem}"
        " --out {output:q} --threads {threads} > {log:q} 2>&1"


rule merge_images:
    input:
        posts="results/corpus/{corpus}/posts.jsonl",
        shards=gather.extraction(
            "results/features/{{corpus}}/images/{{backbone}}{{grid}}.shards/{scatteritem}.h5"
        ),
    output:
        features="results/features/{corpus}/images/{backbone}{grid}.h5",
        failures="results/features/{corpus}/images/{backbone}{grid}.failures.csv",
    log:
        "results/logs/merge_images/{corpus}/{backbone}{grid}.log",
    benchmark:
        "results/benchmarks/merge_images/{corpus}/{backbone}{grid}.tsv"
    conda:
        "../../envs/vision.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(1000),
    params:
        source=source_digest("features/store"),
    shell:
        "python -m hamlearn features merge --posts {input.posts:q} --out {output.features:q}"
        " --failures {output.failures:q} {input.shards:q} > {log:q} 2>&1"


rule convert_weights:
    input:
        published_weights,
    output:
        CONVERTED,
    log:
        "results/logs/convert_weights.log",
    benchmark:
        "results/benchmarks/convert_weights.tsv"
    conda:
        "../../envs/vision.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(3000),
    params:
        sha256=digest_of_published,
        source=source_digest("vision/detectors/vg_weights"),
    shell:
        "python -m hamlearn weights convert {params.sha256:q} {input:q} {output:q} > {log:q} 2>&1"


rule extract_objects_shard:
    input:
        posts="results/corpus/{corpus}/posts.jsonl",
        pictures=drawn_pictures,
        weights=weights_of("object_features", "detectors"),
    output:
        temp("results/features/{corpus}/objects/{detector}.shards/{scatteritem}.h5"),
    log:
        "results/logs/extract_objects/{corpus}/{detector}/{scatteritem}.log",
    benchmark:
        "results/benchmarks/extract_objects/{corpus}/{detector}/{scatteritem}.tsv"
    conda:
        environment_of_objects
    threads: EXTRACTION_THREADS
    resources:
        gpu=GPU,
        mem_mb=growing(4000),
    params:
        settings=settings_of_objects,
        source=source_of_objects,
    shell:
        "python -m hamlearn features objects --settings {params.settings:q}"
        " --detector {wildcards.detector} --posts {input.posts:q} --shard {wildcards.scatteritem}"
        " --out {output:q} --threads {threads} > {log:q} 2>&1"


rule merge_objects:
    input:
        posts="results/corpus/{corpus}/posts.jsonl",
        shards=gather.extraction(
            "results/features/{{corpus}}/objects/{{detector}}.shards/{scatteritem}.h5"
        ),
    output:
        features="results/features/{corpus}/objects/{detector}.h5",
        failures="results/features/{corpus}/objects/{detector}.failures.csv",
    log:
        "results/logs/merge_objects/{corpus}/{detector}.log",
    benchmark:
        "results/benchmarks/merge_objects/{corpus}/{detector}.tsv"
    conda:
        "../../envs/vision.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(1000),
    params:
        source=source_digest("features/store"),
    shell:
        "python -m hamlearn features merge --posts {input.posts:q} --out {output.features:q}"
        " --failures {output.failures:q} {input.shards:q} > {log:q} 2>&1"
