"""Regional semantics: parts of a picture, and the words that a frozen classifier or detector has for them.

Two sources, one type. `grid_regions` needs no detector: windows of several sizes over the grid of a frozen ImageNet
classifier, each window named by the classifier's own last layer. `lib.vision.bottom_up` reads regions that a detector
has found elsewhere. A3VSE (Huang et al. 2019) uses such words of pictures that nobody described; what it does with
them inside could not be read from a source, so this room is a reconstruction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

AT_ONCE = 256  # pictures whose grid is in memory at a time


@dataclass(frozen=True)
class Regions:
    """R regions of each of N pictures, and K guesses what each one shows.

    Args:
        features: (N, R, D), half precision and memory-mapped arrays included.
        boxes: (R, 4) where all pictures are cut alike, or (N, R, 4): left, top, right, bottom as shares of the picture
            as the encoder saw it.
        classes: (N, R, K) rows of `names`, the most confident first.
        confidence: (N, R, K) fractions.
        names: of the classes.
        attributes: (N, R) rows of `attribute_names`, what a detector says of each region's first class; or None.
        attribute_names: of the attributes.
        attribute_confidence: (N, R) fractions, with `attributes`.

    Raises:
        ValueError: the parts do not fit together; the message names the part.
    """

    features: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    confidence: np.ndarray
    names: Sequence[str]
    attributes: np.ndarray | None = None
    attribute_names: Sequence[str] = ()
    attribute_confidence: np.ndarray | None = None

    def __post_init__(self):
        wanted = self.features.shape[:2]
        for part in ("classes", "confidence", "attributes", "attribute_confidence"):
            value = getattr(self, part)
            if value is not None and value.shape[:2] != wanted:
                raise ValueError(f"{part} is {value.shape}, the features are of (pictures, regions) {wanted}")
        if self.boxes.shape not in ((wanted[1], 4), (*wanted, 4)):
            raise ValueError(f"boxes are {self.boxes.shape}, not (regions, 4) or (pictures, regions, 4) for {wanted}")
        if self.classes.shape != self.confidence.shape:
            raise ValueError(f"classes are {self.classes.shape}, confidence is {self.confidence.shape}")
        for part, names in (("classes", self.names), ("attributes", self.attribute_names)):
            value = getattr(self, part)
            if value is not None and value.size and not 0 <= value.min() <= value.max() < len(names):
                raise ValueError(f"{part} run from {value.min()} to {value.max()}, but there are {len(names)} names")

    def __len__(self) -> int:
        return len(self.features)

    def take(self, rows: Sequence[int]) -> "Regions":
        """The regions of these pictures, in this order; the features are copied into memory."""
        parts = ("features", "classes", "confidence", "attributes", "attribute_confidence")
        chosen = {part: getattr(self, part)[rows] for part in parts if getattr(self, part) is not None}
        return replace(self, **chosen, boxes=self.boxes if self.boxes.ndim == 2 else self.boxes[rows])

    def label_matrix(self) -> np.ndarray:
        """(N, classes) float32: the confidence of each class, averaged over the regions of a picture."""
        n, regions, guesses = self.classes.shape
        matrix = np.zeros((n, len(self.names)), dtype=np.float32)
        rows = np.repeat(np.arange(n), regions * guesses)
        np.add.at(matrix, (rows, self.classes.reshape(-1)), self.confidence.reshape(-1).astype(np.float32))
        return matrix / regions

    def labels(self, row: int, top: int = 3) -> list[tuple[str, float]]:
        """The `top` different names of picture `row` with their highest confidence in a region, highest first.

        A detector's attribute stands before its class ("red frisbee").
        """
        found: dict[str, float] = {}
        guesses = zip(self.classes[row].reshape(-1), self.confidence[row].reshape(-1), strict=True)
        for place, (label, confidence) in enumerate(guesses):
            region, guess = divmod(place, self.classes.shape[2])
            name = self.names[label]
            if self.attributes is not None and guess == 0:
                name = f"{self.attribute_names[self.attributes[row, region]]} {name}"
            found[name] = max(found.get(name, 0.0), float(confidence))
        return sorted(found.items(), key=lambda item: (-item[1], item[0]))[:top]

    def sequences(self, top: int = 3) -> tuple[list[str], np.ndarray]:
        """Label sequence "golden retriever, fence" of each picture, and the mean confidence of its names (N,)."""
        labels = [self.labels(row, top) for row in range(len(self))]
        texts = [", ".join(name for name, _ in of_picture) for of_picture in labels]
        confidence = [np.mean([value for _, value in of_picture]) for of_picture in labels]
        return texts, np.array(confidence, dtype=np.float32)


def windows(side: int = 7, sizes: Iterable[int] = (7, 4, 3), steps: Iterable[int] = (1, 3, 2)) -> np.ndarray:
    """(R, 4) windows of a (side, side) grid as left, top, right, bottom in cells.

    `sizes` and `steps` (cells from one window to the next) go together; the default gives the whole, four overlapping
    quarters and nine overlapping ninths. Size 1 and step 1 are the cells themselves, row by row.
    Raises ValueError for a size larger than the grid.
    """
    found = []
    for size, step in zip(sizes, steps, strict=True):
        if not 1 <= size <= side:
            raise ValueError(f"a window of {size} cells does not fit into a grid of {side} x {side}")
        starts = range(0, side - size + 1, step)
        found += [(left, top, left + size, top + size) for top in starts for left in starts]
    return np.array(found)


def image_classifier(encoder: str = "efficientnet_lite0") -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The last layer of a frozen ImageNet classifier: weight (C, D), bias (C,), and the C class names.

    Raises ValueError for an encoder without a linear last layer, or with other classes than ImageNet's 1,000.
    """
    from lib.vision.backbones import backbone, imagenet_classes

    model, names = backbone(encoder).model, imagenet_classes()
    layer: Any = model.get_classifier() if hasattr(model, "get_classifier") else getattr(model, "fc", None)
    if getattr(layer, "out_features", None) != len(names):
        raise ValueError(f"{encoder!r} does not end in a linear layer over the {len(names)} classes of ImageNet")
    return layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy(), names


def grid_regions(
    grid: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    names: Sequence[str],
    boxes: np.ndarray | None = None,
    guesses: int = 5,
) -> Regions:
    """Windows over grid features (N, P, D), pooled by their mean and named by the classifier's last layer.

    The network averages its P = side * side positions and applies this layer to the average, so it may be applied to
    the average of a part as well; for the window of all cells it gives the network's own answer. Features are kept
    in float16; pictures come in blocks, so that a memory-mapped grid is never in memory as a whole.

    Args:
        grid: of `extract_features(..., kind="grid")`, row by row.
        weight, bias, names: of `image_classifier`.
        boxes: (R, 4) windows in cells; None for those of `windows`.
        guesses: most probable classes that are kept of each window.

    Raises:
        ValueError: the grid is not square.
    """
    side = round(grid.shape[1] ** 0.5)
    if side * side != grid.shape[1]:
        raise ValueError(f"a grid of {grid.shape[1]} positions is not square")
    boxes = windows(side) if boxes is None else np.asarray(boxes)
    pool = np.zeros((len(boxes), side, side), dtype=np.float32)
    for row, (left, top, right, bottom) in zip(pool, boxes, strict=True):
        row[top:bottom, left:right] = 1 / ((right - left) * (bottom - top))
    pool = pool.reshape(len(boxes), -1)
    shape = (len(grid), len(boxes))
    features = np.empty((*shape, grid.shape[2]), dtype=np.float16)
    classes = np.empty((*shape, guesses), dtype=np.int32)
    confidence = np.empty((*shape, guesses), dtype=np.float32)
    for start in range(0, len(grid), AT_ONCE):
        block = slice(start, start + AT_ONCE)
        pooled = pool @ np.asarray(grid[block], dtype=np.float32)
        features[block] = pooled
        probability = softmax(pooled @ weight.T + bias)
        best = np.argpartition(-probability, guesses - 1, axis=-1)[..., :guesses]
        order = np.argsort(-np.take_along_axis(probability, best, -1), axis=-1, kind="stable")
        classes[block] = np.take_along_axis(best, order, -1)
        confidence[block] = np.take_along_axis(probability, classes[block], -1)
    return Regions(features, boxes / side, classes, confidence, names)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def label_vectors(label_matrix: np.ndarray, name_vectors: np.ndarray) -> np.ndarray:
    """(N, E) unit vectors of what the labels of pictures say: names weighted by confidence.

    `name_vectors` (classes, E) are the frozen vectors of the class names. Their mean is taken away first: means of
    many words all point the same way. A picture without a label gets zeros.
    """
    mean = label_matrix @ (name_vectors - name_vectors.mean(0))
    length = np.linalg.norm(mean, axis=1, keepdims=True)
    return (mean / np.where(length > 0, length, 1)).astype(np.float32)
