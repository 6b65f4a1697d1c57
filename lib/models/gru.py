"""A recurrent sentence encoder: word ids in, one state a word out."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class GRUEncoder(nn.Module):
    """Embed words and run a GRU over them: VSE++ (one direction), SCAN (both, averaged).

    Args:
        vocabulary: number of word ids; id 0 is padding.
        word_dim: size of the learned word vectors (300 in VSE++).
        hidden: size of the states (1024 in VSE++).
        bidirectional: read the sentence from both ends and average the two states of each word, so that the size of
            the output stays `hidden`.
        pretrained: (vocabulary, word_dim) vectors to start from; else uniform in [-0.1, 0.1] as in VSE++.
    """

    def __init__(
        self,
        vocabulary: int,
        word_dim: int = 300,
        hidden: int = 1024,
        bidirectional: bool = False,
        pretrained: Tensor | None = None,
    ):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, word_dim, padding_idx=0)
        nn.init.uniform_(self.embed.weight, -0.1, 0.1)
        if pretrained is not None:
            if pretrained.shape != self.embed.weight.shape:
                raise ValueError(
                    f"pretrained vectors have shape {tuple(pretrained.shape)}, "
                    f"the encoder needs {tuple(self.embed.weight.shape)} (vocabulary, word_dim)"
                )
            self.embed.weight.data.copy_(pretrained)
        self.embed.weight.data[0] = 0
        self.gru = nn.GRU(word_dim, hidden, batch_first=True, bidirectional=bidirectional)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the (B, L, hidden) states of (B, L) word ids; only the first `lengths[b]` of row b mean anything."""
        words = self.embed(tokens)
        if not self.gru.bidirectional:  # the padding comes last, so it cannot reach the states that count
            return self.gru(words)[0]
        packed = pack_padded_sequence(words, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=tokens.shape[1])
        return torch.stack(states.chunk(2, dim=-1)).mean(0)
