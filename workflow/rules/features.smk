"""Images to features in shards, which are merged into one file; boxes to relation graphs."""


rule convert_weights:
    input:
        published_weights,
    output:
        "<results>/weights/{detector}.safetensors",
    log:
        "<results>/logs/convert_weights/{detector}.log",
    benchmark:
        "<results>/benchmarks/convert_weights/{detector}.tsv"
    conda:
        "../../envs/vision.yaml"
    resources:
        mem_mb=growing(3000),
    params:
        sha256=digest_option,
        contents=contents(published_weights),
        source=source_digest("vision/detectors/vg_weights"),
    shell:
        "python -m hamlearn weights convert {params.sha256:q} {input:q} {output:q} > {log:q} 2>&1"


rule extract_images_shard:
    input:
        posts="<results>/corpus/{corpus}/posts.jsonl",
        images=generated_images,
        objects=objects_of_crops,
        weights=weight_files("image_features", "backbones"),
    output:
        temp("<results>/features/{corpus}/images/{backbone}{maps}.shards/{scatteritem}.h5"),
    log:
        "<results>/logs/extract_images/{corpus}/{backbone}{maps}/{scatteritem}.log",
    benchmark:
        "<results>/benchmarks/extract_images/{corpus}/{backbone}{maps}/{scatteritem}.tsv"
    conda:
        "../../envs/vision.yaml"
    threads: shard_threads(config["shards"])
    resources:
        gpu=GPU,
    params:
        settings=image_settings,
        contents=network_contents("image_features", "backbones"),
        images=images,  # an image may be replaced without a change of posts.jsonl
        objects=option_of_crops,
        source=network_source,
    shell:
        "python -m hamlearn features images --settings {params.settings:q}"
        " --backbone {wildcards.backbone} --posts {input.posts:q} --shard {wildcards.scatteritem}"
        " {params.objects:q}"
        " --out {output:q} --threads {threads} > {log:q} 2>&1"


rule extract_objects_shard:
    input:
        posts="<results>/corpus/{corpus}/posts.jsonl",
        images=generated_images,
        weights=weight_files("object_features", "detectors"),
    output:
        temp("<results>/features/{corpus}/objects/{detector}.shards/{scatteritem}.h5"),
    log:
        "<results>/logs/extract_objects/{corpus}/{detector}/{scatteritem}.log",
    benchmark:
        "<results>/benchmarks/extract_objects/{corpus}/{detector}/{scatteritem}.tsv"
    conda:
        detector_environment
    threads: shard_threads(config["shards"])
    resources:
        gpu=GPU,
        mem_mb=growing(4000),
    params:
        settings=object_settings,
        contents=network_contents("object_features", "detectors"),
        images=images,
        source=network_source,
    shell:
        "python -m hamlearn features objects --settings {params.settings:q}"
        " --detector {wildcards.detector} --posts {input.posts:q} --shard {wildcards.scatteritem}"
        " --out {output:q} --threads {threads} > {log:q} 2>&1"


# Does not depend on the source of merging: its shards are temporary, so an edit would extract again.
rule merge_features:
    input:
        posts="<results>/corpus/{corpus}/posts.jsonl",
        shards=gather.extraction(
            "<results>/features/{{corpus}}/{{kind}}/{{extractor}}.shards/{scatteritem}.h5"
        ),
    output:
        features="<results>/features/{corpus}/{kind}/{extractor}.h5",
        failures="<results>/features/{corpus}/{kind}/{extractor}.failures.csv",
    log:
        "<results>/logs/merge_features/{corpus}/{kind}/{extractor}.log",
    benchmark:
        "<results>/benchmarks/merge_features/{corpus}/{kind}/{extractor}.tsv"
    conda:
        "../../envs/vision.yaml"
    shell:
        "python -m hamlearn features merge --posts {input.posts:q} --out {output.features:q}"
        " --failures {output.failures:q} {input.shards:q} > {log:q} 2>&1"


rule build_graphs:
    input:
        objects="<results>/features/{corpus}/objects/{detector}.h5",
    output:
        graphs="<results>/graphs/{corpus}/{detector}.h5",
    log:
        "<results>/logs/build_graphs/{corpus}/{detector}.log",
    benchmark:
        "<results>/benchmarks/build_graphs/{corpus}/{detector}.tsv"
    conda:
        "../../envs/vision.yaml"
    params:
        settings=sections("graph"),
        source=source_digest("features/graphs"),
    shell:
        "python -m hamlearn graphs --settings {params.settings:q} --objects {input.objects:q}"
        " --out {output.graphs:q} > {log:q} 2>&1"
