//! Alignments that one can work out by hand, and what holds for all.

use proptest::prelude::*;

use super::*;

/// “das Haus” in three tokens, “the house” in four; the second token of each word starts a byte
/// before its letters where a tokenizer keeps the space.
fn example() -> (Side, Side, Vec<Vec<f32>>) {
    let src = Side::words("das Haus", &[0..3, 3..6, 6..8]);
    let tgt = Side::words("the  house", &[0..3, 3..5, 5..8, 8..10]);
    let weights = vec![
        vec![0.5, 0.25, 0.0, 0.25],
        vec![0.0, 0.0, 0.0, 1.0], // white space
        vec![0.125, 0.5, 0.25, 0.125],
        vec![0.25, 0.0, 0.0, 0.75],
        vec![0.0, 0.0, 0.0, 1.0], // end of the target
    ];
    (src, tgt, weights)
}

#[test]
fn source_parts_are_summed_and_target_parts_averaged() {
    let (src, tgt, weights) = example();
    let alignment = Alignment::new(&weights, src, tgt, Linking::Best).unwrap();
    assert_eq!(alignment.src_words, ["das", "Haus"]);
    assert_eq!(alignment.tgt_words, ["the", "house"]);
    assert_eq!(alignment.weights, [[0.5, 0.25], [0.1875, 0.375]]);
    assert_eq!(alignment.eos, [0.25, 0.4375]);
    // “house” looked more at the end of the source than at any word.
    assert_eq!(alignment.links, [(0, 0)]);
    assert_eq!(alignment.to_string(), "0-0");
    assert_eq!(alignment.linked(Linking::Threshold(0.25)), [(0, 0), (1, 0), (1, 1)]);
    assert_eq!(alignment.linked(Linking::Threshold(0.9)), []);
    assert_eq!(alignment.linked(Linking::OneToOne), best_matching(&alignment.weights));
    assert_eq!(alignment.linked(Linking::Threshold(0.0)).len(), 4);
    assert_eq!(
        alignment.to_tsv(),
        "\tdas\tHaus\t</s>\nthe\t0.5\t0.25\t0.25\nhouse\t0.1875\t0.375\t0.4375\n"
    );
}

#[test]
fn subwords_are_aligned_as_they_are() {
    let (_, _, weights) = example();
    let labels = |labels: &[&str]| Side::subwords(labels.iter().map(|&l| l.to_owned()).collect());
    let src = labels(&["a", "b\tc", "d\\"]);
    let tgt = labels(&["e", "f", "g\n", "h\r"]);
    let alignment = Alignment::new(&weights, src, tgt, Linking::Best).unwrap();
    assert_eq!(alignment.weights[2], [0.125, 0.5, 0.25]);
    assert_eq!(alignment.links, [(0, 0), (1, 2)]);
    let tsv = alignment.to_tsv();
    assert!(tsv.starts_with("\ta\tb\\tc\td\\\\\t</s>\ne\t"), "{tsv}");
    assert_eq!(tsv.lines().count(), 5);
    assert!(tsv.contains("g\\n\t") && tsv.contains("h\\r\t"), "{tsv}");
}

#[test]
fn equal_weights_link_the_first_word_and_no_weight_links_none() {
    let sides =
        || (Side::words("a b", &[0..1, 2..3]), Side::words("c", std::slice::from_ref(&(0..1))));
    for (row, links) in [
        ([0.5, 0.5, 0.0], &[(0, 0)][..]),
        ([0.2, 0.4, 0.4], &[(1, 0)]),
        ([0.2, 0.3, 0.5], &[]),
        ([0.0, 0.0, 0.0], &[]),
    ] {
        let (src, tgt) = sides();
        let alignment = Alignment::new(&[row.to_vec()], src, tgt, Linking::Best).unwrap();
        assert_eq!(alignment.links, links, "{row:?}");
    }
}

#[test]
fn weights_of_another_sentence_are_refused() {
    let side = || Side::words("a b", &[0..1, 2..3]);
    for (weights, message) in [
        (vec![vec![0.1; 3]], "weights for 1 target tokens, but there are 2"),
        (vec![vec![0.1; 3]; 4], "weights for 4 target tokens, but there are 2"),
        (vec![vec![0.1; 2]; 2], "weights for 1 source tokens, but there are 2"),
        (vec![vec![]; 3], "weights for 0 source tokens, but there are 2"),
    ] {
        let error = Alignment::new(&weights, side(), side(), Linking::Best).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn two_empty_sentences_have_an_empty_alignment() {
    let side = || Side::words("", &[]);
    for weights in [vec![], vec![vec![1.0]]] {
        let alignment = Alignment::new(&weights, side(), side(), Linking::Best).unwrap();
        assert_eq!(alignment, Alignment::default());
        assert_eq!(alignment.to_string(), "");
        assert_eq!(alignment.to_tsv(), "\t</s>\n");
    }
}

/// A text with the byte ranges of tokens that cover it in pieces of up to four characters.
fn tokenized() -> impl Strategy<Value = (String, Vec<Range<usize>>)> {
    ("[ab é\u{3000}]{0,12}", prop::collection::vec(1usize..5, 12)).prop_map(|(text, sizes)| {
        let mut tokens = Vec::new();
        let mut start = 0;
        for size in sizes {
            let end = text[start..].char_indices().nth(size).map_or(text.len(), |(i, _)| start + i);
            if end > start {
                tokens.push(start..end);
            }
            start = end;
        }
        (text, tokens)
    })
}

proptest! {
    #[test]
    fn no_row_gains_weight(
        (src_text, src) in tokenized(),
        (tgt_text, tgt) in tokenized(),
        raw in prop::collection::vec(0.0f32..1.0, 13 * 13),
    ) {
        let weights: Vec<Vec<f32>> = (0..tgt.len()).map(|row| {
            let row = &raw[row * 13..][..=src.len()];
            let sum = row.iter().sum::<f32>().max(1e-3);
            row.iter().map(|x| x / sum).collect()
        }).collect();
        let (src, tgt) = (Side::words(&src_text, &src), Side::words(&tgt_text, &tgt));
        let alignment = Alignment::new(&weights, src, tgt, Linking::Best).unwrap();
        prop_assert_eq!(alignment.weights.len(), alignment.tgt_words.len());
        for (row, eos) in alignment.weights.iter().zip(&alignment.eos) {
            prop_assert_eq!(row.len(), alignment.src_words.len());
            prop_assert!(row.iter().chain([eos]).all(|x| (0.0..=1.00001).contains(x)));
            // Thirteen roundings of numbers up to one.
            prop_assert!(row.iter().sum::<f32>() + eos <= 1.0 + 13.0 * f32::EPSILON);
        }
        let at_most_one: std::collections::BTreeSet<usize> =
            alignment.links.iter().map(|link| link.1).collect();
        prop_assert_eq!(at_most_one.len(), alignment.links.len());
        let parsed = parse_links(&alignment.to_string()).unwrap();
        prop_assert_eq!(parsed.sure.into_iter().collect::<Vec<_>>(), alignment.links.clone());
        let json = serde_json::to_string(&alignment).unwrap();
        prop_assert_eq!(serde_json::from_str::<Alignment>(&json).unwrap(), alignment);
    }
}
