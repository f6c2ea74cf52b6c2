//! Whether a text is in the language that it should be in.

use whatlang::{Detector, Lang};

use super::languages;

/// How sure identification must be that a text is in the language of the other side, when it has
/// these two to choose from.
const SURE_OF_TWO: f64 = 0.5;

/// How sure it must be that a text is in a third language, of all that it knows.
const SURE_OF_ALL: f64 = 0.9;

/// Tells for both sides of a pair whether they are in another language than they should be.
///
/// A short sentence says little about its language, so what is unsure passes. Between the two
/// languages of a corpus the choice is much surer than among all: text that was not translated,
/// the most frequent fault, is mostly found, a third language less often.
#[derive(Clone, Debug)]
pub(super) struct Languages {
    expected: [Lang; 2],
    two: Detector,
}

impl Languages {
    /// For these languages, by their codes.
    ///
    /// # Errors
    /// The code of the one that is not known.
    pub(super) fn new<'c>(codes: [&'c str; 2]) -> Result<Self, &'c str> {
        let known =
            |code: &'c str| languages::identified(code).and_then(Lang::from_code).ok_or(code);
        let expected = [known(codes[0])?, known(codes[1])?];
        Ok(Self { expected, two: Detector::with_allowlist(expected.to_vec()) })
    }

    /// Whether `text`, on side 0 or 1, is clearly in another language.
    pub(super) fn other(&self, side: usize, text: &str) -> bool {
        let expected = self.expected[side];
        let sure = |found: Option<whatlang::Info>, least: f64| {
            found.is_some_and(|found| found.lang() != expected && found.confidence() >= least)
        };
        sure(self.two.detect(text), SURE_OF_TWO) || sure(whatlang::detect(text), SURE_OF_ALL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_the_language_of_the_other_side_is_found_and_so_is_a_third() {
        let languages = Languages::new(["en", "de"]).unwrap();
        let german = "Der alte Mann sitzt vor dem Haus und liest eine Zeitung.";
        let english = "The old man is sitting in front of the house with a newspaper.";
        let greek = "Ο γέρος κάθεται μπροστά στο σπίτι και διαβάζει εφημερίδα.";
        assert_eq!(
            [german, english, greek].map(|text| languages.other(0, text)),
            [true, false, true]
        );
        assert_eq!(
            [german, english, greek].map(|text| languages.other(1, text)),
            [false, true, true]
        );
    }

    #[test]
    fn what_says_little_passes() {
        let languages = Languages::new(["en", "de"]).unwrap();
        for text in ["", "123", "Paris!", "OK", "…"] {
            assert!(!languages.other(0, text) && !languages.other(1, text), "{text}");
        }
        assert_eq!(Languages::new(["en", "tlh"]).err(), Some("tlh"));
    }
}
