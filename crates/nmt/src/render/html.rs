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
    let data: Vec<Value> = sentences.iter().map(sentence).collect();
    let data = Value::from(data).to_string().replace('<', "\\u003c");
    let (before, rest) = PAGE.split_once(TITLE).unwrap_or((PAGE, ""));
    let (between, after) = rest.split_once(DATA).unwrap_or((rest, ""));
    [before, &escape(title), between, &data, after].concat()
}

/// What the page knows of a sentence: weights in thousandths, links as `[src, tgt]`.
fn sentence(matrix: &Matrix<'_>) -> Value {
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
        for outside in ["http:", "https:", "src=", "href=", "@import", "url(", "fetch("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
