//! What must change no bit: neighbours and their order, threads, and whether rows come all at once
//! or one after the other.

mod heads;

use attn::multi_head::rotary::{Direction, rotate};
use attn::multi_head::{
    Bf16, Heads, Hypotheses, Kept, Past, Rows, RowsMut, Seen, Visible, Words, step,
};
use heads::{Batch, Result, Results, numbers};
use kernels::dropout::Mask;
use kernels::{Purpose, Random};

const HEADS: usize = 3;
const HEAD_DIM: usize = 29;
const DIM: usize = HEADS * HEAD_DIM;
/// Queries and keys of four sentences; together enough work that threads share it. The first has
/// more weights than one block.
const LENGTHS: [(usize, usize); 4] = [(211, 197), (17, 31), (1, 5), (37, 16)];

fn kinds() -> [Visible; 4] {
    [Visible::ALL, Visible::PAST, Visible::PAST.within(7), Visible::ALL.within(200)]
}

/// Sentences in some order, each with numbers of its own.
fn batch(sentences: &[usize], visible: Visible) -> Batch<f32> {
    let lengths: Vec<(usize, usize)> = sentences.iter().map(|&s| LENGTHS[s]).collect();
    let mut batch = Batch::new(HEADS, HEAD_DIM, &lengths);
    batch.visible = visible;
    let of = |purpose: usize, width: usize, side: fn(&(usize, usize)) -> usize| -> Vec<f32> {
        sentences
            .iter()
            .flat_map(|&s| numbers(purpose + 10 * s, side(&LENGTHS[s]) * width))
            .collect()
    };
    batch.queries = of(1, DIM, |lengths| lengths.0);
    batch.memory = of(2, 2 * DIM, |lengths| lengths.1);
    batch.probe = of(3, DIM, |lengths| lengths.0);
    batch
}

/// What belongs to the sentence at `index`.
fn part(batch: &Batch<f32>, results: &Results<f32>, index: usize) -> Results<f32> {
    let (q, k) = (&batch.query_offsets, &batch.key_offsets);
    Results {
        out: results.out[q[index] * DIM..q[index + 1] * DIM].to_vec(),
        query: results.query[q[index] * DIM..q[index + 1] * DIM].to_vec(),
        memory: results.memory[2 * k[index] * DIM..2 * k[index + 1] * DIM].to_vec(),
    }
}

#[test]
fn neighbours_and_their_order_change_no_bit() {
    for visible in kinds() {
        let all = batch(&[0, 1, 2, 3], visible);
        let results = all.both();
        assert!(results.out.iter().chain(&results.memory).all(|x| x.is_finite()));
        for sentences in [vec![3, 2, 1, 0], vec![1], vec![2, 2, 0, 1]] {
            let other = batch(&sentences, visible);
            let other_results = other.both();
            for (index, &sentence) in sentences.iter().enumerate() {
                let same = part(&other, &other_results, index) == part(&all, &results, sentence);
                assert!(same, "{visible:?}: sentence {sentence} among {sentences:?}");
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() -> Result<()> {
    // Four sentences are too few for several threads, so that their heads are dealt out; the
    // others are dealt out whole.
    let many: Vec<usize> = (0..24).map(|i| [1, 3][i % 2]).collect();
    for (visible, sentences) in
        kinds().into_iter().flat_map(|visible| [(visible, &[0, 1, 2, 3][..]), (visible, &many)])
    {
        let mut batch = batch(sentences, visible);
        batch.dropout = Some(Mask::new(Random::new(3, Purpose::Dropout, 1), 0.2));
        let run = |threads| -> Result<Results<f32>> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
            Ok(pool.install(|| batch.both()))
        };
        let one = run(1)?;
        for threads in [2, 3, 5] {
            assert!(run(threads)? == one, "{visible:?} with {threads} threads");
        }
    }
    Ok(())
}

/// Key and value of a word of a batch's memory.
fn word(batch: &Batch<f32>, place: usize) -> (&[f32], &[f32]) {
    batch.memory[2 * DIM * place..][..2 * DIM].split_at(DIM)
}

/// Keys and values of a sentence, as the second of two layers.
fn words(batch: &Batch<f32>, start: usize, len: usize) -> Result<Words<f32>> {
    let mut words = Words::new(2, DIM);
    words.reserve(len);
    let keys = Rows::columns(&batch.memory, 2 * DIM, 2 * DIM * start);
    let values = Rows::columns(&batch.memory, 2 * DIM, 2 * DIM * start + DIM);
    words.fill(1, keys, values, len)?;
    Ok(words)
}

#[test]
fn a_step_over_the_past_has_the_bits_of_training() -> Result<()> {
    for (visible, most) in [(Visible::PAST, None), (Visible::PAST.within(7), Some(8))] {
        let mut batch: Batch<f32> = Batch::new(HEADS, HEAD_DIM, &[(83, 83)]);
        batch.visible = visible;
        let (out, _) = batch.forward();
        let weights = batch.weights(0, Heads::Each);
        let mut past: Past<f32> = Past::new(1, DIM);
        for t in 0..83 {
            past.push();
            let (key, value) = word(&batch, t);
            past.write(0, 0, key, value);
            let seen = Seen::Last(past.paths(), most);
            let hypotheses = [Hypotheses { words: past.layer(0), seen }];
            let query = Rows::new(&batch.queries[t * DIM..][..DIM], DIM);
            let mut row = [f32::NAN; DIM];
            let each = Some(Heads::Each);
            let stepped = step(HEADS, HEAD_DIM, query, &hypotheses, &mut row, each)?;
            assert_eq!(row, out[t * DIM..][..DIM], "{visible:?}: {t}");
            let seen = visible.keys(t, 83);
            for head in 0..HEADS {
                let expected = &weights[(head * 83 + t) * 83..][..83][seen.clone()];
                assert_eq!(stepped[0][head * seen.len()..][..seen.len()], *expected);
            }
        }
    }
    Ok(())
}

#[test]
fn hypotheses_that_branch_and_end_have_the_bits_of_one_that_never_did() -> Result<()> {
    const LEN: usize = 41;
    // Hypotheses 0, 1, 2, … of a step that read words of batches of their own.
    let batches: Vec<Batch<f32>> = (0..3)
        .map(|i| {
            let mut batch = Batch::new(HEADS, HEAD_DIM, &[(LEN, LEN)]);
            batch.visible = Visible::PAST;
            batch.memory = numbers(7 + i, LEN * 2 * DIM);
            batch
        })
        .collect();
    let mut past: Past<f32> = Past::new(1, DIM);
    let mut read: Vec<Vec<usize>> = vec![Vec::new()]; // whose words each hypothesis has read
    for t in 0..LEN {
        past.push();
        for (row, read) in read.iter_mut().enumerate() {
            let (key, value) = word(&batches[row], t);
            past.write(0, row, key, value);
            read.push(row);
        }
        let queries: Vec<f32> =
            read.iter().flat_map(|_| batches[0].queries[t * DIM..][..DIM].to_vec()).collect();
        let hypotheses =
            [Hypotheses { words: past.layer(0), seen: Seen::Last(past.paths(), None) }];
        let mut out = vec![f32::NAN; read.len() * DIM];
        step(HEADS, HEAD_DIM, Rows::new(&queries, DIM), &hypotheses, &mut out, None)?;
        for (read, out) in read.iter().zip(out.chunks_exact(DIM)) {
            let own = |(t, &row): (usize, &usize)| {
                let (key, value) = word(&batches[row], t);
                [key, value].concat()
            };
            let memory = read.iter().enumerate().flat_map(own).collect();
            let alone = Batch { memory, ..Batch::new(HEADS, HEAD_DIM, &[(1, t + 1)]) };
            let alone = Batch { queries: batches[0].queries[t * DIM..][..DIM].to_vec(), ..alone };
            assert_eq!(alone.forward().0, out, "word {t} of {read:?}");
        }
        let rows = [vec![0, 0], vec![1, 0, 1], vec![2, 1], vec![1, 1, 0], vec![0]][t % 5].clone();
        let rows: Vec<usize> = rows.into_iter().map(|row| row % read.len()).collect();
        past.select(&rows);
        read = rows.iter().map(|&row| read[row].clone()).collect();
    }
    // What no hypothesis has any more makes room for others.
    let longest = past.paths().iter().flatten().max().unwrap();
    assert!((*longest as usize) < 2 * LEN, "{longest}");
    Ok(())
}

#[test]
fn hypotheses_that_share_a_sentence_have_the_bits_of_training() -> Result<()> {
    // Every query row is a hypothesis.
    let lengths = [(13, 31), (5, 17), (3, 0), (2, 7)];
    let batch: Batch<f32> = Batch::new(HEADS, HEAD_DIM, &lengths);
    let (out, _) = batch.forward();
    let starts = &batch.key_offsets;
    let words: Vec<Words<f32>> =
        (0..4).map(|b| words(&batch, starts[b], lengths[b].1)).collect::<Result<_>>()?;
    let places: Vec<u32> = (0..31).collect();
    let hypotheses: Vec<Hypotheses<f32>> = (0..4)
        .map(|b| Hypotheses {
            words: words[b].layer(1),
            seen: Seen::Same(lengths[b].0, &places[..lengths[b].1]),
        })
        .collect();
    for which in [Heads::Each, Heads::One(2), Heads::Mean] {
        let mut stepped = vec![f32::NAN; out.len()];
        let weights = step(HEADS, HEAD_DIM, batch.q(), &hypotheses, &mut stepped, Some(which))?;
        assert!(stepped == out);
        for (b, &(tgt_len, src_len)) in lengths.iter().enumerate() {
            let expected = batch.weights(b, which);
            for row in 0..tgt_len {
                let sets = (0..which.count(HEADS)).map(|set| (set * tgt_len + row) * src_len);
                let expected: Vec<f32> =
                    sets.flat_map(|at| expected[at..at + src_len].to_vec()).collect();
                assert_eq!(weights[batch.query_offsets[b] + row], expected);
            }
        }
    }
    let mut silent = vec![f32::NAN; out.len()];
    assert!(step(HEADS, HEAD_DIM, batch.q(), &hypotheses, &mut silent, None)?.is_empty());
    assert!(silent == out);
    Ok(())
}

#[test]
fn what_is_kept_in_half_the_space_counts_as_rounded() -> Result<()> {
    for len in [1, 16, 43] {
        let batch: Batch<f32> = Batch::new(HEADS, HEAD_DIM, &[(1, len)]);
        let memory = batch.memory.iter().map(|&x| Bf16::keep(x).number()).collect();
        let rounded = Batch { memory, ..batch.clone() };
        let (mut past, mut kept) = (Past::<Bf16>::new(1, DIM), Words::<Bf16>::new(1, DIM));
        kept.reserve(len);
        kept.fill(0, batch.k(), batch.v(), len)?;
        for t in 0..len {
            past.push();
            let (key, value) = word(&batch, t);
            past.write(0, 0, key, value);
        }
        let places: Vec<u32> = (0..len as u32).collect();
        for hypotheses in [
            Hypotheses { words: past.layer(0), seen: Seen::Last(past.paths(), None) },
            Hypotheses { words: kept.layer(0), seen: Seen::Same(1, &places) },
        ] {
            let mut out = vec![f32::NAN; DIM];
            step(HEADS, HEAD_DIM, batch.q(), &[hypotheses], &mut out, None)?;
            assert_eq!(out, rounded.forward().0, "{len}");
            assert_ne!(out, batch.forward().0, "{len}");
        }
    }
    Ok(())
}

#[test]
fn steps_of_many_hypotheses_do_not_depend_on_threads() -> Result<()> {
    let batch: Batch<f32> = Batch::new(HEADS, HEAD_DIM, &[(131, 131)]);
    let words = words(&batch, 0, 131)?;
    let places: Vec<u32> = (0..131).collect();
    let hypotheses: Vec<Hypotheses<f32>> = (0..131)
        .map(|t| Hypotheses { words: words.layer(1), seen: Seen::Same(1, &places[..=t]) })
        .collect();
    let run = |threads| -> Result<(Vec<f32>, Vec<Vec<f32>>)> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        let mut out = vec![f32::NAN; 131 * DIM];
        let mean = Some(Heads::Mean);
        let all = || step(HEADS, HEAD_DIM, batch.q(), &hypotheses, &mut out, mean);
        let weights = pool.install(all)?;
        Ok((out, weights))
    };
    let one = run(1)?;
    assert!(run(3)? == one);
    let causal = Batch { visible: Visible::PAST, ..batch.clone() };
    assert!(one.0 == causal.forward().0);
    Ok(())
}

#[test]
fn a_step_refuses_what_does_not_fit() -> Result<()> {
    let batch: Batch<f32> = Batch::new(HEADS, HEAD_DIM, &[(2, 5)]);
    let mut out = vec![0.0; 2 * DIM];
    let mut run = |words: &Words<f32>, seen: Seen<'_>| {
        let hypotheses = [Hypotheses { words: words.layer(0), seen }];
        step(HEADS, HEAD_DIM, batch.q(), &hypotheses, &mut out, None).map(|_| ())
    };
    let mut words = words(&batch, 0, 5)?;
    assert!(run(&words, Seen::Same(2, &[0, 1, 4])).is_ok());
    assert!(run(&words, Seen::Same(3, &[0])).is_err());
    assert!(run(&words, Seen::Same(2, &[16])).is_err());
    assert!(run(&words, Seen::Last(&[vec![0, 16], vec![1]], None)).is_err());
    let mut narrow = Words::new(1, DIM - 1);
    narrow.reserve(1);
    assert!(run(&narrow, Seen::Same(2, &[0])).is_err());
    let rows = Rows::new(&batch.memory, 2 * DIM);
    assert!(words.fill(0, rows, rows, 6).is_err());
    assert!(words.fill(0, rows, rows, 17).is_err());
    Ok(())
}

#[test]
fn a_rotation_turns_only_its_columns_and_every_row_alone() -> Result<()> {
    // Two heads in the middle of wider rows, many enough for several threads.
    let (rows, stride, dim) = (1_031, 37, 2 * 14);
    let original: Vec<f32> = numbers(1, rows * stride);
    let positions: Vec<usize> = (0..rows).map(|row| (row * 7) % 61).collect();
    let run = |threads| -> Result<Vec<f32>> {
        let mut data = original.clone();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        let columns = RowsMut::columns(&mut data, stride, 5);
        pool.install(|| rotate(columns, 2, 14, &positions, Direction::Forward))?;
        Ok(data)
    };
    let all = run(1)?;
    assert!(run(3)? == all);
    for (row, &position) in positions.iter().enumerate() {
        let (before, after) = (&original[row * stride..][..stride], &all[row * stride..][..stride]);
        assert_eq!((&before[..5], &before[5 + dim..]), (&after[..5], &after[5 + dim..]));
        let mut alone = before[5..5 + dim].to_vec();
        rotate(RowsMut::new(&mut alone, dim), 2, 14, &[position], Direction::Forward)?;
        assert_eq!(alone, after[5..5 + dim]);
        assert_eq!(before == after, position == 0, "row {row}");
    }
    Ok(())
}

#[test]
fn rotated_scores_depend_on_distances_only() -> Result<()> {
    let score = |query: usize, key: usize| -> Result<f64> {
        let (mut q, mut k): (Vec<f64>, Vec<f64>) = (numbers(1, 22), numbers(2, 22));
        rotate(RowsMut::new(&mut q, 22), 1, 22, &[query], Direction::Forward)?;
        rotate(RowsMut::new(&mut k, 22), 1, 22, &[key], Direction::Forward)?;
        Ok(q.iter().zip(&k).map(|(q, k)| q * k).sum())
    };
    for distance in [0, 1, 5] {
        let expected = score(distance, 0)?;
        for key in [1, 13, 400] {
            assert!((score(key + distance, key)? - expected).abs() < 1e-12);
        }
    }
    assert!((score(5, 0)? - score(0, 0)?).abs() > 0.1);
    let mut odd = vec![0f32; 6];
    let odd = rotate(RowsMut::new(&mut odd, 6), 2, 3, &[1], Direction::Forward);
    assert!(matches!(odd, Err(attn::Error::OddHead { head_dim: 3 })));
    let mut short = vec![0f32; 6];
    let short = rotate(RowsMut::new(&mut short, 4), 1, 4, &[1, 2], Direction::Forward);
    assert!(short.is_err());
    Ok(())
}
