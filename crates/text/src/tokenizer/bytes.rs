//! The alphabet of byte-level tokenizers: a printable character for each byte.
//!
//! Radford et al. (2019), “Language Models are Unsupervised Multitask Learners”, §2.2, use one
//! character per byte so that a vocabulary of strings can hold any text. Printable ASCII and
//! Latin-1 stand for themselves; the other bytes follow, in order, from U+0100 on.

/// The byte that `character` stands for in a byte-level vocabulary.
pub(super) fn byte_of(character: char) -> Option<u8> {
    let code = u32::from(character);
    match code {
        0x100.. => (0..=u8::MAX)
            .filter(|&byte| !stands_for_itself(byte))
            .nth(usize::try_from(code - 0x100).ok()?),
        _ => u8::try_from(code).ok().filter(|&byte| stands_for_itself(byte)),
    }
}

/// The character that stands for `byte`.
pub(super) fn char_of(byte: u8) -> char {
    if stands_for_itself(byte) {
        return char::from(byte);
    }
    let others = (0..byte).filter(|&other| !stands_for_itself(other)).count() as u32;
    char::from_u32(0x100 + others).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The bytes of a vocabulary entry, or none if it is not made of the byte alphabet.
pub(super) fn bytes_of(token: &str) -> Option<Vec<u8>> {
    token.chars().map(byte_of).collect()
}

fn stands_for_itself(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    use super::*;

    #[test]
    fn known_characters_stand_for_known_bytes() {
        assert_eq!(byte_of('a'), Some(b'a'));
        assert_eq!(byte_of('Ġ'), Some(b' '));
        assert_eq!(byte_of('Ċ'), Some(b'\n'));
        assert_eq!(byte_of('é'), Some(0xe9));
        assert_eq!(byte_of(' '), None);
        assert_eq!(byte_of('\u{ad}'), None);
        assert_eq!(byte_of('ł'), Some(0xa0));
        assert_eq!(byte_of('Ń'), Some(0xad)); // the last of them
        assert_eq!(byte_of('ń'), None);
        assert_eq!(bytes_of("ĠÃ©"), Some(" é".into()));
        assert_eq!(bytes_of("a b"), None);
    }

    #[test]
    fn the_alphabet_is_that_of_the_tokenizers_crate_and_has_every_byte() {
        let alphabet = ByteLevel::alphabet();
        assert_eq!(alphabet.len(), 256);
        for byte in 0..=u8::MAX {
            assert_eq!(byte_of(char_of(byte)), Some(byte));
        }
        let bytes: BTreeSet<u8> = alphabet.iter().map(|&c| byte_of(c).unwrap()).collect();
        assert_eq!(bytes.len(), 256);
    }
}
