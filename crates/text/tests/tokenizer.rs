//! Tokenizers give every text back, know where each id came from, and are learnt the same way
//! every time.

#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use proptest::prelude::*;
use serde_json::{Value, json};
use text::{
    Error, Normalize, Tokenizer, TokenizerConfig, TokenizerKind, Tokenizers,
    vocab::{SPECIALS, is_special},
};

const KINDS: [TokenizerKind; 2] = [TokenizerKind::Bpe, TokenizerKind::Unigram];

/// A few hundred different lines: words of several scripts, with runs and repetitions, which are
/// what makes merges compete, and many words from few syllables.
fn lines() -> Vec<String> {
    const WORDS: [&str; 29] = [
        "the",
        "cat",
        "sees",
        "Häuser",
        "Straße",
        "l'été",
        "naïve",
        "кошка",
        "видит",
        "猫",
        "見る",
        "हिन्दी",
        "مرحبا",
        "banana",
        "seesaw",
        "cats",
        "aaaa",
        "aaaaaaa",
        "ababab",
        "....",
        "......",
        "--",
        "1999",
        "19",
        "don't",
        "</s>",
        "<pad>",
        "🙂🙂",
        "e\u{301}e\u{301}",
    ];
    const SYLLABLES: [&str; 11] =
        ["ka", "ter", "is", "mö", "lon", "ri", "ße", "que", "ст", "во", "на"];
    let word = |i: usize, j: usize| match (i * i + 7 * i * j + 3 * j * j) % 61 {
        known if known < WORDS.len() => WORDS[known].to_owned(),
        n => [n, n / 2 + i, i / 3 + j, j + n * i].map(|k| SYLLABLES[k % SYLLABLES.len()]).concat(),
    };
    (0..400usize)
        .map(|i| {
            let words: Vec<String> = (0..i % 11).map(|j| word(i, j)).collect();
            words.join(if i % 13 == 0 { "  " } else { " " })
        })
        .collect()
}

fn config(kind: TokenizerKind, vocab: usize) -> TokenizerConfig {
    TokenizerConfig { kind, vocab, joint: true }
}

fn train(kind: TokenizerKind, vocab: usize) -> Tokenizer {
    Tokenizer::train(&config(kind, vocab), lines().into_iter()).unwrap()
}

fn saved(tokenizer: &Tokenizer) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    tokenizer.save(&path).unwrap();
    fs::read_to_string(path).unwrap()
}

/// What must hold for every text.
fn check(tokenizer: &Tokenizer, text: &str) {
    let encoding = tokenizer.encode(text).unwrap();
    assert_eq!(tokenizer.decode(&encoding.ids).unwrap(), text);
    assert_eq!(encoding.ids.len(), encoding.spans.len());
    assert!(encoding.ids.iter().all(|&id| !is_special(id)), "a special id in {text:?}");

    let mut covered = 0;
    for (span, &id) in encoding.spans.iter().zip(&encoding.ids) {
        let piece = text.get(span.clone()).expect("a span lies at character boundaries");
        assert!(span.start <= covered && span.end > span.start, "{:?}", encoding.spans);
        covered = span.end;
        let alone = tokenizer.decode(&[id]).unwrap();
        assert!(
            alone == piece || alone.contains('\u{fffd}'),
            "id {id} is {alone:?} but its span is {piece:?}"
        );
    }
    assert_eq!(covered, text.len());
}

#[test]
fn odd_texts_come_back_exactly() {
    let long = "a".repeat(70_000) + &"'b".repeat(20_000) + &" ".repeat(30_000);
    let texts = [
        "",
        " ",
        "   leading, trailing  and   double   ",
        "\t\r\n\u{b}\u{c}\u{85}\u{2028}\u{a0}\u{3000}\u{feff}",
        "\u{1}\u{7f}\u{1b}[31m\u{200b}\u{200d}\u{ad}",
        "</s><pad> <s>x</s> <unk>",
        "<pad>",
        "é e\u{301} ﬁ Å 👩‍👩‍👧‍👦 🇩🇪 ་ ﷽",
        "\u{10ffff}\u{fffd}\u{fffe}\u{e000}",
        "ĠĊ Ġ",
        &long,
    ];
    for kind in KINDS {
        let tokenizer = train(kind, 400);
        for text in texts {
            check(&tokenizer, text);
        }
        assert!(tokenizer.encode("").unwrap().ids.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_comes_back_exactly(texts in prop::collection::vec(".{0,40}|\\PC{0,40}|[ a-cé'<s/>\t]{0,40}", 20)) {
        thread_local! {
            static TOKENIZERS: [Tokenizer; 2] = KINDS.map(|kind| train(kind, 400));
        }
        TOKENIZERS.with(|tokenizers| {
            for tokenizer in tokenizers {
                texts.iter().for_each(|text| check(tokenizer, text));
            }
        });
    }

    #[test]
    fn any_text_can_be_learnt_from(lines in prop::collection::vec("\\PC{1,20}", 1..8), unigram: bool) {
        let kind = KINDS[usize::from(unigram)];
        let tokenizer = Tokenizer::train(&config(kind, 300), lines.iter().cloned()).unwrap();
        prop_assert!((260..=300).contains(&tokenizer.vocab_size()));
        lines.iter().for_each(|line| check(&tokenizer, line));
    }
}

#[test]
fn a_character_in_two_ids_is_in_the_span_of_both() {
    let tokenizer =
        Tokenizer::train(&config(TokenizerKind::Bpe, 260), ["x".to_owned()].into_iter()).unwrap();
    let encoding = tokenizer.encode("aé猫").unwrap();
    assert_eq!(encoding.spans, [0..1, 1..3, 1..3, 3..6, 3..6, 3..6]);
}

#[test]
fn frequent_words_become_one_id() {
    for kind in KINDS {
        let tokenizer = train(kind, 500);
        let encoding = tokenizer.encode(" cat sees").unwrap();
        assert_eq!(encoding.spans, [0..4, 4..9], "{kind:?}");
        assert_eq!(tokenizer.token(encoding.ids[0]).unwrap(), "Ġcat");
    }
}

#[test]
fn special_ids_stand_first_and_have_no_text() {
    for kind in KINDS {
        let tokenizer = train(kind, 300);
        for (id, name) in SPECIALS.iter().enumerate() {
            assert_eq!(tokenizer.token(id as u32).unwrap(), *name);
        }
        assert_eq!(tokenizer.decode(&[2, 0, 1, 3]).unwrap(), "");
        let error = tokenizer.decode(&[4, 300]).unwrap_err();
        assert!(matches!(error, Error::UnknownId { id: 300, vocab: 300 }), "{error}");
        assert_eq!(tokenizer.token(300), None);
    }
}

#[test]
fn bytes_that_are_no_utf_8_become_replacement_characters() {
    let tokenizer = train(TokenizerKind::Bpe, 300);
    let half = (4..260).find(|&id| tokenizer.token(id).unwrap() == "Ã").unwrap();
    assert_eq!(tokenizer.decode(&[half]).unwrap(), "\u{fffd}");
}

#[test]
fn a_vocabulary_has_the_size_asked_for() {
    for kind in KINDS {
        for vocab in [260, 261, 262, 350] {
            let tokenizer = train(kind, vocab);
            assert_eq!(tokenizer.vocab_size(), vocab, "{kind:?}");
            check(&tokenizer, "Ein Satz mit 7 Wörtern, 猫.");
        }
        let error = Tokenizer::train(&config(kind, 259), lines().into_iter()).unwrap_err();
        assert!(matches!(error, Error::VocabTooSmall { found: 259, needed: 260 }), "{error}");
    }
}

#[test]
fn nothing_to_learn_from_is_an_error() {
    for kind in KINDS {
        let empty = std::iter::repeat_n(String::new(), 3);
        let error = Tokenizer::train(&config(kind, 300), empty).unwrap_err();
        assert!(matches!(error, Error::NoTrainingText), "{error}");
    }
}

#[test]
fn the_same_lines_give_the_same_file_in_any_order_and_on_any_number_of_threads() {
    for kind in KINDS {
        let expected = saved(&train(kind, 420));
        for threads in [1, 2, 7] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let again = pool.install(|| {
                let lines = lines().into_iter().rev();
                Tokenizer::train(&config(kind, 420), lines).unwrap()
            });
            assert!(saved(&again) == expected, "{kind:?} on {threads} threads differs");
        }
    }
}

/// Runs and repetitions of two letters are where the same entry can be reached in two ways.
#[test]
fn repetitions_do_not_make_merges_a_matter_of_chance() {
    for seed in 0..20u32 {
        let mut state = seed;
        let mut lines = Vec::new();
        for length in 0..60 {
            let letters = (0..length % 17).map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if state >> 30 == 0 { 'b' } else { 'a' }
            });
            lines.push(letters.collect::<String>());
        }
        let learn = || {
            let lines = lines.iter().cloned();
            saved(&Tokenizer::train(&config(TokenizerKind::Bpe, 330), lines).unwrap())
        };
        let first = learn();
        assert!((0..4).all(|_| learn() == first), "seed {seed}");
    }
}

#[test]
fn many_texts_are_encoded_like_each_alone() {
    let tokenizer = train(TokenizerKind::Unigram, 300);
    let lines = lines();
    let all = tokenizer.encode_all(&lines).unwrap();
    assert_eq!(all.len(), lines.len());
    for (line, encoding) in lines.iter().zip(all) {
        assert_eq!(encoding, tokenizer.encode(line).unwrap());
    }
}

#[test]
fn a_saved_tokenizer_is_the_same_when_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    for kind in KINDS {
        let tokenizer = train(kind, 320);
        tokenizer.save(&path).unwrap();
        let opened = Tokenizer::open(&path).unwrap();
        assert_eq!(opened.fingerprint(), tokenizer.fingerprint());
        assert_eq!(opened.vocab_size(), 320);
        for line in lines() {
            assert_eq!(opened.encode(&line).unwrap(), tokenizer.encode(&line).unwrap());
        }
        check(&opened, "</s> <pad>");
    }
}

#[test]
fn fingerprints_tell_tokenizers_apart() {
    let all = [
        train(TokenizerKind::Bpe, 300),
        train(TokenizerKind::Bpe, 301),
        train(TokenizerKind::Unigram, 300),
        Tokenizer::train(&config(TokenizerKind::Bpe, 300), lines().into_iter().skip(40)).unwrap(),
    ];
    let mut fingerprints: Vec<String> = all.iter().map(Tokenizer::fingerprint).collect();
    assert_eq!(fingerprints[0], train(TokenizerKind::Bpe, 300).fingerprint());
    fingerprints.sort();
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), 4);
    assert!(fingerprints.iter().all(|digest| digest.len() == 16));
}

#[test]
fn both_sides_are_kept_in_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let lines = lines();
    let (src, tgt) = lines.split_at(230);
    let train = |joint| {
        let config = TokenizerConfig { joint, ..config(TokenizerKind::Bpe, 300) };
        Tokenizers::train(&config, src.iter().cloned(), tgt.iter().cloned()).unwrap()
    };
    for (joint, files) in [
        (true, vec!["normalize.json", "tokenizer.json"]),
        (false, vec!["normalize.json", "tokenizer.src.json", "tokenizer.tgt.json"]),
        (true, vec!["normalize.json", "tokenizer.json"]),
    ] {
        let mut tokenizers = train(joint);
        assert_eq!(tokenizers.joint(), joint);
        assert_eq!(tokenizers.normalize, Normalize::NOTHING);
        tokenizers.normalize.nfc = joint;
        assert_eq!(tokenizers.src.fingerprint() == tokenizers.tgt.fingerprint(), joint);
        tokenizers.save(folder.path()).unwrap();
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, files);
        let opened = Tokenizers::open(folder.path()).unwrap();
        assert_eq!((opened.joint(), opened.normalize), (joint, tokenizers.normalize));
        assert_eq!(opened.src.fingerprint(), tokenizers.src.fingerprint());
        assert_eq!(opened.tgt.fingerprint(), tokenizers.tgt.fingerprint());
    }
}

#[test]
fn a_missing_tokenizer_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = Tokenizers::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json"), "{error}");
    fs::write(folder.path().join("tokenizer.tgt.json"), "").unwrap();
    let error = Tokenizers::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("tokenizer.src.json"), "{error}");
}

fn open_text(content: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    fs::write(&path, content).unwrap();
    let error = Tokenizer::open(&path).unwrap_err().to_string();
    assert!(error.starts_with(&path.display().to_string()), "{error} does not name the file");
    error
}

#[test]
fn a_damaged_tokenizer_is_an_error() {
    let good = saved(&train(TokenizerKind::Bpe, 300));
    for bad in [&good[..1000], "", "{}", "[1, 2]", "no json"] {
        let error = open_text(bad);
        assert!(error.contains("not a readable tokenizer"), "{error}");
    }
}

#[test]
fn a_tokenizer_of_another_kind_is_an_error() {
    let good: Value = serde_json::from_str(&saved(&train(TokenizerKind::Bpe, 300))).unwrap();
    let split = &good["pre_tokenizer"]["pretokenizers"][0];
    let word_level = json!({"type": "WordLevel", "vocab": {"<pad>": 0}, "unk_token": "<pad>"});
    let mut renamed = good["model"]["vocab"].clone();
    let id = renamed.as_object_mut().unwrap().remove("Ń").unwrap();
    renamed["zzzz"] = id;
    let cases = [
        ("/model/vocab/<pad>", json!(300), "id 0 is nothing, expected <pad>"),
        ("/added_tokens/2/content", json!("<S>"), "<s> is not among its added tokens"),
        ("/added_tokens/3/special", json!(false), "\"</s>\" (id 3) is added"),
        ("/model/vocab/Ń", json!(301), "of 300 has no entry"),
        ("/added_tokens/3/content", json!("a b"), "\"a b\" (id 300) is added"),
        ("/model/vocab", renamed, "byte 0xad has no entry of its own"),
        ("/model", word_level, "neither BPE nor unigram"),
        ("/decoder", Value::Null, "decoder is not byte-level"),
        ("/normalizer", json!({"type": "NFC"}), "do not spell the text"),
        ("/normalizer", json!({"type": "Lowercase"}), "do not spell the text"),
        ("/pre_tokenizer", split.clone(), "do not spell the text"),
        ("/pre_tokenizer/pretokenizers/1/add_prefix_space", json!(true), "do not spell the text"),
    ];
    for (place, value, expected) in cases {
        let mut bad = good.clone();
        *bad.pointer_mut(place).unwrap() = value;
        let error = open_text(&bad.to_string());
        assert!(error.contains("another kind") && error.contains(expected), "{place}: {error}");
    }
}

#[test]
fn a_tokenizer_that_cannot_be_written_leaves_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = train(TokenizerKind::Bpe, 300);
    let error = tokenizer.save(&folder.path().join("missing/tokenizer.json")).unwrap_err();
    assert!(matches!(error, Error::Write { .. }), "{error}");
    assert!(tokenizer.save(Path::new("/dev/full")).is_err() || !cfg!(target_os = "linux"));
}
