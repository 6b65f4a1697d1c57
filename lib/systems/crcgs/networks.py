"""The networks of CRCGS (Zhang et al., SIGIR 2022): retrieval features, discriminators, hash layer."""

from itertools import pairwise

from torch import Tensor, nn

from lib.models import Dropout


class CategoryNetwork(nn.Module):
    """Map image and text features into one space that is read by one classifier; the network of DSCMR and CRCGS.

    Each side: `layers` linear maps with tanh. Shared: a linear map to the retrieval features, and a classifier on them.
    Apart: a linear map with ReLU into the space of the generative features, the "converted learning space".

    Args:
        image_dim, text_dim: sizes of the frozen features.
        labels: number of classes.
        hidden: units of the layers of each side (2048 in the paper).
        dim: size of the retrieval features (1024 in the paper).
        converted_dim: size of the generative features (1024 in the paper).
        layers: of each side (3 in the paper).
        dropout: share of the frozen features that training hides (none in the paper, which has ten thousand items).
    """

    def __init__(
        self,
        image_dim: int,
        text_dim: int,
        labels: int,
        hidden: int = 2048,
        dim: int = 1024,
        converted_dim: int = 1024,
        layers: int = 3,
        dropout: float = 0.0,
    ):
        super().__init__()

        def side(size: int) -> nn.Sequential:
            parts: list[nn.Module] = [Dropout(dropout)]
            for number in range(layers):
                parts += [nn.Linear(hidden if number else size, hidden), nn.Tanh()]
            return nn.Sequential(*parts)

        self.image, self.text = side(image_dim), side(text_dim)
        self.shared = nn.Linear(hidden, dim)
        self.classifier = nn.Linear(dim, labels)
        self.convert_image = nn.Sequential(nn.Linear(dim, converted_dim), nn.ReLU())
        self.convert_text = nn.Sequential(nn.Linear(dim, converted_dim), nn.ReLU())

    def encode_images(self, images: Tensor) -> Tensor:
        """Return the retrieval features (B, dim) of image features (B, image_dim); compare them by cosine."""
        return self.shared(self.image(images))

    def encode_sentences(self, texts: Tensor) -> Tensor:
        """Return the retrieval features (B, dim) of text features (B, text_dim); compare them by cosine."""
        return self.shared(self.text(texts))


class Discriminator(nn.Sequential):
    """Tell decoded teacher features (class 1) from decoded student features (class 0): (B, size) -> (B, 2) logits.

    The paper has layers of 2048, 1024 and 512 units for images and of 512, 64 and 32 for texts.
    """

    def __init__(self, size: int, hidden: tuple[int, ...]):
        sizes = (size, *hidden)
        parts: list[nn.Module] = []
        for left, right in pairwise(sizes):
            parts += [nn.Linear(left, right), nn.ReLU()]
        super().__init__(*parts, nn.Linear(sizes[-1], 2))


class HashLayer(nn.Sequential):
    """Turn retrieval features (B, dim) into K numbers in (-1, 1), whose signs are the bits; one for both modalities.

    Dropout and two layers with tanh before the bits. (The published program writes the last linear map as a
    convolution whose kernel is as wide as its input.)
    """

    def __init__(self, dim: int, bits: int, hidden: int = 512, dropout: float = 0.3):
        super().__init__(
            Dropout(dropout),
            nn.Linear(dim, hidden),
            nn.Tanh(),
            nn.Linear(hidden, hidden),
            nn.Tanh(),
            nn.Linear(hidden, bits),
            nn.Tanh(),
        )
