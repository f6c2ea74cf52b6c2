//! Text → ids with byte spans; ids → text. Trained and saved by the `tokenizers` crate.
//!
//! The tokenizers are byte-level. In those that are trained here every byte is in the vocabulary,
//! so every text has ids and comes back from them exactly, with its spaces, control characters and
//! all. Special tokens are ids without a text: a `</s>` in a text is four signs like any others.
//!
//! A tokenizer that was made of a SentencePiece model knows some characters only
//! (`sentence_piece.rs`): what it does not know is one unknown token, and has no text.

mod bytes;
mod config;
mod decoded;
mod sampling;
mod sentence_piece;
mod sides;
mod tags;
mod training;

use std::{borrow::Cow, collections::HashMap, fmt, fs, io, ops::Range, path::Path};

use rayon::prelude::*;
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, Tokenizer as Inner, decoders::byte_level::ByteLevel,
};

pub use self::{
    config::{TokenizerConfig, TokenizerKind},
    decoded::Decoded,
    sampling::{Sampler, Sampling, Uniform},
    sentence_piece::{SentencePiece, Side},
    sides::Tokenizers,
    tags::Tag,
};
use crate::{
    Error, Result,
    hash::Hash,
    output::write_whole,
    vocab::{SPECIALS, UNK, is_special},
};

/// A file larger than this is no tokenizer of ours: memory is not taken for it.
const LARGEST_FILE: u64 = 1 << 28;

/// A text that a usable tokenizer gives back unchanged: double and leading spaces, composed
/// and split letters, a control character, the name of a special token, a line feed.
const PROBE: &str = "  Ünḯ don't\u{1} 🙂</s> <pad>12 3.\t\n ";

/// The byte that an entry begins with that text is never cut into. No text holds it: it is no part
/// of UTF-8.
const FOREIGN: u8 = 0xff;

/// Turns the text of one language, or of both, into ids and back.
pub struct Tokenizer {
    inner: Inner,
    /// What each id stands for; nothing for special ids and tags.
    pieces: Vec<Box<[u8]>>,
    /// The ids of entries that text is never cut into, by what they stand for; none if every text
    /// is spelled by pieces. What would be unknown is one of these if it is the same text.
    foreign: Option<HashMap<Box<[u8]>, u32>>,
    /// Whether texts are cut with a space before them, which is not theirs.
    prefixed: bool,
    /// The tags and their ids, in the order of the ids.
    tags: Vec<(Tag, u32)>,
}

/// A text as ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// The ids, without beginning and end of sentence.
    pub ids: Vec<u32>,
    /// For each id, the bytes of the text that it covers, at character boundaries. A character
    /// that was split over several ids is in the span of each of them.
    pub spans: Vec<Range<usize>>,
}

impl Tokenizer {
    /// Learns a tokenizer from `lines`. The same lines in any order give the same tokenizer, on
    /// any number of threads.
    ///
    /// # Errors
    /// [`Error::VocabTooSmall`] if the vocabulary asked for cannot hold all bytes;
    /// [`Error::NoTrainingText`] if all lines are empty.
    pub fn train<I>(config: &TokenizerConfig, lines: I) -> Result<Self>
    where
        I: Iterator<Item = String> + Send,
    {
        let mut inner = Inner::new(training::learn(config, lines)?);
        inner.with_pre_tokenizer(Some(training::pre_tokenizer()?));
        inner.with_decoder(Some(ByteLevel::default()));
        let failed = |reason: String| Error::Training { reason };
        inner.add_special_tokens(specials()).map_err(|error| failed(error.to_string()))?;
        Self::new(inner).map_err(failed)
    }

    /// Reads a tokenizer that [`save`](Self::save) wrote, or any other byte-level one that has
    /// our special tokens and changes no text.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::DamagedTokenizer`] or [`Error::ForeignTokenizer`], all with the
    /// name of the file.
    pub fn open(path: &Path) -> Result<Self> {
        let inner = Inner::from_bytes(content(path)?).map_err(|error| Error::DamagedTokenizer {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        Self::new(inner).map_err(|reason| Error::ForeignTokenizer { path: path.to_owned(), reason })
    }

    /// The same tokenizer with `tags` as well, which get the ids behind all others. Those that it
    /// has already keep theirs.
    ///
    /// # Errors
    /// [`Error::Training`] if the `tokenizers` crate fails.
    pub fn with_tags(&self, tags: &[Tag]) -> Result<Self> {
        let mut inner = self.inner.clone();
        let failed = |reason: String| Error::Training { reason };
        for tag in tags.iter().filter(|tag| self.tag(tag).is_none()) {
            let token = AddedToken::from(tag.as_str(), true);
            inner.add_special_tokens([token]).map_err(|error| failed(error.to_string()))?;
        }
        Self::new(inner).map_err(failed)
    }

    /// The id of a tag, if the tokenizer has it.
    pub fn tag(&self, tag: &Tag) -> Option<u32> {
        self.tags.iter().find(|(known, _)| known == tag).map(|(_, id)| *id)
    }

    /// The tags that the tokenizer has, in the order of their ids.
    pub fn tags(&self) -> impl Iterator<Item = &Tag> {
        self.tags.iter().map(|(tag, _)| tag)
    }

    /// Writes the tokenizer as the `tokenizer.json` of the `tokenizers` crate, whole or not at
    /// all.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn save(&self, path: &Path) -> Result<()> {
        write_whole(path, self.json(path)?.as_bytes())
    }

    /// Turns `text` into ids, without beginning and end of sentence. The empty text has none.
    ///
    /// # Errors
    /// [`Error::Encode`] if the `tokenizers` crate fails; no text is known for which it does.
    pub fn encode(&self, text: &str) -> Result<Encoding> {
        let failed = |reason: String| Error::Encode { bytes: text.len(), reason };
        if text.is_empty() {
            return Ok(Encoding { ids: Vec::new(), spans: Vec::new() });
        }
        let encoding =
            self.inner.encode_fast(text, false).map_err(|error| failed(error.to_string()))?;
        let mut ids = encoding.get_ids().to_vec();
        let mut ends = Vec::new();
        if ids.contains(&UNK) {
            // Nothing but their place tells how much text unknown tokens stand for.
            let encoding =
                self.inner.encode(text, false).map_err(|error| failed(error.to_string()))?;
            ends.extend(encoding.get_offsets().iter().map(|(_, end)| *end));
        }
        let spans = self
            .spans(text, &mut ids, &ends)
            .ok_or_else(|| failed("its tokens do not spell the text".to_owned()))?;
        Ok(Encoding { ids, spans })
    }

    /// Turns many texts into ids, on all threads: what [`encode`](Self::encode) gives for each.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_all<S: AsRef<str> + Sync>(&self, texts: &[S]) -> Result<Vec<Encoding>> {
        texts.par_iter().map(|text| self.encode(text.as_ref())).collect()
    }

    /// Turns ids into text. Special ids are left out; of what [`encode`](Self::encode) returned,
    /// the result is the text, to the byte. Bytes that are no UTF-8, as a model may produce,
    /// become replacement characters.
    ///
    /// # Errors
    /// [`Error::UnknownId`] if an id is not in the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let mut bytes = Vec::new();
        for &id in ids {
            let piece = self.pieces.get(id as usize);
            bytes
                .extend_from_slice(piece.ok_or(Error::UnknownId { id, vocab: self.vocab_size() })?);
        }
        if self.prefixed && bytes.first() == Some(&b' ') {
            bytes.remove(0);
        }
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// The vocabulary's entry for `id`, as in `tokenizer.json`: one character per byte, `Ġ` for
    /// a space.
    pub fn token(&self, id: u32) -> Option<String> {
        let token = self.inner.id_to_token(id)?;
        let mark = self.foreign.as_ref().map(|_| bytes::char_of(FOREIGN));
        let foreign = mark.and_then(|mark| token.strip_prefix(mark)).map(str::to_owned);
        Some(foreign.unwrap_or(token))
    }

    /// The bytes that `id` stands for; none for a special id, a tag, or one that there is not.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.pieces.get(id as usize).map_or(&[], |piece| piece)
    }

    /// Whether texts are cut with a space before them, so that the first word is like any other.
    pub fn prefixed(&self) -> bool {
        self.prefixed
    }

    /// Whether all ids of both tokenizers stand for the same.
    pub fn shares_ids(&self, other: &Self) -> bool {
        self.pieces == other.pieces && self.tags == other.tags
    }

    /// The number of entries, special tokens included.
    pub fn vocab_size(&self) -> usize {
        self.pieces.len()
    }

    /// Sixteen hexadecimal digits that equal tokenizers share: a hash of the kind and of all
    /// entries in the order of their ids.
    pub fn fingerprint(&self) -> String {
        let kind: &[u8] = match self.inner.get_model() {
            ModelWrapper::Unigram(_) => b"unigram",
            _ => b"bpe",
        };
        let hash = self.pieces.iter().fold(Hash::new().with(kind), |hash, piece| {
            hash.with(&(piece.len() as u64).to_le_bytes()).with(piece)
        });
        let hash = self.tags().fold(hash, |hash, tag| hash.with(tag.as_str().as_bytes()));
        let mut foreign: Vec<u32> = self.foreign.iter().flatten().map(|(_, id)| *id).collect();
        foreign.sort_unstable();
        let hash = foreign.iter().fold(hash, |hash, id| hash.with(&id.to_le_bytes()));
        format!("{:016x}", hash.finish())
    }

    fn json(&self, path: &Path) -> Result<String> {
        self.inner.to_string(false).map_err(|error| Error::Write {
            path: path.to_owned(),
            source: io::Error::other(error.to_string()),
        })
    }

    /// Checks `inner` and learns what its ids stand for; the error says what is wrong with it.
    fn new(mut inner: Inner) -> std::result::Result<Self, String> {
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| error.to_string())?;
        inner.set_encode_special_tokens(true);
        if !matches!(inner.get_model(), ModelWrapper::BPE(_) | ModelWrapper::Unigram(_)) {
            return Err("its model is neither BPE nor unigram".to_owned());
        }
        if !matches!(inner.get_decoder(), Some(DecoderWrapper::ByteLevel(_))) {
            return Err("its decoder is not byte-level".to_owned());
        }
        if let ModelWrapper::BPE(bpe) = inner.get_model()
            && bpe.dropout.is_some()
        {
            // Meant for training, where `Sampler` draws instead. Whoever translates wants the
            // same ids for the same text.
            let mut bpe = bpe.clone();
            bpe.dropout = None;
            inner.with_model(bpe);
        }
        let (pieces, tags) = entries(&inner)?;
        let lacking = lacking(&pieces);
        let prefixed = sampling::split(&inner, "x").is_ok_and(|split| split.concat() != "x");
        let foreign = lacking.map(|_| foreign(&inner, &pieces));
        let tokenizer = Self { inner, pieces, foreign, prefixed, tags };
        if let Some(byte) = lacking {
            // Then there must be something for what cannot be spelled.
            let ModelWrapper::Unigram(_) = tokenizer.inner.get_model() else {
                return Err(format!("byte {byte:#04x} has no entry of its own"));
            };
            return match tokenizer.encode(PROBE) {
                Ok(_) => Ok(tokenizer),
                Err(error) => Err(format!("byte {byte:#04x} has no entry of its own: {error}")),
            };
        }
        let probe = tokenizer.encode(PROBE).map_err(|error| error.to_string())?;
        match tokenizer.decode(&probe.ids) {
            Ok(text) if text == PROBE => Ok(tokenizer),
            _ => Err("it does not give back the text that it encodes".to_owned()),
        }
    }

    /// The spans of `ids` in `text`, or none if they do not spell it. `ends` says where each of
    /// them ends in `text`, if one is unknown; it may become known by what it covers.
    fn spans(&self, text: &str, ids: &mut [u32], ends: &[usize]) -> Option<Vec<Range<usize>>> {
        let spaced = self.prefixed && !text.starts_with(' ');
        let before = if spaced { " " } else { "" };
        let spelled: Cow<'_, [u8]> = match spaced {
            true => [before, text].concat().into_bytes().into(),
            false => text.as_bytes().into(),
        };
        let mut end = 0;
        let mut spans = Vec::with_capacity(ids.len());
        for (idx, id) in ids.iter_mut().enumerate() {
            let piece = self.pieces.get(*id as usize)?;
            let start = end;
            if *id == UNK {
                end = (ends.get(idx)? + before.len()).max(start);
                let foreign = self.foreign.as_ref()?.get(spelled.get(start..end)?);
                *id = foreign.copied().unwrap_or(UNK);
            } else {
                end += piece.len();
                if spelled.get(start..end)? != &**piece {
                    return None;
                }
            }
            let place = start.saturating_sub(before.len())..end.saturating_sub(before.len());
            spans.push(characters_around(text, place));
        }
        (end == spelled.len()).then_some(spans)
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tokenizer")
            .field("vocab", &self.vocab_size())
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

/// The content of a file that can be a tokenizer by its size.
fn content(path: &Path) -> Result<Vec<u8>> {
    let unreadable = |source| Error::Read { path: path.to_owned(), source };
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > LARGEST_FILE {
        let reason = format!("{size} bytes, expected at most {LARGEST_FILE}");
        return Err(unreadable(io::Error::other(reason)));
    }
    fs::read(path).map_err(unreadable)
}

/// The smallest span of whole characters that contains `span`.
fn characters_around(text: &str, Range { mut start, mut end }: Range<usize>) -> Range<usize> {
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}

/// The bytes of all entries in the order of their ids, and the tags with theirs.
type Entries = (Vec<Box<[u8]>>, Vec<(Tag, u32)>);

/// The entries of a vocabulary, or what is wrong with them.
fn entries(inner: &Inner) -> std::result::Result<Entries, String> {
    let vocab = inner.get_vocab_size(true);
    for (id, expected) in SPECIALS.iter().enumerate() {
        let found = inner.id_to_token(id as u32);
        if found.as_deref() != Some(expected) {
            let found = found.unwrap_or_else(|| "nothing".to_owned());
            return Err(format!("id {id} is {found}, expected {expected}"));
        }
    }
    let tags = tags(inner)?;
    let piece = |id: u32| -> std::result::Result<Box<[u8]>, String> {
        if is_special(id) || tags.iter().any(|(_, tag)| *tag == id) {
            return Ok(Box::default());
        }
        let token = inner
            .id_to_token(id)
            .ok_or_else(|| format!("id {id} of a vocabulary of {vocab} has no entry"))?;
        let mut bytes = bytes::bytes_of(&token)
            .filter(|bytes| !bytes.is_empty() && !SPECIALS.contains(&token.as_str()))
            .ok_or_else(|| format!("entry {token:?} (id {id}) is not made of bytes"))?;
        if bytes.len() > 1 && bytes[0] == FOREIGN {
            bytes.remove(0);
        }
        Ok(bytes.into_boxed_slice())
    };
    let pieces = (0..vocab as u32).map(piece).collect::<std::result::Result<Vec<_>, _>>()?;
    Ok((pieces, tags))
}

/// The entries that text is never cut into.
fn foreign(inner: &Inner, pieces: &[Box<[u8]>]) -> HashMap<Box<[u8]>, u32> {
    let mark = bytes::char_of(FOREIGN);
    let is_foreign = |id: u32| inner.id_to_token(id).is_some_and(|token| token.starts_with(mark));
    (0..)
        .zip(pieces)
        .filter(|(id, _)| is_foreign(*id))
        .map(|(id, piece)| (piece.clone(), id))
        .collect()
}

/// A byte that has no entry of its own, if there is one.
fn lacking(pieces: &[Box<[u8]>]) -> Option<u8> {
    let mut single = [false; 256];
    for piece in pieces {
        if let [byte] = **piece {
            single[usize::from(byte)] = true;
        }
    }
    single.iter().position(|&found| !found).map(|byte| byte as u8)
}

/// The tokens that are added to a vocabulary besides the special ones, which must be there.
fn tags(inner: &Inner) -> std::result::Result<Vec<(Tag, u32)>, String> {
    let added = inner.get_added_tokens_decoder();
    let mut tags = Vec::new();
    for (&id, token) in &added {
        let tag = Tag::try_from(token.content.clone());
        match tag {
            _ if is_special(id) && token.special => {}
            Ok(tag) if token.special => tags.push((tag, id)),
            _ => {
                let name = &token.content;
                return Err(format!("token {name:?} (id {id}) is added to its vocabulary"));
            }
        }
    }
    let special = (0..).zip(SPECIALS).find(|(id, _)| !added.contains_key(id));
    if let Some((_, name)) = special {
        return Err(format!("{name} is not among its added tokens"));
    }
    tags.sort_unstable_by_key(|(_, id)| *id);
    Ok(tags)
}

fn specials() -> Vec<AddedToken> {
    SPECIALS.map(|name| AddedToken::from(name, true)).into()
}
