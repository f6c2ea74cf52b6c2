"""What `transformers` makes of a Marian folder, beside what it made of another before.

    pip install torch transformers sentencepiece
    marian_check.py FOLDER EXPECTED

FOLDER was written by `nmt export --format marian`, EXPECTED is the `expected.json` of marian.py. Prints
how many translations are the same and the largest difference of log-probabilities.
"""
import json
import sys

import torch
from transformers import MarianMTModel, MarianTokenizer


def main(folder, expected):
    tokenizer = MarianTokenizer.from_pretrained(folder)
    model, info = MarianMTModel.from_pretrained(folder, output_loading_info=True)
    model.eval()
    for what, names in info.items():
        if names:
            sys.exit(f"{what}: {names}")
    with open(expected, encoding="utf-8") as file:
        rows = json.load(file)
    same, worst = {"greedy": 0, "beam": 0}, 0.0
    with torch.no_grad():
        for row in rows:
            batch = tokenizer([row["src"]], return_tensors="pt")
            forced = tokenizer(text_target=[row["tgt"]], return_tensors="pt")["input_ids"]
            logits = model(**batch, labels=forced).logits.double()
            chosen = torch.log_softmax(logits, -1).gather(2, forced[..., None])[0, :, 0].tolist()
            assert len(chosen) == len(row["log_probs"]), row["tgt"]
            worst = max([worst, *(abs(a - b) for a, b in zip(chosen, row["log_probs"]))])
            beam = model.generation_config.num_beams
            for name, beams in (("greedy", 1), ("beam", beam)):
                ids = model.generate(**batch, num_beams=beams)[0]
                text = tokenizer.decode(ids, skip_special_tokens=True)
                same[name] += text == row[name]["text"]
    print(f"{len(rows)} sentences · the same: {same} · largest difference {worst:.1e}")


if __name__ == "__main__":
    main(*sys.argv[1:])
