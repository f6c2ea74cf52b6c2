//! Links of both directions: a model that translates the other way aligns the same pairs, and two
//! sets of links become one.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use model::{Ready, SearchPrecision};
use translate::{
    Alignment, Translation, Translator,
    alignment::{Link, Linking, Symmetrization, best_matching, symmetrize},
};

use super::{Aligned, Stream, some_at_a_time};
use crate::{
    cli::Session,
    load::{self, Asked},
};

/// How links of two directions are made.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Alignment")]
pub(super) struct DirectionArgs {
    /// Align in the other direction as well, with a model that translates TGT into SRC
    ///
    /// Its links and those of MODEL become one set, as `--symmetrize` says; weights are those of
    /// MODEL. Words are linked in both directions alike, by the rule of `--links`.
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["statistical", "subwords"])]
    pub(super) reverse: Option<PathBuf>,

    /// How the links of two directions become one set [default: grow-diag-final-and]
    ///
    /// For `--reverse` and for `--statistical`. In the forward direction each target word has
    /// one source word at most, in the reverse direction each source word has one target word
    /// at most, unless `--links` has another rule.
    #[arg(long, value_name = "METHOD", requires = "directions")]
    symmetrize: Option<Symmetrize>,
}

/// Names of [`Symmetrization`], and optimal matching.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Symmetrize {
    /// Links of the forward direction
    Forward,
    /// Links of the reverse direction
    Reverse,
    /// Links of both: few, and mostly right
    Intersection,
    /// Links of either: many
    Union,
    /// The intersection, and its neighbours in the union
    GrowDiag,
    /// `grow-diag`, then links of a word that has none
    GrowDiagFinal,
    /// `grow-diag`, then links of two words that have none
    GrowDiagFinalAnd,
    /// One-to-one links of the largest sum of weights of both directions
    Matching,
}

impl DirectionArgs {
    /// How two sets of links become one; none if weights decide.
    pub(super) fn method(&self) -> Option<Symmetrization> {
        let method = self.symmetrize.unwrap_or(Symmetrize::GrowDiagFinalAnd);
        Some(match method {
            Symmetrize::Forward => Symmetrization::Forward,
            Symmetrize::Reverse => Symmetrization::Reverse,
            Symmetrize::Intersection => Symmetrization::Intersection,
            Symmetrize::Union => Symmetrization::Union,
            Symmetrize::GrowDiag => Symmetrization::GrowDiag,
            Symmetrize::GrowDiagFinal => Symmetrization::GrowDiagFinal,
            Symmetrize::GrowDiagFinalAnd => Symmetrization::GrowDiagFinalAnd,
            Symmetrize::Matching => return None,
        })
    }
}

/// The model of the other direction.
pub(super) struct Direction(Translator<Ready>);

impl Direction {
    /// Opens the model; its alignments are read where it says.
    pub(super) fn open(
        dir: &Path,
        precision: Option<SearchPrecision>,
        session: &Session<'_>,
    ) -> anyhow::Result<Self> {
        let asked = Asked { precision, ..Asked::default() };
        Ok(Self(load::single(dir, &asked, session)?))
    }

    /// The same, linking by another rule.
    pub(super) fn linking(mut self, linking: Linking) -> Self {
        self.0.view.linking = linking;
        self
    }

    /// The links of pairs, as (source, target) of the pairs.
    pub(super) fn links(&self, pairs: &[(String, String)]) -> anyhow::Result<Vec<Vec<Link>>> {
        let turned: Vec<_> = pairs.iter().map(|(src, tgt)| (tgt.clone(), src.clone())).collect();
        let found = self.0.align(&turned)?;
        Ok(found.iter().map(|found| found.alignment.as_ref().map_or_else(Vec::new, turn)).collect())
    }

    /// Makes one set of the links of aligned sentences and of those found here.
    pub(super) fn join<'a>(
        &'a self,
        sentences: Stream<'a, Aligned>,
        method: Option<Symmetrization>,
    ) -> Stream<'a, Aligned> {
        some_at_a_time(sentences, move |some| self.joined(some, method))
    }

    /// [`Self::join`] for some sentences.
    fn joined(
        &self,
        mut sentences: Vec<Aligned>,
        method: Option<Symmetrization>,
    ) -> anyhow::Result<Vec<Aligned>> {
        let pair = |sentence: &Aligned| (sentence.tgt.text.clone(), sentence.src.clone());
        let first = sentences.first().map_or(1, |sentence| sentence.line);
        let found = self.0.align(&sentences.iter().map(pair).collect::<Vec<_>>());
        let found = found.map_err(|error| in_file(error, first))?;
        for (sentence, found) in sentences.iter_mut().zip(&found) {
            join(&mut sentence.tgt, found, method, sentence.line)?;
        }
        Ok(sentences)
    }
}

/// An error whose line is counted from line `first` of the file.
fn in_file(error: translate::Error, first: usize) -> translate::Error {
    match error {
        translate::Error::TooLong { line, found, limit } => {
            translate::Error::TooLong { line: line + first - 1, found, limit }
        }
        other => other,
    }
}

/// Links of the other direction the right way round.
fn turn(reverse: &Alignment) -> Vec<Link> {
    reverse.links.iter().map(|&(tgt, src)| (src, tgt)).collect()
}

/// Replaces the links of a translation by those of both directions.
fn join(
    forward: &mut Translation,
    reverse: &Translation,
    method: Option<Symmetrization>,
    line: usize,
) -> anyhow::Result<()> {
    let (Some(forward), Some(reverse)) = (&mut forward.alignment, &reverse.alignment) else {
        return Ok(());
    };
    let sizes = |src: &[String], tgt: &[String]| (src.len(), tgt.len());
    let (here, there) = (
        sizes(&forward.src_words, &forward.tgt_words),
        sizes(&reverse.tgt_words, &reverse.src_words),
    );
    ensure!(
        here == there,
        "line {line} has {} and {} words for one model, {} and {} for the other",
        here.0,
        here.1,
        there.0,
        there.1
    );
    forward.links = match method {
        Some(method) => symmetrize(method, &forward.links, &turn(reverse)),
        None => best_matching(&sums(&forward.weights, &reverse.weights)),
    };
    Ok(())
}

/// Weights of two directions, `[tgt_words, src_words]` and `[src_words, tgt_words]`, added up.
fn sums(forward: &[Vec<f32>], reverse: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let sum = |(tgt, row): (usize, &Vec<f32>)| {
        row.iter().zip(reverse).map(|(weight, other)| weight + other[tgt]).collect()
    };
    forward.iter().enumerate().map(sum).collect()
}

/// Reads a rule of `--links`.
pub(super) fn rule(text: &str) -> Result<Linking, String> {
    match text {
        "argmax" => Ok(Linking::Best),
        "one-to-one" => Ok(Linking::OneToOne),
        _ => match text.strip_prefix("threshold:") {
            Some(weight) => super::weight(weight).map(Linking::Threshold),
            None => Err("expected argmax, threshold:WEIGHT or one-to-one".into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_have_names() {
        assert_eq!(rule("argmax"), Ok(Linking::Best));
        assert_eq!(rule("one-to-one"), Ok(Linking::OneToOne));
        assert_eq!(rule("threshold:0.25"), Ok(Linking::Threshold(0.25)));
        for wrong in ["", "best", "threshold", "threshold:2", "threshold:x"] {
            assert!(rule(wrong).is_err(), "{wrong}");
        }
    }

    fn translation(weights: Vec<Vec<f32>>) -> Translation {
        let words = |n: usize| (0..n).map(|i| i.to_string()).collect();
        let mut alignment = Alignment {
            src_words: words(weights[0].len()),
            tgt_words: words(weights.len()),
            eos: vec![0.0; weights.len()],
            weights,
            links: Vec::new(),
        };
        alignment.links = alignment.linked(Linking::Best);
        Translation { alignment: Some(alignment), ..Translation::default() }
    }

    /// Two source and three target words: forward says 0-0 1-1 1-2, reverse 0-0 1-2.
    #[test]
    fn links_of_both_directions_become_one_set() {
        let forward = translation(vec![vec![0.9, 0.1], vec![0.4, 0.6], vec![0.1, 0.9]]);
        let reverse = translation(vec![vec![0.8, 0.2, 0.0], vec![0.0, 0.3, 0.7]]);
        let joined = |method| {
            let mut forward = forward.clone();
            join(&mut forward, &reverse, method, 1).unwrap();
            forward.alignment.unwrap().links
        };
        assert_eq!(joined(Some(Symmetrization::Intersection)), [(0, 0), (1, 2)]);
        assert_eq!(joined(Some(Symmetrization::Union)), [(0, 0), (1, 1), (1, 2)]);
        assert_eq!(joined(Some(Symmetrization::Reverse)), [(0, 0), (1, 2)]);
        assert_eq!(joined(None), [(0, 0), (1, 2)]);
    }

    #[test]
    fn a_line_is_called_by_its_number_in_the_file() {
        let error = translate::Error::TooLong { line: 3, found: 9, limit: 5 };
        assert!(in_file(error, 1025).to_string().starts_with("line 1027 has 9 tokens"));
    }

    #[test]
    fn directions_that_count_other_words_are_refused() {
        let (mut one, other) = (translation(vec![vec![1.0]]), translation(vec![vec![1.0, 0.0]]));
        let error = join(&mut one, &other, None, 7).unwrap_err().to_string();
        assert_eq!(error, "line 7 has 1 and 1 words for one model, 1 and 2 for the other");
    }
}
