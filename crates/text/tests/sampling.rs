//! Subwords drawn at random: without chance they are the tokenizer's own, with chance they
//! differ, always spell the text, and are the same for the same random numbers.

#![allow(clippy::unwrap_used)]

use std::{collections::HashSet, fs, sync::Arc};

use proptest::prelude::*;
use serde_json::{Value, json};
use text::{Sampler, Sampling, Tag, Tokenizer, TokenizerConfig, TokenizerKind, Tokenizers};

/// Words from syllables, so that subwords of several lengths compete.
fn lines() -> Vec<String> {
    const SYLLABLES: [&str; 14] = [
        "ka", "ter", "is", "mö", "lon", "ri", "ße", "que", "ст", "во", "на", "aa", "猫", "e\u{301}",
    ];
    let syllable = |n: usize| SYLLABLES[n % SYLLABLES.len()];
    let word = |i: usize, j: usize| {
        let parts = [i * i + j, j * j + 3 * i, i + 5 * j, i * j];
        parts[..1 + (i + j) % 4].iter().map(|&n| syllable(n)).collect::<String>()
    };
    (0..500).map(|i| (0..1 + i % 9).map(|j| word(i, j)).collect::<Vec<_>>().join(" ")).collect()
}

fn tokenizer(kind: TokenizerKind) -> Arc<Tokenizer> {
    let config = TokenizerConfig { kind, vocab: 420, joint: true };
    Arc::new(Tokenizer::train(&config, lines().into_iter()).unwrap())
}

/// Numbers in `[0, 1)` from a linear congruential generator (Knuth's constants), upper bits.
fn numbers(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn sampled(sampler: &mut Sampler, text: &str, seed: u64) -> Vec<u32> {
    let pieces = sampler.pieces(&[text]).unwrap().remove(0);
    let mut ids = Vec::new();
    sampler.sample(&pieces, &mut numbers(seed), &mut ids);
    ids
}

fn usual(sampler: &mut Sampler, text: &str) -> Vec<u32> {
    let pieces = sampler.pieces(&[text]).unwrap().remove(0);
    let mut ids = Vec::new();
    sampler.usual(&pieces, &mut ids);
    ids
}

/// A sampler of each kind that leaves nothing to chance, or next to nothing.
fn certain() -> [(Arc<Tokenizer>, Sampler); 2] {
    let (bpe, unigram) = (tokenizer(TokenizerKind::Bpe), tokenizer(TokenizerKind::Unigram));
    let dropout = Sampler::new(Arc::clone(&bpe), Sampling::Dropout(0.0)).unwrap();
    let sampling = Sampler::new(Arc::clone(&unigram), Sampling::Exponent(1e6)).unwrap();
    [(bpe, dropout), (unigram, sampling)]
}

const ODD: [&str; 10] = [
    "",
    "   leading, trailing  and   double   ",
    "\t\r\n\u{b}\u{c}\u{85}\u{2028}\u{a0}\u{3000}\u{feff}",
    "\u{1}\u{7f}\u{1b}[31m\u{200b}\u{200d}\u{ad}",
    "</s><pad> <s>x</s> <unk> <bt>",
    "é e\u{301} ﬁ Å 👩‍👩‍👧‍👦 🇩🇪 ་ ﷽",
    "\u{10ffff}\u{fffd}\u{fffe}\u{e000}",
    "ĠĊ Ġ",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "don't 12345 ...... ababababab",
];

#[test]
fn without_chance_the_ids_are_the_tokenizers() {
    let long = "aa".repeat(20_000) + &"ka".repeat(5_000);
    for (tokenizer, mut sampler) in certain() {
        for text in ODD.into_iter().map(str::to_owned).chain(lines()).chain([long.clone()]) {
            let expected = tokenizer.encode(&text).unwrap().ids;
            assert_eq!(usual(&mut sampler, &text), expected, "{:?}", &text[..text.len().min(60)]);
        }
    }
    let [(bpe, mut sampler), _] = certain();
    for text in lines() {
        assert_eq!(sampled(&mut sampler, &text, 1), bpe.encode(&text).unwrap().ids, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_keeps_its_ids_without_chance_and_its_letters_with_it(
        texts in prop::collection::vec(".{0,40}|\\PC{0,40}|[ a-cé'<s/>\t]{0,40}", 12),
        rate in 0.0..0.99f64,
        exponent in 0.01..3.0f64,
        seed: u64,
    ) {
        thread_local! {
            static TOKENIZERS: [Arc<Tokenizer>; 2] =
                [TokenizerKind::Bpe, TokenizerKind::Unigram].map(tokenizer);
        }
        let ways = [Sampling::Dropout(rate), Sampling::Exponent(exponent)];
        for (tokenizer, way) in TOKENIZERS.with(Clone::clone).into_iter().zip(ways) {
            let mut sampler = Sampler::new(Arc::clone(&tokenizer), way).unwrap();
            for text in &texts {
                let expected = tokenizer.encode(text).unwrap().ids;
                prop_assert_eq!(usual(&mut sampler, text), expected);
                let ids = sampled(&mut sampler, text, seed);
                prop_assert_eq!(&tokenizer.decode(&ids).unwrap(), text);
            }
        }
    }
}

#[test]
fn cuts_vary_with_the_numbers_and_with_nothing_else() {
    for (kind, way) in [
        (TokenizerKind::Bpe, Sampling::Dropout(0.3)),
        (TokenizerKind::Unigram, Sampling::Exponent(0.2)),
    ] {
        let tokenizer = tokenizer(kind);
        let mut sampler = Sampler::new(Arc::clone(&tokenizer), way).unwrap();
        let text = lines().swap_remove(44);
        let cuts: HashSet<Vec<u32>> =
            (0..50).map(|seed| sampled(&mut sampler, &text, seed)).collect();
        assert!(cuts.len() > 20, "{kind:?}: {} cuts of {text}", cuts.len());
        // A sampler that has seen other texts before numbers pieces otherwise.
        let mut other = Sampler::new(tokenizer, way).unwrap();
        other.pieces(&lines()).unwrap();
        for seed in 0..50 {
            assert_eq!(sampled(&mut sampler, &text, seed), sampled(&mut other, &text, seed));
        }
    }
}

/// At rate 1 − ε nothing is merged; the rate in between is that of the merges left out.
#[test]
fn a_higher_rate_makes_more_and_shorter_subwords() {
    let tokenizer = tokenizer(TokenizerKind::Bpe);
    let length = |rate: f64| {
        let mut sampler = Sampler::new(Arc::clone(&tokenizer), Sampling::Dropout(rate)).unwrap();
        let lines = lines();
        lines.iter().zip(0..).map(|(line, seed)| sampled(&mut sampler, line, seed).len()).sum()
    };
    let lengths: Vec<usize> = [0.0, 0.1, 0.5, 1.0 - 1e-12].into_iter().map(length).collect();
    assert!(lengths.is_sorted() && lengths[0] < lengths[1], "{lengths:?}");
    assert_eq!(lengths[3], lines().iter().map(String::len).sum::<usize>());
}

#[test]
fn a_tokenizer_of_the_other_kind_is_refused() {
    let error = Sampler::new(tokenizer(TokenizerKind::Unigram), Sampling::Dropout(0.1));
    let message = error.unwrap_err().to_string();
    assert!(message.contains("BPE-dropout needs a BPE tokenizer"), "{message}");
    let error = Sampler::new(tokenizer(TokenizerKind::Bpe), Sampling::Exponent(0.1));
    let message = error.unwrap_err().to_string();
    assert!(message.contains("needs a unigram tokenizer"), "{message}");
}

/// Saves a BPE tokenizer with one value changed, and opens it.
fn changed(place: &str, value: Value) -> text::Result<Tokenizer> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    tokenizer(TokenizerKind::Bpe).save(&path).unwrap();
    let mut json: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    *json.pointer_mut(place).unwrap() = value;
    fs::write(&path, json.to_string()).unwrap();
    Tokenizer::open(&path)
}

#[test]
fn dropout_in_a_tokenizer_file_does_not_make_encoding_a_matter_of_chance() {
    let opened = changed("/model/dropout", json!(0.9)).unwrap();
    let usual = tokenizer(TokenizerKind::Bpe);
    for line in lines() {
        assert_eq!(opened.encode(&line).unwrap(), usual.encode(&line).unwrap());
    }
}

#[test]
fn a_tokenizer_that_does_not_merge_alone_is_refused() {
    let opened = Arc::new(changed("/model/ignore_merges", json!(true)).unwrap());
    let message = Sampler::new(opened, Sampling::Dropout(0.1)).unwrap_err().to_string();
    assert!(message.contains("by merging alone"), "{message}");
}

#[test]
fn a_tag_is_an_id_that_no_text_becomes_or_comes_from() {
    let tags = ["<bt>", "<noisy>"].map(|name| Tag::try_from(name.to_owned()).unwrap());
    let folder = tempfile::tempdir().unwrap();
    for kind in [TokenizerKind::Bpe, TokenizerKind::Unigram] {
        for joint in [true, false] {
            let config = TokenizerConfig { kind, vocab: 300, joint };
            let (src, tgt) = (lines().into_iter(), lines().into_iter().rev());
            let plain = Tokenizers::train(&config, src, tgt).unwrap();
            let tagged = plain.clone().with_tags(&tags).unwrap();
            assert_ne!(tagged.src.fingerprint(), plain.src.fingerprint());
            assert_eq!(tagged.tgt.tag(&tags[0]).is_some(), joint);
            assert_eq!(tagged.joint(), joint);

            tagged.save(folder.path()).unwrap();
            let opened = Tokenizers::open(folder.path()).unwrap();
            assert_eq!(opened.src.fingerprint(), tagged.src.fingerprint());
            let ids: Vec<_> = tags.iter().map(|tag| opened.src.tag(tag)).collect();
            assert_eq!(ids, [Some(300), Some(301)]);
            assert_eq!(opened.src.vocab_size(), 302);
            assert_eq!(opened.src.token(300).as_deref(), Some("<bt>"));

            let text = "ka <bt> <noisy>ter";
            let encoded = opened.src.encode(text).unwrap();
            assert_eq!(encoded, plain.src.encode(text).unwrap());
            let mut with_tag = vec![300];
            with_tag.extend(encoded.ids);
            assert_eq!(opened.src.decode(&with_tag).unwrap(), text);
            let again = opened.clone().with_tags(&tags[1..]).unwrap();
            assert_eq!(again.src.fingerprint(), opened.src.fingerprint());
        }
    }
}
