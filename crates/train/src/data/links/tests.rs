//! How links between words become links between tokens, and what files of links may hold.

use std::fs;

use text::{TokenizerConfig, TokenizerKind};

use super::*;
use crate::config::{CorpusFiles, GuidedStep, TrainCorpus, Unlinked};

fn tokenizers() -> Tokenizers {
    let lines = (0..50).map(|_| "un deux trois, quatre cinq!".to_owned());
    let config = TokenizerConfig { kind: TokenizerKind::Bpe, vocab: 280, joint: true };
    let tags = [text::Tag::try_from("<bt>".to_owned()).unwrap()];
    Tokenizers::train(&config, lines.clone(), lines).unwrap().with_tags(&tags).unwrap()
}

fn pair(line: u64) -> Pair {
    Pair { src: "trois un, deux".into(), tgt: "quatre cinq".into(), line }
}

/// For each token the text that it covers.
fn labels(tokenizers: &Tokenizers, ids: &[u32]) -> Vec<String> {
    let decoded = tokenizers.src.decode_with_spans(ids).unwrap();
    decoded.spans.iter().map(|span| decoded.text[span.clone()].to_owned()).collect()
}

/// The linked tokens as text.
fn linked(links: &WordLinks, tokenizers: &Tokenizers, src: &[u32], tgt: &[u32]) -> Vec<String> {
    let found = links.between_tokens(0, tokenizers, (src, tgt)).unwrap();
    let (src, tgt) = (labels(tokenizers, src), labels(tokenizers, tgt));
    found.iter().map(|&(s, t)| format!("{}-{}", src[s as usize], tgt[t as usize])).collect()
}

/// A byte for each token.
fn bytes(tokenizers: &Tokenizers, text: &str) -> Vec<u32> {
    let one = |byte: char| tokenizers.src.encode(&byte.to_string()).unwrap().ids[0];
    text.chars().map(one).collect()
}

#[test]
fn every_token_of_a_word_is_linked_with_every_token_of_its_words() {
    let tokenizers = tokenizers();
    let mut links = WordLinks::between_words();
    links.push([(1, 0), (2, 0)]);
    let [src, tgt] = ["a bc d", "xy z"].map(|text| bytes(&tokenizers, text));
    let expected = ["b-x", "c-x", "b-y", "c-y", "d-x", "d-y"];
    assert_eq!(linked(&links, &tokenizers, &src, &tgt), expected);
}

#[test]
fn the_step_that_reads_a_token_is_the_one_after_it_was_written() {
    let tokenizers = tokenizers();
    let [src, tgt] = ["a b", "x y"].map(|text| bytes(&tokenizers, text));
    for (step, expected) in [(GuidedStep::Writes, 2), (GuidedStep::Reads, 3)] {
        let mut words = WordLinks::between_words();
        words.push([(0, 1)]);
        let links = Links::new(vec![Some(words), None], step, Unlinked::Free);
        let of = |corpus| links.of_steps(corpus, 0, &tokenizers, (&src, &tgt)).unwrap();
        assert_eq!(of(0).last(), Some(&(0, expected)));
        assert_eq!(of(1), []);
    }
}

#[test]
fn what_has_no_link_looks_at_the_end_of_the_source_in_pairs_that_have_links() {
    let tokenizers = tokenizers();
    let [src, tgt] = ["a b", "x y"].map(|text| bytes(&tokenizers, text));
    let mut words = WordLinks::between_words();
    words.push([(0, 1)]);
    words.push([]);
    let links = Links::new(vec![Some(words)], GuidedStep::Writes, Unlinked::End);
    let of = |pair| links.of_steps(0, pair, &tokenizers, (&src, &tgt)).unwrap();
    let (n_src, n_tgt) = (src.len() as u32, tgt.len() as u32);
    let found = of(0);
    let linked: Vec<u32> = found.iter().filter(|link| link.0 < n_src).map(|link| link.1).collect();
    let rest: Vec<u32> = found.iter().filter(|link| link.0 == n_src).map(|link| link.1).collect();
    assert!(linked.contains(&(n_tgt - 1)) && rest.contains(&0), "{found:?}");
    assert!((0..n_tgt).all(|tgt| linked.contains(&tgt) != rest.contains(&tgt)), "{found:?}");
    assert_eq!(of(1), [], "a pair without links says nothing");
}

#[test]
fn whatever_the_cut_the_same_text_is_linked_and_tags_are_not() {
    let tokenizers = tokenizers();
    let mut links = WordLinks::between_words();
    links.push([(0, 1)]);
    let tag = tokenizers.src.tag(&text::Tag::try_from("<bt>".to_owned()).unwrap()).unwrap();
    let tgt = bytes(&tokenizers, "quatre cinq");
    let usual = tokenizers.src.encode("trois un, deux").unwrap().ids;
    for (src, first) in [(usual, 0), (bytes(&tokenizers, "trois un, deux"), 0)] {
        let tagged = [&[tag][..], &src].concat();
        for (src, first) in [(src, first), (tagged, first + 1)] {
            let found = links.between_tokens(0, &tokenizers, (&src, &tgt)).unwrap();
            let parts = labels(&tokenizers, &src);
            let mut sources: Vec<u32> = found.iter().map(|link| link.0).collect();
            sources.sort_unstable();
            sources.dedup();
            assert_eq!(sources[0], first);
            let text: String = sources.iter().map(|&s| &*parts[s as usize]).collect();
            assert_eq!(text, "trois");
            assert!(found.iter().all(|&(_, t)| (7..11).contains(&t)), "{found:?}");
        }
    }
}

#[test]
fn marks_at_the_ends_of_words_are_words_for_the_aligner() {
    let tokenizers = tokenizers();
    let mut links = WordLinks { units: text::words_and_marks, ..WordLinks::between_words() };
    links.push([(2, 0)]); // trois un , deux
    let [src, tgt] = ["a b, c", "x"].map(|text| bytes(&tokenizers, text));
    assert_eq!(linked(&links, &tokenizers, &src, &tgt), [",-x"]);
}

/// What a file of links gives for pairs on these lines.
fn read_file(text: &str, lines: &[(u64, bool)]) -> Result<WordLinks> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("links");
    fs::write(&path, text).unwrap();
    let files = CorpusFiles::Lines { src: "a".into(), tgt: "b".into() };
    let corpus = TrainCorpus { links: Some(path), ..files.into() };
    let mut file = LinkFile::open(&corpus)?.expect("the corpus names it");
    for &(line, keep) in lines {
        file.read(&pair(line), keep)?;
    }
    Ok(file.links)
}

#[test]
fn a_file_is_read_by_the_numbers_of_lines_and_may_end_early() {
    let lines = [(2, true), (3, false), (4, true), (5, true), (9, true)];
    let links = read_file("garbage\n0-1 2-0\n1-1\n\n0-0 1p1 0-0\n", &lines).unwrap();
    let all: Vec<_> = (0..4).map(|pair| links.of(pair)).collect();
    assert_eq!(all, [&[(0, 1), (2, 0)][..], &[], &[(0, 0), (1, 1)], &[]]);
    assert_eq!(links.count(), Linked { pairs: 2, without: 2, links: 4 });
}

#[test]
fn a_line_that_is_wrong_is_named() {
    let message = |text| read_file(text, &[(1, true), (2, false)]).unwrap_err().to_string();
    let found = message("0-0\n0-0 x-1\n");
    assert!(found.contains("links, line 2: link 2 is `x-1`"), "{found}");
    let found = message("0-0\n2-2\n");
    let expected = "line 2: 2-2 links no two words of its pair, which has 3 source and 2 target";
    assert!(found.contains(expected), "{found}");
}

#[test]
fn what_was_found_is_read_again_unless_it_is_not_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("links.gz");
    let links = vec![vec![(0, 1), (2, 0)], vec![], vec![(3, 3)]];
    assert_eq!(read(&path, 3), None);
    write(&path, &links).unwrap();
    assert_eq!(read(&path, 3), Some(links));
    assert_eq!(read(&path, 4), None);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    assert_eq!(read(&path, 3), None);
}
