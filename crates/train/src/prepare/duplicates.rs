//! The second step: which pairs were seen before, found in one part of the keys after the other.

use std::collections::HashSet;

use rayon::prelude::*;
use text::clean::Reason;

use super::{
    Progress,
    stage::{KEY_FILES, Stage},
};
use crate::Result;

/// Why pairs that passed are dropped after all.
#[derive(Debug)]
pub(super) struct DroppedPairs {
    /// A bit for each pair.
    duplicates: Vec<u64>,
    unaligned: Vec<u64>,
}

impl DroppedPairs {
    fn new(pairs: u64) -> Self {
        let bits = vec![0; pairs.div_ceil(64) as usize];
        Self { duplicates: bits.clone(), unaligned: bits }
    }

    /// Drops pair `idx` because it is no translation.
    pub(super) fn drop_unaligned(&mut self, idx: u64) {
        self.unaligned[(idx / 64) as usize] |= 1 << (idx % 64);
    }

    /// Why pair `idx` is dropped, if it is.
    pub(super) fn reason(&self, idx: u64) -> Option<Reason> {
        let has = |bits: &[u64]| bits[(idx / 64) as usize] >> (idx % 64) & 1 == 1;
        if has(&self.duplicates) {
            Some(Reason::Duplicate)
        } else {
            has(&self.unaligned).then_some(Reason::Alignment)
        }
    }
}

/// Finds the pairs of which an equal one came before; none if they are not `wanted`.
pub(super) fn find(
    stage: &Stage,
    wanted: bool,
    observe: &mut dyn FnMut(Progress),
) -> Result<DroppedPairs> {
    let mut dropped = DroppedPairs::new(stage.state.passed);
    if wanted {
        observe(Progress::Comparing);
        let found = (0..KEY_FILES).into_par_iter().map(|idx| -> Result<Vec<u64>> {
            let keys = stage.keys(idx)?;
            let mut seen = HashSet::with_capacity(keys.len());
            let again = keys.into_iter().filter(|(key, _)| !seen.insert(*key));
            let mut again: Vec<u64> = again.map(|(_, pair)| pair).collect();
            // The vector may still be as large as that of all keys, in whose place it was made.
            again.shrink_to_fit();
            Ok(again)
        });
        for pair in found.collect::<Result<Vec<_>>>()?.into_iter().flatten() {
            dropped.duplicates[(pair / 64) as usize] |= 1 << (pair % 64);
        }
    }
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use text::Pair;

    use super::{super::stage::Passed, *};

    #[test]
    fn all_but_the_first_of_equal_keys_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let mut stage = Stage::open(dir.path(), "a", || Ok(())).unwrap();
        let mut writer = stage.writer().unwrap();
        // More pairs than one word has bits, keys in every file.
        let keys: Vec<u64> = (0..200).map(|n| (n % 150) << 55).collect();
        let pair = Pair { src: "a".into(), tgt: "b".into(), line: 1 };
        let passed = Passed { corpus: 0, held_out: false, pair };
        keys.iter().for_each(|&key| writer.write(&passed, key).unwrap());
        stage.save(&mut writer).unwrap();
        let dropped = find(&stage, true, &mut |_| ()).unwrap();
        for idx in 0..200 {
            let expected = (idx >= 150).then_some(Reason::Duplicate);
            assert_eq!(dropped.reason(idx), expected, "{idx}");
        }
        let mut dropped = find(&stage, false, &mut |_| ()).unwrap();
        dropped.drop_unaligned(130);
        assert_eq!(
            [129, 130, 199].map(|idx| dropped.reason(idx)),
            [None, Some(Reason::Alignment), None]
        );
    }
}
