//! The page of a run that plays how its attention came to align, from what was recorded of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use model::Attended;
use text::output::write_whole;
use train::watch::{self, View, Watched};
use translate::Alignment;

use crate::{
    console::grouped,
    render::html::{self, About, Model, Sentence},
};

/// The page in the directory of a run.
pub(super) const PAGE: &str = "alignments.html";

/// Writes the page of the run `dir` anew; nothing if nothing was recorded.
pub(super) fn write(dir: &Path) -> anyhow::Result<()> {
    let watched = watch::read(dir)?;
    if watched.is_empty() {
        return Ok(());
    }
    let name = dir.display().to_string();
    Ok(write_whole(&dir.join(PAGE), draw(name, &watched).as_bytes())?)
}

/// The page of all that was recorded in a run.
fn draw(name: String, watched: &[Watched]) -> String {
    let steps: BTreeSet<u64> = watched.iter().map(|watched| watched.step).collect();
    let mut by_line: BTreeMap<u64, Vec<&Watched>> = BTreeMap::new();
    for watched in watched {
        by_line.entry(watched.line).or_default().push(watched);
    }
    // A sentence that was not watched all along has nothing to show where it was not.
    let frames = |of: &[&Watched]| -> Vec<Vec<Alignment>> {
        let at = |step: &u64| of.iter().find(|watched| watched.step == *step);
        steps
            .iter()
            .map(|step| at(step).map(|watched| views(watched)).unwrap_or_default())
            .collect()
    };
    let all: Vec<_> = by_line.iter().map(|(line, of)| (*line, frames(of))).collect();
    let sentences: Vec<_> = all
        .iter()
        .map(|(line, frames)| Sentence {
            line: *line as usize,
            alignments: frames
                .iter()
                .rev()
                .find(|views| !views.is_empty())
                .into_iter()
                .map(|views| views.iter().collect())
                .collect(),
            frames: frames.clone(),
            ..Sentence::default()
        })
        .collect();
    let last = &watched[watched.len() - 1];
    let (views, read) = keys(last);
    let frames = steps.iter().map(|step| format!("update {}", grouped(*step as usize))).collect();
    let models = vec![Model { name, views, read }];
    html::draw(&About { title: "Alignment during training".into(), models, frames }, &sentences)
}

/// The alignment of the model, and behind it every one that the page lets choose from.
fn views(watched: &Watched) -> Vec<Alignment> {
    let read = watched.views.iter().find(|view| view.read);
    let several: &[View] = if watched.views.len() > 1 { &watched.views } else { &[] };
    read.into_iter().chain(several).map(|view| view.alignment(watched)).collect()
}

/// What these views are called, and which one is read.
fn keys(watched: &Watched) -> (Vec<String>, Option<String>) {
    if watched.views.len() < 2 {
        return (Vec::new(), None);
    }
    let key = |view: &View| {
        html::key(match view {
            View { layer: None, .. } => Attended::Mean,
            View { layer, head, .. } => Attended::Layer { layer: *layer, head: *head },
        })
    };
    let read = watched.views.iter().find(|view| view.read).map(key);
    (watched.views.iter().map(key).collect(), read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(step: u64, line: u64, heads: usize) -> Watched {
        let view = |head: Option<usize>| View {
            layer: (heads > 1).then_some(0),
            head: head.filter(|_| heads > 1),
            read: head == Some(heads - 1),
            weights: vec![vec![step as f32 / 100.0]],
            eos: vec![0.0],
            links: vec![(0, 0)],
        };
        let views = (0..heads).map(Some).map(view).collect();
        Watched { step, line, src: vec!["a".into()], tgt: vec!["b".into()], views }
    }

    /// What the page holds as data.
    fn data(page: &str) -> serde_json::Value {
        let (_, rest) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
        serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
    }

    #[test]
    fn every_validation_is_a_frame_and_the_last_one_is_what_lists_show() {
        let watched: Vec<_> = [10, 20]
            .into_iter()
            .flat_map(|step| [3, 7].map(|line| watched(step, line, 2)))
            .collect();
        let data = data(&draw("run".into(), &watched));
        assert_eq!(data["about"]["frames"], serde_json::json!(["update 10", "update 20"]));
        assert_eq!(data["about"]["models"][0]["views"], serde_json::json!(["0.0", "0.1"]));
        assert_eq!(data["about"]["models"][0]["read"], "0.1");
        let first = &data["sentences"][0];
        assert_eq!((&first["n"], &data["sentences"][1]["n"]), (&3.into(), &7.into()));
        assert_eq!(first["frames"][0].as_array().unwrap().len(), 3);
        assert_eq!(first["frames"][1], first["views"][0]);
        assert_ne!(first["frames"][0], first["views"][0]);
    }

    #[test]
    fn a_sentence_that_was_watched_later_is_empty_before() {
        let data =
            data(&draw("run".into(), &[watched(10, 3, 1), watched(20, 3, 1), watched(20, 5, 1)]));
        assert_eq!(data["about"]["models"][0]["views"], serde_json::json!([]));
        let frames = &data["sentences"][1]["frames"];
        assert_eq!(frames[0], serde_json::json!([]));
        assert_eq!(frames[1].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_record_that_is_something_else_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(watch::FILE), "{}\n").unwrap();
        let error = write(dir.path()).unwrap_err().to_string();
        assert!(error.contains("alignments.jsonl, line 1: missing field"), "{error}");
        std::fs::write(dir.path().join(watch::FILE), "").unwrap();
        write(dir.path()).unwrap();
        assert!(!dir.path().join(PAGE).exists());
    }
}
