//! Weights and links of an alignment in few characters, for a page that holds many.
//!
//! Each target word is a row that ends in a full stop: the weight on the end of the source, then
//! one for each source word. A weight is a letter of [`ALPHABET`], the first nothing and the last
//! everything; a digit is so many weights of nothing; nothing at the end of a row is left out. A
//! link is an exclamation mark behind the weight of its words.

use translate::Alignment;

use super::super::Matrix;

/// The letters of weights, evenly spaced from zero to one. None has a meaning in JSON or HTML.
pub(super) const ALPHABET: &str =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+-*/=:;,()~^";
const END: char = '.';
const LINKED: char = '!';
/// Most zeros that one digit stands for.
const MOST: usize = 9;

/// Packs the weights and links of an alignment.
pub(super) fn pack(alignment: &Alignment) -> String {
    let matrix = Matrix::from(alignment);
    let (columns, rows) = (matrix.src.len(), matrix.tgt.len());
    let mut linked = vec![false; columns * rows];
    for &(src, tgt) in matrix.links {
        if src < columns && tgt < rows {
            linked[tgt * columns + src] = true;
        }
    }
    let mut out = String::with_capacity((columns + 2) * rows);
    for tgt in 0..rows {
        let eos = alignment.eos.get(tgt).copied().unwrap_or(0.0).clamp(0.0, 1.0);
        let mut zeros = 0;
        push(&mut out, &mut zeros, level(eos), false);
        for src in 0..columns {
            let level = level(matrix.weight(src, tgt));
            push(&mut out, &mut zeros, level, linked[tgt * columns + src]);
        }
        out.push(END);
    }
    out
}

/// The place of a weight in the alphabet.
fn level(weight: f32) -> usize {
    (weight * (ALPHABET.len() - 1) as f32).round() as usize
}

/// Adds a weight to its row; zeros wait until something follows them.
fn push(out: &mut String, zeros: &mut usize, level: usize, linked: bool) {
    if level == 0 && !linked {
        *zeros += 1;
        return;
    }
    let letter = |level: usize| char::from(ALPHABET.as_bytes()[level]);
    while *zeros > 0 {
        let some = (*zeros).min(MOST);
        out.push(if some == 1 { letter(0) } else { char::from(b'0' + some as u8) });
        *zeros -= some;
    }
    out.push(letter(level));
    if linked {
        out.push(LINKED);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Weights, ends of the source and links as the page reads them, written once more.
    pub(in super::super) fn unpack(packed: &str, columns: usize) -> Alignment {
        let words = |n: usize| vec![String::from("x"); n];
        let mut found = Alignment { src_words: words(columns), ..Alignment::default() };
        let mut row = Vec::new();
        for letter in packed.chars() {
            match (letter, ALPHABET.find(letter)) {
                (_, Some(level)) => row.push(level as f32 / (ALPHABET.len() - 1) as f32),
                ('0'..='9', _) => row.extend(vec![0.0; letter as usize - '0' as usize]),
                (LINKED, _) => found.links.push((row.len() - 2, found.weights.len())),
                (END, _) => {
                    row.resize(columns + 1, 0.0);
                    found.eos.push(row.remove(0));
                    found.weights.push(std::mem::take(&mut row));
                }
                _ => panic!("{letter} means nothing"),
            }
        }
        found.tgt_words = words(found.weights.len());
        found.links.sort_unstable();
        found
    }

    fn alignment(eos: Vec<f32>, weights: Vec<Vec<f32>>, links: &[(usize, usize)]) -> Alignment {
        let words = |n: usize| vec![String::from("x"); n];
        let columns = weights.first().map_or(0, Vec::len);
        let (src_words, tgt_words) = (words(columns), words(weights.len()));
        Alignment { src_words, tgt_words, weights, eos, links: links.to_vec() }
    }

    #[test]
    fn a_small_case_can_be_read() {
        let weights = vec![vec![1.0, 0.0, 0.0], vec![0.0, 0.0, 0.25], vec![0.0; 3]];
        let packed = pack(&alignment(vec![0.0, 0.75, 0.0], weights, &[(0, 0), (1, 1)]));
        assert_eq!(packed, "A^!.vAA!Q..");
        let weights = vec![[vec![0.0; 11], vec![1.0]].concat()];
        assert_eq!(pack(&alignment(vec![0.0], weights, &[])), "93^.");
    }

    #[test]
    fn no_letter_has_two_meanings() {
        let letters: std::collections::BTreeSet<char> = ALPHABET.chars().collect();
        assert_eq!((letters.len(), ALPHABET.len()), (64, 64));
        let taken = |c: char| c.is_ascii_digit() || c == END || c == LINKED || "\"\\<&".contains(c);
        assert!(!ALPHABET.contains(taken));
    }

    #[test]
    fn what_is_missing_or_broken_is_nothing() {
        let mut broken = alignment(vec![], vec![vec![f32::NAN, 2.0], vec![]], &[(7, 0), (0, 7)]);
        broken.tgt_words.push("more".into());
        assert_eq!(pack(&broken), "2^...");
    }

    proptest! {
        #[test]
        fn weights_come_back_as_exact_as_letters_are_and_links_as_they_were(
            (rows, eos, links) in (0usize..14, 1usize..14).prop_flat_map(|(rows, columns)| {
                // Zeros, and runs of them, are the usual case.
                let weight = || prop_oneof![3 => Just(0f32), 1 => 0f32..=1.0];
                let links = if rows == 0 { 0..1 } else { 0..9 };
                (
                    prop::collection::vec(prop::collection::vec(weight(), columns), rows),
                    prop::collection::vec(weight(), rows),
                    prop::collection::btree_set((0..columns, 0..rows.max(1)), links),
                )
            })
        ) {
            let columns = rows.first().map_or(3, Vec::len);
            let links: Vec<_> = links.into_iter().collect();
            let given = alignment(eos, rows, &links);
            let packed = pack(&given);
            let found = unpack(&packed, columns);
            prop_assert_eq!(&found.links, &given.links);
            prop_assert_eq!(found.weights.len(), given.weights.len());
            let pairs = |one: &Alignment, other: &Alignment| {
                let all = |a: &Alignment| [a.weights.concat(), a.eos.clone()].concat();
                all(one).into_iter().zip(all(other)).collect::<Vec<_>>()
            };
            // Half a step, and what adding up letters may lose.
            prop_assert!(pairs(&found, &given).iter().all(|(a, b)| (a - b).abs() <= 0.5 / 63.0 + 1e-6));
            let most = given.weights.len() * (columns + 2) + given.links.len();
            prop_assert!(packed.len() <= most, "{} of {}", packed.len(), most);
        }
    }
}
