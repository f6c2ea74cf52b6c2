//! TOML with overrides, and errors that point at the place.
//!
//! Overrides are treated as lines behind the end of the file, so that every value has a place,
//! whether it came from the file or from the command line, and all pass the same checks.

use std::{fmt, ops::Range};

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Tables of which exactly one entry may exist: naming another one replaces it. A mere name
/// stands for that entry with defaults.
const CHOICES: [[&str; 2]; 2] = [["training", "optimizer"], ["training", "schedule"]];

/// What is wrong with an experiment file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file or the override, and the line and column where they are known.
    pub place: String,
    /// The line at fault with its number and a mark under the fault; empty if there is none.
    pub excerpt: String,
    /// What was found and what is allowed.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read {}\n{}{}", self.place, self.excerpt, self.message)
    }
}

impl std::error::Error for ConfigError {}

/// Why a value is not allowed although its own type is: the key, and the reason.
pub(super) type Fault = (&'static str, String);

/// Reads `text` with `overrides` on top as a checked type.
pub(super) fn read<T: DeserializeOwned>(
    origin: &str,
    text: &str,
    overrides: &[String],
    check: impl Fn(&T) -> Result<(), Fault>,
) -> Result<T, ConfigError> {
    let source = Source::new(origin, text, overrides);
    let none = DeTable::new();
    let parse = |text| DeTable::parse(text).map_err(|e| source.error(&none, &e));
    let settings = source.settings();

    let file = parse(text)?;
    let span = file.span();
    let mut table = file.into_inner();
    for setting in &settings {
        merge(&mut table, parse(setting)?.into_inner(), &mut Vec::new());
    }
    CHOICES.iter().for_each(|path| name_to_table(&mut table, path));
    wrap_tokenizer(&mut table);

    let deserializer = toml::Deserializer::from(Spanned::new(span, table.clone()));
    let value = T::deserialize(deserializer).map_err(|e| source.error(&table, &e))?;
    check(&value).map_err(|(key, message)| source.error_at_key(&table, key, message))?;
    Ok(value)
}

/// The file and the overrides as one text, and what it is made of.
struct Source<'a> {
    origin: &'a str,
    overrides: &'a [String],
    text: String,
    file_len: usize,
}

impl<'a> Source<'a> {
    fn new(origin: &'a str, file: &str, overrides: &'a [String]) -> Self {
        let mut text = format!("{file}\n");
        let file_len = text.len();
        for setting in overrides {
            text.push_str(setting);
            text.push('\n');
        }
        Self { origin, overrides, text, file_len }
    }

    /// Each override as a document of its own, with blanks for all that stands before it: so
    /// the parser counts positions from the start of the whole text.
    fn settings(&self) -> Vec<String> {
        let mut start = self.file_len;
        let mut settings = Vec::new();
        for setting in self.overrides {
            let blank = " ".repeat(start);
            let whole = format!("{blank}{setting}");
            // What is not TOML, as in `data.src=en`, may be a string without quotes.
            settings.push(match setting.split_once('=') {
                Some((key, value)) if DeTable::parse(&whole).is_err() => {
                    format!("{blank}{key}={}", toml::Value::String(value.trim().into()))
                }
                _ => whole,
            });
            start += setting.len() + 1;
        }
        settings
    }

    fn error(&self, table: &DeTable<'_>, error: &toml::de::Error) -> ConfigError {
        let path = error.span().and_then(|span| key_at(table, &span)).unwrap_or_default();
        self.error_at(error.span(), explain(error.message(), &path))
    }

    /// An error about the value of a key, or about the nearest table above it that exists.
    fn error_at_key(&self, table: &DeTable<'_>, path: &str, message: String) -> ConfigError {
        let mut table = table;
        let mut span = None;
        for key in path.split('.') {
            let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == key) else {
                break;
            };
            span = Some(name.span());
            match value.get_ref() {
                DeValue::Table(inner) => table = inner,
                _ => break,
            }
        }
        self.error_at(span, format!("`{path}`: {message}"))
    }

    fn error_at(&self, span: Option<Range<usize>>, message: String) -> ConfigError {
        let Some(span) = span else {
            return ConfigError { place: self.origin.into(), excerpt: String::new(), message };
        };
        let start = span.start.min(self.text.len() - 1);
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = self.text[line_start..].lines().next().unwrap_or_default();
        let column = self.text[line_start..start].chars().count() + 1;
        let marked = span.end.clamp(start, line_start.max(start).max(line_start + line.len()));
        let mark = "^".repeat(self.text[start..marked].chars().count().max(1));

        let (place, name) = if start < self.file_len {
            let n_line = self.text[..line_start].matches('\n').count() + 1;
            let place = format!("{}: line {n_line}, column {column}", self.origin);
            (place, n_line.to_string())
        } else {
            (format!("the setting `{line}`"), "set".into())
        };
        let (indent, gap) = (" ".repeat(name.len()), " ".repeat(column - 1));
        let excerpt = format!("{name} | {line}\n{indent} | {gap}{mark}\n");
        ConfigError { place, excerpt, message }
    }
}

/// Puts `upper` over `lower`, both found at `path`: tables are merged, all else is replaced.
fn merge<'a>(lower: &mut DeTable<'a>, upper: DeTable<'a>, path: &mut Vec<String>) {
    for (key, value) in upper {
        path.push(key.get_ref().to_string());
        let span = value.span();
        match (lower.get_mut(&key).map(Spanned::get_mut), value.into_inner()) {
            (Some(DeValue::Table(lower)), DeValue::Table(upper)) => {
                let choice = CHOICES.iter().any(|choice| choice == path.as_slice());
                if choice && !upper.keys().all(|kind| lower.contains_key(kind)) {
                    *lower = upper;
                } else {
                    merge(lower, upper, path);
                }
            }
            (_, value) => {
                lower.remove(&key); // with its place, which an insertion would keep
                lower.insert(key, Spanned::new(span, value));
            }
        }
        path.pop();
    }
}

/// Turns `optimizer = "adam"` into `optimizer = { adam = {} }`.
fn name_to_table(table: &mut DeTable<'_>, path: &[&str]) {
    let (Some((first, rest)), mut entries) = (path.split_first(), table.iter_mut()) else {
        return;
    };
    let Some((_, value)) = entries.find(|(name, _)| name.get_ref() == first) else {
        return;
    };
    let span = value.span();
    match value.get_mut() {
        DeValue::Table(table) if !rest.is_empty() => name_to_table(table, rest),
        DeValue::String(name) if rest.is_empty() => {
            let name = Spanned::new(span.clone(), std::mem::take(name));
            let defaults = Spanned::new(span, DeValue::Table(DeTable::new()));
            *value.get_mut() = DeValue::Table([(name, defaults)].into_iter().collect());
        }
        _ => {}
    }
}

/// Names the kind of a `[tokenizer]` table, which its keys tell.
fn wrap_tokenizer(table: &mut DeTable<'_>) {
    let Some((_, value)) = table.iter_mut().find(|(name, _)| name.get_ref() == "tokenizer") else {
        return;
    };
    let span = value.span();
    if let DeValue::Table(table) = value.get_mut() {
        let kind = if table.contains_key("dir") { "open" } else { "learn" };
        let inner = Spanned::new(span.clone(), DeValue::Table(std::mem::take(table)));
        *table = [(Spanned::new(span, kind.into()), inner)].into_iter().collect();
    }
}

/// The path of the innermost key that `span` belongs to.
fn key_at(table: &DeTable<'_>, span: &Range<usize>) -> Option<Vec<String>> {
    let inside = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    for (key, value) in table.iter() {
        let inner = match value.get_ref() {
            DeValue::Table(table) => key_at(table, span),
            _ => None,
        };
        let inner = inner.or((inside(key.span()) || inside(value.span())).then(Vec::new));
        if let Some(mut path) = inner {
            path.insert(0, key.get_ref().to_string());
            return Some(path);
        }
    }
    None
}

/// The parser's message in the words of a user: which key, and which one may have been meant.
fn explain(message: &str, path: &[String]) -> String {
    let kinds = ["learn", "open"];
    let shown: Vec<&str> = path
        .iter()
        .enumerate()
        .filter(|(i, key)| !(*i == 1 && path[0] == "tokenizer" && kinds.contains(&key.as_str())))
        .map(|(_, key)| key.as_str())
        .collect();
    let at = if shown.is_empty() { String::new() } else { format!("`{}`: ", shown.join(".")) };
    if message.starts_with("wanted exactly 1 element") {
        return format!("{at}found several kinds or none, expected exactly one");
    }
    let Some((what, wrong, valid)) = unknown_name(message) else {
        return format!("{at}{}", in_words(message));
    };
    let table = match shown.split_last() {
        Some((_, table)) if !table.is_empty() => format!(" in [{}]", table.join(".")),
        _ => String::new(),
    };
    match nearest(wrong, &valid) {
        Some(name) => format!("{what} `{wrong}`{table}, did you mean `{name}`?"),
        None => {
            let valid: Vec<String> = valid.iter().map(|name| format!("`{name}`")).collect();
            format!("{what} `{wrong}`{table}, expected one of {}", valid.join(", "))
        }
    }
}

/// `message` with the names of Rust's types replaced by what they allow.
fn in_words(message: &str) -> String {
    let Some((found, expected)) = message.rsplit_once(", expected ") else {
        return message.to_owned();
    };
    let expected = match expected {
        "a nonzero usize" | "a nonzero u64" | "a nonzero u32" => "a whole number from 1 on",
        "usize" | "u64" | "u32" => "a whole number from 0 on",
        "f64" | "f32" => "a number",
        other => other,
    };
    format!("{found}, expected {expected}")
}

/// What a message about an unknown key or name says: which of both, the name, the valid ones.
fn unknown_name(message: &str) -> Option<(&'static str, &str, Vec<&str>)> {
    if let Some(keys) = message.strip_prefix("unexpected keys in table: ") {
        let (wrong, valid) = keys.split_once(", available keys: ")?;
        return Some(("unknown key", wrong, valid.split(", ").collect()));
    }
    let what = match message {
        _ if message.starts_with("unknown field ") => "unknown key",
        _ if message.starts_with("unknown variant ") => "unknown name",
        _ => return None,
    };
    let mut names = message.split('`').skip(1).step_by(2);
    Some((what, names.next()?, names.collect()))
}

/// The valid name that `wrong` is most likely a misspelling of, if there is one.
fn nearest<'a>(wrong: &str, valid: &[&'a str]) -> Option<&'a str> {
    /// Jaro-Winkler similarity below which two names are taken for different words.
    const ALIKE: f64 = 0.75;
    valid
        .iter()
        .map(|name| (strsim::jaro_winkler(wrong, name), *name))
        .filter(|(similarity, _)| *similarity >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
