"""Reference scores for crates/text: what sacreBLEU 2.6.0 prints, and its significance tests.

Run from the workspace root; the result, crates/text/tests/data/metrics.json, is committed:

    pip install sacrebleu==2.6.0 && python scripts/reference/metrics.py

With a number N and a path, it writes N generated sentences with all settings to the path instead,
for a larger comparison than one would commit (see crates/text/tests/metrics.rs).
"""

import json
import logging
import random
import sys

import numpy
import sacrebleu
from sacrebleu import significance
from sacrebleu.metrics import BLEU, CHRF, TER

assert sacrebleu.__version__ == "2.6.0", sacrebleu.__version__
SEED = 20151
logging.getLogger("sacrebleu").setLevel(logging.ERROR)  # it advises settings for each sentence
METRICS = {"bleu": BLEU, "chrf": CHRF, "ter": TER}

# Sentences written for this file. Some are odd on purpose.
PLAIN = [
    "The old ferry leaves the northern harbour every morning at half past six.",
    "Nobody in the village remembered when the bridge had been closed for the last time.",
    "She asked whether the green umbrella on the second shelf belonged to the conductor.",
    "If it rains again tomorrow, we will have to carry the hay into the barn ourselves.",
    "My neighbour's daughter repairs clocks, radios and, on Sundays, broken violins.",
    "Two of the seven lanterns were still burning when the last guest left the garden.",
    "The report does not say who paid for the telescope or why it was never used.",
    "He opened the letter, read it twice, and put it back under the flower pot.",
    "There were more goats than people on the island in those days.",
    "A thin layer of ice covered the lake from the mill to the chapel.",
]
NUMBERS = [
    "A return ticket costs €18.10, but only $3,000.50 will buy you the train.",
    "In 1990-91 the U.S. team won 3-2; in 2004/05 it lost 1.5:2.5.",
    "\"Is it 10%?\", asked Dr. O'Neill-Smith (aged 47), \"or 12.5 %?\"",
    "He said &quot;yes &amp; no&quot; to a &lt;b&gt;bold&lt;/b&gt; plan &amp;lt; mine.",
    "Version 2.0.1-beta.3 ships on 2024-05-06 at 07:08:09.10 UTC...",
    "E-mail: some.one+else@example.org, tel. +49 (0)30/1234-5678!",
    "The <skipped> line #7 was 'quoted', ``twice'' -- and -5 below zero.",
    "It ended in 1999.",
    "Temperatures fell to -12.5°C; pressure rose by 3,5 hPa, i.e. .5% more.",
    "[x_1 + y_2] * {z^3} = ~50\\100 | a=b; c!=d? @home `code` $5",
]
SPANISH = [
    "¿Quién dejó la ventana abierta? ¡Hace un frío terrible en la cocina!",
    "La señora del 3.º B riega sus plantas a las 7.30, aunque llueva.",
    "«No compraré más de 1.500,75 € en naranjas», dijo el alcalde.",
    "Mañana iremos a la montaña con el tío Íñigo y su burro.",
    "Los niños que cantaban en la plaza se escondieron detrás de la fuente.",
]
GERMAN = [
    "Die Straßenbahn fährt montags bis freitags im 10-Minuten-Takt; sonntags gar nicht.",
    "„Wer hat das Öl verschüttet?“, fragte Größmutter Ännchen ärgerlich.",
    "Für 3.000,50 € bekäme man z. B. ein gebrauchtes Klavier.",
    "Am 1. Mai 2024 wurde der 2. Turm – endlich! – eingeweiht.",
    "Der Hund des Nachbarn bellt, sobald jemand Trompete spielt.",
]
SCRIPTS = [
    "В маленьком городе у реки жил часовщик, который не носил часов.",
    "Ὁ γέρων εἶπεν· «τίς ἐστιν οὗτος;» καὶ ἐσίγησεν. ΟΔΥΣΣΕΥΣ ΣΟΦΟΣ",
    "在河边的小镇上，住着一位从不戴手表的钟表匠。他今年68岁！",
    "川のそばの町に、時計をしない時計屋が住んでいた（68歳）。「本当？」ｶﾀｶﾅ・カタカナ",
    "강가의 작은 마을에 시계를 차지 않는 시계공이 살았다.",
    "في القرية الصغيرة، كان يعيش ساعاتيٌّ لا يحمل ساعة؛ هل تصدّق؟ ٣٫٥٪",
    "नदी के किनारे एक घड़ीसाज़ रहता था। उसके पास १२ घड़ियाँ थीं॥",
    "İstanbul'da IĞDIR'lı bir ÇIRAK, ŞİİR okuyordu… ΑΣ Σ ẞ ǅ ﬁ",
    "Ngày mai, ông Nguyễn sẽ trồng một cây xoài ở góc vườn.",
    "שלום, עולם! מחיר הכרטיס הוא ₪12.50 — ‏לא יותר.",
]
ODD = [
    "cafe\u0301 na\u00efve \ufb01ne \u00bd \u00b2 \u2167 \u2460 x\u0302",
    "👩‍👩‍👧 family 👍🏽 ok?! 🇪🇸→🇩🇪 ∑±√ ©™ €¥£ §¶ †‡ ‰",
    "tabs\tand\u00a0no-break\u2003spaces\u3000and\u200bzero\u2060width\ufeffmarks",
    "controls \x1c between \x1f words \x85 and \u2028 lines",
    "....,,,, --- !!! ?!? '' \"\" «» ‹› “” ‘’ „“ – — … · • ‧",
    "a.b,c.d 1.a a.1 1,a a,1 .5 ,5 5. 5, -5 5- 5-a a-5 a.-,b",
    "'s dog's dogs' 's, x's. it's",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚.𝟛 𐍈 𝄞 ﷽ ꙮ ⁂ ⸘ ❝ ⓐ ㍿ ㈱ 〒 々〆 ー ａｂｃ１２３，．",
    "x",
    "  spaces   at  both   ends   ",
]
CLASSES = {
    "plain": PLAIN,
    "numbers": NUMBERS,
    "spanish": SPANISH,
    "german": GERMAN,
    "scripts": SCRIPTS,
    "odd": ODD,
}
EVERYTHING = [line for lines in CLASSES.values() for line in lines]


KINDS = ["delete", "double", "swap", "block", "case", "word", "char", "punct"]


def noisy(rng, line, strength):
    """The line as a bad translation of itself: words lost, doubled, moved, changed."""
    words = line.split(" ")
    for _ in range(rng.randint(0, strength)):
        if not words:
            break
        kind = rng.choice(KINDS)
        at = rng.randrange(len(words))
        if kind == "delete":
            del words[at]
        elif kind == "double":
            words.insert(at, words[at])
        elif kind == "swap":
            to = rng.randrange(len(words))
            words[at], words[to] = words[to], words[at]
        elif kind == "block":
            block = words[at : at + rng.randint(1, 12)]
            del words[at : at + len(block)]
            to = rng.randint(0, len(words))
            words[to:to] = block
        elif kind == "case":
            words[at] = rng.choice([words[at].upper(), words[at].lower(), words[at].title()])
        elif kind == "word":
            words[at] = rng.choice(rng.choice(EVERYTHING).split() or ["?"])
        elif kind == "char" and words[at]:
            drop = rng.randrange(len(words[at]))
            words[at] = words[at][:drop] + words[at][drop + 1 :]
        elif kind == "punct":
            words[at] += rng.choice([".", ",", "!", " .", "-", "'s", "…", "。", "%", "”"])
    return " ".join(words)


def sentences(rng, n):
    """Lines of all lengths: sentences, and several of them in a row."""
    return [
        " ".join(rng.choices(rng.choice(list(CLASSES.values())), k=rng.choice([1, 1, 1, 2, 5])))
        for _ in range(n)
    ]


TEXTS = []


def text(lines):
    """Where the lines are in the list of texts, which holds each only once."""
    if lines not in TEXTS:
        TEXTS.append(lines)
    return TEXTS.index(lines)


def case(name, metric, hyps, refs, sentence=False, **options):
    """A case as the tests read it: input, settings, and what the reference tool prints."""
    scorer = METRICS[metric](**options)
    if sentence:
        scores = [scorer.sentence_score(h, list(r)) for h, *r in zip(hyps, *refs)]
    else:
        scores = [scorer.corpus_score(hyps, refs)]
    return {
        "name": name,
        "metric": metric,
        "options": options,
        "sentence": sentence,
        "hyps": text(hyps),
        "refs": [text(lines) for lines in refs],
        "lines": [score.format() for score in scores],
        "signature": str(scorer.get_signature()),
    }


BLEU_SETTINGS = [
    {},
    {"lowercase": True},
    {"tokenize": "intl"},
    {"tokenize": "intl", "lowercase": True},
    {"tokenize": "char"},
    {"tokenize": "none"},
    {"tokenize": "none", "smooth_method": "none"},
    {"smooth_method": "floor"},
    {"smooth_method": "floor", "smooth_value": 0.25},
    {"smooth_method": "add-k"},
    {"smooth_method": "add-k", "smooth_value": 0.5},
    {"effective_order": True},
]
CHRF_SETTINGS = [
    {},
    {"word_order": 2},
    {"word_order": 1, "beta": 3},
    {"lowercase": True},
    {"word_order": 2, "lowercase": True},
    {"whitespace": True},
    {"char_order": 4, "beta": 1},
    {"word_order": 2, "eps_smoothing": True},
]
TER_SETTINGS = [
    {},
    {"case_sensitive": True},
    {"normalized": True},
    {"no_punct": True},
    {"normalized": True, "asian_support": True},
    {"no_punct": True, "asian_support": True},
    {"normalized": True, "no_punct": True, "asian_support": True, "case_sensitive": True},
]
SETTINGS = (
    [("bleu", options) for options in BLEU_SETTINGS]
    + [("chrf", options) for options in CHRF_SETTINGS]
    + [("ter", options) for options in TER_SETTINGS]
)
DEFAULTS = [("bleu", {}), ("chrf", {}), ("chrf", {"word_order": 2}), ("ter", {})]


def cases(rng):
    result = []
    # Every setting on everything, with one reference and with two.
    everything = [noisy(rng, line, 4) for line in EVERYTHING]
    second = [noisy(rng, line, 3) for line in EVERYTHING]
    for metric, options in SETTINGS:
        result.append(case("everything", metric, everything, [EVERYTHING], **options))
    for metric, options in DEFAULTS + [("bleu", {"tokenize": "intl"})]:
        refs = [EVERYTHING, second, everything[::-1]]
        result.append(case("three references", metric, everything[1:] + [""], refs, **options))
    # The settings that matter for a kind of text, on it alone.
    for name, lines in CLASSES.items():
        hyps = [noisy(rng, line, 3) for line in lines]
        for metric, options in DEFAULTS:
            result.append(case(name, metric, hyps, [lines], **options))
        for tokenize in ("intl", "char"):
            result.append(case(name, "bleu", hyps, [lines], tokenize=tokenize))
        result.append(
            case(name, "ter", hyps, [lines], normalized=True, no_punct=True, asian_support=True)
        )
    # Lines that are empty or the same.
    empty = [
        ("identical", PLAIN[:3], [PLAIN[:3]]),
        ("one empty hypothesis", ["", PLAIN[1]], [PLAIN[:2]]),
        ("all hypotheses empty", ["", " "], [PLAIN[:2]]),
        ("one empty reference", PLAIN[:2], [["", PLAIN[1]]]),
        ("all references empty", PLAIN[:2], [["", ""]]),
        ("all empty", ["", ""], [["", ""]]),
        ("nothing matches", ["qq ww ee rr"], [["aa ss dd ff"]]),
        ("too short for any order", ["a b"], [["a b"]]),
        ("one character", ["x"], [["x"]]),
        ("second reference empty", PLAIN[:2], [[PLAIN[2], PLAIN[1]], ["", ""]]),
    ]
    for name, hyps, refs in empty:
        for metric, options in DEFAULTS + [("bleu", {"smooth_method": "none"})]:
            result.append(case(name, metric, hyps, refs, **options))
    # One sentence at a time.
    for metric, options in SETTINGS:
        if metric == "bleu":
            options = {**options, "effective_order": True}
        hyps, refs = everything[5::4], [EVERYTHING[5::4], second[5::4]]
        result.append(case("sentences", metric, hyps, refs, sentence=True, **options))
    # Long lines in disorder, so that shifts and their limits are exercised.
    longs = [" ".join(rng.choices(PLAIN + GERMAN + SPANISH, k=k)) for k in (2, 4, 6, 9, 14)]
    for strength in (3, 9, 20):
        hyps = [noisy(rng, line, strength) for line in longs]
        result.append(case(f"long, strength {strength}", "ter", hyps, [longs], sentence=True))
    letters = ["".join(rng.choices("aaabbcd ", k=k)) for k in (30, 80, 200, 400)]
    letters = [" ".join(line.replace(" ", "e")) for line in letters]
    hyps = [noisy(rng, line, 25) for line in letters]
    result.append(case("few words, often repeated", "ter", hyps, [letters], sentence=True))
    words = [str(i) for i in range(300)]
    far = [" ".join(words[250:] + words[:250]), " ".join(words[:7]), "5 290", " ".join(words * 2)]
    result.append(
        case("far from the diagonal", "ter", far, [[" ".join(words)] * 4], sentence=True)
    )
    return result


class Generator:
    """Draws that the tests repeat: a linear congruential generator, upper bits, modulo."""

    def __init__(self, _seed=None):
        self.state = SEED

    def below(self, bound):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % bound

    def choice(self, n, size, replace):
        assert replace
        return numpy.array([[self.below(n) for _ in range(size[1])] for _ in range(size[0])])

    def integers(self, n, size, dtype):
        return numpy.array([[self.below(n) for _ in range(size[1])] for _ in range(size[0])], dtype)


def comparisons(rng):
    """What sacreBLEU's tests say about two systems, given these draws."""
    numpy.random.default_rng = Generator
    refs = EVERYTHING[:40]
    systems = {f"strength {k}": [noisy(rng, line, k) for line in refs] for k in (6, 7)}
    result = []
    for metric, options in DEFAULTS:
        for test, trials in (("bs", 200), ("ar", 300)):
            scorers = {metric: METRICS[metric](**options)}
            paired = significance.PairedTest(
                list(systems.items()), scorers, [refs], test_type=test, n_samples=trials
            )
            signatures, scores = paired()
            (name,) = signatures
            baseline, system = scores[name]
            result.append(
                {
                    "metric": metric,
                    "options": options,
                    "test": test,
                    "trials": trials,
                    "baseline": text(list(systems.values())[0]),
                    "system": text(list(systems.values())[1]),
                    "refs": [text(refs)],
                    "intervals": [
                        {"mean": float(found.mean), "half_width": float(found.ci)}
                        for found in (baseline, system)
                        if found.mean is not None
                    ],
                    "p_value": system.p_value,
                    "signature": str(signatures[name]),
                }
            )
    return result


def main():
    rng = random.Random(SEED)
    path = "crates/text/tests/data/metrics.json"
    if len(sys.argv) > 1:
        n, path = int(sys.argv[1]), sys.argv[2]
        rng = random.Random(SEED + n)
        refs = [sentences(rng, n)]
        refs.append([noisy(rng, line, 4) for line in refs[0]])
        hyps = [noisy(rng, line, 8) for line in refs[0]]
        found = [
            case(f"{n} sentences, {k} references", metric, hyps, refs[:k], sentence, **options)
            for metric, options in SETTINGS
            for k, sentence in ((1, False), (2, False), (1, True))
        ]
        data = {"sacrebleu": sacrebleu.__version__, "seed": SEED + n, "cases": found}
        data["comparisons"] = []
    else:
        data = {"sacrebleu": sacrebleu.__version__, "seed": SEED, "cases": cases(rng)}
        data["comparisons"] = comparisons(rng)
    data["texts"] = TEXTS
    with open(path, "w", encoding="utf-8") as file:
        json.dump(data, file, ensure_ascii=False, indent=1)
        file.write("\n")
    print(f"{len(data['cases'])} cases written to {path}")


if __name__ == "__main__":
    main()
