//! How text is divided into the words that metrics compare.
//!
//! The rules are those of the scripts `mteval-v13a.pl` and `mteval-v14.pl` of the NIST and WMT
//! evaluations, as sacreBLEU applies them to one line.

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::LazyLock;

use regex::Regex;

use super::{Error, Result};

/// How BLEU divides a line into tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tokenization {
    /// As WMT has it: ASCII punctuation apart, except inside numbers. sacreBLEU's default.
    #[default]
    V13a,
    /// All punctuation of Unicode apart, except between digits, and all symbols.
    Intl,
    /// Every character is a token.
    Char,
    /// Tokens are what white space separates: for text that is tokenized already, as in the
    /// scores of `multi-bleu.perl` in the older literature.
    None,
}

impl Tokenization {
    /// The names that can be parsed, which are also those of signatures.
    pub const NAMES: [&str; 4] = ["13a", "intl", "char", "none"];

    /// The name in a signature.
    pub fn name(self) -> &'static str {
        match self {
            Self::V13a => "13a",
            Self::Intl => "intl",
            Self::Char => "char",
            Self::None => "none",
        }
    }

    /// The line with white space between its tokens, to be divided by [`words`].
    pub(super) fn apply(self, line: &str) -> Cow<'_, str> {
        let line = line.trim_end_matches(is_space);
        match self {
            Self::V13a => Cow::Owned(v13a(line)),
            Self::Intl => Cow::Owned(intl(line)),
            Self::Char => Cow::Owned(apart(line, |_| true)),
            Self::None => Cow::Borrowed(line),
        }
    }
}

/// `13a`, `intl`, `char` or `none`.
impl FromStr for Tokenization {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "13a" => Ok(Self::V13a),
            "intl" => Ok(Self::Intl),
            "char" => Ok(Self::Char),
            "none" => Ok(Self::None),
            _ => Err(Error::UnknownTokenization { found: name.to_owned() }),
        }
    }
}

/// White space as Python's `str.split` sees it: Unicode's, and the four information separators.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// What white space separates.
pub(super) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(is_space).filter(|word| !word.is_empty())
}

fn v13a(line: &str) -> String {
    let line = line.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    apart_points(&apart(&format!(" {} ", unescape(&line)), is_western_punctuation))
}

/// The four entities of SGML test sets, `&amp;` before the two it may reveal.
pub(super) fn unescape(line: &str) -> Cow<'_, str> {
    if !line.contains('&') {
        return Cow::Borrowed(line);
    }
    let line = line.replace("&quot;", "\"").replace("&amp;", "&");
    Cow::Owned(line.replace("&lt;", "<").replace("&gt;", ">"))
}

/// ASCII punctuation that is never part of a word or number: all but `'`, `,`, `-` and `.`.
pub(super) fn is_western_punctuation(c: char) -> bool {
    c.is_ascii_punctuation() && !matches!(c, '\'' | ',' | '-' | '.')
}

/// Sets full stops and commas apart unless they stand within a number, and a hyphen after a
/// digit. What is at either end of the line has no neighbour there, so callers add a space.
pub(super) fn apart_points(line: &str) -> String {
    let point = |c| matches!(c, '.' | ',');
    let line = second_apart(line, |a, b| !a.is_ascii_digit() && point(b));
    let line = first_apart(&line, |a, b| point(a) && !b.is_ascii_digit());
    second_apart(&line, |a, b| a.is_ascii_digit() && b == '-')
}

fn intl(line: &str) -> String {
    let line = second_apart(line, |a, b| category(b) == Category::Punctuation && !is_number(a));
    let line = first_apart(&line, |a, b| category(a) == Category::Punctuation && !is_number(b));
    apart(&line, |c| category(c) == Category::Symbol)
}

fn is_number(c: char) -> bool {
    category(c) == Category::Number
}

/// As much of Unicode's general category as matters here. A character newer than the tables of
/// `regex` (Unicode 16 in its release 1.13) is neither number nor punctuation nor symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Category {
    Number,
    Punctuation,
    Symbol,
    Other,
}

fn category(c: char) -> Category {
    static CLASSES: LazyLock<[(Regex, Category); 3]> = LazyLock::new(|| {
        let class = |pattern, category| {
            (Regex::new(pattern).expect("a Unicode class is a valid pattern"), category)
        };
        [
            class(r"\p{N}", Category::Number),
            class(r"\p{P}", Category::Punctuation),
            class(r"\p{S}", Category::Symbol),
        ]
    });
    match c {
        '0'..='9' => Category::Number,
        '$' | '+' | '<' | '=' | '>' | '^' | '`' | '|' | '~' => Category::Symbol,
        _ if c.is_ascii_punctuation() => Category::Punctuation,
        _ if c.is_ascii() || c.is_alphabetic() && !c.is_numeric() && c < '\u{2000}' => {
            Category::Other
        }
        _ => {
            let text = c.encode_utf8(&mut [0; 4]).to_owned();
            let class = CLASSES.iter().find(|(class, _)| class.is_match(&text));
            class.map_or(Category::Other, |&(_, category)| category)
        }
    }
}

/// Puts a space on either side of the characters that `found` accepts.
pub(super) fn apart(line: &str, found: impl Fn(char) -> bool) -> String {
    let mut spaced = String::with_capacity(line.len() * 3 / 2);
    for c in line.chars() {
        if found(c) {
            spaced.extend([' ', c, ' ']);
        } else {
            spaced.push(c);
        }
    }
    spaced
}

/// Puts a space on either side of the second character of each pair that `found` accepts.
fn second_apart(line: &str, found: impl Fn(char, char) -> bool) -> String {
    rewrite_pairs(line, found, |a, b| [a, ' ', b, ' '])
}

/// Puts a space on either side of the first character of each pair that `found` accepts.
fn first_apart(line: &str, found: impl Fn(char, char) -> bool) -> String {
    rewrite_pairs(line, found, |a, b| [' ', a, ' ', b])
}

/// Replaces pairs of neighbours from left to right. Pairs do not overlap: a character that ends
/// one cannot begin the next, which is how the original regular expressions behave.
fn rewrite_pairs(
    line: &str,
    found: impl Fn(char, char) -> bool,
    rewrite: impl Fn(char, char) -> [char; 4],
) -> String {
    let mut rewritten = String::with_capacity(line.len() * 3 / 2);
    let mut chars = line.chars().peekable();
    while let Some(first) = chars.next() {
        match chars.next_if(|&second| found(first, second)) {
            Some(second) => rewritten.extend(rewrite(first, second)),
            None => rewritten.push(first),
        }
    }
    rewritten
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(tokenization: Tokenization, line: &str) -> String {
        words(&tokenization.apply(line)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn v13a_keeps_numbers_together_and_sets_punctuation_apart() {
        let line = "He paid $3,000.50, \"in 1990-91\", to U.S. firms (see p.5)...";
        assert_eq!(
            tokens(Tokenization::V13a, line),
            "He paid $ 3,000.50 , \" in 1990 - 91 \" , to U . S . firms ( see p . 5 ) . . ."
        );
        assert_eq!(tokens(Tokenization::V13a, "a &amp;lt; b &quot;c&quot;"), "a < b \" c \"");
        assert_eq!(tokens(Tokenization::V13a, "¿Qué?"), "¿Qué ?");
    }

    #[test]
    fn intl_knows_the_punctuation_and_symbols_of_unicode() {
        assert_eq!(tokens(Tokenization::Intl, "„¿Qué?“ kostet 1.5€"), "„ ¿ Qué ? “ kostet 1.5 €");
        assert_eq!(tokens(Tokenization::Intl, "It ended in 1999."), "It ended in 1999.");
        assert_eq!(tokens(Tokenization::Intl, "٣٫٥ 。"), "٣٫٥ 。");
    }

    #[test]
    fn char_and_none_do_what_they_say() {
        assert_eq!(tokens(Tokenization::Char, "ab  猫。"), "a b 猫 。");
        assert_eq!(tokens(Tokenization::None, " ab,  c. \u{1c}d"), "ab, c. d");
    }

    #[test]
    fn the_short_way_to_a_category_agrees_with_the_classes() {
        let patterns = [r"\p{N}", r"\p{P}", r"\p{S}"].map(|class| Regex::new(class).unwrap());
        let categories = [Category::Number, Category::Punctuation, Category::Symbol];
        for c in (0..0x3_0000).filter_map(char::from_u32) {
            let text = c.to_string();
            let class = patterns.iter().position(|class| class.is_match(&text));
            assert_eq!(category(c), class.map_or(Category::Other, |idx| categories[idx]), "{c:?}");
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        for name in Tokenization::NAMES {
            assert_eq!(name.parse::<Tokenization>().unwrap().name(), name);
        }
        let error = "zh".parse::<Tokenization>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown tokenization \"zh\", expected one of 13a, intl, char, none"
        );
    }
}
