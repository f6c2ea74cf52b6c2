//! What pictures and pages are written with: text that may stand in one, and lines into a string.

/// Fonts that have the letters of most languages.
pub(super) const FONTS: &str = "system-ui,\"Noto Sans\",\"Noto Sans CJK SC\",\
\"Noto Sans CJK JP\",\"Hiragino Sans\",\"PingFang SC\",\"Yu Gothic\",\"Microsoft YaHei\",sans-serif";

/// Text that may stand in an XML element or attribute. Characters that XML cannot hold at
/// all become `�`.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Appends formatted text; writing to a string cannot fail.
pub(crate) fn write_to(out: &mut String, text: std::fmt::Arguments<'_>) {
    std::fmt::Write::write_fmt(out, text).expect("a string takes any text");
}

#[cfg(test)]
pub(crate) mod tests {
    /// The names of the elements of a document, in order, if it is well formed: every element
    /// is closed, attributes are quoted, and text holds no bare `<`, `>` or `&`.
    pub(crate) fn elements(document: &str) -> Result<Vec<String>, String> {
        let (mut names, mut open) = (Vec::new(), Vec::new());
        let mut rest = document.trim_end();
        while !rest.is_empty() {
            let (text, tag) = rest.split_once('<').unwrap_or((rest, ""));
            let style = open.last().is_some_and(|name| name == "style");
            if text.contains('>') && !style {
                return Err(format!("bare > in {text:?}"));
            }
            for (at, _) in text.match_indices('&') {
                let entity = text[at..].split_inclusive(';').next().unwrap_or("");
                if !["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"].contains(&entity) {
                    return Err(format!("unknown entity {entity:?}"));
                }
            }
            if tag.is_empty() {
                break;
            }
            let (tag, after) = tag.split_once('>').ok_or("unclosed tag")?;
            rest = after;
            if let Some(name) = tag.strip_prefix('/') {
                if open.pop().as_deref() != Some(name) {
                    return Err(format!("</{name}> closes nothing"));
                }
                continue;
            }
            if tag.matches('"').count() % 2 == 1 {
                return Err(format!("odd quotes in {tag:?}"));
            }
            let name = tag.split([' ', '/']).next().unwrap_or("").to_owned();
            names.push(name.clone());
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        if open.is_empty() { Ok(names) } else { Err(format!("{open:?} stay open")) }
    }

    #[test]
    fn the_well_formedness_check_finds_faults() {
        assert_eq!(elements("<a><b x=\"1\"/>&amp;</a>").unwrap(), ["a", "b"]);
        for fault in ["<a>", "<a></b>", "<a>&</a>", "<a>></a>", "<a x=\"></a>", "<a>&x;</a>"] {
            assert!(elements(fault).is_err(), "{fault}");
        }
    }
}
