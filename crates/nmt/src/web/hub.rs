//! Repositories of the Hub: which files a version holds, and those files in one folder.
//!
//! The Hub is spoken to as its own libraries do: `HF_ENDPOINT` is its address, `HF_TOKEN` or the
//! file `token` in `HF_HOME` says who asks, and with `HF_HUB_OFFLINE` only the cache is looked at.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
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

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repository {
    Model,
    Dataset,
}

/// A version of a repository.
#[derive(Debug)]
pub(crate) struct Version {
    /// The address of the repository.
    pub(crate) url: String,
    /// What it is called for ever.
    pub(crate) sha: String,
    /// The names of all its files.
    pub(crate) names: Vec<String>,
}

/// A version of a model.
pub(crate) struct Snapshot {
    /// The folder with the files that were wanted.
    pub(crate) folder: PathBuf,
    /// The names of all its files.
    pub(crate) names: Vec<String>,
}

/// What the Hub says about a version of a repository.
#[derive(Debug, Deserialize)]
struct Answer {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Version {
    /// Where a file of it is.
    pub(crate) fn address(&self, file: &str) -> String {
        format!("{}/resolve/{}/{}", self.url, self.sha, encoded(file))
    }
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

    /// A version of the repository `name`. What a version is called may change, as a branch does; the
    /// Hub is asked each time.
    pub(crate) fn version(
        &self,
        kind: Repository,
        name: &str,
        revision: &str,
    ) -> anyhow::Result<Version> {
        ensure!(is_repository(name), "{name} is no name of a repository: OWNER/NAME");
        ensure!(is_revision(revision), "{revision} is no name of a branch, a tag or a version");
        let endpoint = &self.endpoint;
        let (api, url) = match kind {
            Repository::Model => ("models", format!("{endpoint}/{name}")),
            Repository::Dataset => ("datasets", format!("{endpoint}/datasets/{name}")),
        };
        let revision = revision.replace('/', "%2F");
        let address = format!("{endpoint}/api/{api}/{name}/revision/{revision}");
        let path = self.downloads.get_again(&address)?;
        let answer: Answer = fs::read(&path)
            .map_err(anyhow::Error::from)
            .and_then(|content| Ok(serde_json::from_slice(&content)?))
            .with_context(|| format!("what {address} answers describes no repository"))?;
        let sha = answer.sha;
        let is_sha = (7..=64).contains(&sha.len()) && sha.bytes().all(|b| b.is_ascii_hexdigit());
        ensure!(is_sha, "{address} calls its version {sha:?}, which is no name of one");
        ensure!(
            answer.siblings.len() <= MOST_FILES,
            "{name} has {} files, expected at most {MOST_FILES}",
            answer.siblings.len()
        );
        let names: Vec<_> = answer.siblings.into_iter().map(|file| file.rfilename).collect();
        if let Some(bad) = names.iter().find(|name| !is_path(name)) {
            bail!("{address} names a file {bad:?}, which is no path in a repository");
        }
        Ok(Version { url, sha, names })
    }

    /// A file of a version, from the cache or downloaded into it.
    pub(crate) fn get(&self, version: &Version, file: &str) -> anyhow::Result<PathBuf> {
        self.downloads.get(&version.address(file))
    }

    /// Removes a file that turned out to be wrong from the cache.
    pub(crate) fn forget(&self, version: &Version, file: &str) {
        self.downloads.forget(&version.address(file));
    }

    /// Those files of a version of the model `name` that have one of these names.
    pub(crate) fn model(
        &self,
        name: &str,
        revision: &str,
        wanted: &[&str],
    ) -> anyhow::Result<Snapshot> {
        let version = self.version(Repository::Model, name, revision)?;
        let folder = self.downloads.dir().join("hub").join(name.replace('/', "--"));
        let folder = folder.join(&version.sha);
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the directory {}", folder.display()))?;
        for file in wanted.iter().filter(|file| version.names.iter().any(|name| name == *file)) {
            put(&self.get(&version, file)?, &folder.join(file))?;
        }
        Ok(Snapshot { folder, names: version.names })
    }
}

/// Whether this can be the path of a file in a repository, which does not lead out of it.
fn is_path(name: &str) -> bool {
    let part = |part: &str| !["", ".", ".."].contains(&part);
    name.len() < 1000
        && !name.contains(|c: char| c == '\\' || c.is_control())
        && name.split('/').all(part)
}

/// A path as it stands in an address (RFC 3986, §2).
fn encoded(path: &str) -> String {
    let mut address = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            address.push(byte.into());
        } else {
            address.push_str(&format!("%{byte:02X}"));
        }
    }
    address
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
    fn paths_stay_in_their_repository() {
        for good in
            ["a", "data/train-00000-of-00001.parquet", "a b/ü#?.json", ".gitattributes", "..a"]
        {
            assert!(is_path(good), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "../a", "a/../b", "a/.", "..\\a", "a\0", "a\u{1b}[2J"] {
            assert!(!is_path(bad), "{bad}");
        }
        assert_eq!(encoded("a b/ü#?%.json"), "a%20b/%C3%BC%23%3F%25.json");
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
