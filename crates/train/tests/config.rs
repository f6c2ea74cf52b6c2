//! What an experiment file may say, and what its errors say.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

use std::num::NonZeroU64;

use train::config::{
    ConfigError, CorpusFiles, Every, Experiment, OptimizerConfig, Schedule, Tokenizer,
};

const EXPERIMENT: &str = r#"
seed = 7

[data]
src = "en"
tgt = "de"
train = [{ src = "train.en", tgt = "train.de" }, { tsv = "more.tsv.gz" }]
valid = { tsv = "valid.tsv", columns = [2, 1] }

[model.rnn]
dim = 30
layers = 2

[training]
updates = 1000
lr = 0.002
validate_every = "1 epoch"
schedule = { inverse-sqrt = { warmup = 400 } }
"#;

fn parse(text: &str, overrides: &[&str]) -> Result<Experiment, ConfigError> {
    let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
    Experiment::parse("toy.toml", text, &overrides)
}

/// The message about `EXPERIMENT` with `from` replaced by `to`.
fn complaint(from: &str, to: &str) -> String {
    assert!(EXPERIMENT.contains(from), "{from}");
    parse(&EXPERIMENT.replace(from, to), &[]).unwrap_err().to_string()
}

#[test]
fn a_short_file_is_enough() {
    let experiment = parse(EXPERIMENT, &[]).unwrap();
    assert_eq!(experiment.seed, 7);
    assert_eq!(experiment.training.lr.get(), 0.002);
    assert_eq!(experiment.training.validate_every, Every::Epochs(NonZeroU64::MIN));
    assert!(matches!(experiment.training.optimizer, OptimizerConfig::Adam(_)));
    assert!(
        matches!(&experiment.data.valid, CorpusFiles::Tsv { columns, .. } if columns[0].get() == 2)
    );
    assert!(
        matches!(&experiment.data.train[1].files, CorpusFiles::Tsv { columns, .. } if columns[1].get() == 2)
    );
}

#[test]
fn the_resolved_file_gives_the_same_experiment() {
    let overrides = [
        &["training.lr=0.1"][..],
        &["training.optimizer=adamw", "training.early_stopping={metric=\"bleu\", patience=3}"],
        &["training.schedule.luong={after=\"5 epochs\", every=\"1 epoch\"}", "seed=0"],
        &["tokenizer.dir=tok", "training.validate_every=50", "training.max_minutes=1.5"],
        &["data.test.held_out.tsv=test.tsv", "training.schedule=constant"],
        &["training.bpe_dropout={ src = 0.1 }", "training.ema=0.999", "init.dir=runs/big/best"],
        &["init={ dir = \"a\", only = [\"encoder.*\"] }", "training.freeze=[\"*.bias\"]"],
        &["training.unigram_sampling={ src = 0.2, tgt = 1 }", "tokenizer.kind=unigram"],
        &["training.batch_tokens=fit"],
        &["training.batch_tokens=300"],
        &["data.train=[{ tsv = \"a\", weight = 0.5, tag = \"<bt>\" }, { tsv = \"b\" }]"],
    ];
    for overrides in overrides {
        let experiment = parse(EXPERIMENT, overrides).unwrap();
        let written = experiment.to_toml();
        assert_eq!(parse(&written, &[]).unwrap(), experiment, "{written}");
    }
}

#[test]
fn a_token_budget_is_a_number_or_fit() {
    let wrong = |value: &str| {
        let message = complaint("updates = 1000", &format!("updates = 9\nbatch_tokens = {value}"));
        let expected = "expected a whole number from 1 on, or \"fit\"";
        assert!(message.contains("line 16, column 16"), "{message}");
        assert!(message.contains("`training.batch_tokens`"), "{message}");
        assert!(message.contains(expected), "{message}");
    };
    for value in ["0", "-3", "\"fits\"", "1.5", "true"] {
        wrong(value);
    }
}

#[test]
fn a_misspelt_key_is_shown_with_its_place_and_the_nearest_valid_one() {
    assert_eq!(
        complaint("layers = 2", "layer = 2"),
        "cannot read toy.toml: line 12, column 1\n\
         12 | layer = 2\n   | ^^^^^\n\
         unknown key `layer` in [model.rnn], did you mean `layers`?"
    );
    assert!(
        complaint("src = \"train.en\"", "source = \"train.en\"").contains("unknown key `source`")
    );
    assert!(complaint("[training]", "[trainning]").contains("did you mean `training`?"));
    assert!(complaint("dim = 30", "xyz = 30").contains("in [model.rnn], expected one of `cell`, "));
    let message = complaint("warmup", "warm_up");
    assert!(message.contains("did you mean `warmup`?"), "{message}");
    assert!(complaint("inverse-sqrt", "inverse-sqr").contains("did you mean `inverse-sqrt`?"));
}

#[test]
fn a_value_out_of_range_names_key_found_and_allowed() {
    let message = complaint("lr = 0.002", "label_smoothing = 1.5");
    assert!(message.contains("line 16, column 19\n16 | label_smoothing = 1.5\n"), "{message}");
    assert!(
        message.ends_with(
            "`training.label_smoothing`: found 1.5, allowed is a number from 0 up to, but not \
             including, 1"
        ),
        "{message}"
    );
    for (from, to, expected) in [
        (
            "dim = 30",
            "dim = 0",
            "`model.rnn.dim`: invalid value: integer `0`, expected a whole number from 1",
        ),
        ("dim = 30", "dim = 31", "`model.rnn`: a bidirectional encoder gives each direction half"),
        ("dim = 30", "dim = 30\ndropout = 1", "`model.rnn.dropout`: "),
        ("lr = 0.002", "lr = 0", "`training.lr`: found 0, allowed is a finite number above 0"),
        ("lr = 0.002", "lr = \"fast\"", "`training.lr`: invalid type: string \"fast\""),
        ("\"1 epoch\"", "\"1 week\"", "`training.validate_every`: found `1 week`"),
        ("\"1 epoch\"", "0", "`training.validate_every`: invalid value: integer `0`"),
        ("columns = [2, 1]", "columns = [2, 2]", "both column 2"),
        (
            "updates = 1000",
            "average = 9\nepochs = 1",
            "`training.average`: found 9, allowed is at most",
        ),
    ] {
        let message = complaint(from, to);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn what_is_missing_is_named() {
    assert!(complaint("src = \"en\"", "").contains("missing field `src`"));
    assert!(complaint("updates = 1000", "").contains("nothing says when to stop"));
    assert!(parse("", &[]).unwrap_err().to_string().contains("missing field `data`"));
    let corpus = complaint(", tgt = \"train.de\"", "");
    assert!(corpus.contains("a corpus is either"), "{corpus}");
}

#[test]
fn a_syntax_error_is_shown_with_its_place() {
    let message = complaint("seed = 7", "seed = = 7");
    assert!(
        message.starts_with("cannot read toy.toml: line 2, column 8\n2 | seed = = 7\n"),
        "{message}"
    );
}

#[test]
fn overrides_pass_the_same_checks() {
    let experiment =
        parse(EXPERIMENT, &["training.lr=1", "data.src=fr", "training.schedule.cosine.total=9"])
            .unwrap();
    assert_eq!(experiment.training.lr.get(), 1.0);
    assert_eq!(experiment.data.src, "fr");
    assert!(matches!(experiment.training.schedule, Schedule::Cosine { warmup: 0, .. }));

    for (setting, expected) in [
        (
            "training.lr=-1",
            "cannot read the setting `training.lr=-1`\nset | training.lr=-1\n    |             ^^\n`training.lr`: found -1, allowed is",
        ),
        ("training.lrr=1", "unknown key `lrr` in [training], did you mean `lr`?"),
        ("training.optimizer=adan", "did you mean `adam`?"),
        ("training", "the setting `training`"),
        ("training.keep=3", "`training.average`: found 5, allowed is at most `keep`, which is 3"),
        ("tokenizer.vocabs=3", "unknown key `vocabs` in [tokenizer], did you mean `vocab`?"),
        ("tokenizer.vocab=3", "`tokenizer.vocab`: "),
    ] {
        let message = parse(EXPERIMENT, &["seed=3", setting]).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn rules_between_keys_of_a_schedule_are_checked() {
    for (setting, expected) in [
        (
            "training.schedule.luong={after=5, every=\"1 epoch\"}",
            "luong.every`: found another unit",
        ),
        ("training.schedule.cosine={warmup=9, total=9}", "cosine.warmup`: found 9"),
        ("training.schedule.plateau={factor=0, patience=2}", "plateau.factor`: found 0"),
    ] {
        let message = parse(EXPERIMENT, &[setting]).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn methods_of_training_are_checked_where_they_are_written() {
    for (setting, expected) in [
        ("training.bpe_dropout.src=1", "`training.bpe_dropout.src`: found 1, allowed is a number"),
        ("training.bpe_dropout.rate=0.1", "unknown key `rate` in [training.bpe_dropout]"),
        ("training.unigram_sampling.tgt=0", "`training.unigram_sampling.tgt`: found 0, allowed"),
        ("training.unigram_sampling.src=0.1", "needs a unigram tokenizer, but `tokenizer.kind`"),
        ("training.ema=1", "`training.ema`: found 1, allowed is a number from 0"),
        (
            "training.freeze=[\"encoder.layer.*\"]",
            "`training.freeze`: no parameter matches `encoder.layer.*`, the nearest one is \
             `encoder.layers.",
        ),
        ("training.freeze=[\"*\"]", "`training.freeze`: every parameter is frozen"),
        ("training.freeze=\"encoder.*\"", "`training.freeze`: invalid type: string"),
        ("init={dir=\"a\", only=[\"output\"]}", "`init.only`: no parameter matches `output`"),
        ("init={only=[\"*\"]}", "missing field `dir`"),
        ("init={dir=\"a\", parts=[\"*\"]}", "unknown key `parts` in [init]"),
        ("data.train=[{tsv=\"a\", weight=0}]", "`data.train`: found 0, allowed is a finite number"),
        ("data.train=[{tsv=\"a\", tag=\"bt\"}]", "found `bt`, allowed are letters"),
        ("data.train=[{tsv=\"a\", tag=\"</s>\"}]", "`</s>`, which has a meaning of its own"),
        ("data.train=[{tsv=\"a\", wieght=2}]", "did you mean `weight`?"),
        ("data.valid={tsv=\"a\", weight=2}", "unknown key `weight` in [data.valid]"),
    ] {
        let message = parse(EXPERIMENT, &[setting]).unwrap_err().to_string();
        assert!(message.contains(expected) && message.contains(setting), "{message}");
    }
    for (settings, expected) in [
        (["training.bpe_dropout={}", "tokenizer.kind=unigram"], "`tokenizer.kind` is `unigram`"),
        (
            ["training.bpe_dropout={}", "training.unigram_sampling={}"],
            "a tokenizer is of one kind only",
        ),
        (["init.dir=a", "tokenizer.vocab=500"], "`tokenizer`: found how to learn one"),
    ] {
        let message = parse(EXPERIMENT, &settings).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let message = complaint("lr = 0.002", "freeze = [\"output.biass\"]");
    let expected = "line 16, column 1\n16 | freeze = [\"output.biass\"]\n   | ^^^^^^\n\
                    `training.freeze`: no parameter matches `output.biass`, the nearest one is \
                    `output.bias`";
    assert!(message.ends_with(expected), "{message}");
}

#[test]
fn corpora_are_written_as_tables_or_in_line() {
    let tables = "valid = { tsv = \"valid.tsv\", columns = [2, 1] }\n\
                  [[data.train]]\nsrc = \"a\"\ntgt = \"b\"\nweight = 2\ntag = \"<bt>\"\n\
                  [[data.train]]\ntsv = \"c\"\n";
    let text =
        EXPERIMENT.replace("valid = { tsv = \"valid.tsv\", columns = [2, 1] }", tables).replace(
            "train = [{ src = \"train.en\", tgt = \"train.de\" }, { tsv = \"more.tsv.gz\" }]",
            "",
        );
    let train = parse(&text, &[]).unwrap().data.train;
    assert_eq!((train.len(), train[0].weight.get(), train[1].weight.get()), (2, 2.0, 1.0));
    assert_eq!(train[0].tag.as_ref().map(|tag| tag.as_str()), Some("<bt>"));
    assert!(matches!(&train[0].files, CorpusFiles::Lines { tgt, .. } if tgt.ends_with("b")));
    assert_eq!(train[1].tag, None);
}

#[test]
fn an_existing_tokenizer_is_named_by_its_directory() {
    let experiment = parse(EXPERIMENT, &["tokenizer.dir=runs/bpe"]).unwrap();
    assert!(matches!(experiment.tokenizer, Tokenizer::Open(open) if open.dir.ends_with("bpe")));
}

#[test]
fn a_file_that_is_not_there_or_not_text_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.toml");
    let message = Experiment::load(&path, &[]).unwrap_err().to_string();
    assert!(message.contains("x.toml"), "{message}");
    std::fs::write(&path, b"seed = 1\n\xff").unwrap();
    let message = Experiment::load(&path, &[]).unwrap_err().to_string();
    assert!(message.contains("byte 9 "), "{message}");
}
