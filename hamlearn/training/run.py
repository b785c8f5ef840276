"""Train one system with one seed: from prepared posts to a model folder."""

import logging
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import lightning.pytorch as pl
import torch

from hamlearn.corpus.labels import label_set
from hamlearn.corpus.posts import PostFile
from hamlearn.data.controls import controlled
from hamlearn.data.dataset import PostDataset
from hamlearn.data.lexicon import Lexicon
from hamlearn.data.sources import InputFiles, open_sources
from hamlearn.data.text_encoder import (
    checkpoint_activations,
    class_vectors,
    load_config,
    load_encoder,
    require_pretrained,
)
from hamlearn.data.tokenizer import load_tokenizer
from hamlearn.devices import free_devices, machine_name, multiplies_bf16
from hamlearn.distribution import checkout_commit
from hamlearn.encoder_files import has_weights, local_encoder
from hamlearn.errors import HamlearnError
from hamlearn.inference.model_folder import FACTS, write_model_folder
from hamlearn.io import canonical, digest_of_file, digest_of_text
from hamlearn.loggers import open_loggers, require_loggers
from hamlearn.model.build import build_untrained, check_network, compile_layers
from hamlearn.model.queries import TypeQueries
from hamlearn.model.spatial import resolve_graph_backend
from hamlearn.model.visual import VisualEmbedding
from hamlearn.outputs import MODEL, check_folder
from hamlearn.runs import FeatureSizes, RunFacts, RunSetup, own_system, read_run_facts
from hamlearn.settings import Settings
from hamlearn.systems import check_can_freeze
from hamlearn.training.checkpoints import LastCheckpoint
from hamlearn.training.distributed import Process, other_processes
from hamlearn.training.loop import TrainingLoop, fit

# Width from which layers are faster in bfloat16 on a CPU. Measured with AVX512-BF16, one thread, in
# bfloat16 and float32: 16 posts of MPNet (768), forward and backward, 0.88 and 2.93 s; an epoch of
# the demo (96) 9.4 and 8.4 s.
MIN_BF16_WIDTH = 256
log = logging.getLogger(__name__)


def train(
    posts: str | Path,
    encoder: str | Path,
    settings: Settings,
    system: str,
    seed: int,
    out: str | Path,
    files: InputFiles | None = None,
    threads: int | None = None,
    logs: str | Path | None = None,
) -> RunFacts:
    """Train on the split `train`, choose the epoch on `dev`, and write the model folder.

    No other split is read, but for the words that start from a file of word vectors: those of the
    whole corpus. A killed run resumes after its last whole epoch, from `checkpoints/` next to the
    folder, if nothing that it depends on has changed; on the same machine it ends with the weights
    of an uninterrupted run.

    With `training.devices` above 1, further processes take their share of every batch. `threads`
    are those of torch on the CPU, of all processes together. `training.loggers` write to the folder
    `logs`, by default one in `logs/` next to the folder of the run.

    Raises:
        HamlearnError: an input is absent or invalid, the package of a logger is not installed,
            `out` must not be replaced, or the loss is not finite.
    """
    out, encoder = Path(out), local_encoder(encoder, settings.text.revision)
    check_folder(out, MODEL)
    require_loggers(settings.training.loggers)
    logs = out.parent / "logs" / out.name if logs is None else Path(logs)
    if settings.training.loggers and logs.resolve().is_relative_to(out.resolve()):
        raise HamlearnError(f"logs: found {logs}, which is in {out}; expected a folder elsewhere")
    files, threads = files or InputFiles(), threads or torch.get_num_threads()
    with free_devices(settings.training.devices) as devices:
        process = Process(tuple(devices))
        width = load_config(encoder).hidden_size if settings.system(system).inputs.encoder else 0
        # Decided once, so that all processes of a training agree.
        precision = resolve_precision(settings.training.precision, process.device.type, width)
        arguments = (posts, encoder, settings, system, seed, out, files, threads, logs, precision)
        _train(process, *arguments)
    return read_run_facts(out / FACTS)


def _train(
    process: Process,
    posts: str | Path,
    encoder: str | Path,
    settings: Settings,
    system: str,
    seed: int,
    out: Path,
    files: InputFiles,
    threads: int,
    logs: Path,
    precision: str,
) -> None:
    """Take part in a training; the first process starts the others and writes the folder."""
    arguments = (posts, encoder, settings, system, seed, out, files, threads, logs, precision)
    torch.set_num_threads(max(1, threads // process.count))
    built = settings.system(system)
    inputs = built.inputs
    if settings.text.freeze and inputs.encoder:
        check_can_freeze(system, inputs)
        require_pretrained(encoder)
    digests = _digests_of(system, settings, encoder, files) if process.is_first else []
    with ExitStack() as stack:
        splits = {name: stack.enter_context(PostFile(posts, name)) for name in ("train", "dev")}
        labels = label_set(split.labels for split in splits.values())
        tokenizer = load_tokenizer(encoder)
        vectors = settings.text.word_vectors
        lexicon = Lexicon.from_posts(posts, vectors) if inputs.lexicon else None
        sources = stack.enter_context(
            open_sources(inputs, files, tokenizer, settings.text, lexicon, [*splits.values()])
        )
        control = settings.training.control
        sources = controlled(sources, control, [*splits.values()], seed)
        repair = settings.training.repair_labels
        data = {
            name: PostDataset(split, tokenizer, settings.text, labels, sources, repair)
            for name, split in splits.items()
        }

        visual = sources.visual
        sizes = FeatureSizes() if visual is None else visual.sizes
        if lexicon is not None:
            sizes = sizes.model_copy(update={**lexicon.sizes, "word": lexicon.width})
        device = process.device.type  # a run may resume on another GPU of that kind
        backend = settings.model.graph_backend
        setup = RunSetup(
            system=system,
            own=own_system(settings, system),
            seed=seed,
            labels=labels,
            sizes=sizes,
            text=settings.text,
            model=settings.model,
            training=settings.training,
            precision=precision,
            device=device,
            graph_backend=resolve_graph_backend(backend, device) if inputs.graphs else None,
            splits={name: posts.counts for name, posts in data.items()},
            word_vectors=None if lexicon is None else lexicon.source,
            networks={} if visual is None else visual.networks,
            classes=[] if visual is None else visual.classes,
            graph=None if visual is None else visual.graph,
        )
        pl.seed_everything(seed, verbose=False)
        text_encoder = load_encoder(encoder) if inputs.encoder else None
        if text_encoder is not None and settings.training.gradient_checkpointing:
            checkpoint_activations(text_encoder)
        if text_encoder is not None and sources.encoded is not None:
            sources.encoded.check(text_encoder)
        model = build_untrained(text_encoder, setup, [built.build])
        if built.is_own:
            first = range(min(2, len(data["train"])))
            with torch.random.fork_rng(devices=[]):
                check_network(model, data["train"].batch(first), setup)
        model.train()
        if lexicon is not None:
            lexicon.initialise(model)
        visual, class_embedding = getattr(model, "visual", None), settings.model.class_embedding
        if text_encoder and isinstance(visual, VisualEmbedding) and class_embedding == "words":
            visual.start_classes(class_vectors(text_encoder, tokenizer, setup.classes))
        if isinstance(queries := getattr(model, "queries", None), TypeQueries):
            queries.start(tokenizer, settings.text.max_subtokens)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        if settings.training.compile:
            compile_layers(model)

        checkpoint = LastCheckpoint(out)
        if process.is_first:
            checkpoint.fingerprint = _fingerprint(setup, splits, encoder, digests)
            checkpoint.remove_unusable()
            if inputs.encoder and Path(encoder).is_dir() and not has_weights(encoder):
                log.info("%s: no weights: the text encoder is trained from scratch", encoder)
            _log_setup(setup, parameters)
        loop = TrainingLoop(model, data["train"], data["dev"], setup, process)
        with other_processes(process, _train, *arguments):
            described = {"system", "seed", "precision", "device", "text", "model", "training"}
            values = setup.model_dump(mode="json", include=described)
            names = settings.training.loggers if process.is_first else []
            with open_loggers(names, logs, out.as_posix(), values) as loggers:
                fit(loop, checkpoint, loggers)
        if not process.is_first:
            return

        model.load_state_dict(loop.best_weights)
        chosen = loop.history[loop.best_epoch - 1]
        seconds = [row["seconds"] for row in loop.history]
        facts = RunFacts(
            **dict(setup),
            parameters=parameters,
            epoch=loop.best_epoch,
            stopped_after=loop.stopped_after,
            dev_f1={"lenient": chosen["dev_f1_lenient"], "strict": chosen["dev_f1_strict"]},
            seconds=round(sum(seconds), 2),
            seconds_per_epoch=round(sum(seconds) / len(seconds), 2),
            ended=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=machine_name(setup.device),
            commit=checkout_commit(),
        )
        config = load_config(encoder) if text_encoder is None else text_encoder.config
        write_model_folder(out, model.cpu(), tokenizer, facts, loop.history, config, lexicon)
        checkpoint.remove()
    log.info(
        "epoch %d of %d chosen: dev F1 %.2f lenient; %.1f s per epoch; written to %s",
        facts.epoch,
        len(loop.history),
        100 * facts.dev_f1["lenient"],
        facts.seconds_per_epoch,
        out,
    )


def resolve_precision(wanted: str, device: str, width: int) -> str:
    """Return Lightning's name of a precision; `auto` is bf16-mixed where that is faster.

    That is on a GPU that supports it, and on a CPU that multiplies bfloat16 for layers of at least
    `MIN_BF16_WIDTH`; narrower ones lose in conversions what their products gain.

    Args:
        wanted: `training.precision`.
        device: `cpu` or `cuda`.
        width: D of the text encoder; 0 for a system without one.
    """
    if wanted != "auto":
        return wanted
    if device == "cuda":
        faster = torch.cuda.is_bf16_supported()
    else:
        faster = width >= MIN_BF16_WIDTH and multiplies_bf16()
    return "bf16-mixed" if faster else "32-true"


def _log_setup(setup: RunSetup, parameters: int) -> None:
    count = setup.training.devices
    log.info(
        "training %s, seed %d, on %s in %s: %d parameters, %d labels",
        setup.system,
        setup.seed,
        setup.device if count == 1 else f"{setup.device} x {count}",
        setup.precision,
        parameters,
        len(setup.labels),
    )
    for name, split in setup.splits.items():
        missing = split.missing_images
        texts = [f", {count} with {kind}" for kind, count in split.texts.items()]
        log.info(
            "%s: %d posts%s%s",
            name,
            split.posts,
            "" if missing is None else f", {missing} of them without a picture",
            "".join(texts),
        )
    if all(split.missing_images == split.posts for split in setup.splits.values()):
        log.warning("no post has a picture: text_only is as good and takes less time")
    if setup.word_vectors is not None:
        log.info("word vectors: %s", setup.word_vectors)
    for kind, network in setup.networks.items():
        if network.random:
            log.warning("%s: random weights: visual scores carry no meaning", kind)


def _digests_of(
    system: str, settings: Settings, encoder: str | Path, files: InputFiles
) -> list[str]:
    """Return the digests of the files that a run reads besides its posts.

    They are taken before the files are opened: a file that is replaced in between then makes the
    checkpoint one of other inputs.
    """
    read = files.read_by(settings.system(system).inputs).paths
    if settings.system(system).inputs.lexicon and settings.text.word_vectors is not None:
        read.append(settings.text.word_vectors)
    if Path(encoder).is_dir():
        read += sorted(path for path in Path(encoder).iterdir() if path.is_file())
    return [digest_of_file(path) for path in read if Path(path).is_file()]  # else opening fails


def _fingerprint(
    setup: RunSetup, splits: dict[str, PostFile], encoder: str | Path, digests: list[str]
) -> str:
    """Return a digest of everything that the weights of a run depend on, except the code."""
    derived = {"hamlearn", "sizes", "splits", "word_vectors", "networks", "classes", "graph"}
    fixed = setup.model_dump(mode="json", exclude=derived) | {"encoder": str(encoder)}
    del fixed["training"]["loggers"]
    return digest_of_text(canonical([fixed, *(split.digest for split in splits.values()), digests]))
