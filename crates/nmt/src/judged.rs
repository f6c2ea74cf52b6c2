//! A translation with what its weights say about it, as JSON has it.

use serde::Serialize;
use translate::{
    Translation,
    alignment::signals::{Flag, Signals, Thresholds, flags},
};

/// A translation; if it has an alignment, with its signals and flags behind it.
#[derive(Debug, Serialize)]
pub(crate) struct Judged<'a> {
    #[serde(flatten)]
    translation: &'a Translation,
    #[serde(flatten)]
    judgement: Option<Judgement>,
}

#[derive(Debug, Serialize)]
struct Judgement {
    signals: Signals,
    flags: Vec<Flag>,
}

impl<'a> From<&'a Translation> for Judged<'a> {
    fn from(translation: &'a Translation) -> Self {
        let judgement = translation.alignment.as_ref().map(|alignment| Judgement {
            signals: Signals::new(alignment),
            flags: flags(alignment, &Thresholds::default()),
        });
        Self { translation, judgement }
    }
}
