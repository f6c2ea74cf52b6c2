//! Which of a model's attention weights are its alignment: `alignment.json` of a model directory.

use std::{fmt, fs, io::Read as _, path::Path};

use model::Attended;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The file of a model directory that says where alignments are read.
pub const FILE: &str = "alignment.json";

/// Bytes of [`FILE`] that are read at most.
const LARGEST_FILE: u64 = 1 << 16;

/// Where alignments are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Which layer and head.
    pub attended: Attended,
    /// How many steps after the one that writes a word: at 0 a word has the weights of the step that
    /// writes it, at 1 those of the step that reads it, the next one.
    pub shift: usize,
}

impl From<Attended> for Reading {
    fn from(attended: Attended) -> Self {
        Self { attended, shift: 0 }
    }
}

/// A choice of where to read alignments, and what speaks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// The choice.
    pub reading: Reading,
    /// What links were compared with.
    pub against: String,
    /// Pairs they were compared on; none if nothing was compared.
    pub pairs: usize,
    /// The alignment error rate, in `[0, 1]`.
    pub aer: f64,
}

/// [`Calibration`] as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Whether the mean over all layers and heads is read. Otherwise `layer` and `head` count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    mean: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layer: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    head: Option<usize>,
    #[serde(default)]
    shift: usize,
    #[serde(default)]
    against: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    pairs: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aer: Option<f64>,
}

fn is_zero(pairs: &usize) -> bool {
    *pairs == 0
}

impl Calibration {
    /// The choice of a training that guided these weights.
    pub fn guided(reading: Reading) -> Self {
        Self { reading, against: "guided training".into(), pairs: 0, aer: 0.0 }
    }

    /// Reads what [`save`](Self::save) wrote into a model directory; nothing where there is none.
    ///
    /// # Errors
    /// If the file cannot be read, or [`Error::Reading`] if it holds something else.
    pub fn open(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let mut content = Vec::new();
        fs::File::open(&path)
            .and_then(|file| file.take(LARGEST_FILE).read_to_end(&mut content))
            .map_err(|source| text::Error::Read { path: path.clone(), source })?;
        let wrong = |reason: String| Error::Reading { path: path.clone(), reason };
        let File { mean, layer, head, shift, against, pairs, aer } =
            serde_json::from_slice(&content).map_err(|error| wrong(error.to_string()))?;
        let attended = match (mean, layer, head) {
            (true, None, None) => Attended::Mean,
            (true, _, _) => {
                return Err(wrong("`mean` goes with neither `layer` nor `head`".into()));
            }
            (false, layer, head) => Attended::Layer { layer, head },
        };
        let (reading, aer) = (Reading { attended, shift }, aer.unwrap_or(0.0));
        Ok(Some(Self { reading, against, pairs, aer }))
    }

    /// Writes it into a model directory, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        let (mean, layer, head) = match self.reading.attended {
            Attended::Layer { layer, head } => (false, layer, head),
            Attended::Mean | Attended::Each => (true, None, None),
        };
        let shift = self.reading.shift;
        let (against, pairs) = (self.against.clone(), self.pairs);
        let aer = (pairs > 0).then_some(self.aer);
        let file = File { mean, layer, head, shift, against, pairs, aer };
        let mut content = serde_json::to_string_pretty(&file)
            .map_err(|error| Error::Reading { path: path.clone(), reason: error.to_string() })?;
        content.push('\n');
        Ok(text::output::write_whole(&path, content.as_bytes())?)
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attended {
            Attended::Layer { layer: None, head: None } => {
                f.write_str("usual layer, mean of heads")
            }
            Attended::Layer { layer, head } => {
                match layer {
                    Some(layer) => write!(f, "layer {layer}")?,
                    None => f.write_str("usual layer")?,
                }
                match head {
                    Some(head) => write!(f, ", head {head}")?,
                    None => f.write_str(", mean of heads")?,
                }
                Ok(())
            }
            Attended::Mean => f.write_str("mean of all layers"),
            Attended::Each => f.write_str("each layer and head"),
        }?;
        match self.shift {
            0 => f.write_str(", step that writes"),
            1 => f.write_str(", step that reads"),
            n => write!(f, ", {n} steps after writing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibration(attended: Attended, shift: usize) -> Calibration {
        let reading = Reading { attended, shift };
        Calibration { reading, against: "gold.talp".into(), pairs: 17, aer: 0.25 }
    }

    #[test]
    fn a_model_directory_keeps_the_choice() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Calibration::open(dir.path()).unwrap(), None);
        for calibration in [
            calibration(Attended::default(), 1),
            calibration(Attended::Layer { layer: Some(3), head: None }, 0),
            calibration(Attended::Layer { layer: Some(3), head: Some(2) }, 1),
            calibration(Attended::Mean, 0),
            Calibration::guided(Reading { attended: Attended::Mean, shift: 1 }),
        ] {
            calibration.save(dir.path()).unwrap();
            assert_eq!(Calibration::open(dir.path()).unwrap(), Some(calibration));
        }
    }

    #[test]
    fn what_is_no_choice_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        for (content, reason) in [
            (r#"{"layers": 3}"#, "unknown field `layers`"),
            (r#"{"mean": true, "layer": 3}"#, "`mean` goes with neither"),
            (r#"{"layer": -1}"#, "invalid value"),
            ("", "EOF"),
        ] {
            fs::write(dir.path().join(FILE), content).unwrap();
            let message = Calibration::open(dir.path()).unwrap_err().to_string();
            assert!(message.contains(FILE) && message.contains(reason), "{message}");
        }
    }

    #[test]
    fn a_choice_can_be_said_in_words() {
        let said = |attended, shift| Reading { attended, shift }.to_string();
        assert_eq!(
            said(Attended::Layer { layer: Some(4), head: Some(2) }, 1),
            "layer 4, head 2, step that reads"
        );
        assert_eq!(said(Attended::Mean, 0), "mean of all layers, step that writes");
        assert_eq!(Reading::default().to_string(), "usual layer, mean of heads, step that writes");
    }
}
