"""Where publishers put weights that no library fetches; read without importing any of torch."""

from pathlib import Path
from typing import Literal

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


# detectron2's model zoo: Mask R-CNN on COCO, region features of 1024 and of 2048.
_ZOO = "https://dl.fbaipublicfiles.com/detectron2/COCO-InstanceSegmentation"
MASK_RCNN = {
    "R_50_FPN_3x": f"{_ZOO}/mask_rcnn_R_50_FPN_3x/137849600/model_final_f10217.pkl",
    "R_101_C4_3x": f"{_ZOO}/mask_rcnn_R_101_C4_3x/138363239/model_final_a2914c.pkl",
}
COCO_V1 = "COCO_V1"  # torchvision's name of its own weights of mask_rcnn
_FORMS = {"faster_rcnn": ".pkl, .bin or .safetensors", "mask_rcnn": ".pkl"}


def absent(
    detector: Literal["faster_rcnn", "mask_rcnn"],
    weights: str,
    sha256: str | None,
    path: Path | None = None,
) -> str:
    """Return what to tell a user whose file of weights is not there.

    Args:
        detector: whose weights they are.
        weights: the path or name that is configured.
        sha256: the digest that is configured.
        path: where the file of that name was looked for; None: `weights` is a path.
    """
    published = FASTER_RCNN if detector == "faster_rcnn" else MASK_RCNN
    path = path or Path(weights)
    addresses = [url for url in published.values() if url.rsplit("/", 1)[1] == path.name]
    where = ", ".join(addresses or published.values())
    return (
        f"weights {weights!r} of {detector}: looked for {path.absolute()}, which is absent; its "
        f"publishers put it at {where}; expected sha256: {sha256 or 'none is configured'}. "
        f"Put a copy there, or set `object_features.detectors.{detector}.weights` to the path of "
        f"one ({_FORMS[detector]}), or to `random` for features without meaning"
    )
