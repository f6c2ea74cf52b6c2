//! SVG pictures in pixels, with the fonts that are installed.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, ensure};
use resvg::{
    tiny_skia::{Pixmap, Transform},
    usvg::{FontResolver, Options, Tree, fontdb::Database, fontdb::FaceInfo, fontdb::Style},
};
use unicode_width::UnicodeWidthChar;

/// Most pixels of a picture: more than a screen or a sheet of paper can show.
const MOST: f32 = 1e8;
/// Letters that are named; the others are counted.
const NAMED: usize = 12;

/// A picture.
#[derive(Debug)]
pub(crate) struct Painted {
    /// The file.
    pub(crate) png: Vec<u8>,
    /// Letters that no font has, the first of each word: they are boxes in the picture, or nothing.
    pub(crate) missing: BTreeSet<char>,
}

/// Paints an SVG picture `scale` times as large as it is.
pub(crate) fn paint(svg: &str, scale: f32) -> anyhow::Result<Painted> {
    paint_with(svg, scale, fonts()?)
}

/// [`paint`] with given fonts.
fn paint_with(svg: &str, scale: f32, fonts: Database) -> anyhow::Result<Painted> {
    ensure!(!fonts.is_empty(), "there is no font on this machine");
    let missing = Mutex::new(BTreeSet::new());
    let usual = FontResolver::default_fallback_selector();
    let select_fallback = Box::new(|letter: char, tried: &[_], fonts: &mut Arc<Database>| {
        let found = usual(letter, tried, fonts);
        if found.is_none() && letter.width().unwrap_or(0) > 0 {
            missing.lock().unwrap_or_else(PoisonError::into_inner).insert(letter);
        }
        found
    });
    let select_font = FontResolver::default_font_selector();
    let font_resolver = FontResolver { select_font, select_fallback };
    let options = Options { font_resolver, fontdb: Arc::new(fonts), ..Options::default() };
    let tree = Tree::from_str(svg, &options)?;
    drop(options); // lets go of what has been found missing
    let (width, height) = (tree.size().width() * scale, tree.size().height() * scale);
    let size = || format!("{width:.0} × {height:.0} pixels are too many");
    ensure!(width * height <= MOST, "{}", size());
    let pixmap = Pixmap::new(width.ceil() as u32, height.ceil() as u32);
    let mut pixmap = pixmap.with_context(size)?;
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixmap.as_mut());
    let missing = missing.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Painted { png: pixmap.encode_png()?, missing })
}

/// The installed fonts, those first that fit a picture without ornament: where the fonts that it
/// names lack a letter, the first that has it is taken.
fn fonts() -> anyhow::Result<Database> {
    let mut installed = Database::new();
    installed.load_system_fonts();
    let mut faces: Vec<FaceInfo> = installed.faces().cloned().collect();
    let family = |face: &FaceInfo| face.families.first().map_or("", |(name, _)| name).to_owned();
    faces.sort_by_cached_key(|face| {
        let name = family(face);
        let plain = name.contains("Sans") && !name.contains("Mono");
        let weight = face.weight.0.abs_diff(400);
        (face.style != Style::Normal, weight, !plain, face.monospaced, name)
    });
    let mut fonts = Database::new();
    if let Some(first) = faces.first().map(family) {
        fonts.set_sans_serif_family(&first);
        fonts.set_serif_family(&first);
    }
    for face in faces {
        fonts.push_face_info(face);
    }
    ensure!(!fonts.is_empty(), "there is no font on this machine");
    Ok(fonts)
}

/// Letters for a message: `ހ (U+0780) and ށ (U+0781)`.
pub(crate) fn in_words(letters: &BTreeSet<char>) -> String {
    let named = letters.iter().take(NAMED).map(|c| format!("{c} (U+{:04X})", u32::from(*c)));
    let mut parts: Vec<String> = named.collect();
    if letters.len() > NAMED {
        parts.push(format!("{} more", letters.len() - NAMED));
    }
    match parts.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Matrix, svg, tests::split};
    use super::*;

    /// The picture of a sentence; nothing where there are no fonts, and says so.
    fn picture(src: &str, tgt: &str, scale: f32) -> Option<(Pixmap, Painted)> {
        let (src, tgt) = (split(src), split(tgt));
        let weights = vec![vec![0.5; src.len()]; tgt.len()];
        let matrix = Matrix { src: &src, tgt: &tgt, weights: &weights, links: &[(0, 0)] };
        let svg = svg::draw("A title", &matrix, svg::Medium::Paint);
        match paint(&svg, scale) {
            Ok(painted) => Some((Pixmap::decode_png(&painted.png).unwrap(), painted)),
            Err(error) => {
                assert_eq!(error.to_string(), "there is no font on this machine");
                eprintln!("SKIPPED: a picture cannot be painted, {error}");
                None
            }
        }
    }

    /// Pixels darker than the ground in a part of a picture, given in its own units.
    fn dark(
        pixmap: &Pixmap,
        scale: f32,
        (left, top, right, bottom): (f32, f32, f32, f32),
    ) -> usize {
        let inside = |idx: usize| {
            let (x, y) = (idx as u32 % pixmap.width(), idx as u32 / pixmap.width());
            let (x, y) = (x as f32 / scale, y as f32 / scale);
            (left..right).contains(&x) && (top..bottom).contains(&y)
        };
        let pixels = pixmap.pixels().iter().enumerate();
        pixels.filter(|(idx, pixel)| inside(*idx) && pixel.green() < 100).count()
    }

    #[test]
    fn a_picture_has_the_size_asked_for_and_shows_words() {
        for scale in [1.0, 2.0] {
            let Some((pixmap, painted)) = picture("the dog", "der Hund", scale) else { return };
            assert!(painted.missing.is_empty(), "{:?}", painted.missing);
            let svg_width = pixmap.width() as f32 / scale;
            assert!((110.0..200.0).contains(&svg_width), "{svg_width}");
            // The title, and the target words on the left, below it.
            assert!(dark(&pixmap, scale, (16.0, 16.0, 80.0, 36.0)) > 40);
            let bottom = pixmap.height() as f32 / scale - 16.0;
            assert!(dark(&pixmap, scale, (16.0, bottom - 52.0, 48.0, bottom)) > 40);
            assert_eq!(dark(&pixmap, scale, (0.0, 0.0, 15.0, bottom)), 0);
        }
    }

    #[test]
    fn letters_that_no_font_has_are_named() {
        // Nobody draws letters of the private planes.
        let Some((_, painted)) = picture("a\u{10fff0} \u{10fff1}", "b", 1.0) else { return };
        assert_eq!(painted.missing, ['\u{10fff0}', '\u{10fff1}'].into());
        assert_eq!(in_words(&['ހ', 'ށ'].into()), "ހ (U+0780) and ށ (U+0781)");
        assert_eq!(in_words(&['ހ'].into()), "ހ (U+0780)");
        let many = ('a'..='z').collect();
        assert!(in_words(&many).ends_with("l (U+006C) and 14 more"), "{}", in_words(&many));
    }

    #[test]
    fn without_a_font_or_with_too_many_pixels_there_is_no_picture() {
        let svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"900\" height=\"900\"/>";
        let error = paint_with(svg, 1.0, Database::new()).unwrap_err().to_string();
        assert_eq!(error, "there is no font on this machine");
        let Ok(fonts) = fonts() else {
            eprintln!("SKIPPED: a picture cannot be painted, there is no font");
            return;
        };
        let error = paint_with(svg, 16.0, fonts).unwrap_err().to_string();
        assert_eq!(error, "14400 × 14400 pixels are too many");
    }
}
