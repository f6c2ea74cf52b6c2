//! The fused recurrent layers against their plain definition and against finite differences.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use kernels::gradient::{distance, largest_error, mean_distance, wave};
use kernels::recurrent::{Cell, Direction, Steps, Weights, recurrent, reference};

const CELLS: [Cell; 2] = [Cell::Lstm, Cell::Gru];
const DIRECTIONS: [Direction; 2] = [Direction::Forward, Direction::Backward];
const INPUT: usize = 3;
const DIM: usize = 5;

fn steps() -> Arc<Steps> {
    Arc::new(Steps::new(vec![4, 3, 3, 1]))
}

/// Input, weights and initial states as one list, so that all of them can be differentiated.
fn inputs(cell: Cell, with_initial: bool) -> Result<Vec<Tensor>> {
    let (gates, steps) = (cell.gates() * DIM, steps());
    let mut all = vec![
        wave((steps.rows(), INPUT), 0.1)?,
        wave((gates, INPUT), 0.2)?,
        wave((gates, DIM), 0.3)?,
        wave(gates, 0.4)?,
    ];
    if cell == Cell::Gru {
        all.push(wave(DIM, 0.5)?);
    }
    if with_initial {
        for s in 0..cell.states() {
            all.push(wave((steps.batch(), DIM), 0.6 + s as f64)?);
        }
    }
    Ok(all)
}

fn split(cell: Cell, all: &[Tensor]) -> (Weights, Option<&[Tensor]>) {
    let bias = usize::from(cell == Cell::Gru);
    let weights = Weights {
        input: all[1].clone(),
        hidden: all[2].clone(),
        bias: all[3].clone(),
        hidden_bias: (bias == 1).then(|| all[4].clone()),
    };
    let initial = &all[4 + bias..];
    (weights, (!initial.is_empty()).then_some(initial))
}

fn for_each_layer(f: impl Fn(Cell, Direction, &[Tensor]) -> Result<()>) -> Result<()> {
    for cell in CELLS {
        for direction in DIRECTIONS {
            for with_initial in [false, true] {
                f(cell, direction, &inputs(cell, with_initial)?)?;
            }
        }
    }
    Ok(())
}

#[test]
fn the_fused_layer_computes_its_definition() -> Result<()> {
    for_each_layer(|cell, direction, all| {
        let (weights, initial) = split(cell, all);
        let fused = recurrent::<f64>(cell, direction, &steps(), &all[0], initial, &weights)?;
        let plain = reference::recurrent(cell, direction, &steps(), &all[0], initial, &weights)?;
        // Sums of at most eight products in f64.
        assert!(distance(&fused, &plain)? < 1e-14, "{cell:?} {direction:?}");
        Ok(())
    })
}

#[test]
fn gradients_agree_with_finite_differences() -> Result<()> {
    for_each_layer(|cell, direction, all| {
        let error = largest_error(all, |all| {
            let (weights, initial) = split(cell, all);
            let out = recurrent::<f64>(cell, direction, &steps(), &all[0], initial, &weights)?;
            let probe = wave(out.dims2()?, 0.9)?; // every output counts differently
            (out * probe)?.sum_all()
        })?;
        assert!(error < 1e-8, "{cell:?} {direction:?}: {error}");
        Ok(())
    })
}

#[test]
fn a_sentence_does_not_notice_its_neighbours() -> Result<()> {
    for cell in CELLS {
        for direction in DIRECTIONS {
            let all = inputs(cell, false)?;
            let (weights, _) = split(cell, &all);
            let steps = steps();
            let whole = recurrent::<f64>(cell, direction, &steps, &all[0], None, &weights)?;
            for (b, &length) in steps.lengths().iter().enumerate() {
                let rows: Vec<u32> = (0..length).map(|t| steps.row(b, t) as u32).collect();
                let rows = Tensor::new(rows, all[0].device())?;
                let alone = recurrent::<f64>(
                    cell,
                    direction,
                    &Arc::new(Steps::new(vec![length])),
                    &all[0].index_select(&rows, 0)?,
                    None,
                    &weights,
                )?;
                let alone = alone.narrow(0, 0, length)?;
                assert_eq!(distance(&alone, &whole.index_select(&rows, 0)?)?, 0.0);
            }
        }
    }
    Ok(())
}

#[test]
fn a_fused_layer_in_f32_is_as_exact_as_the_plain_one() -> Result<()> {
    for_each_layer(|cell, direction, all| {
        let single = |t: &Tensor| t.to_dtype(candle_core::DType::F32);
        let narrow = all.iter().map(single).collect::<Result<Vec<_>>>()?;
        let (weights, initial) = split(cell, all);
        let exact = reference::recurrent(cell, direction, &steps(), &all[0], initial, &weights)?;
        let (weights, initial) = split(cell, &narrow);
        let plain = reference::recurrent(cell, direction, &steps(), &narrow[0], initial, &weights)?;
        let fused = recurrent::<f32>(cell, direction, &steps(), &narrow[0], initial, &weights)?;
        let (fused, plain) = (mean_distance(&fused, &exact)?, mean_distance(&plain, &exact)?);
        assert!(fused <= 2.0 * plain, "{cell:?} {direction:?}: {fused} against {plain}");
        Ok(())
    })
}

#[test]
fn weights_of_another_shape_are_refused() -> Result<()> {
    let all = inputs(Cell::Lstm, false)?;
    let (mut weights, _) = split(Cell::Lstm, &all);
    weights.bias = wave(7, 0.0)?;
    let result =
        recurrent::<f64>(Cell::Lstm, Direction::Forward, &steps(), &all[0], None, &weights);
    let message = result.expect_err("a bias of 7 for 20 gates").to_string();
    assert!(message.contains("bias [7]"), "{message}");
    Ok(())
}
