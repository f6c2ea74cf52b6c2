//! `vocab.json`: the pieces of a Marian model and their rows in its tables.

use std::{collections::HashMap, fs::File, io::Read, path::Path};

use anyhow::{Context, bail, ensure};
use model::marian::Rows;
use text::vocab::SPECIALS;

/// A larger file is no vocabulary.
const LARGEST: u64 = 1 << 28;

/// A vocabulary in our order: the four special entries, then all others in theirs.
#[derive(Clone, Debug)]
pub(super) struct Vocabulary {
    /// What each id of ours stands for.
    pub(super) entries: Vec<String>,
    /// The row of Marian's table for each id of ours.
    pub(super) rows: Rows,
}

impl Vocabulary {
    /// Reads a vocabulary of `size` entries. `start` is what a decoder reads first, on that side.
    pub(super) fn open(path: &Path, size: usize, start: Option<u32>) -> anyhow::Result<Self> {
        let mut content = Vec::new();
        File::open(path)?.take(LARGEST).read_to_end(&mut content)?;
        let ids: HashMap<String, u32> =
            serde_json::from_slice(&content).context("it is no table of pieces and their ids")?;
        Self::new(&ids, size, start)
    }

    fn new(ids: &HashMap<String, u32>, size: usize, start: Option<u32>) -> anyhow::Result<Self> {
        ensure!(
            ids.len() == size,
            "it has {} entries, config.json says that there are {size}",
            ids.len()
        );
        let mut names = vec![None; size];
        for (name, &id) in ids {
            let Some(place) = names.get_mut(id as usize) else {
                bail!("entry {name:?} has id {id}, outside a vocabulary of {size}");
            };
            if let Some(other) = place.replace(name.as_str()) {
                bail!("entries {other:?} and {name:?} both have id {id}");
            }
        }
        let known = |name: &str| {
            ids.get(name).copied().with_context(|| format!("it has no entry {name:?}"))
        };
        let (unk, eos) = (known("<unk>")?, known("</s>")?);
        let pad = ids.get("<pad>").copied();
        let bos = start.or(pad);
        ensure!(
            start.is_none_or(|start| start != unk && start != eos),
            "`decoder_start_token_id` is {}, which is {:?}",
            start.unwrap_or_default(),
            names[start.unwrap_or_default() as usize].unwrap_or_default()
        );
        let special = [pad.filter(|&pad| Some(pad) != bos), Some(unk), bos, Some(eos)];
        let others = (0..size as u32).filter(|id| !special.contains(&Some(*id)));
        let rows: Rows = special.into_iter().chain(others.map(Some)).collect();
        let name = |row: &Option<u32>| row.and_then(|row| names[row as usize]).unwrap_or_default();
        let names = rows.iter().skip(SPECIALS.len()).map(|row| name(row).to_owned());
        let entries = SPECIALS.into_iter().map(str::to_owned).chain(names).collect();
        Ok(Self { entries, rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(entries: &[(&str, u32)]) -> HashMap<String, u32> {
        entries.iter().map(|(name, id)| ((*name).to_owned(), *id)).collect()
    }

    #[test]
    fn special_entries_come_first_and_the_others_keep_their_order() {
        let ids = ids(&[("</s>", 0), ("<unk>", 1), ("▁a", 2), ("b", 3), ("<pad>", 4)]);
        let found = Vocabulary::new(&ids, 5, Some(4)).unwrap();
        assert_eq!(found.entries, ["<pad>", "<unk>", "<s>", "</s>", "▁a", "b"]);
        assert_eq!(found.rows, [None, Some(1), Some(4), Some(0), Some(2), Some(3)]);
        let found = Vocabulary::new(&ids, 5, Some(2)).unwrap();
        assert_eq!(found.rows, [Some(4), Some(1), Some(2), Some(0), Some(3)]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let good = [("</s>", 0), ("<unk>", 1), ("a", 2), ("<pad>", 3)];
        for (size, start, changed, expected) in [
            (5, 3, good, "4 entries, config.json says that there are 5"),
            (4, 1, good, "`decoder_start_token_id` is 1, which is \"<unk>\""),
            (4, 3, [("</s>", 0), ("<unk>", 1), ("a", 9), ("<pad>", 3)], "id 9, outside"),
            (4, 3, [("</s>", 0), ("<unk>", 1), ("a", 1), ("<pad>", 3)], "both have id 1"),
            (4, 3, [("</s>", 0), ("unk", 1), ("a", 2), ("<pad>", 3)], "no entry \"<unk>\""),
        ] {
            let error = Vocabulary::new(&ids(&changed), size, Some(start)).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
