//! Measures and flags that one can work out by hand, and what holds for all.

use proptest::prelude::*;

use super::*;
use crate::{Error, alignment::Linking};

/// An alignment of the words of two texts, linked where the weight is the largest.
fn aligned(src: &str, tgt: &str, weights: &[&[f32]], eos: &[f32]) -> Alignment {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    let mut alignment = Alignment {
        src_words: words(src),
        tgt_words: words(tgt),
        weights: weights.iter().map(|row| row.to_vec()).collect(),
        eos: eos.to_vec(),
        links: Vec::new(),
    };
    alignment.links = alignment.linked(Linking::Best);
    alignment.check().unwrap();
    alignment
}

/// Texts with links only.
fn linked(src: &str, tgt: &str, links: &[(usize, usize)]) -> Alignment {
    Alignment::from_links(src, tgt, links).unwrap()
}

fn of_kind(alignment: &Alignment, kind: Kind) -> Vec<(Vec<usize>, Vec<usize>)> {
    let flags = flags(alignment, &Thresholds::default()).into_iter();
    flags.filter(|flag| flag.kind == kind).map(|flag| (flag.src, flag.tgt)).collect()
}

#[test]
fn measures_of_weights_are_those_of_the_formulas() {
    let alignment = aligned("a b c", "x y", &[&[0.5, 0.5, 0.0], &[0.25, 0.25, 0.0]], &[0.0, 0.5]);
    let signals = Signals::new(&alignment);
    // One bit for two equal places; 0.5 · 1 + 2 · 0.25 · 2 = 1.5 bits for the other row.
    assert_eq!(signals.entropy, Some(1.25));
    assert_eq!(signals.coverage, [0.75, 0.75, 0.0]);
    let deviation = (2.0 * 1.0625f64.ln() + 2f64.ln()) / 3.0;
    assert!((signals.coverage_deviation.unwrap() - deviation).abs() < 1e-15);
    // Two thirds and one third in both columns that have weight.
    let thirds = 3f64.log2() - 2.0 / 3.0;
    assert!((signals.src_entropy.unwrap() - thirds).abs() < 1e-15);
    // “y” looked at the end more than at any word.
    assert_eq!((signals.fertility, signals.forward, signals.tau), (vec![1, 0, 0], None, None));
}

#[test]
fn a_row_is_normalised_and_one_without_weight_is_left_out() {
    let half = aligned("a b", "x y", &[&[0.25, 0.25], &[0.0, 0.0]], &[0.0, 0.0]);
    let signals = Signals::new(&half);
    assert_eq!(signals.entropy, Some(1.0));
    assert_eq!(signals.src_entropy, Some(0.0));
    let none = Signals::new(&aligned("a", "x", &[&[0.0]], &[0.0]));
    assert_eq!((none.entropy, none.src_entropy), (None, None));
    assert_eq!(none.coverage_deviation, Some(2f64.ln()));
}

#[test]
fn order_is_that_of_the_linked_words() {
    // Sources of the target words: 0, (1 + 4) / 2, none, 2, 3.
    let links = [(0, 0), (1, 1), (4, 1), (2, 3), (3, 4)];
    let signals = Signals::new(&linked("a b c d e", "v w x y z", &links));
    assert_eq!(signals.fertility, [1, 1, 1, 1, 1]);
    // 0 → 2.5 and 2 → 3 go forward, 2.5 → 2 goes back.
    assert_eq!(signals.forward, Some(2.0 / 3.0));
    // Only 2.5 and 2 of the six pairs are turned.
    assert_eq!(signals.tau, Some(4.0 / 6.0));
    assert_eq!((signals.entropy, signals.coverage_deviation), (None, None));
    assert!(signals.coverage.is_empty());

    let reversed = Signals::new(&linked("a b c", "x y z", &[(0, 2), (1, 1), (2, 0)]));
    assert_eq!((reversed.forward, reversed.tau), (Some(0.0), Some(-1.0)));
    // Two words that come from one do not go back, and are in no order.
    let split = Signals::new(&linked("a", "x y", &[(0, 0), (0, 1)]));
    assert_eq!((split.fertility, split.forward, split.tau), (vec![2], Some(1.0), None));
}

#[test]
fn words_that_nothing_looked_at_are_an_omission() {
    let src = "the dog , usually asleep";
    let row = |dog: f32, asleep: f32| vec![0.0, dog, 0.0, 0.0, asleep];
    let alignment = |often: f32| {
        let mut rows = [row(1.0, 0.0), row(0.0, 1.0)];
        rows[0][3] = often;
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        aligned(src, "Hund schläft", &rows, &[0.0; 2])
    };
    // “the” has three letters, too few; the mark has none; “usually” has seven.
    assert_eq!(of_kind(&alignment(0.0), Kind::Omission), [(vec![3], vec![])]);
    // With a seventh of what it takes to count as read, six of its letters are lost.
    assert_eq!(of_kind(&alignment(0.085), Kind::Omission), [(vec![3], vec![])]);
    assert_eq!(of_kind(&alignment(0.086), Kind::Omission), []);
}

#[test]
fn words_in_a_row_are_one_omission_and_marks_do_not_divide_it() {
    let found = of_kind(&linked("a big , red dog barks", "x y", &[(0, 0), (5, 1)]), Kind::Omission);
    assert_eq!(found, [(vec![1, 3, 4], vec![])]);
    let found = of_kind(&linked("seldom dog always", "x", &[(1, 0)]), Kind::Omission);
    assert_eq!(found, [(vec![0], vec![]), (vec![2], vec![])]);
    // Wide characters count twice.
    assert_eq!(of_kind(&linked("犬 日本 x", "y", &[(2, 0)]), Kind::Omission).len(), 1);
    assert_eq!(of_kind(&linked("犬 x", "y", &[(1, 0)]), Kind::Omission).len(), 0);
    // Of an empty translation everything is left out, of an empty source nothing.
    assert_eq!(of_kind(&linked("it rains", "", &[]), Kind::Omission), [(vec![0, 1], vec![])]);
    assert!(flags(&linked("", "es regnet", &[]), &Thresholds::default()).is_empty());
}

#[test]
fn what_is_said_again_is_a_loop() {
    let links = [(0, 0), (1, 1), (1, 2), (2, 3)];
    let found = |src: &str, tgt: &str| of_kind(&linked(src, tgt, &links), Kind::Loop);
    assert_eq!(found("the dog sleeps", "der Hund Hund schläft"), [(vec![1], vec![2])]);
    // The mark that stands behind one of them is another in the other.
    let all = "der Hund , der Hund . der Hund . da";
    assert_eq!(found("the dog sleeps", all)[0].1, [6, 7, 8]);
    // Three times the same two words: the two later copies, and not the half of a fourth.
    let twice = found("the dog sleeps", "der Hund der Hund der Hund der schläft");
    assert_eq!(twice, [(vec![1, 2], vec![2, 3, 4, 5])]);
    // A clause may end in what the next one begins with; not if there is no mark between.
    assert_eq!(found("a b c", "der , der steht, steht"), []);
    assert_eq!(found("a b c", "wer da steht steht").len(), 1);
}

#[test]
fn several_words_repeated_at_a_distance_are_a_loop() {
    let links = [(0, 0), (5, 6), (5, 7)];
    let found = |src: &str, tgt: &str| of_kind(&linked(src, tgt, &links), Kind::Loop);
    let src = "a man works in the station";
    let three = "er steht in dem Bahnhof und in dem Bahnhof";
    assert_eq!(found(src, three), [(vec![5], vec![6, 7, 8])]);
    assert_eq!(found(src, "er steht in dem Haus und in dem Bahnhof"), []);
    // Marks are no words.
    assert_eq!(found(src, "er , der steht und er , der da"), []);
}

#[test]
fn a_source_that_repeats_itself_excuses_the_target() {
    let found = |src: &str, tgt: &str| of_kind(&linked(src, tgt, &[]), Kind::Loop).len();
    assert_eq!(found("a very very old dog", "ein sehr sehr alter Hund"), 0);
    assert_eq!(found("a very very old dog", "ein sehr sehr sehr alter Hund"), 1);
    let tgt = "ein Mann in dem Haus und einer in dem Haus da";
    assert_eq!(found("a man in the house and one in the house", tgt), 0);
    assert_eq!(found("a man in a house and one in the yard", tgt), 1);
}

#[test]
fn ordinary_words_that_stay_are_copies() {
    let found = |src: &str, tgt: &str| of_kind(&linked(src, tgt, &[]), Kind::Copied);
    let src = "Anna sees a sleeping dog near Berlin 3";
    assert_eq!(
        found(src, "Anna sieht einen sleeping dog, bei Berlin 3"),
        [(vec![3, 4], vec![3, 4])]
    );
    // One is not enough, and names and numbers are no copies.
    assert_eq!(found(src, "Anna sieht einen schlafenden dog bei Berlin 3"), []);
    // Short words are shared, and two words are little in a long translation.
    assert_eq!(found("he is in a bus", "er sitzt in a Bus"), []);
    let long = "ein ziemlich langer Satz über einen ungewöhnlich schläfrigen sleeping dog";
    assert_eq!(found(src, long), []);
    // A word of the source is copied once.
    assert_eq!(found("the dog sleeps", "dog dog"), []);
}

#[test]
fn a_translation_that_is_the_source_is_none() {
    let found = |src: &str, tgt: &str| of_kind(&linked(src, tgt, &[]), Kind::Untranslated);
    let all = (0..4).collect::<Vec<_>>();
    assert_eq!(found("The dog sleeps here.", "The dog sleeps here."), [(all.clone(), all)]);
    assert_eq!(
        found("The dog sleeps here.", "the dog sleeps dort."),
        [(vec![0, 1, 2], vec![0, 1, 2])]
    );
    assert_eq!(found("the dog sleeps here", "the dog schläft hier"), []);
    // A line of names, or of one word, is the same in many languages.
    assert_eq!(found("Anna Maria Berlin", "Anna Maria Berlin"), []);
    assert_eq!(found("taxi", "taxi"), []);
    let flags = flags(
        &linked("the dog sleeps", "the dog sleeps", &[(0, 0), (1, 1), (2, 2)]),
        &Thresholds::default(),
    );
    assert_eq!(flags.len(), 1, "no copies beside it");
}

#[test]
fn thresholds_decide() {
    let alignment = linked("seldom dog", "Hund da Hund da x Hund da", &[(1, 0)]);
    let found = |thresholds| flags(&alignment, &thresholds).len();
    let usual = Thresholds::default();
    assert_eq!(found(usual), 2);
    assert_eq!(found(Thresholds { letters: 7.0, ..usual }), 1);
    assert_eq!(found(Thresholds { repeated: 2, ..usual }), 3);
}

#[test]
fn flags_and_signals_are_read_as_they_were_written() {
    let alignment = aligned("seldom a dog", "Hund", &[&[0.0, 0.5, 0.5]], &[0.0]);
    let json = serde_json::to_string(&flags(&alignment, &Thresholds::default())).unwrap();
    assert_eq!(json, r#"[{"kind":"omission","src":[0],"tgt":[]}]"#);
    let signals = Signals::new(&alignment);
    let json = serde_json::to_string(&signals).unwrap();
    assert_eq!(serde_json::from_str::<Signals>(&json).unwrap(), signals);
    for kind in Kind::ALL {
        assert_eq!(serde_json::to_string(&kind).unwrap(), format!("{:?}", kind.name()));
    }
}

#[test]
fn what_does_not_fit_its_words_is_refused() {
    let good = aligned("a b", "x", &[&[0.5, 0.5]], &[0.0]);
    let broken = |change: fn(&mut Alignment)| {
        let mut alignment = good.clone();
        change(&mut alignment);
        alignment.check().unwrap_err()
    };
    let is_weights = |error: Error| matches!(error, Error::Weights { .. });
    assert!(is_weights(broken(|a| a.weights.push(vec![0.0; 2]))));
    assert!(is_weights(broken(|a| a.weights[0].truncate(1))));
    assert!(is_weights(broken(|a| a.eos.clear())));
    assert_eq!(
        broken(|a| a.links.push((2, 0))).to_string(),
        "link 2-0 is outside of 2 source words and 1 target words"
    );
    assert!(Alignment::from_links("a b", "x", &[(0, 1)]).is_err());
    assert_eq!(
        Alignment::from_links("a b", "x", &[(1, 0), (0, 0), (1, 0)]).unwrap().links.len(),
        2
    );
}

/// Words of a small vocabulary, so that they meet again, with marks and capitals.
fn any_words() -> impl Strategy<Value = Vec<String>> {
    let word = prop::sample::select(vec!["dog", "Dog,", "sleeps", "a", ",", "Anna", "犬", "3"]);
    prop::collection::vec(word.prop_map(str::to_owned), 0..12)
}

fn any_alignment() -> impl Strategy<Value = Alignment> {
    let raw = prop::collection::vec(0.0f32..1.0, 12 * 13);
    (any_words(), any_words(), raw, any::<bool>()).prop_map(|(src_words, tgt_words, raw, known)| {
        let width = src_words.len() + 1;
        let mut weights: Vec<Vec<f32>> =
            (0..tgt_words.len()).map(|row| raw[row * 13..][..width].to_vec()).collect();
        for row in &mut weights {
            let sum: f32 = row.iter().sum::<f32>().max(1e-3);
            row.iter_mut().for_each(|weight| *weight /= sum);
        }
        let eos = weights.iter_mut().filter_map(Vec::pop).collect();
        let mut alignment = Alignment { src_words, tgt_words, weights, eos, links: Vec::new() };
        alignment.links = alignment.linked(Linking::Threshold(0.3));
        if !known {
            (alignment.weights, alignment.eos) = (Vec::new(), Vec::new());
        }
        alignment
    })
}

proptest! {
    #[test]
    fn measures_lie_where_they_can(alignment in any_alignment()) {
        let signals = Signals::new(&alignment);
        let (src_len, tgt_len) = (alignment.src_words.len(), alignment.tgt_words.len());
        // Rounding may lift an entropy above that of equal weights.
        let at_most = |bits: Option<f64>, n: usize| bits.is_none_or(|bits| bits <= (n as f64).log2() + 1e-9);
        prop_assert!(at_most(signals.entropy, src_len + 1));
        prop_assert!(at_most(signals.src_entropy, tgt_len.max(1)));
        prop_assert!(signals.entropy.is_none_or(|bits| bits >= 0.0));
        prop_assert_eq!(signals.entropy.is_some(), alignment.has_weights() && tgt_len > 0);
        prop_assert!(signals.coverage_deviation.is_none_or(|deviation| deviation >= 0.0));
        prop_assert_eq!(signals.fertility.iter().sum::<usize>(), alignment.links.len());
        prop_assert!(signals.forward.is_none_or(|share| (0.0..=1.0).contains(&share)));
        prop_assert!(signals.tau.is_none_or(|tau| (-1.0..=1.0).contains(&tau)));
        if alignment.has_weights() {
            let all: f64 = signals.coverage.iter().sum();
            let eos: f64 = alignment.eos.iter().copied().map(f64::from).sum();
            // Rows of at most 13 weights sum to one up to their rounding.
            prop_assert!((all + eos - tgt_len as f64).abs() <= 1e-4 || tgt_len == 0);
        }
    }

    #[test]
    fn flags_point_to_words_that_are_there(alignment in any_alignment()) {
        for flag in flags(&alignment, &Thresholds::default()) {
            for (found, n) in [(&flag.src, alignment.src_words.len()), (&flag.tgt, alignment.tgt_words.len())] {
                prop_assert!(found.iter().all(|&idx| idx < n));
                prop_assert!(found.is_sorted_by(|one, other| one < other));
            }
            prop_assert!(flag.kind == Kind::Omission || !flag.tgt.is_empty());
            prop_assert_eq!(flag.kind == Kind::Omission, flag.tgt.is_empty());
        }
    }

    #[test]
    fn measures_of_weights_do_not_depend_on_the_order_of_target_words(alignment in any_alignment()) {
        let mut turned = alignment.clone();
        turned.weights.reverse();
        turned.eos.reverse();
        turned.tgt_words.reverse();
        let last = alignment.tgt_words.len().saturating_sub(1);
        turned.links.iter_mut().for_each(|link| link.1 = last - link.1);
        let (one, other) = (Signals::new(&alignment), Signals::new(&turned));
        let near = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() < 1e-12,
            (a, b) => a == b,
        };
        prop_assert!(near(one.entropy, other.entropy) && near(one.src_entropy, other.src_entropy));
        prop_assert!(near(one.coverage_deviation, other.coverage_deviation));
        prop_assert_eq!(one.fertility, other.fertility);
        // What goes forward in one goes back in the other.
        prop_assert!(near(one.tau, other.tau.map(|tau| -tau)));
    }

    #[test]
    fn more_attention_leaves_out_no_more(alignment in any_alignment(), least in 0.05f64..0.5) {
        let lost = |attention: f64| -> Vec<usize> {
            let thresholds = Thresholds { attention, letters: 1e-9, ..Thresholds::default() };
            let omissions = omission::flags(&alignment, &thresholds);
            omissions.into_iter().flat_map(|flag| flag.src).collect()
        };
        let (few, many) = (lost(least), lost(least * 1.5));
        prop_assert!(few.iter().all(|src_idx| many.contains(src_idx)));
    }
}
