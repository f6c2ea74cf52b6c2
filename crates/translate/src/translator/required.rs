//! From texts that a translation has to begin with or to contain to tokens.

use std::sync::Arc;

use text::{Normalize, Tokenizer};

use crate::{
    Error, Request, Result,
    request::Ending,
    search::{Fork, MOST_PHRASES, Phrases, Prefix, Requirements, WordEdges},
};

/// Where the words of a vocabulary begin and end.
#[derive(Clone, Debug)]
pub(super) struct Words {
    edges: Arc<WordEdges>,
    /// Tokens that begin within a word.
    inner: Arc<[u32]>,
}

/// What is required of a translation, and its phrases in words.
#[derive(Clone, Debug, Default)]
pub(super) struct Required {
    pub(super) requirements: Requirements,
    pub(super) names: Vec<String>,
}

impl Words {
    pub(super) fn of(tokenizer: &Tokenizer) -> Self {
        let pieces = || (0..tokenizer.vocab_size() as u32).map(|id| tokenizer.bytes(id));
        let begins: Vec<bool> = pieces().map(|piece| in_word(first(piece))).collect();
        let ends = pieces().map(|piece| in_word(last(piece))).collect();
        let spaces = pieces().map(|piece| is_space(&first(piece))).collect();
        let inner = (0..).zip(&begins).filter(|(_, begins)| **begins).map(|(id, _)| id).collect();
        Self { edges: Arc::new(WordEdges { begins, ends, spaces }), inner }
    }
}

/// One end of a token.
enum Edge {
    /// There is none.
    Nothing,
    Character(char),
    /// A part of one.
    Bytes,
}

fn first(piece: &[u8]) -> Edge {
    let Some(chunk) = piece.utf8_chunks().next() else { return Edge::Nothing };
    chunk.valid().chars().next().map_or(Edge::Bytes, Edge::Character)
}

fn last(piece: &[u8]) -> Edge {
    let Some(chunk) = piece.utf8_chunks().last() else { return Edge::Nothing };
    let last = chunk.valid().chars().next_back().filter(|_| chunk.invalid().is_empty());
    last.map_or(Edge::Bytes, Edge::Character)
}

/// Whether an edge is within a word. Most characters that are cut in bytes are letters.
fn in_word(edge: Edge) -> bool {
    match edge {
        Edge::Nothing => false,
        Edge::Character(character) => character.is_alphanumeric(),
        Edge::Bytes => true,
    }
}

fn is_space(edge: &Edge) -> bool {
    matches!(edge, Edge::Character(character) if character.is_whitespace())
}

/// What `request`, of this line, requires in tokens.
pub(super) fn required(
    request: &Request,
    line: usize,
    words: &Words,
    tokenizer: &Tokenizer,
    normalize: &Normalize,
) -> Result<Required> {
    let found = request.phrases.len();
    if found > MOST_PHRASES {
        return Err(Error::TooManyPhrases { line, found, limit: MOST_PHRASES });
    }
    let (mut names, mut phrases) = (Vec::new(), Vec::new());
    for texts in &request.phrases {
        let texts = texts.iter().map(|text| normalize.apply(text.trim()).into_owned());
        let texts: Vec<String> = texts.filter(|text| !text.is_empty()).collect();
        if !texts.is_empty() {
            phrases.push(forms(&texts, tokenizer)?);
            names.push(texts.join(" | "));
        }
    }
    let prefix = prefix(&request.prefix, request.ending, words, tokenizer, normalize)?;
    let phrases = Phrases::new(phrases, Arc::clone(&words.edges));
    Ok(Required { requirements: Requirements { prefix, phrases }, names })
}

/// The ways to cut texts into tokens: behind a space, and where there is none.
fn forms(texts: &[String], tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>> {
    let spaced = texts.iter().map(|text| format!(" {text}"));
    let forms = spaced.chain(texts.iter().cloned()).map(|text| tokenizer.encode(&text));
    Ok(forms.map(|form| form.map(|form| form.ids)).collect::<text::Result<_>>()?)
}

/// The machine that reads exactly what begins with `text`.
///
/// What surely is cut as in a text of its own is tokens. The rest is bytes, which any token may
/// spell a part of, or more than all of: white space at the end, which the next word begins with,
/// or the last word if that may go on.
fn prefix(
    text: &str,
    ending: Ending,
    words: &Words,
    tokenizer: &Tokenizer,
    normalize: &Normalize,
) -> Result<Prefix> {
    if text.trim().is_empty() {
        return Ok(Prefix::default());
    }
    let mut text = normalize.apply(text).into_owned() + trailing_space(text, normalize);
    let mut sure = text.trim_end().len();
    if sure == text.len() && ending == Ending::Open {
        sure = text.rfind(char::is_whitespace).unwrap_or(0);
    }
    let mut rest = text.split_off(sure).into_bytes();
    if tokenizer.prefixed() && text.is_empty() {
        rest.insert(0, b' ');
    }
    let ids = tokenizer.encode(&text)?.ids;
    let mut states: Vec<Fork> =
        ids.iter().zip(1..).map(|(&id, next)| Fork::Only(vec![(id, next)])).collect();
    if rest.is_empty() && text.ends_with(char::is_alphanumeric) {
        states.push(Fork::Without(Arc::clone(&words.inner)));
    }
    let begin = states.len();
    for start in 0..rest.len() {
        let left = &rest[start..];
        let leads = |id: u32| {
            let piece = tokenizer.bytes(id);
            let fits = !piece.is_empty() && (left.starts_with(piece) || piece.starts_with(left));
            fits.then(|| (id, (begin + start + piece.len().min(left.len())) as u32))
        };
        states.push(Fork::Only((0..tokenizer.vocab_size() as u32).filter_map(leads).collect()));
    }
    Ok(Prefix::new(states))
}

/// The space that a prefix ended in before white space was evened out.
fn trailing_space(text: &str, normalize: &Normalize) -> &'static str {
    if normalize.spaces && text.ends_with(char::is_whitespace) { " " } else { "" }
}

#[cfg(test)]
mod tests {
    use text::TokenizerConfig;

    use super::*;

    const LINES: [&str; 3] = ["der Hund schläft schlecht.", "der Hund, der Hund", "ein Hundehaus"];

    fn tokenizer() -> Tokenizer {
        let lines = LINES.iter().cycle().take(30).map(|line| line.to_string());
        Tokenizer::train(&TokenizerConfig::default(), lines).unwrap()
    }

    /// Whether `prefix` lets `text` pass, cut as a text of its own is.
    fn passes(prefix: &Prefix, text: &str) -> bool {
        prefix.allows(&tokenizer().encode(text).unwrap().ids)
    }

    fn made(text: &str, ending: Ending) -> Prefix {
        let tokenizer = tokenizer();
        prefix(text, ending, &Words::of(&tokenizer), &tokenizer, &Normalize::default()).unwrap()
    }

    #[test]
    fn a_prefix_ends_with_its_word_unless_told_otherwise() {
        let whole = made("der Hund", Ending::Whole);
        for (text, expected) in [
            ("der Hund schläft", true),
            ("der Hund", true),
            ("der Hund, der", true),
            ("der Hundehaus", false),
            ("ein Hund", false),
        ] {
            assert_eq!(passes(&whole, text), expected, "{text}");
        }
        let open = made("der Hund", Ending::Open);
        assert!(passes(&open, "der Hundehaus") && passes(&open, "der Hund, der Hund"));
        assert!(!passes(&open, "der schläft"));
    }

    #[test]
    fn the_last_word_is_cut_anew_where_it_may_go_on() {
        let tokenizer = tokenizer();
        // The word is one token, which no token of its beginning is part of.
        let whole = tokenizer.encode(" schlecht").unwrap().ids;
        assert_eq!(whole.len(), 1);
        let open = made("der Hund schl", Ending::Open);
        assert!(passes(&open, "der Hund schlecht."));
        assert!(passes(&open, "der Hund schläft"));
        assert!(!passes(&open, "der Hund, der"));
        assert!(!passes(&made("der Hund schl", Ending::Whole), "der Hund schlecht."));
    }

    #[test]
    fn a_space_at_the_end_begins_the_next_word() {
        for ending in [Ending::Whole, Ending::Open] {
            let spaced = made("der  Hund ", ending);
            assert!(passes(&spaced, "der Hund schläft"));
            assert!(!passes(&spaced, "der Hund, der") && !passes(&spaced, "der Hundehaus"));
        }
        assert!(made(" \t", Ending::Whole).is_empty());
    }

    #[test]
    fn phrases_have_a_form_behind_a_space_and_one_without() {
        let tokenizer = tokenizer();
        let words = Words::of(&tokenizer);
        let request = Request {
            phrases: vec![vec!["Hund".into(), " Haus ".into()], vec!["".into()]],
            ..Request::default()
        };
        let normalize = Normalize::default();
        let found = required(&request, 1, &words, &tokenizer, &normalize).unwrap();
        assert_eq!(found.names, ["Hund | Haus"]);
        let ids = |text: &str| tokenizer.encode(text).unwrap().ids;
        let forms = [" Hund", " Haus", "Hund", "Haus"].map(ids).to_vec();
        let expected = Phrases::new(vec![forms], Arc::clone(&words.edges));
        assert_eq!(found.requirements.phrases, expected);

        let many = Request { phrases: vec![vec!["a".into()]; 65], ..Request::default() };
        let error = required(&many, 7, &words, &tokenizer, &normalize).unwrap_err().to_string();
        assert_eq!(error, "line 7 requires 65 phrases, expected at most 64");
    }

    #[test]
    fn edges_of_tokens_are_letters_digits_and_parts_of_characters() {
        let at = |piece: &[u8]| (in_word(first(piece)), in_word(last(piece)));
        assert_eq!(at(b" Hund"), (false, true));
        assert_eq!(at(b"7,"), (true, false));
        assert_eq!(at("ä".as_bytes()), (true, true));
        assert_eq!(at(&"ä".as_bytes()[1..]), (true, true));
        assert_eq!(at("…".as_bytes()), (false, false));
        assert_eq!(at(b""), (false, false));
    }
}
