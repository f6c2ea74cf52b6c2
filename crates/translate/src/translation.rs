//! A translation as its reader gets it: text, score, tokens and alignment.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use text::{Encoding, Tokenizers};

use crate::{
    Hypothesis, Result, Scored, SearchConfig,
    alignment::{Alignment, Level, Linking, Side},
};

/// One translation of one sentence. As JSON it is an object on one line; numbers are finite.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Translation {
    /// The translation, on one line: line breaks that a model may produce are spaces in it.
    pub text: String,
    /// `log_prob` after the length penalty and with the coverage penalty: what translations of a sentence are ranked by.
    pub score: f64,
    /// Log-probability in nats: the sum over `tokens`.
    pub log_prob: f64,
    /// Whether the model ended the sentence, rather than being stopped.
    pub finished: bool,
    /// The phrases that were required and are not in it, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmet: Vec<String>,
    /// How similar it can be expected to be to another translation of the model, in percent: what
    /// translations are ranked by if they are reranked by minimum Bayes risk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utility: Option<f64>,
    /// What the translation was made of, in order; at last the end of the sentence, if the
    /// translation is finished and was not given by an empty source.
    pub tokens: Vec<Token>,
    /// Which source words its words looked at; none for a model without attention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alignment: Option<Alignment>,
}

/// The words of a translation, without what the model thought of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wording {
    /// See [`Translation::text`].
    pub text: String,
    /// How many tokens it was made of: the length of [`Translation::tokens`].
    pub tokens: usize,
    /// See [`Translation::finished`].
    pub finished: bool,
    /// See [`Translation::unmet`].
    pub unmet: Vec<String>,
}

impl From<Translation> for Wording {
    fn from(whole: Translation) -> Self {
        let Translation { text, tokens, finished, unmet, .. } = whole;
        Self { text, tokens: tokens.len(), finished, unmet }
    }
}

/// One step of a translation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// Its id in the target vocabulary.
    pub id: u32,
    /// Its part of the text; a character split over several tokens is in each of them. For the
    /// end of the sentence, its name.
    pub text: String,
    /// Its log-probability in nats, given all before it.
    pub log_prob: f32,
}

/// How alignments are read off attention weights.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AlignmentView {
    /// Words or subwords.
    pub level: Level,
    /// When two of them are linked.
    pub linking: Linking,
    /// How many steps after the one that writes a token its weights are taken:
    /// [`Reading::shift`](crate::alignment::Reading::shift).
    pub shift: usize,
}

/// A text with its ids. A line of white space only counts as empty.
#[derive(Clone, Debug)]
pub(crate) struct Tokenized {
    pub(crate) text: String,
    pub(crate) encoding: Encoding,
}

impl Tokenized {
    /// The text of each token.
    fn labels(&self) -> Vec<String> {
        self.encoding.spans.iter().map(|span| self.text[span.clone()].to_owned()).collect()
    }

    /// This sentence as a side of an alignment.
    pub(crate) fn side(&self, level: Level) -> Side {
        match level {
            Level::Words => Side::words(&self.text, &self.encoding.spans),
            Level::Subwords => Side::subwords(self.labels()),
        }
    }
}

/// A text without line breaks: a space for each, one byte for one byte.
fn on_one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// What a translation is made from, besides the model's numbers.
pub(crate) struct Context<'a> {
    pub(crate) tokenizers: &'a Tokenizers,
    pub(crate) eos: u32,
    pub(crate) view: AlignmentView,
}

impl Context<'_> {
    /// The text of a translation.
    pub(crate) fn text(&self, ids: &[u32]) -> Result<String> {
        Ok(on_one_line(&self.tokenizers.tgt.decode(ids)?))
    }

    /// What `hypothesis` says in words; `names` are the phrases that were required.
    pub(crate) fn translation(
        &self,
        src: &Tokenized,
        found: Hypothesis,
        names: &[String],
    ) -> Result<Translation> {
        let decoded = self.tokenizers.tgt.decode_with_spans(&found.ids)?;
        let text = on_one_line(&decoded.text);
        let encoding = Encoding { ids: found.ids, spans: decoded.spans };
        let tgt = Tokenized { text, encoding };
        Ok(Translation {
            alignment: self.alignment(src, &tgt, &found.weights)?,
            tokens: self.tokens(&tgt, &found.token_log_probs),
            text: tgt.text,
            score: found.score,
            log_prob: found.log_prob,
            finished: found.finished,
            unmet: unmet(&found.lacking, names),
            utility: None,
        })
    }

    /// The words of [`translation`](Self::translation).
    pub(crate) fn wording(&self, found: &Hypothesis, names: &[String]) -> Result<Wording> {
        Ok(Wording {
            text: self.text(&found.ids)?,
            tokens: found.token_log_probs.len(),
            finished: found.finished,
            unmet: unmet(&found.lacking, names),
        })
    }

    /// A given translation, with what the model thinks of it.
    pub(crate) fn given(
        &self,
        src: &Tokenized,
        tgt: Tokenized,
        scored: Scored,
        config: &SearchConfig,
    ) -> Result<Translation> {
        Ok(Translation {
            alignment: self.alignment(src, &tgt, &scored.weights)?,
            tokens: self.tokens(&tgt, &scored.token_log_probs),
            text: tgt.text,
            score: config.score(&scored),
            log_prob: scored.log_prob,
            finished: true,
            unmet: Vec::new(),
            utility: None,
        })
    }

    fn tokens(&self, tgt: &Tokenized, log_probs: &[f32]) -> Vec<Token> {
        let eos = || self.tokenizers.tgt.token(self.eos).unwrap_or_default();
        let labels = tgt.labels().into_iter().chain(std::iter::once_with(eos));
        let ids = tgt.encoding.ids.iter().copied().chain([self.eos]);
        let named = ids.zip(labels).zip(log_probs);
        named.map(|((id, text), &log_prob)| Token { id, text, log_prob }).collect()
    }

    /// The alignment; none if there are tokens that attended to nothing.
    fn alignment(
        &self,
        src: &Tokenized,
        tgt: &Tokenized,
        weights: &[Vec<f32>],
    ) -> Result<Option<Alignment>> {
        if weights.iter().any(Vec::is_empty) {
            return Ok(None);
        }
        let AlignmentView { level, linking, shift } = self.view;
        let weights = shifted(weights, tgt.encoding.ids.len(), shift);
        Alignment::new(&weights, src.side(level), tgt.side(level), linking).map(Some)
    }
}

/// The phrases that are lacking, of those that were required.
fn unmet(lacking: &[usize], names: &[String]) -> Vec<String> {
    lacking.iter().filter_map(|&idx| names.get(idx)).cloned().collect()
}

/// The weights of the steps that come `shift` after those that wrote the tokens of a target of
/// `tgt_len`; where there is no such step, of the last one.
pub(crate) fn shifted(weights: &[Vec<f32>], tgt_len: usize, shift: usize) -> Cow<'_, [Vec<f32>]> {
    if shift == 0 || weights.is_empty() {
        return Cow::Borrowed(weights);
    }
    let last = weights.len() - 1;
    Cow::Owned((0..tgt_len).map(|token| weights[(token + shift).min(last)].clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_the_weights_of_the_step_that_reads_it() {
        let weights: Vec<Vec<f32>> = (0..4).map(|step| vec![step as f32]).collect();
        let steps = |n: usize, shift| -> Vec<f32> {
            shifted(&weights[..n], 3, shift).iter().map(|row| row[0]).collect()
        };
        assert_eq!(steps(4, 0), [0., 1., 2., 3.]); // the last one is that of the end
        assert_eq!(steps(4, 1), [1., 2., 3.]);
        // A translation that was cut has no step that reads its last token.
        assert_eq!(steps(3, 1), [1., 2., 2.]);
        assert!(shifted(&[], 0, 1).is_empty());
    }
}
