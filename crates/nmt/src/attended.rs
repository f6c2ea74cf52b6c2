//! Which attention alignments are read from: options of the verbs that align.

use model::Attended;
use translate::alignment::Reading;

/// Which of a model's attentions is the alignment.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Alignment")]
pub(crate) struct AttendedArgs {
    /// Read alignments from decoder layer N, counted from 0 [default: calibrated, or the last but one]
    ///
    /// For Transformers, which attend to the source in every layer of the decoder. The last but
    /// one usually comes closest to what a person would link; `nmt align --calibrate` finds out
    /// and remembers.
    #[arg(long, value_name = "N")]
    layer: Option<usize>,

    /// Read alignments from head N, counted from 0 [default: calibrated, or the mean of all]
    #[arg(long, value_name = "N")]
    head: Option<usize>,

    /// Read the alignment of a word N steps after the one that writes it [default: calibrated, or 0]
    ///
    /// At 1, the next step, the model has read the word: it may know better where that comes
    /// from, or already look for the one to follow.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=1))]
    shift: Option<u8>,
}

impl AttendedArgs {
    /// What is asked for; what is not is as `calibrated`. A layer or a head takes the place of all
    /// that was calibrated, but a step of that alone.
    pub(crate) fn over(self, calibrated: Option<Reading>) -> Option<Reading> {
        let Self { layer, head, shift } = self;
        let chosen = layer.or(head).map(|_| Reading::from(Attended::Layer { layer, head }));
        let reading = chosen.or(calibrated);
        match shift {
            None => reading,
            Some(shift) => Some(Reading { shift: shift.into(), ..reading.unwrap_or_default() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_stands_above_what_was_calibrated() {
        let args = |layer, head, shift| AttendedArgs { layer, head, shift };
        let at =
            |layer, head, shift| Some(Reading { attended: Attended::Layer { layer, head }, shift });
        let calibrated = at(Some(3), Some(1), 1);
        assert_eq!(args(None, None, None).over(calibrated), calibrated);
        assert_eq!(args(None, None, None).over(None), None);
        assert_eq!(args(Some(2), None, None).over(calibrated), at(Some(2), None, 0));
        assert_eq!(args(None, Some(0), Some(1)).over(calibrated), at(None, Some(0), 1));
        assert_eq!(args(None, None, Some(0)).over(calibrated), at(Some(3), Some(1), 0));
        assert_eq!(args(None, None, Some(1)).over(None), at(None, None, 1));
    }
}
