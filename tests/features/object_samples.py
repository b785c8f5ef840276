"""Objects as people keep them, written with numpy and base64 alone."""

import base64
from pathlib import Path

import numpy as np

SIZE = (200, 100)
NAMES = np.array(["dog", "tree", "big dog"])


def made_up(seed: int = 0, count: int = 3, width: int = 4) -> dict[str, np.ndarray]:
    """Return objects of an image of 200x100 in our own layout, in no order of score."""
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.integers(0, 51, (count, 2, 2)), axis=1) * np.array([4, 2])
    corners[:, 1] += 1
    return {
        "boxes": np.minimum(corners.reshape(count, 4), [*SIZE, *SIZE]).astype(np.float32),
        "features": rng.normal(size=(count, width)).astype(np.float32),
        "scores": rng.permutation(count).astype(np.float32) / 10,
        "names": NAMES[rng.integers(0, 3, count)],
        "width": np.int64(SIZE[0]),
        "height": np.int64(SIZE[1]),
    }


VINVL = {
    "boxes": "bounding_boxes",
    "features": "box_features",
    "scores": "scores",
    "names": "objects",
    "width": "image_w",
    "height": "image_h",
}


def write_vinvl(path: Path, objects: dict[str, np.ndarray]) -> None:
    values = {VINVL[name]: value for name, value in objects.items()}
    np.savez(path, num_boxes=len(objects["boxes"]), scores_all=np.zeros((3, 9)), **values)


def coded(values: np.ndarray, kind: type = np.float32) -> str:
    return base64.b64encode(np.asarray(values, kind).tobytes()).decode()


def tsv_line(image: str, objects: dict[str, np.ndarray], columns: int = 6) -> str:
    """Return a line of bottom-up attention (6 columns) or of LXMERT (10)."""
    count = len(objects["boxes"])
    arrays = [str(count), coded(objects["boxes"]), coded(objects["features"])]
    if columns == 6:
        return "\t".join([image, "200", "100", *arrays]) + "\r\n"
    classes = [coded(objects["labels"], np.int64), coded(objects["scores"])]
    attributes = [coded(np.zeros(count), np.int64), coded(np.zeros(count))]
    return "\t".join([image, "100", "200", *classes, *attributes, *arrays]) + "\n"
