//! What can be asked of translations on the command line: prefixes, phrases, alternatives, groups,
//! ensembles and reranking, with small untrained models.

mod place;
mod untrained;

use model::{ModelConfig, RnnConfig, TransformerConfig};
use place::Place;
use serde_json::Value;

const SRC: &str = "the dog sleeps\n\na man reads a book\n";
const TGT: &str = "der Hund schläft\n\nein Mann liest ein Buch\n";

fn rnn() -> ModelConfig {
    let size = |n| std::num::NonZeroUsize::new(n).expect("not zero");
    ModelConfig::Rnn(RnnConfig { embed_dim: size(6), dim: size(8), ..RnnConfig::default() })
}

fn transformer() -> ModelConfig {
    let size = |n| std::num::NonZeroUsize::new(n).expect("not zero");
    let (dim, ffn_dim, heads) = (size(8), size(12), size(2));
    ModelConfig::Transformer(TransformerConfig { dim, ffn_dim, heads, ..Default::default() })
}

/// A folder with `src`, a recurrent `model` and a Transformer `other`.
fn place() -> Place {
    let place = Place::empty();
    let text = format!("{SRC}{TGT}");
    untrained::write(&place.path("model"), &rnn(), &text, 1);
    untrained::write(&place.path("other"), &transformer(), &text, 2);
    place.write("src", SRC);
    place
}

/// What a run that must succeed wrote.
fn data(place: &Place, arguments: &str) -> String {
    let (code, data, said) = place.nmt(arguments);
    assert_eq!(code, 0, "{arguments}: {said}");
    data
}

fn values(place: &Place, arguments: &str) -> Vec<Value> {
    let data = data(place, &format!("{arguments} --format jsonl"));
    data.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn translations_begin_with_their_prefix_however_they_are_searched() {
    let place = place();
    place.write("prefixes", "der Hund\n\nein Ma\n");
    let plain = data(&place, "translate model src");
    assert!(place.done("translate model src").contains("3 lines"));
    for how in ["", "--beam 1", "--sample --seed 3", "--diverse-groups 2", "--batch-tokens 1"] {
        for open in ["", "--prefix-open"] {
            let run = format!("translate model src --prefix-file prefixes {open} {how}");
            let found = data(&place, &run);
            let lines: Vec<&str> = found.lines().collect();
            assert_eq!(lines.len(), 3, "{run}");
            assert!(lines[0].starts_with("der Hund"), "{run}: {found}");
            assert_eq!(lines[1], "");
            assert!(lines[2].starts_with("ein Ma"), "{run}: {found}");
            let goes_on = lines[0]["der Hund".len()..].chars().next();
            assert!(!open.is_empty() || !goes_on.is_some_and(char::is_alphanumeric), "{found}");
        }
    }
    place.write("empty", "\n\n\n");
    assert_eq!(data(&place, "translate model src --prefix-file empty"), plain);
}

#[test]
fn phrases_are_in_the_translation_or_said_to_be_missing() {
    let place = place();
    place.write("phrases", "Hund\tliest ein\n\nBuch\n");
    place.write("terms", "dog\tHund\nreads a book\tliest\n");
    let found = data(&place, "translate model src --constraints phrases");
    let lines: Vec<&str> = found.lines().collect();
    assert!(lines[0].contains("Hund") && lines[0].contains("liest ein"), "{found}");
    assert!(lines[1].is_empty() && lines[2].contains("Buch"), "{found}");
    let found = data(&place, "translate model src --glossary terms");
    let lines: Vec<&str> = found.lines().collect();
    assert!(lines[0].contains("Hund") && lines[2].contains("liest"), "{found}");

    let run = "translate model src --constraints phrases --glossary terms --max-len-factor 0";
    place.write("phrases", "der Hund schläft ein Mann liest ein Buch der Hund\n\nBuch\n");
    let (code, _, said) = place.nmt(run);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("warning: 1 translation lacks phrases that were required"), "{said}");
    let found = values(&place, run);
    let best = &found[0]["translations"][0];
    let long = "der Hund schläft ein Mann liest ein Buch der Hund";
    assert!(best["unmet"].as_array().unwrap().contains(&Value::from(long)), "{best}");
    assert_eq!(best["finished"], Value::Bool(false));
    assert!(found[2]["translations"][0].get("unmet").is_none());
}

#[test]
fn a_line_that_is_no_text_leaves_the_others_what_is_asked_of_them() {
    let place = place();
    std::fs::write(place.path("src"), b"the dog sleeps\n\xff\na man reads\na book\n").unwrap();
    std::fs::write(place.path("prefixes"), b"der Hund\nein\n\xff\nein Ma\n").unwrap();
    let (code, found, said) = place.nmt("translate model src --prefix-file prefixes");
    let lines: Vec<&str> = found.lines().collect();
    assert_eq!((code, lines.len()), (1, 4), "{said}");
    assert!(lines[0].starts_with("der Hund") && lines[3].starts_with("ein Ma"), "{found}");
    assert_eq!(lines[1..3], ["", ""]);
    for expected in ["line 2 of src", "line 3 of prefixes", "2 of 4 lines could not be"] {
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn each_alternative_goes_on_in_another_way() {
    let place = place();
    place.write("prefixes", "der Hund\n\nein\n");
    let run = "translate model src --alternatives 4 --prefix-file prefixes";
    let found = values(&place, run);
    let ids = |value: &Value| -> Vec<u64> {
        let tokens = value["tokens"].as_array().unwrap().iter();
        tokens.map(|token| token["id"].as_u64().unwrap()).collect()
    };
    let ways: Vec<Vec<u64>> =
        found[0]["translations"].as_array().unwrap().iter().map(ids).collect();
    assert_eq!(ways.len(), 4);
    let common = ways[0].iter().zip(&ways[1]).take_while(|(a, b)| a == b).count();
    let mut firsts: Vec<Option<&u64>> = ways.iter().map(|way| way.get(common)).collect();
    firsts.sort();
    firsts.dedup();
    assert_eq!(firsts.len(), 4);
    assert_eq!(data(&place, run).lines().count(), 4 + 1 + 4);
}

#[test]
fn several_models_translate_align_and_score_as_one() {
    let place = place();
    for mean in ["probabilities", "log-probabilities"] {
        let others = format!("--ensemble other --ensemble-mean {mean}");
        let found = values(&place, &format!("translate model src --max-len-factor 1 {others}"));
        let best = |line: usize| &found[line]["translations"][0];
        let texts: Vec<&str> = (0..3).map(|line| best(line)["text"].as_str().unwrap()).collect();
        place.write("tgt", texts.join("\n") + "\n");
        let scored = values(&place, &format!("score model src tgt {others}"));
        let links = data(&place, &format!("align model src tgt --format pharaoh {others}"));
        assert_eq!(links.lines().count(), 3);
        assert!(best(0)["alignment"].is_object() && scored[0]["log_prob"].is_f64());
    }
    // Twice the same is the same, but for rounding.
    let plain = values(&place, "translate model src");
    let twice = values(&place, "translate model src --ensemble model");
    for (plain, twice) in plain.iter().zip(&twice) {
        let (plain, twice) = (&plain["translations"][0], &twice["translations"][0]);
        assert_eq!(plain["text"], twice["text"]);
        let (plain, twice) = (plain["score"].as_f64().unwrap(), twice["score"].as_f64().unwrap());
        assert!((plain - twice).abs() < 1e-4);
    }
    untrained::write(&place.path("odd"), &rnn(), "something else, and more of it", 1);
    let (code, _, said) = place.nmt("translate model src --ensemble odd");
    assert_eq!(code, 1);
    let named = "cannot translate with model, odd together: model 2 does not fit the first";
    assert!(said.contains(named) && said.contains("target vocabulary size"), "{said}");
}

#[test]
fn candidates_are_reranked_by_what_they_have_in_common() {
    let place = place();
    for how in ["--beam 3", "--sample --seed 2"] {
        for metric in ["chrf", "bleu"] {
            let run = format!("translate model src --mbr {metric} --candidates 7 --nbest 3 {how}");
            let found = values(&place, &format!("{run} --max-len-factor 1"));
            let utilities: Vec<f64> = found[0]["translations"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["utility"].as_f64().unwrap())
                .collect();
            assert_eq!(utilities.len(), 3);
            assert!(utilities.is_sorted_by(|a, b| a >= b) && utilities[0] <= 100.0 + 1e-9);
            assert_eq!(found[1]["translations"].as_array().unwrap().len(), 1);
        }
    }
}

/// Every way to search, alone and together, on one and two threads.
#[test]
fn neither_batches_nor_threads_change_what_is_found() {
    let place = place();
    place.write("phrases", "Hund\n\nBuch\tein\n");
    place.write("prefixes", "der\n\nein M\n");
    for how in [
        "--constraints phrases --prefix-file prefixes --prefix-open",
        "--coverage-penalty 0.4 --diverse-groups 3 --nbest 3",
        "--alternatives 3 --prefix-file prefixes",
        "--mbr chrf --candidates 4 --ensemble other",
    ] {
        let run =
            |more: &str| data(&place, &format!("translate model src --format jsonl {how} {more}"));
        let expected = run("--threads 1");
        assert_eq!(run("--threads 2 --batch-tokens 1"), expected, "{how}");
        assert_eq!(run("--read-ahead 1"), expected, "{how}");
    }
}

#[test]
fn what_does_not_go_together_is_misuse() {
    let place = place();
    place.write("phrases", "Hund\n\n\n");
    for (options, complaint) in [
        ("--constraints phrases --sample", "required phrases and sampling do not go together"),
        ("--constraints phrases --diverse-groups 2", "diverse beams and required phrases"),
        ("--alternatives 2 --nbest 2", "cannot be used with"),
        ("--alternatives 2 --diverse-groups 2", "diverse beams and alternatives"),
        ("--alternatives 2 --mbr chrf", "alternatives and reranking"),
        ("--diverse-groups 9 --beam 2", "there are more groups than hypotheses"),
        ("--mbr chrf --candidates 2 --nbest 3", "more translations are asked for than candidates"),
        ("--shortlist --constraints phrases", "cannot be used with"),
        ("--diversity 1", "--diverse-groups"),
        ("--ensemble-mean probabilities", "--ensemble"),
        ("--prefix-file - --constraints -", "only one file can be standard input"),
    ] {
        let (code, data, said) = place.nmt(&format!("translate model src {options}"));
        assert_eq!((code, data.as_str()), (2, ""), "{options}: {said}");
        assert!(said.contains(complaint), "{options}: {said}");
    }
}

#[test]
fn files_that_do_not_fit_are_named() {
    let place = place();
    place.write("short", "der Hund\n");
    place.write("terms", "dog\tHund\nman\n");
    for (options, complaint) in [
        ("--prefix-file short", "src has 3 lines, but short has 1"),
        ("--constraints short", "src has 3 lines, but short has 1"),
        ("--glossary terms", "terms, line 2: found \"man\", expected a source phrase"),
        ("--glossary nowhere", "nowhere"),
    ] {
        let (code, data, said) = place.nmt(&format!("translate model src {options}"));
        assert_eq!((code, data.as_str()), (1, ""), "{options}: {said}");
        assert!(said.contains(complaint), "{options}: {said}");
    }
}

#[test]
fn a_coverage_penalty_needs_a_model_with_attention() {
    let place = place();
    let mut config = rnn();
    if let ModelConfig::Rnn(config) = &mut config {
        config.attention.kind = model::Kind::None;
        config.input_feeding = false;
    }
    untrained::write(&place.path("blind"), &config, SRC, 1);
    let (code, _, said) = place.nmt("translate blind src --coverage-penalty 0.2");
    assert_eq!(code, 1);
    assert!(said.contains("the model has no attention"), "{said}");
    assert_eq!(data(&place, "translate model src --coverage-penalty 0.2").lines().count(), 3);
}
