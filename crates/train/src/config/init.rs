//! The `[init]` table: the model whose weights training starts with.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Pattern;

/// Where the first weights come from, instead of random numbers: for fine-tuning, or for a
/// network that shares parts with one that exists (Zoph et al., 2016).
///
/// The tokenizers are those of that model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Init {
    /// A model directory.
    pub dir: PathBuf,
    /// The parameters to take from it, by patterns such as `"encoder.*"`; the others start at
    /// random. Without the key, all are taken, and both networks must be the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<Pattern>,
}
