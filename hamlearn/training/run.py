"""Training of one variant with one seed, from prepared posts to the folder of a run."""

import logging
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import astuple
from pathlib import Path

import lightning.pytorch as pl
import torch

from hamlearn.corpus.labels import label_set
from hamlearn.corpus.posts import PostFile
from hamlearn.data.dataset import PostDataset
from hamlearn.data.encoded import require_weights
from hamlearn.data.lexicon import Lexicon
from hamlearn.data.sources import InputFiles, open_sources
from hamlearn.data.text_encoder import (
    class_vectors,
    has_weights,
    load_config,
    load_encoder,
    load_tokenizer,
)
from hamlearn.data.visual import VisualReader
from hamlearn.devices import free_devices
from hamlearn.inference.model_folder import write_model_folder
from hamlearn.io import canonical, digest_of_file, digest_of_text
from hamlearn.model.build import build_untrained, compile_layers
from hamlearn.model.spatial import resolve_graph_backend
from hamlearn.model.visual import VisualEmbedding
from hamlearn.runs import FeatureSizes, RunFacts, RunSetup, VisionNetwork
from hamlearn.settings import GraphSettings, Settings
from hamlearn.systems import check_can_freeze, inputs_of
from hamlearn.training.checkpoints import LastCheckpoint
from hamlearn.training.distributed import Process, other_processes
from hamlearn.training.loop import TrainingLoop, fit

log = logging.getLogger(__name__)


def train(
    posts: str | Path,
    encoder: str | Path,
    settings: Settings,
    variant: str,
    seed: int,
    out: str | Path,
    images: str | Path | None = None,
    objects: str | Path | None = None,
    graphs: str | Path | None = None,
    captions: str | Path | None = None,
    encoded: str | Path | None = None,
    threads: int | None = None,
) -> RunFacts | None:
    """Train on the split `train`, choose the epoch on `dev`, and write the folder of the run.

    The splits `train` and `dev` are all that is looked at, but for one thing: where word vectors
    are read from a file, those of the words of every split are kept. A run that was killed goes on
    after its last whole epoch, from `checkpoints/` beside the folder, if nothing that it depends on
    has changed since; on the same machine it ends with the same weights as an unbroken one.

    With `training.devices` above 1 this process starts others, one per further device, and each
    takes its share of every batch.

    Args:
        posts: prepared posts.
        encoder: hub name or folder of the text encoder.
        settings: the sections `text`, `model` and `training` are used.
        variant: one of SYSTEMS.
        seed: of the initial weights, the order of posts, and dropout.
        out: the folder of the run, written whole or not at all.
        images: features of the pictures; None for a variant that reads none.
        objects: features of the objects; None for a variant that reads none.
        graphs: relations of the objects; None for a variant that reads none.
        captions: file of captions, for a variant that reads them, if there is one.
        encoded: outputs of the encoder where `text.freeze` is set; None asks the encoder itself.
        threads: of torch on the CPU, of all processes together; None: as many as torch has here.

    Returns:
        What run.json holds.

    Raises:
        HamlearnError: an input is absent or unfit, or the loss is not a number any more.
    """
    threads = threads or torch.get_num_threads()
    files = (images, objects, graphs, captions, encoded)
    with free_devices(settings.training.devices) as devices:
        process = Process(tuple(devices))
        return _train(process, posts, encoder, settings, variant, seed, Path(out), *files, threads)


def _train(
    process: Process,
    posts: str | Path,
    encoder: str | Path,
    settings: Settings,
    variant: str,
    seed: int,
    out: Path,
    images: str | Path | None,
    objects: str | Path | None,
    graphs: str | Path | None,
    captions: str | Path | None,
    encoded: str | Path | None,
    threads: int,
) -> RunFacts | None:
    """Take part in a training as one of its processes."""
    freeze = settings.text.freeze and inputs_of(variant).encoder
    if freeze:
        check_can_freeze(variant)
        require_weights(encoder)
    torch.set_num_threads(max(1, threads // process.count))
    with ExitStack() as stack:
        by_split = {
            split: stack.enter_context(PostFile(posts, split)) for split in ("train", "dev")
        }
        labels = label_set(of_split.labels for of_split in by_split.values())
        tokenizer = load_tokenizer(encoder)
        reads_lexicon = inputs_of(variant).lexicon
        vectors = settings.text.word_vectors
        lexicon = Lexicon.from_posts(posts, vectors) if reads_lexicon else None
        files = InputFiles(images, objects, graphs, captions, encoded)
        sources = stack.enter_context(
            open_sources(variant, files, tokenizer, settings.text, lexicon)
        )
        pictures = sources.visual if isinstance(sources.visual, VisualReader) else None
        repair = settings.training.repair_labels
        data = {
            split: PostDataset(of_split, tokenizer, settings.text, labels, sources, repair)
            for split, of_split in by_split.items()
        }
        setup = _setup(
            settings, variant, seed, labels, pictures, data, process.device.type, lexicon
        )
        pl.seed_everything(seed, verbose=False)
        model = load_encoder(encoder) if inputs_of(variant).encoder else None
        if sources.encoded is not None and model is not None:
            sources.encoded.check(model)
        tagger = build_untrained(model, setup).train()  # Lightning keeps modes
        if lexicon is not None:
            lexicon.initialise(tagger)
        visual = getattr(tagger, "visual", None)
        starts_from_words = settings.model.class_embedding == "words"
        if starts_from_words and isinstance(visual, VisualEmbedding) and pictures and model:
            visual.start_classes(class_vectors(model, tokenizer, pictures.classes))
        parameters = sum(parameter.numel() for parameter in tagger.parameters())
        if settings.training.compile:
            compile_layers(tagger)
        loop = TrainingLoop(
            tagger, data["train"], data["dev"], labels, settings.training, seed, process
        )
        checkpoint = LastCheckpoint(out)
        if process.rank == 0:
            read = [*astuple(files.read_by(variant))]
            read += [vectors] if reads_lexicon else []
            checkpoint.fingerprint = _fingerprint(setup, by_split, encoder, filter(None, read))
            checkpoint.remove_unusable()
            if model is not None and Path(encoder).is_dir() and not has_weights(encoder):
                log.info("%s holds no weights: the text encoder starts untrained", encoder)
            _announce(setup, parameters)
        arguments = (posts, encoder, settings, variant, seed, out, *astuple(files), threads)
        with other_processes(process, _train, *arguments):
            fit(loop, checkpoint, setup.precision)
        if process.rank > 0:
            return None
        loop.model.load_state_dict(loop.best_weights)
        chosen = loop.history[loop.best_epoch - 1]
        seconds = [row["seconds"] for row in loop.history]
        facts = RunFacts(
            **dict(setup),
            parameters=parameters,
            epoch=loop.best_epoch,
            dev_f1={"lenient": chosen["dev_f1_lenient"], "strict": chosen["dev_f1_strict"]},
            seconds=round(sum(seconds), 2),
            seconds_per_epoch=round(sum(seconds) / len(seconds), 2),
        )
        config = load_config(encoder) if model is None else model.config
        write_model_folder(out, loop.model.cpu(), tokenizer, facts, loop.history, config, lexicon)
        checkpoint.remove()
    log.info(
        "epoch %d of %d chosen: dev F1 %.2f lenient; %.1f s an epoch; written to %s",
        loop.best_epoch,
        settings.training.epochs,
        100 * facts.dev_f1["lenient"],
        facts.seconds_per_epoch,
        out,
    )
    return facts


def resolve_precision(wanted: str, device: str) -> str:
    """Return Lightning's name of a precision; `auto` is bf16-mixed on a GPU that has it."""
    if wanted != "auto":
        return wanted
    return "bf16-mixed" if device == "cuda" and torch.cuda.is_bf16_supported() else "32-true"


def _setup(
    settings: Settings,
    variant: str,
    seed: int,
    labels: list[str],
    pictures: VisualReader | None,
    data: dict[str, PostDataset],
    device: str,
    lexicon: Lexicon | None,
) -> RunSetup:
    """Return what is known of a run before it begins."""
    sizes = FeatureSizes() if pictures is None else pictures.sizes
    if lexicon is not None:
        sizes = sizes.model_copy(update={**lexicon.sizes, "word": lexicon.width})
    backend = graph = None
    if inputs_of(variant).graphs and pictures is not None:
        backend = resolve_graph_backend(settings.model.graph_backend, device)
        thresholds = pictures.graph_attributes.get("settings", "{}")
        graph = GraphSettings.model_validate_json(thresholds)
    sources = {} if pictures is None else pictures.provenance
    return RunSetup(
        system=variant,
        seed=seed,
        labels=labels,
        sizes=sizes,
        text=settings.text,
        model=settings.model,
        training=settings.training,
        precision=resolve_precision(settings.training.precision, device),
        device=device,  # its kind: a run may continue on another GPU
        graph_backend=backend,
        splits={split: posts.counts for split, posts in data.items()},
        word_vectors=None if lexicon is None else lexicon.source,
        networks={kind: VisionNetwork.from_attributes(made) for kind, made in sources.items()},
        classes=[] if pictures is None else pictures.classes,
        graph=graph,
    )


def _announce(setup: RunSetup, parameters: int) -> None:
    count = setup.training.devices
    log.info(
        "%s, seed %d: %d parameters, %d labels, %s on %s",
        setup.system,
        setup.seed,
        parameters,
        len(setup.labels),
        setup.precision,
        setup.device if count == 1 else f"{setup.device} x {count}",
    )
    for split, counts in setup.splits.items():
        if counts.missing_images is not None:
            missing = counts.missing_images
            log.info("%s: %d posts, %d of them without a picture", split, counts.posts, missing)
    if all(counts.missing_images == counts.posts for counts in setup.splits.values()):
        log.warning("no post has a picture: text_only gives as much at less cost")
    if setup.word_vectors is not None:
        log.info("word vectors: %s", setup.word_vectors)
    for kind, network in setup.networks.items():
        if network.random:
            log.warning("%s: random weights: visual scores carry no meaning", kind)


def _fingerprint(
    setup: RunSetup,
    posts: dict[str, PostFile],
    encoder: str | Path,
    files: Iterable[str | Path],
) -> str:
    """Return a digest of all that the weights of a run depend on, but for the code."""
    folder = Path(encoder)
    if folder.is_dir():
        files = [*files, *sorted(path for path in folder.iterdir() if path.is_file())]
    counted = {"hamlearn", "sizes", "splits", "word_vectors", "networks", "classes", "graph"}
    return digest_of_text(
        canonical(
            {
                "setup": setup.model_dump(mode="json", exclude=counted),
                "posts": {split: of_split.digest for split, of_split in posts.items()},
                "encoder": str(encoder),
                "files": [digest_of_file(path) for path in files],
            }
        )
    )
