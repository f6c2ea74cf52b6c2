"""Writes a small Marian model, and what `transformers` makes of sentences with it.

    pip install torch transformers sentencepiece
    marian.py SRC TGT OUT [--dim 512 ...]

SRC and TGT are parallel text, on which SentencePiece models are trained. OUT gets the folder of the
model as `save_pretrained` leaves it, and `expected.json`: for the first sentences their ids, the
log-probabilities of the tokens of TGT, and the translations by greedy search and by a beam with
their scores. Sentences that hold `</s>` are not for this: there it is a token, here it is text.

Weights are random; a few steps of training make translations that differ and end.
"""
import argparse
import json
from pathlib import Path

import sentencepiece
import torch
from transformers import MarianConfig, MarianMTModel, MarianTokenizer

EOS, UNK = "</s>", "<unk>"


# A few rewriting rules instead of the many of NFKC, so that a model stays small.
RULES = {"ﬁ": "fi", "…": "...", "\u3000": " ", "\u00a0": " ", "e\u0301": "é", "o\u0301": "ó", "“": '"',
         "”": '"', "’": "'", "①②": "12", "①": "1"}


def pieces(text, prefix, args):
    """Trains a SentencePiece model and gives its pieces."""
    rules = {}
    if args.few_rules:
        path = prefix.with_suffix(".rules")
        code = lambda text: " ".join(f"{ord(character):X}" for character in text)
        path.write_text("".join(f"{code(a)}\t{code(b)}\n" for a, b in RULES.items()))
        rules = {"normalization_rule_tsv": str(path)}
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(prefix), vocab_size=args.pieces, model_type="unigram",
        character_coverage=0.999, minloglevel=2, **rules,
    )
    if rules:
        path.unlink()
    prefix.with_suffix(".model").rename(prefix.with_suffix(".spm"))
    prefix.with_suffix(".vocab").unlink()
    model = sentencepiece.SentencePieceProcessor(model_file=str(prefix.with_suffix(".spm")))
    return [model.id_to_piece(id) for id in range(model.vocab_size())]


def vocabulary(names):
    """Ids as Marian has them: end, unknown, pieces, padding."""
    special = {EOS, UNK, "<s>", "<pad>"}
    order = [EOS, UNK, *dict.fromkeys(name for name in names if name not in special), "<pad>"]
    return {name: id for id, name in enumerate(order)}


def write(path, content):
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def train(model, tokenizer, pairs, args):
    """Trains the model a little, without dropout."""
    model.eval()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.rate)
    for step in range(args.steps):
        rows = torch.randint(len(pairs), (32,)).tolist()
        src, tgt = zip(*(pairs[row] for row in rows))
        batch = tokenizer(list(src), text_target=list(tgt), padding=True, return_tensors="pt")
        pad = tokenizer.pad_token_id
        batch["labels"][batch["labels"] == pad] = -100
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"loss {loss.item():.2f}" if args.steps else "untrained")


def main(args):
    torch.manual_seed(args.seed)
    out = args.out
    out.mkdir(parents=True)
    src = pieces(args.src, out / "source", args)
    tgt = pieces(args.tgt, out / "target", args)
    files = {"source_spm": out / "source.spm", "target_spm": out / "target.spm",
             "vocab": out / "vocab.json"}
    if args.separate:
        vocabs = vocabulary(src), vocabulary(tgt)
        files["target_vocab_file"] = out / "target_vocab.json"
        write(files["target_vocab_file"], vocabs[1])
    else:
        vocabs = (vocabulary([*src, *tgt]),) * 2
    write(files["vocab"], vocabs[0])
    tokenizer = MarianTokenizer(
        **{key: str(path) for key, path in files.items()}, separate_vocabs=args.separate,
        source_lang="en", target_lang="es",
    )
    pad = vocabs[1]["<pad>"]
    config = MarianConfig(
        vocab_size=len(vocabs[0]), decoder_vocab_size=len(vocabs[1]), d_model=args.dim,
        encoder_layers=args.layers, decoder_layers=args.layers,
        encoder_attention_heads=args.heads, decoder_attention_heads=args.heads,
        encoder_ffn_dim=4 * args.dim, decoder_ffn_dim=4 * args.dim,
        activation_function=args.activation, scale_embedding=not args.unscaled,
        share_encoder_decoder_embeddings=not args.separate, tie_word_embeddings=True,
        pad_token_id=pad, eos_token_id=0, decoder_start_token_id=pad, forced_eos_token_id=0,
        init_std=args.deviation, static_position_embeddings=True,
    )
    model = MarianMTModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                parameter.add_(0.1 * torch.randn_like(parameter))
        model.final_logits_bias.normal_(0, 0.5)
    pairs = list(zip(args.src.read_text(encoding="utf-8").splitlines(),
                     args.tgt.read_text(encoding="utf-8").splitlines()))
    train(model, tokenizer, pairs, args)
    model.generation_config.update(
        num_beams=args.beam, max_length=args.longest, length_penalty=1.0, early_stopping=True,
        pad_token_id=pad,
        eos_token_id=0, decoder_start_token_id=pad, forced_eos_token_id=0,
        bad_words_ids=[[pad], [1]],
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)

    expected = []
    with torch.no_grad():
        for line, target in pairs[: args.sentences]:
            batch = tokenizer([line], return_tensors="pt")
            forced = tokenizer(text_target=[target], return_tensors="pt")["input_ids"]
            logits = model(**batch, labels=forced).logits.double()
            chosen = torch.log_softmax(logits, -1).gather(2, forced[..., None])[0, :, 0]
            row = {"src": line, "tgt": target, "ids": batch["input_ids"][0].tolist(),
                   "tgt_ids": forced[0].tolist(),
                   "log_probs": [round(number, 7) for number in chosen.tolist()]}
            for name, beam in (("greedy", 1), ("beam", args.beam)):
                found = model.generate(**batch, num_beams=beam, return_dict_in_generate=True,
                                       output_scores=True)
                ids = found.sequences[0].tolist()
                row[name] = {"ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=True)}
                if beam > 1:
                    row[name]["score"] = found.sequences_scores[0].item()
            expected.append(row)
    rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in expected)
    (out / "expected.json").write_text(f"[\n{rows}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("src", type=Path)
    parser.add_argument("tgt", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pieces", type=int, default=400)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--beam", type=int, default=4)
    parser.add_argument("--longest", type=int, default=200)
    parser.add_argument("--sentences", type=int, default=200)
    parser.add_argument("--deviation", type=float, default=0.1)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--activation", default="swish")
    parser.add_argument("--few-rules", action="store_true")
    parser.add_argument("--separate", action="store_true")
    parser.add_argument("--unscaled", action="store_true")
    main(parser.parse_args())
