//! How good word links are, against links that people made.

use std::{io::Write, path::Path};

use translate::alignment::{LinkCounts, parse_links};

use crate::input::{ensure_equal, parse_lines};

/// Writes precision, recall, F1 and alignment error rate, in percent.
pub(super) fn write(out: &mut impl Write, gold: &Path, links: &Path) -> anyhow::Result<()> {
    let gold_links = parse_lines(gold, parse_links)?;
    let found_links = parse_lines(links, parse_links)?;
    ensure_equal((links, found_links.len()), (gold, gold_links.len()))?;
    let mut counts = LinkCounts::default();
    for (gold, found) in gold_links.iter().zip(&found_links) {
        // A link that a system calls merely possible is a link.
        let found: Vec<(usize, usize)> = found.possible.iter().copied().collect();
        counts += LinkCounts::new(&found, gold);
    }
    let quality = counts.quality();
    for (name, value) in [
        ("AER", quality.aer),
        ("precision", quality.precision),
        ("recall", quality.recall),
        ("F1", quality.f1),
    ] {
        writeln!(out, "{name:9} {:6.2}", 100.0 * value)?;
    }
    let (found, sure) = (counts.found, counts.sure);
    Ok(writeln!(out, "{} sentence pairs, {found} links, {sure} sure gold links", gold_links.len())?)
}
