//! The `[search]` table: how a translation is looked for.

use std::{fs, io::Read, num::NonZeroUsize, path::Path};

use serde::{Deserialize, Serialize};
use text::number::{NonNegative, Positive, Share};

use super::{LengthPenalty, coverage::coverage};
use crate::{Error, Scored, mbr::Mbr};

/// The file of a model directory that says how the model is best searched.
pub const FILE: &str = "generation_config.json";

/// Bytes of [`FILE`] that are read at most.
const LARGEST_FILE: u64 = 1 << 20;

/// How to search. Every key may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchConfig {
    /// Hypotheses kept at each step; 1 is greedy search.
    pub beam: NonZeroUsize,
    /// Translations returned for each sentence, best first. The beam is at least this wide.
    /// When sampling, the number of independent samples.
    pub n_best: NonZeroUsize,
    /// Fewest tokens of a translation, its end not counted. Where it exceeds the longest
    /// allowed length, that length counts.
    pub min_len: usize,
    /// Most tokens of a translation, its end not counted: this times the source's number of
    /// tokens, plus [`max_len_offset`](Self::max_len_offset), rounded down.
    pub max_len_factor: NonNegative,
    /// See [`max_len_factor`](Self::max_len_factor).
    pub max_len_offset: usize,
    /// No sequence of this many tokens occurs twice in a translation; 0 allows all.
    pub no_repeat_ngram: usize,
    /// How many times in a row the same cycle of at most
    /// [`LONGEST_CYCLE`](super::LONGEST_CYCLE) tokens may occur before a hypothesis is given up
    /// as caught in a loop; 0 never gives up. Repetitions in the source come on top.
    pub loop_guard: usize,
    /// Padded source tokens translated at once. It bounds memory and never changes a result.
    pub batch_tokens: NonZeroUsize,
    /// Most tokens of a source sentence; a longer one is an error.
    pub max_src_len: NonZeroUsize,
    /// What scores are divided by.
    pub length_penalty: LengthPenalty,
    /// Added to scores: this times the sum, over the source's tokens, of the logarithm of how
    /// much each was attended to, at most 1 (Wu et al., 2016, eq. 14). 0 turns it off; anything
    /// else needs a model with attention.
    #[serde(skip_serializing_if = "is_off")]
    pub coverage_penalty: NonNegative,
    /// Draw tokens at random instead of looking for the best.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sampling>,
    /// Divide the beam into groups that are pushed apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diverse: Option<Diverse>,
    /// Translations that go on in so many ways where a choice is first to be made, the best for
    /// each way, instead of the best of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alternatives: Option<NonZeroUsize>,
    /// Return the candidates that agree most with the others, not the most probable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mbr: Option<Mbr>,
}

/// Diverse beam search (Vijayakumar et al., 2018).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Diverse {
    /// Groups that the beam is divided into, as evenly as can be.
    pub groups: NonZeroUsize,
    /// Nats by which a token is worse in a group for each hypothesis of the groups before that
    /// goes on with it at the same place.
    pub strength: NonNegative,
}

impl Default for Diverse {
    fn default() -> Self {
        Self {
            groups: const { NonZeroUsize::new(2).expect("two is not zero") },
            strength: const { NonNegative::new(0.5).expect("a half is not negative") },
        }
    }
}

/// What turns a setting off.
const OFF: NonNegative = NonNegative::new(0.0).expect("zero is not negative");

/// Whether a setting is turned off: then it need not be written.
fn is_off(setting: &NonNegative) -> bool {
    *setting == OFF
}

impl Default for SearchConfig {
    fn default() -> Self {
        const fn size(n: usize) -> NonZeroUsize {
            NonZeroUsize::new(n).expect("a default size is not zero")
        }
        Self {
            beam: const { size(5) },
            n_best: NonZeroUsize::MIN,
            min_len: 1,
            max_len_factor: const { NonNegative::new(2.0).expect("two is not negative") },
            max_len_offset: 10,
            no_repeat_ngram: 0,
            loop_guard: 10,
            batch_tokens: const { size(1024) },
            max_src_len: const { size(4096) },
            length_penalty: LengthPenalty::default(),
            coverage_penalty: OFF,
            sample: None,
            diverse: None,
            alternatives: None,
            mbr: None,
        }
    }
}

impl SearchConfig {
    /// Reads the settings that [`save`](Self::save) wrote into a model directory; the default
    /// where there are none. Keys of other programs in the file do not matter.
    ///
    /// # Errors
    /// If the file cannot be read, or [`Error::Settings`] if it holds something else.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(FILE);
        if !path.exists() {
            return Ok(Self::default());
        }
        let mut content = Vec::new();
        fs::File::open(&path)
            .and_then(|file| file.take(LARGEST_FILE).read_to_end(&mut content))
            .map_err(|source| text::Error::Read { path: path.clone(), source })?;
        let file: File = serde_json::from_slice(&content)
            .map_err(|error| Error::Settings { path, reason: error.to_string() })?;
        Ok(file.search)
    }

    /// Writes the settings into a model directory, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), Error> {
        let path = dir.join(FILE);
        let mut content = serde_json::to_string_pretty(&File { search: self.clone() })
            .map_err(|error| Error::Settings { path: path.clone(), reason: error.to_string() })?;
        content.push('\n');
        Ok(text::output::write_whole(&path, content.as_bytes())?)
    }

    /// Most tokens of the translation of a sentence of `src_len` tokens, ends not counted.
    pub fn max_len(&self, src_len: usize) -> usize {
        let scaled = (self.max_len_factor.get() * src_len as f64) as usize; // saturates
        scaled.saturating_add(self.max_len_offset)
    }

    /// Makes sure that what is asked for goes together; `constrained` says whether there are
    /// phrases that translations have to contain.
    ///
    /// # Errors
    /// [`Error::Contradiction`].
    pub fn check(&self, constrained: bool) -> Result<(), Error> {
        let refused = |one, other, reason| Err(Error::Contradiction { one, other, reason });
        if constrained && self.sample.is_some() {
            let reason = "what is drawn at random cannot be led to a phrase";
            return refused("required phrases", "sampling", reason);
        }
        let own = [
            (self.sample.is_some(), "sampling"),
            (self.diverse.is_some(), "diverse beams"),
            (self.alternatives.is_some(), "alternatives"),
            (constrained, "required phrases"),
        ];
        let mut asked = own.iter().filter(|(asked, _)| *asked).map(|(_, name)| *name);
        if let (Some(one), Some(other)) = (asked.next(), asked.next()) {
            return refused(one, other, "each says which hypotheses are kept");
        }
        if self.alternatives.is_some() && self.mbr.is_some() {
            let reason = "alternatives are not ranked";
            return refused("alternatives", "reranking by minimum Bayes risk", reason);
        }
        if self.mbr.is_some_and(|mbr| mbr.candidates < self.n_best) {
            let reason = "more translations are asked for than candidates";
            return refused("reranking by minimum Bayes risk", "the best translations", reason);
        }
        if self.diverse.is_some_and(|diverse| diverse.groups.get() > self.width()) {
            return refused("diverse groups", "the beam", "there are more groups than hypotheses");
        }
        Ok(())
    }

    /// What a given translation is worth, as if it had been found.
    pub(crate) fn score(&self, scored: &Scored) -> f64 {
        let score = self.length_penalty.score(scored.log_prob, scored.token_log_probs.len());
        let beta = self.coverage_penalty.get();
        let weights = scored.weights.iter().map(Vec::as_slice);
        if beta > 0.0 { score + beta * coverage(weights) } else { score }
    }

    /// Hypotheses kept at each step: as many as are asked for at least.
    pub(super) fn width(&self) -> usize {
        self.beam.max(self.n_best).get()
    }
}

/// What [`FILE`] holds. Its other keys belong to others.
#[derive(Serialize, Deserialize)]
struct File {
    #[serde(default)]
    search: SearchConfig,
}

/// How tokens are drawn. The temperature applies first, then `top_k`, then `top_p`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Log-probabilities are divided by it: below one the likely become likelier.
    pub temperature: Positive,
    /// Draw among this many most likely tokens only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<NonZeroUsize>,
    /// Draw among the fewest most likely tokens that have this probability together
    /// (Holtzman et al., 2020, “The Curious Case of Neural Text Degeneration”, §3.1).
    pub top_p: Share,
    /// The same seed draws the same translation of the same sentence, whatever is around it.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: const { Positive::new(1.0).expect("one is positive") },
            top_k: None,
            top_p: const { Share::new(1.0).expect("one is a whole") },
            seed: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_table_is_the_default_and_every_value_survives_a_round_trip() {
        assert_eq!(toml::from_str::<SearchConfig>("").unwrap(), SearchConfig::default());
        let config = SearchConfig {
            n_best: NonZeroUsize::new(3).unwrap(),
            length_penalty: LengthPenalty::Gnmt(NonNegative::new(0.6).unwrap()),
            sample: Some(Sampling { top_k: NonZeroUsize::new(7), ..Sampling::default() }),
            ..SearchConfig::default()
        };
        for config in [SearchConfig::default(), config] {
            let toml = toml::to_string(&config).unwrap();
            assert_eq!(toml::from_str::<SearchConfig>(&toml).unwrap(), config, "{toml}");
            let json = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<SearchConfig>(&json).unwrap(), config, "{json}");
        }
    }

    #[test]
    fn a_model_directory_keeps_the_settings() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(SearchConfig::open(dir.path()).unwrap(), SearchConfig::default());
        let config = SearchConfig { min_len: 3, ..SearchConfig::default() };
        config.save(dir.path()).unwrap();
        assert_eq!(SearchConfig::open(dir.path()).unwrap(), config);

        for (content, found) in [
            (r#"{"num_beams": 4}"#, Ok(SearchConfig::default())),
            (r#"{"search": {"min_len": 3}, "num_beams": 4}"#, Ok(config)),
            (r#"{"search": {"min_length": 3}}"#, Err("unknown field `min_length`")),
            (r#"{"search": {"min_len": 3}"#, Err("EOF")),
        ] {
            std::fs::write(dir.path().join(FILE), content).unwrap();
            match (SearchConfig::open(dir.path()), found) {
                (Ok(config), Ok(expected)) => assert_eq!(config, expected),
                (Err(error), Err(reason)) => {
                    let message = error.to_string();
                    assert!(message.contains(FILE) && message.contains(reason), "{message}");
                }
                (result, _) => panic!("{content}: {result:?}"),
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_reason() {
        for (toml, reason) in [
            ("beams = 5", "unknown field `beams`"),
            ("beam = 0", "nonzero"),
            ("n_best = 0", "nonzero"),
            ("max_len_factor = -1.0", "found -1, allowed is 0 or a finite number above it"),
            ("max_len_factor = inf", "found inf, allowed is 0 or"),
            ("length_penalty = { average = nan }", "found NaN, allowed is 0 or"),
            ("length_penalty = { average = 1.0, gnmt = 1.0 }", "exactly 1 element"),
            ("length_penalty = \"mean\"", "unknown variant `mean`"),
            ("sample = { temperature = 0.0 }", "found 0, allowed is a finite number above 0"),
            ("sample = { top_p = 0.0 }", "found 0, allowed is a number above 0"),
            ("sample = { top_p = 1.5 }", "found 1.5, allowed is a number above 0"),
            ("sample = { top_k = 0 }", "nonzero"),
            ("sample = { tempreature = 1.0 }", "unknown field `tempreature`"),
        ] {
            let message = toml::from_str::<SearchConfig>(toml).unwrap_err().to_string();
            assert!(message.contains(reason), "{toml}: {message}");
        }
    }

    #[test]
    fn the_longest_length_follows_the_source() {
        let config = SearchConfig {
            max_len_factor: NonNegative::new(1.5).unwrap(),
            max_len_offset: 2,
            ..SearchConfig::default()
        };
        assert_eq!(config.max_len(0), 2);
        assert_eq!(config.max_len(3), 6);
        let boundless = SearchConfig { max_len_factor: NonNegative::new(1e300).unwrap(), ..config };
        assert_eq!(boundless.max_len(3), usize::MAX);
    }
}
