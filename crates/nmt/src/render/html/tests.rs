//! Tests of the page: its data, and that nothing breaks out of it.

use serde_json::{Value, json};
use translate::alignment::parse_links;

use super::super::tests::split;
use super::*;

/// The JSON inside a page.
fn data(page: &str) -> Value {
    let (_, rest) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

fn alignment(src: &str, tgt: &str, weights: Vec<Vec<f32>>, links: &[(usize, usize)]) -> Alignment {
    let (src_words, tgt_words) = (split(src), split(tgt));
    let eos = vec![0.0; weights.len()];
    Alignment { src_words, tgt_words, weights, eos, links: links.to_vec() }
}

fn about(title: &str) -> About {
    About {
        title: title.into(),
        models: vec![Model { name: "one".into(), ..Model::default() }],
        frames: Vec::new(),
    }
}

#[test]
fn the_page_has_one_place_for_each_part_in_order() {
    let places: Vec<_> = PARTS.iter().map(|part| PAGE.find(part).unwrap()).collect();
    assert!(places.is_sorted());
    assert!(PARTS.iter().all(|part| PAGE.matches(part).count() == 1));
    // A part that ended its element would end the page's style or script early.
    assert!(!STYLE.contains("</") && SCRIPTS.iter().all(|script| !script.contains("</script")));
}

#[test]
fn words_weights_links_and_what_is_known_of_them_arrive_in_the_page() {
    let main = alignment("the dog", "der Hund", vec![vec![0.5, 0.5], vec![0.0, 1.0]], &[(0, 0)]);
    let other = alignment("the dog", "der Hund", vec![], &[(0, 0), (1, 1)]);
    let gold = parse_links("0-0 1p1").unwrap();
    let shown = Sentence {
        line: 7,
        alignments: vec![vec![&main, &other], vec![&other]],
        score: Some(-0.25),
        gold: Some(&gold),
        notes: vec![Note { kind: "loop".into(), src: vec![], tgt: vec![1] }],
        frames: Vec::new(),
    };
    let model = Model { name: "a/b".into(), views: vec!["0.1".into()], read: None };
    let about =
        About { title: "dogs".into(), models: vec![model.clone(), model], frames: Vec::new() };
    let found = data(&draw(&about, &[shown]));
    let expected = json!([{
        "n": 7, "src": ["the", "dog"], "tgt": ["der", "Hund"],
        "views": [["Ag!g.2^.", "AA!.2A!."], ["AA!.2A!."]],
        "score": -0.25, "entropy": 0.5,
        "gold": [[[0, 0]], [[1, 1]]], "aer": 0.0, "counts": [1, 1, 1, 1], "differ": 0.5,
        "notes": [{ "kind": "loop", "src": [], "tgt": [1] }],
    }]);
    assert_eq!(found["sentences"], expected);
    let models = json!([
        { "name": "a/b", "views": ["0.1"], "read": null },
        { "name": "a/b", "views": ["0.1"], "read": null },
    ]);
    assert_eq!(
        found["about"],
        json!({ "alphabet": pack::ALPHABET, "models": models, "frames": [] })
    );
}

#[test]
fn what_is_not_known_of_a_sentence_is_left_out() {
    let main = alignment("the", "der", vec![vec![1.0]], &[]);
    let empty = Alignment::default();
    let shown = [&main, &empty].map(|main| Sentence {
        line: 1,
        alignments: vec![vec![main]],
        ..Sentence::default()
    });
    let found = data(&draw(&about("x"), &shown));
    let keys = |n: usize| found["sentences"][n].as_object().unwrap().keys().cloned().collect();
    let (first, second): (Vec<String>, Vec<String>) = (keys(0), keys(1));
    assert_eq!(first, ["n", "src", "tgt", "views", "entropy"]);
    assert_eq!(second, ["n", "src", "tgt", "views"]);
}

#[test]
fn words_cannot_break_out_of_the_page() {
    let odd =
        "</script><script>alert(1)</script> <!-- {{title}} {{data}} {{script}} \" ' & \u{2028}";
    let main = alignment(odd, odd, vec![], &[]);
    let notes = vec![Note { kind: odd.into(), src: vec![], tgt: vec![] }];
    let shown = Sentence { alignments: vec![vec![&main]], notes, ..Sentence::default() };
    let mut about = about("</title><script>alert(1)</script>");
    about.models[0].name = odd.into();
    let page = draw(&about, &[shown]);
    assert_eq!(page.matches("<script").count(), PAGE.matches("<script").count());
    assert_eq!(page.matches("</script").count(), PAGE.matches("</script").count());
    assert_eq!(page.matches("<!--").count(), 0);
    let found = data(&page);
    assert_eq!(found["sentences"][0]["src"], json!(split(odd)));
    assert_eq!(found["about"]["models"][0]["name"], odd);
}

#[test]
fn the_page_asks_for_nothing_outside_itself_and_makes_no_text_into_elements() {
    let page = draw(&about("x"), &[]);
    assert_eq!(data(&page)["sentences"], json!([]));
    for outside in ["http:", "https:", "src=", "href=", "@import", "url(", "fetch("] {
        assert!(!page.contains(outside), "{outside}");
    }
    for risky in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", " eval("] {
        assert!(!page.contains(risky), "{risky}");
    }
    assert!(page.contains("content=\"default-src 'none';"));
}

#[test]
fn attentions_have_names() {
    let layer = |layer, head| key(Attended::Layer { layer: Some(layer), head });
    assert_eq!([layer(2, Some(1)), layer(2, None), key(Attended::Mean)], ["2.1", "2", "all"]);
}

/// What a thousand sentences of usual length take with every head of a model of four layers of
/// four heads, none of whose weights is zero.
#[test]
fn a_thousand_sentences_with_all_heads_fit_into_five_megabytes() {
    let (words, views) = (12, 1 + 4 * (4 + 1) + 1);
    let weights = vec![vec![1.0 / words as f32; words]; words];
    let links: Vec<_> = (0..words).map(|idx| (idx, idx)).collect();
    let text = vec!["seven77"; words].join(" ");
    let main = alignment(&text, &text, weights, &links);
    let shown = Sentence { alignments: vec![vec![&main; views]], ..Sentence::default() };
    let size = sentence(&shown).len();
    assert!(size * 1000 < 5_000_000, "{size} bytes each");
}
