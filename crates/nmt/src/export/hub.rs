//! A folder for the Hub: a model with a description that people and the Hub's own pages can read.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use model::ModelDir;
use text::{Pairs, metrics::Metric};
use translate::alignment::Calibration;

use crate::{
    card,
    cli::Session,
    console::{Misuse, count, grouped},
    load::{self, Asked},
};

/// Files that a test set consists of, and its name.
const TEST: usize = 3;
/// What scores are computed with.
const METRICS: [&str; 2] = ["bleu", "chrf"];
/// Keys of the head that are made anew.
const OWN_KEYS: [&str; 4] = ["license", "library_name", "datasets", "model-index"];

/// What is said of a model on the Hub.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "With --format hub")]
pub(super) struct Hub {
    /// Licence of the model, by the name that the Hub has for it, such as `cc-by-4.0`
    #[arg(long, value_name = "ID", value_parser = id)]
    licence: Option<String>,

    /// What the model is called [default: the name of DIR]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Data set of the Hub that it was trained on; may be given several times
    #[arg(long, value_name = "OWNER/NAME")]
    dataset: Vec<String>,

    /// Translate the lines of SRC and compare them with those of REF; may be given several times
    #[arg(long, num_args = TEST, value_names = ["NAME", "SRC", "REF"], action = clap::ArgAction::Append)]
    test: Vec<String>,
}

/// A test set and how well it is translated.
#[derive(Clone, Debug, PartialEq)]
struct Tested {
    name: String,
    sentences: usize,
    /// The name of each metric, its value, and what it was computed with.
    scores: Vec<(String, f64, String)>,
}

impl Hub {
    /// Refuses options that say nothing about what is written.
    pub(super) fn ensure_wanted(&self, wanted: bool) -> anyhow::Result<()> {
        let Self { licence, name, dataset, test } = self;
        let given = [
            ("--licence", licence.is_some()),
            ("--name", name.is_some()),
            ("--dataset", !dataset.is_empty()),
            ("--test", !test.is_empty()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((option, _)) if !wanted => {
                Err(Misuse(format!("{option} is for `--format hub`")).into())
            }
            _ => Ok(()),
        }
    }

    /// Writes the model in `dir` to the new folder `out`, tested and described.
    pub(super) fn write(
        &self,
        dir: &Path,
        out: &Path,
        session: &Session<'_>,
    ) -> anyhow::Result<()> {
        if self.licence.is_none() {
            session.console.warn(
                "no licence: who finds the model does not know whether it may be used; \
                 `--licence` names it",
            );
        }
        let tested = self.tested(dir, session)?;
        let fallback = out.file_name().unwrap_or_default().to_string_lossy();
        let name = self.name.as_deref().unwrap_or(&fallback);
        let card = self.card(&card::of(dir), name, &tested, &about(dir)?);
        Ok(train::copy(dir, out, &card)?)
    }

    /// Translates the test sets.
    fn tested(&self, dir: &Path, session: &Session<'_>) -> anyhow::Result<Vec<Tested>> {
        if self.test.is_empty() {
            return Ok(Vec::new());
        }
        let translator = load::translator(dir, Asked::default(), session)?;
        let mut all = Vec::new();
        for set in self.test.chunks(TEST) {
            let [name, src, reference] = [0, 1, 2].map(|idx| set[idx].clone());
            let pairs = Pairs::open(&PathBuf::from(src), &PathBuf::from(reference))?;
            let pairs = pairs.collect::<text::Result<Vec<_>>>()?;
            let sources: Vec<&str> = pairs.iter().map(|pair| pair.src.as_str()).collect();
            let wordings = translator.word(&sources)?.into_iter();
            let hyps: Vec<String> = wordings.map(|wording| wording.text).collect();
            let refs = vec![pairs.iter().map(|pair| pair.tgt.clone()).collect::<Vec<_>>()];
            let mut scores = Vec::new();
            for metric in METRICS {
                let score = metric.parse::<Metric>()?.corpus(&hyps, &refs)?;
                session.console.note(&name, &score);
                scores.push((score.name.to_string(), score.value, score.signature.clone()));
            }
            all.push(Tested { name, sentences: pairs.len(), scores });
        }
        Ok(all)
    }

    /// The card of the model: a head and a few sections, then what its own card says.
    fn card(&self, own: &str, name: &str, tested: &[Tested], about: &str) -> String {
        let (head, text) = card::split(own);
        let mut card = String::from("---\n");
        card.push_str(&kept(head));
        if let Some(licence) = &self.licence {
            card.push_str(&format!("license: {licence}\n"));
        }
        card.push_str("library_name: nmt\n");
        if !self.dataset.is_empty() {
            card.push_str("datasets:\n");
            self.dataset.iter().for_each(|name| card.push_str(&format!("- {}\n", quoted(name))));
        }
        card.push_str(&index(name, tested));
        card.push_str("---\n\n");
        card.push_str(&format!("{about}\n\n"));
        if !tested.is_empty() {
            card.push_str("## Scores\n\n| test set | sentences | metric | score | signature |\n");
            card.push_str("|---|---:|---|---:|---|\n");
            for Tested { name, sentences, scores } in tested {
                for (metric, value, signature) in scores {
                    let n = grouped(*sentences);
                    card.push_str(&format!(
                        "| {name} | {n} | {metric} | {value:.2} | `{signature}` |\n"
                    ));
                }
            }
            card.push('\n');
        }
        card.push_str(
            "## How to use it\n\n```sh\nnmt import OWNER/NAME --out model\n\
             nmt translate model < input.txt > output.txt\n\
             nmt align model input.txt output.txt --format html --out alignment.html\n```\n",
        );
        let text = text.trim();
        if !text.is_empty() {
            card.push_str(&format!("\n{text}\n"));
        }
        card
    }
}

/// Lines of a head that stay: those of keys that are not made anew.
fn kept(head: &str) -> String {
    let lines = head.trim_start_matches("---\n").lines().take_while(|line| *line != "---");
    let (mut kept, mut keeping) = (String::new(), true);
    for line in lines {
        if let Some((key, _)) = line.split_once(':')
            && !line.starts_with([' ', '-', '#'])
        {
            keeping = !OWN_KEYS.contains(&key);
        }
        if keeping {
            kept.push_str(&format!("{line}\n"));
        }
    }
    kept
}

/// Scores as the Hub's pages show them.
fn index(name: &str, tested: &[Tested]) -> String {
    if tested.is_empty() {
        return String::new();
    }
    let mut text = format!("model-index:\n- name: {}\n  results:\n", quoted(name));
    for Tested { name, scores, .. } in tested {
        let name = quoted(name);
        text.push_str("  - task:\n      type: translation\n");
        text.push_str(&format!("    dataset:\n      name: {name}\n      type: {name}\n"));
        text.push_str("    metrics:\n");
        for (metric, value, _) in scores {
            let kind = metric.trim_end_matches(|c: char| c.is_ascii_digit()).to_lowercase();
            text.push_str(&format!(
                "    - type: {kind}\n      name: {}\n      value: {value:.2}\n",
                quoted(metric)
            ));
        }
    }
    text
}

/// What the model is, in two sentences.
fn about(dir: &Path) -> anyhow::Result<String> {
    let model = ModelDir::open(dir)
        .with_context(|| format!("cannot load a model from {}", dir.display()))?;
    let vocabs = model.vocabs();
    let mut about = format!(
        "A model of {} parameters with {} + {} vocabulary entries.",
        count(model.count()),
        grouped(vocabs.src),
        grouped(vocabs.tgt)
    );
    if Calibration::open(dir)?.is_some() {
        about.push_str(" Where its word alignments are read from is calibrated.");
    }
    Ok(about)
}

/// A text as YAML, which takes strings of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The name of a licence.
fn id(text: &str) -> anyhow::Result<String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    ensure!(
        !text.is_empty() && text.chars().all(allowed),
        "expected a name as the Hub has them, such as mit or cc-by-4.0"
    );
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tested() -> Tested {
        Tested {
            name: "Fli\"ckr".into(),
            sentences: 1000,
            scores: vec![("chrF2".into(), 59.284, "nrefs:1".into())],
        }
    }

    #[test]
    fn a_card_has_a_head_scores_and_what_the_model_said() {
        let own = "---\nlanguage:\n- en\n- de\nlicense: old\ndatasets:\n- gone\ntags:\n- x\n---\n\n# Old\n";
        let hub =
            Hub { licence: Some("mit".into()), dataset: vec!["a/b".into()], ..Hub::default() };
        let card = hub.card(own, "m", &[tested()], "About.");
        let expected = "---\nlanguage:\n- en\n- de\ntags:\n- x\nlicense: mit\nlibrary_name: nmt\n\
             datasets:\n- \"a/b\"\nmodel-index:\n- name: \"m\"\n  results:\n  - task:\n      type: \
             translation\n    dataset:\n      name: \"Fli\\\"ckr\"\n      type: \"Fli\\\"ckr\"\n    \
             metrics:\n    - type: chrf\n      name: \"chrF2\"\n      value: 59.28\n---\n\nAbout.\n\n\
             ## Scores\n\n";
        assert!(card.starts_with(expected), "{card}");
        assert!(card.contains("| Fli\"ckr | 1,000 | chrF2 | 59.28 | `nrefs:1` |\n"));
        assert!(card.ends_with("\n# Old\n"));
    }

    #[test]
    fn a_card_can_begin_from_nothing() {
        let card = Hub::default().card("", "m", &[], "About.");
        assert!(card.starts_with("---\nlibrary_name: nmt\n---\n\nAbout.\n\n## How to use it\n"));
        assert!(card.ends_with("```\n"));
    }

    #[test]
    fn licences_have_names() {
        assert!(id("cc-by-2.0").is_ok() && id("mit").is_ok());
        assert!(id("CC BY").is_err() && id("").is_err());
    }
}
