"""What bounds everything else on one thread of this machine: matrix products, memory, the decoder of pictures."""

import io
import time
from collections.abc import Callable

import numpy as np
import simplejpeg
import torch
from PIL import Image


def product_rate(dtype: torch.dtype = torch.float32) -> float:
    """Floating point operations a second of a matrix product of 2,048 x 1,024 and 1,024 x 2,048."""
    a, b = (torch.randn(2_048, 1_024).to(dtype) for _ in range(2))
    return 2 * 2_048**2 * 1_024 / best(lambda: a @ b.T)


def memory_rate() -> float:
    """Bytes a second that a copy of 256 MB reads and writes."""
    source, target = torch.randn(2**26), torch.empty(2**26)
    return 2 * 2**28 / best(lambda: target.copy_(source))


def decoder_rate() -> float:
    """Pictures of 500 x 375 a second that simplejpeg (libjpeg-turbo) decodes."""
    file = io.BytesIO()
    Image.fromarray(picture(np.random.default_rng(0))).save(file, "JPEG", quality=90)
    data = file.getvalue()
    return 20 / best(lambda: [simplejpeg.decode_jpeg(data) for _ in range(20)])


def picture(rng: np.random.Generator) -> np.ndarray:
    """Colours and fine brightness that compress about as a photo does, (375, 500, 3) uint8."""
    parts = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((8, 8, 3), (120, 160, 1))]
    parts = [Image.fromarray(part.repeat(3 // part.shape[2], axis=2)).resize((500, 375)) for part in parts]
    return np.average([np.asarray(part) for part in parts], axis=0, weights=[0.75, 0.25]).astype(np.uint8)


def best(work: Callable[[], object]) -> float:
    """Processor seconds of the fastest of five rounds, after one to warm up."""
    taken = []
    for _ in range(6):
        start = time.thread_time()
        work()
        taken.append(time.thread_time() - start)
    return min(taken[1:])
