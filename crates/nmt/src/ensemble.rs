//! Several models as one: options of the verbs that translate, align and score.

use std::path::PathBuf;

use translate::ensemble::Mean;

/// Which models predict together with the first.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Ensemble")]
pub(crate) struct EnsembleArgs {
    /// Predict together with the model in DIR; may be given several times
    ///
    /// Models of any kind and size, which share the target vocabulary. They take as long as all
    /// of them one after the other.
    #[arg(long = "ensemble", value_name = "DIR")]
    pub(crate) others: Vec<PathBuf>,

    /// Join predictions by the mean of `probabilities` (default) or `log-probabilities`
    ///
    /// By the mean of probabilities, what one of the models finds likely is likely; by that of
    /// log-probabilities, what one of them finds unlikely is unlikely.
    #[arg(long = "ensemble-mean", value_name = "MEAN", requires = "others")]
    pub(crate) mean: Option<Mean>,
}
