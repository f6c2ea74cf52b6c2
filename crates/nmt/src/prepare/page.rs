//! What became of a corpus as one HTML page that works without a network: how much was dropped for
//! which reason, with samples, and what the rest is like.

use text::clean::{Reason, Sample};
use train::prepare::{Lengths, Prepared, Scores};

use super::report::dropped;
use crate::{
    console::grouped,
    render::markup::{escape, write_to},
};

const STYLE: &str = include_str!("page.css");

/// The field of a chart, in pixels, and the space for its labels.
const FIELD: (f64, f64) = (560.0, 150.0);
const LEFT: f64 = 44.0;
const BELOW: f64 = 36.0;

/// A picture of bars: for each place a value of one or two kinds.
struct Bars<'a> {
    title: &'a str,
    /// What stands below the bars.
    axis: &'a str,
    /// Names of the kinds.
    kinds: [&'a str; 2],
    /// Shares of each kind.
    shares: [Vec<f64>; 2],
    /// What each place is called.
    places: Vec<String>,
    /// Where a line is drawn, as a share of the width, and what it says.
    mark: Option<(f64, String)>,
}

/// Draws the page of a corpus, which is called `name`.
pub(super) fn draw(name: &str, prepared: &Prepared, corpora: &[String]) -> String {
    let report = &prepared.report;
    let mut page = String::new();
    let title = escape(&format!("Corpus {name}"));
    write_to(
        &mut page,
        format_args!(
            "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"/>\
             <meta name=\"viewport\" content=\"width=device-width\"/>\
             <title>{title}</title><style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n"
        ),
    );
    let share = percent(report.kept(), report.read());
    let (read, kept) = (number(report.read()), number(report.kept()));
    let gone = number(report.read() - report.kept());
    write_to(
        &mut page,
        format_args!(
            "<p class=\"tiles\"><span><b>{read}</b> pairs read</span><span><b>{kept}</b> kept, \
             {share}</span><span><b>{gone}</b> dropped</span></p>\n"
        ),
    );
    write_to(
        &mut page,
        format_args!("<p class=\"quiet\">From {}</p>\n", escape(&corpora.join(", "))),
    );
    if prepared.held_out > 0 {
        let n = number(prepared.held_out);
        write_to(
            &mut page,
            format_args!(
                "<p class=\"note\">{n} of the pairs that passed also stand in the development or \
                 test sets, on a side at least.</p>\n"
            ),
        );
    }
    page.push_str("<h2>What was dropped</h2>\n");
    if report.read() == report.kept() {
        page.push_str("<p>Nothing.</p>\n");
    }
    for reason in dropped(report) {
        let n = report.dropped(reason);
        reason_of(&mut page, reason, n, report.read(), &report.samples(reason), corpora);
    }
    page.push_str("<h2>What was kept</h2>\n");
    page.push_str(&lengths(prepared));
    if let Some(scores) = &prepared.scores {
        page.push_str(&alignment(scores));
    }
    let settings = prepared.experiment.to_toml();
    let settings = escape_lines(clean_table(&settings));
    write_to(
        &mut page,
        format_args!("<details><summary>Settings</summary><pre>{settings}</pre></details>\n"),
    );
    page.push_str("</body>\n</html>\n");
    page
}

/// A reason with the number of lines dropped for it; samples unfold.
fn reason_of(
    page: &mut String,
    reason: Reason,
    n: u64,
    read: u64,
    samples: &[&Sample],
    corpora: &[String],
) {
    let width = 100.0 * n as f64 / read.max(1) as f64;
    let (n, share) = (number(n), percent(n, read));
    write_to(
        page,
        format_args!(
            "<details class=\"reason\"><summary><span class=\"name\">{reason}</span>\
             <span class=\"n\">{n}</span><span class=\"share\">{share}</span>\
             <span class=\"bar\"><i style=\"width:{width:.2}%\"></i></span></summary>\n<table>\n"
        ),
    );
    for sample in samples {
        // With several corpora the name of the file stands on a line of its own.
        let place = match corpora {
            [_] => number(sample.line),
            _ => format!("{}<br/>{}", escape(&corpora[sample.corpus]), number(sample.line)),
        };
        write_to(page, format_args!("<tr><th>{place}</th>"));
        match &sample.texts {
            None => page.push_str("<td colspan=\"2\">no text</td>"),
            Some(texts) => {
                for text in texts {
                    let text = escape(text);
                    write_to(page, format_args!("<td><bdi dir=\"auto\">{text}</bdi></td>"));
                }
            }
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></details>\n");
}

/// How long the sentences are.
fn lengths(prepared: &Prepared) -> String {
    let sides = &prepared.lengths;
    let (src, tgt) = (&prepared.experiment.data.src, &prepared.experiment.data.tgt);
    let mut text = String::new();
    let pairs = prepared.report.kept().max(1) as f64;
    for (name, Lengths { words, characters, .. }) in [src, tgt].into_iter().zip(sides) {
        let name = escape(name);
        let (per_sentence, words_in_all) = (*words as f64 / pairs, number(*words));
        let per_word = *characters as f64 / (*words).max(1) as f64;
        write_to(
            &mut text,
            format_args!(
                "<p>{name}: {words_in_all} words, {per_sentence:.1} a sentence, {per_word:.1} \
                 characters each with spaces</p>\n"
            ),
        );
    }
    let used = sides.iter().filter_map(|side| side.fives.iter().rposition(|&n| n > 0)).max();
    let n = used.unwrap_or(0) + 1;
    let places = (0..n).map(|five| {
        if five + 1 == sides[0].fives.len() {
            format!("{}+", 5 * five + 1)
        } else {
            format!("{}–{}", 5 * five + 1, 5 * five + 5)
        }
    });
    text + &bars(&Bars {
        title: "Length of sentences",
        axis: "words",
        kinds: [src, tgt],
        shares: sides.each_ref().map(|side| shares(&side.fives[..n])),
        places: places.collect(),
        mark: None,
    })
}

/// How pairs score as translations.
fn alignment(scores: &Scores) -> String {
    let places = (0..20).map(|place| format!("{:.2}", f64::from(place) / 20.0));
    let mut text = bars(&Bars {
        title: "Share of words with a counterpart",
        axis: "score",
        kinds: ["pairs of the corpus", "pairs torn apart"],
        shares: [&scores.pairs, &scores.mismatched].map(|spread| shares(&spread.twentieths)),
        places: places.collect(),
        mark: Some((scores.least, format!("{} is the least", scores.least))),
    });
    write_to(
        &mut text,
        format_args!(
            "<p class=\"quiet\">Of the pairs torn apart, which are no translations, 95 % score below \
             {:.2}. The aligner learned from {} pairs. {} pairs have no word that it knows and were \
             kept.</p>\n",
            scores.mismatched.quantile(0.95),
            grouped(scores.sampled),
            number(scores.pairs.unknown)
        ),
    );
    text
}

/// Draws bars of two kinds beside each other.
fn bars(bars: &Bars<'_>) -> String {
    let (width, height) = FIELD;
    let most = bars.shares.iter().flatten().fold(0.0f64, |most, &share| most.max(share)).max(1e-9);
    let step = width / bars.places.len() as f64;
    let mut svg = String::new();
    write_to(
        &mut svg,
        format_args!(
            "<figure><figcaption>{}<span class=\"one\">■ {}</span><span class=\"two\">■ {}</span>\
             </figcaption>\n<svg viewBox=\"0 0 {} {}\" role=\"img\">\n",
            escape(bars.title),
            escape(bars.kinds[0]),
            escape(bars.kinds[1]),
            LEFT + width + 8.0,
            height + BELOW + 16.0,
        ),
    );
    for part in [0.0, 0.5, 1.0] {
        let y = 16.0 + height * (1.0 - part);
        write_to(
            &mut svg,
            format_args!(
                "<path class=\"line\" d=\"M{LEFT} {y:.1}h{width}\"/><text x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{:.0} %</text>\n",
                LEFT - 6.0,
                y + 4.0,
                100.0 * most * part
            ),
        );
    }
    let every = bars.places.len().div_ceil(10);
    for (idx, place) in bars.places.iter().enumerate() {
        let x = LEFT + step * idx as f64;
        for (kind, class) in ["one", "two"].into_iter().enumerate() {
            let share = bars.shares[kind][idx];
            let (bar, tall) = (0.42 * step, height * share / most);
            let left = x + step * (0.06 + 0.46 * kind as f64);
            write_to(
                &mut svg,
                format_args!(
                    "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{bar:.1}\" \
                     height=\"{tall:.1}\"><title>{}: {:.2} %</title></rect>\n",
                    16.0 + height - tall,
                    escape(place),
                    100.0 * share
                ),
            );
        }
        if idx % every == 0 {
            write_to(
                &mut svg,
                format_args!(
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
                    x + step / 2.0,
                    height + 32.0,
                    escape(place)
                ),
            );
        }
    }
    write_to(
        &mut svg,
        format_args!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
            LEFT + width,
            height + 48.0,
            escape(bars.axis)
        ),
    );
    if let Some((at, said)) = &bars.mark {
        let x = LEFT + width * at;
        write_to(
            &mut svg,
            format_args!(
                "<path class=\"mark\" d=\"M{x:.1} 8v{:.1}\"/><text class=\"mark\" x=\"{:.1}\" \
                 y=\"12\">{}</text>\n",
                height + 8.0,
                x + 5.0,
                escape(said)
            ),
        );
    }
    svg.push_str("</svg></figure>\n");
    svg
}

/// Each count as a share of their sum.
fn shares(counts: &[u64]) -> Vec<f64> {
    let all = counts.iter().sum::<u64>().max(1) as f64;
    counts.iter().map(|&n| n as f64 / all).collect()
}

fn number(n: u64) -> String {
    grouped(n as usize)
}

fn percent(n: u64, of: u64) -> String {
    format!("{:.2} %", 100.0 * n as f64 / of.max(1) as f64)
}

/// The tables of an experiment file that say what is dropped.
fn clean_table(toml: &str) -> &str {
    let start = toml.find("[data.clean]").unwrap_or(0);
    let rest = &toml[start..];
    let end = rest.match_indices("\n[").find(|(at, _)| !rest[at + 1..].starts_with("[data.clean"));
    rest[..end.map_or(rest.len(), |(at, _)| at)].trim_end()
}

/// Text of several lines.
fn escape_lines(text: &str) -> String {
    text.lines().map(escape).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_those_of_cleaning() {
        let toml = "[data]\nsrc = 1\n\n[data.clean]\nmin = 1\n\n[data.clean.normalize]\nnfc = true\n\n[model]\n";
        assert_eq!(
            clean_table(toml),
            "[data.clean]\nmin = 1\n\n[data.clean.normalize]\nnfc = true"
        );
        assert_eq!(clean_table("a = 1\n[b]\n"), "a = 1");
    }

    #[test]
    fn bars_are_as_tall_as_their_share() {
        let drawn = bars(&Bars {
            title: "A & B",
            axis: "x",
            kinds: ["a", "b"],
            shares: [shares(&[1, 3]), shares(&[0, 0])],
            places: vec!["one".into(), "two".into()],
            mark: Some((0.5, "half".into())),
        });
        let elements = crate::render::markup::tests::elements(&drawn).unwrap();
        assert_eq!(elements.iter().filter(|name| *name == "rect").count(), 4);
        assert!(drawn.contains("height=\"150.0\"><title>two: 75.00 %"), "{drawn}");
        assert!(drawn.contains("height=\"50.0\"><title>one: 25.00 %"), "{drawn}");
        assert!(drawn.contains("A &amp; B") && drawn.contains(">half<"));
    }
}
