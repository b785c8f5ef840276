"""Runs, one for each corpus, detector, variant and seed: their paths, inputs and settings."""

from itertools import product

RUN = "{corpus}/{detector}/{variant}/seed{seed}"  # no detector, where none changes the run


def runs(pattern, variants=config["variants"], detectors=DETECTORS):
    """The pattern of one run's file, for every run that the configuration asks for."""
    triples = product(CORPORA, detectors, variants, config["seeds"])
    paths = [
        pattern.format(
            corpus=corpus,
            detector=detector if "objects" in inputs_of(variant).files else NO_DETECTOR,
            variant=variant,
            seed=seed,
        )
        for corpus, detector, variant, seed in triples
    ]
    return list(dict.fromkeys(paths))


def features_of_images(corpus, variant):
    """The path, without its ending, of the features of whole pictures that a variant reads."""
    name = image_features_name(inputs_of(variant), config["backbone"], STORED)
    return f"results/features/{corpus}/images/{name}"


def pictures_of_run(wildcards):
    """The feature and graph files, the captions and the stored text, that a run reads."""
    return _pictures(wildcards.corpus, wildcards)


def pictures_of_transfer(wildcards):
    """The same of the corpus that a run is tested on, and was not trained on."""
    return _pictures(wildcards.tested, wildcards)


def _pictures(corpus, wildcards):
    inputs = inputs_of(wildcards.variant)
    files = {
        "images": f"{features_of_images(corpus, wildcards.variant)}.h5",
        "objects": f"results/features/{corpus}/objects/{wildcards.detector}.h5",
        "graphs": f"results/graphs/{corpus}/{wildcards.detector}.h5",
    }
    captions = config["corpora"][corpus]["captions"] if inputs.captions else None
    given = {name: files[name] for name in inputs.files}
    if captions:
        given["captions"] = captions
    if config["text"]["freeze"] and inputs.encoder:
        detector = wildcards.detector if inputs.names else NO_DETECTOR
        given["encoded"] = f"results/encoded/{corpus}/{detector}/{encoder_outputs_name(inputs)}.h5"
    return given


def texts_beside(wildcards):
    """What is put behind the posts of a corpus as text, before an encoder reads them."""
    objects = f"results/features/{wildcards.corpus}/objects/{wildcards.detector}.h5"
    texts = {"objects": objects} if "names" in wildcards.beside else {}
    captions = config["corpora"][wildcards.corpus]["captions"]
    if captions and "captions" in wildcards.beside:
        texts["captions"] = captions
    return texts


def settings_of_encoder():
    """The settings that the outputs of a frozen encoder depend on."""
    names = ["encoder", "max_subtokens", "long_posts"]
    if config["text"]["long_posts"] == "windows":
        names.append("window_overlap")
    return as_json(text={name: config["text"][name] for name in names})


def vectors_of_run(wildcards):
    """The file of word vectors that a run begins with, if it has any."""
    return config["text"]["word_vectors"] or [] if inputs_of(wildcards.variant).lexicon else []


def settings_of_run(wildcards):
    """The settings that one run depends on: without an own lexicon, not on word vectors.

    Nor on the encoder's being frozen, where there is none, or where it is not.

    How many devices share the work is said beside them: a finished run stays as it is.
    """
    text, model = dict(config["text"]), dict(config["model"])
    training = {key: value for key, value in config["training"].items() if key != "devices"}
    inputs = inputs_of(wildcards.variant)
    if not inputs.lexicon:
        del text["word_vectors"]
    if not (inputs.encoder and text["freeze"]):
        del text["freeze"]
    _, rounds = split_rounds(wildcards.variant)
    model["rounds"] = rounds or model["rounds"]
    return as_json(text=text, model=model, training=training)


def variant_to_train(wildcards):
    """The system behind a variant's name: `full` of `full-L2`, which differs in settings alone."""
    return split_rounds(wildcards.variant)[0]


def source_of_stage(stage):
    """A params function: a stage of learning with one variant's model, and no other system's."""

    def digest(wildcards):
        return source_digest(stage, get_system(wildcards.variant).module)

    return digest


def picture_arguments(wildcards, input):
    """The command line's part for these files."""
    given = ("images", "objects", "graphs", "captions", "encoded")
    return [word for name in given if name in input.keys() for word in (f"--{name}", input[name])]


def encoder_of_run(wildcards):
    """What stands for the text encoder among the inputs: nothing, if it comes from the hub."""
    if SCRATCH:
        return f"results/encoder/{wildcards.corpus}"
    name = config["text"]["encoder"]
    path = Path(name)  # a name of the hub has one slash at most
    is_folder = path.is_absolute() or len(path.parts) > 2 or name[0] == "." or path.is_dir()
    return f"{name}/config.json" if is_folder else []


def encoder_arguments(wildcards, input):
    """The command line's part for an encoder that the workflow made."""
    return ["--encoder", input.encoder] if SCRATCH else []


def drawn_corpora(wildcards):
    """The folders of drawn corpora, which say what their words alone can reach."""
    return [drawn_folder(name) for name in CORPORA if is_drawn(name)]


def objects_of_report(wildcards):
    """What every detector found, and how its boxes relate."""
    if not any("objects" in inputs_of(name).files for name in config["variants"]):
        return []
    objects = "results/features/{corpus}/objects/{detector}.h5"
    graphs = ["results/graphs/{corpus}/{detector}.h5"] if config["report"]["pictures"] else []
    return expand([objects, *graphs], corpus=CORPORA, detector=DETECTORS)


def failures_of_report(wildcards):
    """Failures of every extraction that a run of this configuration looks at."""
    stems = [
        features_of_images(corpus, variant)
        for corpus in CORPORA
        for variant in config["variants"]
        if "images" in inputs_of(variant).files
    ]
    if any("objects" in inputs_of(name).files for name in config["variants"]):
        objects = "results/features/{corpus}/objects/{detector}"
        stems += expand(objects, corpus=CORPORA, detector=DETECTORS)
    return [f"{stem}.failures.csv" for stem in dict.fromkeys(stems)]
