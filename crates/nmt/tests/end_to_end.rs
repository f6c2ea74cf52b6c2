//! The whole way through the real program: train, translate, align, evaluate, score.
//!
//! The task is the smallest that needs attention: the translation of a string of digits is its
//! reverse. The order of seeds, updates and sums is fixed, so that the model is the same to the
//! bit wherever this runs; what is asked of it is far below what it reaches.

mod place;

use std::{collections::BTreeSet, fs};

use kernels::{Purpose, Random};
use place::Place;

/// Learns the task in a few seconds, on an unoptimised program too.
const EXPERIMENT: &str = r#"
seed = 3

[data]
src = "digits"
tgt = "stigid"
train = [{ src = "train.src", tgt = "train.tgt" }]
valid = { src = "valid.src", tgt = "valid.tgt" }

[tokenizer]
vocab = 280

[model.rnn]
embed_dim = 24
dim = 48
layers = 1
dropout = 0

[training]
epochs = 12
batch_tokens = 300
lr = 0.005
report_every = 100
validate_every = "6 epochs"
"#;

/// Sentences that neither training nor validation has seen.
const UNSEEN: usize = 100;

/// Strings of two to five digits, no two the same.
fn digit_strings(n: usize) -> Vec<Vec<usize>> {
    let mut stream = Random::new(1, Purpose::Shuffle, 0).stream();
    let (mut seen, mut strings) = (BTreeSet::new(), Vec::new());
    while strings.len() < n {
        let digits: Vec<usize> = (0..2 + stream.below(4)).map(|_| stream.below(10)).collect();
        if seen.insert(digits.clone()) {
            strings.push(digits);
        }
    }
    strings
}

/// `4 0 7`.
fn line<'a>(digits: impl Iterator<Item = &'a usize>) -> String {
    digits.map(usize::to_string).collect::<Vec<_>>().join(" ")
}

/// A folder with the experiment, its data, and the unseen `test.src` and `test.tgt`.
fn reversal() -> Place {
    let place = Place::empty();
    place.write("reverse.toml", EXPERIMENT);
    let strings = digit_strings(3000 + 50 + UNSEEN);
    let (train, rest) = strings.split_at(3000);
    let (valid, test) = rest.split_at(50);
    for (name, strings) in [("train", train), ("valid", valid), ("test", test)] {
        let src: Vec<String> = strings.iter().map(|digits| line(digits.iter())).collect();
        let tgt: Vec<String> = strings.iter().map(|digits| line(digits.iter().rev())).collect();
        place.write(&format!("{name}.src"), src.join("\n") + "\n");
        place.write(&format!("{name}.tgt"), tgt.join("\n") + "\n");
    }
    place
}

/// What `nmt` writes as data; it must succeed.
fn data(place: &Place, arguments: &str) -> String {
    let (code, data, said) = place.nmt(arguments);
    assert_eq!(code, 0, "{arguments}: {said}");
    data
}

fn read(place: &Place, name: &str) -> String {
    fs::read_to_string(place.path(name)).expect("a file can be read")
}

#[test]
fn a_model_learns_to_reverse_digits_and_can_say_how() {
    let place = reversal();
    place.done("train reverse.toml --out run --threads 2");
    unseen_strings_are_reversed(&place);
    links_are_the_reversed_diagonal(&place);
    scores_are_high(&place);
    the_right_pair_is_likelier_than_a_wrong_one(&place);
}

fn unseen_strings_are_reversed(place: &Place) {
    place.done("translate run/best test.src --out hyp");
    let (found, expected) = (read(place, "hyp"), read(place, "test.tgt"));
    assert_eq!(found.lines().count(), UNSEEN);
    let right = found.lines().zip(expected.lines()).filter(|(found, right)| found == right).count();
    assert!(right >= UNSEEN * 95 / 100, "{right} of {UNSEEN} are right");
}

fn links_are_the_reversed_diagonal(place: &Place) {
    let found = data(place, "align run/best test.src test.tgt --format pharaoh");
    let (mut diagonal, mut all) = (0, 0);
    for (links, src) in found.lines().zip(read(place, "test.src").lines()) {
        let len = src.split(' ').count();
        let expected: Vec<String> = (0..len).map(|n| format!("{n}-{}", len - 1 - n)).collect();
        diagonal += links.split(' ').filter(|link| expected.iter().any(|one| one == link)).count();
        all += len;
    }
    assert!(diagonal * 100 >= all * 95, "{diagonal} of {all} links are on the reversed diagonal");
}

fn scores_are_high(place: &Place) {
    let bleu = |arguments: &str| -> f64 {
        let report = data(place, &format!("evaluate {arguments} --ref test.tgt --metric bleu"));
        let value = report.split(" = ").nth(1).and_then(|rest| rest.split(' ').next());
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{report}"))
    };
    let score = bleu("--hyp hyp");
    assert!(score > 95.0, "BLEU {score}");
    assert_eq!(bleu("--model run/best --src test.src"), score);
    assert!(bleu("--hyp test.src") < 20.0); // what copying would reach
}

/// The wrong translation is the right one with its last two digits swapped.
fn the_right_pair_is_likelier_than_a_wrong_one(place: &Place) {
    let right = read(place, "test.tgt");
    let swapped = right.lines().map(|line| {
        let mut digits: Vec<&str> = line.split(' ').collect();
        let len = digits.len();
        digits.swap(len - 2, len - 1);
        digits.join(" ") + "\n"
    });
    let swapped: String = swapped.collect();
    place.write("swapped", &swapped);
    let log_probs = |tgt: &str| -> Vec<f64> {
        let scores = data(place, &format!("score run/best test.src {tgt}"));
        let first = |line: &str| line.split('\t').next()?.parse().ok();
        scores.lines().map(|line| first(line).unwrap_or_else(|| panic!("{line}"))).collect()
    };
    let (of_right, of_swapped) = (log_probs("test.tgt"), log_probs("swapped"));
    assert_eq!((of_right.len(), of_swapped.len()), (UNSEEN, UNSEEN));
    let (mut likelier, mut pairs) = (0, 0);
    for (idx, (right, swapped)) in right.lines().zip(swapped.lines()).enumerate() {
        if right != swapped {
            pairs += 1;
            likelier += usize::from(of_right[idx] > of_swapped[idx]);
        }
    }
    assert!(pairs > UNSEEN / 2 && likelier * 100 >= pairs * 95, "{likelier} of {pairs} pairs");
}
