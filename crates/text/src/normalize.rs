//! Unicode form, white space, and characters that do not belong into text.

mod charsmap;

use std::{borrow::Cow, fs, io::Read, path::Path};

use serde::{Deserialize, Serialize};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

pub use self::charsmap::Charsmap;
use crate::{
    Error, Result,
    output::{Output, Written},
};

/// The file beside tokenizers that says what text is like for them.
const FILE: &str = "normalize.json";

/// Bytes of [`FILE`] that are read at most.
const LARGEST_FILE: u64 = 1 << 24;

/// Which differences that no reader sees are removed from a text.
///
/// What a model was trained with, it must be used with:
/// [`Tokenizers`](crate::Tokenizers) keep it beside the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Normalize {
    /// Compose characters: Unicode normalisation form C, so that `e` with an accent is one
    /// character however it was typed.
    pub nfc: bool,
    /// Replace each run of white space by one space and remove it at both ends.
    pub spaces: bool,
    /// Rules that came with a SentencePiece model, which are applied before all else. No
    /// configuration can ask for them.
    #[serde(skip)]
    pub charsmap: Option<Charsmap>,
}

/// `normalize.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "yes")]
    nfc: bool,
    #[serde(default = "yes")]
    spaces: bool,
    charsmap: Option<String>,
}

fn yes() -> bool {
    true
}

impl Default for Normalize {
    fn default() -> Self {
        Self { nfc: true, spaces: true, charsmap: None }
    }
}

impl Normalize {
    /// Text as it is.
    pub const NOTHING: Self = Self { nfc: false, spaces: false, charsmap: None };

    /// Reads `normalize.json` of a folder; [`NOTHING`](Self::NOTHING) where there is none.
    ///
    /// # Errors
    /// [`Error::Read`], or [`Error::NotNormalize`] if the file holds something else.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        if !path.exists() {
            return Ok(Self::NOTHING);
        }
        let mut content = Vec::new();
        fs::File::open(&path)
            .and_then(|file| file.take(LARGEST_FILE).read_to_end(&mut content))
            .map_err(|source| Error::Read { path: path.clone(), source })?;
        let wrong = |reason| Error::NotNormalize { path: path.clone(), reason };
        let File { nfc, spaces, charsmap } =
            serde_json::from_slice(&content).map_err(|error| wrong(error.to_string()))?;
        let charsmap = charsmap.map(|text| Charsmap::parse(&text)).transpose().map_err(wrong)?;
        Ok(Self { nfc, spaces, charsmap })
    }

    /// What [`open`](Self::open) reads, safe on the disk but still without its name.
    pub(crate) fn written(&self, dir: &Path) -> Result<Written> {
        let mut output = Output::create(&dir.join(FILE))?;
        let charsmap = match &self.charsmap {
            Some(charsmap) => format!(", \"charsmap\": \"{}\"", charsmap.text()),
            None => String::new(),
        };
        output
            .line(&format!("{{\"nfc\": {}, \"spaces\": {}{charsmap}}}", self.nfc, self.spaces))?;
        output.written()
    }

    /// `text` without the differences. Applied twice, it does no more than applied once.
    pub fn apply<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = match &self.charsmap {
            Some(charsmap) => charsmap.apply(text),
            None => Cow::Borrowed(text),
        };
        if self.nfc && is_nfc_quick(text.chars()) != IsNormalized::Yes {
            text = Cow::Owned(text.nfc().collect());
        }
        if self.spaces && !evenly_spaced(&text) {
            text = Cow::Owned(text.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        text
    }
}

/// Whether `character` stands in no text that a person wrote: a control character other than
/// white space, or U+FFFD, which replaces what a program could not read.
pub fn is_unprintable(character: char) -> bool {
    character == char::REPLACEMENT_CHARACTER
        || (character.is_control() && !character.is_whitespace())
}

/// Whether all white space of `text` is single spaces between words.
fn evenly_spaced(text: &str) -> bool {
    let mut after_space = true;
    for character in text.chars() {
        if character.is_whitespace() && (character != ' ' || after_space) {
            return false;
        }
        after_space = character == ' ';
    }
    text.is_empty() || !after_space
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOTH: Normalize = Normalize { nfc: true, spaces: true, charsmap: None };

    #[test]
    fn accents_are_composed_and_spaces_evened() {
        assert_eq!(BOTH.apply("  cafe\u{301}\u{a0}\t noir\u{3000}"), "café noir");
        assert_eq!(BOTH.apply(" \u{2003}\n"), "");
        assert!(matches!(BOTH.apply("café noir"), Cow::Borrowed("café noir")));
        assert!(matches!(BOTH.apply(""), Cow::Borrowed("")));
    }

    #[test]
    fn each_part_can_be_left_out() {
        let text = " e\u{301}  x ";
        assert_eq!(Normalize { nfc: false, ..BOTH }.apply(text), "e\u{301} x");
        assert_eq!(Normalize { spaces: false, ..BOTH }.apply(text), " é  x ");
        assert_eq!(Normalize::NOTHING.apply(text), text);
    }

    #[test]
    fn control_characters_are_unprintable_and_letters_and_tabs_are_not() {
        for character in ['\u{1}', '\u{7f}', '\u{80}', '\u{9f}', '\u{fffd}'] {
            assert!(is_unprintable(character), "{character:?}");
        }
        for character in ['a', ' ', '\t', '\u{85}', '\u{a0}', '\u{200d}', '猫', '\u{301}'] {
            assert!(!is_unprintable(character), "{character:?}");
        }
    }

    #[test]
    fn a_folder_says_what_is_done_and_without_a_file_nothing_is() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Normalize::open(dir.path()).unwrap(), Normalize::NOTHING);
        for normalize in [BOTH, Normalize { spaces: false, ..BOTH }, Normalize::NOTHING] {
            normalize.written(dir.path()).unwrap().named().unwrap();
            assert_eq!(Normalize::open(dir.path()).unwrap(), normalize);
        }
        std::fs::write(dir.path().join(FILE), r#"{"nfd": true}"#).unwrap();
        let error = Normalize::open(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("normalize.json does not say") && error.contains("`nfd`"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn the_second_time_changes_nothing(text in "[ \u{a0}\u{3000}\te\u{301}\u{323}a-cﬁ가ᄀ\u{1161}]{0,20}|.{0,20}") {
            for (nfc, spaces) in [(true, true), (true, false), (false, true)] {
                let normalize = Normalize { nfc, spaces, charsmap: None };
                let once = normalize.apply(&text).into_owned();
                prop_assert_eq!(normalize.apply(&once), once.as_str());
            }
        }

        #[test]
        fn words_stay_the_same(text in "[ \u{2003}\t\na-c]{0,30}") {
            let evened = BOTH.apply(&text);
            prop_assert_eq!(
                evened.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>(),
                text.split_whitespace().collect::<Vec<_>>()
            );
        }
    }
}
