//! Corpora of OPUS (Tiedemann, 2012) by name: where their aligned text is.

use std::fs;

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;

use crate::{
    console::{Console, Hint, grouped},
    web::{Downloads, Network},
};

/// Where OPUS answers what it has.
pub(super) const API: &str = "https://opus.nlpl.eu/opusapi/";

/// What OPUS has.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    corpora: Vec<Found>,
}

/// A corpus in two languages, in one version and form.
#[derive(Debug, Deserialize)]
struct Found {
    url: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    alignment_pairs: Option<u64>,
    /// Kibibytes of the archive.
    #[serde(default)]
    size: Option<u64>,
}

/// The address of the archive with a corpus as aligned lines. `name` may end in a version, as
/// `Books/v1`; without one it is the newest.
pub(super) fn address(
    api: &str,
    name: &str,
    [src, tgt]: [&str; 2],
    network: Network,
    console: &Console,
) -> anyhow::Result<String> {
    let (corpus, version) = name.split_once('/').unwrap_or((name, "latest"));
    let allowed = |text: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !text.is_empty() && text.chars().all(allowed)
    };
    if !allowed(corpus) || !allowed(version) {
        bail!("{name} is no name of a corpus, such as Books or Books/v1");
    }
    let query = format!(
        "{api}?corpus={corpus}&source={src}&target={tgt}&preprocessing=moses&version={version}"
    );
    let downloads = Downloads::new(network, console)?;
    let path = downloads.get_again(&query)?;
    let answer: Answer = fs::read(&path)
        .map_err(anyhow::Error::from)
        .and_then(|content| Ok(serde_json::from_slice(&content)?))
        .with_context(|| format!("what {query} answers is no list of corpora"))?;
    let Some(found) = answer.corpora.into_iter().find(|found| found.url.ends_with(".zip")) else {
        downloads.forget(&query);
        return Err(anyhow!("OPUS has no corpus {name} from {src} into {tgt} as aligned lines"))
            .hint("https://opus.nlpl.eu lists corpora with their languages and versions");
    };
    let pairs = found.alignment_pairs.map_or("?".into(), |n| grouped(n as usize));
    let megabytes = found.size.map_or("?".into(), |kib| format!("{:.1}", kib as f64 / 1e3));
    console.note("opus", format!("{corpus} {} · {pairs} pairs · {megabytes} MB", found.version));
    console
        .note("licence", "that of its sources: see what comes with it, and https://opus.nlpl.eu");
    Ok(found.url)
}
