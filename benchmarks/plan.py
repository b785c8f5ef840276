"""The sizes of the benchmarks, which determine how long they take."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """Sizes of one run.

    Attributes:
        threads: PyTorch threads on the CPU.
        rounds: timed repetitions of each function.
        compile: also time torch.compile.
        backbone: name of the timed backbone.
        clip_layers: layers of the vision network of CLIP ViT-B/32, which has 12.
        detr_layers: layers of the encoder and the decoder of a DETR with a ResNet-50, which has 6.
        detr_side: short side in pixels of the images that it sees; published ones have 800.
        detr_images: images that it reads per round.
        images: images that the backbone reads per round; a multiple of the batch size.
        detector_images: images that a detector reads per round.
        min_size: short side in pixels of images given to mask_rcnn; None skips mask_rcnn.
        predicted_posts: posts, each with an image, that are predicted per round.
        peak_images: the two numbers of images at which the peak memory of extraction is compared.
        image_files: different files behind these images.
        stored_posts: rows of the feature files whose size is measured.
        read_posts: rows of the feature files that are read; Twitter-2015 has as many posts.
        cold_batches: batches that are read from disk.
        start_posts: posts of the corpus on which the start of each stage is measured.
        batches: training batches per round.
        batch_size: posts per batch.
        width: width of the text encoder, and so of the model; a multiple of 12.
        layers: layers of the text encoder.
        vocabulary: vocabulary size of the text encoder.
        loader_posts: posts in the epoch that is loaded without training on it.
        graph_images: images whose graphs are built; Twitter-2015 has as many posts.
        peak_posts: the two numbers of posts at which the peak memory of each stage is compared.
        peak_batches: batches after which training stops when its peak memory is measured.
    """

    threads: int = 2
    rounds: int = 5
    compile: bool = True
    backbone: str = "resnet152"
    clip_layers: int = 12
    detr_layers: int = 6
    detr_side: int = 800
    detr_images: int = 2
    images: int = 32
    detector_images: int = 12
    min_size: int | None = 320
    predicted_posts: int = 100
    peak_images: tuple[int, int] = (200, 2000)
    image_files: int = 20
    stored_posts: int = 1000
    read_posts: int = 8257
    cold_batches: int = 40
    start_posts: int = 60
    batches: int = 2
    batch_size: int = 32
    width: int = 768
    layers: int = 12
    vocabulary: int = 30522
    loader_posts: int = 1600
    graph_images: int = 8257
    peak_posts: tuple[int, int] = (2000, 50_000)
    peak_batches: int = 20
