//! The description of a model, its `README.md`: a head that the Hub reads, and text.

use std::{fs, path::Path};

/// The `README.md` of a model's folder with a note before its text, behind the head that the Hub reads;
/// the note alone if there is none.
pub(crate) fn with_note(folder: &Path, note: &str) -> String {
    noted(&of(folder), note)
}

/// The description of the model in `folder`; nothing if it has none.
pub(crate) fn of(folder: &Path) -> String {
    fs::read_to_string(folder.join("README.md")).unwrap_or_default()
}

/// The head of a card with its marks, and the text behind it.
pub(crate) fn split(card: &str) -> (&str, &str) {
    const MARK: &str = "\n---\n";
    let head = card.starts_with("---\n").then(|| card[3..].find(MARK)).flatten();
    card.split_at(head.map_or(0, |end| 3 + end + MARK.len()))
}

fn noted(card: &str, note: &str) -> String {
    let (head, text) = split(card);
    let parts = [head.trim_end(), note.trim(), text.trim()];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_stands_behind_the_head() {
        let card = "---\nlanguage: en\n---\n\n# Model\n\n---\nText\n";
        let expected = "---\nlanguage: en\n---\n\nA note.\n\n# Model\n\n---\nText\n";
        assert_eq!(noted(card, "A note.\n"), expected);
        assert_eq!(noted("# Model\n", "A note."), "A note.\n\n# Model\n");
        assert_eq!(noted("---\nno end", "A note."), "A note.\n\n---\nno end\n");
        assert_eq!(noted("---\n---\nText", "A note."), "---\n---\n\nA note.\n\nText\n");
        assert_eq!(noted("", "A note."), "A note.\n");
    }
}
