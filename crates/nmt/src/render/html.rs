//! Alignments as one HTML page that works without a network.
//!
//! The sentences stand in the page as JSON; `page.html` holds the style and the script that
//! draws them, one at a time, however many there are.

use serde_json::{Value, json};

use super::Matrix;

const PAGE: &str = include_str!("page.html");
const TITLE: &str = "{{title}}";
const DATA: &str = "{{data}}";

/// Draws one page with all `sentences`.
pub(crate) fn draw(title: &str, sentences: &[Matrix<'_>]) -> String {
    let sentences: Vec<String> = sentences.iter().map(sentence).collect();
    let Frame { head, between, tail } = frame(title);
    [&head, &sentences.join(between), tail].concat()
}

/// What a page has around its sentences, for who writes it piece by piece.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    /// Before the first.
    pub(crate) head: String,
    /// Between two.
    pub(crate) between: &'static str,
    /// After the last.
    pub(crate) tail: &'static str,
}

/// The frame of a page.
pub(crate) fn frame(title: &str) -> Frame {
    let (before, rest) = PAGE.split_once(TITLE).unwrap_or((PAGE, ""));
    let (after_title, tail) = rest.split_once(DATA).unwrap_or((rest, ""));
    Frame { head: [before, &escape(title), after_title].concat(), between: ",\n", tail }
}

/// A sentence of the page.
pub(crate) fn sentence(matrix: &Matrix<'_>) -> String {
    record(matrix).to_string().replace('<', "\\u003c")
}

/// What the page knows of a sentence: weights in thousandths, links as `[src, tgt]`.
fn record(matrix: &Matrix<'_>) -> Value {
    let rows: Vec<Vec<u32>> = (0..matrix.tgt.len())
        .map(|tgt| {
            let weight = |src| (matrix.weight(src, tgt) * 1000.0).round() as u32;
            (0..matrix.src.len()).map(weight).collect()
        })
        .collect();
    json!({ "src": matrix.src, "tgt": matrix.tgt, "weights": rows, "links": matrix.links })
}

/// Text that may stand in an HTML element.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::tests::split;
    use super::*;

    /// The JSON inside a page.
    fn data(page: &str) -> Value {
        let (_, rest) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
        serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
    }

    #[test]
    fn the_page_has_one_place_for_each_part() {
        assert_eq!((PAGE.matches(TITLE).count(), PAGE.matches(DATA).count()), (1, 1));
        assert!(PAGE.find(TITLE) < PAGE.find(DATA));
    }

    #[test]
    fn words_weights_and_links_arrive_in_the_page() {
        let (src, tgt) = (split("the dog"), split("der Hund"));
        let weights = [vec![0.9, 0.1], vec![0.0]];
        let matrix = Matrix { src: &src, tgt: &tgt, weights: &weights, links: &[(0, 0)] };
        let expected = json!([{
            "src": ["the", "dog"], "tgt": ["der", "Hund"],
            "weights": [[900, 100], [0, 0]], "links": [[0, 0]],
        }]);
        assert_eq!(data(&draw("dogs", &[matrix])), expected);
        assert_eq!(data(&draw("dogs", &[matrix, matrix])).as_array().unwrap().len(), 2);
    }

    #[test]
    fn words_cannot_break_out_of_the_page() {
        let odd =
            split("</script><script>alert(1)</script> <!-- {{title}} {{data}} \" ' & \u{2028}");
        let matrix = Matrix { src: &odd, tgt: &odd, weights: &[], links: &[] };
        let page = draw("</title><script>alert(1)</script>", &[matrix]);
        assert_eq!(page.matches("<script").count(), PAGE.matches("<script").count());
        assert_eq!(page.matches("</script").count(), PAGE.matches("</script").count());
        assert_eq!(data(&page)[0]["src"], json!(odd));
    }

    #[test]
    fn the_page_asks_for_nothing_outside_itself() {
        let page = draw("x", &[]);
        assert_eq!(data(&page), json!([]));
        for outside in ["http:", "https:", "src=", "href=", "@import", "url(", "fetch("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
