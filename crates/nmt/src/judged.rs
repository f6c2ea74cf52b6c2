//! A translation with what its weights say about it, as JSON has it.

use serde::{Serialize, Serializer};
use translate::{
    Translation,
    alignment::signals::{Flag, Signals, Thresholds, flags},
};

/// A translation; if it has an alignment, its signals and flags stand behind it in JSON. They are
/// computed when they are written.
#[derive(Debug)]
pub(crate) struct Judged<'a>(pub(crate) &'a Translation);

#[derive(Serialize)]
struct Fields<'a> {
    #[serde(flatten)]
    translation: &'a Translation,
    #[serde(skip_serializing_if = "Option::is_none")]
    signals: Option<Signals>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<Vec<Flag>>,
}

impl Serialize for Judged<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let alignment = self.0.alignment.as_ref();
        let fields = Fields {
            translation: self.0,
            signals: alignment.map(Signals::new),
            flags: alignment.map(|alignment| flags(alignment, &Thresholds::default())),
        };
        fields.serialize(serializer)
    }
}
