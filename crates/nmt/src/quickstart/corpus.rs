//! The corpus inside the program, divided into what is trained on and what is tested.

use std::{fs, io::Write, num::NonZeroUsize, path::Path};

use anyhow::Context;
use kernels::{Purpose, Random};
use text::{Columns, Lines, NearDuplicates, Pair, Pairs, hold_out, output::Output};

/// Tatoeba English–Spanish; `data/README.md` says where it is from.
const CORPUS: &[u8] = include_bytes!("../../../../data/tatoeba-en-es.tsv.gz");

/// Sentences to test with.
const TEST: usize = 500;
/// Sentences to validate with while training.
const VALID: usize = 200;

/// The corpus, divided.
pub(super) struct Split {
    pub(super) train: Vec<Pair>,
    pub(super) valid: Vec<Pair>,
    pub(super) test: Vec<Pair>,
    near: NearDuplicates,
}

/// Divides the corpus so that training has no near-duplicate of any test sentence.
pub(super) fn split(seed: u64) -> anyhow::Result<Split> {
    let pairs = pairs().context("cannot read the bundled corpus")?;
    let mut stream = Random::new(seed, Purpose::Shuffle, u64::MAX).stream();
    let sentences: Vec<&str> = pairs.iter().map(|pair| pair.src.as_str()).collect();
    let mut held = hold_out(&sentences, TEST + VALID, &mut |n| stream.below(n));
    // Held-out pairs come in the order of the corpus; which are for what is drawn.
    stream.shuffle(&mut held.held);
    let pick = |places: &[usize]| places.iter().map(|&i| pairs[i].clone()).collect::<Vec<_>>();
    let (test, valid) = held.held.split_at(TEST.min(held.held.len()));
    let train = pick(&held.train);
    let mut near = NearDuplicates::new();
    for pair in &train {
        near.insert(&pair.src);
    }
    Ok(Split { train, valid: pick(valid), test: pick(test), near })
}

impl Split {
    /// Whether training has a sentence like this one, all words but one the same.
    pub(super) fn knows(&self, sentence: &str) -> bool {
        self.near.contains(sentence)
    }

    /// Writes `train.tsv`, `valid.tsv` and `test.tsv`, English before Spanish.
    pub(super) fn write(&self, dir: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        for (name, pairs) in
            [("train.tsv", &self.train), ("valid.tsv", &self.valid), ("test.tsv", &self.test)]
        {
            let mut file = Output::create(&dir.join(name))?;
            for pair in pairs {
                writeln!(file, "{}\t{}", pair.src, pair.tgt)
                    .with_context(|| format!("cannot write {}", dir.join(name).display()))?;
            }
            file.finish()?;
        }
        Ok(())
    }
}

/// All pairs of the corpus.
fn pairs() -> text::Result<Vec<Pair>> {
    let lines = Lines::new(Path::new("tatoeba-en-es.tsv.gz"), CORPUS)?;
    Pairs::of_table(
        lines,
        Columns { src: NonZeroUsize::MIN, tgt: NonZeroUsize::MIN.saturating_add(1) },
    )
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_tested_has_a_near_duplicate_in_training() {
        let split = split(1).unwrap();
        assert_eq!((split.test.len(), split.valid.len()), (TEST, VALID));
        assert!(split.train.len() > 70_000, "{}", split.train.len());
        assert!(split.test.iter().chain(&split.valid).all(|pair| !split.knows(&pair.src)));
        assert!(split.train.iter().take(100).all(|pair| split.knows(&pair.src)));
    }
}
