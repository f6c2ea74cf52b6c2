//! The aligner as a whole: on texts whose links are known, on odd texts, on several threads.

use rayon::ThreadPoolBuilder;

use super::*;

/// Numbers from 0 to `below` without pattern: the upper half of a linear congruential generator
/// (Knuth's constants for 64 bits).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % below
    }
}

/// Sentences whose words have one translation each, with the links that are right: the target turns
/// every second group of three around, and says some words that nothing in the source says.
fn planted(n: usize, seed: u64) -> (Vec<(String, String)>, Vec<Vec<Link>>) {
    let mut numbers = Numbers(seed);
    let (mut pairs, mut gold) = (Vec::new(), Vec::new());
    for _ in 0..n {
        let len = 3 + numbers.next(9);
        let src: Vec<usize> = (0..len).map(|_| numbers.next(17) + numbers.next(17)).collect();
        let mut order: Vec<usize> = (0..len).collect();
        for (idx, group) in order.chunks_mut(3).enumerate() {
            if idx % 2 == 1 {
                group.reverse();
            }
        }
        let (mut tgt, mut links) = (Vec::new(), Vec::new());
        for src_idx in order {
            if numbers.next(11) == 0 {
                tgt.push("euh".to_owned());
            }
            links.push((src_idx, tgt.len()));
            tgt.push(format!("t{}", src[src_idx]));
        }
        links.sort_unstable();
        let src: Vec<String> = src.iter().map(|word| format!("s{word}")).collect();
        pairs.push((src.join(" "), tgt.join(" ")));
        gold.push(links);
    }
    (pairs, gold)
}

fn train(pairs: &[(String, String)], config: &Config) -> (Aligner, Vec<Iteration>) {
    let bitext = pairs.iter().map(|(src, tgt)| (src, tgt)).collect();
    let mut iterations = Vec::new();
    let aligner = Aligner::train(bitext, config, |iteration| iterations.push(iteration)).unwrap();
    (aligner, iterations)
}

fn config(method: Method) -> Config {
    Config { method, ..Config::default() }
}

/// The models of the papers, without agreement and without priors.
fn bare(method: Method) -> Config {
    let iterations = NonZeroUsize::new(9).unwrap();
    Config { method, iterations, coupling: Coupling::None, back_off: None }
}

const METHODS: [Method; 3] = [Method::Ibm1, Method::Diagonal, Method::Hmm];

/// The share of the links of one that the other has.
fn share(links: &[Vec<Link>], others: &[Vec<Link>]) -> f64 {
    let found = links.iter().zip(others);
    let found = found.map(|(one, other)| one.iter().filter(|link| other.contains(link)).count());
    found.sum::<usize>() as f64 / links.iter().map(Vec::len).sum::<usize>() as f64
}

#[test]
fn a_planted_lexicon_is_found_whatever_the_order_of_words() {
    let (pairs, gold) = planted(600, 1);
    for (method, least) in [(Method::Ibm1, 0.85), (Method::Diagonal, 0.9), (Method::Hmm, 0.95)] {
        let (aligner, _) = train(&pairs, &config(method));
        for symmetrization in [Symmetrization::Forward, Symmetrization::GrowDiagFinalAnd] {
            let links = aligner.links(symmetrization);
            let (precision, recall) = (share(&links, &gold), share(&gold, &links));
            assert!(precision > least && recall > least, "{method:?} {precision} {recall}");
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let (pairs, _) = planted(3 * CHUNK + 7, 2);
    for method in METHODS {
        let run = |threads: usize| {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (aligner, iterations) = train(&pairs, &config(method));
                let weights: Vec<PairWeights> =
                    (0..pairs.len()).map(|idx| aligner.weights(idx)).collect();
                (aligner.links(Symmetrization::default()), weights, iterations)
            })
        };
        let one = run(1);
        assert!(run(2) == one && run(3) == one, "{method:?}");
    }
}

#[test]
fn probabilities_sum_to_one() {
    let (pairs, _) = planted(200, 3);
    for method in METHODS {
        let (aligner, _) = train(&pairs, &bare(method));
        let lexicon = &aligner.model.lexicon;
        for total in lexicon.totals().concat().into_iter().chain(lexicon.unaligned_totals()) {
            assert!((total - 1.0).abs() < 1e-5, "{total}"); // some hundred roundings of `f32`
        }
        // A guess keeps probability for words that the text does not have.
        let (aligner, _) = train(&pairs, &config(method));
        for total in aligner.model.lexicon.totals().concat() {
            assert!(total > 0.0 && total < 1.0 + 1e-5, "{total}");
        }
        let weights = aligner.weights(5);
        for (row, unaligned) in weights.forward.iter().zip(&weights.forward_unaligned) {
            assert!((row.iter().sum::<f32>() + unaligned - 1.0).abs() < 1e-5);
        }
        assert_eq!(weights.reverse.len(), weights.forward.len());
        for column in 0..weights.reverse[0].len() {
            assert!(weights.reverse.iter().map(|row| row[column]).sum::<f32>() < 1.0 + 1e-5);
        }
    }
}

#[test]
fn the_text_gets_more_probable_with_each_pass() {
    let (pairs, _) = planted(300, 4);
    for method in [Method::Ibm1, Method::Hmm] {
        let (_, iterations) = train(&pairs, &bare(method));
        let passes: Vec<_> = iterations.iter().filter(|pass| pass.method == method).collect();
        assert_eq!(passes.len(), 9);
        for pair in passes.windows(2) {
            for direction in 0..2 {
                let gain = pair[0].nats_per_word[direction] - pair[1].nats_per_word[direction];
                assert!(gain > -1e-6, "{method:?}, direction {direction}: {gain} in {pair:?}");
            }
        }
        let gain = passes[0].nats_per_word[0] - passes[8].nats_per_word[0];
        assert!(gain > 0.1, "{method:?} learned {gain} nats");
    }
}

#[test]
fn sentences_may_be_empty_or_a_single_word() {
    let pairs = [("", ""), ("a", ""), ("", "b"), ("A", "x"), ("a", "X"), ("c", "z"), ("", "")];
    for method in METHODS {
        let aligner = Aligner::train(pairs.into_iter().collect(), &config(method), |_| ()).unwrap();
        let links = aligner.links(Symmetrization::default());
        assert_eq!(links.iter().map(Vec::len).collect::<Vec<_>>(), [0, 0, 0, 1, 1, 1, 0]);
        assert_eq!(aligner.weights(1), PairWeights::default());
        assert!(aligner.weights(3).forward[0][0] > 0.5);
        assert_eq!(aligner.left_out(), 0);
    }
    let nothing = Aligner::train(Bitext::default(), &Config::default(), |_| ()).unwrap();
    assert!(nothing.links(Symmetrization::Union).is_empty());
}

#[test]
fn long_sentences_are_aligned_and_endless_ones_left_out() {
    let (mut pairs, mut gold) = planted(60, 5);
    let long = |len: usize| -> (String, String) {
        let mut numbers = Numbers(6);
        let words: Vec<usize> = (0..len).map(|_| numbers.next(33)).collect();
        let side = |letter| words.iter().map(|word| format!("{letter}{word} ")).collect();
        (side('s'), side('t'))
    };
    pairs.push(long(500));
    gold.push((0..500).map(|n| (n, n)).collect());
    for method in METHODS {
        let (aligner, _) = train(&pairs, &config(method));
        let weights = aligner.weights(60);
        assert!(weights.forward.iter().flatten().all(|weight| (0.0..=1.001).contains(weight)));
        if method != Method::Ibm1 {
            let links = aligner.links(Symmetrization::default());
            let share = share(&gold[60..], &links[60..]);
            assert!(share > 0.9, "{method:?} finds {share}");
        }
    }
    pairs.push(long(2049));
    let (aligner, _) = train(&pairs, &Config::default());
    let links = aligner.links(Symmetrization::Union);
    assert_eq!((aligner.left_out(), links.len(), links[61].len()), (1, 62, 0));
    assert!(!links[60].is_empty());
}

#[test]
fn searched_cells_are_those_that_are_kept() {
    let (pairs, _) = planted(CHUNK + 3, 6);
    let (aligner, _) = train(&pairs, &Config::default());
    let lexicon = &aligner.model.lexicon;
    for chunk in 0..2 {
        let mut kept = lexicon.cells(chunk, &aligner.bitext);
        for idx in chunk * CHUNK..((chunk + 1) * CHUNK).min(pairs.len()) {
            let found = lexicon.cells_of_pair(aligner.bitext.pair(idx));
            assert_eq!(kept.next(idx), found);
            let (src, tgt) = aligner.bitext.pair(idx);
            assert_eq!(found.len(), src.len() * tgt.len());
        }
    }
}

/// Names that occur once are told by their letters.
#[test]
fn what_looks_alike_is_linked() {
    let (mut pairs, _) = planted(100, 7);
    pairs.push(("barcelona s3 washington".into(), "washingtonas barcelona t3".into()));
    let (aligner, _) = train(&pairs, &Config::default());
    let links = aligner.links(Symmetrization::default());
    assert_eq!(links[100], [(0, 1), (1, 2), (2, 0)]);
}
