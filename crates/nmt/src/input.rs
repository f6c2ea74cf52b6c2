//! What is read: files and standard input, line by line, checked.

use std::{fs::File, io::Read, path::Path};

use anyhow::{Context, bail};

/// All lines of a file. `-` is standard input.
pub(crate) fn read_lines(path: &Path) -> anyhow::Result<Vec<String>> {
    let mut bytes = Vec::new();
    let context = || format!("cannot read {}", path.display());
    match path.to_str() {
        Some("-") => std::io::stdin().read_to_end(&mut bytes).with_context(context)?,
        _ => File::open(path)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .with_context(context)?,
    };
    let mut lines = Vec::new();
    let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    if text.is_empty() && bytes.is_empty() {
        return Ok(lines);
    }
    for line in text.split(|byte| *byte == b'\n') {
        match std::str::from_utf8(line) {
            Ok(line) => lines.push(line.strip_suffix('\r').unwrap_or(line).to_owned()),
            Err(_) => bail!(
                "{}, line {}: found bytes that are not UTF-8",
                path.display(),
                lines.len() + 1
            ),
        }
    }
    Ok(lines)
}
