//! Whether a text is written as its language is: the share of its letters in the right scripts.

use serde::{Deserialize, Serialize};
use unicode_script::{Script, UnicodeScript};

use super::languages;

/// Scripts that a text may be written in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Scripts(Vec<Script>);

impl Scripts {
    /// The scripts in which a language is usually written, if its code is known.
    pub fn of_language(code: &str) -> Option<Self> {
        let names = languages::scripts(code)?;
        names.split(' ').map(script).collect::<Option<_>>().map(Self)
    }

    /// How much of `text` is written in these scripts: of the letters that belong to one. Text
    /// without such letters is.
    pub fn share(&self, text: &str) -> f64 {
        let (mut letters, mut own) = (0u64, 0u64);
        for character in text.chars().filter(|character| character.is_alphabetic()) {
            match character.script() {
                Script::Common | Script::Inherited | Script::Unknown => {}
                script => {
                    letters += 1;
                    own += u64::from(self.0.contains(&script));
                }
            }
        }
        if letters == 0 { 1.0 } else { own as f64 / letters as f64 }
    }
}

impl TryFrom<Vec<String>> for Scripts {
    type Error = String;

    fn try_from(names: Vec<String>) -> Result<Self, String> {
        if names.is_empty() {
            return Err("found no script, expected names such as \"Latin\"".into());
        }
        let found = |name: &String| {
            script(name).ok_or_else(|| {
                format!("{name} is no script of Unicode, such as Latin, Cyrillic or Han")
            })
        };
        names.iter().map(found).collect::<Result<_, _>>().map(Self)
    }
}

impl From<Scripts> for Vec<String> {
    fn from(scripts: Scripts) -> Self {
        scripts.0.into_iter().map(|script| script.full_name().to_owned()).collect()
    }
}

/// A script by its Unicode name, however it is capitalised.
fn script(name: &str) -> Option<Script> {
    let mut capital = true;
    let mut proper = String::new();
    for character in name.chars() {
        proper.push(if capital { character.to_ascii_uppercase() } else { character });
        capital = character == '_';
    }
    Script::from_full_name(&proper)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scripts(names: &[&str]) -> Scripts {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        names.try_into().unwrap()
    }

    #[test]
    fn a_share_counts_letters_and_nothing_else() {
        let latin = scripts(&["latin"]);
        for (text, share) in [
            ("Ein Haus, 3 m²!", 1.0),
            ("дом", 0.0),
            ("ab вг", 0.5),
            ("e\u{301}é ж", 2.0 / 3.0),
            ("123 … 😀 ー", 1.0),
            ("", 1.0),
        ] {
            assert_eq!(latin.share(text), share, "{text}");
        }
        assert_eq!(scripts(&["Han", "Hiragana", "Katakana"]).share("私はテレビを見る tv"), 0.8);
    }

    #[test]
    fn names_come_back_and_languages_have_their_scripts() {
        assert_eq!(Vec::<String>::from(scripts(&["old_Italic", "latin"])), ["Old_Italic", "Latin"]);
        assert_eq!(Scripts::of_language("de"), Some(scripts(&["Latin"])));
        assert_eq!(Scripts::of_language("grc"), Some(scripts(&["Greek"])));
        assert_eq!(Scripts::of_language("ja").map(|scripts| scripts.0.len()), Some(3));
        assert_eq!(Scripts::of_language("src"), None);
        assert!(Scripts::try_from(Vec::new()).is_err());
    }
}
