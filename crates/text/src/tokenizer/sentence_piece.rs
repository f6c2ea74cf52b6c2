//! SentencePiece models (Kudo and Richardson, 2018) as tokenizers of ours.
//!
//! A unigram model of SentencePiece marks spaces by `▁` and cuts whole sentences, which begin with
//! a space that is not in the text. The same pieces as bytes, with the same scores, cut the same
//! text at the same places. Three things are new: a character that no piece holds is unknown;
//! there is that space before the text; and two tokenizers can share one numbering of ids, in
//! which some entries never come out of cutting, because they are the other language's.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use prost::Message;
use tokenizers::{
    ModelWrapper, PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer as Inner,
    decoders::byte_level::ByteLevel,
    models::unigram::Unigram,
    pre_tokenizers::{
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
};

use super::{FOREIGN, Tokenizer, Tokenizers, bytes::char_of, content, specials};
use crate::{
    Charsmap, Error, Normalize, Result,
    vocab::{SPECIALS, UNK},
};

/// What stands for a space.
const SPACE: char = '▁';

/// The first sign of a special token's name, which must not be taken for the token itself.
const NAMES: &str = r"<(?=pad>|unk>|s>|/s>)";

/// A model of SentencePiece, as far as it is needed to cut text.
#[derive(Clone, Debug)]
pub struct SentencePiece {
    /// The pieces that text is cut into, and their scores.
    scores: HashMap<String, f64>,
    /// Whether a space is put before text.
    prefix: bool,
    normalize: Normalize,
}

/// The file, as far as it is read. Field numbers are those of SentencePiece's
/// `sentencepiece_model.proto`.
#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<Trainer>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<Normalizer>,
}

#[derive(Clone, PartialEq, Message)]
struct Piece {
    #[prost(string, optional, tag = "1")]
    piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Trainer {
    #[prost(int32, optional, tag = "3")]
    model_type: Option<i32>,
    #[prost(bool, optional, tag = "24")]
    whitespace_as_suffix: Option<bool>,
    #[prost(bool, optional, tag = "35")]
    byte_fallback: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
struct Normalizer {
    #[prost(bytes = "vec", optional, tag = "2")]
    charsmap: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3")]
    prefix: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    escape_whitespaces: Option<bool>,
}

/// Kinds of pieces. Text is cut into those that are normal or that a user defined.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
/// The kinds of models, from 1 on.
const MODEL_TYPES: [&str; 4] = ["unigram", "BPE", "word", "character"];

impl SentencePiece {
    /// Reads a model, usually called `source.spm` or `spm.model`.
    ///
    /// # Errors
    /// [`Error::Read`], or [`Error::NotSentencePiece`] if the file holds something else or a model
    /// that cuts text in another way.
    pub fn open(path: &Path) -> Result<Self> {
        Self::parse(&content(path)?)
            .map_err(|reason| Error::NotSentencePiece { path: path.to_owned(), reason })
    }

    fn parse(content: &[u8]) -> std::result::Result<Self, String> {
        let Model { pieces, trainer, normalizer } =
            Model::decode(content).map_err(|error| error.to_string())?;
        let (trainer, normalizer) = trainer.zip(normalizer).ok_or(
            "it does not say how it was trained and how it evens out text: it may be cut short",
        )?;
        let kind = trainer.model_type.unwrap_or(1);
        if kind != 1 {
            let name = usize::try_from(kind - 1).ok().and_then(|kind| MODEL_TYPES.get(kind));
            let name = name.map_or_else(|| kind.to_string(), |name| (*name).to_owned());
            return Err(format!("its model type is {name}, expected unigram"));
        }
        for (name, found, expected) in [
            ("treat_whitespace_as_suffix", trainer.whitespace_as_suffix.unwrap_or(false), false),
            ("byte_fallback", trainer.byte_fallback.unwrap_or(false), false),
            ("escape_whitespaces", normalizer.escape_whitespaces.unwrap_or(true), true),
        ] {
            if found != expected {
                return Err(format!("`{name}` is {found}, expected {expected}"));
            }
        }
        let charsmap = normalizer.charsmap.filter(|blob| !blob.is_empty());
        let normalize = Normalize {
            nfc: false,
            spaces: normalizer.remove_extra_whitespaces.unwrap_or(true),
            charsmap: charsmap.map(Charsmap::new).transpose()?,
        };
        let scores = scores(pieces)?;
        Ok(Self { scores, prefix: normalizer.prefix.unwrap_or(true), normalize })
    }

    /// The pieces that text is cut into, in no order.
    pub fn pieces(&self) -> impl Iterator<Item = &str> {
        self.scores.keys().map(String::as_str)
    }

    /// What is evened out in text before it is cut.
    pub fn normalize(&self) -> &Normalize {
        &self.normalize
    }

    /// A tokenizer with these entries, the four special ones first, then pieces as SentencePiece
    /// writes them. What is no piece of this model never comes out of cutting.
    fn tokenizer(&self, entries: &[String]) -> std::result::Result<Tokenizer, String> {
        let entry = |(id, name): (usize, &String)| match self.scores.get(name) {
            _ if id < SPECIALS.len() => (SPECIALS[id].to_owned(), 0.0),
            Some(score) => (spelled(name), *score),
            // The space before a text comes before this, too.
            None if is_language(name) && self.prefix => (spelled(&format!("{SPACE}{name}")), 0.0),
            None => (format!("{}{}", char_of(FOREIGN), spelled(name)), 0.0),
        };
        let vocab = entries.iter().enumerate().map(entry).collect();
        let reason = |error: tokenizers::Error| error.to_string();
        let model = Unigram::from(vocab, Some(UNK as usize), false).map_err(reason)?;
        let mut inner = Inner::new(model);
        inner.with_pre_tokenizer(Some(pre_tokenizer(self.prefix).map_err(reason)?));
        inner.with_decoder(Some(ByteLevel::default()));
        inner.add_special_tokens(specials()).map_err(reason)?;
        Tokenizer::new(inner)
    }
}

impl Tokenizers {
    /// Tokenizers that cut text as two models of SentencePiece do, with these entries for the ids
    /// of source and target: the four special ones, then pieces.
    ///
    /// # Errors
    /// [`Error::SentencePieces`] if the models even out text in different ways, or entries cannot be
    /// those of a tokenizer.
    pub fn of_sentence_pieces(
        [src, tgt]: [&SentencePiece; 2],
        [src_entries, tgt_entries]: [&[String]; 2],
    ) -> Result<Self> {
        let failed = |reason: String| Error::SentencePieces { reason };
        if src.normalize != tgt.normalize {
            return Err(failed("source and target are evened out in different ways".to_owned()));
        }
        let make = |model: &SentencePiece, entries| model.tokenizer(entries).map_err(failed);
        let (src_made, tgt_made) = (make(src, src_entries)?, make(tgt, tgt_entries)?);
        let both = Self::two(src_made.into(), tgt_made.into());
        Ok(Self { normalize: src.normalize.clone(), ..both })
    }
}

impl Tokenizers {
    /// The entries of one side in the order of their ids, as SentencePiece writes them, and the
    /// contents of a SentencePiece model that cuts text as its tokenizer does.
    ///
    /// # Errors
    /// [`Error::SentencePieces`] if the tokenizer was not made of such a model.
    pub fn sentence_piece(&self, side: Side) -> Result<(Vec<String>, Vec<u8>)> {
        let tokenizer = match side {
            Side::Src => &self.src,
            Side::Tgt => &self.tgt,
        };
        let (ModelWrapper::Unigram(unigram), Some(foreign)) =
            (tokenizer.inner.get_model(), &tokenizer.foreign)
        else {
            return Err(Error::SentencePieces {
                reason: "the tokenizer is one of bytes, which SentencePiece has not".into(),
            });
        };
        let foreign: HashSet<u32> = foreign.values().copied().collect();
        let special = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)];
        let mut pieces: Vec<Piece> = special
            .map(|(name, kind)| Piece {
                piece: Some(name.to_owned()),
                score: Some(0.0),
                kind: Some(kind),
            })
            .into();
        let mut entries: Vec<String> = SPECIALS.map(str::to_owned).into();
        let others = (0..).zip(unigram.iter()).skip(SPECIALS.len());
        for (id, (_, score)) in others {
            let text = String::from_utf8_lossy(&tokenizer.pieces[id as usize]);
            let text = text.replace(' ', &SPACE.to_string());
            let language = text.strip_prefix(SPACE).filter(|name| is_language(name));
            if let Some(language) = language {
                entries.push(language.to_owned());
                continue;
            }
            if !foreign.contains(&id) {
                let (piece, score) = (Some(text.clone()), Some(*score as f32));
                pieces.push(Piece { piece, score, kind: Some(NORMAL) });
            }
            entries.push(text);
        }
        let blob = |charsmap: &Charsmap| charsmap.blob().to_vec();
        let file = Model {
            pieces,
            trainer: Some(Trainer { model_type: Some(1), ..Trainer::default() }),
            normalizer: Some(Normalizer {
                charsmap: self.normalize.charsmap.as_ref().map(blob),
                prefix: Some(tokenizer.prefixed),
                remove_extra_whitespaces: Some(self.normalize.spaces),
                escape_whitespaces: Some(true),
            }),
        };
        Ok((entries, file.encode_to_vec()))
    }
}

/// One of the two languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What is translated.
    Src,
    /// What it becomes.
    Tgt,
}

/// The scores of all pieces that text is cut into. Those that a user defined win over all others
/// (`UnigramModel::EncodeOptimized` of SentencePiece).
fn scores(pieces: Vec<Piece>) -> std::result::Result<HashMap<String, f64>, String> {
    let kind = |piece: &Piece| piece.kind.unwrap_or(NORMAL);
    let normal = pieces.iter().filter(|piece| kind(piece) == NORMAL);
    let best = normal.filter_map(|piece| piece.score).fold(f32::NEG_INFINITY, f32::max);
    let mut scores = HashMap::new();
    for (place, piece) in pieces.iter().enumerate() {
        let text = piece.piece.clone().unwrap_or_default();
        let score = match kind(piece) {
            NORMAL => piece.score.unwrap_or(0.0),
            USER_DEFINED => text.chars().count() as f32 * best - 0.1,
            _ => continue,
        };
        if text.is_empty() || !score.is_finite() {
            return Err(format!("piece {place} is {text:?} with a score of {score}"));
        }
        if scores.insert(text.clone(), f64::from(score)).is_some() {
            return Err(format!("piece {text:?} occurs twice"));
        }
    }
    if scores.is_empty() {
        return Err("it has no pieces".to_owned());
    }
    Ok(scores)
}

/// Whether an entry names the language to translate into, as `>>fra<<` does.
fn is_language(name: &str) -> bool {
    name.strip_prefix(">>").and_then(|rest| rest.strip_suffix("<<")).is_some()
}

/// A piece in the alphabet of bytes.
fn spelled(piece: &str) -> String {
    let text = piece.replace(SPACE, " ");
    text.bytes().map(char_of).collect()
}

fn pre_tokenizer(prefix: bool) -> tokenizers::Result<PreTokenizerWrapper> {
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;
    let pattern = SplitPattern::Regex(NAMES.to_owned());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?;
    Ok(Sequence::new(vec![ByteLevel::new(prefix, false, false).into(), split.into()]).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocab;

    fn piece(text: &str, score: f32, kind: i32) -> Piece {
        Piece { piece: Some(text.to_owned()), score: Some(score), kind: Some(kind) }
    }

    fn file(pieces: &[(&str, f32)]) -> Model {
        let special =
            [piece("<unk>", 0.0, UNKNOWN), piece("<s>", 0.0, CONTROL), piece("</s>", 0.0, CONTROL)];
        let pieces = pieces.iter().map(|(text, score)| piece(text, *score, NORMAL));
        Model {
            pieces: special.into_iter().chain(pieces).collect(),
            trainer: Some(Trainer::default()),
            normalizer: Some(Normalizer::default()),
        }
    }

    fn model(pieces: &[(&str, f32)]) -> SentencePiece {
        SentencePiece::parse(&file(pieces).encode_to_vec()).unwrap()
    }

    fn tokenizers() -> Tokenizers {
        let src = model(&[("▁", -3.0), ("▁a", -1.0), ("b", -2.0), ("ab", -2.5), (".", -2.0)]);
        let tgt = model(&[("▁", -3.0), ("é", -2.0), ("▁é", -1.0), ("猫", -4.0), ("b", -2.0)]);
        let names = [
            "<pad>", "<unk>", "<s>", "</s>", "▁", "▁a", "b", "ab", ".", "é", "▁é", "猫", ">>fra<<",
        ];
        let names = names.map(str::to_owned);
        Tokenizers::of_sentence_pieces([&src, &tgt], [&names, &names]).unwrap()
    }

    fn cut(tokenizer: &Tokenizer, text: &str) -> Vec<(u32, String)> {
        let encoding = tokenizer.encode(text).unwrap();
        let covered = |span: &std::ops::Range<usize>| text[span.clone()].to_owned();
        encoding.ids.iter().copied().zip(encoding.spans.iter().map(covered)).collect()
    }

    fn owned(tokens: &[(u32, &str)]) -> Vec<(u32, String)> {
        tokens.iter().map(|(id, text)| (*id, (*text).to_owned())).collect()
    }

    #[test]
    fn text_is_cut_into_the_pieces_of_its_side_alone() {
        let both = tokenizers();
        assert_eq!(cut(&both.src, "ab a."), owned(&[(5, "a"), (6, "b"), (5, " a"), (8, ".")]));
        assert_eq!(cut(&both.src, "bab"), owned(&[(4, ""), (6, "b"), (7, "ab")]));
        assert_eq!(cut(&both.tgt, "é bé"), owned(&[(10, "é"), (4, " "), (6, "b"), (9, "é")]));
        assert_eq!(cut(&both.src, ""), []);
    }

    #[test]
    fn what_no_piece_holds_is_one_unknown_token_unless_the_other_side_knows_it() {
        let both = tokenizers();
        assert_eq!(cut(&both.src, "aЯж b"), owned(&[(5, "a"), (UNK, "Яж"), (4, " "), (6, "b")]));
        assert_eq!(cut(&both.src, "a猫"), owned(&[(5, "a"), (11, "猫")]));
        assert_eq!(cut(&both.src, "a猫猫"), owned(&[(5, "a"), (UNK, "猫猫")]));
        assert_eq!(cut(&both.tgt, "aé"), owned(&[(4, ""), (UNK, "a"), (9, "é")]));
    }

    #[test]
    fn the_names_of_special_tokens_are_text() {
        let both = tokenizers();
        for text in ["</s>", "a <unk>.", "<pad>", "x<s>b"] {
            let ids = both.src.encode(text).unwrap().ids;
            assert!(!ids.contains(&vocab::EOS) && !ids.contains(&vocab::BOS), "{text}: {ids:?}");
            assert!(!ids.contains(&vocab::PAD), "{text}: {ids:?}");
        }
    }

    #[test]
    fn a_language_is_one_token_in_front_of_the_text() {
        let both = tokenizers();
        assert_eq!(cut(&both.src, ">>fra<< ab"), owned(&[(12, ">>fra<<"), (5, " a"), (6, "b")]));
    }

    #[test]
    fn ids_become_text_without_the_space_before_it() {
        let both = tokenizers();
        assert_eq!(both.tgt.decode(&[5, 6, 4, 11, vocab::EOS]).unwrap(), "ab 猫");
        let decoded = both.tgt.decode_with_spans(&[vocab::BOS, 5, 6, 4, 11, vocab::EOS]).unwrap();
        assert_eq!(decoded.text, "ab 猫");
        assert_eq!(decoded.spans, [0..0, 0..1, 1..2, 2..3, 3..6, 6..6]);
        assert_eq!(both.tgt.token(7).unwrap(), "ab");
    }

    #[test]
    fn both_sides_share_ids_and_are_told_apart() {
        let both = tokenizers();
        assert!(both.share_ids() && !both.joint());
        assert_ne!(both.src.fingerprint(), both.tgt.fingerprint());
        let dir = tempfile::tempdir().unwrap();
        both.save(dir.path()).unwrap();
        let opened = Tokenizers::open(dir.path()).unwrap();
        assert!(opened.share_ids() && !opened.joint());
        assert_eq!(opened.normalize, both.normalize);
        for (ours, theirs) in [(&both.src, &opened.src), (&both.tgt, &opened.tgt)] {
            assert_eq!(ours.fingerprint(), theirs.fingerprint());
            assert_eq!(cut(ours, "ab Яé猫."), cut(theirs, "ab Яé猫."));
        }
    }

    #[test]
    fn what_was_made_of_a_model_becomes_one_again() {
        let both = tokenizers();
        let mut again = Vec::new();
        for side in [Side::Src, Side::Tgt] {
            let (entries, file) = both.sentence_piece(side).unwrap();
            assert_eq!(entries[12], ">>fra<<");
            again.push((SentencePiece::parse(&file).unwrap(), entries));
        }
        let [(src, src_entries), (tgt, tgt_entries)] = &again[..] else { unreachable!() };
        let made = Tokenizers::of_sentence_pieces([src, tgt], [src_entries, tgt_entries]).unwrap();
        for (ours, theirs) in [(&both.src, &made.src), (&both.tgt, &made.tgt)] {
            assert_eq!(ours.fingerprint(), theirs.fingerprint());
            assert_eq!(cut(ours, "ab Яé猫."), cut(theirs, "ab Яé猫."));
        }
        let bytes = Tokenizer::train(&Default::default(), ["a b".to_owned()].into_iter()).unwrap();
        let tokens: HashSet<_> = (0..bytes.vocab_size() as u32).map(|id| bytes.token(id)).collect();
        assert_eq!(tokens.len(), bytes.vocab_size(), "every entry has a name of its own");
        let error = Tokenizers::one(bytes).sentence_piece(Side::Src).unwrap_err();
        assert!(error.to_string().contains("the tokenizer is one of bytes"), "{error}");
    }

    #[test]
    fn pieces_that_a_user_defined_win() {
        let mut model = file(&[("▁", -0.1), ("a", -1.0), ("b", -1.0), ("▁a", -0.5), ("ab", -9.0)]);
        let names = ["<pad>", "<unk>", "<s>", "</s>", "▁", "a", "b", "▁a", "ab"].map(str::to_owned);
        let ids = |model: &Model| {
            let model = SentencePiece::parse(&model.encode_to_vec()).unwrap();
            model.tokenizer(&names).unwrap().encode("ab").unwrap().ids
        };
        assert_eq!(ids(&model), [7, 6]);
        model.pieces[7].kind = Some(USER_DEFINED);
        assert_eq!(ids(&model), [4, 8]);
    }

    #[test]
    fn models_that_cut_otherwise_are_refused_by_name() {
        let refused = |change: &dyn Fn(&mut Model)| {
            let mut model = file(&[("a", -1.0)]);
            change(&mut model);
            SentencePiece::parse(&model.encode_to_vec()).unwrap_err()
        };
        let trainer = |change: fn(&mut Trainer)| {
            refused(&move |model| change(model.trainer.as_mut().unwrap()))
        };
        let bpe = trainer(|trainer| trainer.model_type = Some(2));
        assert_eq!(bpe, "its model type is BPE, expected unigram");
        let other = trainer(|trainer| trainer.model_type = Some(9));
        assert_eq!(other, "its model type is 9, expected unigram");
        let fallback = trainer(|trainer| trainer.byte_fallback = Some(true));
        assert_eq!(fallback, "`byte_fallback` is true, expected false");
        assert_eq!(refused(&|model| model.pieces.clear()), "it has no pieces");
        let twice = refused(&|model| model.pieces.push(piece("a", -2.0, NORMAL)));
        assert_eq!(twice, "piece \"a\" occurs twice");
        let bad = refused(&|model| model.pieces[3].score = Some(f32::NAN));
        assert_eq!(bad, "piece 3 is \"a\" with a score of NaN");
        assert!(refused(&|model| model.normalizer = None).ends_with("it may be cut short"));
        assert!(SentencePiece::parse(b"no model").is_err());
    }

    #[test]
    fn sides_that_even_out_text_differently_make_no_tokenizers() {
        let one = model(&[("a", -1.0)]);
        let mut other = one.clone();
        other.normalize.spaces = false;
        let names = ["<pad>", "<unk>", "<s>", "</s>", "a"].map(str::to_owned);
        let error = Tokenizers::of_sentence_pieces([&one, &other], [&names, &names]).unwrap_err();
        assert!(error.to_string().ends_with("evened out in different ways"), "{error}");
    }
}
