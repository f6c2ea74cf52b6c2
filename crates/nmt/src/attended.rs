//! Which attention alignments are read from: options of the verbs that align.

use model::Attended;

/// Which of a Transformer's attentions is the alignment. A recurrent model has one.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Alignment")]
pub(crate) struct AttendedArgs {
    /// Read alignments from decoder layer N, counted from 0 [default: the last but one]
    ///
    /// For Transformers, which attend to the source in every layer of the decoder. The last but
    /// one usually comes closest to what a person would link.
    #[arg(long, value_name = "N")]
    layer: Option<usize>,

    /// Read alignments from head N, counted from 0 [default: the mean of all]
    #[arg(long, value_name = "N")]
    head: Option<usize>,
}

impl From<AttendedArgs> for Attended {
    fn from(AttendedArgs { layer, head }: AttendedArgs) -> Self {
        Self { layer, head }
    }
}
