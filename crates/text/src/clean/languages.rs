//! What is known of languages by their codes.

/// Codes of ISO 639-1, of ISO 639-3 as language identification knows it, and usual scripts by their
/// Unicode names. Languages without the first, or that identification does not know, have `-`.
const LANGUAGES: [[&str; 3]; 110] = [
    ["af", "afr", "Latin"],
    ["ak", "aka", "Latin"],
    ["am", "amh", "Ethiopic"],
    ["ar", "ara", "Arabic"],
    ["az", "aze", "Latin"],
    ["be", "bel", "Cyrillic"],
    ["bg", "bul", "Cyrillic"],
    ["bn", "ben", "Bengali"],
    ["ca", "cat", "Latin"],
    ["cs", "ces", "Latin"],
    ["cy", "cym", "Latin"],
    ["da", "dan", "Latin"],
    ["de", "deu", "Latin"],
    ["el", "ell", "Greek"],
    ["en", "eng", "Latin"],
    ["eo", "epo", "Latin"],
    ["es", "spa", "Latin"],
    ["et", "est", "Latin"],
    ["fa", "pes", "Arabic"],
    ["fi", "fin", "Latin"],
    ["fr", "fra", "Latin"],
    ["gu", "guj", "Gujarati"],
    ["he", "heb", "Hebrew"],
    ["hi", "hin", "Devanagari"],
    ["hr", "hrv", "Latin"],
    ["hu", "hun", "Latin"],
    ["hy", "hye", "Armenian"],
    ["id", "ind", "Latin"],
    ["it", "ita", "Latin"],
    ["ja", "jpn", "Han Hiragana Katakana"],
    ["jv", "jav", "Latin"],
    ["ka", "kat", "Georgian"],
    ["km", "khm", "Khmer"],
    ["kn", "kan", "Kannada"],
    ["ko", "kor", "Hangul Han"],
    ["la", "lat", "Latin"],
    ["lt", "lit", "Latin"],
    ["lv", "lav", "Latin"],
    ["mk", "mkd", "Cyrillic"],
    ["ml", "mal", "Malayalam"],
    ["mr", "mar", "Devanagari"],
    ["my", "mya", "Myanmar"],
    ["nb", "nob", "Latin"],
    ["ne", "nep", "Devanagari"],
    ["nl", "nld", "Latin"],
    ["no", "nob", "Latin"],
    ["or", "ori", "Oriya"],
    ["pa", "pan", "Gurmukhi"],
    ["pl", "pol", "Latin"],
    ["pt", "por", "Latin"],
    ["ro", "ron", "Latin"],
    ["ru", "rus", "Cyrillic"],
    ["si", "sin", "Sinhala"],
    ["sk", "slk", "Latin"],
    ["sl", "slv", "Latin"],
    ["sn", "sna", "Latin"],
    ["sr", "srp", "Cyrillic Latin"],
    ["sv", "swe", "Latin"],
    ["ta", "tam", "Tamil"],
    ["te", "tel", "Telugu"],
    ["th", "tha", "Thai"],
    ["tk", "tuk", "Latin"],
    ["tl", "tgl", "Latin"],
    ["tr", "tur", "Latin"],
    ["uk", "ukr", "Cyrillic"],
    ["ur", "urd", "Arabic"],
    ["uz", "uzb", "Latin Cyrillic"],
    ["vi", "vie", "Latin"],
    ["yi", "yid", "Hebrew"],
    ["zh", "cmn", "Han Bopomofo"],
    ["zu", "zul", "Latin"],
    ["as", "-", "Bengali"],
    ["bo", "-", "Tibetan"],
    ["br", "-", "Latin"],
    ["bs", "-", "Latin Cyrillic"],
    ["eu", "-", "Latin"],
    ["fo", "-", "Latin"],
    ["fy", "-", "Latin"],
    ["ga", "-", "Latin"],
    ["gd", "-", "Latin"],
    ["gl", "-", "Latin"],
    ["ha", "-", "Latin"],
    ["ht", "-", "Latin"],
    ["ig", "-", "Latin"],
    ["is", "-", "Latin"],
    ["kk", "-", "Cyrillic"],
    ["ku", "-", "Latin Arabic"],
    ["ky", "-", "Cyrillic"],
    ["lb", "-", "Latin"],
    ["lo", "-", "Lao"],
    ["mg", "-", "Latin"],
    ["mi", "-", "Latin"],
    ["mn", "-", "Cyrillic"],
    ["ms", "-", "Latin"],
    ["mt", "-", "Latin"],
    ["nn", "-", "Latin"],
    ["ny", "-", "Latin"],
    ["ps", "-", "Arabic"],
    ["rw", "-", "Latin"],
    ["sa", "-", "Devanagari"],
    ["sd", "-", "Arabic"],
    ["so", "-", "Latin"],
    ["sq", "-", "Latin"],
    ["sw", "-", "Latin"],
    ["tg", "-", "Cyrillic"],
    ["ti", "-", "Ethiopic"],
    ["ug", "-", "Arabic"],
    ["xh", "-", "Latin"],
    ["yo", "-", "Latin"],
    ["grc", "-", "Greek"],
];

/// The usual scripts of the language with this code, with a space between them.
pub(super) fn scripts(code: &str) -> Option<&'static str> {
    entry(code).map(|[_, _, scripts]| *scripts)
}

/// The code of ISO 639-3 by which identification knows the language.
pub(super) fn identified(code: &str) -> Option<&'static str> {
    entry(code).map(|[_, code, _]| *code).filter(|code| *code != "-")
}

/// The entry of a code of two or three letters, whatever region or script follows it: `pt-BR`.
fn entry(code: &str) -> Option<&'static [&'static str; 3]> {
    let language = code.split(['-', '_']).next().unwrap_or(code).to_ascii_lowercase();
    let named = |entry: &&[&str; 3]| language != "-" && entry[..2].contains(&language.as_str());
    LANGUAGES.iter().find(named)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_language_that_identification_knows_is_in_the_table_once() {
        let ours: Vec<&str> = LANGUAGES.iter().map(|entry| entry[1]).collect();
        for lang in whatlang::Lang::all() {
            assert!(ours.contains(&lang.code()), "{}", lang.code());
        }
        for code in ours.iter().filter(|code| **code != "-") {
            assert!(whatlang::Lang::from_code(*code).is_some(), "{code}");
        }
        let codes: BTreeSet<&str> = LANGUAGES.iter().map(|entry| entry[0]).collect();
        assert_eq!(codes.len(), LANGUAGES.len());
    }

    #[test]
    fn codes_may_be_long_or_have_a_region() {
        for code in ["pt", "por", "pt-BR", "pt_PT", "PT"] {
            assert_eq!(identified(code), Some("por"), "{code}");
        }
        assert_eq!((identified("grc"), scripts("grc")), (None, Some("Greek")));
        assert_eq!((scripts("-"), scripts(""), scripts("german")), (None, None, None));
    }
}
