"""How much is measured: the numbers that decide how long `make bench` takes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """Settings of a run.

    Attributes:
        threads: of PyTorch on the CPU.
        rounds: how often each thing is timed.
        pictures: that the backbone reads in each round; a multiple of the batch size.
        detected: pictures that the detector reads in each round.
        memory: the two numbers of pictures whose peak memory is compared.
        distinct: picture files behind those.
        rows: of the files whose size is measured.
        read: posts of the files that are read in batches; those of Twitter-2015.
        loaded: posts of the epoch whose batches are made without a step.
        cold: batches that are read from the disk.
        few: posts of the corpus whose stages are started.
        backbone: network of the whole picture.
        min_size: pixels of the short side that mask_rcnn sees; None leaves it out.
        compile: whether torch.compile is timed too.
        batches: of training that each round takes a step on.
        size: posts of each of them.
        width: of the text encoder, and so of the model; a multiple of 12.
        layers: of the text encoder.
        vocabulary: of the text encoder.
        graphs: pictures whose graphs are built; the posts of Twitter-2015 are as many.
        corpora: the two numbers of posts at which the peak memory of each stage is compared.
        truncated: batches after which the epoch of their training ends.
    """

    threads: int = 2
    rounds: int = 5
    pictures: int = 32
    detected: int = 12
    memory: tuple[int, int] = (200, 2000)
    distinct: int = 20
    rows: int = 1000
    read: int = 8257
    loaded: int = 1600
    cold: int = 40
    few: int = 60
    backbone: str = "resnet152"
    min_size: int | None = 320
    compile: bool = True
    batches: int = 2
    size: int = 32
    width: int = 768
    layers: int = 12
    vocabulary: int = 30522
    graphs: int = 8257
    corpora: tuple[int, int] = (2000, 200_000)
    truncated: int = 20
