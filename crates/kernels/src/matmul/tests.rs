//! Every product against the textbook, bit for bit, on every instruction set of this machine.

use proptest::prelude::*;

use super::*;
use crate::Mixed;
use crate::logits;
use crate::simd::{Level, best};

const LEVELS: [Level; 4] = [Level::Portable, Level::Avx2, Level::Avx512, Level::Avx512Bf16];

/// The levels this processor has.
fn levels() -> impl Iterator<Item = Level> {
    LEVELS.into_iter().filter(|&level| level <= best())
}

fn numbers<T: Real>(n: usize, phase: f64) -> Vec<T> {
    (0..n).map(|i| T::of((phase + 0.7 * i as f64).sin())).collect()
}

/// Which operand is transposed, and where the product goes.
#[derive(Clone, Copy, Debug)]
struct Form {
    a_t: bool,
    b_t: bool,
    target: Target,
}

impl Form {
    fn all() -> impl Iterator<Item = Self> {
        (0..8u8).map(|bits| Self {
            a_t: bits & 1 != 0,
            b_t: bits & 2 != 0,
            target: if bits & 4 != 0 { Target::Add } else { Target::Replace },
        })
    }
}

/// Whether two results are the same, down to the sign of a zero. A NaN equals any other.
fn same<T: Real>(a: &[T], b: &[T]) -> bool {
    let key = |x: T| (x.to_f64().is_nan(), x.to_f64().to_bits());
    a.iter().zip(b).all(|(&a, &b)| key(a) == key(b) || (key(a).0 && key(b).0))
}

/// Every element of the product of `a` and `b`, added to `c` or not, against the textbook.
fn check_of<T: Real>((m, n, k): (usize, usize, usize), form: Form, a: &[T], b: &[T], c: &[T]) {
    let a = if form.a_t { Matrix::new(a, k, m).t() } else { Matrix::new(a, m, k) };
    let b = if form.b_t { Matrix::new(b, n, k).t() } else { Matrix::new(b, k, n) };
    let stride = c.len().checked_div(m).unwrap_or(n);
    let mut expected = c.to_vec();
    reference(a, b, MatrixMut::strided(&mut expected, m, n, stride), form.target);
    for level in levels() {
        let mut out = c.to_vec();
        let tile = T::tile(level);
        matmul_on(tile, a, b, MatrixMut::strided(&mut out, m, n, stride), form.target.into());
        assert!(same(&out, &expected), "{m} × {n} × {k}, {form:?}, {level:?}");
    }
    let mut out = c.to_vec();
    matmul_packed(a, &Packed::new(b), MatrixMut::strided(&mut out, m, n, stride), form.target);
    assert!(same(&out, &expected), "packed: {m} × {n} × {k}, {form:?}");
    if m > 0 {
        check_biased(a, b, c, stride, &c[..n]);
    }
}

/// The product with a bias is what is added to rows that are filled with it.
fn check_biased<T: Real>(a: Matrix<T>, b: Matrix<T>, c: &[T], stride: usize, bias: &[T]) {
    let (m, n) = (a.rows, b.cols);
    let mut expected = c.to_vec();
    expected.chunks_mut(stride.max(1)).take(m).for_each(|row| row[..n].copy_from_slice(bias));
    reference(a, b, MatrixMut::strided(&mut expected, m, n, stride), Target::Add);
    let check = |run: &dyn Fn(MatrixMut<T>), how: &str| {
        let mut out = c.to_vec();
        run(MatrixMut::strided(&mut out, m, n, stride));
        assert!(same(&out, &expected), "with a bias, {how}: {m} × {n} × {}", a.cols);
    };
    for level in levels() {
        let run = |c: MatrixMut<T>| matmul_on(T::tile(level), a, b, c, Sums::FromRow(bias));
        check(&run, &format!("{level:?}"));
    }
    check(&|c| matmul_packed_biased(a, &Packed::new(b), bias, c), "packed");
}

fn check<T: Real>(m: usize, n: usize, k: usize, form: Form) {
    let (a, b, c) = (numbers(m * k, 0.1), numbers(k * n, 0.2), numbers(m * (n + 3), 0.3));
    check_of::<T>((m, n, k), form, &a, &b, &c);
}

#[test]
fn edges_and_whole_tiles_equal_the_textbook_bit_for_bit() {
    for (m, n, k) in [(1, 1, 1), (8, 48, 16), (9, 49, 257), (23, 97, 31), (101, 5, 600)] {
        for form in Form::all() {
            check::<f32>(m, n, k, form);
            check::<f64>(m, n, k, form);
            check::<Mixed>(m, n, k, form);
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let form = |a_t, b_t, target| Form { a_t, b_t, target };
    for threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            check::<f32>(211, 103, 307, form(false, true, Target::Replace));
            check::<f32>(7, 1009, 307, form(false, true, Target::Add));
            check::<f32>(307, 103, 211, form(true, false, Target::Add));
            check::<Mixed>(211, 103, 307, form(false, true, Target::Replace));
            check::<Mixed>(7, 1009, 307, form(false, true, Target::Add));
            check::<Mixed>(307, 103, 211, form(true, false, Target::Add));
        });
    }
}

/// A product with a digest, and the product and the digest of its rows one after the other.
fn check_digest<T: Real>(m: usize, n: usize, k: usize) {
    let (a, b, bias) = (numbers::<T>(m * k, 0.1), numbers::<T>(k * n, 0.2), numbers::<T>(n, 0.3));
    let (a, b) = (Matrix::new(&a, m, k), Matrix::new(&b, n, k).t());
    let chunks = n.div_ceil(logits::CHUNK);
    for level in levels() {
        let (mut expected, mut found) = (vec![T::ZERO; m * n], vec![T::ZERO; m * n]);
        let zeros = || vec![T::ZERO; m * chunks];
        let (mut peaks, mut sums, mut expected_peaks, mut expected_sums) =
            (zeros(), zeros(), zeros(), zeros());
        let tile = T::tile(level);
        let mut cells = Vec::new();
        pack::right(tile, b, &mut cells);
        let right = (&cells[..], k, n);
        let from = Sums::FromRow(&bias);
        job::multiply(tile, a, right, MatrixMut::new(&mut expected, m, n), from, None);
        let rows = expected_peaks.chunks_mut(chunks).zip(expected_sums.chunks_mut(chunks));
        for (row, (peaks, sums)) in expected.chunks(n).zip(rows) {
            logits::digest(row, peaks, sums);
        }
        let digest = Digest { depth: logits::Depth::Sums, peaks: &mut peaks, sums: &mut sums };
        job::multiply(tile, a, right, MatrixMut::new(&mut found, m, n), from, Some(digest));
        let all = [(&found, &expected), (&peaks, &expected_peaks), (&sums, &expected_sums)];
        assert!(all.iter().all(|(a, b)| same(a, b)), "{m} × {n} × {k}, {level:?}");
    }
}

#[test]
fn rows_are_digested_whoever_multiplies_them() {
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            // Whole chunks and rests, several blocks of rows and of depth, panels dealt out.
            for (m, n, k) in [(1, 1, 1), (2, 64, 0), (5, 191, 16), (101, 197, 31), (7, 3001, 1100)]
            {
                check_digest::<f32>(m, n, k);
                check_digest::<Mixed>(m, n, k);
            }
            check_digest::<f64>(11, 333, 20);
        });
    }
}

#[test]
fn an_empty_sum_is_zero() {
    let empty = |rows, cols| Matrix::new(&[], rows, cols);
    let mut c = [1f32; 6];
    matmul(empty(2, 0), empty(0, 3), MatrixMut::new(&mut c, 2, 3), Target::Add);
    assert_eq!(c, [1.0; 6]);
    matmul(empty(2, 0), empty(0, 3), MatrixMut::new(&mut c, 2, 3), Target::Replace);
    assert_eq!(c, [0.0; 6]);
}

#[test]
fn mixed_factors_are_rounded_and_the_second_of_a_pair_comes_first() {
    let product = |a: [f32; 2], b: [f32; 2], start: f32| {
        let mut c = [Mixed::from(start)];
        let (a, b) = (Mixed::slice(&a), Mixed::slice(&b));
        let out = MatrixMut::new(&mut c, 1, 1);
        matmul(Matrix::new(a, 1, 2), Matrix::new(b, 2, 1), out, Target::Add);
        f32::from(c[0])
    };
    assert_eq!(product([1.0 + 1.0 / 256.0, 0.0], [3.0, 0.0], 0.0), 3.0, "1 + 2⁻⁸ rounds to 1");
    let large = (1u32 << 24) as f32; // to which one cannot be added, but two can
    assert_eq!(product([-large, 1.0], [1.0, 1.0], large), 0.0);
    assert_eq!(product([1.0, -large], [1.0, 1.0], large), 1.0);
    assert_eq!(product([1.0, 2.0], [1.0, 1.0], f32::from_bits(1)), 3.0);
}

/// Numbers of every magnitude, with infinities, NaN, zeros of both signs and subnormal numbers.
fn wild() -> impl Strategy<Value = Mixed> {
    prop_oneof![
        8 => any::<u32>().prop_map(|bits| f32::from_bits(bits).into()),
        4 => (-70i32..-50, -1f32..1.0).prop_map(|(e, x)| (x * 2f32.powi(e)).into()),
        1 => Just(Mixed::from(-0.0)),
    ]
}

proptest! {
    #[test]
    fn any_size_equals_the_textbook(
        m in 0usize..40, n in 0usize..120, k in 0usize..40, form in 0usize..8,
    ) {
        let form = Form::all().nth(form).unwrap();
        check::<f32>(m, n, k, form);
        check::<Mixed>(m, n, k, form);
    }

    #[test]
    fn any_mixed_numbers_give_the_same_bits_on_every_processor(
        (m, n, k) in (1usize..12, 1usize..20, 1usize..40),
        form in 0usize..8,
        pool in prop::collection::vec(wild(), 97),
    ) {
        let form = Form::all().nth(form).unwrap();
        let of = |n: usize, from: usize| (from..from + n).map(|i| pool[i * i % 97]).collect();
        let (a, b, c): (Vec<_>, Vec<_>, Vec<_>) = (of(m * k, 1), of(k * n, 5), of(m * n, 11));
        check_of::<Mixed>((m, n, k), form, &a, &b, &c);
    }
}
