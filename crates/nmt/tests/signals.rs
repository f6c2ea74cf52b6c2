//! What weights and links say about translations: `nmt evaluate --signals`, and what
//! `nmt translate --format jsonl` has of it.

mod place;
mod untrained;

use model::{ModelConfig, RnnConfig, TransformerConfig};
use place::Place;
use serde_json::{Value, json};

const SRC: &str = "the dog sleeps under a tree\n\na man reads the old book\n";
const HYP: &str = "der Hund Hund schläft\n\na man reads the old Buch\n";

/// A folder with `src`, `hyp` and models that have learned nothing.
fn place() -> Place {
    let place = Place::empty();
    place.write("src", SRC);
    place.write("hyp", HYP);
    let size = |n: usize| n.try_into().expect("not zero");
    let rnn = RnnConfig { embed_dim: size(6), dim: size(8), ..RnnConfig::default() };
    let (dim, heads, ffn_dim) = (size(16), size(2), size(8));
    let transformer = TransformerConfig { dim, heads, ffn_dim, ..Default::default() };
    let mut none = RnnConfig { input_feeding: false, ..rnn.clone() };
    none.attention.kind = model::Kind::None;
    for (name, config) in [
        ("rnn", ModelConfig::Rnn(rnn)),
        ("transformer", ModelConfig::Transformer(transformer)),
        ("none", ModelConfig::Rnn(none)),
    ] {
        untrained::write(&place.path(name), &config, &format!("{SRC}{HYP}"), 1);
    }
    place
}

/// What a run that must succeed writes as data.
fn data(place: &Place, arguments: &str) -> String {
    let (code, data, said) = place.nmt(arguments);
    assert_eq!(code, 0, "{arguments}: {said}");
    data
}

/// How a run that must fail ends, and what it complains about.
fn complaint(place: &Place, arguments: &str) -> (i32, String) {
    let (code, data, said) = place.nmt(arguments);
    assert!(code != 0 && data.is_empty(), "{arguments}: {data}");
    (code, said)
}

fn values(jsonl: &str) -> Vec<Value> {
    jsonl.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn translations_in_json_carry_their_signals() {
    let place = place();
    for model in ["rnn", "transformer"] {
        let lines =
            values(&data(&place, &format!("translate {model} src --nbest 2 --format jsonl")));
        let translated = lines.iter().flat_map(|line| line["translations"].as_array().unwrap());
        let given = values(&data(&place, &format!("align {model} src hyp --format jsonl")));
        assert_eq!(given[0]["flags"].as_array().unwrap().last().unwrap()["tgt"], json!([2]));
        for translation in translated.chain(&given) {
            let (alignment, signals) = (&translation["alignment"], &translation["signals"]);
            let rows = alignment["weights"].as_array().unwrap();
            let n_src = alignment["src_words"].as_array().unwrap().len();
            let coverage = signals["coverage"].as_array().map_or(&[][..], Vec::as_slice);
            assert_eq!(coverage.len(), n_src);
            for (src_idx, covered) in coverage.iter().enumerate() {
                let sum: f64 = rows.iter().map(|row| row[src_idx].as_f64().unwrap()).sum();
                // The weights are written in single precision.
                assert!((sum - covered.as_f64().unwrap()).abs() < 1e-5, "{sum} {covered}");
            }
            let links = alignment["links"].as_array().unwrap();
            let fertility = signals["fertility"].as_array().unwrap();
            let counted: u64 = fertility.iter().map(|n| n.as_u64().unwrap()).sum();
            assert_eq!((fertility.len(), counted), (n_src, links.len() as u64));
            assert_eq!(signals["entropy"].is_number(), !rows.is_empty());
            assert!(translation["flags"].is_array());
        }
    }
    let lines = values(&data(&place, "translate none src --format jsonl"));
    let first = &lines[0]["translations"][0];
    assert!(first["text"].is_string());
    for key in ["alignment", "signals", "flags"] {
        assert!(first.get(key).is_none(), "a model without attention says nothing: {first}");
    }
}

#[test]
fn links_alone_say_what_they_can() {
    let place = place();
    place.write("links", "0-0 1-1 1-2 2-3\n\n0-0 1-1 3-3 2-2 4-4 5-5\n");
    insta::assert_snapshot!(data(
        &place,
        "evaluate --signals --src src --hyp hyp --links links --flagged"
    ));
}

#[test]
fn a_model_says_the_same_of_a_file_as_of_the_json_made_of_it() {
    let place = place();
    for model in ["rnn", "transformer"] {
        for (arguments, jsonl) in [
            (format!("--model {model} --src src"), format!("translate {model} src --format jsonl")),
            (
                format!("--model {model} --src src --hyp hyp"),
                format!("align {model} src hyp --format jsonl"),
            ),
        ] {
            place.done(&format!("{jsonl} --out jsonl"));
            let report = data(&place, &format!("evaluate --signals --flagged {arguments}"));
            assert_eq!(data(&place, "evaluate --signals --flagged --jsonl jsonl"), report);
            for line in ["3 lines\n", "entropy  ", "source entropy  ", "coverage deviation  "] {
                assert!(report.contains(line), "{line}: {report}");
            }
        }
        // What does not depend on the weights is found in given translations.
        let flagged = format!("evaluate --signals --model {model} --src src --hyp hyp --flagged");
        let report = data(&place, &flagged);
        assert!(report.contains("  der Hund [Hund] schläft\n"), "{report}");
        assert!(report.contains("line 3: untranslated, source 0 1 2 3 4, target 0 1 2 3 4\n"));
        let quiet = data(&place, &flagged.replace(" --flagged", ""));
        assert!(report.ends_with(&quiet) && report.len() > quiet.len(), "{quiet}");
    }
}

#[test]
fn lines_that_could_not_be_translated_are_counted_apart() {
    let place = place();
    let line = r#"{"src": "x", "translations": [], "error": "no text"}"#;
    let good = data(&place, "translate rnn src --format jsonl");
    place.write("jsonl", format!("{line}\n{good}"));
    let report = data(&place, "evaluate --signals --jsonl jsonl");
    assert!(report.starts_with("4 lines, 1 without an alignment\n"), "{report}");
    place.write("jsonl", format!("{line}\n"));
    let (code, said) = complaint(&place, "evaluate --signals --jsonl jsonl");
    assert!(code == 1 && said.contains("jsonl has no alignment"), "{said}");
}

#[test]
fn what_cannot_be_judged_is_told() {
    let place = place();
    place.write("empty", "");
    place.write("links", "0-0\n\n9-0\n");
    place.write("text", "no JSON\n");
    place.write("cut", r#"{"alignment": {"src_words": ["a"], "tgt_words": ["b"], "weights": [[]], "eos": [0.5], "links": []}}"#);
    for (arguments, expected, message) in [
        ("--signals", 2, "does not know where alignments come from"),
        ("--signals --src src --hyp hyp", 2, "does not know where alignments come from"),
        ("--signals --src src --hyp hyp --hyp hyp --links links", 2, "takes one `--hyp`"),
        ("--signals --jsonl cut --src src", 2, "cannot be used with"),
        ("--signals --jsonl cut --ref src", 2, "cannot be used with"),
        ("--jsonl cut", 2, "--signals"),
        ("--flagged --hyp hyp --ref hyp", 2, "cannot be used with"),
        ("--flagged --hyp hyp", 2, "--signals"),
        ("--hyp hyp", 2, "--ref <FILE>"),
        ("--model rnn --src src", 2, "--ref <FILE>"),
        ("--model rnn --src src --hyp hyp --ref hyp", 2, "makes the translations that are scored"),
        ("--gold links --links links --hyp hyp", 2, "cannot be used with"),
        ("--links links --hyp hyp --ref hyp", 2, "--gold <FILE>|--signals"),
        ("--signals --src src --hyp hyp --links links", 1, "links, line 3"),
        ("--signals --src src --hyp empty --links links", 1, "src has 3 lines, but empty has 0"),
        ("--signals --src empty --hyp empty --links empty", 1, "empty: there is no line"),
        ("--signals --jsonl text", 1, "text, line 1"),
        ("--signals --jsonl cut", 1, "cut, line 1"),
        ("--signals --model none --src src", 1, "this model has no attention"),
    ] {
        let (code, said) = complaint(&place, &format!("evaluate {arguments}"));
        assert!(code == expected && said.contains(message), "{arguments}: {code} {said}");
    }
}
