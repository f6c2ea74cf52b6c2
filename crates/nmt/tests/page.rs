//! Pages and pictures of alignments: what is in them, and what a browser makes of a page. Where no
//! Chromium is on the path, tests of the browser say that they are skipped.

mod counting;
mod place;
mod untrained;

use std::{env, fs, path::PathBuf, time::Duration};

use assert_cmd::Command;
use counting::EXPERIMENT;
use model::{ModelConfig, TransformerConfig};
use place::Place;
use serde_json::Value;

const SRC: &str = "the dog sleeps under a tree\nit rains\na man reads the old book\n";
const TGT: &str = "der Hund schläft unter einem Baum\nes regnet\nein Mann liest das alte Buch\n";

/// A folder with `src`, `tgt`, and untrained Transformers `one` and `two`.
fn models() -> Place {
    let place = Place::empty();
    place.write("src", SRC);
    place.write("tgt", TGT);
    let size = |n: usize| n.try_into().expect("not zero");
    for (name, seed, layers) in [("one", 1, 3), ("two", 2, 2)] {
        let config = ModelConfig::Transformer(TransformerConfig {
            dim: size(16),
            heads: size(2),
            ffn_dim: size(8),
            encoder_layers: size(1),
            decoder_layers: size(layers),
            ..TransformerConfig::default()
        });
        untrained::write(&place.path(name), &config, &format!("{SRC}{TGT}"), seed);
    }
    place
}

/// The data inside a page.
fn data(page: &str) -> Value {
    let (_, rest) =
        page.split_once("<script type=\"application/json\" id=\"data\">").expect("data");
    serde_json::from_str(rest.split_once("</script>").expect("its end").0).expect("JSON")
}

/// The page that a run writes.
fn page(place: &Place, arguments: &str) -> Value {
    place.done(&format!("{arguments} --out page.html"));
    data(&fs::read_to_string(place.path("page.html")).expect("a page"))
}

#[test]
fn a_page_has_every_layer_and_head_and_the_one_that_is_read() {
    let place = models();
    let found = page(&place, "align one src tgt --heads all");
    let views = ["0", "0.0", "0.1", "1", "1.0", "1.1", "2", "2.0", "2.1", "all"];
    assert_eq!(found["about"]["models"][0]["views"], serde_json::json!(views));
    assert_eq!(found["about"]["models"][0]["read"], "1");
    let first = &found["sentences"][0]["views"][0];
    assert_eq!(first.as_array().map(Vec::len), Some(1 + views.len()));
    assert_eq!(first[0], first[4], "the alignment is the mean of the last layer but one");
    assert_ne!(first[1], first[2]);

    let chosen = page(&place, "align one src tgt --heads all --layer 2 --head 1");
    assert_eq!(chosen["about"]["models"][0]["read"], "2.1");
    assert_eq!(chosen["sentences"][0]["views"][0][0], first[9]);
    let plain = page(&place, "align one src tgt");
    assert_eq!(plain["sentences"][0]["views"], serde_json::json!([[first[0]]]));
    // Without a translation, those of the model are shown, of as many views.
    let own = page(&place, "align one src --heads all");
    for sentence in own["sentences"].as_array().expect("sentences") {
        let n = sentence["views"][0].as_array().map_or(0, Vec::len);
        assert_eq!(n, if sentence["tgt"] == serde_json::json!([]) { 1 } else { 11 });
    }
}

#[test]
fn two_models_and_gold_links_stand_beside_each_other() {
    let place = models();
    let (_, gold, _) = place.nmt("align one src tgt");
    place.write("gold", &gold);
    let found = page(&place, "align one src tgt --compare two --gold gold");
    let names =
        ["one", "two"].map(|name| serde_json::json!({"name": name, "views": [], "read": null}));
    assert_eq!(found["about"]["models"], serde_json::json!(names));
    let alone = page(&place, "align two src tgt");
    let mut differ = 0.0;
    for (both, other) in [0, 1, 2].map(|n| (&found["sentences"][n], &alone["sentences"][n])) {
        assert_eq!(both["views"][1], other["views"][0]);
        assert_eq!((&both["aer"], &both["gold"][1]), (&0.0.into(), &serde_json::json!([])));
        differ += both["differ"].as_f64().expect("a number");
    }
    assert!(differ > 0.0);
    let all = page(&place, "align one src tgt --compare two --heads all");
    let count = |model: usize| all["sentences"][0]["views"][model].as_array().map(Vec::len);
    assert_eq!((count(0), count(1)), (Some(1 + 10), Some(1 + 7)));
    let statistical = page(&place, "align --statistical src tgt --gold gold");
    assert!(statistical["sentences"][1]["aer"].is_number());
}

#[test]
fn what_is_for_pages_alone_is_refused_elsewhere() {
    let place = models();
    place.write("gold", "0-0\n");
    for (arguments, expected, complaint) in [
        ("align one src tgt --heads all", 2, "`--heads` is for pages: add `--format html`"),
        ("align one src tgt --compare two", 2, "`--compare` is for pages"),
        ("align one src tgt --gold gold", 2, "`--gold` is for `--calibrate` and for pages"),
        ("align one src tgt --format html --gold gold", 1, "gold has 1 lines, but src has 3"),
        ("align one src tgt --format html --compare three", 1, "cannot load a model from three"),
        ("align --statistical src tgt --heads all", 2, "cannot be used with"),
        ("align one src tgt --scale 3", 2, "`--scale` is for pictures: add `--format png`"),
        ("align one src tgt --line 1 --format png --scale 99", 2, "a number from 0.25 to 16"),
    ] {
        let (code, _, said) = place.nmt(arguments);
        assert!(code == expected && said.contains(complaint), "{arguments}: {said}");
    }
}

#[test]
fn translations_can_be_written_with_a_page_of_their_alignment() {
    let place = models();
    place.done("translate one src --alignment page.html --out text");
    let found = data(&fs::read_to_string(place.path("page.html")).expect("a page"));
    let own = page(&place, "align one src");
    assert_eq!(found["sentences"], own["sentences"]);
    assert_eq!(found["about"]["models"][0]["name"], "one");
}

/// Width and height of a PNG picture.
fn size(png: &[u8]) -> [u32; 2] {
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
    [16, 20].map(|at| u32::from_be_bytes(png[at..at + 4].try_into().expect("four bytes")))
}

#[test]
fn a_picture_in_png_is_as_large_as_asked_for() {
    let place = models();
    let (_, svg, _) = place.nmt("align one src tgt --line 1 --format svg");
    let of_svg = |name: &str| -> u32 {
        let (_, rest) = svg.split_once(&format!(" {name}=\"")).expect("a size");
        rest.split('"').next().and_then(|number| number.parse().ok()).expect("a number")
    };
    for scale in [1, 2, 3] {
        let (code, _, said) =
            place.nmt(&format!("align one src tgt --line 1 --out a.png --scale {scale}"));
        if said.contains("there is no font on this machine") {
            eprintln!("SKIPPED: pictures in PNG take fonts, and there is none");
            return;
        }
        assert_eq!(code, 0, "{said}");
        assert!(!said.contains("warning"), "{said}");
        let png = fs::read(place.path("a.png")).expect("a picture");
        assert_eq!(size(&png), ["width", "height"].map(|name| scale * of_svg(name)));
    }
    let (code, _, said) = place.nmt("align one src tgt --format png");
    assert!(code == 2 && said.contains("a picture shows one pair"), "{said}");
}

/// A browser without a window, if there is one.
fn chromium() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).flat_map(|dir| names.map(|name| dir.join(name)));
    let found = found.into_iter().find(|path| path.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: no Chromium is on the path, so no page was opened in one");
    }
    found
}

/// What a browser makes of a page at an address in it, after the script has run.
fn opened(browser: &PathBuf, place: &Place, page: &str, fragment: &str) -> String {
    let profile = format!("--user-data-dir={}", place.path("profile").display());
    let address = format!("file://{}{fragment}", place.path(page).display());
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
    command.args([&profile, "--window-size=1400,1000", "--dump-dom", &address]);
    let output = command.timeout(Duration::from_secs(120)).output().expect("a browser starts");
    String::from_utf8(output.stdout).expect("a page is UTF-8")
}

/// What the page says of itself on its first element.
fn told<'a>(page: &'a str, name: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!(" data-{name}=\"")).unwrap_or_else(|| {
        panic!("the page does not tell {name}: {}", page.chars().take(300).collect::<String>())
    });
    rest.split('"').next().unwrap_or("")
}

#[test]
fn a_browser_opens_each_sentence_and_view_by_its_address() {
    let Some(browser) = chromium() else { return };
    let place = models();
    let (_, gold, _) = place.nmt("align two src tgt");
    place.write("gold", &gold);
    place.done("align one src tgt --heads all --compare two --gold gold --out page.html");
    let open = |fragment: &str| opened(&browser, &place, "page.html", fragment);

    let first = open("");
    assert_eq!(["line", "shown", "views"].map(|name| told(&first, name)), ["1", "3", "read,read"]);
    assert!(told(&first, "ready").parse::<u32>().is_ok());
    // The rows of two matrices, and a thumbnail for each view of both.
    assert_eq!(first.matches("<th scope=\"row\" data-side=\"tgt\"").count(), 2 * 6);
    assert_eq!(first.matches("<canvas ").count(), 10 + 7);
    assert_eq!(first.matches("class=\"row\"").count(), 3);

    let second = open("#2&view=2.1&view2=0&q=RAINS&only=none");
    let second = ["line", "shown", "views"].map(|name| told(&second, name).to_owned());
    assert_eq!(second, ["2", "1", "2.1,0"]);
    let lost = open("#99&view=7.7&q=zebra");
    assert_eq!(["line", "shown", "views"].map(|name| told(&lost, name)), ["1", "0", "read,read"]);
    let sorted = open("#0&sort=length&reverse");
    assert_eq!(told(&sorted, "line"), "2", "the shortest sentence comes first");
}

#[test]
fn a_browser_plays_the_validations_of_a_run() {
    let place = Place::counting();
    let (data_and_languages, _) = EXPERIMENT.split_once("[model.rnn]").expect("a recurrent model");
    let transformer = "[model.transformer]\ndim = 16\nheads = 2\nffn_dim = 16\ndecoder_layers = 2\n\
                       [training]\nupdates = 6\nbatch_tokens = 200\nvalidate_every = 2\n";
    place.write("toy.toml", format!("{data_and_languages}{transformer}"));
    place.done("train toy.toml");
    let page = fs::read_to_string(place.path("runs/toy/alignments.html")).expect("a page");
    let frames = serde_json::json!(["update 2", "update 4", "update 6"]);
    assert_eq!(data(&page)["about"]["frames"], frames);
    let Some(browser) = chromium() else { return };
    let open = |fragment: &str| opened(&browser, &place, "runs/toy/alignments.html", fragment);
    let [last, first] = ["", "#0&frame=0&view=1.1"].map(open);
    assert_eq!(["frame", "shown", "views"].map(|name| told(&last, name)), ["2", "4", "read"]);
    assert!(last.contains("<output id=\"frame\" for=\"slider\">update 6</output>"));
    assert_eq!(["frame", "views"].map(|name| told(&first, name)), ["0", "1.1"]);
    assert_eq!(told(&open("#0&frame=7"), "frame"), "2", "there is no such frame");
    let cells = |page: &str| page.split_once("<tbody>").expect("a matrix").1.to_owned();
    assert_ne!(cells(&open("#0&frame=0")), cells(&last));
    // Other pages have nothing to play.
    place.done("align runs/toy/last valid.en valid.de --out page.html");
    assert!(opened(&browser, &place, "page.html", "").contains("aria-label=\"Frames\" hidden="));
}

#[test]
fn a_thousand_sentences_with_all_heads_are_small_and_open_at_once() {
    let Some(browser) = chromium() else { return };
    let place = models();
    place.write("many.src", SRC.repeat(334));
    place.write("many.tgt", TGT.repeat(334));
    place.done("align one many.src many.tgt --heads all --out page.html");
    let size = fs::metadata(place.path("page.html")).expect("a page").len();
    assert!(size < 5_000_000, "{size} bytes");
    let page = opened(&browser, &place, "page.html", "#700&only=suspicious");
    assert_eq!(told(&page, "line"), "700");
    let entries = page.matches("class=\"row\"").count();
    assert!((1..60).contains(&entries), "only entries that can be seen are drawn: {entries}");
    let ready: u32 = told(&page, "ready").parse().expect("milliseconds");
    assert!(ready < 2000, "{ready} ms");
}

#[test]
fn a_browser_shows_odd_words_as_words_and_each_line_in_its_direction() {
    let Some(browser) = chromium() else { return };
    let place = Place::empty();
    let odd = "<img/src=x/onerror=document.documentElement.dataset.broken=1> \
               </script><script>document.documentElement.dataset.broken=2</script> &amp;";
    place.write("src", format!("{odd}\nشرب الولد الشاي\n我 喜欢 茶\n\n"));
    place.write("tgt", "a b\nהילד שתה תה\n私 は お茶 が 好き です\n\n");
    place.done("align --statistical src tgt --out page.html");
    let page = opened(&browser, &place, "page.html", "#1");
    assert!(!page.contains("data-broken"), "a word was run");
    let shown = "class=\"word\" tabindex=\"0\" dir=\"auto\" role=\"button\" data-side=\"src\" \
                 data-idx=\"0\">&lt;img/src=x/onerror=";
    assert!(page.contains(shown), "{page}");
    assert!(page.contains(">&amp;amp;</span>"));
    let page = opened(&browser, &place, "page.html", "#2");
    assert_eq!(page.matches("<p dir=\"rtl\"").count(), 2);
    let page = opened(&browser, &place, "page.html", "#3");
    assert_eq!(page.matches("<p dir=\"ltr\"").count(), 2);
    assert!(page.contains(">お茶</span>"));
    let empty = opened(&browser, &place, "page.html", "#4");
    assert_eq!((told(&empty, "line"), told(&empty, "ready").is_empty()), ("4", false));
}
