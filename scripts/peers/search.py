"""Beam search and BLEU, to see how good a peer's model is. Its time is never counted."""
import sacrebleu
import torch

from batches import BOS, EOS, padded

BATCH, MAX_FACTOR, MAX_OFFSET = 64, 2, 10


@torch.inference_mode()
def translate(network, sources, beam):
    """The best translation of each list of ids, by mean log-probability of its tokens."""
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    result = [None] * len(sources)
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        best = search(network, padded([sources[i] + [EOS] for i in chosen]), beam)
        for i, ids in zip(chosen, best):
            result[i] = ids
    return result


def search(network, src, beam):
    """A sentence is done when `beam` of its hypotheses have ended and none that lives is better."""
    n = len(src)
    state = network.begin(src, beam)
    written = torch.full((n * beam, 1), BOS)
    rows = torch.arange(n * beam)
    scores = torch.full((n, beam), float("-inf"))
    scores[:, 0] = 0.0  # all hypotheses are the same as yet: one is enough
    ended = [[] for _ in range(n)]  # (mean log-probability, ids)
    for step in range(1, MAX_FACTOR * src.size(1) + MAX_OFFSET + 1):
        logits = network.logits(network.step(state, written[:, -1], rows))
        total = scores[:, :, None] + logits.log_softmax(1).view(n, beam, -1)
        vocab = total.size(2)
        values, picked = total.flatten(1).topk(2 * beam, 1)  # at most `beam` of them end
        rows, tokens = [], []
        for b, candidates in enumerate(zip(values.tolist(), picked.tolist())):
            live = []
            for rank, (value, i) in enumerate(zip(*candidates)):
                row, token = b * beam + i // vocab, i % vocab
                if token != EOS and len(live) < beam:
                    live.append((value, row, token))
                elif token == EOS and rank < beam:
                    ended[b].append((value / step, written[row, 1:].tolist()))
            scores[b] = torch.tensor([value for value, _, _ in live])
            rows += [row for _, row, _ in live]
            tokens += [token for _, _, token in live]
        alive = (scores[:, 0] / step).tolist()
        if all(len(e) >= beam and max(e)[0] >= a for e, a in zip(ended, alive)):
            break
        rows = torch.tensor(rows)
        written = torch.cat((written[rows], torch.tensor(tokens)[:, None]), 1)
    cut = [(scores[b, 0].item() / step, written[b * beam, 1:].tolist()) for b in range(n)]
    return [max(hypotheses or [cut[b]])[1] for b, hypotheses in enumerate(ended)]


def bleu(network, corpus, name, beam):
    """sacreBLEU of a test set on raw text."""
    sources, references = corpus.test(name)
    network.eval()
    hypotheses = [corpus.text(ids) for ids in translate(network, sources, beam)]
    metric = sacrebleu.metrics.BLEU()
    score = metric.corpus_score(hypotheses, [references]).score
    return score, str(metric.get_signature())
