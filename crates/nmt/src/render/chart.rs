//! Scores by the length of the source as a picture: a line for each system.
//!
//! The picture needs nothing outside itself and follows the reader's choice of light or dark.
//! Systems differ in the shape of their marks as well as in colour.

use unicode_width::UnicodeWidthStr;

use super::markup::{FONTS, escape, write_to};

/// What is drawn.
#[derive(Debug)]
pub(crate) struct Chart<'a> {
    /// What the picture shows.
    pub(crate) title: &'a str,
    /// The vertical axis: a score with its unit.
    pub(crate) score: &'a str,
    /// The horizontal axis: a size with its unit.
    pub(crate) size: &'a str,
    /// Small print.
    pub(crate) note: &'a str,
    /// The ranges of sizes, ascending.
    pub(crate) ranges: &'a [Range],
    /// The systems.
    pub(crate) systems: &'a [System],
}

/// Sentences of similar length.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Range {
    /// Their lengths: `11-20`.
    pub(crate) name: String,
    /// How many there are.
    pub(crate) sentences: usize,
}

/// What one system reaches.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct System {
    /// The name of the system.
    pub(crate) name: String,
    /// Its score in each range.
    pub(crate) scores: Vec<f64>,
}

/// A score of fewer sentences says little: its mark is hollow, and the line to it is broken.
const FEW: usize = 20;

/// The picture, in pixels.
const WIDTH: f64 = 720.0;
/// The field of the lines: its left edge, its width and its height.
const LEFT: f64 = 68.0;
const FIELD: (f64, f64) = (WIDTH - LEFT - MARGIN, 270.0);
const MARGIN: f64 = 20.0;
/// Distance between lines of text.
const LINE: f64 = 20.0;
/// Estimated width of a letter.
const LETTER: f64 = 7.6;
/// How much of a legend is a mark with its line.
const SAMPLE: f64 = 34.0;
/// Most steps of the vertical axis.
const STEPS: f64 = 6.0;

/// A score of 100 may be a little more in the last digits.
const ROUNDING: f64 = 1e-9;

/// A circle, a square, a triangle, a diamond, a triangle upside down and a plus, around zero.
const MARKS: [&str; 6] = [
    "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
    "M-4.2-4.2h8.4v8.4h-8.4z",
    "M0-5.6L5.4 4H-5.4z",
    "M0-6L6 0L0 6L-6 0z",
    "M0 5.6L5.4-4H-5.4z",
    "M-1.8-5.4h3.6v3.6h3.6v3.6h-3.6v3.6h-3.6v-3.6h-3.6v-3.6h3.6z",
];
/// Colours of systems, on a light and on a dark ground.
const COLORS: [(&str, &str); 6] = [
    ("#2f6fdf", "#6aa3ff"),
    ("#c2410c", "#ffb86b"),
    ("#15803d", "#6fdc8c"),
    ("#7c3aed", "#c4a7ff"),
    ("#0e7490", "#5fd3e6"),
    ("#be185d", "#ff8fc0"),
];

/// Draws a chart as a complete SVG document.
pub(crate) fn draw(chart: &Chart<'_>) -> String {
    let place = Place::new(chart);
    let mut out = String::new();
    let title = escape(chart.title);
    write_to(
        &mut out,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{0}\" \
             viewBox=\"0 0 {WIDTH} {0}\" role=\"img\" aria-labelledby=\"title\">\n\
             <title id=\"title\">{title}</title>\n<style>{1}</style>\n\
             <rect class=\"ground\" width=\"{WIDTH}\" height=\"{0}\"/>\n\
             <text class=\"title\" x=\"{MARGIN}\" y=\"{2}\">{title}</text>\n",
            place.height,
            style(),
            MARGIN + 10.0,
        ),
    );
    write_legend(&mut out, chart);
    write_scores(&mut out, chart, &place);
    write_ranges(&mut out, chart, &place);
    for idx in 0..chart.systems.len() {
        write_system(&mut out, chart, idx, &place);
    }
    out.push_str("</svg>\n");
    out
}

/// Plain properties, no variables: image viewers outside browsers know few of them.
fn style() -> String {
    let colors = |dark: bool| {
        let rules = COLORS.iter().enumerate().map(|(idx, (light, darker))| {
            let color = if dark { darker } else { light };
            format!(".l{idx},.m{idx}{{stroke:{color}}}.m{idx}{{fill:{color}}}")
        });
        rules.collect::<String>()
    };
    format!(
        "svg{{font-family:{FONTS};font-size:13px}}.title{{font-weight:600;font-size:15px}}\
         .ground{{fill:#fff}}text{{fill:#1f2430}}.small{{font-size:11px}}.pale{{fill:#5b6472}}\
         .grid{{stroke:#e3e6ec;fill:none}}.line{{fill:none;stroke-width:2}}.mark{{stroke-width:2}}\
         .broken{{stroke-dasharray:3 5}}\
         {}.few{{fill:#fff}}\
         @media(prefers-color-scheme:dark){{.ground{{fill:#14171e}}text{{fill:#e6e8ee}}\
         .pale{{fill:#9aa3b2}}.grid{{stroke:#2a2f3a}}{}.few{{fill:#14171e}}}}",
        colors(false),
        colors(true),
    )
}

/// Where the field lies, and what its edges mean.
struct Place {
    top: f64,
    height: f64,
    step: f64,
    highest: f64,
    band: f64,
}

impl Place {
    fn new(chart: &Chart<'_>) -> Self {
        let scores = chart.systems.iter().flat_map(|system| &system.scores);
        let most = scores.copied().filter(|score| score.is_finite()).fold(0.0, f64::max);
        let step = step(most);
        let top = MARGIN + LINE * (1.8 + rows(chart.systems).len() as f64);
        Self {
            top,
            height: top + FIELD.1 + 5.0 * LINE,
            step,
            highest: (most / step - ROUNDING).ceil().max(1.0) * step,
            band: FIELD.0 / chart.ranges.len().max(1) as f64,
        }
    }

    /// The middle of a range.
    fn x(&self, range: usize) -> f64 {
        rounded(LEFT + (range as f64 + 0.5) * self.band)
    }

    /// The height of a score.
    fn y(&self, score: f64) -> f64 {
        let share = if score.is_finite() { score / self.highest } else { 0.0 };
        rounded(self.top + FIELD.1 * (1.0 - share.clamp(0.0, 1.0)))
    }
}

/// A round step that needs few repetitions to reach `most`: 1, 2 or 5 times a power of ten.
fn step(most: f64) -> f64 {
    let mut power = 1.0;
    loop {
        for times in [1.0, 2.0, 5.0] {
            if most <= STEPS * times * power {
                return times * power;
            }
        }
        power *= 10.0;
    }
}

/// Tenths of a pixel are enough.
fn rounded(pixels: f64) -> f64 {
    (pixels * 10.0).round() / 10.0
}

/// The systems of each row of the legend, with their distance from its left end.
fn rows(systems: &[System]) -> Vec<Vec<(usize, f64)>> {
    let mut rows: Vec<Vec<(usize, f64)>> = Vec::new();
    let mut end = 0.0;
    for (idx, system) in systems.iter().enumerate() {
        let width = SAMPLE + system.name.width() as f64 * LETTER + MARGIN;
        match rows.last_mut() {
            Some(row) if end + width <= WIDTH - 2.0 * MARGIN => row.push((idx, end)),
            _ => {
                end = 0.0;
                rows.push(vec![(idx, end)]);
            }
        }
        end += width;
    }
    rows
}

fn write_legend(out: &mut String, chart: &Chart<'_>) {
    for (row, entries) in rows(chart.systems).iter().enumerate() {
        let y = MARGIN + LINE * (1.5 + row as f64);
        for (idx, distance) in entries {
            let (x, look) = (rounded(MARGIN + distance), idx % MARKS.len());
            write_to(
                out,
                format_args!(
                    "<path class=\"line l{look}\" d=\"M{x} {y}h{0}\"/>\
                     <path class=\"mark m{look}\" transform=\"translate({1} {y})\" d=\"{2}\"/>\
                     <text x=\"{3}\" y=\"{4}\">{5}</text>\n",
                    SAMPLE - 8.0,
                    x + (SAMPLE - 8.0) / 2.0,
                    MARKS[look],
                    x + SAMPLE,
                    y + 4.5,
                    escape(&chart.systems[*idx].name),
                ),
            );
        }
    }
}

/// Writes the vertical axis, with a line across the field for each of its steps.
fn write_scores(out: &mut String, chart: &Chart<'_>, place: &Place) {
    let mut score = 0.0;
    while score <= place.highest {
        let y = place.y(score);
        write_to(
            out,
            format_args!(
                "<path class=\"grid\" d=\"M{LEFT} {y}h{}\"/>\
                 <text class=\"pale\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{score}</text>\n",
                FIELD.0,
                LEFT - 8.0,
                y + 4.5
            ),
        );
        score += place.step;
    }
    let (x, y) = (MARGIN + 4.0, place.top + FIELD.1 / 2.0);
    let name = escape(chart.score);
    write_to(
        out,
        format_args!(
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\" transform=\"rotate(-90 {x} {y})\">\
             {name}</text>\n"
        ),
    );
}

/// Writes the horizontal axis: each range, and how many sentences it has.
fn write_ranges(out: &mut String, chart: &Chart<'_>, place: &Place) {
    let bottom = place.top + FIELD.1;
    for (idx, Range { name, sentences }) in chart.ranges.iter().enumerate() {
        let (x, name) = (place.x(idx), escape(name));
        write_to(
            out,
            format_args!(
                "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{name}</text>\
                 <text class=\"small pale\" x=\"{x}\" y=\"{}\" text-anchor=\"middle\">\
                 n = {sentences}</text>\n",
                bottom + LINE,
                bottom + 1.8 * LINE
            ),
        );
    }
    let few = chart.ranges.iter().any(|range| range.sentences < FEW);
    let hollow = if few { format!("; hollow marks: fewer than {FEW}") } else { String::new() };
    let middle = LEFT + FIELD.0 / 2.0;
    write_to(
        out,
        format_args!(
            "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{} \
             (n: sentences{hollow})</text>\n\
             <text class=\"small pale\" x=\"{MARGIN}\" y=\"{}\">{}</text>\n",
            bottom + 3.0 * LINE,
            escape(chart.size),
            place.height - 12.0,
            escape(chart.note)
        ),
    );
}

/// Writes the lines and the marks of a system, each mark with its numbers for who points at it.
fn write_system(out: &mut String, chart: &Chart<'_>, system: usize, place: &Place) {
    let (System { name, scores }, look) = (&chart.systems[system], system % MARKS.len());
    let few = |idx: usize| chart.ranges.get(idx).is_some_and(|range| range.sentences < FEW);
    for (idx, ends) in scores.windows(2).enumerate() {
        let broken = if few(idx) || few(idx + 1) { " broken" } else { "" };
        write_to(
            out,
            format_args!(
                "<path class=\"line l{look}{broken}\" d=\"M{} {}L{} {}\"/>\n",
                place.x(idx),
                place.y(ends[0]),
                place.x(idx + 1),
                place.y(ends[1])
            ),
        );
    }
    for (idx, (score, range)) in scores.iter().zip(chart.ranges).enumerate() {
        let few = if few(idx) { " few" } else { "" };
        write_to(
            out,
            format_args!(
                "<path class=\"mark m{look}{few}\" transform=\"translate({} {})\" d=\"{}\">\
                 <title>{}, {}: {score:.2}</title></path>\n",
                place.x(idx),
                place.y(*score),
                MARKS[look],
                escape(name),
                escape(&range.name)
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::markup::tests::elements;
    use super::*;

    fn range(name: &str, sentences: usize) -> Range {
        Range { name: name.into(), sentences }
    }

    fn system(name: &str, scores: &[f64]) -> System {
        System { name: name.into(), scores: scores.into() }
    }

    fn chart<'a>(ranges: &'a [Range], systems: &'a [System]) -> Chart<'a> {
        Chart { title: "BLEU", score: "BLEU", size: "words", note: "", ranges, systems }
    }

    #[test]
    fn each_system_has_a_line_a_name_and_a_mark_for_each_range() {
        let ranges = [range("0-10", 412), range("11-20", 551), range("21-30", 19)];
        let systems = [system("global", &[38.0, 34.5, 18.0]), system("none", &[21.0, 17.0, 7.0])];
        let text = draw(&chart(&ranges, &systems));
        assert!(elements(&text).is_ok());
        for look in 0..2 {
            let class = |kind: &str| text.matches(&format!("class=\"{kind}{look}\"")).count();
            assert_eq!(class("line l"), 2); // between the first two ranges, and the legend
            assert_eq!(text.matches(&format!("class=\"line l{look} broken\"")).count(), 1);
            assert_eq!(class("mark m"), 3); // two of the three ranges, and the legend
            assert_eq!(text.matches(&format!("class=\"mark m{look} few\"")).count(), 1);
        }
        for shown in [">global<", ">none<", ">0-10<", ">n = 412<", ">n = 19<", "none, 21-30: 7.00"]
        {
            assert!(text.contains(shown), "{shown}");
        }
        assert!(text.contains("words (n: sentences; hollow marks: fewer than 20)"));
        let full = draw(&chart(&ranges[..2], &systems));
        assert!(full.contains("words (n: sentences)") && !full.contains("mark m0 few"));
    }

    #[test]
    fn a_higher_score_stands_higher_and_all_stand_in_the_field() {
        let ranges = [range("a", 50), range("b", 50)];
        let systems = [system("x", &[0.0, 104.0])];
        let place = Place::new(&chart(&ranges, &systems));
        assert_eq!((place.step, place.highest), (20.0, 120.0));
        assert_eq!((place.y(0.0), place.y(120.0)), (place.top + FIELD.1, place.top));
        assert!(place.y(104.0) < place.y(50.0) && place.x(0) < place.x(1));
        assert_eq!(place.y(f64::NAN), place.y(0.0));
        let systems = [system("x", &[100.0 + 1e-13])];
        assert_eq!(Place::new(&chart(&ranges, &systems)).highest, 100.0);
    }

    #[test]
    fn steps_are_round_and_few() {
        for (most, expected) in
            [(0.0, 1.0), (6.0, 1.0), (38.7, 10.0), (100.0, 20.0), (310.0, 100.0)]
        {
            assert_eq!(step(most), expected, "{most}");
        }
    }

    #[test]
    fn names_that_do_not_fit_beside_each_other_stand_below() {
        let long = "runs/multi30k-local-p-general/averaged";
        let systems = ["a", "b", long, long, "c"].map(|name| system(name, &[]));
        let rows = rows(&systems);
        let order: Vec<Vec<usize>> =
            rows.iter().map(|row| row.iter().map(|(idx, _)| *idx).collect()).collect();
        assert_eq!(order, [vec![0, 1, 2], vec![3, 4]]);
        assert!(rows.iter().all(|row| row[0].1 == 0.0));
    }

    proptest! {
        #[test]
        fn any_names_make_a_well_formed_document(
            names in prop::collection::vec(".{0,9}", 0..9),
            note in ".{0,9}",
            counts in prop::collection::vec(0usize..40, 0..8),
        ) {
            let ranges: Vec<Range> = counts.iter().map(|n| range("<&", *n)).collect();
            let scores = vec![5.0; ranges.len()];
            let systems: Vec<System> = names.iter().map(|name| system(name, &scores)).collect();
            let chart = Chart { note: &note, ..chart(&ranges, &systems) };
            prop_assert!(elements(&draw(&chart)).is_ok());
        }
    }
}
