"""One run of CTranslate2 in a process of its own: translations and time, into a file as JSON.

Started by `translate_ctranslate2.py` with the file and the settings, which are JSON:

    model, sources   the folder, and a file with a JSON list of tokens on each line
    type             `float32` or `int8`
    workers, threads sentences translated side by side, and threads of each
    alone            one sentence after the other, instead of all at once
    scores           return scores
    repeat           how often to translate them all; the fastest counts
    search           arguments of `translate_batch`

What is timed is translating tokens into tokens: neither loading nor tokenizing.
"""
import json
import sys
import time

import ctranslate2


def main():
    settings = json.loads(sys.argv[2])
    translator = ctranslate2.Translator(
        settings["model"], device="cpu", compute_type=settings["type"],
        inter_threads=settings["workers"], intra_threads=settings["threads"])
    with open(settings["sources"], encoding="utf-8") as file:
        sources = [json.loads(line) for line in file]
    search = dict(settings["search"], return_scores=settings["scores"])
    batches = [[source] for source in sources] if settings["alone"] else [sources]
    if settings["repeat"] > 1:
        translator.translate_batch(sources[:4], **search)
    best = None
    for _ in range(settings["repeat"]):
        start = time.perf_counter(), time.process_time()
        found = [result for batch in batches
                 for result in translator.translate_batch(batch, **search)]
        took = time.perf_counter() - start[0], time.process_time() - start[1]
        best = min(best or took, took)
    result = {
        "type": translator.compute_type,
        "wall": best[0], "processor": best[1],
        "tokens": [result.hypotheses[0] for result in found],
        "scores": [result.scores[0] for result in found] if settings["scores"] else [],
    }
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(result, file)


if __name__ == "__main__":
    main()
