"""The Transformer of shapes T and B, as one would write it in PyTorch to train it fast on a CPU.

Pre-norm, ReLU, sinusoidal positions, one table for all embeddings, dropout on embeddings and on
what each sublayer adds. Query, key and value are one product. States are rows `[rows, dim]`: either
all places of the padded batch, or only the real tokens, which are put in their places for attention.
"""
import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from batches import PAD

MAX_LEN = 512


@dataclass
class Layout:
    """Where the rows of a batch stand, and which places are padding."""

    size: tuple  # batch, len
    mask: torch.Tensor | None = None  # which keys exist, for attention; all, if None
    real: torch.Tensor | None = None  # places of the real tokens; all, if None
    rows: torch.Tensor | None = None  # the row of each place, if rows are the real tokens alone

    @classmethod
    def of(cls, ids, packed):
        real = ids != PAD
        if real.all():
            return cls(ids.shape)
        rows = (real.flatten().cumsum(0) - 1) if packed else None  # padding shows some real row
        return cls(ids.shape, real[:, None, None, :], real.flatten().nonzero()[:, 0], rows)

    def pick(self, places):
        """Of what stands at each place, the rows."""
        return places.flatten(0, 1) if self.rows is None else places.flatten(0, 1)[self.real]

    def place(self, rows):
        """Rows at their places `[batch, len, width]`."""
        rows = rows if self.rows is None else rows.index_select(0, self.rows)
        return rows.view(*self.size, -1)

    def only_real(self, rows):
        """Rows without padding."""
        return rows if self.rows is not None or self.real is None else rows[self.real]


def attend(query, key, value, heads, mask, causal, fused):
    """Multi-head attention over `[batch, len, dim]`."""
    split = lambda x: x.unflatten(2, (heads, -1)).transpose(1, 2)  # [batch, heads, len, head_dim]
    query, key, value = split(query), split(key), split(value)
    if fused:
        # A causal mask hides padding from real queries: padding comes last.
        mask = None if causal else mask
        out = F.scaled_dot_product_attention(query, key, value, mask, is_causal=causal)
    else:
        scores = (query * query.size(3) ** -0.5) @ key.transpose(2, 3)
        if causal:
            future = torch.ones(scores.shape[2:], dtype=torch.bool).triu(1)
            scores = scores.masked_fill(future, float("-inf"))
        elif mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        out = scores.softmax(3).to(value.dtype) @ value
    return out.transpose(1, 2).flatten(2)


class Block(nn.Module):
    """A layer of the encoder, or of the decoder with `cross`."""

    def __init__(self, dim, ffn_dim, heads, dropout, fused, cross):
        super().__init__()
        self.heads, self.fused, self.cross = heads, fused, cross
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3 if cross else 2))
        self.input, self.output = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        if cross:
            self.query, self.memory = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
            self.cross_output = nn.Linear(dim, dim)
        self.up, self.down = nn.Linear(dim, ffn_dim), nn.Linear(ffn_dim, dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, x, layout, memory=None, memory_layout=None):
        q, k, v = layout.place(self.input(self.norms[0](x))).chunk(3, 2)
        seen = attend(q, k, v, self.heads, layout.mask, self.cross, self.fused)
        x = x + self.drop(self.output(layout.pick(seen)))
        if self.cross:
            q = layout.place(self.query(self.norms[2](x)))
            k, v = memory_layout.place(self.memory(memory)).chunk(2, 2)
            seen = attend(q, k, v, self.heads, memory_layout.mask, False, self.fused)
            x = x + self.drop(self.cross_output(layout.pick(seen)))
        return x + self.drop(self.down(F.relu(self.up(self.norms[1](x)))))

    def step(self, x, memory, written, mask, parents):
        """One token of each hypothesis `[rows, 1, dim]`; also keys and values written by now."""
        q, *new = self.input(self.norms[0](x)).chunk(3, 2)
        if written is not None:
            new = [torch.cat((old[parents], x), 1) for old, x in zip(written, new)]
        x = x + self.output(attend(q, *new, self.heads, None, False, self.fused))
        q = self.query(self.norms[2](x))
        x = x + self.cross_output(attend(q, *memory, self.heads, mask, False, self.fused))
        return x + self.down(F.relu(self.up(self.norms[1](x)))), new


class Transformer(nn.Module):
    def __init__(self, vocab, dim, ffn_dim, heads, layers, dropout, fused, packed):
        super().__init__()
        self.dim, self.packed = dim, packed
        self.embedding = nn.Embedding(vocab, dim)
        make = lambda cross: nn.ModuleList(
            Block(dim, ffn_dim, heads, dropout, fused, cross) for _ in range(layers))
        self.encoder, self.decoder = make(False), make(True)
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.bias = nn.Parameter(torch.zeros(vocab))
        self.drop = nn.Dropout(dropout)
        angles = torch.arange(MAX_LEN)[:, None] / 10000 ** (torch.arange(0, dim, 2) / dim)
        table = torch.stack((angles.sin(), angles.cos()), 2).flatten(1)
        self.register_buffer("positions", table, persistent=False)
        for name, weight in self.named_parameters():
            if name == "embedding.weight":
                nn.init.normal_(weight, std=dim ** -0.5)
            elif weight.dim() == 2:
                nn.init.xavier_uniform_(weight)
            elif "norm" not in name:
                nn.init.zeros_(weight)

    def embed(self, ids, layout):
        x = self.embedding(ids) * math.sqrt(self.dim) + self.positions[: ids.size(1)]
        return self.drop(layout.pick(x))

    def encode(self, src):
        """What the decoder sees of `src` `[batch, src_len]`: rows and their layout."""
        layout = Layout.of(src, self.packed)
        x = self.embed(src, layout)
        for block in self.encoder:
            x = block(x, layout)
        return self.encoder_norm(x), layout

    def decode(self, memory, tgt_in):
        """States of `tgt_in` `[batch, tgt_len]`: rows and their layout."""
        layout = Layout.of(tgt_in, self.packed)
        x = self.embed(tgt_in, layout)
        for block in self.decoder:
            x = block(x, layout, *memory)
        return self.decoder_norm(x), layout

    def logits(self, states):
        return F.linear(states, self.embedding.weight, self.bias)

    def states(self, batch):
        """States of the real target tokens, sentence after sentence."""
        states, layout = self.decode(self.encode(batch.src), batch.tgt_in)
        return layout.only_real(states)

    def begin(self, src, beam):
        """What search needs of `src`, for `beam` hypotheses of each sentence: the mask, and for each
        layer the memory's keys and values and those of the tokens written."""
        rows, layout = self.encode(src)
        memory = layout.place(rows).repeat_interleave(beam, 0)
        mask = None if layout.mask is None else layout.mask.repeat_interleave(beam, 0)
        return mask, [[block.memory(memory).chunk(2, 2), None] for block in self.decoder]

    def step(self, state, tokens, parents):
        """States `[rows, dim]` after one more token; row `i` goes on from row `parents[i]`."""
        mask, layers = state
        written = layers[0][1]
        position = 0 if written is None else written[0].size(1)
        x = self.embedding(tokens)[:, None] * math.sqrt(self.dim) + self.positions[position]
        for block, layer in zip(self.decoder, layers):
            x, layer[1] = block.step(x, *layer, mask, parents)
        return self.decoder_norm(x)[:, 0]
