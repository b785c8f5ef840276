"""Features compared with those that a run was trained on, and object classes numbered as there."""

import logging

import numpy as np

from hamlearn.data.visual import VisualReader
from hamlearn.errors import HamlearnError
from hamlearn.networks import PRECOMPUTED
from hamlearn.runs import RunSetup, check_as_in_run

log = logging.getLogger(__name__)

DRAWN = "drawn"  # the format whose features are one-hot over the classes of their corpus


def align(reader: VisualReader, run: RunSetup) -> None:
    """Check that features are of the kind that a run was trained on, and number classes as it does.

    Extractor, weights, settings, widths and thresholds of relations must be those of the run
    (`VisionNetwork.check_same`). Classes are matched by name, whatever their order in the file.

    A detector has the classes of the run, all of them and no other. Precomputed objects without a
    file of class names have those that occur in their own corpus. An object of a class that the run
    never saw has no E^v[class_i], so in Eq. 3 its vector is v_i = L(f_i); its boxes and relations
    are read like those of any other, and its name by a system that reads names. The number of such
    objects is logged.

    Raises:
        HamlearnError: something differs; the message names the file and the key.
    """
    for kind, network in reader.networks.items():
        network.check_same(run.networks[kind], reader.paths[kind])
    if reader.graph is not None and run.graph is not None:
        found, expected = reader.graph.model_dump(), run.graph.model_dump()
        check_as_in_run(reader.paths["graphs"], "graph", found, expected)
    if "objects" in reader.networks and reader.classes != run.classes:
        _number_classes(reader, run)
    of_kind = dict.fromkeys(("image", "regions", "grid", "stages"), "images")
    of_kind |= dict.fromkeys(("object", "classes"), "objects")
    for name, kind in of_kind.items():
        found, expected = (getattr(one.sizes, name) for one in (reader, run))
        check_as_in_run(reader.paths.get(kind, "features"), name, found, expected)


def _number_classes(reader: VisualReader, run: RunSetup) -> None:
    path, network = reader.paths["objects"], run.networks["objects"]
    own, known = set(reader.classes), set(run.classes)
    is_open = network.name == PRECOMPUTED and network.settings.get("backend") != DRAWN
    has_common = bool(own & known) or not reader.inputs.objects  # or reads the names as words
    if len(own) < len(reader.classes) or not (own == known or (is_open and has_common)):
        others = [name for name in reader.classes if name not in known]
        found = f"{len(own & known)} of them and {len(others)} others"
        listed = f" ({', '.join(others)[:100]})" if others else ""
        raise HamlearnError(
            f"{path}: classes: found {found}{listed}, expected the {len(run.classes)} of the"
            " training, each once; make the file again with their names, or train again"
        )
    unseen = [number for number, name in enumerate(reader.classes) if name not in known]
    reader.number_classes(run.classes)
    if unseen:
        labels = reader.objects.rows("labels", range(len(reader.objects.ids)))
        is_object = (labels >= 0) & (labels < len(reader.objects.classes))
        log.warning(
            "%s: %d of %d objects are of one of %d classes that the training never saw (%s):"
            " they have no class embedding",
            path,
            np.isin(labels, unseen).sum(),
            is_object.sum(),
            len(unseen),
            ", ".join(reader.objects.classes[number] for number in unseen)[:100],
        )
