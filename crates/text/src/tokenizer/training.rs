//! Learning a vocabulary, with the same result for the same text on any number of threads.

use std::collections::HashMap;

use rayon::prelude::*;
use tokenizers::{
    OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, ProgressFormat,
    SplitDelimiterBehavior,
    models::{
        ModelWrapper,
        bpe::{BPE, BpeTrainer},
        unigram::{Unigram, UnigramTrainer},
    },
    pre_tokenizers::{
        PreTokenizerWrapper,
        byte_level::ByteLevel,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
};

use super::{
    config::{TokenizerConfig, TokenizerKind},
    specials,
};
use crate::{
    Error, Result,
    vocab::{SPECIALS, UNK},
};

/// What subwords never cross: words (letters with their marks, and apostrophes between them),
/// runs of digits, runs of other signs, each with the space before it; and single white space.
///
/// There is nothing to look ahead or back for, so time is linear in the text, and a special
/// token such as `</s>` in a text is always cut at its letters, so it cannot become one again.
const PIECES: &str = concat!(
    r" ?[\p{L}\p{M}]+(?:['’][\p{L}\p{M}]+)*",
    r"| ?\p{N}+",
    r"| ?[^\s\p{L}\p{M}\p{N}]+",
    r"|\s",
);

/// A pair seen less often than this is not worth an entry of the vocabulary.
const MIN_FREQUENCY: u64 = 2;

/// A piece longer than this, in bytes, is not text one can learn from.
const LONGEST_PIECE: usize = 256;

/// Different pieces that are counted. When there are more, the rarest so far are forgotten.
const MOST_COUNTED: usize = 1 << 20;

/// Different pieces that a vocabulary is learned from: the most frequent ones. A trainer takes
/// almost a kilobyte for each, and rarer ones change no vocabulary of a usual size.
const MOST_LEARNED: usize = 1 << 18;

/// Lines whose pieces are counted together: enough to keep threads busy, little to hold.
const LINES_AT_ONCE: usize = 8192;

/// A stride through the bytes that visits each once and goes up and down; any odd number does.
const ZIGZAG: usize = 101;

/// How text is cut before subwords are looked for.
pub(super) fn pre_tokenizer() -> Result<PreTokenizerWrapper> {
    let pattern = SplitPattern::Regex(PIECES.to_owned());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(training)?;
    let bytes = ByteLevel::new(false, false, false);
    Ok(Sequence::new(vec![split.into(), bytes.into()]).into())
}

/// Learns the model that `config` asks for from `lines`.
pub(super) fn learn<I>(config: &TokenizerConfig, lines: I) -> Result<ModelWrapper>
where
    I: Iterator<Item = String>,
{
    config.check()?;
    let pieces = count(lines, MOST_COUNTED, MOST_LEARNED)?;
    if pieces.is_empty() {
        return Err(Error::NoTrainingText);
    }
    match config.kind {
        TokenizerKind::Bpe => bpe(config.vocab, pieces).map(ModelWrapper::BPE),
        TokenizerKind::Unigram => unigram(config.vocab, pieces).map(ModelWrapper::Unigram),
    }
}

/// Counts the pieces of all lines, in the byte alphabet, sorted by piece. In memory are at most
/// `most_counted` and those of some lines; the `most` frequent ones are returned.
fn count<I: Iterator<Item = String>>(
    mut lines: I,
    most_counted: usize,
    most: usize,
) -> Result<Vec<(String, u64)>> {
    let pre_tokenizer = pre_tokenizer()?;
    let mut counts: HashMap<String, u64> = HashMap::new();
    let mut forgotten = 0;
    loop {
        let some: Vec<String> = lines.by_ref().take(LINES_AT_ONCE).collect();
        if some.is_empty() {
            break;
        }
        let parts: Vec<HashMap<String, u64>> = some
            .par_chunks(LINES_AT_ONCE / 32)
            .map(|lines| count_some(&pre_tokenizer, lines))
            .collect::<Result<_>>()?;
        for (piece, n) in parts.into_iter().flatten() {
            *counts.entry(piece).or_default() += n;
        }
        while counts.len() > most_counted {
            forgotten += 1;
            counts.retain(|_, n| *n > forgotten);
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    if counts.len() > most {
        counts.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        counts.truncate(most);
    }
    counts.sort_unstable();
    // The trainers count in 32 bits. Of a corpus beyond that, proportions are all they need.
    let symbols: u64 = counts.iter().map(|(piece, n)| piece.chars().count() as u64 * n).sum();
    let scale = symbols.div_ceil(i32::MAX as u64).max(1);
    counts.iter_mut().for_each(|(_, n)| *n = n.div_ceil(scale));
    Ok(counts)
}

fn count_some(
    pre_tokenizer: &PreTokenizerWrapper,
    lines: &[String],
) -> Result<HashMap<String, u64>> {
    let mut counts = HashMap::new();
    for line in lines {
        let mut text = PreTokenizedString::from(line.as_str());
        pre_tokenizer.pre_tokenize(&mut text).map_err(training)?;
        for (piece, _, _) in text.get_splits(OffsetReferential::Normalized, OffsetType::None) {
            if !piece.is_empty() && piece.chars().count() <= LONGEST_PIECE {
                *counts.entry(piece.to_owned()).or_default() += 1;
            }
        }
    }
    Ok(counts)
}

/// Pairs are merged by count, then by id, and both are the same on any number of threads.
fn bpe(vocab: usize, pieces: Vec<(String, u64)>) -> Result<BPE> {
    let trainer = BpeTrainer::builder()
        .vocab_size(vocab)
        .min_frequency(MIN_FREQUENCY)
        .special_tokens(specials())
        .initial_alphabet(alphabet().into_iter().collect())
        .show_progress(false)
        .progress_format(ProgressFormat::Silent)
        .build();
    let pieces = pieces.into_iter().map(|(piece, n)| (piece.into(), n)).collect();
    let mut model = BPE::default();
    trainer.do_train(&pieces, &mut model).map_err(training)?;
    Ok(model)
}

/// The trainer adds probabilities in an order that depends on the number of threads, so it
/// gets one.
///
/// Every byte is given to it as a piece of its own, seen once. So each has a probability, where
/// the trainer would give those without one a rank by chance. And they come last, no two alike
/// and in zigzag: the suffix array of esaxx-rs 0.1.10 goes wrong, up to a panic, when a text
/// ends in a repetition, on the level of letters or of what its recursion makes of them.
fn unigram(vocab: usize, pieces: Vec<(String, u64)>) -> Result<Unigram> {
    let size = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let trainer = UnigramTrainer::builder()
        .vocab_size(size(vocab as u64))
        .special_tokens(specials())
        .unk_token(Some(SPECIALS[UNK as usize].to_owned()))
        .show_progress(false)
        .build()
        .map_err(training)?;
    let alphabet = alphabet();
    let zigzag = (0..alphabet.len()).map(|i| alphabet[i * ZIGZAG % alphabet.len()].to_string());
    let pieces = pieces.into_iter().map(|(piece, n)| (piece, size(n)));
    let pieces = pieces.chain(zigzag.map(|byte| (byte, 1))).collect();

    let thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().map_err(training)?;
    let mut model = Unigram::default();
    thread.install(|| trainer.do_train(pieces, &mut model)).map_err(training)?;
    Unigram::from(in_order(&model, vocab), Some(UNK as usize), false).map_err(training)
}

/// The entries of `model`: special tokens, then bytes, then the rest by falling probability.
fn in_order(model: &Unigram, vocab: usize) -> Vec<(String, f64)> {
    let learnt = model.iter().skip(SPECIALS.len()).cloned();
    let (mut bytes, mut longer): (Vec<_>, Vec<_>) =
        learnt.partition(|(piece, _)| piece.chars().count() == 1);
    bytes.sort_by(|a, b| a.0.cmp(&b.0));
    longer.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let specials = SPECIALS.map(|name| (name.to_owned(), 0.0));
    specials.into_iter().chain(bytes).chain(longer).take(vocab).collect()
}

/// The characters that stand for bytes, in order.
fn alphabet() -> Vec<char> {
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    alphabet
}

fn training(error: impl std::fmt::Display) -> Error {
    Error::Training { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_pieces_are_forgotten_when_there_are_too_many() {
        // One piece in every line, and one that is in no other.
        let lines = || (0..20_000).map(|n| format!("A {}", letters(n)));
        let count = |counted, learned| count(lines(), counted, learned).unwrap();
        let all = count(1 << 20, 1 << 20);
        assert_eq!(all.len(), 20_001);
        assert!(all.windows(2).all(|two| two[0].0 < two[1].0));
        assert_eq!(count(100, 1 << 20), [("A".to_owned(), 20_000)]);
        // Of equally frequent ones those that come first in the alphabet.
        let few = count(1 << 20, 3);
        assert_eq!(few.len(), 3);
        assert_eq!(few[0], ("A".to_owned(), 20_000));
        assert!(few[1].0 == "Ġa" && few[2].0 == "Ġaaab", "{few:?}");
    }

    /// A number written with letters.
    fn letters(mut n: usize) -> String {
        let mut text = String::new();
        loop {
            text.push(char::from(b'a' + (n % 26) as u8));
            n /= 26;
            if n == 0 {
                return text;
            }
        }
    }
}
