//! Properties that hold for any sizes.

mod common;

use attn::{AttentionConfig, Kind};
use candle_core::Tensor;
use common::{Setup, Sizes, close, grid};
use proptest::prelude::*;

/// A cell of the grid with any window, and a batch of any lengths.
fn setups() -> impl Strategy<Value = Setup> {
    let lengths = prop::collection::vec(0usize..9, 1..4).prop_filter("a word", |lengths| {
        lengths.iter().any(|&length| length > 0) // a tensor without elements is another matter
    });
    let config = (prop::sample::select(grid()), 1usize..12, 1usize..9).prop_map(
        |(config, window, max_src_len)| AttentionConfig {
            window: window.try_into().expect("at least one"),
            max_src_len: max_src_len.try_into().expect("at least one"),
            ..config
        },
    );
    (config, lengths, 1usize..4, 0usize..12, 1usize..6, 1usize..6).prop_map(
        |(config, lengths, tgt_len, first, dim, memory_dim)| {
            let src_len = lengths.iter().copied().max().unwrap_or(0) + 1;
            let sizes = Sizes { lengths: &lengths, src_len, tgt_len, dim, memory_dim };
            let setup = Setup::new(&config, &sizes).expect("sizes that fit");
            Setup { first, ..setup }
        },
    )
}

/// Every row of weights `[batch, tgt_len, src_len]`, with the length of its sentence.
fn rows(weights: &Tensor, lengths: &[usize]) -> Vec<(usize, Vec<f64>)> {
    let weights = weights.to_vec3::<f64>().expect("three axes");
    let all = lengths.iter().zip(weights);
    all.flat_map(|(&length, rows)| rows.into_iter().map(move |row| (length, row))).collect()
}

proptest! {
    #[test]
    fn the_fused_form_is_the_plain_one(setup in setups()) {
        let [(_, plain), (_, fused)] = setup.both().expect("sizes that fit");
        close(&fused.weights, &plain.weights, 1e-13).expect("equal weights");
        close(&fused.context, &plain.context, 1e-13).expect("equal contexts");
    }

    #[test]
    fn weights_are_a_distribution_over_real_positions(setup in setups()) {
        let config = &setup.config;
        let shrinks = config.kind == Kind::LocalP && !config.renormalize;
        for (_, attended) in setup.both().expect("sizes that fit") {
            for (length, row) in rows(&attended.weights, &setup.lengths) {
                prop_assert!(row[length..].iter().all(|&weight| weight == 0.0));
                prop_assert!(row.iter().all(|&weight| weight >= 0.0));
                let total: f64 = row.iter().sum();
                let whole = (total - 1.0).abs() < 1e-12;
                let part = shrinks && total > 0.0 && total < 1.0;
                prop_assert!(if length == 0 { total == 0.0 } else { whole || part }, "{total}");
            }
        }
    }
}
