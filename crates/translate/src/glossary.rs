//! A glossary: which target phrases the words of a line require.

use std::collections::BTreeMap;

use text::Normalize;

use crate::{Error, Result};

/// Source phrases with what they are to be translated to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Glossary {
    entries: BTreeMap<String, Vec<String>>,
    /// The lengths of source phrases in bytes, longest first.
    lens: Vec<usize>,
}

impl Glossary {
    /// Adds a line: source phrase, tab, target phrase. A source phrase may have several lines:
    /// any of the targets will do. Empty lines mean nothing.
    ///
    /// # Errors
    /// [`Error::GlossaryEntry`] if a line has another number of fields, or one is empty.
    pub fn add(&mut self, line: &str, normalize: &Normalize) -> Result<()> {
        if line.trim().is_empty() {
            return Ok(());
        }
        let mut fields = line.split('\t').map(|field| normalize.apply(field.trim()).into_owned());
        let entry = (fields.next(), fields.next(), fields.next());
        let (Some(src), Some(tgt), None) = entry else {
            return Err(Error::GlossaryEntry { found: line.to_owned() });
        };
        if src.is_empty() || tgt.is_empty() {
            return Err(Error::GlossaryEntry { found: line.to_owned() });
        }
        if let Err(place) = self.lens.binary_search_by(|len| src.len().cmp(len)) {
            self.lens.insert(place, src.len());
        }
        let targets = self.entries.entry(src).or_default();
        if !targets.contains(&tgt) {
            targets.push(tgt);
        }
        Ok(())
    }

    /// How many source phrases there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What the translation of `line`, normalised like the entries, is to contain: the targets of
    /// each source phrase that occurs in whole words, in the order of the line, once however often
    /// it occurs. Of phrases that overlap the longest counts, of equally long ones the first.
    pub fn required(&self, line: &str) -> Vec<Vec<String>> {
        let mut taken: Vec<(usize, &str)> = Vec::new();
        for &len in &self.lens {
            for start in 0..(line.len() + 1).saturating_sub(len) {
                let end = start + len;
                let Some(src) = line.get(start..end) else { continue };
                let apart =
                    |&(other, text): &(usize, &str)| end <= other || other + text.len() <= start;
                if self.entries.contains_key(src)
                    && is_whole(line, start, end)
                    && taken.iter().all(apart)
                {
                    taken.push((start, src));
                }
            }
        }
        taken.sort_unstable();
        let mut required: Vec<&Vec<String>> = Vec::new();
        for targets in taken.iter().filter_map(|(_, src)| self.entries.get(*src)) {
            if !required.contains(&targets) {
                required.push(targets);
            }
        }
        required.into_iter().cloned().collect()
    }
}

/// Whether no word goes on beyond the ends of `line[start..end]`.
fn is_whole(line: &str, start: usize, end: usize) -> bool {
    let in_word = |character: Option<char>| character.is_some_and(char::is_alphanumeric);
    let before = line[..start].chars().next_back();
    let (first, last) = (line[start..end].chars().next(), line[start..end].chars().next_back());
    let goes_back = in_word(before) && in_word(first);
    let goes_on = in_word(last) && in_word(line[end..].chars().next());
    !goes_back && !goes_on
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glossary(lines: &[&str]) -> Glossary {
        let mut glossary = Glossary::default();
        lines.iter().for_each(|line| glossary.add(line, &Normalize::default()).unwrap());
        glossary
    }

    #[test]
    fn whole_words_are_found_longest_first() {
        let glossary = glossary(&[
            "dog\tHund",
            "hot dog\tWürstchen",
            "dog house\tHundehütte",
            "",
            "tall building\tHochhaus",
            "tall building\tWolkenkratzer",
        ]);
        let required = |line: &str| {
            let found = glossary.required(line);
            found.into_iter().map(|texts| texts.join("|")).collect::<Vec<_>>()
        };
        assert_eq!(required("a dog, and a dog"), ["Hund"]);
        assert_eq!(required("dogs and hotdog"), [] as [&str; 0]);
        // The longer of two that overlap, though it begins later.
        assert_eq!(required("a hot dog house"), ["Hundehütte"]);
        assert_eq!(required("a hot dog by a dog"), ["Würstchen", "Hund"]);
        assert_eq!(required("a tall building: dog"), ["Hochhaus|Wolkenkratzer", "Hund"]);
        assert_eq!(required(""), [] as [&str; 0]);
        assert_eq!(glossary.len(), 4);
    }

    #[test]
    fn letters_are_letters_in_any_language() {
        let glossary = glossary(&["é\tx", "λόγος\tword", "(c)\t©"]);
        assert_eq!(glossary.required("né é"), [["x"]]);
        assert_eq!(glossary.required("ὁ λόγος."), [["word"]]);
        assert_eq!(glossary.required("a(c)b"), [["©"]]); // no word goes on into a bracket
    }

    #[test]
    fn a_line_that_is_no_entry_is_shown() {
        for line in ["dog", "dog\t", "\tHund", "dog\tHund\tcat"] {
            let refused = Glossary::default().add(line, &Normalize::NOTHING).unwrap_err();
            assert!(refused.to_string().contains(&format!("{line:?}")), "{refused}");
        }
    }
}
