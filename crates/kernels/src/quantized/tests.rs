//! Every product against whole numbers in the textbook's order, bit for bit, on every path of this
//! machine.

use proptest::prelude::*;

use super::*;

/// The paths this processor has.
fn paths() -> Vec<&'static Path> {
    let mut paths = vec![&path::PORTABLE];
    #[cfg(target_arch = "x86_64")]
    {
        if crate::simd::best() >= crate::simd::Level::Avx2 {
            paths.push(&x86::AVX2);
        }
        if path::has_vnni() {
            paths.push(&x86::VNNI);
        }
    }
    paths
}

fn numbers(n: usize, phase: f64) -> Vec<f32> {
    (0..n).map(|i| ((phase + 0.7 * i as f64).sin() * (1.0 + (i % 5) as f64)) as f32).collect()
}

/// The definition: values and scale of a row.
fn quantized(row: &[f32]) -> (Vec<i32>, f32) {
    if row.iter().any(|x| !x.is_finite()) {
        return (vec![0; row.len()], f32::NAN);
    }
    let largest = row.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    let inverse = 127.0 / largest;
    if !inverse.is_finite() {
        return (vec![0; row.len()], 0.0);
    }
    (row.iter().map(|x| (x * inverse).round_ties_even() as i32).collect(), largest / 127.0)
}

/// The definition: values and scale of the weights of an output.
fn quantized_weights(row: &[f32]) -> (Vec<i32>, f32) {
    let (zeros, scale) = (vec![0; row.len()], quantized(row).1);
    if scale.is_nan() || scale == 0.0 {
        return (zeros, scale);
    }
    // Sixteen digits: the one before the point and fifteen of the 23 behind it.
    let digits = scale.to_bits() >> 8;
    let digits = if scale.to_bits() % 256 > 0 { digits + 1 } else { digits };
    let scale = f32::from_bits(digits << 8);
    (row.iter().map(|x| (x / scale).round_ties_even() as i32).collect(), scale)
}

/// The definition: a whole product.
fn reference(x: &[f32], weight: &[f32], bias: &[f32], input: usize, finish: &Onto<'_>) -> Vec<f32> {
    let weight: Vec<_> = weight.chunks(input).map(quantized_weights).collect();
    let rows = x.chunks(input).map(quantized).flat_map(|(x, scale)| {
        let outputs = weight.iter().zip(bias).map(|((weight, weight_scale), bias)| {
            let sum: i32 = x.iter().zip(weight).map(|(x, weight)| x * weight).sum();
            sum as f32 * (scale * weight_scale) + bias
        });
        outputs.collect::<Vec<_>>()
    });
    let finished = |(value, before): (f32, &f32)| match finish.how {
        Finish::Replace => value,
        Finish::Relu if value < 0.0 => 0.0,
        Finish::Relu => value,
        Finish::Add => before + value,
    };
    rows.zip(finish.before).map(finished).collect()
}

/// What becomes of a result, and what was there before.
struct Onto<'a> {
    how: Finish,
    before: &'a [f32],
}

/// Bits, all NaN being equal.
fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }).collect()
}

/// A product on every path, against the definition.
fn check(x: &[f32], weight: &[f32], bias: &[f32], input: usize) {
    let rows = x.len() / input;
    let weights = Weights::quantize(weight, bias.len(), input);
    for path in paths() {
        let layer = Packed::on(path, &weights, Some(bias));
        let mut activations = Activations::default();
        activations.quantize_on(path, x, input);
        for how in [Finish::Replace, Finish::Relu, Finish::Add] {
            let before = numbers(rows * bias.len(), 0.3);
            let expected = reference(x, weight, bias, input, &Onto { how, before: &before });
            let mut out = before.clone();
            layer.product(&activations, &mut out, how);
            let size = (rows, bias.len(), input);
            assert_eq!(bits(&out), bits(&expected), "{path:?}, {how:?}, {size:?}");
        }
    }
}

#[test]
fn two_rows_by_hand() {
    // Scales 1 and 2; the second row of activations has scale 4 / 127.
    let weights = Weights::quantize(&[127.0, 63.5, -254.0, 0.0], 2, 2);
    assert_eq!(weights.values(), [127, 64, -127, 0]); // 63.5 is rounded to the even 64
    assert_eq!(weights.scales(), [1.0, 2.0]);
    let mut x = Activations::default();
    x.quantize(&[127.0, 2.5, 4.0, 0.0], 2);
    assert_eq!((x.rows(), &x.values[..2]), (2, &[127, 2][..])); // 2.5 is rounded to the even 2
    let mut out = [9.0; 4];
    Packed::new(&weights, Some(&[0.0, 1.0])).product(&x, &mut out, Finish::Replace);
    let by_hand = [
        (127 * 127 + 2 * 64) as f32,
        (-127 * 127) as f32 * 2.0 + 1.0,
        (127 * 127) as f32 * (4.0 / 127.0),
        (-127 * 127) as f32 * (4.0 / 127.0 * 2.0) + 1.0,
    ];
    assert_eq!(out, by_hand);
}

#[test]
fn edges_and_whole_tiles_equal_whole_numbers_bit_for_bit() {
    for (rows, output, input) in
        [(1, 1, 1), (6, 64, 4), (7, 65, 5), (13, 131, 67), (5, 17, 2048), (37, 128, 128)]
    {
        check(
            &numbers(rows * input, 0.1),
            &numbers(output * input, 0.2),
            &numbers(output, 0.4),
            input,
        );
    }
}

#[test]
fn the_largest_sums_do_not_overflow() {
    // All values are ±127, so that sums are as large as they get, in pairs and altogether.
    let input = 2049;
    let sign = |i: usize| if i.is_multiple_of(3) { -1.0 } else { 1.0 };
    let x: Vec<f32> = (0..4 * input).map(|i| if i < input { 3.0 } else { 3.0 * sign(i) }).collect();
    let weight: Vec<f32> = (0..3 * input).map(|i| if i < input { -1.0 } else { sign(i) }).collect();
    check(&x, &weight, &[0.0, 1.0, -1.0], input);
}

#[test]
fn what_is_no_number_stays_in_its_row_and_zeros_leave_the_bias() {
    let (input, output) = (5, 3);
    let mut x = numbers(8 * input, 0.1);
    x[2] = f32::NAN;
    x[input + 1] = f32::NEG_INFINITY;
    x[2 * input..3 * input].fill(0.0);
    x[3 * input..4 * input].fill(f32::from_bits(1)); // 127 / largest overflows
    x[4 * input..5 * input].fill(1e-36);
    x[5 * input] = f32::MAX;
    x[6 * input..7 * input].fill(-0.0);
    let weight = numbers(output * input, 0.2);
    let bias = [0.5, -0.25, 0.0];
    check(&x, &weight, &bias, input);

    let mut activations = Activations::default();
    activations.quantize(&x, input);
    let mut out = vec![0.0; 8 * output];
    let layer = Packed::new(&Weights::quantize(&weight, output, input), Some(&bias));
    layer.product(&activations, &mut out, Finish::Replace);
    assert!(out[..2 * output].iter().all(|x| x.is_nan()));
    assert_eq!(out[2 * output..4 * output], [bias, bias].concat());
    assert!(out[4 * output..].iter().all(|x| x.is_finite()));
    layer.product(&activations, &mut out, Finish::Relu);
    assert!(out[..2 * output].iter().all(|x| x.is_nan()));
    assert_eq!(out[2 * output..3 * output], [0.5, 0.0, 0.0]);

    let mut weight = weight;
    weight[input] = f32::INFINITY;
    check(&x, &weight, &bias, input);
}

#[test]
fn threads_do_not_change_a_bit() {
    // Enough work for several threads; shared out by rows and by panels.
    for (rows, output, input) in [(1009, 70, 67), (7, 2003, 307)] {
        let (x, weight) = (numbers(rows * input, 0.1), numbers(output * input, 0.2));
        let layer = Packed::new(&Weights::quantize(&weight, output, input), None);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut activations = Activations::default();
                activations.quantize(&x, input);
                let mut out = vec![f32::NAN; rows * output];
                layer.product(&activations, &mut out, Finish::Replace);
                out
            })
        };
        assert!(rows * output * input >= PARALLEL_FROM);
        let one = run(1);
        assert!(one == run(2) && one == run(3), "{rows} × {output} × {input}");
    }
}

#[test]
fn rows_are_digested_whoever_multiplies_them() {
    for (threads, path) in [1, 3].into_iter().flat_map(|n| paths().into_iter().map(move |p| (n, p)))
    {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for (rows, output, input) in [(1, 3, 4), (5, 130, 33), (100, 197, 64), (7, 3001, 128)] {
            let weight = Weights::quantize(&numbers(output * input, 0.2), output, input);
            let layer = Packed::on(path, &weight, Some(&numbers(output, 0.3)));
            let mut x = Activations::default();
            x.quantize(&numbers(rows * input, 0.1), input);
            let chunks = output.div_ceil(logits::CHUNK);
            let (mut expected, mut found) = (vec![0.0; rows * output], vec![0.0; rows * output]);
            let [mut peaks, mut sums, mut expected_peaks, mut expected_sums] =
                [(); 4].map(|()| vec![0.0; rows * chunks]);
            pool.install(|| {
                layer.product(&x, &mut expected, Finish::Replace);
                layer.logits(
                    &x,
                    &mut found,
                    Digest { depth: logits::Depth::Sums, peaks: &mut peaks, sums: &mut sums },
                );
            });
            let digests = expected_peaks.chunks_mut(chunks).zip(expected_sums.chunks_mut(chunks));
            for (row, (peaks, sums)) in expected.chunks(output).zip(digests) {
                logits::digest(row, peaks, sums);
            }
            let size = format!("{rows} × {output} × {input}, {path:?}, {threads} threads");
            assert_eq!(bits(&found), bits(&expected), "{size}");
            assert_eq!(bits(&peaks), bits(&expected_peaks), "{size}");
            assert_eq!(bits(&sums), bits(&expected_sums), "{size}");
        }
    }
}

#[test]
fn parts_come_back_as_the_same_weights_and_strange_ones_are_refused() {
    let weights = Weights::quantize(&numbers(21, 0.1), 3, 7);
    let (values, scales) = (weights.values().to_vec(), weights.scales().to_vec());
    let parts = |values: &[i8], scales: &[f32], input| {
        Weights::from_parts(values.to_vec(), scales.to_vec(), input).map_err(|e| e.to_string())
    };
    assert_eq!(parts(&values, &scales, 7).as_ref(), Ok(&weights));
    let of = |name: &str, result: std::result::Result<Weights, String>| {
        let error = result.expect_err(name);
        assert!(error.contains(name), "{error}");
    };
    of("20 values for 3 outputs of 7 inputs", parts(&values[1..], &scales, 7));
    of("21 values for 2 outputs", parts(&values, &scales[1..], 7));
    of("at most 133144", parts(&[], &[], MOST_INPUTS + 1));
    let mut strange = values.clone();
    strange[4] = -128;
    of("value 4 is -128", parts(&strange, &scales, 7));
    for scale in [-1.0, f32::NAN, f32::INFINITY] {
        of("scale 1 is", parts(&values, &[1.0, scale, 1.0], 7));
    }
}

#[test]
fn a_row_of_the_table_is_the_weight_up_to_half_a_step() {
    let weight = numbers(21, 0.1);
    let weights = Weights::quantize(&weight, 3, 7);
    let mut row = [0.0; 7];
    weights.row(1, &mut row);
    for (found, expected) in row.iter().zip(&weight[7..14]) {
        assert!((found - expected).abs() <= weights.scales()[1] * 0.50001, "{found} {expected}");
    }
}

/// Numbers of every magnitude, with infinities, NaN, zeros of both signs and subnormal numbers.
fn wild() -> impl Strategy<Value = f32> {
    prop_oneof![
        9 => -3f32..3.0,
        3 => any::<u32>().prop_map(f32::from_bits),
        1 => Just(-0.0f32),
    ]
}

proptest! {
    #[test]
    fn any_size_equals_whole_numbers(
        rows in 0usize..20, output in 1usize..150, input in 1usize..70, phase in 0f64..6.0,
    ) {
        check(
            &numbers(rows * input, phase),
            &numbers(output * input, 0.2),
            &numbers(output, 0.4),
            input,
        );
    }

    #[test]
    fn any_numbers_give_the_same_bits_on_every_path(
        (rows, output, input) in (1usize..9, 1usize..20, 1usize..20),
        pool in prop::collection::vec(wild(), 97),
    ) {
        let of = |n: usize, from: usize| (from..from + n).map(|i| pool[i * i % 97]).collect();
        let (x, weight, bias): (Vec<_>, Vec<_>, Vec<_>) =
            (of(rows * input, 1), of(output * input, 5), of(output, 11));
        check(&x, &weight, &bias, input);
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbours(
        rows in 2usize..20, row in 0usize..20, phase in 0f64..6.0,
    ) {
        let (output, input, row) = (67, 37, row % rows);
        let x = numbers(rows * input, phase);
        let layer = Packed::new(&Weights::quantize(&numbers(output * input, 0.2), output, input), None);
        let run = |x: &[f32]| {
            let mut activations = Activations::default();
            activations.quantize(x, input);
            let mut out = vec![0.0; x.len() / input * output];
            layer.product(&activations, &mut out, Finish::Replace);
            out
        };
        prop_assert_eq!(&run(&x)[row * output..][..output], &run(&x[row * input..][..input])[..]);
    }

    #[test]
    fn weights_that_were_quantised_are_quantised_to_themselves(
        weight in prop::collection::vec(wild().prop_filter("a number", |x| x.is_finite()), 1..90),
    ) {
        let weights = Weights::quantize(&weight, 1, weight.len());
        let mut row = vec![0.0; weight.len()];
        weights.row(0, &mut row);
        prop_assert_eq!(Weights::quantize(&row, 1, row.len()), weights);
    }

    /// Each factor is off by at most half a step, 1/254 of the largest magnitude of its row; the
    /// step of weights may be longer by one part in 2¹⁵.
    #[test]
    fn errors_stay_within_the_steps(input in 1usize..200, phase in 0f64..6.0) {
        let (x, weight) = (numbers(input, phase), numbers(input, 0.2));
        let mut activations = Activations::default();
        activations.quantize(&x, input);
        let mut out = [0.0];
        let layer = Packed::new(&Weights::quantize(&weight, 1, input), None);
        layer.product(&activations, &mut out, Finish::Replace);
        let exact: f64 = x.iter().zip(&weight).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum();
        let step = |row: &[f32]| row.iter().fold(0f32, |m, x| m.max(x.abs())) / 254.0;
        let (dx, dw) = (f64::from(step(&x)), f64::from(step(&weight)) * (1.0 + 2f64.powi(-15)));
        let bound: f64 = (x.iter().zip(&weight))
            .map(|(&x, &w)| dx * f64::from(w.abs()) + dw * f64::from(x.abs()) + dx * dw)
            .sum();
        let error = (f64::from(out[0]) - exact).abs();
        // What remains is the rounding of `f32`, a few units in the last place of the terms.
        prop_assert!(error <= bound * 1.0001, "{error} {bound}");
    }
}
