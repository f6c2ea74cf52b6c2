//! Tests of the terminal map: what it looks like, and what must hold for any words.

use proptest::prelude::*;

use super::*;

fn split(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// Weights that lie mostly on `links`, the rest on the first column.
fn weights(src: &[String], tgt: &[String], links: &[(usize, usize)]) -> Vec<Vec<f32>> {
    let mut weights = vec![vec![0.0; src.len()]; tgt.len()];
    for (n, &(src_idx, tgt_idx)) in links.iter().enumerate() {
        let weight = [0.95, 0.7, 0.4, 0.2][n % 4];
        weights[tgt_idx][0] += 1.0 - weight;
        weights[tgt_idx][src_idx] += weight;
    }
    weights
}

fn drawn(src: &str, tgt: &str, links: &[(usize, usize)], colors: Colors, width: usize) -> String {
    let (src, tgt) = (split(src), split(tgt));
    let weights = weights(&src, &tgt, links);
    let matrix = Matrix { src: &src, tgt: &tgt, weights: &weights, links };
    draw("sentence 1", &matrix, &Style { colors, width })
}

/// The text without its escape sequences.
fn stripped(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\x1b') {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    plain + rest
}

const DOGS: (&str, &str) = ("the little dog sleeps .", "der kleine Hund schläft .");
const LINKS: [(usize, usize); 5] = [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)];

#[test]
fn a_map_is_readable_without_colour() {
    insta::assert_snapshot!(drawn(DOGS.0, DOGS.1, &LINKS, Colors::None, 80));
}

#[test]
fn a_map_has_true_colours() {
    let text = drawn(DOGS.0, DOGS.1, &LINKS, Colors::True, 80);
    insta::assert_snapshot!(text.replace('\x1b', "␛"));
}

#[test]
fn a_map_has_indexed_colours() {
    let text = drawn(DOGS.0, DOGS.1, &LINKS, Colors::Indexed, 80);
    insta::assert_snapshot!(text.replace('\x1b', "␛"));
}

#[test]
fn a_narrow_map_has_numbers_and_a_legend() {
    insta::assert_snapshot!(drawn(DOGS.0, DOGS.1, &LINKS, Colors::None, 30));
}

#[test]
fn wide_letters_stay_in_their_columns() {
    let links = [(0, 0), (1, 2), (2, 1)];
    insta::assert_snapshot!(drawn("犬 が 眠る", "the dog cafe\u{301}", &links, Colors::None, 60));
}

#[test]
fn joined_letters_get_numbers() {
    let links = [(0, 0), (1, 1)];
    insta::assert_snapshot!(drawn("الكلب ينام", "dogs sleep", &links, Colors::None, 60));
}

#[test]
fn a_long_sentence_is_folded() {
    let src = (0..40).map(|n| format!("w{n}")).collect::<Vec<_>>().join(" ");
    let text = drawn(&src, "eins zwei drei", &[(0, 0), (20, 1), (39, 2)], Colors::None, 50);
    insta::assert_snapshot!(text);
}

#[test]
fn a_long_word_is_cut() {
    let src = "Donaudampfschifffahrtsgesellschaft ist lang";
    let tgt = "Donaudampfschifffahrtsgesellschaftskapitän is long";
    insta::assert_snapshot!(drawn(src, tgt, &[(0, 0)], Colors::None, 60));
}

#[test]
fn a_word_cannot_steer_the_terminal() {
    let text = drawn("a\x1b[2Jb \u{7}", "c\x1b]0;x d", &[(0, 0)], Colors::None, 60);
    assert!(!text.contains('\x1b') && !text.contains('\u{7}'), "{text:?}");
}

#[test]
fn an_empty_sentence_is_only_its_title() {
    let matrix = Matrix { src: &[], tgt: &[], weights: &[], links: &[] };
    assert_eq!(draw("empty", &matrix, &Style { colors: Colors::None, width: 80 }), "empty\n");
}

#[test]
fn letters_keep_their_marks() {
    assert_eq!(clusters("cafe\u{301}s"), ["c", "a", "f", "e\u{301}", "s"]);
    assert_eq!(clusters("👩\u{200d}🚀!"), ["👩\u{200d}🚀", "!"]);
    assert_eq!(cut("日本語です", 7), "日本語…");
}

#[test]
fn heavier_weights_are_darker() {
    let shades: Vec<char> = [0.0, 0.1, 0.2, 0.5, 0.7, 1.0].into_iter().map(shade).collect();
    assert_eq!(shades, [' ', '·', '░', '▒', '▓', '█']);
}

proptest! {
    #[test]
    fn any_words_fit_the_width_and_colour_adds_only_colour(
        src in prop::collection::vec("\\PC{1,20}", 1..30),
        tgt in prop::collection::vec("\\PC{1,20}", 1..8),
        width in 30usize..120,
    ) {
        let weights = vec![vec![0.3; src.len()]; tgt.len()];
        let matrix = Matrix { src: &src, tgt: &tgt, weights: &weights, links: &[(0, 0)] };
        let plain = draw("", &matrix, &Style { colors: Colors::None, width });
        let colored = draw("", &matrix, &Style { colors: Colors::True, width });
        prop_assert_eq!(&stripped(&colored), &plain);
        for line in plain.lines() {
            prop_assert!(line.width() <= width, "{line:?} in {width}");
        }
    }
}
