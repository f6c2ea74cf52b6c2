//! What became of a corpus, in words.

use text::clean::{Reason, Report, Sample};
use train::{Experiment, prepare::Prepared};

use crate::console::grouped;

/// Lines that are named as examples of a reason.
const EXAMPLES: usize = 3;

/// What the corpora of an experiment are called.
pub(super) fn corpora(experiment: &Experiment) -> Vec<String> {
    let corpora = experiment.data.train.iter();
    corpora.map(|corpus| corpus.files.name().display().to_string()).collect()
}

/// Lines of two columns: how much was kept, and what was dropped, why and where.
pub(super) fn summary(prepared: &Prepared, corpora: &[String]) -> Vec<(String, String)> {
    let report = &prepared.report;
    let number = |n: u64| grouped(n as usize);
    let (kept, read) = (number(report.kept()), number(report.read()));
    let mut lines = vec![("kept".into(), format!("{kept} of {read} pairs"))];
    for reason in dropped(report) {
        let samples = report.samples(reason);
        let places = samples.iter().take(EXAMPLES).map(|sample| match corpora {
            [_] => sample.line.to_string(),
            _ => place(sample, corpora),
        });
        let places = places.collect::<Vec<_>>().join(", ");
        let dropped = number(report.dropped(reason));
        lines.push(("dropped".into(), format!("{dropped} {reason}, as line {places}")));
    }
    if let Some(tokenizers) = &prepared.tokenizers {
        let (src, tgt) = (tokenizers.src.vocab_size(), tokenizers.tgt.vocab_size());
        let kind = if tokenizers.joint() { "joint" } else { "separate" };
        let sizes = format!("{kind} · {} + {}", grouped(src), grouped(tgt));
        lines.push(("vocab".into(), sizes));
    }
    lines
}

/// The reasons for which anything was dropped.
pub(super) fn dropped(report: &Report) -> impl Iterator<Item = Reason> {
    Reason::ALL.into_iter().filter(|&reason| report.dropped(reason) > 0)
}

/// Where a sample stands: `train.en:17`.
fn place(sample: &Sample, corpora: &[String]) -> String {
    format!("{}:{}", corpora[sample.corpus], sample.line)
}

/// For each reason some of the lines that were dropped for it.
pub(super) fn samples(report: &Report, corpora: &[String]) -> String {
    let mut text = String::new();
    for reason in dropped(report) {
        text.push_str(&format!("\n{reason}\n"));
        for sample in report.samples(reason) {
            text.push_str(&format!("  {}\n", place(sample, corpora)));
            for side in sample.texts.iter().flatten() {
                // What broke a line or a terminal shall not break it here.
                let side = side.replace(char::is_control, "\u{fffd}");
                text.push_str(&format!("    {side}\n"));
            }
        }
    }
    text
}
