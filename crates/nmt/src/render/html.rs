//! Alignments as one HTML page that works without a network.
//!
//! The sentences stand in the page as JSON, their weights packed; `page/` holds the style and the
//! script that draws them, one at a time, however many there are.

mod pack;

use model::Attended;
use serde::Serialize;
use translate::{
    Alignment, Translation,
    alignment::{
        Gold, LinkCounts,
        signals::{Flag, Thresholds, entropy, flags},
    },
};

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPTS: [&str; 3] = [
    include_str!("page/page.js"),
    include_str!("page/player.js"),
    include_str!("page/sentence.js"),
];
/// Where in [`PAGE`] its parts belong, in this order.
const PARTS: [&str; 5] = ["{{title}}", "{{style}}", "{{about}}", "{{data}}", "{{script}}"];

/// What a page says of all its sentences.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    /// What the page shows.
    pub(crate) title: String,
    /// The models whose alignments it shows, beside each other: one or two.
    pub(crate) models: Vec<Model>,
    /// What each frame is called, on a page that plays how an alignment came to be.
    pub(crate) frames: Vec<String>,
}

/// A model, and what of its attention the page shows.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Model {
    /// What it is called.
    pub(crate) name: String,
    /// The attentions that one can choose from, beside its alignment: see [`key`].
    pub(crate) views: Vec<String>,
    /// The one of them that its alignment is read from.
    pub(crate) read: Option<String>,
}

/// The name of an attention in a page: `2.1` for a head of a layer, `2` for the mean of the layer,
/// `all` for the mean of all.
pub(crate) fn key(attended: Attended) -> String {
    match attended {
        Attended::Layer { layer, head: Some(head) } => format!("{}.{head}", layer.unwrap_or(0)),
        Attended::Layer { layer, head: None } => layer.unwrap_or(0).to_string(),
        Attended::Mean | Attended::Each => "all".into(),
    }
}

/// A sentence of a page.
#[derive(Debug, Default)]
pub(crate) struct Sentence<'a> {
    /// The line, counted from one.
    pub(crate) line: usize,
    /// For each model of the page, its alignment, and behind it its [`views`](Model::views). Words
    /// are those of the first; a model that counts other words has none.
    pub(crate) alignments: Vec<Vec<&'a Alignment>>,
    /// Mean log-probability of a token, in nats.
    pub(crate) score: Option<f64>,
    /// Links that people made.
    pub(crate) gold: Option<&'a Gold>,
    /// What is remarkable.
    pub(crate) notes: Vec<Note>,
    /// What the first model attended to earlier, as in `alignments`: in each frame of the page.
    pub(crate) frames: Vec<Vec<Alignment>>,
}

/// A remark on words of a sentence.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Note {
    /// What kind of remark: `omission`, `loop`, `copied`. One can choose sentences by it.
    pub(crate) kind: String,
    /// The source words it is about, counted from zero.
    pub(crate) src: Vec<usize>,
    /// The target words it is about.
    pub(crate) tgt: Vec<usize>,
}

/// What looks wrong about a translation, given its alignment.
pub(crate) fn notes(alignment: &Alignment) -> Vec<Note> {
    let flags = flags(alignment, &Thresholds::default()).into_iter();
    flags.map(|Flag { kind, src, tgt }| Note { kind: kind.name().into(), src, tgt }).collect()
}

/// [`Sentence`] as the script reads it.
#[derive(Serialize)]
struct Row<'a> {
    n: usize,
    src: &'a [String],
    tgt: &'a [String],
    /// Packed alignments.
    views: Vec<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entropy: Option<f64>,
    /// Sure links, and those that are only possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    gold: Option<[Vec<(usize, usize)>; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aer: Option<f64>,
    /// What [`LinkCounts`] has.
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<[usize; 4]>,
    /// Share of the links of both models that only one has.
    #[serde(skip_serializing_if = "Option::is_none")]
    differ: Option<f64>,
    #[serde(skip_serializing_if = "<[Note]>::is_empty")]
    notes: &'a [Note],
    /// Packed alignments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    frames: Vec<Vec<String>>,
}

/// Draws one page with all `sentences`.
pub(crate) fn draw(about: &About, sentences: &[Sentence<'_>]) -> String {
    let sentences: Vec<String> = sentences.iter().map(sentence).collect();
    let Frame { head, between, tail } = frame(about);
    [head, sentences.join(between), tail].concat()
}

/// What a page has around its sentences, for who writes it piece by piece.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    /// Before the first.
    pub(crate) head: String,
    /// Between two.
    pub(crate) between: &'static str,
    /// After the last.
    pub(crate) tail: String,
}

/// The frame of a page.
pub(crate) fn frame(about: &About) -> Frame {
    let [top, before_style, before_about, before_data, before_script, bottom] = pieces();
    let title = escape(&about.title);
    let About { models, frames, .. } = about;
    let told =
        serde_json::json!({ "alphabet": pack::ALPHABET, "models": models, "frames": frames });
    let told = json(&told);
    Frame {
        head: [top, &title, before_style, STYLE, before_about, &told, before_data].concat(),
        between: ",\n",
        tail: [before_script, &SCRIPTS.concat(), bottom].concat(),
    }
}

/// What the page has around its parts.
fn pieces() -> [&'static str; 6] {
    let mut rest = PAGE;
    let mut pieces = [""; 6];
    for (piece, part) in pieces.iter_mut().zip(PARTS) {
        let (before, after) = rest.split_once(part).unwrap_or((rest, ""));
        (*piece, rest) = (before, after);
    }
    pieces[5] = rest;
    pieces
}

/// A sentence of the page.
pub(crate) fn sentence(sentence: &Sentence<'_>) -> String {
    let none = Alignment::default();
    let main = |model: usize| sentence.alignments.get(model).and_then(|views| views.first());
    let alignment = main(0).copied().unwrap_or(&none);
    let counts = sentence.gold.map(|gold| LinkCounts::new(&alignment.links, gold));
    let pack = |views: &Vec<&Alignment>| views.iter().map(|view| pack::pack(view)).collect();
    json(&Row {
        n: sentence.line,
        src: &alignment.src_words,
        tgt: &alignment.tgt_words,
        views: sentence.alignments.iter().map(pack).collect(),
        score: sentence.score.map(rounded),
        entropy: entropy(alignment).map(rounded),
        gold: sentence.gold.map(|gold| {
            let possible = gold.possible.difference(&gold.sure);
            [gold.sure.iter().copied().collect(), possible.copied().collect()]
        }),
        aer: counts.map(|counts| rounded(counts.quality().aer)),
        counts: counts.map(|c| [c.found, c.sure, c.found_sure, c.found_possible]),
        differ: main(1).map(|other| rounded(difference(&alignment.links, &other.links))),
        notes: &sentence.notes,
        frames: sentence
            .frames
            .iter()
            .map(|views| views.iter().map(pack::pack).collect())
            .collect(),
    })
}

/// Mean log-probability of a token; none without tokens.
pub(crate) fn score(tgt: &Translation) -> Option<f64> {
    let n = tgt.tokens.len();
    (n > 0).then(|| tgt.log_prob / n as f64)
}

/// Share of the links of either that not both have; zero if there are none.
fn difference(one: &[(usize, usize)], other: &[(usize, usize)]) -> f64 {
    let shared = one.iter().filter(|link| other.contains(link)).count();
    let all = one.len() + other.len() - shared;
    if all == 0 { 0.0 } else { 1.0 - shared as f64 / all as f64 }
}

/// Enough digits to sort by.
fn rounded(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}

/// JSON that may stand in an HTML element.
fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).expect("the rows of a page have string keys");
    text.replace('<', "\\u003c")
}

/// Text that may stand in an HTML element.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests;
