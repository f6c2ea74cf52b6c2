//! The `[init]` table: the model whose weights training starts with.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Pattern;
use crate::Result;

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

/// What an experiment without a network of its own takes from the model that it starts from, as
/// overrides: every key of that model's configuration. Nothing if the file has a network, or starts
/// from none; what is wrong with the file is said where it is read.
pub(super) fn inherited(text: &str, overrides: &[String]) -> Result<Vec<String>> {
    let Ok(file) = text.parse::<toml::Table>() else { return Ok(Vec::new()) };
    let last = overrides.iter().rev().find_map(|setting| {
        let (key, value) = setting.split_once('=')?;
        (key.trim() == "init.dir").then(|| value.trim().trim_matches(['"', '\'']).to_owned())
    });
    let stated = || Some(file.get("init")?.get("dir")?.as_str()?.to_owned());
    let Some(dir) = last.or_else(stated).filter(|_| !file.contains_key("model")) else {
        return Ok(Vec::new());
    };
    let config = model::checkpoint::config(&PathBuf::from(dir))?;
    let mut settings = Vec::new();
    if let Ok(config) = serde_json::to_value(config) {
        flatten("model", &config, &mut settings);
    }
    Ok(settings)
}

/// Each number, word or list of a table as `path.key=value`.
fn flatten(path: &str, value: &serde_json::Value, settings: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(table) => {
            for (key, value) in table {
                flatten(&format!("{path}.{key}"), value, settings);
            }
        }
        serde_json::Value::Null => {}
        value => settings.push(format!("{path}={value}")),
    }
}
