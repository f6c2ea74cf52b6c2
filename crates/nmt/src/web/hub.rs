//! Repositories of the Hub: which files a version holds, and those files in one folder.
//!
//! The Hub is spoken to as its own libraries do: `HF_ENDPOINT` is its address, `HF_TOKEN` or the
//! file `token` in `HF_HOME` says who asks, and with `HF_HUB_OFFLINE` only the cache is looked at.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::{Downloads, Network};
use crate::console::Console;

const ENDPOINT: &str = "https://huggingface.co";
/// Most files of a repository.
const MOST_FILES: usize = 10_000;

/// The Hub, and how its files are downloaded.
pub(crate) struct Hub<'a> {
    downloads: Downloads<'a>,
    endpoint: String,
}

/// A version of a repository.
pub(crate) struct Snapshot {
    /// The folder with the files that were wanted.
    pub(crate) folder: PathBuf,
    /// The names of all its files.
    pub(crate) names: Vec<String>,
}

/// What the Hub says about a version of a repository.
#[derive(Debug, Deserialize)]
struct Version {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
}

impl<'a> Hub<'a> {
    /// The Hub of the environment.
    pub(crate) fn new(network: Network, console: &'a Console) -> anyhow::Result<Self> {
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let offline = variable("HF_HUB_OFFLINE").is_some_and(|value| is_yes(&value));
        let network = if offline { network.offline() } else { network };
        let downloads = Downloads::of_hub(network, console, &endpoint, token())?;
        Ok(Self { downloads, endpoint })
    }

    /// Those files of a version of the model `name` that have one of these names. What a version is
    /// called may change, as a branch does; the Hub is asked each time.
    pub(crate) fn model(
        &self,
        name: &str,
        revision: &str,
        wanted: &[&str],
    ) -> anyhow::Result<Snapshot> {
        ensure!(is_repository(name), "{name} is no name of a repository: OWNER/NAME");
        ensure!(is_revision(revision), "{revision} is no name of a branch, a tag or a version");
        let revision = revision.replace('/', "%2F");
        let address = format!("{}/api/models/{name}/revision/{revision}", self.endpoint);
        let path = self.downloads.get_again(&address)?;
        let version: Version = fs::read(&path)
            .map_err(anyhow::Error::from)
            .and_then(|content| Ok(serde_json::from_slice(&content)?))
            .with_context(|| format!("what {address} answers describes no repository"))?;
        let sha = &version.sha;
        let is_sha = (7..=64).contains(&sha.len()) && sha.bytes().all(|b| b.is_ascii_hexdigit());
        ensure!(is_sha, "{address} calls its version {sha:?}, which is no name of one");
        ensure!(
            version.siblings.len() <= MOST_FILES,
            "{name} has {} files, expected at most {MOST_FILES}",
            version.siblings.len()
        );
        let names: Vec<_> = version.siblings.into_iter().map(|file| file.rfilename).collect();
        let folder = self.downloads.dir().join("hub").join(name.replace('/', "--")).join(sha);
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the directory {}", folder.display()))?;
        for file in wanted.iter().filter(|file| names.iter().any(|name| name == *file)) {
            let url = format!("{}/{name}/resolve/{sha}/{file}", self.endpoint);
            put(&self.downloads.get(&url)?, &folder.join(file))?;
        }
        Ok(Snapshot { folder, names })
    }
}

/// Whether this can be the name of a repository: an owner and a name.
pub(crate) fn is_repository(name: &str) -> bool {
    let part = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !part.is_empty() && part.chars().all(allowed) && !part.starts_with('.') && part.len() < 100
    };
    name.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name))
}

/// Whether this can be the name of a version.
fn is_revision(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    !name.is_empty() && name.len() < 200 && name.chars().all(allowed) && !name.contains("..")
}

/// Gives a file a second name, or copies it where files cannot have two.
fn put(from: &Path, to: &Path) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", to.display());
    if to.exists() {
        fs::remove_file(to).with_context(failed)?;
    }
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).with_context(failed)?;
    }
    Ok(())
}

/// What tells the Hub who asks.
fn token() -> Option<String> {
    let home = variable("HF_HOME").map(PathBuf::from).or_else(|| {
        let cache = variable("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache")));
        Some(cache?.join("huggingface"))
    });
    let stored = || fs::read_to_string(home?.join("token")).ok();
    let token = variable("HF_TOKEN").or_else(stored)?.trim().to_owned();
    (!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())).then_some(token)
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn is_yes(value: &str) -> bool {
    ["1", "true", "yes", "on"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_have_an_owner_and_a_name() {
        for good in ["a/b", "Helsinki-NLP/opus-mt-en-de", "x_1/y.2"] {
            assert!(is_repository(good), "{good}");
        }
        for bad in ["a", "a/", "/b", "a/b/c", "../b", "a/..", "a/.b", "a b/c", "a/b?c", ""] {
            assert!(!is_repository(bad), "{bad}");
        }
    }

    #[test]
    fn revisions_cannot_climb() {
        for good in ["main", "refs/pr/1", "v1.0", "0a1b2c"] {
            assert!(is_revision(good), "{good}");
        }
        for bad in ["", "../main", "a b", "a?b", "a#b"] {
            assert!(!is_revision(bad), "{bad}");
        }
    }
}
