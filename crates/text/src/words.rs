//! The words of a sentence: what alignments and Pharaoh indices count.

use std::ops::Range;

/// Splits `text` at Unicode white space and returns the byte spans of what lies between.
///
/// Word `i` of a Pharaoh link is the `i`-th span. A text of nothing but white space has no
/// words.
pub fn words(text: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut start = None;
    for (position, character) in text.char_indices() {
        match (character.is_whitespace(), start) {
            (true, Some(begin)) => {
                spans.push(begin..position);
                start = None;
            }
            (false, None) => start = Some(position),
            _ => {}
        }
    }
    spans.extend(start.map(|begin| begin..text.len()));
    spans
}

/// Splits `text` at white space, and what is no letter and no digit off the ends of its words.
///
/// `“Ja, nein.”` has the parts `“`, `Ja`, `,`, `nein`, `.` and `”`. Marks within a word stay:
/// `don't`, `3.5`. For whoever counts words and has no tokenizer of the language.
pub fn words_and_marks(text: &str) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    for word in words(text) {
        let inner = &text[word.clone()];
        let first = inner.find(char::is_alphanumeric).unwrap_or(inner.len());
        let last = inner.char_indices().rev().find(|(_, c)| c.is_alphanumeric());
        let end = last.map_or(inner.len(), |(at, c)| at + c.len_utf8());
        let marks = |from: usize, to: usize| {
            let start = word.start + from;
            inner[from..to].char_indices().map(move |(at, c)| start + at..start + at + c.len_utf8())
        };
        parts.extend(marks(0, first));
        if first < end {
            parts.push(word.start + first..word.start + end);
        }
        parts.extend(marks(end, inner.len()));
    }
    parts
}

/// As [`words_and_marks`], with each character alone of scripts that put no spaces between words: what
/// can have a counterpart in another language when nothing is known of the two.
pub fn units(text: &str) -> Vec<Range<usize>> {
    let mut units = Vec::new();
    for part in words_and_marks(text) {
        let mut start = part.start;
        for (at, character) in text[part.clone()].char_indices() {
            let (at, end) = (part.start + at, part.start + at + character.len_utf8());
            if written_without_spaces(character) {
                if start < at {
                    units.push(start..at);
                }
                units.push(at..end);
                start = end;
            }
        }
        if start < part.end {
            units.push(start..part.end);
        }
    }
    units
}

/// Whether `character` belongs to a script that puts no spaces between words: Thai, Lao,
/// Myanmar, Khmer, Kana or Han (Unicode blocks).
pub(crate) fn written_without_spaces(character: char) -> bool {
    matches!(
        u32::from(character),
        0x0e00..=0x0eff
            | 0x1000..=0x109f
            | 0x1780..=0x17ff
            | 0x3040..=0x30ff
            | 0x3400..=0x9fff
            | 0xf900..=0xfaff
            | 0x20000..=0x3ffff
    )
}

/// Says for each subword which word it belongs to.
///
/// `subwords` are byte spans into `text`, `words` its words as [`words`] returns them. A subword
/// belongs to the word that holds the first character of its span that is not white space; a
/// subword of white space alone belongs to none. Subwords that share a character (because it
/// was split into bytes) all belong to the word of that character.
pub fn word_of_subwords(
    text: &str,
    subwords: &[Range<usize>],
    words: &[Range<usize>],
) -> Vec<Option<usize>> {
    subwords
        .iter()
        .map(|span| {
            let piece = text.get(span.clone())?;
            let first = span.start + piece.find(|c: char| !c.is_whitespace())?;
            let word = words.partition_point(|word| word.end <= first);
            (word < words.len() && words[word].start <= first).then_some(word)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_are_words_marks_and_characters_of_scripts_without_spaces() {
        let text = "„Ja“ 私はtv。見る";
        let units: Vec<&str> = units(text).into_iter().map(|unit| &text[unit]).collect();
        assert_eq!(units, ["„", "Ja", "“", "私", "は", "tv。", "見", "る"]);
        assert!(super::units(" ").is_empty());
    }

    #[test]
    fn words_are_what_stands_between_white_space() {
        assert_eq!(words("a  bc\td "), [0..1, 3..5, 6..7]);
        assert_eq!(words("\u{3000}é\u{a0}x"), [3..5, 7..8]);
        assert!(words("").is_empty());
        assert!(words(" \n\u{2003}").is_empty());
    }

    #[test]
    fn marks_stand_apart_from_words() {
        let parts = |text: &str| -> Vec<String> {
            words_and_marks(text).into_iter().map(|part| text[part].to_owned()).collect()
        };
        assert_eq!(parts("“Ja, nein.” "), ["“", "Ja", ",", "nein", ".", "”"]);
        assert_eq!(parts("don't  3.5 -- é!"), ["don't", "3.5", "-", "-", "é", "!"]);
        assert!(parts(" ").is_empty());
    }

    #[test]
    fn a_subword_belongs_to_the_word_of_its_first_visible_character() {
        let text = "un happy  é";
        //          012345678910
        let subwords = [0..1, 1..2, 2..5, 5..8, 8..9, 9..12, 10..12, 10..12];
        assert_eq!(
            word_of_subwords(text, &subwords, &words(text)),
            [Some(0), Some(0), Some(1), Some(1), None, Some(2), Some(2), Some(2)]
        );
    }

    #[test]
    fn a_span_outside_the_text_belongs_to_nothing() {
        let text = "é";
        assert_eq!(word_of_subwords(text, &[0..9, 1..2], &words(text)), [None, None]);
    }

    proptest! {
        #[test]
        fn words_agree_with_the_standard_library(text in r"[ \t\u{a0}\u{3000}a-cé🙂]{0,40}") {
            let found: Vec<&str> = words(&text).into_iter().map(|span| &text[span]).collect();
            let expected: Vec<&str> = text.split_whitespace().collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn parts_are_the_text_without_white_space(text in r"[ \u{3000}.aé🙂]{0,40}") {
            let parts = words_and_marks(&text);
            prop_assert!(parts.iter().is_sorted_by(|one, other| one.end <= other.start));
            let joined: String = parts.into_iter().map(|part| &text[part]).collect();
            prop_assert_eq!(joined, text.split_whitespace().collect::<String>());
        }

        #[test]
        fn each_character_belongs_to_the_word_around_it(text in r"[ \u{3000}aé🙂]{0,40}") {
            let spans = words(&text);
            let characters: Vec<_> =
                text.char_indices().map(|(at, c)| at..at + c.len_utf8()).collect();
            let owners = word_of_subwords(&text, &characters, &spans);
            for (character, owner) in characters.iter().zip(owners) {
                let expected = spans
                    .iter()
                    .position(|word| word.start <= character.start && character.end <= word.end);
                prop_assert_eq!(owner, expected);
            }
        }
    }
}
