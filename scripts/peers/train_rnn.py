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
        """States, keys and padding; and what the decoder starts from."""
        padding = src == PAD
        packed = nn.utils.rnn.pack_padded_sequence(
            self.drop(self.src(src)), (~padding).sum(1), batch_first=True, enforce_sorted=False)
        states, last = self.encoder(packed)
        states, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True)
        join = lambda x: [torch.cat((x[2 * i], x[2 * i + 1]), 1) for i in range(LAYERS)]
        start = *(join(x) for x in last), states.new_zeros(len(states), DIM)
        return (states, self.key(states), padding), start

    def advance(self, memory, last, embedded):
        """One more token of each sentence: attentional states `[batch, dim]`, and what is next."""
        states, keys, padding = memory
        hidden, cell, fed = list(last[0]), list(last[1]), last[2]
        x = torch.cat((embedded, fed), 1)
        for i, step in enumerate(self.cells):
            hidden[i], cell[i] = step(x, (hidden[i], cell[i]))
            x = self.drop(hidden[i]) if i + 1 < LAYERS else hidden[i]
        scores = torch.bmm(keys, x.unsqueeze(2)).squeeze(2).masked_fill(padding, float("-inf"))
        context = torch.bmm(scores.softmax(1).unsqueeze(1).to(states.dtype), states).squeeze(1)
        fed = self.drop(torch.tanh(self.combine(torch.cat((context, x), 1))))
        return fed, (hidden, cell, fed)

    def logits(self, states):
        return self.output(states)

    def states(self, batch):
        """States of the real target tokens."""
        memory, last = self.encode(batch.src)
        embedded, out = self.drop(self.tgt(batch.tgt_in)), []
        for t in range(batch.tgt_in.size(1)):
            state, last = self.advance(memory, last, embedded[:, t])
            out.append(state)
        return torch.stack(out, 1)[batch.tgt_out != PAD]

    def begin(self, src, beam):
        """What search needs of `src`, for `beam` hypotheses of each sentence."""
        memory, (hidden, cell, fed) = self.encode(src)
        repeat = lambda tensors: [x.repeat_interleave(beam, 0) for x in tensors]
        return [repeat(memory), (repeat(hidden), repeat(cell), *repeat([fed]))]

    def step(self, state, tokens, parents):
        """States `[rows, dim]` after one more token; row `i` goes on from row `parents[i]`."""
        memory, (hidden, cell, fed) = state
        last = [x[parents] for x in hidden], [x[parents] for x in cell], fed[parents]
        out, state[1] = self.advance(memory, last, self.tgt(tokens))
        return out


if __name__ == "__main__":
    from train_transformer import main

    main(["--shape", "R", *sys.argv[1:]])
