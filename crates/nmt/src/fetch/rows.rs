//! Pairs out of JSON lines, as data sets of the Hub have them: an object on each line, with the column
//! `translation` that holds a text for each language, or with a column for each.

use std::io::{BufRead, Read};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::{
    pairs::{Found, TRANSLATION, give},
    unpack::LONGEST,
};
use crate::console::Misuse;

/// Gives the source and the target of each row to `found`, in their order.
pub(super) fn read(
    mut reader: impl BufRead,
    languages: [&str; 2],
    found: Found<'_>,
) -> anyhow::Result<()> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let n = reader.by_ref().take(LONGEST + 1).read_until(b'\n', &mut line)? as u64;
        if n == 0 {
            break;
        }
        ensure!(n <= LONGEST, "line {number}: found more than {LONGEST} bytes");
        if line.trim_ascii().is_empty() {
            continue;
        }
        pair(&line, languages, found).with_context(|| format!("line {number}"))?;
    }
    Ok(())
}

/// Gives out the pair of a row.
fn pair(line: &[u8], languages: [&str; 2], found: Found<'_>) -> anyhow::Result<()> {
    let row: Value = serde_json::from_slice(line).context("found no JSON")?;
    let texts = row.get(TRANSLATION).unwrap_or(&row);
    let text = |language: &str| {
        let Some(text) = texts.get(language) else {
            let keys = texts.as_object().into_iter().flat_map(|texts| texts.keys());
            let keys = keys.take(8).map(String::as_str).collect::<Vec<_>>().join(", ");
            let keys = if keys.is_empty() { "nothing" } else { &keys };
            return Err(Misuse(format!("found no text in {language}, but {keys}")).into());
        };
        match text {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.as_str())),
            _ => bail!("found {text} in {language}, no text"),
        }
    };
    give([text(languages[0])?, text(languages[1])?], found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> anyhow::Result<Vec<[String; 2]>> {
        let mut found = Vec::new();
        read(text.as_bytes(), ["en", "de"], &mut |row| {
            found.push(row.map(str::to_owned));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn rows_have_a_column_of_translations_or_one_for_each_language() {
        let text = concat!(
            r#"{"id": 1, "translation": {"de": "Ja \n doch", "en": "Yes"}}"#,
            "\n\n",
            r#"{"en": "One", "de": "Eins", "note": 3}"#,
            "\n",
            r#"{"en": "Two", "de": null}"#,
            "\n",
            r#"{"en": "", "de": "Drei"}"#,
        );
        let expected = [["Yes", "Ja doch"], ["One", "Eins"]];
        assert_eq!(rows(text).unwrap(), expected.map(|row| row.map(str::to_owned)));
    }

    #[test]
    fn what_is_no_pair_is_named_with_its_line() {
        let good = r#"{"en": "One", "de": "Eins"}"#;
        for (bad, complaint) in [
            ("{", "line 2: found no JSON"),
            (r#"{"en": "Two", "fr": "deux"}"#, "line 2: found no text in de, but en, fr"),
            (r#"{"translation": []}"#, "line 2: found no text in en, but nothing"),
            (r#"{"en": 2, "de": "Zwei"}"#, "line 2: found 2 in en, no text"),
            (r#"{"en": "\u0000", "de": "x"}"#, "line 2: found a NUL character"),
        ] {
            let error = rows(&format!("{good}\n{bad}\n")).unwrap_err();
            assert!(format!("{error:#}").contains(complaint), "{error:#}");
        }
    }
}
