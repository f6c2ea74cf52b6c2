"""Model R in a plain PyTorch loop, to stand beside `cargo bench --bench step`.

Two LSTM layers of 512 units, bidirectional encoder, general attention, input feeding, embeddings
of 512, dropout 0.3 (Luong, Pham and Manning, 2015). The encoder is `nn.LSTM` over packed sequences;
input feeding forces the decoder to be a loop over `nn.LSTMCell`. Run alone it is

    python scripts/peers/train_transformer.py --shape R
"""
import sys

import torch
from torch import nn

from batches import PAD

DIM, LAYERS, DROPOUT = 512, 2, 0.3


class Luong(nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.src = nn.Embedding(vocab, DIM, padding_idx=PAD)
        self.tgt = nn.Embedding(vocab, DIM, padding_idx=PAD)
        self.encoder = nn.LSTM(
            DIM, DIM // 2, LAYERS, batch_first=True, bidirectional=True, dropout=DROPOUT)
        self.cells = nn.ModuleList(
            nn.LSTMCell(DIM * (2 if layer == 0 else 1), DIM) for layer in range(LAYERS))
        self.key = nn.Linear(DIM, DIM, bias=False)
        self.combine = nn.Linear(2 * DIM, DIM, bias=False)
        self.output = nn.Linear(DIM, vocab)
        self.drop = nn.Dropout(DROPOUT)

    def encode(self, src):
        """States, keys, padding, and the last states of each layer."""
        padding = src == PAD
        packed = nn.utils.rnn.pack_padded_sequence(
            self.drop(self.src(src)), (~padding).sum(1), batch_first=True, enforce_sorted=False)
        states, last = self.encoder(packed)
        states, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True)
        join = lambda x: [torch.cat((x[2 * i], x[2 * i + 1]), 1) for i in range(LAYERS)]
        return states, self.key(states), padding, *(join(x) for x in last)

    def decode(self, memory, tgt_in):
        """Attentional states `[batch, tgt_len, dim]`."""
        states, keys, padding, hidden, cell = memory
        hidden, cell = list(hidden), list(cell)
        embedded, fed, out = self.drop(self.tgt(tgt_in)), states.new_zeros(len(states), DIM), []
        for t in range(tgt_in.size(1)):
            x = torch.cat((embedded[:, t], fed), 1)
            for i, step in enumerate(self.cells):
                hidden[i], cell[i] = step(x, (hidden[i], cell[i]))
                x = self.drop(hidden[i]) if i + 1 < LAYERS else hidden[i]
            scores = torch.bmm(keys, x.unsqueeze(2)).squeeze(2).masked_fill(padding, float("-inf"))
            context = torch.bmm(scores.softmax(1).unsqueeze(1).to(states.dtype), states).squeeze(1)
            fed = self.drop(torch.tanh(self.combine(torch.cat((context, x), 1))))
            out.append(fed)
        return torch.stack(out, 1)

    def logits(self, states):
        return self.output(states)

    def states(self, batch):
        """States of the real target tokens."""
        states = self.decode(self.encode(batch.src), batch.tgt_in)
        return states[batch.tgt_out != PAD]

    def expand(self, memory, n):
        """The memory of each sentence `n` times; for search."""
        repeat = lambda x: x.repeat_interleave(n, 0)
        return *map(repeat, memory[:3]), *([repeat(x) for x in layers] for layers in memory[3:])

    def last(self, memory, tgt_in):
        """States of the last tokens `[batch, dim]`."""
        return self.decode(memory, tgt_in)[:, -1]


if __name__ == "__main__":
    from train_transformer import main

    main(["--shape", "R", *sys.argv[1:]])
