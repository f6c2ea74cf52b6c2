//! An alignment as a map of characters: target words are rows, source words columns.
//!
//! A cell shows its weight as a shade and, where colours are allowed, as a background. Colour
//! adds nothing but colour: taken out of the text, it leaves the plain map.

use std::fmt::Write;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{Matrix, right_to_left};

/// Which colours a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colors {
    /// None, or none wanted.
    None,
    /// The 256 colours of xterm.
    Indexed,
    /// Three bytes of red, green and blue.
    True,
}

/// How to draw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// Which colours to use.
    pub(crate) colors: Colors,
    /// Columns of the terminal. The map is folded to it as far as a few columns suffice.
    pub(crate) width: usize,
}

/// What a cell looks like from each weight on.
const SHADES: [(f32, char); 6] =
    [(0.0, ' '), (0.05, '·'), (0.15, '░'), (0.35, '▒'), (0.6, '▓'), (0.85, '█')];
/// What marks a linked cell.
const MARK: char = '●';
/// Below this many columns, heads are numbers and the words stand in a legend.
const NARROW: usize = 48;
/// Letters of a head that are written below one another; the rest of a word is cut off.
const HEAD_HEIGHT: usize = 14;
/// Columns that the words on the left may take.
const LABEL_WIDTH: usize = 24;

/// Draws `matrix`, one line per target word, folded into blocks of columns where the source
/// is longer than the terminal is wide.
pub(crate) fn draw(title: &str, matrix: &Matrix<'_>, style: &Style) -> String {
    let src: Vec<String> = matrix.src.iter().map(|word| printable(word)).collect();
    let tgt: Vec<String> = matrix.tgt.iter().map(|word| printable(word)).collect();
    let layout = Layout::new(&src, &tgt, style);
    let mut out = String::new();
    if !title.is_empty() {
        let title = printable(title);
        match style.colors {
            Colors::None => out.push_str(&title),
            _ => write_to(&mut out, format_args!("\x1b[1m{title}\x1b[0m")),
        }
        out.push('\n');
    }
    if src.is_empty() || tgt.is_empty() {
        return out;
    }
    for first in (0..src.len()).step_by(layout.columns) {
        let columns = first..src.len().min(first + layout.columns);
        layout.write_heads(&mut out, &src, columns.clone());
        for (row, word) in tgt.iter().enumerate() {
            let label = cut(word, layout.label);
            let space = layout.label - label.width();
            write_to(&mut out, format_args!("{:space$}{label} ", ""));
            let cells = columns.clone().map(|column| (column, row));
            write_cells(&mut out, matrix, cells, layout.cell, style.colors);
        }
        out.push('\n');
    }
    if layout.numbered {
        write_legend(&mut out, &src, style.width);
    }
    out
}

/// Where things go.
struct Layout {
    label: usize,
    cell: usize,
    columns: usize,
    numbered: bool,
}

impl Layout {
    fn new(src: &[String], tgt: &[String], style: &Style) -> Self {
        let widest = tgt.iter().map(|word| word.width()).max().unwrap_or(0);
        let label = widest.min(LABEL_WIDTH).min((style.width / 3).max(8));
        // Letters that join cannot stand below one another.
        let numbered = style.width < NARROW || src.iter().any(|word| joins(word));
        let wide = src.iter().any(|word| clusters(word).iter().any(|letter| letter.width() > 1));
        let cell = match (numbered, wide) {
            (true, _) => src.len().to_string().len() + 1,
            (false, true) => 3,
            (false, false) => 2,
        };
        let columns = (style.width.saturating_sub(label + 1) / cell).max(1);
        Self { label, cell, columns, numbered }
    }

    /// Writes the source words `columns` above their cells, downwards, or their numbers.
    fn write_heads(&self, out: &mut String, src: &[String], columns: std::ops::Range<usize>) {
        let indent = self.label + 1;
        if self.numbered {
            let mut line = " ".repeat(indent);
            for column in columns {
                write_to(&mut line, format_args!("{:<1$}", column + 1, self.cell));
            }
            out.push_str(line.trim_end());
            out.push('\n');
            return;
        }
        let heads: Vec<Vec<&str>> = src[columns].iter().map(|word| head(word)).collect();
        let height = heads.iter().map(Vec::len).max().unwrap_or(0);
        for line_idx in 0..height {
            let mut line = " ".repeat(indent);
            for head in &heads {
                let letter = (line_idx + head.len()).checked_sub(height);
                let letter = letter.map_or(" ", |idx| head[idx]);
                line.push_str(letter);
                line.extend(std::iter::repeat_n(' ', self.cell.saturating_sub(letter.width())));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
}

/// Writes one row of cells and ends the line.
fn write_cells(
    out: &mut String,
    matrix: &Matrix<'_>,
    cells: impl Iterator<Item = (usize, usize)>,
    width: usize,
    colors: Colors,
) {
    let mut line = String::new();
    for (src, tgt) in cells {
        let weight = matrix.weight(src, tgt);
        let shade = shade(weight);
        let mut text: String = std::iter::repeat_n(shade, width).collect();
        if matrix.linked(src, tgt) {
            text.pop();
            text.push(MARK);
        }
        match colors {
            Colors::None => line.push_str(&text),
            // Too faint for a colour, but not for a dot.
            _ if shade == ' ' || shade == '·' => line.push_str(&text),
            _ => line.push_str(&paint(&text, shade, weight, colors)),
        }
    }
    out.push_str(line.trim_end_matches(' '));
    out.push('\n');
}

/// The character for a weight.
fn shade(weight: f32) -> char {
    SHADES.iter().rev().find(|(least, _)| weight >= *least).map_or(' ', |(_, shade)| *shade)
}

/// `text` on the background of `weight`: the shade sinks into it, the mark stands out.
fn paint(text: &str, shade: char, weight: f32, colors: Colors) -> String {
    let (red, green, blue) = heat(weight);
    let rgb = match colors {
        Colors::True => format!("2;{red};{green};{blue}"),
        _ => format!("5;{}", indexed(red, green, blue)),
    };
    let mut out = format!("\x1b[48;{rgb};38;{rgb}m");
    for c in text.chars() {
        match c {
            c if c == shade => out.push(c),
            c => write_to(&mut out, format_args!("\x1b[97m{c}")),
        }
    }
    out.push_str("\x1b[0m");
    out
}

/// The colour of a weight: from slate over violet to orange, of middling brightness
/// throughout, so that it stands out from a dark and from a light background.
fn heat(weight: f32) -> (u8, u8, u8) {
    const STOPS: [[f32; 3]; 3] = [[84., 94., 116.], [132., 70., 190.], [234., 96., 20.]];
    let place = weight * 2.0;
    let (from, to) = if place < 1.0 { (STOPS[0], STOPS[1]) } else { (STOPS[1], STOPS[2]) };
    let part = place - place.floor().min(1.0);
    let mix = |i: usize| (from[i] + (to[i] - from[i]) * part).round() as u8;
    (mix(0), mix(1), mix(2))
}

/// The nearest colour in the 6 × 6 × 6 cube of the 256-colour palette.
fn indexed(red: u8, green: u8, blue: u8) -> u8 {
    const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let nearest = |value: u8| {
        (0u8..6).min_by_key(|&level| LEVELS[level as usize].abs_diff(value)).unwrap_or(0)
    };
    16 + 36 * nearest(red) + 6 * nearest(green) + nearest(blue)
}

/// Writes `1 the  2 house …`, wrapped.
fn write_legend(out: &mut String, src: &[String], width: usize) {
    let mut used = 0;
    for (idx, word) in src.iter().enumerate() {
        let number = format!("{} ", idx + 1);
        let entry = cut(word, width.saturating_sub(number.len()));
        let entry = number + &entry;
        let gap = if used == 0 { 0 } else { 2 };
        if used > 0 && used + gap + entry.width() > width {
            out.push('\n');
            used = 0;
        }
        if used > 0 {
            out.push_str("  ");
            used += gap;
        }
        out.push_str(&entry);
        used += entry.width();
    }
    out.push_str("\n\n");
}

/// The letters of a head, from top to bottom, at most two columns each; a long word ends in
/// `⋮`.
fn head(word: &str) -> Vec<&str> {
    let mut letters = clusters(word);
    for letter in &mut letters {
        if letter.width() > 2 {
            *letter = &letter[..letter.chars().next().map_or(0, char::len_utf8)];
        }
    }
    if letters.len() > HEAD_HEIGHT {
        letters.truncate(HEAD_HEIGHT - 1);
        letters.push("⋮");
    }
    letters
}

/// Splits a word into letters with the marks that belong to them.
fn clusters(word: &str) -> Vec<&str> {
    const JOINER: char = '\u{200d}';
    let mut starts = Vec::new();
    let mut joined = true; // whatever comes first starts a letter
    for (idx, c) in word.char_indices() {
        let first = starts.is_empty();
        if first || (c.width().unwrap_or(0) > 0 && !joined) {
            starts.push(idx);
        }
        joined = c == JOINER;
    }
    starts.push(word.len());
    starts.windows(2).map(|pair| &word[pair[0]..pair[1]]).collect()
}

/// Shortens a word to `width` columns, ending in `…`.
fn cut(word: &str, width: usize) -> String {
    if word.width() <= width {
        return word.to_owned();
    }
    let mut kept = String::new();
    for letter in clusters(word) {
        if kept.width() + letter.width() + 1 > width {
            break;
        }
        kept.push_str(letter);
    }
    kept + "…"
}

/// Whether the letters of a word change their form beside each other, or its marks stand
/// beside their letter: Arabic and its neighbours, the scripts of India and South-East Asia.
fn joins(word: &str) -> bool {
    right_to_left(word)
        || word.chars().any(|c| matches!(c, '\u{900}'..='\u{109f}' | '\u{1780}'..='\u{18af}'))
}

/// A word that cannot steer the terminal: control characters become `�`.
fn printable(word: &str) -> String {
    word.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Appends formatted text; writing to a string cannot fail.
fn write_to(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes any text");
}

#[cfg(test)]
mod tests;
