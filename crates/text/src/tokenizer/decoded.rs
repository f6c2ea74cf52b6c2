//! Text from ids, with the place of each id in it.

use std::ops::Range;

use super::{Tokenizer, characters_around};
use crate::{Error, Result};

/// Ids as a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The text.
    pub text: String,
    /// For each id, the bytes of the text that it covers, as in [`Encoding`](super::Encoding).
    /// Where bytes are no UTF-8, that is the replacement character that stands for them. The
    /// span of a special id is empty.
    pub spans: Vec<Range<usize>>,
}

impl Tokenizer {
    /// As [`decode`](Self::decode), and where each id went.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_with_spans(&self, ids: &[u32]) -> Result<Decoded> {
        let mut bytes: Vec<u8> = Vec::new();
        let mut ends = Vec::with_capacity(ids.len());
        for &id in ids {
            let piece = self.pieces.get(id as usize);
            let piece = piece.ok_or(Error::UnknownId { id, vocab: self.vocab_size() })?;
            bytes.extend_from_slice(piece);
            ends.push(bytes.len());
        }
        if self.prefixed && bytes.first() == Some(&b' ') {
            bytes.remove(0);
            ends.iter_mut().for_each(|end| *end = end.saturating_sub(1));
        }
        let (text, places) = repaired(&bytes);
        let mut start = 0;
        let span = |end| {
            let place = match std::mem::replace(&mut start, end) {
                start if start == end => places[end].start..places[end].start,
                start => places[start].start..places[end - 1].end,
            };
            characters_around(&text, place)
        };
        let spans = ends.into_iter().map(span).collect();
        Ok(Decoded { text, spans })
    }
}

/// `bytes` as text, with replacement characters for what is no UTF-8; and for each byte, and for
/// the end, which bytes of the text stand for it.
fn repaired(bytes: &[u8]) -> (String, Vec<Range<usize>>) {
    let mut text = String::with_capacity(bytes.len());
    let mut places = Vec::with_capacity(bytes.len() + 1);
    for chunk in bytes.utf8_chunks() {
        let start = text.len();
        places.extend((start..start + chunk.valid().len()).map(|at| at..at + 1));
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            let start = text.len();
            text.push(char::REPLACEMENT_CHARACTER);
            places.extend(chunk.invalid().iter().map(|_| start..text.len()));
        }
    }
    places.push(text.len()..text.len());
    (text, places)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{TokenizerConfig, vocab};

    /// Every byte and hardly anything else, so that most characters are split.
    fn tokenizer() -> Tokenizer {
        let config = TokenizerConfig::default();
        Tokenizer::train(&config, ["the cat", "the dog"].map(String::from).into_iter()).unwrap()
    }

    #[test]
    fn broken_characters_are_shared_by_the_ids_that_broke_them() {
        let tokenizer = tokenizer();
        let euro = tokenizer.encode("€").unwrap().ids;
        assert_eq!(euro.len(), 3);
        let x = tokenizer.encode("x").unwrap().ids[0];
        let decoded = tokenizer.decode_with_spans(&[euro[0], euro[1], x, vocab::EOS, euro[2]]);
        let replaced = "\u{fffd}x\u{fffd}".to_owned();
        assert_eq!(
            decoded.unwrap(),
            Decoded { text: replaced, spans: vec![0..3, 0..3, 3..4, 4..4, 4..7] }
        );
        assert!(tokenizer.decode_with_spans(&[u32::MAX]).is_err());
    }

    proptest! {
        #[test]
        fn decoding_gives_the_text_and_the_spans_of_encoding(text in any::<String>()) {
            let tokenizer = tokenizer();
            let encoding = tokenizer.encode(&text).unwrap();
            let decoded = tokenizer.decode_with_spans(&encoding.ids).unwrap();
            prop_assert_eq!(decoded, Decoded { text, spans: encoding.spans });
        }

        #[test]
        fn any_ids_give_the_text_of_plain_decoding(ids in prop::collection::vec(0u32..260, 0..20)) {
            let tokenizer = tokenizer();
            let decoded = tokenizer.decode_with_spans(&ids).unwrap();
            prop_assert_eq!(&decoded.text, &tokenizer.decode(&ids).unwrap());
            prop_assert_eq!(decoded.spans.len(), ids.len());
            for span in decoded.spans {
                prop_assert!(decoded.text.get(span).is_some());
            }
        }
    }
}
