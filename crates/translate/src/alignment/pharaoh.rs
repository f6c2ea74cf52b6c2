//! Word links as text, in the format of the Pharaoh decoder: `0-0 1-2`.

use std::collections::BTreeSet;

use crate::{Error, Result};

/// Links that annotators made between two sentences, as (source, target) counted from zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gold {
    /// Links beyond doubt.
    pub sure: BTreeSet<(usize, usize)>,
    /// Links that are right or at least not wrong; every sure link is one of them.
    pub possible: BTreeSet<(usize, usize)>,
}

/// Links, given as (source, target), as text: `0-0 1-2`, nothing for none.
pub fn write_links(links: &[(usize, usize)]) -> String {
    let links: Vec<String> = links.iter().map(|(src, tgt)| format!("{src}-{tgt}")).collect();
    links.join(" ")
}

/// Reads a line of links: `0-1` for a sure one, `0p1` or `0?1` for one that is only possible,
/// with white space between them. An empty line holds none. Order does not matter, and a link
/// given twice counts once.
///
/// # Errors
/// [`Error::Link`] with the first that is something else.
pub fn parse_links(line: &str) -> Result<Gold> {
    let mut gold = Gold::default();
    for (idx, text) in line.split_whitespace().enumerate() {
        let (link, sure) = parse_link(text)
            .ok_or_else(|| Error::Link { position: idx + 1, found: text.to_owned() })?;
        gold.possible.insert(link);
        if sure {
            gold.sure.insert(link);
        }
    }
    Ok(gold)
}

/// One link, and whether it is sure.
fn parse_link(text: &str) -> Option<((usize, usize), bool)> {
    let at = text.find(['-', 'p', '?'])?;
    let (src, tgt) = (number(&text[..at])?, number(&text[at + 1..])?);
    Some(((src, tgt), text.as_bytes()[at] == b'-'))
}

/// A number written in digits only: no sign, which `parse` would allow.
fn number(text: &str) -> Option<usize> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sure_and_possible_links_are_told_apart() {
        let gold = parse_links(" 0-1 2p3\t4?5 0-1 6p7 6-7").unwrap();
        assert_eq!(gold.sure, [(0, 1), (6, 7)].into());
        assert_eq!(gold.possible, [(0, 1), (2, 3), (4, 5), (6, 7)].into());
        assert_eq!(parse_links("").unwrap(), Gold::default());
    }

    #[test]
    fn what_is_no_link_is_named_with_its_place() {
        for link in [
            "1",
            "-",
            "1-",
            "-1",
            "1--1",
            "1-+1",
            "a-b",
            "1_2",
            "0-0-0",
            "99999999999999999999-0",
            "é-1",
        ] {
            let error = parse_links(&format!("0-0 {link} 1-1")).unwrap_err().to_string();
            assert!(error.starts_with(&format!("link 2 is `{link}`, expected two")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(links in prop::collection::btree_set((0usize..99, 0usize..99), 0..20)) {
            let list: Vec<_> = links.iter().copied().collect();
            let gold = parse_links(&write_links(&list)).unwrap();
            prop_assert_eq!(&gold.sure, &links);
            prop_assert_eq!(gold.possible, links);
        }
    }
}
