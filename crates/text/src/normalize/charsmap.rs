//! The rewriting rules that a SentencePiece model carries with it (Kudo and Richardson, 2018, §3.2
//! of “SentencePiece”): usually Unicode form NFKC with a few changes, compiled into a double-array
//! trie (Aoe, 1989).
//!
//! The blob is the size of the trie in bytes, its units of four bytes, and the replacements, each
//! with a NUL behind it; all numbers are little-endian. It may come from anywhere: whatever it
//! says, nothing outside of it is looked at.

use std::{borrow::Cow, collections::HashSet, fmt, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};

/// Rules that replace sequences of characters by others, the longest first.
#[derive(Clone, PartialEq, Eq)]
pub struct Charsmap(Arc<Rules>);

#[derive(PartialEq, Eq)]
struct Rules {
    blob: Vec<u8>,
    trie: Vec<Unit>,
    /// Where the replacements begin in the blob.
    replacements: usize,
}

/// A unit of the trie.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Unit(u32);

impl Unit {
    /// Whether a sequence ends here.
    fn has_leaf(self) -> bool {
        self.0 >> 8 & 1 == 1
    }

    /// Where its replacement begins.
    fn value(self) -> usize {
        (self.0 & !(1 << 31)) as usize
    }

    /// The byte that leads here; a leaf matches none.
    fn label(self) -> u32 {
        self.0 & (1 << 31 | 0xff)
    }

    /// What the place of a child differs in from that of its parent.
    fn offset(self) -> usize {
        ((self.0 >> 10) << ((self.0 & 1 << 9) >> 6)) as usize
    }
}

impl Charsmap {
    /// Reads the rules and checks every one.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(blob: Vec<u8>) -> Result<Self, String> {
        let (head, rest) =
            blob.split_first_chunk::<4>().ok_or("its rewriting rules are cut short")?;
        let size = u32::from_le_bytes(*head) as usize;
        if size > rest.len() || !size.is_multiple_of(4) || size == 0 {
            return Err(format!(
                "its rewriting rules say that their trie has {size} bytes, {} follow",
                rest.len()
            ));
        }
        let units = rest[..size].as_chunks::<4>().0.iter();
        let trie = units.map(|unit| Unit(u32::from_le_bytes(*unit))).collect();
        let rules = Rules { trie, replacements: 4 + size, blob };
        rules.check()?;
        Ok(Self(Arc::new(rules)))
    }

    /// What [`text`](Self::text) wrote.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Self::new(BASE64_STANDARD.decode(text).map_err(|error| error.to_string())?)
    }

    /// The rules in printable characters.
    pub(super) fn text(&self) -> String {
        BASE64_STANDARD.encode(&self.0.blob)
    }

    /// The rules as a SentencePiece model holds them.
    pub(crate) fn blob(&self) -> &[u8] {
        &self.0.blob
    }

    /// `text` with all replacements made, from left to right, the longest match first.
    pub fn apply<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut out: Option<String> = None;
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let (len, replacement) = match self.0.longest(rest.as_bytes()) {
                // The rules are those of characters, but a trie of bytes could end within one.
                Some((len, replacement)) if rest.is_char_boundary(len) => (len, replacement),
                _ => (first.len_utf8(), &rest[..first.len_utf8()]),
            };
            let done = text.len() - rest.len();
            if out.is_none() && replacement != &rest[..len] {
                out = Some(text[..done].to_owned());
            }
            if let Some(out) = &mut out {
                out.push_str(replacement);
            }
            rest = &rest[len..];
        }
        out.map_or(Cow::Borrowed(text), Cow::Owned)
    }
}

impl fmt::Debug for Charsmap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Charsmap({} bytes)", self.0.blob.len())
    }
}

impl Rules {
    /// The longest sequence that `text` begins with, and what it becomes.
    fn longest(&self, text: &[u8]) -> Option<(usize, &str)> {
        let mut place = self.trie.first()?.offset();
        let mut longest = None;
        for (len, &byte) in (1..).zip(text) {
            place ^= usize::from(byte);
            let unit = *self.trie.get(place)?;
            if byte == 0 || unit.label() != u32::from(byte) {
                break;
            }
            place ^= unit.offset();
            if unit.has_leaf() {
                longest = Some((len, self.trie.get(place)?.value()));
            }
        }
        longest.and_then(|(len, value)| Some((len, self.replacement(value)?)))
    }

    /// The replacement at a place.
    fn replacement(&self, value: usize) -> Option<&str> {
        let rest = self.blob.get(self.replacements + value..)?;
        let end = rest.iter().position(|&byte| byte == 0)?;
        std::str::from_utf8(&rest[..end]).ok()
    }

    /// Goes everywhere that a text can lead to.
    fn check(&self) -> Result<(), String> {
        let outside = || "its rewriting rules lead outside their trie".to_owned();
        let mut open = vec![self.trie[0].offset()];
        let mut seen = HashSet::new();
        while let Some(place) = open.pop() {
            if !seen.insert(place) {
                continue;
            }
            for byte in 1..=u8::MAX {
                let child = place ^ usize::from(byte);
                let unit = *self.trie.get(child).ok_or_else(outside)?;
                if unit.label() != u32::from(byte) {
                    continue;
                }
                let next = child ^ unit.offset();
                if unit.has_leaf() {
                    let value = self.trie.get(next).ok_or_else(outside)?.value();
                    self.replacement(value).ok_or_else(|| {
                        format!("its rewriting rules have no replacement at {value}")
                    })?;
                }
                open.push(next);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::SentencePiece;

    /// The rules of a model that `scripts/reference/marian.py` made SentencePiece train.
    fn rules() -> Charsmap {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/few-rules.spm");
        SentencePiece::open(&path).unwrap().normalize().charsmap.clone().unwrap()
    }

    #[test]
    fn sequences_are_replaced_the_longest_first() {
        let rules = rules();
        for (text, expected) in [
            ("ﬁn…", "fin..."),
            ("cafe\u{301} e x", "café e x"),
            ("①②①", "121"),
            ("a\u{3000}b\u{a0}", "a b "),
            ("“it’s”", "\"it's\""),
        ] {
            assert_eq!(rules.apply(text), expected);
        }
        for same in ["", "plain", "Яж 日本", "②", "e"] {
            assert!(matches!(rules.apply(same), Cow::Borrowed(text) if text == same));
        }
    }

    #[test]
    fn rules_are_kept_as_printable_characters() {
        let rules = rules();
        assert_eq!(Charsmap::parse(&rules.text()).unwrap(), rules);
        assert!(Charsmap::parse("?").is_err());
    }

    #[test]
    fn damaged_rules_are_refused() {
        let blob = rules().0.blob.clone();
        assert!(Charsmap::new(blob[..3].to_vec()).unwrap_err().ends_with("cut short"));
        let size = u32::from_le_bytes(blob[..4].try_into().unwrap()) as usize;
        for keep in [4, 100, size, size + 4, blob.len() - 1] {
            assert!(Charsmap::new(blob[..keep].to_vec()).is_err(), "{keep}");
        }
        let mut wild = blob.clone();
        wild[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Charsmap::new(wild).unwrap_err().ends_with("outside their trie"));
    }

    proptest! {
        #[test]
        fn whatever_rules_say_text_stays_text(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            text in "[ﬁ…e\u{301}①②’\u{3000}a-c]{0,12}",
        ) {
            let mut blob = rules().0.blob.clone();
            for (place, byte) in changes {
                let place = place.index(blob.len());
                blob[place] = byte;
            }
            if let Ok(rules) = Charsmap::new(blob) {
                rules.apply(&text);
            }
        }
    }
}
