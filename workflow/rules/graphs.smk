"""Boxes to relations: one spatial graph per picture."""


rule build_graphs:
    input:
        objects="results/features/{corpus}/objects/{detector}.h5",
    output:
        graphs="results/graphs/{corpus}/{detector}.h5",
    log:
        "results/logs/build_graphs/{corpus}/{detector}.log",
    benchmark:
        "results/benchmarks/build_graphs/{corpus}/{detector}.tsv"
    conda:
        "../../envs/vision.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(1000),
    params:
        settings=settings("graph"),
        source=source_digest("features/graphs"),
    shell:
        "python -m hamlearn graphs --settings {params.settings:q} --objects {input.objects:q}"
        " --out {output.graphs:q} > {log:q} 2>&1"
