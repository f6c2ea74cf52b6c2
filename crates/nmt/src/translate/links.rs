//! `nmt translate --alignment`: the alignment of each line, as links or in a page.

use std::{io::Write, path::Path};

use anyhow::Context;
use translate::{Alignment, Translation};

use crate::{
    console::Hint,
    output::Output,
    render::html::{self, About, Frame, Model, Sentence},
};

/// What to do with a model that aligns nothing.
const NO_ATTENTION: &str = "only a model with attention can say what it looked at";

/// A file of alignments under construction.
pub(super) struct Alignments {
    out: Output,
    /// What a page has around its sentences, if it is one.
    page: Option<Frame>,
    /// Whether a sentence stands in the page.
    begun: bool,
}

impl Alignments {
    /// Opens a file: a page if it is called `.html`, otherwise lines of links. `name` is that of the
    /// model.
    pub(super) fn open(path: &Path, name: String) -> anyhow::Result<Self> {
        let html = ["html", "htm"];
        let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
        let is_page = extension.is_some_and(|extension| html.iter().any(|html| extension == *html));
        let models = vec![Model { name, ..Model::default() }];
        let page = is_page
            .then(|| html::frame(&About { title: "Alignment".into(), models, frames: Vec::new() }));
        Ok(Self { out: Output::open(Some(path))?, page, begun: false })
    }

    /// Writes what the best translation of a line looked at. A line without a translation leaves
    /// an empty line, and nothing in a page.
    pub(super) fn write(&mut self, line: usize, found: &[Translation]) -> anyhow::Result<()> {
        let aligned = |best| anyhow::Ok((best, alignment(best).hint(NO_ATTENTION)?));
        let best = found.first().map(aligned).transpose()?;
        let Some(Frame { head, between, .. }) = &self.page else {
            let links = best.map_or_else(String::new, |(_, alignment)| alignment.to_string());
            return Ok(writeln!(self.out, "{links}")?);
        };
        let Some((best, alignment)) = best else { return Ok(()) };
        let before = if std::mem::replace(&mut self.begun, true) { between } else { &**head };
        let sentence = Sentence {
            line,
            alignments: vec![vec![alignment]],
            score: html::score(best),
            notes: html::notes(alignment),
            ..Sentence::default()
        };
        Ok(write!(self.out, "{before}{}", html::sentence(&sentence))?)
    }

    /// Writes the end, and lets the file appear.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        if let Some(Frame { head, tail, .. }) = &self.page {
            let head = if self.begun { "" } else { head };
            write!(self.out, "{head}{tail}")?;
        }
        self.out.finish()
    }
}

fn alignment(found: &Translation) -> anyhow::Result<&Alignment> {
    found.alignment.as_ref().context("the model has no alignment")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written of these translations into a file of this name.
    fn written(name: &str, lines: &[&[Translation]]) -> anyhow::Result<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        let mut file = Alignments::open(&path, "a model".into())?;
        for (found, line) in lines.iter().zip(1..) {
            file.write(line, found)?;
        }
        file.finish()?;
        Ok(std::fs::read_to_string(path).unwrap())
    }

    fn translation() -> Translation {
        let words = |n: usize| vec![String::from("x"); n];
        let (src_words, tgt_words) = (words(3), words(2));
        let links = vec![(0, 1), (2, 0)];
        let alignment = Alignment { src_words, tgt_words, links, ..Alignment::default() };
        Translation { alignment: Some(alignment), ..Translation::default() }
    }

    #[test]
    fn a_line_without_a_translation_has_no_links_and_is_not_in_a_page() {
        let found = [translation()];
        let lines = [&found[..], &[], &found];
        assert_eq!(written("links", &lines).unwrap(), "0-1 2-0\n\n0-1 2-0\n");
        let page = written("a.HTML", &lines).unwrap();
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
        assert_eq!(page.matches("\"views\":[[\"").count(), 2);
        assert!(page.contains("{\"n\":1,") && page.contains("},\n{\"n\":3,"));
        let empty = written("a.html", &[]).unwrap();
        assert!(empty.contains("\"sentences\":[]}") && empty.ends_with("</html>\n"));
    }

    #[test]
    fn a_model_without_attention_is_an_error_where_there_is_a_translation() {
        let found = [Translation::default()];
        assert!(written("links", &[&found]).is_err() && written("a.html", &[&found]).is_err());
        assert_eq!(written("links", &[&[]]).unwrap(), "\n");
    }
}
