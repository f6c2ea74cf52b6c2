//! Words without their marks, and how much they can be trusted to say.

/// From here on, a character takes two columns and says as much as two letters do: scripts of East
/// Asia.
const FIRST_WIDE: char = '\u{2E80}';

/// A word without marks around it; empty if it is nothing but marks.
pub(super) fn bare(word: &str) -> &str {
    if is_escape(word) { "" } else { word.trim_matches(|c: char| !c.is_alphanumeric()) }
}

/// Whether a word is a mark in the writing of XML, as some tokenizers leave it: `&quot;`, `&#124;`.
fn is_escape(word: &str) -> bool {
    let inner = word.strip_prefix('&').and_then(|rest| rest.strip_suffix(';'));
    inner.is_some_and(|name| name.chars().all(|c| c == '#' || c.is_ascii_alphanumeric()))
}

/// The letters and digits of a word without marks; a wide character counts twice.
pub(super) fn letters(bare: &str) -> usize {
    let counted = bare.chars().filter(|c| c.is_alphanumeric());
    counted.map(|c| if c >= FIRST_WIDE { 2 } else { 1 }).sum()
}

/// What two occurrences of a word have in common: the word without marks in lower case, or its
/// marks.
pub(super) fn key(word: &str) -> String {
    match bare(word) {
        "" => word.to_owned(),
        bare => bare.to_lowercase(),
    }
}

/// Whether a word without marks is ordinary: one that a translation would not have in common with
/// its source. Names begin with a capital, and a number is the same everywhere.
pub(super) fn is_ordinary(bare: &str) -> bool {
    bare.chars().any(char::is_alphabetic)
        && !bare.chars().any(|c| c.is_uppercase() || c.is_numeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_do_not_count() {
        for (word, expected, n) in [
            ("“don't”,", "don't", 4),
            ("...", "", 0),
            ("&quot;", "", 0),
            ("&#124;", "", 0),
            ("R&D;", "R&D", 2),
            ("3.5%", "3.5", 2),
            ("日本語。", "日本語", 6),
        ] {
            assert_eq!((bare(word), letters(bare(word))), (expected, n), "{word}");
        }
    }

    #[test]
    fn a_word_is_the_same_with_other_marks_and_capitals() {
        assert_eq!(key("(Dog"), key("dog,"));
        assert_ne!(key("-"), key(","));
        assert_eq!(key("&quot;"), "&quot;");
    }

    #[test]
    fn names_and_numbers_are_not_ordinary() {
        for word in ["dog", "λόγος", "犬", "don't"] {
            assert!(is_ordinary(word), "{word}");
        }
        for word in ["Anna", "iPhone", "3", "b2b", "NATO", ""] {
            assert!(!is_ordinary(word), "{word}");
        }
    }
}
