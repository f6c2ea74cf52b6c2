//! What an epoch is made of: which pairs, and which subwords.

use text::{TokenizerConfig, TokenizerKind};

use super::*;

fn corpus(pairs: Range<usize>, weight: f64) -> Corpus {
    Corpus { pairs, weight, tag: None }
}

fn seen(corpus: &Corpus, epochs: Range<u64>) -> Vec<u32> {
    epochs.flat_map(|epoch| corpus.seen(7, 1, epoch)).collect()
}

#[test]
fn a_whole_weight_sees_each_pair_that_often_in_each_epoch() {
    assert_eq!(corpus(3..6, 1.0).seen(7, 1, 5), [3, 4, 5]);
    assert_eq!(corpus(3..6, 2.0).seen(7, 1, 5), [3, 4, 5, 3, 4, 5]);
    assert_eq!(corpus(3..3, 2.0).seen(7, 1, 5), [] as [u32; 0]);
}

#[test]
fn half_a_weight_sees_one_half_and_then_the_other() {
    let half = corpus(10..110, 0.5);
    let (first, third) = (half.seen(7, 1, 1), half.seen(7, 1, 3));
    assert_eq!((first.len(), third.len()), (50, 50));
    let mut both = seen(&half, 1..3);
    both.sort_unstable();
    assert_eq!(both, (10..110).collect::<Vec<u32>>());
    assert_ne!(first, third, "each round deals anew");
    assert_ne!(first, half.seen(8, 1, 1), "the seed decides");
    assert_ne!(first, half.seen(7, 2, 1), "corpora do not share their order");
}

#[test]
fn over_the_epochs_every_pair_is_seen_as_often_as_the_weight_says() {
    for (weight, epochs) in [(0.3, 10), (1.7, 10), (2.5, 2), (0.01, 100)] {
        let corpus = corpus(0..30, weight);
        let per_epoch = corpus.per_epoch();
        let wanted = (30.0 * weight).round().max(1.0) as usize;
        assert_eq!(per_epoch, wanted);
        let mut counts = [0usize; 30];
        let all = seen(&corpus, 1..epochs + 1);
        all.iter().for_each(|&pair| counts[pair as usize] += 1);
        let (least, most) = (all.len() / 30, all.len().div_ceil(30));
        assert!(counts.iter().all(|n| (least..=most).contains(n)), "{weight}: {counts:?}");
    }
}

fn tokenizers(kind: TokenizerKind) -> Tokenizers {
    let lines = (0..200).map(|i| format!("banana bandana {} cabana", ["na", "ba", "ca"][i % 3]));
    let config = TokenizerConfig { kind, vocab: 290, joint: true };
    let tags = [text::Tag::try_from("<bt>".to_owned()).unwrap()];
    Tokenizers::train(&config, lines.clone(), lines).unwrap().with_tags(&tags).unwrap()
}

fn pairs(n: usize) -> Vec<Pair> {
    let words = ["banana", "bandana", "cabana", "na", "ca", "ban"];
    let text = |i: usize| [words[i % 6], words[i / 6 % 6], words[i / 36 % 6]].join(" ");
    (0..n).map(|i| Pair { src: text(i), tgt: text(i * 7 + 1), line: 1 + i as u64 }).collect()
}

const DROPOUT: Option<Sampling> = Some(Sampling::Dropout(0.4));

/// Two corpora, the second of which is tagged, with 60 and 40 pairs.
fn train(sampling: [Option<Sampling>; 2], max_len: usize, weight: f64) -> (Tokenizers, Train) {
    let kind = match sampling {
        [Some(Sampling::Exponent(_)), _] => TokenizerKind::Unigram,
        _ => TokenizerKind::Bpe,
    };
    let tokenizers = tokenizers(kind);
    let tag = tokenizers.src.tag(&text::Tag::try_from("<bt>".to_owned()).unwrap());
    assert!(tag.is_some());
    let corpora = [(1.0, None), (weight, tag)];
    let mut train = Train::new(&tokenizers, corpora.into_iter(), sampling, max_len).unwrap();
    let pairs = pairs(100);
    // In parts, as they are read.
    for (corpus, part) in [(0, 0..33), (0, 33..60), (1, 60..80), (1, 80..100)] {
        train.extend(corpus, &pairs[part], &tokenizers).unwrap();
    }
    (tokenizers, train)
}

/// All ids of an epoch.
fn epoch(train: &mut Train, seed: u64, number: u64) -> Vec<(Vec<u32>, Vec<u32>)> {
    train.begin(seed, number);
    let ids = |i| {
        let (src, tgt) = train.get(i);
        (src.to_vec(), tgt.to_vec())
    };
    (0..train.epoch.pairs.len()).map(ids).collect()
}

#[test]
fn any_cut_spells_the_text_and_tags_stand_in_front_of_their_sources() {
    for sampling in [[None, None], [DROPOUT, None], [Some(Sampling::Exponent(0.1)); 2]] {
        let (tokenizers, mut train) = train(sampling, 99, 1.0);
        let tag = train.corpora[1].tag.unwrap();
        let pairs = pairs(100);
        for ((src, tgt), (pair, i)) in epoch(&mut train, 1, 1).iter().zip(pairs.iter().zip(0..)) {
            assert_eq!(tokenizers.src.decode(src).unwrap(), pair.src);
            assert_eq!(tokenizers.tgt.decode(tgt).unwrap(), pair.tgt);
            assert_eq!(src[0] == tag, i >= 60, "{src:?}");
            assert!(!tgt.contains(&tag));
        }
        assert_eq!(train.sizes().collect::<Vec<_>>(), [(60, 60), (40, 40)]);
    }
}

#[test]
fn an_epoch_is_drawn_anew_but_the_same_again_on_any_number_of_threads() {
    let (_, mut train) = train([DROPOUT, DROPOUT], 99, 0.5);
    let (first, second) = (epoch(&mut train, 1, 1), epoch(&mut train, 1, 2));
    assert_eq!(first.len(), 80);
    let differ = |a: &[(Vec<u32>, Vec<u32>)], b: &[(Vec<u32>, Vec<u32>)]| {
        a[..60].iter().zip(b).filter(|(a, b)| a.0 != b.0 && a.1 != b.1).count()
    };
    assert!(differ(&first, &second) > 30);
    assert!(differ(&first, &epoch(&mut train, 2, 1)) > 30, "the seed decides");
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| epoch(&mut train, 1, 2)), second);
        assert_eq!(pool.install(|| epoch(&mut train, 1, 1)), first);
    }
}

#[test]
fn a_pair_that_is_seen_twice_is_cut_twice() {
    let (_, mut train) = train([DROPOUT, None], 99, 2.0);
    let pairs = epoch(&mut train, 1, 1);
    assert_eq!(pairs.len(), 140);
    let differ = (60..100).filter(|&i| pairs[i].0 != pairs[i + 40].0).count();
    assert!(differ > 20, "{differ}");
    assert!((60..100).all(|i| pairs[i].1 == pairs[i + 40].1));
}

#[test]
fn no_cut_is_longer_than_allowed_and_batches_fit() {
    let (_, mut usual) = train([None, None], 99, 1.0);
    let longest = |pairs: &[(Vec<u32>, Vec<u32>)]| {
        pairs.iter().map(|(src, tgt)| src.len().max(tgt.len())).max().unwrap()
    };
    let limit = longest(&epoch(&mut usual, 1, 1));
    let (_, mut train) = train([Some(Sampling::Dropout(0.9)); 2], limit, 1.0);
    let pairs = epoch(&mut train, 1, 1);
    assert_eq!((pairs.len(), longest(&pairs)), (100, limit));
    let tokens = NonZeroUsize::new(limit + 1).unwrap();
    let plan = train.shuffled(tokens, 1).unwrap();
    assert_eq!(plan.iter().map(Vec::len).sum::<usize>(), 100);
}

#[test]
fn the_fingerprint_is_that_of_the_usual_cut_and_knows_weights() {
    let hash = |train: &Train| train.hash(Hash::new()).finish();
    let (_, usual) = train([None, None], 99, 1.0);
    let (_, mut drawn) = train([DROPOUT, DROPOUT], 99, 1.0);
    drawn.begin(1, 4);
    assert_eq!(hash(&usual), hash(&drawn));
    assert_eq!(usual.tgt_tokens(), drawn.tgt_tokens());
    let (_, weighted) = train([None, None], 99, 0.5);
    assert_ne!(hash(&usual), hash(&weighted));
}
