//! `nmt import`: models of others translate as they did where they came from.
//!
//! What is expected was computed by the `transformers` library: `scripts/reference/marian.py`.

mod place;

use std::{collections::BTreeSet, fs, path::Path};

use place::Place;
use serde_json::Value;

/// Folders with models, beside this file.
const FOLDERS: [&str; 2] = ["joint", "separate"];

/// Scores differ by rounding alone: they are sums of `f32` in another order.
const TOLERANCE: f64 = 2e-5;

/// A place with the folders, and each imported as `ours-…`.
fn imported() -> Place {
    let place = Place::empty();
    for name in FOLDERS {
        copy(&place, name);
        let said = place.done(&format!("import {name} --out ours-{name}"));
        assert!(said.contains("nmt translate ours-"), "{said}");
    }
    place
}

/// Copies one of the folders to the place.
fn copy(place: &Place, name: &str) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/marian").join(name);
    fs::create_dir_all(place.path(name)).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), place.path(name).join(entry.file_name())).unwrap();
    }
}

/// What the library made of the sentences of a folder, which are written to `src` and `tgt`.
fn expected(place: &Place, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(place.path(name).join("expected.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    for side in ["src", "tgt"] {
        let lines: Vec<_> = rows.iter().map(|row| row[side].as_str().unwrap()).collect();
        place.write(side, lines.join("\n") + "\n");
    }
    rows
}

/// The JSON lines that a verb writes.
fn rows(place: &Place, arguments: &str) -> Vec<Value> {
    let (code, data, said) = place.nmt(&format!("{arguments} --format jsonl --quiet"));
    assert_eq!(code, 0, "{said}");
    data.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn close(found: &Value, expected: &Value) {
    let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
    assert!((found - expected).abs() < TOLERANCE, "{found}, expected {expected}");
}

#[test]
fn every_token_has_the_probability_that_it_had() {
    let place = imported();
    for name in FOLDERS {
        let expected = expected(&place, name);
        let found = rows(&place, &format!("score ours-{name} src tgt"));
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            let log_probs = expected["log_probs"].as_array().unwrap();
            let tokens = found["tokens"].as_array().unwrap();
            assert_eq!(tokens.len(), log_probs.len(), "{found}");
            for (token, log_prob) in tokens.iter().zip(log_probs) {
                close(&token["log_prob"], log_prob);
            }
        }
    }
}

#[test]
fn translations_and_their_scores_are_the_same() {
    let place = imported();
    for name in FOLDERS {
        let expected = expected(&place, name);
        // The library goes on in circles until the longest length.
        let settings = format!("ours-{name}/generation_config.json");
        let text = fs::read_to_string(place.path(&settings)).unwrap();
        assert!(text.contains("\"beam\": 4") && text.contains("\"max_len_offset\": 58"), "{text}");
        place.write(&settings, text.replace("\"loop_guard\": 10", "\"loop_guard\": 0"));
        for (how, beam) in [("greedy", 1), ("beam", 4)] {
            let found = rows(&place, &format!("translate ours-{name} src --beam {beam}"));
            let mut different = BTreeSet::new();
            for (found, expected) in found.iter().zip(&expected) {
                let (found, expected) = (&found["translations"][0], &expected[how]);
                assert_eq!(found["text"], expected["text"]);
                if expected["score"].is_number() {
                    close(&found["score"], &expected["score"]);
                }
                different.insert(found["text"].to_string());
            }
            assert!(different.len() > 10, "most translations are the same, so little was compared");
        }
    }
}

#[test]
fn words_keep_their_places_in_the_text() {
    let place = imported();
    place.write("src", "I don’t  know  Я猫, ①②\n");
    place.write("tgt", "No sé ﬁn Я\n");
    let found = &rows(&place, "align ours-joint src tgt")[0];
    let words = |side: &str| -> Vec<String> {
        let words = found["alignment"].get(side).or(found.get(side)).unwrap().as_array().unwrap();
        words.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(words("src_words"), ["I", "don't", "know", "Я猫,", "12"]);
    assert_eq!(words("tgt_words"), ["No", "sé", "fin", "Я"]);
}

#[test]
fn a_model_is_trained_further_and_gets_eight_bits() {
    let place = imported();
    for name in FOLDERS {
        expected(&place, name);
        let corpus = r#"{ src = "src", tgt = "tgt" }"#;
        place.write(
            "tune.toml",
            format!(
                "[data]\nsrc = \"en\"\ntgt = \"es\"\ntrain = [{corpus}]\nvalid = {corpus}\n\
                 [init]\ndir = \"ours-{name}\"\n[tokenizer]\ndir = \"ours-{name}\"\n\
                 [model.transformer]\ndim = 16\nheads = 4\nffn_dim = 64\nencoder_layers = {0}\n\
                 decoder_layers = {0}\nnorm_place = \"after\"\nactivation = \"{1}\"\ntie = \"{2}\"\n\
                 [training]\nupdates = 6\nbatch_tokens = 400\nlr = 0.01\n",
                if name == "joint" { 2 } else { 1 },
                if name == "joint" { "silu" } else { "relu" },
                if name == "joint" { "all" } else { "none" },
            ),
        );
        place.done(&format!("train tune.toml --out tuned-{name}"));
        let perplexity = |model: &str| -> f64 {
            let (code, _, said) = place.nmt(&format!("score {model} src tgt"));
            assert_eq!(code, 0, "{said}");
            let number = said.split("perplexity ").nth(1).unwrap().split(' ').next().unwrap();
            number.replace(',', "").parse().unwrap()
        };
        let [before, after] =
            [format!("ours-{name}"), format!("tuned-{name}/last")].map(|model| perplexity(&model));
        assert!(after < before, "{after}, was {before}");

        place.done(&format!("export ours-{name} --precision int8 --out small-{name}"));
        let small = perplexity(&format!("small-{name}"));
        assert!((small / before - 1.0).abs() < 0.1, "{small}, was {before}");
    }
}

/// Changes a text of the folder `joint`.
fn change(place: &Place, file: &str, from: &str, to: &str) {
    let path = format!("joint/{file}");
    let text = fs::read_to_string(place.path(&path)).unwrap();
    assert!(text.contains(from), "{text}");
    place.write(&path, text.replacen(from, to, 1));
}

#[test]
fn what_cannot_be_imported_is_named_and_leaves_nothing() {
    let cut = |place: &Place, file: &str, keep: usize| {
        let content = fs::read(place.path("joint").join(file)).unwrap();
        place.write(&format!("joint/{file}"), &content[..keep]);
    };
    type Damage<'a> = Box<dyn Fn(&Place) + 'a>;
    let config = |from: &'static str, to: &'static str| -> Damage<'_> {
        Box::new(move |place| change(place, "config.json", from, to))
    };
    let cases: Vec<(Damage<'_>, &str)> = vec![
        (
            config("\"swish\"", "\"tanh\""),
            "`activation_function` is \"tanh\", expected \"relu\", \"gelu\", \"swish\" or \"silu\"",
        ),
        (
            config("\"model_type\": \"marian\"", "\"model_type\": \"m2m_100\""),
            "`model_type` is \"m2m_100\", expected \"marian\"",
        ),
        (
            config("\"d_model\": 16", "\"d_model\": 32"),
            "has shape [266, 16], the configuration asks for [266, 32]",
        ),
        (
            config("\"d_model\": 16", "\"d_model\": 99999999"),
            "`d_model` is 99999999, expected 1 to ",
        ),
        (
            config("\"encoder_layers\": 2", "\"encoder_layers\": 3"),
            "has no parameter model.encoder.layers.2.self_attn.q_proj.weight",
        ),
        (
            config("\"decoder_layers\": 2", "\"decoder_layers\": 1"),
            "has a parameter model.decoder.layers.1.",
        ),
        (
            config("\"decoder_attention_heads\": 4", "\"decoder_attention_heads\": 2"),
            "`encoder_attention_heads` is 4 and `decoder_attention_heads` 2",
        ),
        (
            config("\"eos_token_id\": 0", "\"eos_token_id\": 7"),
            "`eos_token_id` is 7, but vocab.json has </s> at 0",
        ),
        (
            config("\"vocab_size\": 266", "\"vocab_size\": 267"),
            "vocab.json: it has 266 entries, config.json says that there are 267",
        ),
        (Box::new(|place| cut(place, "config.json", 100)), "config.json describes no Marian model"),
        (Box::new(|place| cut(place, "model.safetensors", 5000)), "model.safetensors"),
        (Box::new(|place| cut(place, "source.spm", 1000)), "source.spm is no SentencePiece model"),
        (Box::new(|place| cut(place, "vocab.json", 1000)), "vocab.json: it is no table of pieces"),
        (
            Box::new(|place| {
                let from = place.path("joint/model.safetensors");
                fs::rename(from, place.path("joint/pytorch_model.bin")).unwrap();
            }),
            "pytorch_model.bin is a Python pickle, which may run any program when it is read",
        ),
        (
            Box::new(|place| fs::remove_file(place.path("joint/target.spm")).unwrap()),
            "cannot read joint/target.spm",
        ),
        (
            Box::new(|place| fs::remove_file(place.path("joint/model.safetensors")).unwrap()),
            "joint holds no model: model.safetensors is missing",
        ),
    ];
    for (damage, complaint) in cases {
        let place = Place::empty();
        copy(&place, "joint");
        damage(&place);
        let (code, _, said) = place.nmt("import joint --out ours");
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(complaint), "expected {complaint:?} in:\n{said}");
        assert!(!place.path("ours").exists());
        let names = fs::read_dir(place.path("")).unwrap();
        assert_eq!(names.count(), 1, "something was left behind");
    }
}

#[test]
fn what_exists_is_not_overwritten() {
    let place = imported();
    let (code, _, said) = place.nmt("import separate --out ours-joint");
    assert_eq!(code, 1);
    assert!(said.contains("ours-joint exists already"), "{said}");
    let (code, _, said) = place.nmt("import nowhere --out new");
    assert_eq!(code, 1);
    assert!(said.contains("there is no folder nowhere"), "{said}");
}
