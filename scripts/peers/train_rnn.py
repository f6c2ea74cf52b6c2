"""Model R in a plain PyTorch loop, to stand beside `cargo bench --bench step`.

Two LSTM layers of 512 units, bidirectional encoder, general attention, input feeding, embeddings
of 512, a vocabulary of 8,000, label smoothing 0.1, dropout 0.3, Adam, gradient clipping; f32. The
batch has the shape of the benchmark's: 256 sentences of 16 target tokens and 10 to 19 source
tokens, EOS included. Prints target tokens per second of wall-clock and of processor time, and the
peak memory.

    OMP_NUM_THREADS=1 python scripts/peers/train_rnn.py [--updates 8]
"""
import argparse
import os
import resource
import time

import torch
from torch import nn
from torch.nn import functional as F

VOCAB, DIM, LAYERS, DROPOUT = 8000, 512, 2, 0.3
SENTENCES, TGT_LEN = 256, 16


class Luong(nn.Module):
    def __init__(self):
        super().__init__()
        self.src = nn.Embedding(VOCAB, DIM, padding_idx=0)
        self.tgt = nn.Embedding(VOCAB, DIM, padding_idx=0)
        self.encoder = nn.LSTM(DIM, DIM // 2, LAYERS, batch_first=True, bidirectional=True, dropout=DROPOUT)
        self.cells = nn.ModuleList(nn.LSTMCell(DIM * (2 if layer == 0 else 1), DIM) for layer in range(LAYERS))
        self.key = nn.Linear(DIM, DIM, bias=False)
        self.combine = nn.Linear(2 * DIM, DIM, bias=False)
        self.output = nn.Linear(DIM, VOCAB)
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, src, lengths, tgt_in, tgt_out):
        packed = nn.utils.rnn.pack_padded_sequence(
            self.drop(self.src(src)), lengths, batch_first=True, enforce_sorted=False)
        states, (hidden, cell) = self.encoder(packed)
        states, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True)
        join = lambda x: [torch.cat((x[2 * i], x[2 * i + 1]), 1) for i in range(LAYERS)]
        hidden, cell = join(hidden), join(cell)
        keys, padding = self.key(states), src == 0
        embedded, fed, out = self.drop(self.tgt(tgt_in)), states.new_zeros(len(src), DIM), []
        for t in range(tgt_in.size(1)):
            x = torch.cat((embedded[:, t], fed), 1)
            for i, step in enumerate(self.cells):
                hidden[i], cell[i] = step(x, (hidden[i], cell[i]))
                x = self.drop(hidden[i]) if i + 1 < LAYERS else hidden[i]
            scores = torch.bmm(keys, x.unsqueeze(2)).squeeze(2).masked_fill(padding, float("-inf"))
            context = torch.bmm(scores.softmax(1).unsqueeze(1), states).squeeze(1)
            fed = self.drop(torch.tanh(self.combine(torch.cat((context, x), 1))))
            out.append(fed)
        logits = self.output(torch.stack(out, 1).flatten(0, 1))
        return F.cross_entropy(logits, tgt_out.flatten(), label_smoothing=0.1, reduction="sum")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--updates", type=int, default=8)
    updates = parser.parse_args().updates
    torch.manual_seed(1)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    model = Luong()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.98), eps=1e-9, fused=True)
    lengths = torch.tensor([10 + i % 10 for i in range(SENTENCES)])
    src = torch.randint(4, VOCAB, (SENTENCES, int(lengths.max())))
    src[torch.arange(src.size(1)) >= lengths[:, None]] = 0
    tgt_out = torch.randint(4, VOCAB, (SENTENCES, TGT_LEN))
    tgt_in = tgt_out.roll(1, 1)
    tokens = tgt_out.numel()

    def update():
        loss = model(src, lengths, tgt_in, tgt_out) / tokens
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    update()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(updates):
        update()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"PyTorch {torch.__version__}, R, {torch.get_num_threads()} threads: {updates * tokens / wall:.0f} target "
          f"tokens/s ({updates * tokens / cpu:.0f} per processor second), peak memory {peak:.2f} GiB")


if __name__ == "__main__":
    main()
