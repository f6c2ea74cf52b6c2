//! The ids that mean something to a model beyond text.
//!
//! Every vocabulary of this crate starts with these four, so that a model needs no table to
//! find them.

/// Fills a batch up to its longest sentence.
pub const PAD: u32 = 0;
/// Stands for what a vocabulary does not know. Byte-level tokenizers never produce it.
pub const UNK: u32 = 1;
/// Begins a target sentence: what a decoder sees before its first token.
pub const BOS: u32 = 2;
/// Ends a sentence.
pub const EOS: u32 = 3;

/// The names of the special ids, in the order of the ids.
pub const SPECIALS: [&str; 4] = ["<pad>", "<unk>", "<s>", "</s>"];

/// Whether `id` is one of the special ids.
pub fn is_special(id: u32) -> bool {
    (id as usize) < SPECIALS.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_at_their_ids() {
        let named = [(PAD, "<pad>"), (UNK, "<unk>"), (BOS, "<s>"), (EOS, "</s>")];
        for (id, name) in named {
            assert_eq!(SPECIALS[id as usize], name);
            assert!(is_special(id));
        }
        assert!(!is_special(4));
    }
}
