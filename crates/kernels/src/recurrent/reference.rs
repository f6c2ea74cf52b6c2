//! What a recurrent layer computes, in ordinary tensor operations: the definition, the test of
//! the fused operation, and the way on devices for which there is none.

use candle_core::{D, Result, Tensor};
use candle_nn::ops::sigmoid;

use super::{Cell, Direction, Steps, Weights};

/// As [`super::recurrent`], for any device and type, differentiable by Candle alone.
///
/// # Errors
/// If shapes do not fit.
pub fn recurrent(
    cell: Cell,
    direction: Direction,
    steps: &Steps,
    x: &Tensor,
    initial: Option<&[Tensor]>,
    weights: &Weights,
) -> Result<Tensor> {
    let inputs = x.matmul(&weights.input.t()?)?.broadcast_add(&weights.bias)?; // [rows, gates · dim]
    let dim = weights.hidden.dim(1)?;
    let zeros = Tensor::zeros((steps.batch(), dim), x.dtype(), x.device())?;
    let initial: Vec<Tensor> = initial.map_or_else(|| vec![zeros; cell.states()], <[_]>::to_vec);
    let mut by_step = vec![Vec::new(); steps.len()];
    for t in steps.order(direction) {
        let rows = steps.range(t);
        let (carried, _) = steps.carried(direction, t);
        let neighbour = match direction {
            Direction::Forward => t.wrapping_sub(1),
            Direction::Backward => t + 1,
        };
        let before = (0..cell.states())
            .map(|s| {
                let fresh = initial[s].narrow(0, carried, rows.len() - carried)?;
                if carried == 0 {
                    return Ok(fresh);
                }
                let old: &Tensor = &by_step[neighbour][s];
                Tensor::cat(&[&old.narrow(0, 0, carried)?, &fresh], 0) // [rows of t, dim]
            })
            .collect::<Result<Vec<_>>>()?;
        by_step[t] = step(cell, &inputs.narrow(0, rows.start, rows.len())?, &before, weights)?;
    }
    let mut parts: Vec<Tensor> = by_step.iter().map(|states| states[0].clone()).collect();
    if cell == Cell::Lstm {
        for b in 0..steps.batch() {
            let t = match direction {
                Direction::Forward => steps.lengths()[b] - 1,
                Direction::Backward => 0,
            };
            parts.push(by_step[t][1].narrow(0, b, 1)?); // [1, dim]
        }
    }
    Tensor::cat(&parts, 0)
}

/// One step: `inputs` `[rows, gates · dim]` is the inputs' share with the bias; returns the new
/// states, `h` first.
///
/// # Errors
/// If shapes do not fit.
pub fn step(
    cell: Cell,
    inputs: &Tensor,
    before: &[Tensor],
    weights: &Weights,
) -> Result<Vec<Tensor>> {
    let recurrent = before[0].matmul(&weights.hidden.t()?)?; // [rows, gates · dim]
    match (cell, &weights.hidden_bias) {
        (Cell::Gru, Some(bias)) => {
            let (a, u) = (inputs.chunk(3, D::Minus1)?, recurrent.chunk(3, D::Minus1)?);
            let reset = sigmoid(&(&a[0] + &u[0])?)?;
            let update = sigmoid(&(&a[1] + &u[1])?)?;
            let candidate = (&a[2] + (reset * u[2].broadcast_add(bias)?)?)?.tanh()?;
            Ok(vec![(&candidate + (update * (&before[0] - &candidate)?)?)?])
        }
        _ => {
            let gates = (inputs + recurrent)?.chunk(4, D::Minus1)?;
            let (input, forget) = (sigmoid(&gates[0])?, sigmoid(&gates[1])?);
            let (candidate, output) = (gates[2].tanh()?, sigmoid(&gates[3])?);
            let memory = ((forget * &before[1])? + (input * candidate)?)?;
            Ok(vec![(output * memory.tanh()?)?, memory])
        }
    }
}
