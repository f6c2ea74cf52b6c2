//! Against `scripts/reference/attn.py`: an independent implementation in PyTorch, in float64,
//! forward and backward, for the whole grid and the choices that the paper leaves open.

mod common;

use std::collections::HashMap;

use attn::{Attended, AttentionConfig, Score};
use candle_core::{Tensor, Var};
use common::{CPU, Result, Setup, close, loss};
use safetensors::SafeTensors;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/luong.safetensors");

/// Sums of a few hundred products in float64 stay far below this.
const TOLERANCE: f64 = 1e-12;

/// Names and configurations of the cases, as the file tells them.
fn cases() -> Result<Vec<(String, AttentionConfig)>> {
    let bytes = std::fs::read(FILE)?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes)?;
    let reference = &metadata.metadata().as_ref().ok_or("no metadata")?["reference"];
    let reference: serde_json::Value = serde_json::from_str(reference)?;
    let cases = reference["cases"].as_object().ok_or("no cases")?;
    cases
        .iter()
        .map(|(name, config)| Ok((name.clone(), serde_json::from_value(config.clone())?)))
        .collect()
}

/// The inputs of a case, as variables.
fn setup(config: &AttentionConfig, file: &HashMap<String, Tensor>) -> Result<(Setup, Vec<Var>)> {
    let width = if config.score == Score::Dot { "wide" } else { "narrow" };
    let mut tensors = HashMap::from([
        ("query".to_string(), &file["input.query"]),
        ("states".to_string(), &file[&format!("input.{width}.states")]),
    ]);
    let (_, _, memory_dim) = tensors["states"].dims3()?;
    for parameter in config.parameters(7, memory_dim)? {
        let shared = match (config.score, parameter.name) {
            (Score::General, "score.weight") => "input.general.score.weight",
            (Score::Location, "score.weight") => "input.location.score.weight",
            (_, name) => &format!("input.{name}"),
        };
        assert_eq!(file[shared].dims(), parameter.shape);
        tensors.insert(parameter.name.to_string(), &file[shared]);
    }
    let mut vars = Vec::new();
    let mut leaves = std::collections::BTreeMap::new();
    for name in std::collections::BTreeSet::from_iter(tensors.keys().cloned()) {
        let var = Var::from_tensor(tensors[&name])?;
        leaves.insert(name, var.as_tensor().clone());
        vars.push(var);
    }
    let config = config.clone();
    Ok((Setup { config, lengths: vec![13, 4], first: 0, tensors: leaves }, vars))
}

fn agrees(form: fn(&Setup) -> Result<Attended>) -> Result<()> {
    let file = candle_core::safetensors::load(FILE, CPU)?;
    let cases = cases()?;
    assert_eq!(cases.len(), 18);
    for (name, config) in cases {
        let (setup, vars) = setup(&config, &file)?;
        let attended = form(&setup)?;
        let width = if config.score == Score::Dot { "wide" } else { "narrow" };
        let probe = &file[&format!("input.{width}.probe")];
        let grads = loss(&attended, probe, &file["input.weights_probe"])?.backward()?;

        let expect = |what: &str, actual: &Tensor| {
            close(actual, &file[&format!("{name}/{what}")], TOLERANCE)
                .map_err(|error| format!("{name}, {what}: {error}"))
        };
        expect("weights", &attended.weights)?;
        expect("context", &attended.context)?;
        for (input, var) in setup.tensors.keys().zip(&vars) {
            let grad = grads.get(var).ok_or_else(|| format!("{name}, {input}: no gradient"))?;
            expect(&format!("grad.{input}"), grad)?;
        }
    }
    Ok(())
}

#[test]
fn the_plain_layers_agree_with_pytorch() -> Result<()> {
    agrees(Setup::plain)
}

#[test]
fn the_fused_kernel_agrees_with_pytorch() -> Result<()> {
    agrees(Setup::fused)
}

#[test]
fn every_cell_of_the_grid_has_a_vector() -> Result<()> {
    let cases = cases()?;
    for config in common::grid() {
        let covered =
            |(_, c): &(String, AttentionConfig)| (c.kind, c.score) == (config.kind, config.score);
        assert!(cases.iter().any(covered), "{:?} {:?}", config.kind, config.score);
    }
    Ok(())
}
