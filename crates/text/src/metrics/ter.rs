//! TER: the edits that would turn a hypothesis into the reference, per reference word.
//!
//! Snover, Dorr, Schwartz, Micciulla and Makhoul (2006), “A Study of Translation Edit Rate with
//! Targeted Human Annotation”. Insertions, deletions, substitutions and shifts of blocks cost one
//! each. Finding the fewest is intractable; which shifts are tried, and in what order, is part of
//! the metric's definition in practice, and follows the program Tercom as sacreBLEU does.

mod edits;

use std::collections::HashMap;

use super::tokenize::{apart, apart_points, is_space, is_western_punctuation, unescape, words};
use super::{Definition, case, yes_no};

/// Settings of TER. The defaults are sacreBLEU's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TerConfig {
    /// Set punctuation apart, as Tercom's normalisation does.
    pub normalized: bool,
    /// Remove common punctuation marks.
    pub no_punct: bool,
    /// With `normalized`, set Chinese characters apart; with `no_punct`, remove punctuation marks
    /// of East Asia too.
    pub asian_support: bool,
    /// Compare without putting all into lower case.
    pub case_sensitive: bool,
}

impl TerConfig {
    /// The line with white space between its words.
    fn prepare(&self, line: &str) -> String {
        let line = line.trim_end_matches(is_space);
        let mut line = if self.case_sensitive { line.to_owned() } else { line.to_lowercase() };
        if self.normalized && !line.is_empty() {
            line = normalize(&line);
            if self.asian_support {
                // Hiragana and katakana stay together: Tercom's rule for them applies only to a
                // line of nothing else, and the spaces just added make sure there is none.
                line = apart(&line, |c| is_ideograph(c) || is_asian_punctuation(c));
            }
        }
        if self.no_punct {
            let asian = self.asian_support;
            line.retain(|c| !(is_removed_punctuation(c) || asian && is_asian_punctuation(c)));
        }
        line
    }

    /// References go through the same twice, as in sacreBLEU. With `normalized` this can matter:
    /// the first time sets the full stop of `it's.` apart, and only the second time the `'s`.
    fn prepare_reference(&self, line: &str) -> String {
        let line = self.prepare(line);
        if self.normalized { self.prepare(&line) } else { line }
    }
}

fn normalize(line: &str) -> String {
    let line = line.replace("\n-", "").replace('\n', " ");
    let line = apart(&format!(" {} ", unescape(&line)), is_western_punctuation);
    apart_points(&line.replace("'s ", " 's "))
}

fn is_removed_punctuation(c: char) -> bool {
    matches!(c, '.' | ',' | '?' | ':' | ';' | '!' | '"' | '(' | ')')
}

/// CJK ideographs, radicals, strokes and compatibility forms. The range from 3200 reaches beyond
/// the enclosed characters it is named for, in Tercom's successors and here.
fn is_ideograph(c: char) -> bool {
    matches!(c,
        '\u{2e80}'..='\u{2eff}'
        | '\u{31c0}'..='\u{31ef}'
        | '\u{3200}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe4f}')
}

fn is_asian_punctuation(c: char) -> bool {
    matches!(c,
        '\u{3001}' | '\u{3002}'
        | '\u{3008}'..='\u{3011}'
        | '\u{3014}'..='\u{301f}'
        | '\u{30fb}'
        | '\u{ff61}'..='\u{ff65}'
        | '．' | '，' | '？' | '：' | '；' | '！' | '＂' | '（' | '）')
}

impl Definition for TerConfig {
    fn name(&self) -> String {
        "TER".to_owned()
    }

    fn settings(&self) -> String {
        format!(
            "case:{}|tok:tercom|norm:{}|punct:{}|asian:{}",
            case(!self.case_sensitive),
            yes_no(self.normalized),
            yes_no(!self.no_punct),
            yes_no(self.asian_support)
        )
    }

    /// The edits to the reference that needs fewest, and the mean length of the references.
    fn counts(&self, hyp: &str, refs: &[&str]) -> Vec<f64> {
        let lines: Vec<String> = refs.iter().map(|line| self.prepare_reference(line)).collect();
        let line = self.prepare(hyp);
        let mut ids = HashMap::new();
        let mut words = |line| number(line, &mut ids);
        let hyp = words(&line);
        let refs: Vec<Vec<u32>> = lines.iter().map(|line| words(line)).collect();

        let fewest = refs.iter().map(|words| edits::count(&hyp, words)).min().unwrap_or(0);
        let length = refs.iter().map(Vec::len).sum::<usize>() as f64 / refs.len() as f64;
        vec![fewest as f64, length]
    }

    /// An empty text that should be empty has no error; anything else instead of it is all wrong.
    fn value(&self, totals: &[f64]) -> f64 {
        let (edits, ref_len) = (totals[0], totals[1]);
        let rate = if ref_len > 0.0 {
            edits / ref_len
        } else if edits > 0.0 {
            1.0
        } else {
            0.0
        };
        100.0 * rate
    }
}

/// A number for each word, equal for equal words.
fn number<'a>(line: &'a str, ids: &mut HashMap<&'a str, u32>) -> Vec<u32> {
    let mut id = |word| {
        let next = ids.len() as u32;
        *ids.entry(word).or_insert(next)
    };
    words(line).map(&mut id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metric;

    fn line(hyp: &str, refs: &[&str]) -> String {
        Metric::Ter(TerConfig::default()).sentence(hyp, refs).unwrap().line
    }

    #[test]
    fn each_kind_of_edit_costs_one() {
        assert_eq!(line("a b c d e", &["a b c d e"]), "TER = 0.00");
        assert_eq!(line("a b c d", &["a b c d e"]), "TER = 20.00"); // insertion
        assert_eq!(line("a b c d e f", &["a b c d e"]), "TER = 20.00"); // deletion
        assert_eq!(line("a b x d e", &["a b c d e"]), "TER = 20.00"); // substitution
        assert_eq!(line("d e a b c", &["a b c d e"]), "TER = 20.00"); // shift
    }

    #[test]
    fn the_closest_reference_gives_the_edits_and_all_give_the_length() {
        assert_eq!(line("a b", &["a b c d", "a c"]), "TER = 33.33"); // 1 edit, mean length 3
    }

    #[test]
    fn empty_lines_are_decided() {
        assert_eq!(line("", &[""]), "TER = 0.00");
        assert_eq!(line("a b c", &[""]), "TER = 100.00");
        assert_eq!(line("", &["a b c"]), "TER = 100.00");
    }

    #[test]
    fn normalisation_sets_punctuation_and_possessives_apart() {
        let config = TerConfig { normalized: true, ..TerConfig::default() };
        let text = config.prepare("Ann's cat, 3.5 kg (U.S.) &quot;x&quot;");
        let words: Vec<&str> = words(&text).collect();
        assert_eq!(words.join(" "), "ann 's cat , 3.5 kg ( u . s . ) \" x \"");
        let counts = |hyp, reference| config.counts(hyp, &[reference]);
        assert_eq!(counts("it's.", "it 's ."), [2.0, 3.0]); // one word more, another changed
        assert_eq!(counts("it 's .", "it's."), [0.0, 3.0]);
    }
}
