//! The experiment files of `configs/`: they are read without complaint, and the cells of the grid
//! can be compared.

use std::{collections::BTreeMap, path::Path};

use model::{AttentionConfig, Kind, ModelConfig, RnnConfig, Score};
use train::Experiment;

/// All experiment files, by name.
fn experiments() -> BTreeMap<String, Experiment> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let entries = std::fs::read_dir(dir).expect("the folder of experiments");
    let paths = entries.map(|entry| entry.expect("a folder can be listed").path());
    let files = paths.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files
        .map(|path| {
            let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
            let experiment = Experiment::load(&path, &[]);
            (name, experiment.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        })
        .collect()
}

fn network(experiment: &Experiment) -> &RnnConfig {
    match &experiment.model {
        ModelConfig::Rnn(network) => network,
        ModelConfig::Transformer(_) => panic!("the grid is one of recurrent networks"),
    }
}

/// The cells of the grid by name.
fn grid() -> BTreeMap<String, Experiment> {
    let in_grid = |name: &str, experiment: &Experiment| {
        name.starts_with("multi30k-") && matches!(experiment.model, ModelConfig::Rnn(_))
    };
    experiments().into_iter().filter(|(name, experiment)| in_grid(name, experiment)).collect()
}

#[test]
fn cells_of_the_grid_differ_in_attention_alone() {
    let grid = grid();
    let without_attention = |name: &str| {
        let mut experiment = grid[name].clone();
        let mut network = network(&experiment).clone();
        assert_eq!(network.input_feeding, network.attention.kind != Kind::None, "{name}");
        network.input_feeding = true;
        network.attention = AttentionConfig::default();
        experiment.model = ModelConfig::Rnn(network);
        experiment
    };
    for name in grid.keys() {
        assert_eq!(without_attention(name), without_attention("multi30k-luong"), "{name}");
    }
}

#[test]
fn a_file_is_named_after_its_cell() {
    // As the values are written in the files.
    let written = |value: &dyn std::fmt::Debug| match format!("{value:?}").to_lowercase().as_str() {
        "localm" => "local-m".to_owned(),
        "localp" => "local-p".to_owned(),
        word => word.to_owned(),
    };
    for (name, experiment) in grid() {
        let AttentionConfig { kind, score, .. } = network(&experiment).attention;
        let expected = match (kind, score) {
            (Kind::None, _) => "multi30k-none".to_owned(),
            (Kind::Global, Score::General) => "multi30k-luong".to_owned(),
            _ => format!("multi30k-{}-{}", written(&kind), written(&score)),
        };
        assert_eq!(name, expected);
    }
}
