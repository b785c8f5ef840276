"""Entities in the user's own posts: predicted in shards, joined in the order of the posts."""

if PREDICT["posts"]:

    rule predict_posts:
        input:
            posts=PREDICT["posts"],
            model=f"{PREDICT['model']}/manifest.json",  # lists all files with their digests
        output:
            temp(f"<results>/posts/{POSTS}.shards/{{scatteritem}}.jsonl"),
        log:
            f"<results>/logs/predict_posts/{POSTS}/{{scatteritem}}.log",
        benchmark:
            f"<results>/benchmarks/predict_posts/{POSTS}/{{scatteritem}}.tsv"
        conda:
            "../../envs/tagging.yaml"
        threads: shard_threads(PREDICT["shards"])
        resources:
            gpu=GPU,
            mem_mb=growing(4000),
        params:
            options=post_options("format", "images", "no_images", "weights"),
            systems=own_systems,
            contents=post_contents,
            images=post_images,
            model=subpath(input.model, parent=True),
            source=source_digest("inference/predict_file"),
        shell:
            "python -m hamlearn predict {params.model:q} {input.posts:q} {params.options:q}"
            " {params.systems:q} --shard {wildcards.scatteritem} --out {output:q} --threads {threads} > {log:q} 2>&1"

    rule join_posts:
        input:
            posts=PREDICT["posts"],
            shards=gather.posts(f"<results>/posts/{POSTS}.shards/{{scatteritem}}.jsonl"),
        output:
            RESULT,
        log:
            f"<results>/logs/join_posts/{POSTS}.log",
        benchmark:
            f"<results>/benchmarks/join_posts/{POSTS}.tsv"
        conda:
            "../../envs/tagging.yaml"
        params:
            options=post_options("format"),
            contents=post_contents,
            source=source_digest("inference/predict_file"),
        shell:
            "python -m hamlearn predict-join {input.posts:q} {input.shards:q} {params.options:q}"
            " --out {output:q} > {log:q} 2>&1"
