//! `nmt import`: models of others translate as they did where they came from.
//!
//! What is expected was computed by the `transformers` library: `scripts/reference/marian.py`.

mod place;
mod server;
mod untrained;

use std::{collections::BTreeSet, fs, path::Path};

use assert_cmd::Command;
use place::{Place, ran};
use serde_json::{Value, json};
use server::{Answer, Request, Server, answer, part};

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
    fs::create_dir_all(place.path(name)).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("a folder can be listed") {
        let entry = entry.expect("a folder can be listed");
        fs::copy(entry.path(), place.path(name).join(entry.file_name()))
            .expect("a file can be copied");
    }
}

/// What the library made of the sentences of a folder, which are written to `src` and `tgt`.
fn expected(place: &Place, name: &str) -> Vec<Value> {
    let text =
        fs::read_to_string(place.path(name).join("expected.json")).expect("a file can be read");
    let rows: Vec<Value> = serde_json::from_str(&text).expect("it is JSON");
    for side in ["src", "tgt"] {
        let lines: Vec<_> =
            rows.iter().map(|row| row[side].as_str().expect("it is text")).collect();
        place.write(side, lines.join("\n") + "\n");
    }
    rows
}

/// The JSON lines that a verb writes.
fn rows(place: &Place, arguments: &str) -> Vec<Value> {
    let (code, data, said) = place.nmt(&format!("{arguments} --format jsonl --quiet"));
    assert_eq!(code, 0, "{said}");
    data.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect()
}

fn close(found: &Value, expected: &Value) {
    let (found, expected) =
        (found.as_f64().expect("a number"), expected.as_f64().expect("a number"));
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
                 [init]\ndir = \"ours-{name}\"\n\
                 [training]\nupdates = 6\nbatch_tokens = 400\nlr = 0.01\n",
            ),
        );
        place.done(&format!("train tune.toml --out tuned-{name}"));
        let config = fs::read_to_string(place.path(format!("tuned-{name}/config.toml"))).unwrap();
        assert!(config.contains("norm_place = \"after\""), "{config}");
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

#[test]
fn an_imported_model_goes_back_and_comes_again() {
    let place = imported();
    for name in FOLDERS {
        expected(&place, name);
        place.done(&format!("export ours-{name} --format marian --out back-{name}"));
        place.done(&format!("import back-{name} --out again-{name}"));
        let scores = |dir: &str| rows(&place, &format!("score {dir}-{name} src tgt"));
        let found = |dir: &str| rows(&place, &format!("translate {dir}-{name} src"));
        if name == "joint" {
            assert_eq!(weights(&place, "again-joint"), weights(&place, "ours-joint"));
            assert_eq!(scores("again"), scores("ours"));
            assert_eq!(found("again"), found("ours"));
        } else {
            // Embeddings that were not scaled are divided by a square root, and are their own table.
            for (found, expected) in scores("again").iter().zip(scores("ours")) {
                close(&found["log_prob"], &expected["log_prob"]);
            }
        }
    }
}

/// Numbers of four bytes, little-endian.
fn word(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize
}

/// The names of the variables of a file for CTranslate2, with the numbers of each, and its aliases.
fn variables(file: &[u8]) -> (Vec<(String, usize)>, Vec<String>) {
    let string = |at: &mut usize| {
        let len = usize::from(u16::from_le_bytes([file[*at], file[*at + 1]]));
        *at += 2 + len;
        String::from_utf8(file[*at - len..*at - 1].to_vec()).expect("it is text")
    };
    let mut at = 4;
    assert_eq!((word(file, 0), string(&mut at).as_str()), (6, "TransformerSpec"));
    let n = word(file, at + 4);
    at += 8;
    let mut found = Vec::new();
    for _ in 0..n {
        let name = string(&mut at);
        let rank = usize::from(file[at]);
        let sizes = (0..rank).map(|i| word(file, at + 1 + 4 * i)).product();
        at += 1 + 4 * rank + 1;
        at += 4 + word(file, at);
        found.push((name, sizes));
    }
    let n = word(file, at);
    at += 4;
    let aliases = (0..n).map(|_| format!("{} {}", string(&mut at), string(&mut at))).collect();
    assert_eq!(at, file.len());
    (found, aliases)
}

/// CTranslate2's own writer gives the same bytes: `scripts/peers/ctranslate2_model.py`.
#[test]
fn a_transformer_becomes_a_folder_for_ctranslate2() {
    let place = imported();
    for (name, n_aliases) in [("joint", 3), ("separate", 1)] {
        place.done(&format!("export ours-{name} --format ctranslate2 --out ct2-{name}"));
        let file = fs::read(place.path(format!("ct2-{name}/model.bin"))).unwrap();
        let (found, aliases) = variables(&file);
        assert!(found.is_sorted() && aliases.len() == n_aliases, "{aliases:?}");
        let size = |wanted: &str| found.iter().find(|(name, _)| name == wanted).unwrap().1;
        assert_eq!(size("decoder/layer_0/attention/linear_1/weight"), 2 * 16 * 16);
        assert_eq!(size("decoder/position_encodings/encodings"), 1024 * 16);
        let read = |name: &str| -> Vec<String> {
            let text = fs::read_to_string(place.path(name)).unwrap();
            serde_json::from_str(&text).unwrap()
        };
        let vocabulary = if name == "joint" { "shared" } else { "target" };
        let tokens = read(&format!("ct2-{name}/{vocabulary}_vocabulary.json"));
        assert_eq!(tokens[..4], ["<pad>", "<unk>", "<s>", "</s>"]);
        assert_eq!(tokens.len() * 16, size("decoder/embeddings/weight"));
        assert!(place.path(format!("ct2-{name}/source.spm")).exists());
    }
}

#[test]
fn what_marian_cannot_be_is_not_exported() {
    let place = Place::empty();
    let size = |n: usize| n.try_into().unwrap();
    let transformer = |norm_place| {
        model::ModelConfig::Transformer(model::TransformerConfig {
            dim: size(16),
            heads: size(2),
            ffn_dim: size(8),
            encoder_layers: size(1),
            decoder_layers: size(1),
            norm_place,
            ..model::TransformerConfig::default()
        })
    };
    let rnn = model::ModelConfig::Rnn(model::RnnConfig {
        embed_dim: size(6),
        dim: size(8),
        ..model::RnnConfig::default()
    });
    for (name, config) in [
        ("before", &transformer(model::NormPlace::Before)),
        ("after", &transformer(model::NormPlace::After)),
        ("rnn", &rnn),
    ] {
        untrained::write(&place.path(name), config, "to be or not to be", 1);
        let (code, _, said) = place.nmt(&format!("export {name} --format marian --out new"));
        assert_eq!(code, 1);
        assert!(said.contains("the tokenizer is one of bytes"), "{said}");
        assert!(!place.path("new").exists());
    }
    let (code, _, said) = place.nmt("export rnn --format ctranslate2 --out new");
    assert_eq!(code, 1);
    assert!(said.contains("CTranslate2 has no recurrent models"), "{said}");
    place.done("export before --format ctranslate2 --out new");
    assert!(place.path("new/tokenizer.json").exists());
    let model = |config: &model::ModelConfig| {
        let vocabs = model::Vocabs { src: 9, tgt: 9, joint: true, ..model::Vocabs::default() };
        let special = model::Special { pad: 0, unk: 1, bos: 2, eos: 3 };
        model::Model::new(config, vocabs, special, 1, &candle_core::Device::Cpu).unwrap()
    };
    let generation = model::marian::Generation { beam: 1, length_penalty: 1.0, max_len: 9 };
    for (config, complaint) in [
        (transformer(model::NormPlace::Before), "`norm_place` is not \"after\""),
        (rnn, "a recurrent model is no Marian model"),
    ] {
        let error = model::marian::save(&model(&config), generation, &place.path("")).unwrap_err();
        assert!(error.to_string().contains(complaint), "{error}");
    }
}

/// Changes a text of the folder `joint`.
fn change(place: &Place, file: &str, from: &str, to: &str) {
    let path = format!("joint/{file}");
    let text = fs::read_to_string(place.path(&path)).expect("a file can be read");
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
            config("\"encoder_layers\": 2", "\"encoder_layers\": 99999999"),
            "`encoder_layers` is 99999999, expected 1 to 256",
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
        (
            Box::new(|place| {
                let path = place.path("joint/model.safetensors");
                let weights = fs::File::options().write(true).open(path).unwrap();
                weights.set_len(1 << 40).unwrap();
            }),
            "model.safetensors has 1099511627776 bytes, for this network at most ",
        ),
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

/// A version of a repository.
const SHA: &str = "0123456789abcdef0123456789abcdef01234567";

/// A server that speaks the Hub's protocol for the model `us/model`, whose files are in `folder`.
/// Weights are kept elsewhere, as the Hub does. Whoever has not the right token is turned away from
/// `us/gated`.
fn hub(folder: &Path) -> Server {
    let folder = folder.to_owned();
    Server::start(move |request: &Request, _| -> Answer {
        let path = request.path.as_str();
        let names = fs::read_dir(&folder).expect("a folder can be listed");
        let names = names.map(|entry| {
            entry.expect("a folder can be listed").file_name().into_string().expect("it is text")
        });
        let files: Vec<_> = names.map(|name| json!({ "rfilename": name })).collect();
        let about = json!({ "sha": SHA, "siblings": files, "private": false }).to_string();
        let told = request.headers.get("authorization").is_some_and(|who| who == "Bearer secret");
        match path.strip_prefix('/').unwrap_or(path) {
            "api/models/us/model/revision/main" | "api/models/us/model/revision/refs%2Fpr%2F1" => {
                answer("200 OK", &[], about.as_bytes())
            }
            "api/models/us/gated/revision/main" if told => answer("200 OK", &[], about.as_bytes()),
            "api/models/us/gated/revision/main" => answer("401 Unauthorized", &[], b"no"),
            "api/models/us/evil/revision/main" => {
                answer("200 OK", &[], br#"{"sha": "../../..", "siblings": []}"#)
            }
            "api/models/us/broken/revision/main" => answer("200 OK", &[], b"<html>"),
            path => {
                let found = path
                    .strip_prefix("elsewhere/")
                    .or_else(|| path.split_once(&format!("/resolve/{SHA}/")).map(|(_, file)| file));
                let Some(file) = found else { return answer("404 Not Found", &[], b"") };
                if file == "model.safetensors" && !path.starts_with("elsewhere/") {
                    let to = [("Location", "/elsewhere/model.safetensors")];
                    return answer("302 Found", &to, b"");
                }
                match fs::read(folder.join(file)) {
                    Ok(content) => part(request, &content, "\"x\""),
                    Err(_) => answer("404 Not Found", &[], b""),
                }
            }
        }
    })
}

/// Runs `nmt` with a Hub and other variables of the environment.
fn with_hub(
    place: &Place,
    hub: &str,
    variables: &[(&str, &str)],
    arguments: &str,
) -> (i32, String, String) {
    let mut command = Command::cargo_bin("nmt").expect("the program is built");
    command.env_remove("HF_TOKEN").env_remove("HF_HUB_OFFLINE").env("HF_ENDPOINT", hub);
    command.env("HF_HOME", place.path("hf")).env("NO_PROXY", "*").envs(variables.iter().copied());
    let arguments = format!("{arguments} --cache cache --retries 1 --first-wait 0.01");
    ran(command.args(arguments.split_whitespace()).current_dir(place.path("")).output())
}

fn weights(place: &Place, dir: &str) -> Vec<u8> {
    fs::read(place.path(dir).join("model.safetensors")).expect("a file can be read")
}

#[test]
fn a_model_comes_from_the_hub_and_then_from_the_cache() {
    let place = imported();
    let server = hub(&place.path("joint"));
    let (code, _, said) = with_hub(&place, &server.url, &[], "import us/model --out fetched");
    assert_eq!(code, 0, "{said}");
    assert_eq!(weights(&place, "fetched"), weights(&place, "ours-joint"));
    let asked = server.seen().len();

    // Only what a branch is called is asked again.
    let again = "import us/model --out again --revision refs/pr/1";
    assert_eq!(with_hub(&place, &server.url, &[], again).0, 0);
    assert_eq!(server.seen().len(), asked + 1);
    for (variable, options, out) in
        [(vec![("HF_HUB_OFFLINE", "1")], "", "third"), (vec![], "--offline", "fourth")]
    {
        let import = format!("import us/model --out {out} {options}");
        let (code, _, said) = with_hub(&place, &server.url, &variable, &import);
        assert_eq!(code, 0, "{said}");
        assert_eq!(weights(&place, out), weights(&place, "ours-joint"));
    }
    assert_eq!(server.seen().len(), asked + 1, "offline, nothing is asked");
    let other = "import us/other --out fifth --offline";
    let (code, _, said) = with_hub(&place, &server.url, &[], other);
    assert_eq!(code, 1);
    assert!(said.contains("the cache does not hold"), "{said}");
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let place = imported();
    let server = hub(&place.path("joint"));
    let import = "import us/gated --out gated";
    let (code, _, said) = with_hub(&place, &server.url, &[], import);
    assert_eq!(code, 1);
    assert!(said.contains("401") && said.contains("say who you are with HF_TOKEN"), "{said}");
    let wrong = [("HF_TOKEN", "guess")];
    let (_, _, said) = with_hub(&place, &server.url, &wrong, import);
    assert!(said.contains("belongs to may not read it"), "{said}");
    assert!(!said.contains("guess"), "{said}");
    assert!(!place.path("gated").exists());

    fs::create_dir_all(place.path("hf")).unwrap();
    place.write("hf/token", "secret\n");
    let (code, _, said) = with_hub(&place, &server.url, &[], import);
    assert_eq!(code, 0, "{said}");
    let told = |request: &Request| request.headers.contains_key("authorization");
    let (elsewhere, hub): (Vec<_>, Vec<_>) =
        server.seen().into_iter().partition(|request| request.path.starts_with("/elsewhere"));
    assert!(!elsewhere.is_empty() && !elsewhere.iter().any(told));
    assert!(hub.iter().skip(1).all(told));
}

#[test]
fn what_the_hub_does_not_have_is_named() {
    let place = imported();
    fs::rename(place.path("joint/model.safetensors"), place.path("joint/pytorch_model.bin"))
        .unwrap();
    let server = hub(&place.path("joint"));
    for (name, complaint) in [
        ("us/model", "us/model/pytorch_model.bin is a Python pickle"),
        ("us/nothing", "there is no such repository or version on the Hub"),
        ("us/evil", "which is no name of one"),
        ("us/broken", "describes no repository"),
        ("model", "there is no folder model, and no model of the Hub can have that name"),
        ("us/model --revision ../main", "../main is no name of a branch, a tag or a version"),
    ] {
        let import = format!("import {name} --out new");
        let (code, _, said) = with_hub(&place, &server.url, &[], &import);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(complaint), "expected {complaint:?} in:\n{said}");
        assert!(!place.path("new").exists());
    }
}

#[test]
fn a_model_of_ours_comes_from_the_hub_as_it_is() {
    let place = Place::empty();
    let size = |n: usize| n.try_into().unwrap();
    let config = model::ModelConfig::Rnn(model::RnnConfig {
        embed_dim: size(6),
        dim: size(8),
        ..model::RnnConfig::default()
    });
    untrained::write(&place.path("ours"), &config, "to be or not to be", 1);
    let server = hub(&place.path("ours"));
    let (code, _, said) = with_hub(&place, &server.url, &[], "import us/model --out fetched");
    assert_eq!(code, 0, "{said}");
    place.write("input", "to be\n");
    let translated = |dir: &str| place.nmt(&format!("translate {dir} input --quiet")).1;
    assert_eq!(translated("fetched"), translated("ours"));
    assert_eq!(weights(&place, "fetched"), weights(&place, "ours"));
}
