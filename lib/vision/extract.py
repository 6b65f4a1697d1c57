"""Run a frozen encoder over pictures: ONNX Runtime on a CPU, PyTorch in bfloat16 on a GPU, each picture only once."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL.Image import Image

from lib.base.feature_store import FeatureStore
from lib.base.files import atomic_path, cache_dir, file_sha256, verified, write_text
from lib.data.images import DamagedImages, Images, as_images

KINDS = ("global", "grid", "logits")
# A grid row is 49 times as long as a global one; half precision keeps 3 digits, enough for a frozen feature.
STORED_AS = {"global": np.float32, "grid": np.float16, "logits": np.float32}
AT_ONCE = 4  # pictures that one CPU thread encodes together
AHEAD = 2  # batches that are decoded while one is encoded

Engine = Callable[[np.ndarray], np.ndarray]  # pixels (B, S, S, 3) uint8 -> features (B, ...)


def extract_features(
    images: Images | Sequence[Image],
    encoder: str = "efficientnet_lite0",
    kind: str = "global",
    device: str = "auto",
    batch_size: int = 32,
    cache: bool = True,
    progress: bool = True,
    engine: str = "auto",
    threads: int | None = None,
    damaged: str = "raise",
) -> np.ndarray:
    """Features of each picture from a frozen encoder, in the order of `images`, read-only.

    Args:
        images: `corpus.images` or any sequence of PIL images.
        encoder: see `lib.vision.backbones.encoder_spec`.
        kind: what EfficientNet-Lite0 gives for N pictures is for "global" (N, 1280) float32 (average over positions),
            for "grid" (N, 49, 1280) float16 (7 x 7 positions, row by row), for "logits" (N, 1000) float32 (ImageNet
            classes).
        device: "auto", "cpu", "cuda" or "cuda:1".
        batch_size: pictures encoded at a time.
        cache: read pictures seen before from data/cache/features, and resume an interrupted extraction; the key is the
            picture's content, the encoder, the SHA-256 of its weights, the code of decoder and preprocessing, and the
            precision.
        progress: show a bar.
        engine: "onnx" (CPU), "torch", or "auto" for onnx on a CPU and torch on a GPU.
        threads: CPU threads; None takes all.
        damaged: what becomes of pictures that cannot be read, when all others are encoded: "raise" an error that names
            them, or "drop" their rows and print it (`corpus.readable()` drops them from the corpus, too).

    Returns:
        The features; the whole of a corpus comes back memory-mapped, a part of it out of order is copied into memory.

    Raises:
        ValueError: no picture, or an unknown encoder, kind, device, engine or `damaged`.
        DamagedImages: an OSError that names every picture that cannot be read; the others are in the cache.
        RuntimeError: the weights cannot be had, or a file of them is damaged; the message says what to do.

    Example:
        >>> from PIL import Image
        >>> from lib.vision import extract_features
        >>> pictures = [Image.new("RGB", (64, 48), colour) for colour in ("red", "green", "red")]
        >>> features = extract_features(pictures, cache=False, progress=False)
        >>> features.shape, bool((features[0] == features[2]).all())
        ((3, 1280), True)
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}: one of {KINDS}")
    if damaged not in ("raise", "drop"):
        raise ValueError(f"damaged is {damaged!r}: 'raise' or 'drop'")
    if len(images) == 0:
        raise ValueError("no images to extract features of")
    images = as_images(images)
    device, engine = _choose(device, engine)
    errors: dict[int, OSError] = {}

    def encode(rows: Sequence[int]) -> Iterator[tuple[list[int], np.ndarray]]:
        return encoded(images, rows, encoder, kind, device, engine, batch_size, progress, threads, errors)

    if cache:
        store = FeatureStore(feature_folder(encoder, kind, device)[0])
        features = _cached(store, images, encode, errors)
    else:
        parts = [features for _, features in encode(range(len(images)))]
        features = _read_only(np.concatenate(parts)) if parts else None
    if errors and damaged == "drop":
        print(DamagedImages(images, errors), flush=True)
    if features is None or (errors and damaged == "raise"):
        raise DamagedImages(images, errors)
    return features


def _cached(store: FeatureStore, images: Images, encode, errors: dict[int, OSError]) -> np.ndarray | None:
    """Rows of the store for all images but those in `errors`, which grows; None where none is left."""
    keys: dict[int, str] = {}
    for row in range(len(images)):
        try:
            keys[row] = images.fingerprint(row)
        except OSError as error:
            errors[row] = error

    def compute(positions: Sequence[int]) -> Iterator[tuple[list[int], np.ndarray]]:
        rows = list(keys)
        position_of = {rows[position]: position for position in positions}
        for batch, features in encode(list(position_of)):
            yield [position_of[row] for row in batch], features
        if errors.keys() & position_of.keys():
            raise _SomeLeftOut

    try:
        return store.get(list(keys.values()), compute) if keys else None
    except _SomeLeftOut:
        kept = [key for row, key in keys.items() if row not in errors]
        return store.get(kept, compute) if kept else None


class _SomeLeftOut(Exception):
    """Not every row that was asked for could be computed; the others are in the store."""


def feature_folder(encoder: str, kind: str, device: str = "auto") -> tuple[Path, str]:
    """The folder of the feature cache for one encoder, kind and precision, and the device that "auto" stands for."""
    from lib.vision.backbones import encoder_spec, weights_identity

    device, _ = _choose(device, "auto")
    precision = "float32" if device == "cpu" else "bfloat16"
    identity = f"{encoder_spec(encoder).key()}-{weights_identity(encoder)[:10]}"
    return cache_dir("features", f"{identity}-{precision}", kind), device


def _choose(device: str, engine: str) -> tuple[str, str]:
    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu" and not device.startswith("cuda"):
        raise ValueError(f"unknown device {device!r}: 'auto', 'cpu' or 'cuda'")
    if engine == "auto":
        engine = "onnx" if device == "cpu" else "torch"
    if engine not in ("onnx", "torch"):
        raise ValueError(f"unknown engine {engine!r}: 'auto', 'onnx' or 'torch'")
    if engine == "onnx" and device != "cpu":
        raise ValueError(f"engine 'onnx' runs on the CPU, not on {device!r}: use engine='torch'")
    return device, engine


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def encoded(
    images: Images,
    rows: Sequence[int],
    encoder: str,
    kind: str,
    device: str,
    engine: str,
    batch_size: int,
    progress: bool,
    threads: int | None,
    errors: dict[int, OSError],
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Batches of rows and their features; the next pictures are decoded while the encoder works on these.

    The rows that cannot be read are left out, and their errors put into `errors`. The other arguments are those of
    `extract_features`, with a device and an engine that are chosen.
    """
    from tqdm.auto import tqdm

    from lib.vision.backbones import encoder_spec

    preprocess, run = encoder_spec(encoder).preprocess, make_engine(encoder, kind, device, engine, threads)

    def decode(row: int) -> np.ndarray | OSError:
        try:
            return preprocess(images[row])
        except OSError as error:
            return error

    batches = [list(rows[start : start + batch_size]) for start in range(0, len(rows), batch_size)]
    bar = tqdm(total=len(rows), desc=f"{encoder} {kind}", unit="picture", disable=not progress)
    with ThreadPoolExecutor(max_workers=cores()) as pool, bar:
        decoded = deque([pool.submit(decode, row) for row in batch] for batch in batches[:AHEAD])
        for number, batch in enumerate(batches):
            if number + AHEAD < len(batches):
                decoded.append([pool.submit(decode, row) for row in batches[number + AHEAD]])
            found = dict(zip(batch, (picture.result() for picture in decoded.popleft()), strict=True))
            errors.update({row: pixels for row, pixels in found.items() if isinstance(pixels, OSError)})
            pixels_of = {row: pixels for row, pixels in found.items() if not isinstance(pixels, OSError)}
            if pixels_of:
                features = run(np.stack(list(pixels_of.values())))
                yield list(pixels_of), features.astype(STORED_AS[kind], copy=False)
            bar.update(len(batch))


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_engine(encoder: str, kind: str, device: str, engine: str, threads: int | None = None) -> Engine:
    """A function from pixels (B, S, S, 3) uint8 to the features of one kind, as NumPy."""
    return _onnx_engine(encoder, kind, threads) if engine == "onnx" else _torch_engine(encoder, kind, device, threads)


def _torch_engine(encoder: str, kind: str, device: str, threads: int | None) -> Engine:
    import torch

    from lib.vision.backbones import backbone

    if threads is not None:
        torch.set_num_threads(threads)
    model = backbone(encoder).to(device).to(memory_format=torch.channels_last)
    output = KINDS.index(kind)
    half = torch.autocast("cuda", dtype=torch.bfloat16, enabled=device != "cpu")

    @torch.inference_mode()
    def run(pixels: np.ndarray) -> np.ndarray:
        with half:
            features = model(torch.from_numpy(pixels).to(device, non_blocking=True))[output]
        return features.float().cpu().numpy()

    return run


def _onnx_engine(encoder: str, kind: str, threads: int | None) -> Engine:
    import onnxruntime

    # Each thread takes a few pictures through the whole graph: depthwise convolutions are too small to be shared out,
    # few pictures stay in the processor's cache, and no thread waits for another.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(onnx_file(encoder)), options, providers=["CPUExecutionProvider"])
    pool = ThreadPoolExecutor(max_workers=threads or cores())

    def few(pixels: np.ndarray) -> np.ndarray:
        return session.run([kind], {"pixels": pixels})[0]

    return lambda pixels: np.concatenate(list(pool.map(few, np.split(pixels, range(AT_ONCE, len(pixels), AT_ONCE)))))


def onnx_file(encoder: str) -> Path:
    """The encoder as an ONNX graph (any batch size; outputs named as KINDS), exported at the first call.

    Its SHA-256 is kept beside it; RuntimeError where the file is not as it was written.
    """
    import torch

    from lib.vision.backbones import backbone, encoder_spec, weights_identity

    spec = encoder_spec(encoder)
    torch_version = torch.__version__.split("+")[0]
    path = cache_dir("onnx") / f"{spec.key()}-{weights_identity(encoder)[:10]}-torch{torch_version}.onnx"
    known = path.with_suffix(".sha256")
    if not (path.exists() and known.exists()):
        size = spec.preprocess.size
        example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
        with atomic_path(path) as temporary:
            torch.onnx.export(
                backbone(encoder),
                (example,),
                str(temporary),
                input_names=["pixels"],
                output_names=list(KINDS),
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                external_data=False,
                verbose=False,
            )
            digest = file_sha256(temporary)
        write_text(known, digest)
    return verified(path, known.read_text(encoding="utf-8"), "delete it and run again, it is exported anew")
