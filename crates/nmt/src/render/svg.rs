//! An alignment as a picture: source words above, target words on the left.
//!
//! The picture needs nothing outside itself and follows the reader's choice of light or dark.

use unicode_width::UnicodeWidthStr;

use super::{
    Matrix,
    markup::{FONTS, escape, write_to},
    right_to_left,
};

/// Side of a cell, in pixels.
const CELL: f32 = 26.0;
/// Font size, and the estimated width of a letter that takes one column of a terminal: that of a wide font,
/// DejaVu Sans.
const FONT: f32 = 14.0;
const LETTER: f32 = 9.1;
/// Space around the picture, and between words and cells.
const MARGIN: f32 = 16.0;
const GAP: f32 = 8.0;
/// Height of the title.
const TITLE: f32 = 30.0;
/// Columns of a word that are written out; the rest shows when pointed at.
const LONGEST: usize = 32;
/// Weights below this are not drawn.
const FAINTEST: f32 = 0.01;

/// Plain properties, no variables: image viewers outside browsers know few of them.
const STYLE: &str = "\
.ground{fill:#fff}text{fill:#1f2430}.title{font-weight:600;font-size:15px}\
.grid{stroke:#e3e6ec;fill:none}.w{fill:#2f6fdf}.l{fill:none;stroke:#c2410c;stroke-width:2}";
/// What changes for readers who prefer a dark ground.
const DARK: &str = "\
@media(prefers-color-scheme:dark){.ground{fill:#14171e}text{fill:#e6e8ee}\
.grid{stroke:#2a2f3a}.w{fill:#6aa3ff}.l{stroke:#ffb86b}}";

/// What a picture is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    /// For browsers and their like: on a light or a dark ground, as the reader prefers.
    Screen,
    /// For [`png`](super::png), which knows no preferences, and for which text starts on the left
    /// whatever its direction is.
    Paint,
}

/// Draws `matrix` as a complete SVG document.
pub(crate) fn draw(title: &str, matrix: &Matrix<'_>, medium: Medium) -> String {
    let dark = if medium == Medium::Screen { DARK } else { "" };
    let place = Place::new(title, matrix);
    let mut out = String::new();
    let title = escape(title);
    write_to(
        &mut out,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" \
             viewBox=\"0 0 {0} {1}\" role=\"img\" aria-labelledby=\"title\">\n\
             <title id=\"title\">{title}</title>\n\
             <style>svg{{font-family:{FONTS};font-size:14px}}{STYLE}{dark}</style>\n\
             <rect class=\"ground\" width=\"{0}\" height=\"{1}\"/>\n\
             <text class=\"title\" x=\"{MARGIN}\" y=\"{2}\">{title}</text>\n",
            place.width,
            place.height,
            MARGIN + FONT
        ),
    );
    write_words(&mut out, matrix, &place, medium);
    write_grid(&mut out, matrix, &place);
    write_cells(&mut out, matrix, &place);
    out.push_str("</svg>\n");
    out
}

/// Where the map lies in the picture.
struct Place {
    left: f32,
    top: f32,
    width: f32,
    height: f32,
}

impl Place {
    fn new(title: &str, matrix: &Matrix<'_>) -> Self {
        let longest = |words: &[String]| {
            words.iter().map(|word| word.width().min(LONGEST + 1)).max().unwrap_or(0) as f32
        };
        // Heads are slanted by 55°: they rise by sine and lean out by cosine.
        let (rise, lean) = (0.82 * LETTER, 0.58 * LETTER);
        let left = MARGIN + longest(matrix.tgt) * LETTER + GAP;
        let top = MARGIN + TITLE + longest(matrix.src) * rise + GAP;
        let map = (matrix.src.len() as f32 * CELL, matrix.tgt.len() as f32 * CELL);
        let overhang = matrix
            .src
            .iter()
            .rev()
            .enumerate()
            .map(|(n, word)| word.width().min(LONGEST + 1) as f32 * lean - (n as f32 + 0.4) * CELL)
            .fold(0.0, f32::max);
        let width = (left + map.0 + overhang).max(MARGIN + title.width() as f32 * 9.0) + MARGIN;
        Self { left, top, width: width.ceil(), height: (top + map.1 + MARGIN).ceil() }
    }

    /// The upper left corner of a cell.
    fn cell(&self, src: usize, tgt: usize) -> (f32, f32) {
        (self.left + src as f32 * CELL, self.top + tgt as f32 * CELL)
    }
}

/// Writes the words of both axes.
fn write_words(out: &mut String, matrix: &Matrix<'_>, place: &Place, medium: Medium) {
    let anchor =
        |edge: Edge, word: &str| edge.anchor(medium == Medium::Screen && right_to_left(word));
    for (idx, word) in matrix.src.iter().enumerate() {
        let (x, y) = place.cell(idx, 0);
        let (x, y) = (x + 0.6 * CELL, y - GAP);
        let turn = format!(" transform=\"rotate(-55 {x} {y})\"");
        write_word(out, word, (x, y), anchor(Edge::Left, word), &turn);
    }
    for (idx, word) in matrix.tgt.iter().enumerate() {
        let (x, y) = place.cell(0, idx);
        let y = y + 0.5 * CELL + 0.35 * FONT;
        write_word(out, word, (x - GAP, y), anchor(Edge::Right, word), "");
    }
}

/// Which edge of a word stands at its place.
#[derive(Clone, Copy, PartialEq)]
enum Edge {
    Left,
    Right,
}

impl Edge {
    /// The same in words of SVG, where `start` is where reading starts: the right edge of a word that
    /// is read from the right.
    fn anchor(self, from_right: bool) -> &'static str {
        if (self == Self::Left) == from_right { "end" } else { "start" }
    }
}

/// Writes a word, in logical order and marked with its direction.
fn write_word(out: &mut String, word: &str, (x, y): (f32, f32), anchor: &str, turn: &str) {
    let direction = if right_to_left(word) { "rtl" } else { "ltr" };
    let shown = shorten(word);
    let whole =
        if shown == word { String::new() } else { format!("<title>{}</title>", escape(word)) };
    write_to(
        out,
        format_args!(
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" direction=\"{direction}\" \
             unicode-bidi=\"isolate\"{turn}>{}{whole}</text>\n",
            escape(&shown)
        ),
    );
}

/// Writes the lines between the cells as one path.
fn write_grid(out: &mut String, matrix: &Matrix<'_>, place: &Place) {
    let (columns, rows) = (matrix.src.len(), matrix.tgt.len());
    let (right, bottom) = place.cell(columns, rows);
    out.push_str("<path class=\"grid\" d=\"");
    for column in 0..=columns {
        write_to(out, format_args!("M{} {}V{bottom}", place.cell(column, 0).0, place.top));
    }
    for row in 0..=rows {
        write_to(out, format_args!("M{} {}H{right}", place.left, place.cell(0, row).1));
    }
    out.push_str("\"/>\n");
}

/// Writes the weights and the links, each with words and number for who points at it.
fn write_cells(out: &mut String, matrix: &Matrix<'_>, place: &Place) {
    for (row, tgt) in matrix.tgt.iter().enumerate() {
        for (column, src) in matrix.src.iter().enumerate() {
            let weight = matrix.weight(column, row);
            let linked = matrix.linked(column, row);
            if weight < FAINTEST && !linked {
                continue;
            }
            let (x, y) = place.cell(column, row);
            let tip = format!("{} → {}  {weight:.2}", escape(src), escape(tgt));
            write_to(
                out,
                format_args!(
                    "<g><title>{tip}</title><rect class=\"w\" x=\"{x}\" y=\"{y}\" \
                     width=\"{CELL}\" height=\"{CELL}\" fill-opacity=\"{weight:.2}\"/>"
                ),
            );
            if linked {
                write_to(
                    out,
                    format_args!(
                        "<rect class=\"l\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{2}\" rx=\"3\"/>",
                        x + 2.0,
                        y + 2.0,
                        CELL - 4.0
                    ),
                );
            }
            out.push_str("</g>\n");
        }
    }
}

/// A word cut to [`LONGEST`] columns.
fn shorten(word: &str) -> String {
    if word.width() <= LONGEST {
        return word.to_owned();
    }
    let mut kept = String::new();
    for c in word.chars() {
        if kept.width() >= LONGEST - 1 {
            break;
        }
        kept.push(c);
    }
    kept + "…"
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{markup::tests::elements, tests::split};
    use super::*;

    #[test]
    fn each_visible_weight_is_a_cell_and_each_link_an_outline() {
        let (src, tgt) = (split("the dog"), split("der Hund"));
        let weights = [vec![0.9, 0.1], vec![0.005, 0.6]];
        let links = [(0, 0), (1, 1)];
        let text = draw(
            "x",
            &Matrix { src: &src, tgt: &tgt, weights: &weights, links: &links },
            Medium::Screen,
        );
        assert_eq!(text.matches("class=\"w\"").count(), 3);
        assert_eq!(text.matches("class=\"l\"").count(), 2);
        assert!(text.contains("<title>the → der  0.90</title>"));
    }

    #[test]
    fn words_cannot_break_out_of_the_document() {
        let src = split("<script>alert(1)</script> a&b \"quoted\" it's");
        let tgt = split("]]> --> \u{1b}[0m \u{ffff}");
        let weights = vec![vec![0.25; src.len()]; tgt.len()];
        let matrix = Matrix { src: &src, tgt: &tgt, weights: &weights, links: &[(0, 0)] };
        let text = draw("<title> & \"title\"", &matrix, Medium::Screen);
        let names = elements(&text).unwrap();
        assert!(!names.contains(&"script".to_owned()), "{names:?}");
        assert!(!text.contains(['\u{1b}', '\u{ffff}']));
    }

    #[test]
    fn only_a_picture_that_follows_its_reader_has_two_sets_of_colours() {
        let matrix = Matrix { src: &[], tgt: &[], weights: &[], links: &[] };
        assert!(draw("", &matrix, Medium::Screen).contains("@media(prefers-color-scheme:dark)"));
        assert!(!draw("", &matrix, Medium::Paint).contains("@media"));
    }

    #[test]
    fn a_word_read_from_the_right_says_so() {
        let (src, tgt) = (split("שלום"), split("مرحبا peace"));
        let text =
            draw("", &Matrix { src: &src, tgt: &tgt, weights: &[], links: &[] }, Medium::Screen);
        assert!(
            text.contains(
                "text-anchor=\"end\" direction=\"rtl\" unicode-bidi=\"isolate\" transform"
            )
        );
        assert!(
            text.contains("text-anchor=\"start\" direction=\"rtl\" unicode-bidi=\"isolate\">مرحبا")
        );
        assert!(
            text.contains("text-anchor=\"end\" direction=\"ltr\" unicode-bidi=\"isolate\">peace")
        );
    }

    #[test]
    fn a_painter_starts_every_word_on_the_left() {
        let (src, tgt) = (split("שלום"), split("مرحبا"));
        let matrix = Matrix { src: &src, tgt: &tgt, weights: &[], links: &[] };
        let text = draw("", &matrix, Medium::Paint);
        let anchors: Vec<_> = text.split("text-anchor=\"").skip(1).map(|rest| &rest[..3]).collect();
        assert_eq!(anchors, ["sta", "end"]);
    }

    #[test]
    fn a_very_long_word_is_cut_and_kept_as_a_tip() {
        let word = "x".repeat(50);
        let (src, tgt) = (vec![word.clone()], split("x"));
        let text =
            draw("", &Matrix { src: &src, tgt: &tgt, weights: &[], links: &[] }, Medium::Screen);
        assert!(text.contains(&format!(">{}…<title>{word}</title>", "x".repeat(31))));
    }

    proptest! {
        #[test]
        fn any_words_make_a_well_formed_document(
            title in ".{0,9}",
            src in prop::collection::vec(".{1,9}", 0..5),
            tgt in prop::collection::vec(".{1,9}", 0..4),
            links in prop::collection::vec((0usize..5, 0usize..4), 0..4),
        ) {
            let weights = vec![vec![0.2; src.len()]; tgt.len()];
            let matrix = Matrix { src: &src, tgt: &tgt, weights: &weights, links: &links };
            prop_assert!(elements(&draw(&title, &matrix, Medium::Screen)).is_ok());
        }
    }
}
