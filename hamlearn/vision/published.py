"""Where publishers put weights that no library fetches; read without importing any of torch."""

from pathlib import Path

# Hosts come and go: these are told to the user, and nothing is fetched from them unasked.
FASTER_RCNN = {
    "faster_rcnn_from_caffe_attr.pkl": (
        "http://nlp.cs.unc.edu/models/faster_rcnn_from_caffe_attr.pkl"
    ),
    "faster_rcnn_from_caffe.pkl": "http://nlp.cs.unc.edu/models/faster_rcnn_from_caffe.pkl",
    "pytorch_model.bin": (
        "https://huggingface.co/unc-nlp/frcnn-vg-finetuned/resolve/main/pytorch_model.bin"
    ),
}


def absent(weights: str, sha256: str | None) -> str:
    """Return what to tell a user whose file of the Visual Genome network is not there.

    Args:
        weights: the path that is configured.
        sha256: the digest that is configured.
    """
    path = Path(weights)
    addresses = FASTER_RCNN.get(path.name) or ", ".join(FASTER_RCNN.values())
    return (
        f"weights {weights!r} of faster_rcnn: looked for {path.absolute()}, which is absent; its "
        f"publishers put it at {addresses}; expected sha256: {sha256 or 'none is configured'}. "
        "Put a copy there, or set `object_features.detectors.faster_rcnn.weights` to the path of "
        "one (.pkl, .bin or .safetensors), or to `random` for features without meaning"
    )
