//! Against `scripts/reference/heads.py`: PyTorch's attention in float64, forward and backward, and
//! rotations as complex numbers; for the fused form and for the plain definition.

mod heads;

use std::collections::HashMap;

use attn::multi_head::rotary::{Direction, rotate};
use attn::multi_head::{Heads, RowsMut, Visible, reference};
use candle_core::{Device, Tensor, Var};
use heads::{Batch, Result, offsets};
use kernels::gradient::distance;
use safetensors::SafeTensors;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/heads.safetensors");

/// A case's name, the queries and keys of its sentences, and what is visible.
type Case = (String, Vec<(usize, usize)>, Visible);

/// Sums of some tens of products in float64 stay far below this.
const TOLERANCE: f64 = 1e-13;

struct Vectors {
    made: serde_json::Value,
    tensors: HashMap<String, Tensor>,
}

impl Vectors {
    fn load() -> Result<Self> {
        let bytes = std::fs::read(FILE)?;
        let (_, metadata) = SafeTensors::read_metadata(&bytes)?;
        let made = &metadata.metadata().as_ref().ok_or("no metadata")?["reference"];
        let tensors = candle_core::safetensors::load(FILE, &Device::Cpu)?;
        Ok(Self { made: serde_json::from_str(made)?, tensors })
    }

    fn list(&self, name: &str) -> Result<Vec<usize>> {
        Ok(serde_json::from_value(self.made[name].clone())?)
    }

    fn tensor(&self, name: &str) -> Result<&Tensor> {
        Ok(self.tensors.get(name).ok_or_else(|| format!("no tensor {name}"))?)
    }

    fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        Ok(kernels::storage::to_vec(self.tensor(name)?)?)
    }

    fn cases(&self) -> Result<Vec<Case>> {
        let (lengths, src_lengths) = (self.list("lengths")?, self.list("src_lengths")?);
        let cases = self.made["cases"].as_object().ok_or("no cases")?;
        let case = |(name, case): (&String, &serde_json::Value)| {
            let keys = if case["cross"] == true { &src_lengths } else { &lengths };
            let visible = if case["past"] == true { Visible::PAST } else { Visible::ALL };
            let window = case["window"].as_u64();
            let visible = window.map_or(visible, |window| visible.within(window as usize));
            let pairs = lengths.iter().copied().zip(keys.iter().copied()).collect();
            (name.clone(), pairs, visible)
        };
        Ok(cases.iter().map(case).collect())
    }
}

fn close(what: &str, actual: &Tensor, expected: &Tensor) -> Result<()> {
    let distance = distance(actual, expected)?;
    if distance <= TOLERANCE { Ok(()) } else { Err(format!("{what}: off by {distance:e}").into()) }
}

fn tensor(values: Vec<f64>, like: &Tensor) -> Result<Tensor> {
    Ok(Tensor::from_vec(values, like.shape(), &Device::Cpu)?)
}

#[test]
fn the_fused_form_agrees_with_pytorch() -> Result<()> {
    let file = Vectors::load()?;
    let cases = file.cases()?;
    assert_eq!(cases.len(), 6);
    for (name, lengths, visible) in cases {
        let mut batch: Batch<f64> = Batch::new(2, 29, &lengths);
        let n = batch.memory.len() / 2;
        batch.visible = visible;
        batch.queries = file.numbers("query")?;
        batch.probe = file.numbers("probe")?;
        let (keys, values) = (file.numbers("key")?, file.numbers("value")?);
        let rows = keys[..n].chunks_exact(58).zip(values.chunks_exact(58));
        batch.memory = rows.flat_map(|(k, v)| [k, v].concat()).collect();

        let results = batch.both();
        let expect = |what: &str, actual: Vec<f64>| -> Result<()> {
            let expected = file.tensor(&format!("{name}/{what}"))?;
            close(&format!("{name}, {what}"), &tensor(actual, expected)?, expected)
        };
        let column = |col: usize| -> Vec<f64> {
            results.memory.chunks_exact(58).skip(col).step_by(2).flatten().copied().collect()
        };
        expect("out", results.out.clone())?;
        expect("grad.query", results.query.clone())?;
        expect("grad.key", column(0))?;
        expect("grad.value", column(1))?;
        expect("weights", (0..3).flat_map(|b| batch.weights(b, Heads::Each)).collect())?;
    }
    Ok(())
}

#[test]
fn the_plain_definition_agrees_with_pytorch() -> Result<()> {
    let file = Vectors::load()?;
    for (name, lengths, visible) in file.cases()? {
        let (queries, keys): (Vec<usize>, Vec<usize>) = lengths.iter().copied().unzip();
        let (tgt, src) = (offsets(&queries), offsets(&keys));
        let n = keys.iter().sum();
        let inputs = [
            Var::from_tensor(file.tensor("query")?)?,
            Var::from_tensor(&file.tensor("key")?.narrow(0, 0, n)?)?,
            Var::from_tensor(&file.tensor("value")?.narrow(0, 0, n)?)?,
        ];
        let query = reference::pad(&inputs[0], &tgt, 2)?;
        let [key, value] = [&inputs[1], &inputs[2]].map(|x| reference::pad(x, &src, 2));
        let mask = reference::mask(visible, &queries, &keys, &Device::Cpu)?;
        let attended = reference::attend(&query, &key?, &value?, &mask)?;
        let out = reference::pack(&attended.context, &tgt)?;
        close(&format!("{name}, out"), &out, file.tensor(&format!("{name}/out"))?)?;
        let grads = (out * file.tensor("probe")?)?.sum_all()?.backward()?;
        for (input, what) in inputs.iter().zip(["query", "key", "value"]) {
            let grad = grads.get(input).ok_or("the graph is cut")?;
            close(&format!("{name}, {what}"), grad, file.tensor(&format!("{name}/grad.{what}"))?)?;
        }
    }
    Ok(())
}

#[test]
fn rotations_are_products_of_complex_numbers() -> Result<()> {
    let file = Vectors::load()?;
    let mut rows = file.numbers("rotary.rows")?;
    let positions = file.list("positions")?;
    rotate(RowsMut::new(&mut rows, 66), 3, 22, &positions, Direction::Forward)?;
    let expected = file.tensor("rotary.rotated")?;
    let places: Vec<u32> = positions.iter().map(|&place| place as u32).collect();
    let plain = reference::rotate(file.tensor("rotary.rows")?, 3, &places)?;
    close("rotated, by definition", &plain, expected)?;
    close("rotated", &tensor(rows.clone(), expected)?, expected)?;
    rotate(RowsMut::new(&mut rows, 66), 3, 22, &positions, Direction::Backward)?;
    let original = file.tensor("rotary.rows")?;
    close("and back", &tensor(rows, original)?, original)
}
