//! Lines in, translations out, with a model that makes them up.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use text::Tokenizer;

use super::*;
use crate::{
    Request,
    alignment::{Level, Linking},
    search::Sampling,
    toy::Toy,
};

const LINES: [&str; 5] = ["the cat sat", "", "the dog", " \t\u{3000}", "a cat and a dog sat down"];

fn translator() -> Translator<Toy> {
    let lines = LINES.map(String::from).into_iter();
    let tokenizer = Tokenizer::train(&text::TokenizerConfig::default(), lines).unwrap();
    // The end must be likely among hundreds of tokens for translations to end.
    let model = Toy { eos_bonus: 5.0, ..Toy::new(tokenizer.vocab_size(), 1) };
    Translator::new(model, Tokenizers::one(tokenizer), SearchConfig::default()).unwrap()
}

fn lines() -> Vec<String> {
    LINES.map(String::from).to_vec()
}

fn size(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

#[test]
fn lines_keep_their_order_and_empty_ones_stay_empty() {
    let translator = translator();
    let found = translator.translate(&lines()).unwrap();
    assert_eq!(found.len(), LINES.len());
    for (line, found) in LINES.iter().zip(&found) {
        assert_eq!(&translator.translate(&[line.to_string()]).unwrap()[0], found);
        let best = &found[0];
        assert_eq!(best.tokens.is_empty(), line.trim().is_empty());
        if line.trim().is_empty() {
            let alignment = Some(crate::Alignment::default());
            let empty = Translation { finished: true, alignment, ..Translation::default() };
            assert_eq!(found, &[empty]);
        }
    }
}

#[test]
fn the_size_of_batches_changes_nothing() {
    let mut translator = translator();
    let expected = translator.translate(&lines()).unwrap();
    for sample in [None, Some(Sampling::default())] {
        translator.config.sample = sample;
        let expected = translator.translate(&lines()).unwrap();
        for batch_tokens in [1, 7, 13, 100_000] {
            translator.config.batch_tokens = size(batch_tokens);
            assert_eq!(translator.translate(&lines()).unwrap(), expected);
        }
    }
    assert_ne!(translator.translate(&lines()).unwrap(), expected);
}

#[test]
fn translations_do_not_depend_on_the_number_of_threads() {
    let mut translator = translator();
    translator.config.batch_tokens = size(12);
    let expected = translator.translate(&lines()).unwrap();
    for threads in [2, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| translator.translate(&lines())).unwrap(), expected);
    }
}

#[test]
fn what_a_translation_says_of_itself_fits_together() {
    let mut translator = translator();
    translator.config.n_best = size(4);
    for found in translator.translate(&lines()).unwrap().concat() {
        let sum: f64 = found.tokens.iter().map(|token| f64::from(token.log_prob)).sum();
        assert_eq!(found.log_prob, sum);
        assert!(!found.text.contains(['\n', '\r']));
        let json = serde_json::to_string(&found).unwrap();
        assert_eq!(json.lines().count(), 1);
        assert!(!json.contains("null"), "{json}");
        // The JSON holds the exact number; serde_json reads it with an error in the last place.
        let read: Translation = serde_json::from_str(&json).unwrap();
        assert!((read.score - found.score).abs() <= 1e-12 * found.score.abs());
        assert_eq!(
            read,
            Translation { score: read.score, log_prob: read.log_prob, ..found.clone() }
        );
        let alignment = found.alignment.unwrap();
        assert_eq!(alignment.tgt_words.len(), found.text.split_whitespace().count());
        assert_eq!(alignment.weights.len(), alignment.tgt_words.len());
    }
}

/// A line break that a model produces must not shift all lines after it.
#[test]
fn a_translation_is_on_one_line() {
    let translator = translator();
    let ids = translator.tokenizers.tgt.encode("a\r\nb").unwrap().ids;
    let hypothesis = crate::Hypothesis {
        weights: vec![vec![0.5, 0.5]; ids.len()],
        token_log_probs: vec![-1.0; ids.len()],
        ids,
        finished: false,
        ..crate::Hypothesis::empty()
    };
    let src = translator.preparer().source("a", 1).unwrap();
    let translation = translator.context().translation(&src, hypothesis, &[]).unwrap();
    assert_eq!(translation.text, "a  b");
    assert_eq!(translation.alignment.unwrap().links, [(0, 0), (0, 1)]);
}

/// What a stream gives back, if nothing is wrong with the input.
fn streamed<L: crate::request::Line + Send + 'static>(
    translator: &Translator<Toy>,
    lines: Vec<L>,
    read_ahead: usize,
) -> Vec<(L, Result<Vec<Translation>>)> {
    let input = lines.into_iter().map(Ok::<_, Error>);
    translator.translate_lines(input, size(read_ahead)).collect::<Result<_>>().unwrap()
}

#[test]
fn a_stream_gives_what_all_lines_at_once_give() {
    let translator = translator();
    let expected = translator.translate(&lines()).unwrap();
    for read_ahead in [1, 2, 100] {
        let found = streamed(&translator, lines(), read_ahead).into_iter();
        let (came_back, found): (Vec<_>, Vec<_>) =
            found.map(|(line, found)| (line, found.unwrap())).unzip();
        assert_eq!((came_back, found), (lines(), expected.clone()));
    }
}

#[test]
fn words_alone_are_those_of_the_best_translation() {
    let mut translator = translator();
    let sampled = SearchConfig { sample: Some(Sampling::default()), ..translator.config.clone() };
    let configs = [
        translator.config.clone(),
        SearchConfig { beam: size(1), ..translator.config.clone() },
        SearchConfig { n_best: size(3), ..translator.config.clone() },
        SearchConfig { mbr: Some(Mbr::default()), n_best: size(2), ..sampled.clone() },
        sampled,
        SearchConfig { beam: size(1), no_repeat_ngram: 2, ..translator.config.clone() },
    ];
    for config in configs {
        translator.config = config;
        let best = |found: Vec<Translation>| Wording::from(found[0].clone());
        let expected: Vec<Wording> =
            translator.translate(&lines()).unwrap().into_iter().map(best).collect();
        assert_eq!(translator.word(&lines()).unwrap(), expected, "{:?}", translator.config);
        let input = lines().into_iter().map(Ok::<_, Error>);
        let streamed = translator.word_lines(input, size(2));
        let streamed: Vec<Wording> = streamed.map(|found| found.unwrap().1.unwrap()).collect();
        assert_eq!(streamed, expected);
    }
}

#[test]
fn an_endless_stream_is_read_no_further_than_allowed() {
    let translator = translator();
    let n_read = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&n_read);
    let endless = std::iter::repeat_with(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok::<_, Error>("the cat".to_owned())
    });
    let found = translator.translate_lines(endless, size(3)).take(40).collect::<Vec<_>>();
    assert_eq!(found.len(), 40);
    // Those in work, those that wait, and one that is to be handed over.
    let read = n_read.load(Ordering::SeqCst);
    assert!((40..=40 + 3 + 3 + 1).contains(&read), "{read}");
}

#[test]
fn each_line_is_answered_before_the_next_one_is_written() {
    let translator = translator();
    let (writer, lines) = sync_channel::<Result<String>>(0);
    let (answer, answers) = sync_channel(0);
    let asking = std::thread::spawn(move || {
        for line in ["the cat", "", "a dog sat"] {
            writer.send(Ok(line.to_owned())).unwrap();
            answers.recv_timeout(Duration::from_secs(60)).unwrap();
        }
    });
    let found = translator.translate_lines(lines, size(100));
    assert_eq!(found.map(|_| answer.send(()).unwrap()).count(), 3);
    asking.join().unwrap();
}

#[test]
fn a_line_that_cannot_be_translated_does_not_stop_the_rest() {
    let mut translator = translator();
    translator.config.max_src_len = size(20);
    let long = "dog ".repeat(30);
    let texts = ["the cat", "", &long, "the dog"].map(str::to_owned);
    for read_ahead in [1, 3, 100] {
        let found = streamed(&translator, texts.to_vec(), read_ahead);
        assert_eq!(found.len(), 4);
        let alone = |text: &str| translator.translate(&[text.to_owned()]).unwrap().remove(0);
        for place in [0, 1, 3] {
            assert_eq!(*found[place].1.as_ref().unwrap(), alone(&texts[place]));
        }
        let message = found[2].1.as_ref().unwrap_err().to_string();
        assert!(message.starts_with("line 3 has ") && message.contains("at most 20"), "{message}");
    }
    assert!(matches!(
        translator.translate(&["a".to_owned(), long.clone()]),
        Err(Error::TooLong { line: 2, .. })
    ));
    assert!(matches!(
        translator.align(&[("a".to_owned(), long)]),
        Err(Error::TooLong { line: 1, .. })
    ));
}

#[test]
fn an_error_of_the_input_comes_after_the_lines_before_it_and_ends_the_stream() {
    let translator = translator();
    for read_ahead in [1, 3, 100] {
        let broken = Error::Unpaired { sources: 1, targets: 2 };
        let input = [Ok("the cat".to_owned()), Err(broken), Ok("the dog".to_owned())];
        let found: Vec<_> = translator.translate_lines(input, size(read_ahead)).collect();
        assert_eq!(found.len(), 2);
        assert!(found[0].is_ok() && matches!(found[1], Err(Error::Unpaired { .. })));
        let lost = std::iter::once(Ok("the cat".to_owned())).chain(std::iter::from_fn(
            || -> Option<Result<String>> { panic!("the input is lost") },
        ));
        let found: Vec<_> = translator.translate_lines(lost, size(read_ahead)).collect();
        assert!(found[0].is_ok() && matches!(found[1], Err(Error::Threads(_))));
    }
}

#[test]
fn given_pairs_are_scored_and_aligned_in_order() {
    let mut translator = translator();
    let texts = [("the cat sat", "a dog"), ("", ""), ("the dog", ""), ("", "a"), ("a", "the cat")];
    let pairs = texts.map(|(src, tgt)| (src.to_owned(), tgt.to_owned()));
    let found = translator.align(&pairs).unwrap();
    for ((src, tgt), found) in texts.iter().zip(&found) {
        let ids = |text| vec![translator.tokenizers.src.encode(text).unwrap().ids];
        let scored = score(&translator.model, &ids(src), &ids(tgt)).unwrap().remove(0);
        assert_eq!(found.log_prob, scored.log_prob);
        assert_eq!(found.text, *tgt);
        let alignment = found.alignment.as_ref().unwrap();
        assert_eq!(alignment.src_words.join(" "), *src);
        assert_eq!(alignment.tgt_words.join(" "), *tgt);
        let names: Vec<&str> = found.tokens.iter().map(|token| &token.text[..]).collect();
        let end = if src.is_empty() && tgt.is_empty() { "" } else { "</s>" };
        assert_eq!(names.concat(), format!("{tgt}{end}"));
    }
    for read_ahead in [1, 2, 100] {
        let input = pairs.clone().into_iter().map(Ok::<_, Error>);
        let streamed: Result<Vec<_>> = translator.align_pairs(input, size(read_ahead)).collect();
        let expected = pairs.iter().cloned().zip(found.iter().cloned());
        assert_eq!(streamed.unwrap(), expected.collect::<Vec<_>>());
    }
    translator.config.batch_tokens = size(1);
    assert_eq!(translator.align(&pairs).unwrap(), found);
}

#[test]
fn a_pair_that_cannot_be_aligned_is_told_after_those_before_it() {
    let mut translator = translator();
    translator.config.max_src_len = size(20);
    let pair = |src: &str, tgt: &str| Ok::<_, Error>((src.to_owned(), tgt.to_owned()));
    let long = "dog ".repeat(30);
    for read_ahead in [1, 2, 100] {
        let input = [pair("a", "a"), pair("the cat", &long), pair("a", "a")];
        let mut found = translator.align_pairs(input, size(read_ahead));
        assert!(found.next().unwrap().is_ok());
        assert!(matches!(found.next(), Some(Err(Error::TooLong { line: 2, .. }))));
        assert!(found.next().is_none());
    }
}

#[test]
fn alignments_follow_the_view_and_need_attention() {
    let mut translator = translator();
    translator.view = AlignmentView {
        level: Level::Subwords,
        linking: Linking::Threshold(0.0),
        ..AlignmentView::default()
    };
    let pairs = [("the cat".to_owned(), "a x".to_owned())];
    let found = translator.align(&pairs).unwrap().remove(0);
    let alignment = found.alignment.unwrap();
    assert_eq!(alignment.tgt_words.concat(), "a x");
    assert_eq!(alignment.tgt_words.len(), found.tokens.len() - 1);
    let n_pairs = alignment.src_words.len() * alignment.tgt_words.len();
    assert_eq!(alignment.links.len(), n_pairs);

    translator.model.attends = false;
    assert_eq!(translator.align(&pairs).unwrap()[0].alignment, None);
    assert_eq!(translator.translate(&["the cat".to_owned()]).unwrap()[0][0].alignment, None);
}

/// What is asked of one line does not reach the others, and a stream of requests is one of lines.
#[test]
fn requests_are_met_and_change_no_other_line() {
    let mut translator = translator();
    let plain = translator.translate(&lines()).unwrap();
    let mut requests: Vec<Request> = lines().into_iter().map(Request::from).collect();
    assert_eq!(translator.translate(&requests).unwrap(), plain);
    requests[0].prefix = "the dog".into();
    requests[2].phrases = vec![vec!["sat".into()], vec!["xy".into(), "cat".into()]];
    requests[3].prefix = "a cat".into();
    for batch_tokens in [1, 1000] {
        translator.config.batch_tokens = size(batch_tokens);
        let found = translator.translate(&requests).unwrap();
        assert!(found[0][0].text.starts_with("the dog") && found[3][0].text.starts_with("a cat"));
        let text = &found[2][0].text;
        assert!(text.contains("sat") && (text.contains("xy") || text.contains("cat")), "{text}");
        assert_eq!((&found[1], &found[4]), (&plain[1], &plain[4]));
        assert!(found.iter().flatten().all(|one| one.unmet.is_empty()));
        let streamed = streamed(&translator, requests.clone(), 2).into_iter();
        assert_eq!(streamed.map(|(_, found)| found.unwrap()).collect::<Vec<_>>(), found);
    }
    translator.config.max_len_factor = crate::search::NonNegative::new(0.0).unwrap();
    translator.config.max_len_offset = 1;
    requests[2].phrases =
        vec![vec!["sat".into()], vec!["the cat sat on".into(), "a dog sat".into()]];
    let found = translator.translate(&requests).unwrap();
    assert!(found[2][0].unmet.contains(&"the cat sat on | a dog sat".to_owned()));
    assert!(!found[2][0].finished);
}

#[test]
fn what_is_reranked_is_ordered_by_what_it_promises() {
    let mut translator = translator();
    let utility = crate::mbr::Utility::Chrf;
    translator.config.mbr = Some(Mbr { utility, candidates: size(9) });
    translator.config.n_best = size(3);
    for sample in [None, Some(Sampling::default())] {
        translator.config.sample = sample;
        let reranked = translator.translate(&lines()).unwrap();
        translator.config.batch_tokens = size(1);
        assert_eq!(translator.translate(&lines()).unwrap(), reranked);
        let mbr = translator.config.mbr.take();
        translator.config.n_best = size(9);
        let candidates = translator.translate(&lines()).unwrap();
        (translator.config.mbr, translator.config.n_best) = (mbr, size(3));
        for (reranked, candidates) in reranked.iter().zip(&candidates) {
            assert!(reranked.len() <= 3 && reranked.is_sorted_by(|a, b| a.utility >= b.utility));
            for one in reranked {
                let plain = Translation { utility: None, ..one.clone() };
                assert!(one.utility.is_some() && candidates.contains(&plain));
            }
        }
    }
}

#[test]
fn a_given_translation_is_worth_what_it_is_worth_when_it_is_found() {
    let mut translator = translator();
    translator.config.coverage_penalty = crate::search::NonNegative::new(0.7).unwrap();
    let lines = ["the cat sat".to_owned()];
    let found = translator.translate(&lines).unwrap()[0][0].clone();
    let pair = [(lines[0].clone(), found.text.clone())];
    let given = translator.align(&pair).unwrap().remove(0);
    let same = |a: &Translation| a.tokens.iter().map(|token| token.id).collect::<Vec<_>>();
    if same(&found) == same(&given) {
        assert_eq!(given.score, found.score);
    }
    translator.config.coverage_penalty = crate::search::NonNegative::new(0.0).unwrap();
    assert!(translator.align(&pair).unwrap()[0].score > given.score);
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let Translator { model, tokenizers, config, .. } = translator();
    let vocab = model.vocab;
    let model = Toy { vocab: vocab + 1, ..model };
    let error = Translator::new(model, tokenizers, config).unwrap_err().to_string();
    let expected = format!(
        "the tokenizer is of another model: its target vocabulary size is {vocab}, expected {}",
        vocab + 1
    );
    assert_eq!(error, expected);
}
