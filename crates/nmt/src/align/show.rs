//! How an aligned pair is written, format by format.

use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use translate::Alignment;

use super::Page;
use crate::{
    console::{Console, Hint},
    render::{Matrix, html, png, svg, terminal},
};

/// How many times as large as in SVG a picture in PNG usually is: sharp on most screens.
pub(super) const SCALE: f32 = 2.0;

/// How alignments are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// A map of characters, in colour where the terminal has any
    Terminal,
    /// A line of `source-target` links for each pair, counted from 0
    Pharaoh,
    /// The weights as a table for each pair, with an empty line behind it
    Tsv,
    /// A line of JSON for each pair, with weights, links, scores and tokens
    Jsonl,
    /// A picture of one pair
    Svg,
    /// The same in pixels, for documents that take no SVG
    Png,
    /// A page to look at in a browser, with all pairs
    Html,
}

impl Format {
    /// The format that a file is called by.
    pub(super) fn of(path: &Path) -> Option<Self> {
        Some(match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "tsv" => Self::Tsv,
            "jsonl" => Self::Jsonl,
            "svg" => Self::Svg,
            "png" => Self::Png,
            "html" | "htm" => Self::Html,
            _ => return None,
        })
    }
}

/// What showing a pair takes.
pub(super) struct Show<'a> {
    /// How.
    pub(super) format: Format,
    /// Pixels of a picture in PNG for each of the same in SVG.
    pub(super) scale: f32,
    /// What a page has beside the alignment.
    pub(super) page: &'a Page,
    /// Where warnings go.
    pub(super) console: &'a Console,
}

impl Show<'_> {
    /// The pair of a line, which is counted from one; `record` is what JSON has of it.
    pub(super) fn show(
        &self,
        line: usize,
        alignment: &Alignment,
        record: &impl Serialize,
    ) -> anyhow::Result<Vec<u8>> {
        let title = format!("Line {line}");
        let matrix = alignment.into();
        let text = match self.format {
            Format::Terminal => terminal::draw(&title, &matrix, &self.console.style()),
            Format::Pharaoh => format!("{alignment}\n"),
            Format::Tsv => alignment.to_tsv() + "\n",
            Format::Jsonl => serde_json::to_string(record)? + "\n",
            Format::Svg => svg::draw(&title, &matrix, svg::Medium::Screen),
            Format::Png => return self.paint(&title, &matrix),
            Format::Html => {
                let (alignments, gold) = (vec![vec![alignment]], self.page.gold_of(line)?);
                let notes = html::notes(alignment);
                html::sentence(&html::Sentence {
                    line,
                    alignments,
                    gold,
                    notes,
                    ..Default::default()
                })
            }
        };
        Ok(text.into_bytes())
    }

    /// A pair as a picture in pixels; says which letters no font has.
    fn paint(&self, title: &str, matrix: &Matrix<'_>) -> anyhow::Result<Vec<u8>> {
        let picture = svg::draw(title, matrix, svg::Medium::Paint);
        let painted = png::paint(&picture, self.scale).context("cannot paint a picture");
        let painted = painted.hint("`--format svg` needs no fonts here, and has any size")?;
        if !painted.missing.is_empty() {
            let letters = png::in_words(&painted.missing);
            self.console.warn(format!("no installed font has {letters}"));
        }
        Ok(painted.png)
    }
}

/// Reads how many times larger a picture shall be.
pub(super) fn scale(text: &str) -> Result<f32, String> {
    let scale = text.parse().ok().filter(|scale| (0.25..=16.0).contains(scale));
    scale.ok_or_else(|| "expected a number from 0.25 to 16".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_in_the_format_that_it_is_called_by() {
        for (name, format) in [
            ("a.html", Some(Format::Html)),
            ("a.b.SVG", Some(Format::Svg)),
            ("a.png", Some(Format::Png)),
            ("a.align", None),
            ("html", None),
        ] {
            assert_eq!(Format::of(Path::new(name)), format, "{name}");
        }
    }

    #[test]
    fn a_picture_is_neither_tiny_nor_huge() {
        assert_eq!(scale("2"), Ok(2.0));
        for wrong in ["0", "17", "-1", "nan", "x"] {
            assert!(scale(wrong).is_err(), "{wrong}");
        }
    }
}
