//! The table `[training.guided]`: attention that learns to look where word links say.

use std::collections::BTreeSet;

use model::{Attended, Guided as Objective, ModelConfig};
use serde::{Deserialize, Serialize};
use translate::alignment::{Calibration, Reading};

use super::{Data, Positive, document::Fault};

/// Guided alignment training (Chen et al., 2016; Garg et al., 2019): the cross-entropy of attention
/// weights, against word links of the training pairs, joins the objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guided {
    /// What this loss is multiplied by, beside a cross-entropy that counts once; 0.05 in Garg et
    /// al.
    pub weight: Positive,
    /// For Transformers, the decoder layer whose attention to the source is guided, counted from
    /// 0. Without the key the last but one, or the only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<usize>,
    /// For Transformers, the heads of that layer that are guided, counted from 0, each for itself.
    /// Without the key head 0 alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heads: Option<Vec<usize>>,
    /// At which step a target token learns to look at what it is linked to.
    pub step: GuidedStep,
    /// Where target words look that have no link, in pairs that have any.
    pub unlinked: Unlinked,
    /// Where the links of those corpora come from that name no file of links.
    pub links: LinkSource,
}

/// What a target word without a link learns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unlinked {
    /// To look at the end of the source, which is how a word is aligned with nothing.
    #[default]
    End,
    /// Nothing: it may look anywhere.
    Free,
}

/// Which of the steps around a target token is guided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuidedStep {
    /// The one that writes it. Before the token is known, its place can only be guessed.
    Writes,
    /// The next one, which has read it (Chen et al., 2020, §3).
    #[default]
    Reads,
}

impl GuidedStep {
    /// How many steps after the one that writes a token.
    pub(crate) fn shift(self) -> usize {
        match self {
            Self::Writes => 0,
            Self::Reads => 1,
        }
    }
}

/// Where links come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkSource {
    /// The statistical aligner finds them in the corpora themselves, once, before training begins.
    #[default]
    Statistical,
    /// Nowhere: a corpus without a file of links guides nothing.
    Files,
}

impl Default for Guided {
    fn default() -> Self {
        Self {
            weight: Positive::try_from(0.05).expect("above zero"),
            layer: None,
            heads: None,
            step: GuidedStep::default(),
            unlinked: Unlinked::default(),
            links: LinkSource::default(),
        }
    }
}

impl Guided {
    /// As the model takes it.
    pub(crate) fn objective(&self) -> Objective {
        Objective { weight: self.weight.get(), layer: self.layer, heads: self.heads() }
    }

    /// Where alignments of the model are read: from the first head that is guided, at its step.
    pub(crate) fn reading(&self, model: &ModelConfig) -> Option<Calibration> {
        let attended = match model {
            ModelConfig::Rnn(_) => Attended::default(),
            ModelConfig::Transformer(config) => {
                let heads = self.heads();
                let layer = config.cross_layer(self.layer, &heads).ok()?;
                Attended::Layer { layer: Some(layer), head: heads.first().copied() }
            }
        };
        Some(Calibration::guided(Reading { attended, shift: self.step.shift() }))
    }

    fn heads(&self) -> Vec<usize> {
        self.heads.clone().unwrap_or_else(|| vec![0])
    }

    /// Whether such an attention exists, and links to guide it by.
    pub(super) fn check(&self, model: &ModelConfig, data: &Data) -> Result<(), Fault> {
        match model {
            ModelConfig::Rnn(config) if !config.attends() => {
                return Err(("training.guided", "the model has no attention to guide".into()));
            }
            ModelConfig::Rnn(_) if self.layer.is_some() || self.heads.is_some() => {
                let message = "a recurrent model has one attention, without layers and heads";
                return Err(("training.guided", message.into()));
            }
            ModelConfig::Rnn(_) => {}
            ModelConfig::Transformer(config) => {
                let heads = self.heads();
                if heads.is_empty() || heads.iter().collect::<BTreeSet<_>>().len() < heads.len() {
                    let message =
                        format!("found {heads:?}, expected one head at least and none twice");
                    return Err(("training.guided.heads", message));
                }
                config
                    .cross_layer(self.layer, &heads)
                    .map_err(|error| ("training.guided", error.to_string()))?;
            }
        }
        if self.links == LinkSource::Files && data.train.iter().all(|c| c.links.is_none()) {
            let message = "found \"files\", but no corpus of `data.train` has `links = FILE`";
            return Err(("training.guided.links", message.into()));
        }
        Ok(())
    }
}
